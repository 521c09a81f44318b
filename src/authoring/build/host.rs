//! The program that a build is part of.

use serde_json::Value;

use super::project::Project;
use crate::authoring::AuthoringError;

/// The program that a build is part of.
pub trait Host {
    /// Tells the user what is done next.
    fn note(&self, text: &str);

    /// Calls a function of the component that makes components (see [`componentize`](super::componentize)). It may
    /// read the project's directory `wit`, and read and write `build`.
    ///
    /// # Errors
    ///
    /// [`AuthoringError::Build`] with the error that it returns.
    fn call(&self, project: &Project, function: &str, arguments: &Value) -> Result<(), AuthoringError>;
}
