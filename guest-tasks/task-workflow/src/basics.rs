//! Leaves. What the sandbox does not grant comes back as an error value.

use std::collections::hash_map::RandomState;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Workflow;
use crate::exports::demo::workflow::basics::{About, Guest, Trouble};
use crate::wasm_runner::task::context;
use crate::wasm_runner::task::log::{Level, log};

impl Guest for Workflow {
    fn nothing() {}

    fn identity(x: String) -> String {
        x
    }

    fn square(n: u64) -> u64 {
        n * n
    }

    fn sleep_ms(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }

    fn context_dump() -> About {
        About {
            id: context::id(),
            task: context::task(),
            attempt: context::attempt(),
            parent: context::parent(),
            root: context::root(),
            deadline: context::deadline(),
            labels: context::labels(),
        }
    }

    fn log_lines(count: u32) {
        for line in 1..=count {
            log(Level::Info, &format!("line {line}"));
        }
    }

    fn log_everywhere(message: String) {
        for level in [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error] {
            log(level, &message);
        }
        println!("{message}");
        eprintln!("{message}");
    }

    fn progress(steps: u32) {
        for step in 1..=steps {
            context::progress(step.into(), steps.into(), &format!("step {step}"));
        }
    }

    fn flaky(succeed_on: u32, message: String) -> Result<u32, String> {
        let attempt = context::attempt();
        if attempt < succeed_on { Err(message) } else { Ok(attempt) }
    }

    fn flaky_case(succeed_on: u32, error: Trouble) -> Result<u32, Trouble> {
        let attempt = context::attempt();
        if attempt < succeed_on { Err(error) } else { Ok(attempt) }
    }

    fn read_text(path: String) -> Result<String, String> {
        fs::read_to_string(path).map_err(text)
    }

    fn write_text(path: String, content: String) -> Result<(), String> {
        fs::write(path, content).map_err(text)
    }

    fn append_line(path: String, line: String) -> Result<(), String> {
        let mut file = OpenOptions::new().append(true).create(true).open(path).map_err(text)?;
        // One write, so that lines of concurrent writers stay whole.
        file.write_all(format!("{line}\n").as_bytes()).map_err(text)
    }

    fn list_directory(path: String) -> Result<Vec<String>, String> {
        let names = fs::read_dir(path)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
            })
            .map_err(text);
        names.map(|mut names: Vec<String>| {
            names.sort();
            names
        })
    }

    fn env_dump() -> Vec<(String, String)> {
        std::env::vars().collect()
    }

    fn argument_dump() -> Vec<String> {
        std::env::args().collect()
    }

    fn stdin_read() -> Result<String, String> {
        let mut input = String::new();
        io::stdin().read_to_string(&mut input).map_err(text)?;
        Ok(input)
    }

    fn connect(address: String) -> Result<(), String> {
        TcpStream::connect(address).map(drop).map_err(text)
    }

    fn random() -> u64 {
        // The standard library seeds its hash maps from `wasi:random`.
        RandomState::new().build_hasher().finish()
    }

    fn now() -> u64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
        elapsed.map_or(0, |elapsed| elapsed.as_millis() as u64)
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}
