//! Projects of tasks in each language: [`new`] makes one, [`build`] makes a component of it, [`wit`]
//! reads and writes the WIT of its tasks.
//!
//! The SDKs stand in `sdk/` at the top of the repository, and are included here.

pub mod build;
mod error;
mod language;
mod languages;
pub mod new;
mod project;
pub mod wit;

pub use error::AuthoringError;
pub use language::{Language, Style};
pub use languages::LANGUAGES;
