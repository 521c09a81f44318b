//! A registry for tests: Debian's `docker-registry`, installed if it is missing, on a
//! free port of the loopback interface, with its files in a temporary directory.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::database::{free_port, install};

const PATIENCE: Duration = Duration::from_secs(60);

/// User and password of a registry that asks for them, and the line that it knows
/// them by.
pub const USER: &str = "acme";
pub const PASSWORD: &str = "open sesame";

/// A running registry, ended when dropped.
pub struct Registry {
    directory: tempfile::TempDir,
    port: u16,
    server: Child,
}

fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = PathBuf::from("/usr/bin/docker-registry");
        if !path.is_file() {
            install("docker-registry");
        }
        path
    })
}

impl Registry {
    pub fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// One that answers nobody without a password; `htpasswd` is a line of such a
    /// file, with bcrypt.
    pub fn start_closed(htpasswd: &str) -> Self {
        Self::start_with(|directory| {
            let file = directory.join("htpasswd");
            std::fs::write(&file, htpasswd).expect("it can be written");
            format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", file.display())
        })
    }

    /// One that answers those who have a token of a token server.
    pub fn start_with_tokens(realm: &str, certificate: &Path) -> Self {
        Self::start_with(|_| super::tokens::in_configuration(realm, certificate))
    }

    /// `more` of its configuration may need files in its directory.
    fn start_with(more: impl FnOnce(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let more = more(directory.path());
        let port = free_port();
        let files = directory.path().join("files");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:{port}\n{more}",
            files.display()
        );
        let config = directory.path().join("config.yml");
        std::fs::write(&config, text).expect("it can be written");
        let mut server = Command::new(program())
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the registry starts");
        let (sender, receiver) = channel();
        let lines = BufReader::new(server.stderr.take().expect("a pipe"));
        // To its end: a registry whose messages nobody takes would stand still.
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut said = String::new();
        loop {
            match receiver.recv_timeout(PATIENCE) {
                Ok(line) if line.contains("listening on") => break,
                Ok(line) => said += &(line + "\n"),
                Err(_) => panic!("the registry does not listen:\n{said}"),
            }
        }
        Self { directory, port, server }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts a component there, and returns the digest of its manifest.
    pub fn push(
        &self,
        repository: &str,
        tag: &str,
        bytes: &[u8],
        config_type: &str,
        auth: &RegistryAuth,
    ) -> String {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let protocol = ClientProtocol::Http;
        let client = Client::new(ClientConfig { protocol, ..ClientConfig::default() });
        let image = Reference::with_tag(self.host(), repository.to_owned(), tag.to_owned());
        let layers = [ImageLayer::new(bytes.to_vec(), "application/wasm".to_owned(), None)];
        let config = Config::new(b"{}".to_vec(), config_type.to_owned(), None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            client.push(&image, &layers, config, auth, None).await.expect("it can be pushed");
            client.fetch_manifest_digest(&image, auth).await.expect("it is there")
        })
    }

    /// The file in which the registry keeps the bytes with a digest.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        let blobs = self.directory.path().join("files/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
