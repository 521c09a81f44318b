//! Grants: the files, variables, hosts and tasks that the guests of a component may use.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::network::{HttpGrant, NetworkGrant};
use super::scratch::ScratchGrant;
use crate::model::Glob;

/// Everything that the guests of a component are granted. By default they may submit every task, and nothing
/// else.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    /// Directories.
    pub directories: Vec<DirectoryGrant>,
    /// Environment variables: names and values.
    pub environment: Vec<(String, String)>,
    /// Environment variables whose values are secret.
    pub secrets: Vec<SecretGrant>,
    /// A directory for each attempt.
    pub scratch: Option<ScratchGrant>,
    /// Hosts and their ports.
    pub network: Arc<[NetworkGrant]>,
    /// HTTP requests.
    pub http: Arc<[HttpGrant]>,
    /// Tasks to submit, by their ids or functions; `None`: all.
    pub may_submit: Option<Arc<[Glob]>>,
}

impl Grants {
    /// The file descriptors that each guest holds for as long as it lives.
    pub(super) fn descriptors(&self) -> usize {
        self.directories.len() + usize::from(self.scratch.is_some())
    }
}

/// A directory of the host that guests see.
#[derive(Debug, Clone)]
pub struct DirectoryGrant {
    /// Its absolute path on the host.
    pub host: PathBuf,
    /// Its path in the guest.
    pub guest: String,
    /// The operations on it.
    pub access: DirectoryAccess,
}

/// The operations on a directory that guests may perform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// List and read.
    ReadOnly,
    /// List, read, write, create and remove.
    ReadWrite,
}

/// The kinds of right that a component can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RightKind {
    /// Files and directories.
    Files,
    /// Variables and arguments.
    Environment,
    /// Sockets and lookups of names.
    Network,
    /// Requests by `wasi:http`.
    Http,
    /// Clocks.
    Clocks,
    /// Random numbers.
    Random,
    /// Tasks by their names.
    Submits,
    /// Tasks by importing their interface.
    Tasks,
    /// Interfaces that this runner does not have.
    Unknown,
}

impl RightKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Files,
        Self::Environment,
        Self::Network,
        Self::Http,
        Self::Clocks,
        Self::Random,
        Self::Submits,
        Self::Tasks,
        Self::Unknown,
    ];

    /// Its name in output and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Environment => "environment",
            Self::Network => "network",
            Self::Http => "http",
            Self::Clocks => "clocks",
            Self::Random => "random",
            Self::Submits => "submits",
            Self::Tasks => "tasks",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for RightKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of grant: a key of `[component.NAME]`.
#[derive(Debug)]
pub struct GrantKind {
    /// The key.
    pub key: &'static str,
    /// The keys of its section, if it has one.
    pub section: &'static [&'static str],
    /// The kind of right of which it grants a part.
    pub right: RightKind,
    /// The meaning of a grant, for the docs.
    pub allows: &'static str,
    /// Lists the grants, a line each, without any secret.
    pub granted: fn(&Grants) -> Vec<String>,
}

/// Every kind of grant. A new one is a row here, code that reads it from the configuration, and code that
/// applies it: `inspect` and the names of keys follow, and tests compare `docs/configuration.md` with it.
pub const GRANTS: [GrantKind; 7] = [
    GrantKind {
        key: "directory",
        section: &["host", "guest", "access"],
        right: RightKind::Files,
        allows: "a directory of the host, to read or to write too; one block for each",
        granted: |grants| grants.directories.iter().map(ToString::to_string).collect(),
    },
    GrantKind {
        key: "scratch",
        section: &["guest", "size", "files"],
        right: RightKind::Files,
        allows: "an empty directory of each attempt's own, with limits of size and files",
        granted: |grants| {
            let line = |ScratchGrant { guest, bytes, files, .. }: &ScratchGrant| {
                format!("a scratch directory as {guest}, {bytes} bytes, {files} files")
            };
            grants.scratch.iter().map(line).collect()
        },
    },
    GrantKind {
        key: "environment",
        section: &[],
        right: RightKind::Environment,
        allows: "variables with these values",
        // Names only: values may be confidential.
        granted: |grants| grants.environment.iter().map(|(name, _)| name.clone()).collect(),
    },
    GrantKind {
        key: "secrets",
        section: &["file", "environment"],
        right: RightKind::Environment,
        allows: "variables whose values are read from a file or a variable of the runner, and never shown",
        granted: |grants| grants.secrets.iter().map(|secret| format!("{} (secret)", secret.name)).collect(),
    },
    GrantKind {
        key: "network",
        section: &["host", "ports", "allow-private"],
        right: RightKind::Network,
        allows: "TCP, UDP and names of a host, at some ports; one block for each",
        granted: |grants| grants.network.iter().map(ToString::to_string).collect(),
    },
    GrantKind {
        key: "http",
        section: &["host", "schemes", "ports", "methods", "paths", "allow-private"],
        right: RightKind::Http,
        allows: "requests to a host; one block for each",
        granted: |grants| grants.http.iter().map(ToString::to_string).collect(),
    },
    GrantKind {
        key: "may-submit",
        section: &[],
        right: RightKind::Submits,
        allows: "submits of these tasks, also by importing them; without it, of every task. Also awaiting and cancelling invocations of them in trees that are not the guest's own",
        granted: |grants| {
            grants.may_submit.iter().flat_map(|tasks| tasks.iter()).map(ToString::to_string).collect()
        },
    },
];

/// The keys of the section of a kind of grant.
pub fn grant_section(key: &str) -> &'static [&'static str] {
    GRANTS.iter().find(|kind| kind.key == key).map_or(&[], |kind| kind.section)
}

/// The keys of the kinds of grant.
pub const GRANT_KEYS: [&str; GRANTS.len()] = {
    let mut keys = [""; GRANTS.len()];
    let mut row = 0;
    while row < keys.len() {
        keys[row] = GRANTS[row].key;
        row += 1;
    }
    keys
};

impl fmt::Display for DirectoryGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            DirectoryAccess::ReadOnly => "read-only",
            DirectoryAccess::ReadWrite => "read-write",
        };
        write!(f, "{} as {}, {access}", self.host.display(), self.guest)
    }
}

/// A variable whose value is secret. Only the name is ever shown.
#[derive(Debug, Clone)]
pub struct SecretGrant {
    /// The name of the variable.
    pub name: String,
    /// The place of its value.
    pub source: SecretSource,
    /// The value, once it was read; shared with all clones.
    value: Arc<OnceLock<Value>>,
}

/// The place of the value of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, without the line break at its end.
    File(PathBuf),
    /// A variable of the runner's own environment.
    Environment(String),
}

/// A text that is never shown.
struct Value(Box<str>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl SecretGrant {
    /// Makes a grant whose value was not read yet.
    pub fn new(name: String, source: SecretSource) -> Self {
        Self { name, source, value: Arc::default() }
    }

    /// Sets its value: the first time counts.
    pub fn fill(&self, value: String) {
        let _ = self.value.set(Value(value.into()));
    }

    /// The value; `None` until it is set.
    pub(super) fn value(&self) -> Option<&str> {
        self.value.get().map(|value| &*value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_value_by_chance() {
        let secret = SecretGrant::new("KEY".to_owned(), SecretSource::Environment("FROM".to_owned()));
        assert_eq!(secret.value(), None);
        secret.fill("hunter2".to_owned());
        assert_eq!(secret.value(), Some("hunter2"));
        assert!(!format!("{secret:?} {:#?}", secret.clone()).contains("hunter2"));
    }
}
