//! Secrets that guests are given.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// A variable whose value is secret. Only the name is ever shown.
#[derive(Debug, Clone)]
pub struct SecretGrant {
    /// The name of the variable.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// The value, once it was read; shared with all clones.
    value: Arc<OnceLock<Value>>,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, but for a line break at its end.
    File(PathBuf),
    /// In a variable of the runner's own environment.
    Environment(String),
}

/// Text that is not for showing.
struct Value(Box<str>);

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

impl SecretGrant {
    /// A secret that is not read yet.
    pub fn new(name: String, source: SecretSource) -> Self {
        Self { name, source, value: Arc::default() }
    }

    /// Says what its value is: the first time counts.
    pub fn fill(&self, value: String) {
        let _ = self.value.set(Value(value.into()));
    }

    /// The value; `None` as long as nobody has said it.
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
