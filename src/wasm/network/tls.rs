//! TLS of guests' requests, with the authorities that the system trusts.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmtime_wasi_http::Error;

/// Read once: all guests of a process trust the same.
static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Shakes hands, and checks the server's certificate.
pub(super) async fn connect(
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Error> {
    let config = CONFIG
        .get_or_try_init(|| async {
            let read = tokio::task::spawn_blocking(config).await;
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

fn config() -> Result<Arc<ClientConfig>, String> {
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
