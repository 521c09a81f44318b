//! The lines of guests, read back. `guest-tasks/task-torture/src/witness.rs` says what they look
//! like.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::model::{InvocationId, UnixMicros};

/// One line of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The number of the runner process in which it was written.
    pub process: usize,
    /// The invocation whose attempt wrote it.
    pub id: InvocationId,
    pub attempt: u32,
    /// The time, by the guest's clock.
    pub at: UnixMicros,
    pub told: Told,
}

/// The content of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It runs this function.
    Start(String),
    /// It still runs.
    Beat,
    /// This is the outcome of a child: a value, or `!` and the kind of a failure.
    Saw(InvocationId, String),
    /// This is what it is about to return, written alike.
    End(String),
}

impl Line {
    /// Reads a line; `None` if it is not one.
    pub fn parse(process: usize, text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let word = words.next()?;
        let id = words.next()?.parse().ok()?;
        let attempt = words.next()?.parse().ok()?;
        let at = UnixMicros(words.next()?.parse().ok()?);
        let told = match word {
            "start" => Told::Start(words.next()?.to_owned()),
            "beat" => Told::Beat,
            "saw" => Told::Saw(words.next()?.parse().ok()?, words.next()?.to_owned()),
            "end" => Told::End(words.next()?.to_owned()),
            _ => return None,
        };
        words.next().is_none().then_some(Self { process, id, attempt, at, told })
    }
}

/// Reads the lines of one runner process while they are written.
#[derive(Debug)]
pub struct Tail {
    process: usize,
    path: PathBuf,
    offset: u64,
}

impl Tail {
    /// Begins with the file in a directory that guests were granted.
    pub fn new(process: usize, witness: &Path) -> Self {
        Self { process, path: witness.join("log"), offset: 0 }
    }

    /// Reads the lines that were completed since the last time. Anything else is given as an
    /// error, as text.
    pub fn read(&mut self) -> io::Result<Vec<Result<Line, String>>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // What follows the last newline is not complete yet; or never, if its
        // runner was killed in the middle of it.
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        self.offset += complete as u64;
        let text = String::from_utf8_lossy(&bytes[..complete]);
        let lines = text.lines().map(|text| {
            let line = Line::parse(self.process, text);
            line.ok_or_else(|| format!("runner {}: `{}`", self.process, text.escape_debug()))
        });
        Ok(lines.collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ID: &str = "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f";

    #[test]
    fn lines_are_read_and_nonsense_is_not() {
        let id: InvocationId = ID.parse().unwrap();
        let line = |told| Some(Line { process: 3, id, attempt: 2, at: UnixMicros(17), told });
        let parse = |text: String| Line::parse(3, &text);
        assert_eq!(parse(format!("start {ID} 2 17 leaf")), line(Told::Start("leaf".to_owned())));
        assert_eq!(parse(format!("beat {ID} 2 17")), line(Told::Beat));
        assert_eq!(parse(format!("saw {ID} 2 17 {ID} !lost")), line(Told::Saw(id, "!lost".to_owned())));
        assert_eq!(parse(format!("end {ID} 2 17 42")), line(Told::End("42".to_owned())));
        for bad in
            ["", "end", &format!("end {ID} 2 17"), &format!("beat {ID} 2 17 x"), &format!("go {ID} 2 17")]
        {
            assert_eq!(parse(bad.to_owned()), None, "{bad}");
        }
    }

    #[test]
    fn a_tail_gives_each_line_once_and_waits_for_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = File::create(directory.path().join("log")).unwrap();
        let mut tail = Tail::new(0, directory.path());
        assert!(tail.read().unwrap().is_empty());
        write!(file, "beat {ID} 1 5\nbeat {ID} 1").unwrap();
        assert_eq!(tail.read().unwrap().len(), 1);
        assert!(tail.read().unwrap().is_empty(), "half a line is none");
        write!(file, " 6\nnonsense\n").unwrap();
        let lines = tail.read().unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].as_ref().map(|line| line.at), Ok(UnixMicros(6)));
        assert_eq!(lines[1], Err("runner 0: `nonsense`".to_owned()));
    }
}
