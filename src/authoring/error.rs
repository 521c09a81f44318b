//! Why a project can't be made, read or built.

use crate::wasm::LoadError;

/// Why a project can't be made, read or built.
#[derive(Debug, thiserror::Error)]
pub enum AuthoringError {
    /// The request names a project that does not exist or can't be.
    #[error("{message}")]
    Usage {
        /// The reason.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// The project can't be built.
    #[error("{message}")]
    Build {
        /// The reason.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// A file can't be written.
    #[error("{0}")]
    System(String),
    /// The component that makes components can't be loaded.
    #[error("{}", .0.iter().map(LoadError::to_string).collect::<Vec<_>>().join("\n"))]
    Load(Vec<LoadError>),
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

    /// Makes the error of a path that can't be written.
    pub fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::System(format!("`{}` can't be written: {error}", path.display()))
    }
}
