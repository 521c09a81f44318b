//! Outgoing requests by `wasi:http`: each is checked, and sent on a connection of its own to a checked
//! address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use super::gate::{Gate, LookupError, OpenSocket};
use super::pace::{Interim, Paced};
use super::requests::{Scheme, Target};
use super::traffic::{Counted, Traffic};
use crate::model::LimitKind;
use crate::wasm::denials::Denials;

/// The timeout of a connection if the guest sets none.
const CONNECT: Duration = Duration::from_secs(30);

/// The other timeouts if the guest sets none. Its time limit is shorter, as a rule.
const PATIENCE: Duration = Duration::from_secs(600);

/// The most bytes of a response's status line and headers.
const HEAD_BYTES: usize = 32 << 10;

/// The most bytes of the headers that a guest makes, about. They are in the host's memory, and a guest may
/// hold many.
const FIELDS_BYTES: usize = 16 << 10;

/// The most bytes of one write to a request's body. Two of them may wait for their sender.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// The state of `wasi:http` of one attempt.
pub(in crate::wasm) struct Http {
    pub(super) context: WasiHttpCtx,
    pub(super) sender: Sender,
}

/// Sends the requests of one attempt.
#[derive(Clone)]
pub(super) struct Sender {
    gate: Arc<Gate>,
    /// The most bytes of a request's body.
    request_bytes: u64,
    /// The most bytes of a response's body.
    response_bytes: u64,
}

impl Http {
    /// Sends requests through a gate, within limits of their bodies.
    pub(in crate::wasm) fn new(gate: Arc<Gate>, request_bytes: u64, response_bytes: u64) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(FIELDS_BYTES);
        Self { context, sender: Sender { gate, request_bytes, response_bytes } }
    }
}

/// The code of an error that a body can end with.
pub(super) fn body_error(error: &Error) -> Option<ErrorCode> {
    Some(match error {
        Error::HttpRequestBodySize(limit) => ErrorCode::HttpRequestBodySize(*limit),
        Error::HttpResponseBodySize(limit) => ErrorCode::HttpResponseBodySize(*limit),
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::ConnectionTerminated => ErrorCode::ConnectionTerminated,
        Error::HttpProtocolError => ErrorCode::HttpProtocolError,
        Error::HttpRequestDenied => ErrorCode::HttpRequestDenied,
        _ => return None,
    })
}

/// The future that drives a connection until its response was read.
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Sender {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Driver,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Driver), Error>> + Send> {
        Box::new(send(self.clone(), request, options.unwrap_or_default()))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES
    }
}

async fn send(
    Sender { gate, request_bytes, response_bytes }: Sender,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Driver), Error> {
    let target = Target::of(&request)?;
    let addresses = gate.addresses_for(&target).await?;
    let open = gate.open().ok_or(Error::ConnectionLimitReached)?;
    if request.body().size_hint().lower() > request_bytes {
        return Err(too_large(&gate.denials, "request", request_bytes));
    }

    let until = Instant::now() + options.connect_timeout.unwrap_or(CONNECT);
    let connecting = async {
        let stream = connect(&addresses, target.port, until).await?;
        Ok::<Box<dyn Stream>, Error>(match target.scheme {
            Scheme::Https => Box::new(encrypt(server_name(&target.host)?, stream).await?),
            Scheme::Http => Box::new(stream),
        })
    };
    let traffic = &gate.traffic;
    let stream = timeout_at(until, connecting).await.map_err(|_| Error::ConnectionTimeout)??;
    let interim = Interim::default();
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(Paced::new(Counted::new(stream, traffic), interim.clone())))
        .await
        .map_err(|error| cause(&error))?;

    let host = HeaderValue::try_from(target.host_header()).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(HOST, host);
    // A server expects the path only; the host is in a header.
    *request.uri_mut() = Uri::builder()
        .path_and_query(request.uri().path_and_query().map_or("/", |path| path.as_str()))
        .build()
        .map_err(|_| Error::HttpRequestUriInvalid)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut request =
        request.map(|body| RequestBody { body, left: request_bytes, is_over: Arc::clone(&is_over) });
    interim.count(&mut request);

    let first_byte = options.first_byte_timeout.unwrap_or(PATIENCE);
    let sending = Box::pin(timeout(first_byte, sender.send_request(request)));
    let (sent, connection) = match select(sending, Box::pin(connection)).await {
        Either::Left((sent, connection)) => (sent, Some(connection)),
        // The connection has ended: its response is there, if there is one.
        Either::Right((_, sending)) => (sending.await, None),
    };
    let response = match sent {
        _ if is_over.load(Ordering::Acquire) => {
            return Err(too_large(&gate.denials, "request", request_bytes));
        }
        _ if interim.are_too_many() => return Err(Error::HttpProtocolError),
        Ok(Ok(response)) => response,
        _ if traffic.is_over() => return Err(Error::HttpRequestDenied),
        // The same error stands for a body of about 2^64 bytes. A head that is too large is there in part.
        Ok(Err(error)) if error.is_parse_too_large() && interim.bytes_since() < HEAD_BYTES => {
            return Err(too_large(&gate.denials, "response", response_bytes));
        }
        Ok(Err(error)) => return Err(cause(&error)),
        Err(_) => return Err(Error::ConnectionReadTimeout),
    };
    let between = options.between_bytes_timeout.unwrap_or(PATIENCE);
    let response = response.map(|body| {
        let body = ResponseBody {
            body,
            limit: response_bytes,
            read: 0,
            between,
            silence: Box::pin(sleep(between)),
            denials: Arc::clone(&gate.denials),
            traffic: Arc::clone(traffic),
            _open: open,
        };
        body.boxed_unsync()
    });
    let drive = async {
        if let Some(connection) = connection {
            // The reader of the body gets the error.
            let _ = connection.await;
        }
        Ok(())
    };
    Ok((response, Box::new(drive)))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the first address that answers; each gets its share of the time.
async fn connect(addresses: &[IpAddr], port: u16, until: Instant) -> Result<TcpStream, Error> {
    let mut failed = Error::DestinationNotFound;
    for (index, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        failed = match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(stream)) => {
                // It is only quicker with it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => not_connected(&error),
            Err(_) => Error::ConnectionTimeout,
        };
    }
    Err(failed)
}

/// The authorities that the system trusts. Read once for all guests of a process.
static TLS: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Shakes hands, and checks the server's certificate.
async fn encrypt(name: ServerName<'static>, stream: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    let config = TLS
        .get_or_try_init(|| async {
            let read = tokio::task::spawn_blocking(tls_config).await;
            read.unwrap_or_else(|error| Err(error.to_string()))
        })
        .await
        .map_err(|error| Error::InternalError(Some(error)))?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(|error| {
        let source = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match source {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            _ => Error::TlsProtocolError,
        }
    })
}

fn tls_config() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this system has no certificates of authorities".to_owned());
    }
    // Named, because another crate may have made the other provider known.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn not_connected(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    match super::grants::parse_address(host) {
        Some(address) => Ok(ServerName::from(address)),
        None => ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid),
    }
}

/// Translates an error of a connection into one of `wasi:http`.
fn cause(error: &hyper::Error) -> Error {
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(u32::try_from(HEAD_BYTES).ok());
    }
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::UnexpectedEof) => Error::HttpResponseIncomplete,
        Some(_) => Error::ConnectionTerminated,
        None => Error::HttpProtocolError,
    }
}

fn too_large(denials: &Denials, what: &str, limit: u64) -> Error {
    let (kind, error) = match what {
        "request" => (LimitKind::RequestBody, Error::HttpRequestBodySize(Some(limit))),
        _ => (LimitKind::ResponseBody, Error::HttpResponseBodySize(Some(limit))),
    };
    let why = format!("the limit `{kind}` is {limit} bytes");
    denials.say_limit(kind, &format!("more of a {what}'s body"), &why);
    error
}

/// The body that a guest sends, up to its limit.
struct RequestBody {
    body: WasiBody,
    left: u64,
    /// Whether the limit was reached, for the sender: the error of the body is lost on the way.
    is_over: Arc<AtomicBool>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.is_over.store(true, Ordering::Release);
                    return Poll::Ready(Some(Err(Error::HttpRequestBodySize(None))));
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body that a guest receives, up to its limit, as long as it keeps coming.
struct ResponseBody {
    body: Incoming,
    limit: u64,
    read: u64,
    between: Duration,
    silence: Pin<Box<Sleep>>,
    denials: Arc<Denials>,
    traffic: Arc<Traffic>,
    /// A response that was not read counts as an open connection.
    _open: OpenSocket,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) else {
            ready!(this.silence.as_mut().poll(context));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        this.silence.as_mut().reset(Instant::now() + this.between);
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                this.read += frame.data_ref().map_or(0, |data| data.len() as u64);
                let is_over = this.read > this.limit;
                Some(if is_over { Err(too_large(&this.denials, "response", this.limit)) } else { Ok(frame) })
            }
            Some(Err(_)) if this.traffic.is_over() => Some(Err(Error::HttpRequestDenied)),
            Some(Err(error)) => Some(Err(cause(&error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<LookupError> for Error {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Invalid => Self::HttpRequestUriInvalid,
            LookupError::Denied => Self::DestinationIpProhibited,
            LookupError::TooMany => Self::ConnectionLimitReached,
            LookupError::Unresolvable => Self::DnsError { rcode: None, info_code: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::network::http_handles::SENDING_BYTES;

    fn bytes_of_future<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_that_sends_a_request_is_not_larger_than_its_price() {
        let bytes = bytes_of_future(send) as u64;
        assert!(bytes < SENDING_BYTES / 2, "{bytes} bytes, and what it points to");
    }
}
