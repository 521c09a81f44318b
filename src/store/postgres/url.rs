//! URLs of PostgreSQL stores.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::model::{is_invisible, words};

/// The schema that is used if the URL names none.
const DEFAULT_SCHEMA: &str = "wasm_runner";

/// How long a connection may take to come about, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that acknowledges nothing for so long is gone.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// The longest name that PostgreSQL does not cut.
const MAX_NAME_BYTES: usize = 63;

words! {
    /// How much of TLS is asked for, in libpq's words.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Tls {
        /// None.
        Disable = "disable",
        /// Encrypt if the server can.
        Prefer = "prefer",
        /// Encrypt; whoever answers is believed.
        Require = "require",
        /// Encrypt, and check who signed the server's certificate.
        VerifyCa = "verify-ca",
        /// Encrypt, check who signed the certificate, and the server's name.
        VerifyFull = "verify-full",
    }
}

/// A URL of a PostgreSQL store, read. Shown, it has no password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    pub(super) config: Config,
    pub(super) schema: String,
    pub(super) tls: Tls,
    /// The authorities to believe, instead of the system's.
    pub(super) root_certificates: Option<PathBuf>,
    /// Whether the connection to the server is a session of our own, which can
    /// listen and remember statements. It is not behind a pooler.
    pub(super) listens: bool,
    shown: String,
    whole: String,
}

impl PostgresUrl {
    /// Reads a URL: everything that libpq's URLs may say and `tokio-postgres`
    /// understands, and `sslmode`, `sslrootcert`, `schema` and `listen`.
    ///
    /// # Errors
    ///
    /// The message says what is wrong, without the URL itself: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        let mut url = Self {
            config: Config::new(),
            schema: DEFAULT_SCHEMA.to_owned(),
            tls: Tls::Prefer,
            root_certificates: None,
            listens: true,
            shown: String::new(),
            whole: text.to_owned(),
        };
        let mut theirs = Vec::new();
        let mut is_verified_by_file = false;
        let mut mode = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            match name {
                "sslmode" => mode = Some(read_tls(&value)?),
                "sslrootcert" => {
                    is_verified_by_file = value != "system";
                    url.root_certificates = is_verified_by_file.then(|| value.into());
                }
                "schema" => url.schema = check_schema(value)?,
                "listen" => {
                    url.listens = match value.as_str() {
                        "on" => true,
                        "off" => false,
                        _ => return Err(format!("`listen` is `on` or `off`, not `{value}`")),
                    };
                }
                _ => theirs.push(pair),
            }
        }
        url.tls = mode.unwrap_or(Tls::Prefer);
        if is_verified_by_file
            && matches!(url.tls, Tls::Disable | Tls::Prefer | Tls::Require)
            && mode.is_some()
        {
            return Err("`sslrootcert` needs `sslmode=verify-ca` or `sslmode=verify-full`: \
                        nothing is checked otherwise"
                .to_owned());
        }
        if is_verified_by_file && mode.is_none() {
            url.tls = Tls::VerifyFull;
        }
        let for_driver = match theirs.is_empty() {
            true => address.to_owned(),
            false => format!("{address}?{}", theirs.join("&")),
        };
        url.config = for_driver.parse().map_err(|error: tokio_postgres::Error| explain(&error))?;
        url.complete()?;
        url.shown = url.show();
        Ok(url)
    }

    /// Fills in what is the same for everybody.
    fn complete(&mut self) -> Result<(), String> {
        let config = &mut self.config;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host (`postgres://USER@HOST/DATABASE`)".to_owned());
        }
        if config.get_user().is_none() {
            config.user(std::env::var("PGUSER").unwrap_or_else(|_| "postgres".to_owned()));
        }
        if config.get_password().is_none()
            && let Ok(password) = std::env::var("PGPASSWORD")
        {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("run-wasm-runner");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(DEAD_AFTER);
        }
        config.keepalives_idle(DEAD_AFTER).keepalives_interval(Duration::from_secs(3)).keepalives_retries(3);
        config.ssl_mode(match self.tls {
            Tls::Disable => SslMode::Disable,
            Tls::Prefer => SslMode::Prefer,
            Tls::Require | Tls::VerifyCa | Tls::VerifyFull => SslMode::Require,
        });
        Ok(())
    }

    /// The URL as it was given.
    pub fn with_secrets(&self) -> &str {
        &self.whole
    }

    /// Where the server is, for messages: host and port.
    pub(super) fn place(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let mut hosts: Vec<_> = hosts.collect();
        if hosts.is_empty() {
            hosts = self.config.get_hostaddrs().iter().map(ToString::to_string).collect();
        }
        let ports = self.config.get_ports();
        let places = hosts.iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        });
        format!("`{}`", places.collect::<Vec<_>>().join(","))
    }

    fn show(&self) -> String {
        let place = self.place();
        let mut shown = format!(
            "postgres://{}@{}/{}",
            self.config.get_user().unwrap_or_default(),
            place.trim_matches('`'),
            self.config.get_dbname().or(self.config.get_user()).unwrap_or_default()
        );
        if self.schema != DEFAULT_SCHEMA {
            shown.push_str(&format!("?schema={}", self.schema));
        }
        shown
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn read_tls(value: &str) -> Result<Tls, String> {
    Tls::ALL.into_iter().find(|tls| tls.as_str() == value).ok_or_else(|| {
        let names = Tls::ALL.map(|tls| format!("`{tls}`"));
        format!("unknown `sslmode` `{value}` (known: {})", names.join(", "))
    })
}

fn check_schema(name: String) -> Result<String, String> {
    let is_reserved = name.starts_with("pg_") || name == "information_schema";
    let is_plain = !name.contains(is_invisible) && !name.contains(char::is_control);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !is_plain || is_reserved {
        return Err(format!(
            "`schema={}` can't be used: choose a name of 1 to {MAX_NAME_BYTES} bytes that is not the system's, without control characters",
            name.escape_debug()
        ));
    }
    Ok(name)
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a `%` in it is not followed by two hexadecimal digits")?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 once decoded".to_owned())
}

fn explain(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.source() {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_says_is_read() {
        let url = PostgresUrl::parse(
            "postgresql://ann:s%40cret@db.example:5433/jobs?schema=acme&sslmode=verify-full&listen=off\
             &application_name=x&sslrootcert=/etc/my%20ca.pem",
        )
        .unwrap();
        assert_eq!(url.schema, "acme");
        assert_eq!(url.tls, Tls::VerifyFull);
        assert_eq!(url.root_certificates.as_deref(), Some("/etc/my ca.pem".as_ref()));
        assert!(!url.listens);
        assert_eq!(url.config.get_password(), Some(&b"s@cret"[..]));
        assert_eq!(url.config.get_application_name(), Some("x"));
        assert_eq!(url.place(), "`db.example:5433`");
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in ["postgres://ann:secret@h/jobs", "postgres://ann@h/jobs?password=secret"] {
            let url = PostgresUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), "postgres://ann@h:5432/jobs");
            assert_eq!(format!("{url:?}"), "postgres://ann@h:5432/jobs");
        }
        let url = PostgresUrl::parse("postgres://ann@/jobs?host=/run/pg&schema=acme").unwrap();
        assert_eq!(url.to_string(), "postgres://ann@/run/pg:5432/jobs?schema=acme");
    }

    #[test]
    fn a_root_certificate_is_there_to_be_checked() {
        let url = PostgresUrl::parse("postgres://h/d?sslrootcert=ca.pem").unwrap();
        assert_eq!(url.tls, Tls::VerifyFull);
        let error = PostgresUrl::parse("postgres://h/d?sslmode=require&sslrootcert=ca.pem").unwrap_err();
        assert!(error.contains("nothing is checked"), "{error}");
    }

    #[test]
    fn mistakes_are_named_without_the_password() {
        for (query, words) in [
            ("sslmode=full", "unknown `sslmode` `full`"),
            ("listen=maybe", "`listen` is `on` or `off`, not `maybe`"),
            ("schema=", "`schema=` can't be used"),
            ("schema=a%0ab", r"`schema=a\nb` can't be used"),
            ("schema=a%1b", "can't be used"),
            ("schema=a%e2%80%ae", "can't be used"),
            ("schema=pg_catalog", "`schema=pg_catalog` can't be used"),
            ("colour=red", "colour"),
            ("schema=%zz", "hexadecimal"),
        ] {
            let error = PostgresUrl::parse(&format!("postgres://ann:secret@h/d?{query}")).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{query}: {error}");
        }
        assert!(PostgresUrl::parse("postgres:///d").unwrap_err().contains("names no host"));
    }
}
