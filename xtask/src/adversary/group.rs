//! A control group that bounds the memory of a runner.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Where the kernel has control groups: those of version 2, or those of version 1 for memory.
const ROOTS: [(&str, &str); 2] = [
    ("/sys/fs/cgroup/cgroup.procs", "memory.max"),
    ("/sys/fs/cgroup/memory/cgroup.procs", "memory.limit_in_bytes"),
];

/// A control group, which is removed in the end.
pub struct Group(PathBuf);

impl Group {
    /// Makes a group of so many bytes.
    ///
    /// # Errors
    ///
    /// If this machine, or this user, has no control groups: what was asked for is not left out in silence.
    pub fn new(bytes: u64) -> Result<Self> {
        let exists = |(procs, _): &&(&str, &str)| Path::new(procs).exists();
        let (procs, limit) = ROOTS
            .iter()
            .find(exists)
            .context("this machine has no control groups: run it without `--cgroup`")?;
        let root = Path::new(procs).parent().context("a file has a directory")?;
        let group = Self(root.join(format!("run-wasm-runner-adversary-{}", std::process::id())));
        let failed = "no control group of memory can be made here: run it as root, outside of containers that \
                      forbid it, or without `--cgroup`";
        fs::create_dir(&group.0).context(failed)?;
        fs::write(group.0.join(limit), bytes.to_string()).context(failed)?;
        Ok(group)
    }

    /// The command, in the group from its first instruction on.
    pub fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Only an empty group goes. One that stays bounds nothing.
        let _ = fs::remove_dir(&self.0);
    }
}
