//! A cable that can be cut: forwards TCP connections to a port of this machine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// The fate of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Forwards,
    /// Connections stay open, and nothing comes through: a cable that is pulled.
    Silent,
    /// Connections are closed, and new ones at once: a server that is gone.
    Cut,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    connections: Mutex<Vec<TcpStream>>,
}

impl Shared {
    /// Waits while nothing may come through; `false` if the connection is to end.
    fn may_pass(&self) -> bool {
        let mut state = self.state.lock().expect("nobody panicked");
        while *state == State::Silent {
            state = self.changed.wait(state).expect("nobody panicked");
        }
        *state == State::Forwards
    }
}

/// A forwarder. Its threads end with the test's process.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

impl Proxy {
    /// Forwards to `target`.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Forwards),
            changed: Condvar::new(),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                std::thread::spawn(move || {
                    if !shared.may_pass() {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { return };
                    let copy = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
                    shared
                        .connections
                        .lock()
                        .expect("nobody panicked")
                        .extend([copy(&client), copy(&server)]);
                    let (from, to) = (copy(&client), copy(&server));
                    let back = Arc::clone(&shared);
                    std::thread::spawn(move || forward(&back, server, client));
                    forward(&shared, from, to);
                });
            }
        });
        Self { shared, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn set(&self, state: State) {
        *self.shared.state.lock().expect("nobody panicked") = state;
        self.shared.changed.notify_all();
    }

    /// Nothing comes through any more, and nobody is told.
    pub fn silence(&self) {
        self.set(State::Silent);
    }

    /// Closes every connection, and refuses new ones.
    pub fn cut(&self) {
        self.set(State::Cut);
        for connection in self.shared.connections.lock().expect("nobody panicked").drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Everything comes through again.
    pub fn mend(&self) {
        self.set(State::Forwards);
    }
}

fn forward(shared: &Shared, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if read == 0 || !shared.may_pass() || to.write_all(&buffer[..read]).is_err() {
            // Either side may be closed already.
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
    }
}
