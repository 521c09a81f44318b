//! The URLs of stores: which store one means, and opening it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MemoryStore, PostgresStore, PostgresUrl, SqliteStore, Store, StoreError};
use crate::model::Clock;

/// The forms of a store's URL, for messages and help.
pub const KNOWN_STORE_URLS: &str = "`sqlite:PATH`, `postgres://USER@HOST/DATABASE`, `memory:`";

/// A store's URL, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `memory:`, gone with the process.
    Memory,
    /// `sqlite:PATH`, a file.
    Sqlite(PathBuf),
    /// `postgres://…`, a schema of a database that many machines share.
    Postgres(Box<PostgresUrl>),
}

impl StoreUrl {
    /// Reads a URL. A relative path is meant relative to `base`.
    ///
    /// # Errors
    ///
    /// A message that names the URL and the known forms.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(rest) = text.strip_prefix("sqlite:") {
            // `sqlite:///absolute` is how other programs write it.
            let path = rest.strip_prefix("//").unwrap_or(rest);
            if path.is_empty() {
                return Err(format!("store `{text}` has no path (known: {KNOWN_STORE_URLS})"));
            }
            return Ok(Self::Sqlite(base.join(path)));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        let scheme = scheme.to_ascii_lowercase();
        if matches!(&*scheme, "postgres" | "postgresql") {
            return match PostgresUrl::parse(&format!("{scheme}:{rest}")) {
                Ok(url) => Ok(Self::Postgres(Box::new(url))),
                Err(message) => {
                    Err(format!("store `{scheme}:…` can't be read: {message} (known: {KNOWN_STORE_URLS})"))
                }
            };
        }
        Err(format!("unknown store `{}` (known: {KNOWN_STORE_URLS})", shown(text)))
    }
}

/// The part of something that may be meant as a URL which can't hold a password, however it is spelled.
fn shown(text: &str) -> String {
    if !text.contains(['@', '=', '?']) {
        return text.to_owned();
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.trim());
    let scheme = scheme.filter(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    format!("{}:…", scheme.unwrap_or_default())
}

impl StoreUrl {
    /// Opens the store, and creates it if need be.
    ///
    /// # Errors
    ///
    /// [`StoreError`], with the URL and without its password.
    pub fn open(&self, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Memory => Arc::new(MemoryStore::new(Arc::clone(clock))),
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path, Arc::clone(clock))?),
            // By the server's clock: machines differ.
            Self::Postgres(url) => Arc::new(PostgresStore::open(url, None)?),
        })
    }

    /// Opens the store; `None` if it does not exist. Nothing is created.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_existing(&self, clock: &Arc<dyn Clock>) -> Result<Option<Arc<dyn Store>>, StoreError> {
        match self {
            Self::Memory => Ok(None),
            Self::Sqlite(path) => match std::fs::symlink_metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                _ => self.open(clock).map(Some),
            },
            Self::Postgres(url) => {
                Ok(PostgresStore::open_existing(url)?.map(|store| Arc::new(store) as Arc<dyn Store>))
            }
        }
    }

    /// Whether the store outlives the process that opened it.
    pub fn is_durable(&self) -> bool {
        *self != Self::Memory
    }

    /// The file that it is, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Memory | Self::Postgres(_) => None,
        }
    }

    /// Returns the URL with its password: for processes of our own, not for messages.
    pub fn with_secrets(&self) -> String {
        match self {
            Self::Postgres(url) => url.with_secrets().to_owned(),
            Self::Memory | Self::Sqlite(_) => self.to_string(),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_relative_to_their_base() {
        let base = Path::new("/base");
        assert_eq!(StoreUrl::parse("memory:", base), Ok(StoreUrl::Memory));
        assert_eq!(StoreUrl::parse("sqlite:a/b.db", base), Ok(StoreUrl::Sqlite("/base/a/b.db".into())));
        assert_eq!(StoreUrl::parse("sqlite:/x.db", base), Ok(StoreUrl::Sqlite("/x.db".into())));
        assert_eq!(StoreUrl::parse("sqlite:///x.db", base), Ok(StoreUrl::Sqlite("/x.db".into())));
    }

    #[test]
    fn a_bad_url_lists_the_known_forms() {
        for bad in ["", "state.db", "sqlite:", "redis://x"] {
            let message = StoreUrl::parse(bad, Path::new("/")).unwrap_err();
            assert!(message.contains(&format!("`{bad}`")) && message.contains("`sqlite:PATH`"), "{message}");
        }
    }

    #[test]
    fn a_bad_postgres_url_is_not_told_with_its_password() {
        let bad = "postgres://ann:secret@h/d?sslmode=full";
        let message = StoreUrl::parse(bad, Path::new("/")).unwrap_err();
        assert!(message.contains("`sslmode` `full`") && !message.contains("secret"), "{message}");
        for bad in [
            "postgre://ann:secret@h/d",
            " postgres://ann:secret@h/d",
            "ann:secret@h/d",
            "secret@h",
            "//ann:secret@h",
            "host=h password=secret",
            "jdbc:postgresql://h/d?user=ann&password=secret",
        ] {
            let message = StoreUrl::parse(bad, Path::new("/")).unwrap_err();
            assert!(message.contains("unknown store `") && !message.contains("secret"), "{message}");
        }
        let url = StoreUrl::parse("POSTGRES://ann:secret@h/d", Path::new("/")).unwrap();
        assert_eq!(url.to_string(), "postgres://ann@h:5432/d");
        let url = StoreUrl::parse("postgres://ann:secret@h/d", Path::new("/")).unwrap();
        assert_eq!(url.to_string(), "postgres://ann@h:5432/d");
    }
}
