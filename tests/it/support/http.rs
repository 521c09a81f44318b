//! A server for HTTP/1.1 that can be as bad as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::servers::TcpServer;

/// Answers `GET /where/ever` and the like:
///
/// - `/hello`: `hello`
/// - `/echo`: the body of the request
/// - `/to?URL`: a redirect to the URL
/// - `/size?BYTES`: so many bytes
/// - `/endless`: bytes without end
/// - `/drip`: a byte now and then, without end
/// - `/silent`: nothing, ever
/// - `/promise?BYTES`: the head of a response of so many bytes
/// - `/half`: less than was promised
/// - `/headers`: headers without end
/// - `/interim?COUNT`: so many interim responses, and `hello`; without a number they never end
/// - `/garbage`: no HTTP
/// - all others: 404
pub struct HttpServer {
    pub port: u16,
    server: TcpServer,
    requests: Arc<Mutex<Vec<String>>>,
}

impl HttpServer {
    pub fn start() -> Self {
        Self::over(|stream| Some(Box::new(stream) as Box<dyn Duplex>))
    }

    /// With the certificate and the key of two PEM files.
    pub fn start_tls(certificate: &std::path::Path, key: &std::path::Path) -> Self {
        let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("the key is the certificate's");
        let config = Arc::new(config);
        Self::over(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(Box::new(StreamOwned::new(connection, stream)))
        })
    }

    fn over(wrap: impl Fn(TcpStream) -> Option<Box<dyn Duplex>> + Send + Sync + 'static) -> Self {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let server = TcpServer::start(move |stream| {
            if let Some(stream) = wrap(stream) {
                // A guest that goes away in the middle is part of the game.
                let _ = answer(stream, &seen);
            }
        });
        Self { port: server.port, server, requests }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The first lines of all requests so far, without the version.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panicked").clone()
    }

    /// Counts the connections.
    pub fn accepted(&self) -> usize {
        self.server.accepted()
    }
}

trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

fn answer(stream: Box<dyn Duplex>, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first)?;
    let Some((request, _)) = first.trim_end().rsplit_once(' ') else { return Ok(()) };
    seen.lock().expect("nobody panicked").push(request.to_owned());
    let (mut length, mut is_chunked) = (0, false);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? <= 2 {
            break;
        }
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        is_chunked |= line.starts_with("transfer-encoding: chunked");
    }
    let body = if is_chunked { chunks(&mut stream)? } else { exactly(&mut stream, length)? };
    let target = request.split_once(' ').map_or("", |(_, target)| target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let out = stream.get_mut();
    match path {
        "/hello" => reply(out, "200 OK", "", b"hello"),
        "/echo" => reply(out, "200 OK", "", &body),
        "/to" => reply(out, "302 Found", &format!("location: {query}\r\n"), b""),
        "/size" => reply(out, "200 OK", "", &vec![b'x'; query.parse().unwrap_or(0)]),
        "/endless" => {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                out.write_all(&[b'x'; 65536])?;
            }
        }
        "/drip" => {
            out.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                out.write_all(b"x")?;
                out.flush()?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        "/silent" => exactly(&mut stream, 1).map(drop),
        "/promise" => {
            write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {query}\r\n\r\n").and_then(|()| out.flush())?;
            exactly(&mut stream, 1).map(drop)
        }
        "/half" => {
            out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").and_then(|()| out.flush())
        }
        "/headers" => {
            out.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for number in 0.. {
                out.write_all(format!("x-{number}: {}\r\n", "x".repeat(1000)).as_bytes())?;
            }
            Ok(())
        }
        "/interim" => {
            let count = query.parse().unwrap_or(u64::MAX);
            (0..count).try_for_each(|_| out.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"))?;
            reply(out, "200 OK", "", b"hello")
        }
        "/garbage" => out.write_all(b"220 mail.example ESMTP\r\n\r\n").and_then(|()| out.flush()),
        _ => reply(out, "404 Not Found", "", b"nothing here"),
    }
}

fn reply(out: &mut impl Write, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    out.write_all(head.as_bytes())?;
    out.write_all(body)?;
    out.flush()
}

fn exactly(stream: &mut impl Read, length: usize) -> std::io::Result<Vec<u8>> {
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn chunks(stream: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        body.extend(exactly(stream, length)?);
        stream.read_line(&mut line)?;
        if length == 0 {
            return Ok(body);
        }
    }
}
