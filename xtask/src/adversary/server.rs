//! A server on this machine that everything is granted for: it answers, slowly, without end, or by half.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// Connections that it has at once; more are closed at once.
const MOST: usize = 256;
/// The longest that it keeps a connection on which nothing happens.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts the server and returns its address. It ends with the process.
pub fn start() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let open = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::Relaxed) >= MOST {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let open = Arc::clone(&open);
            thread::spawn(move || {
                // The other end may be gone.
                let _ = answer(stream);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 4096];
    let bytes = stream.read(&mut buffer)?;
    let head = String::from_utf8_lossy(&buffer[..bytes]);
    let path = head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/slow" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")?;
            for _ in 0..100 {
                stream.write_all(b"x")?;
                thread::sleep(Duration::from_millis(100));
            }
        }
        "/large" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        }
        "/half" => stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nxx")?,
        _ => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n2\r\nok\r\n0\r\nT: t\r\n\r\n",
            )?;
            // Bytes that still come are taken: a connection that is closed early would be an error of the guest's request.
            while stream.read(&mut buffer)? > 0 {}
        }
    }
    Ok(())
}
