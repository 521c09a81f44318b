//! Servers of the tests, on ports of this machine that were free. Their threads end
//! with the test's process.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Answers connections, and counts them.
pub struct TcpServer {
    pub port: u16,
    accepted: Arc<AtomicUsize>,
}

impl TcpServer {
    /// Does `answer` with each connection, each on a thread of its own.
    pub fn start(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (accepted, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
        let counted = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::AcqRel);
                let answer = Arc::clone(&count);
                thread::spawn(move || answer(stream));
            }
        });
        Self { port, accepted }
    }

    /// Sends back each line, in capitals.
    pub fn shouting() -> Self {
        Self::start(|stream| {
            let mut writer = stream.try_clone().expect("a socket can be shared");
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if writer.write_all(format!("{}\n", line.to_uppercase()).as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    /// Keeps connections, and never says anything.
    pub fn silent() -> Self {
        Self::start(|stream| {
            let mut lines = BufReader::new(stream).lines();
            while lines.next().is_some_and(|line| line.is_ok()) {}
        })
    }

    /// Counts the connections.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Acquire)
    }
}

/// A port whose queue of connections is full: the next one waits for ever.
pub struct FullPort {
    pub port: u16,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl FullPort {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(stream);
            assert!(queue.len() < 10_000, "the queue of a port that nobody accepts from has no end");
        }
        Self { port: address.port(), _listener: listener, _queue: queue }
    }
}

/// Sends datagrams back, in capitals. Returns its port.
pub fn shouting_datagrams() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = socket.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..bytes]).to_uppercase();
            if socket.send_to(text.as_bytes(), from).is_err() {
                return;
            }
        }
    });
    port
}
