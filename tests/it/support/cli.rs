//! The real program in a directory of its own, with a clean environment.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// A command that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory in which commands are run, removed when dropped.
pub struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory can be created") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, with the directories above it.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("directories are created");
        std::fs::write(&path, contents).expect("a file is written");
        path
    }

    /// A command in this directory.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cli {
        let mut command = Command::new(env!("CARGO_BIN_EXE_run-wasm-runner"));
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("WASM_RUNNER_")
                || name_text.starts_with("XDG_")
                || name_text == "RUST_LOG"
            {
                command.env_remove(&name);
            }
        }
        command
            .args(args)
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("XDG_CACHE_HOME", self.path().join(".cache"))
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "0")
            // What clap wraps help to must not depend on who runs the tests.
            .env("COLUMNS", "100")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Cli { command, stdin: None, directory: self.path().to_owned(), patience: PATIENCE }
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).run()
    }
}

/// A command that is about to run.
pub struct Cli {
    command: Command,
    stdin: Option<Vec<u8>>,
    directory: PathBuf,
    patience: Duration,
}

#[allow(dead_code, reason = "each module of tests uses some of it")]
impl Cli {
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it through a shell script, which has the program and its arguments in
    /// `"$0" "$@"`.
    pub fn through(mut self, script: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            shell.current_dir(directory);
        }
        shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command = shell;
        self
    }

    /// Starts it and lets it run.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        if self.stdin.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let mut child = self.command.spawn().expect("the program starts");
        if let (Some(bytes), Some(mut stdin)) = (self.stdin, child.stdin.take()) {
            // On a thread: the program may write before it has read everything.
            // It may also end before that, which is its right.
            std::thread::spawn(move || drop(stdin.write_all(&bytes)));
        }
        let stdout = lines(child.stdout.take().expect("standard output is a pipe"));
        let stderr = lines(child.stderr.take().expect("standard error is a pipe"));
        Running {
            child,
            stdout: Captured::new(stdout),
            stderr: Captured::new(stderr),
            directory: self.directory,
            deadline: Instant::now() + self.patience,
        }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }
}

/// A command that runs; killed when dropped.
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
    directory: PathBuf,
    deadline: Instant,
}

#[allow(dead_code, reason = "each module of tests uses some of it")]
impl Running {
    /// Waits until a line of standard error contains `text`, and returns it.
    #[track_caller]
    pub fn wait_for_stderr(&mut self, text: &str) -> String {
        match self.stderr.wait_for(text, self.deadline) {
            Ok(line) => line,
            Err(seen) => {
                let _ = self.child.kill();
                panic!("standard error never said {text:?}, but:\n{seen}");
            }
        }
    }

    /// Waits until a line of standard output contains `text`, and returns it.
    #[track_caller]
    pub fn wait_for_stdout(&mut self, text: &str) -> String {
        match self.stdout.wait_for(text, self.deadline) {
            Ok(line) => line,
            Err(seen) => {
                let _ = self.child.kill();
                panic!("standard output never said {text:?}, but:\n{seen}");
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid =
            i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let (out, err) = (self.stdout.finish(self.deadline), self.stderr.finish(self.deadline));
        if !(out && err) {
            let _ = self.child.kill();
            panic!(
                "the program hangs\n--- standard output\n{}\n--- standard error\n{}",
                String::from_utf8_lossy(&self.stdout.bytes),
                String::from_utf8_lossy(&self.stderr.bytes)
            );
        }
        let status = self.child.wait().expect("the program has ended");
        Output {
            code: status.code(),
            stdout: std::mem::take(&mut self.stdout.bytes),
            stderr: String::from_utf8_lossy(&self.stderr.bytes).into_owned(),
            directory: self.directory.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of a pipe so far.
struct Captured {
    lines: Receiver<Vec<u8>>,
    bytes: Vec<u8>,
}

impl Captured {
    fn new(lines: Receiver<Vec<u8>>) -> Self {
        Self { lines, bytes: Vec::new() }
    }

    fn wait_for(&mut self, text: &str, deadline: Instant) -> Result<String, String> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                return Err(String::from_utf8_lossy(&self.bytes).into_owned());
            };
            self.bytes.extend_from_slice(&line);
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// Reads to the end; returns whether the pipe was closed in time.
    fn finish(&mut self, deadline: Instant) -> bool {
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.bytes.extend_from_slice(&line),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver): (Sender<Vec<u8>>, _) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(read) if read > 0 && sender.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}

/// The end of a command, with its output.
#[derive(Debug)]
pub struct Output {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    directory: PathBuf,
}

#[allow(dead_code, reason = "each module of tests uses some of it")]
impl Output {
    #[track_caller]
    pub fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("standard output is UTF-8")
    }

    /// Asserts on the exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.everything());
        self
    }

    /// Standard output as a JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.stdout()).unwrap_or_else(|error| panic!("{error}: {}", self.everything()))
    }

    /// Standard output as a JSON document a line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout().lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {}", self.everything()))
    }

    /// Everything as one text for a snapshot, with the directory's name taken
    /// out.
    pub fn everything(&self) -> String {
        let code = self.code.map_or("killed by a signal".to_owned(), |code| format!("exit code {code}"));
        let stdout = String::from_utf8_lossy(&self.stdout);
        let mut text = code + "\n";
        for (name, contents) in [("stdout", &*stdout), ("stderr", &self.stderr)] {
            if !contents.is_empty() {
                text.push_str(&format!("--- {name}\n{}\n", contents.trim_end_matches('\n')));
            }
        }
        text.replace(&self.directory.display().to_string(), "[DIR]")
    }
}
