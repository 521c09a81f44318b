//! The lock file: which bytes each configured component has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problem::{Origin, Problem};
use crate::model::ComponentDigest;
use crate::regular_file;

/// The comment at the top of the file.
const COMMENT: &str = "\
# Written by `run-wasm-runner lock`. While this file is here, a component with another
# digest is refused: `run-wasm-runner lock --update NAME` accepts its new one.
";

/// The format of the file.
const VERSION: u32 = 1;

/// The most digests that are remembered of a component, besides the one that it has.
const MAX_EARLIER: usize = 32;

/// Which bytes each component has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By name.
    #[serde(default, rename = "component")]
    pub components: BTreeMap<String, LockedComponent>,
}

/// One component in a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedComponent {
    /// Where the bytes came from, for people, and to see that it changed.
    pub source: String,
    /// The digest of its bytes.
    pub digest: ComponentDigest,
    /// Digests that it had before: invocations that are pinned to them may run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<ComponentDigest>,
}

impl LockedComponent {
    /// All digests that may run, the one that it has first.
    pub fn allowed(&self) -> Vec<ComponentDigest> {
        std::iter::once(self.digest).chain(self.earlier.iter().copied()).collect()
    }

    /// Explains why the digest says nothing of the component `name` any more: it comes from elsewhere now.
    pub fn moved(&self, name: &str, said: &str) -> Option<String> {
        (self.source != said).then(|| {
            format!(
                "it comes from `{said}`, and the lock file has the digest of `{}`: \
                 `run-wasm-runner lock --update {name}` accepts what is there",
                self.source
            )
        })
    }

    /// A copy with another digest, and this one among the earlier ones.
    pub fn moved_to(&self, source: String, digest: ComponentDigest, keep_earlier: bool) -> Self {
        let mut earlier = Vec::new();
        if keep_earlier {
            for one in self.allowed() {
                if one != digest && !earlier.contains(&one) {
                    earlier.push(one);
                }
            }
            earlier.truncate(MAX_EARLIER);
        }
        Self { source, digest, earlier }
    }
}

impl Lock {
    /// Makes a lock of these components.
    pub fn new(components: BTreeMap<String, LockedComponent>) -> Self {
        Self { version: VERSION, components }
    }

    /// Where the lock of a configuration file is: beside it.
    pub fn path_beside(file: &Path) -> PathBuf {
        file.with_extension("lock")
    }

    /// Reads the lock beside a configuration file, if there is one.
    ///
    /// # Errors
    ///
    /// A [`Problem`] with the file.
    pub fn read_beside(file: &Path) -> Result<Option<Self>, Problem> {
        let path = Self::path_beside(file);
        // Something that is there and can't be read must not count as no lock.
        let text = match regular_file::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| format!("the lock file can't be read: {error}")),
        };
        let text = text.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| "the lock file can't be read: it is not UTF-8".to_owned())
        });
        let read = text.and_then(|text| Self::parse(&text));
        read.map(Some).map_err(|message| {
            Problem::new(Origin::File, message).at(path.display().to_string()).hint(
                "write it anew, once you have looked at what changed: remove it, then `run-wasm-runner lock`",
            )
        })
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lock: Self = toml::from_str(text)
            .map_err(|error| format!("the lock file can't be understood: {}", error.message()))?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(format!("the lock file has the version {other}, and {VERSION} is known")),
        }
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        // A map of strings and lists of strings is always TOML.
        COMMENT.to_owned() + &toml::to_string(self).expect("a lock can be written as TOML")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> ComponentDigest {
        ComponentDigest::from_bytes([byte; 32])
    }

    #[test]
    fn a_lock_survives_its_text_form_and_has_a_stable_order() {
        let one =
            LockedComponent { source: "b.wasm".to_owned(), digest: digest(1), earlier: vec![digest(2)] };
        let other = LockedComponent { source: "store".to_owned(), digest: digest(3), earlier: Vec::new() };
        let lock = Lock::new([("b".to_owned(), one), ("a".to_owned(), other)].into());
        let text = lock.to_text();
        assert!(text.starts_with("# Written by `run-wasm-runner lock`"), "{text}");
        assert!(text.find("[component.a]") < text.find("[component.b]"), "{text}");
        assert_eq!(Lock::parse(&text), Ok(lock));
    }

    #[test]
    fn what_is_no_lock_is_refused() {
        for (text, why) in [
            ("", "missing field `version`"),
            ("version = 2", "version 2"),
            ("version = 1\nmore = 1", "unknown field `more`"),
            ("version = 1\n[component.a]\nsource = \"x\"\ndigest = \"sha256:00\"", "not a component digest"),
            ("version = 1\n<<<<<<< ours", "can't be understood"),
        ] {
            let error = Lock::parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn earlier_digests_are_kept_once_and_not_for_ever() {
        let mut one = LockedComponent { source: String::new(), digest: digest(0), earlier: Vec::new() };
        for byte in 1..100 {
            one = one.moved_to(String::new(), digest(byte), true);
        }
        assert_eq!(one.earlier.len(), MAX_EARLIER);
        assert_eq!(one.earlier[0], digest(98));
        let back = one.moved_to(String::new(), digest(98), true);
        assert_eq!((back.digest, back.earlier[0]), (digest(98), digest(99)));
        assert!(!back.earlier.contains(&digest(98)));
        assert!(back.moved_to(String::new(), digest(7), false).earlier.is_empty());
    }
}
