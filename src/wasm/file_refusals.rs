//! Refused accesses to files: a `denied:` line for each, as for the network.

use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

use super::denials::Denials;
use crate::model::Failure;

/// The most bytes of a path that are kept for a denial: longer ones are no paths.
const PATH_BYTES: usize = 4096;

/// Opening in order to change something.
pub(super) const OPENING_TO_WRITE: &str = "opening to write";

/// The words with which libraries say that a file was not found.
const NOT_FOUND: [&str; 4] = ["no such file", "os error 44", "errno 44", "pre-opened file descriptor"];

/// Tells what one guest was refused.
pub(super) struct Refusals {
    denials: Arc<Denials>,
    /// The call with a path that is under way, or was the last: what it does, and with which path.
    call: Mutex<(&'static str, String)>,
    /// Whether the guest has asked for its directories, and has none.
    has_none: AtomicBool,
}

impl Refusals {
    pub(super) fn new(denials: Arc<Denials>) -> Self {
        Self { denials, call: Mutex::default(), has_none: AtomicBool::new(false) }
    }

    /// Notes a call with a path.
    pub(super) fn begin(&self, action: &'static str, path: &str) {
        let mut call = self.call.lock();
        call.0 = action;
        call.1.clear();
        call.1.push_str(&path[..path.floor_char_boundary(path.len().min(PATH_BYTES))]);
    }

    /// Notes how many directories the guest was given.
    pub(super) fn note_directories(&self, count: usize) {
        self.has_none.store(count == 0, Ordering::Relaxed);
    }

    /// Tells of the error of a call, if it is a refusal.
    pub(super) fn tell(&self, code: ErrorCode) {
        let whose = match code {
            ErrorCode::NotPermitted | ErrorCode::ReadOnly => None,
            ErrorCode::Access => Some("the runner itself has no right to it"),
            _ => return,
        };
        let call = std::mem::take(&mut *self.call.lock());
        let (action, path) = (call.0, &call.1);
        // A call without a path changes what was opened: it was refused then.
        if action.is_empty() {
            return;
        }
        let tried = format!("{action} `{path}`");
        match whose.or_else(|| not_for_want_of_a_grant(action, path)) {
            Some(why) => self.denials.say(&tried, why),
            None => {
                let missing = format!(
                    "the directory is not granted for writing: `access = \"read-write\"` in its \
                     `[[component.{}.directory]]` would",
                    self.denials.component
                );
                self.denials.say_ungranted(&tried, &missing);
            }
        }
    }

    /// Tells after a failure that the guest has no directories, if it has looked for a file: then nothing was
    /// refused, because there was nothing to ask.
    pub(super) fn tell_failure(&self, failure: &Failure, last_error: &str) {
        if !self.has_none.load(Ordering::Relaxed) {
            return;
        }
        let said = format!("{}\n{last_error}", failure.message).to_lowercase();
        if NOT_FOUND.iter().any(|words| said.contains(words)) {
            let component = &self.denials.component;
            let why = format!("no directory is granted: a `[[component.{component}.directory]]` would");
            self.denials.say_ungranted("files", &why);
        }
    }
}

/// Why a call with a path is refused whatever is granted; `None` if a grant would allow it.
fn not_for_want_of_a_grant(action: &str, path: &str) -> Option<&'static str> {
    if leads_out(Path::new(path)) {
        return Some("a path can't lead out of a granted directory");
    }
    let reads = matches!(action, "opening" | "looking at" | "reading the link");
    reads.then_some("it leads out of the granted directory, or is no file and no directory")
}

/// Whether a path begins outside of its directory, or goes up from it.
fn leads_out(path: &Path) -> bool {
    let mut depth = 0;
    for part in path.components() {
        depth += match part {
            Component::Prefix(_) | Component::RootDir => return true,
            Component::ParentDir => -1,
            Component::CurDir => 0,
            Component::Normal(_) => 1,
        };
        if depth < 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_out_if_they_go_up_too_far() {
        for path in ["/", "/a", "..", "a/../..", "./../a"] {
            assert!(leads_out(Path::new(path)), "{path}");
        }
        for path in ["", "a", "a/..", "a/../b", "./a/./b"] {
            assert!(!leads_out(Path::new(path)), "{path}");
        }
    }
}
