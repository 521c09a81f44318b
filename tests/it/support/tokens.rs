//! A token server for registries, as the specification of Docker's registry has it: it
//! takes identity tokens by OAuth 2 and gives signed ones for one repository.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::openssl::openssl;
use super::servers::TcpServer;

/// Its name, for itself and for the registry.
pub const NAME: &str = "tests";

/// The only identity token that it takes. Not all of it can stand in a form as it is.
pub const IDENTITY: &str = "identity+of/acme&all=";

pub struct TokenServer {
    server: TcpServer,
    signer: Arc<Signer>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    pub fn start() -> Self {
        let signer = Arc::new(Signer::new());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (sign, heard) = (Arc::clone(&signer), Arc::clone(&asked));
        let server = TcpServer::start(move |stream| {
            let _ = answer(stream, &sign, &heard);
        });
        Self { server, signer, asked }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.server.port)
    }

    /// The certificate by which a registry knows its signatures.
    pub fn certificate(&self) -> PathBuf {
        self.signer.directory.path().join("signer.pem")
    }

    /// A token for whoever needs none to ask for it.
    pub fn token(&self, repository: &str, actions: &[&str]) -> String {
        self.signer.sign(repository, actions)
    }

    /// The requests that it got, without the identity.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

struct Signer {
    directory: tempfile::TempDir,
    /// The certificate as a token carries it.
    certificate: String,
}

impl Signer {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let request =
            "req -x509 -newkey rsa:2048 -nodes -keyout signer.key -out signer.pem -subj /CN=tests -days 2";
        openssl(directory.path(), request);
        let pem = std::fs::read_to_string(directory.path().join("signer.pem")).expect("it was made");
        let certificate = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Self { directory, certificate }
    }

    fn sign(&self, repository: &str, actions: &[&str]) -> String {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [self.certificate] });
        let claims = json!({
            "iss": NAME, "aud": NAME, "sub": "acme", "iat": now, "nbf": now - 60, "exp": now + 300, "jti": "1",
            "access": [{ "type": "repository", "name": repository, "actions": actions }],
        });
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let file = tempfile::NamedTempFile::new_in(&self.directory).expect("a file");
        std::fs::write(&file, &signed).expect("it can be written");
        let name = file.path().file_name().and_then(|name| name.to_str()).expect("a name");
        let signature =
            openssl(self.directory.path(), &format!("dgst -sha256 -binary -sign signer.key {name}"));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Answers one request.
fn answer(mut stream: TcpStream, signer: &Signer, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = format!("form:?{}", String::from_utf8_lossy(&body));
    let fields = reqwest::Url::parse(&body).expect("a form");
    let field = |name: &str| {
        let found = fields.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let scope = field("scope");
    let line = request.trim_end().trim_end_matches(" HTTP/1.1");
    asked.lock().expect("nobody panicked").push(format!("{line} {} {scope}", field("grant_type")));
    let is_known = request.starts_with("POST ")
        && field("grant_type") == "refresh_token"
        && field("service") == NAME
        && field("refresh_token") == IDENTITY;
    let repository = scope.strip_prefix("repository:").and_then(|rest| rest.strip_suffix(":pull"));
    let (status, answer) = match repository.filter(|_| is_known) {
        Some(repository) => ("200 OK", json!({ "access_token": signer.sign(repository, &["pull"]) })),
        None => ("401 Unauthorized", json!({ "details": "incorrect refresh token" })),
    };
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// The part of a registry's configuration about it.
pub fn in_configuration(realm: &str, certificate: &Path) -> String {
    format!(
        "auth:\n  token:\n    realm: {realm}\n    service: {NAME}\n    issuer: {NAME}\n    rootcertbundle: {}\n",
        certificate.display()
    )
}
