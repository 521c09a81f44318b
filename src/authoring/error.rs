//! Why a project can't be made, read or built.

use std::io;
use std::path::Path;

/// Why a project can't be made, read or built.
#[derive(Debug, thiserror::Error)]
pub enum AuthoringError {
    /// The request names a project that does not exist or can't be.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// The project can't be built.
    #[error("{message}")]
    Build { message: String, hint: Option<String> },
    /// A file can't be written.
    #[error("{0}")]
    System(String),
}

impl AuthoringError {
    /// Makes a usage error.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// Makes the error of a build that no command mends.
    pub fn build(message: impl Into<String>) -> Self {
        Self::Build { message: message.into(), hint: None }
    }

    /// Makes the error of a build that can't have something `done` with a path: `read`, `written`.
    pub fn cannot<'p>(done: &'p str, path: &'p Path) -> impl Fn(io::Error) -> Self + 'p {
        move |error| Self::build(format!("`{}` can't be {done}: {error}", path.display()))
    }

    /// Makes the error of a path outside a build that can't be written.
    pub fn unwritable(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::System(format!("`{}` can't be written: {error}", path.display()))
    }
}
