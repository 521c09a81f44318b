//! What the guests of a component may touch.

use std::path::PathBuf;
use std::sync::Arc;

use super::glob::Glob;
use super::network::{HttpGrant, NetworkGrant};
use super::scratch::ScratchGrant;
use super::secrets::SecretGrant;

/// What the guests of a component may touch. Nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Directories.
    pub directories: Vec<DirectoryGrant>,
    /// Environment variables: names and values.
    pub environment: Vec<(String, String)>,
    /// The same whose values are secret.
    pub secrets: Vec<SecretGrant>,
    /// A directory of each attempt's own.
    pub scratch: Option<ScratchGrant>,
    /// What they may connect to.
    pub network: Arc<[NetworkGrant]>,
    /// The requests that they may make.
    pub http: Arc<[HttpGrant]>,
    /// The tasks that they may submit, by their full ids; `None`: every one.
    pub may_submit: Option<Arc<[Glob]>>,
}

/// A directory of the host that guests see.
#[derive(Debug, Clone)]
pub struct DirectoryGrant {
    /// Where it is on the host, absolute.
    pub host: PathBuf,
    /// Where guests see it.
    pub guest: String,
    /// What they may do with it.
    pub access: DirectoryAccess,
}

/// What guests may do with a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// List and read.
    ReadOnly,
    /// List, read, write, create and remove.
    ReadWrite,
}
