//! Grants of secrets.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

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
