//! The notes of an attempt, which the checks compare with the store.
//!
//! One line each, in one short write at the end of a file, so that lines of
//! several guests don't mix:
//!
//! ```text
//! WORD INVOCATION ATTEMPT MICROSECONDS [REST…]
//!
//! start … TASK           the guest runs
//! beat …                 it still runs
//! saw … CHILD OUTCOME    the outcome of a child arrived
//! end … OUTCOME          what it is about to return
//! ```
//!
//! An outcome is a value, or `!` and the kind of a failure.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::wasm_runner::task::context;

const PATH: &str = "/witness/log";

/// The witness of one attempt.
pub struct Witness {
    file: File,
    /// The subject that every line names.
    who: String,
}

impl Witness {
    /// Begins an attempt.
    ///
    /// # Panics
    ///
    /// If the file can't be written: an attempt that left no trace would make the
    /// evidence a lie.
    pub fn start() -> Self {
        let file = OpenOptions::new().append(true).create(true).open(PATH);
        let file = file.unwrap_or_else(|error| panic!("`{PATH}` can't be opened: {error}"));
        let mut witness = Self { file, who: format!("{} {}", context::id(), context::attempt()) };
        let task = context::task();
        // The function alone: the component has another name in each run.
        witness.line("start", &[task.rsplit([':', '.']).next().unwrap_or(&task)]);
        witness
    }

    pub fn beat(&mut self) {
        self.line("beat", &[]);
    }

    pub fn saw(&mut self, child: &str, outcome: &str) {
        self.line("saw", &[child, outcome]);
    }

    /// Ends the attempt with what it is about to return.
    pub fn end(mut self, outcome: &str) {
        self.line("end", &[outcome]);
    }

    fn line(&mut self, word: &str, rest: &[&str]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!("{word} {} {}", self.who, now.as_micros());
        for one in rest {
            line.push(' ');
            line.push_str(one);
        }
        line.push('\n');
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            panic!("`{PATH}` can't be written: {error}");
        }
    }
}
