//! The working directory of a run: the guest, a configuration for each runner
//! process, what they say and what their guests write.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::kind::Kind;
use crate::config::FILE_NAME;

/// The component whose tasks are run; its source is `guest-tasks/task-torture`.
/// Inside the program, because users have no source tree.
pub const GUEST: &[u8] = include_bytes!("../../guest-tasks/task-torture/torture.wasm");

/// The time that a runner has to finish what runs when it is told to stop.
pub const GRACE: Duration = Duration::from_secs(1);

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Setting {
    pub seed: u64,
    /// The time for which runners were killed.
    pub duration: Duration,
    pub runners: usize,
    pub slots: usize,
    pub lease: Duration,
    /// The mean pause between two kills.
    pub kill_every: Duration,
}

/// The working directory; removed when dropped, unless it is to be kept.
#[derive(Debug)]
pub struct Site {
    directory: PathBuf,
    component: String,
    setting: Setting,
    /// True if it stays when this is dropped.
    pub is_kept: bool,
}

/// One process's part of it.
#[derive(Debug)]
pub struct Place {
    pub directory: PathBuf,
    pub config: PathBuf,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    /// The directory that its guests write to.
    pub witness: PathBuf,
}

impl Site {
    /// Creates the directory with the guest in it. `component` is the name that
    /// the guest's task ids begin with.
    pub fn create(component: String, setting: &Setting) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("run-wasm-runner-{component}"));
        // For the user alone: the arguments and the values may be theirs.
        DirBuilder::new().mode(0o700).create(&directory)?;
        let site = Self { directory, component, setting: setting.clone(), is_kept: false };
        fs::write(site.guest(), GUEST)?;
        Ok(site)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the path of the store of a run that was given none.
    pub fn store(&self) -> PathBuf {
        self.directory.join("state.db")
    }

    /// Returns the path of the cache: the user's own is left alone.
    pub fn cache(&self) -> PathBuf {
        self.directory.join("cache")
    }

    /// Returns the full id of a task.
    pub fn task(&self, kind: Kind) -> String {
        format!("{}::{}", self.component, kind.name())
    }

    fn guest(&self) -> PathBuf {
        self.directory.join("torture.wasm")
    }

    /// Makes the part of one process ready.
    pub fn place(&self, name: &str) -> io::Result<Place> {
        let directory = self.directory.join(name);
        let place = Place {
            config: directory.join(FILE_NAME),
            stdout: directory.join("stdout"),
            stderr: directory.join("stderr"),
            witness: directory.join("witness"),
            directory,
        };
        fs::create_dir_all(&place.witness)?;
        // Also if no guest ever runs there.
        File::create(place.witness.join("log"))?;
        fs::write(&place.config, self.config(&place.witness))?;
        Ok(place)
    }

    /// The configuration of a runner whose guests write into `witness`.
    fn config(&self, witness: &Path) -> String {
        let Self { component, setting, .. } = self;
        let mut text = format!(
            "slots = {}\n\
             grace = \"{}ms\"\n\
             cache-dir = {}\n\n\
             [runner]\n\
             lease = \"{}ms\"\n\n\
             [component.{component}]\n\
             path = {}\n\
             directory = [{{ host = {}, guest = \"/witness\", access = \"read-write\" }}]\n\
             limits = {{ time = \"60s\", memory = \"16MiB\" }}\n",
            setting.slots,
            GRACE.as_millis(),
            quoted(&self.cache()),
            setting.lease.as_millis(),
            quoted(&self.guest()),
            quoted(witness),
        );
        for kind in Kind::ALL {
            text.push_str(&format!(
                "\n[task.\"{}\"]\nmax-attempts = {}\n",
                self.task(kind),
                kind.max_attempts()
            ));
            if kind == Kind::Lane {
                text.push_str("concurrency = { limit = 1, per = [\"key\"] }\n");
            }
            if let Some(failure) = kind.retried() {
                text.push_str(&format!(
                    "retry = {{ on = [\"{}\"], delay = \"50ms\", max-delay = \"200ms\" }}\n",
                    failure.as_str()
                ));
            }
        }
        text
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if !self.is_kept {
            // What can't be removed lies in the directory for temporary files.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    toml::Value::from(path.to_string_lossy().into_owned()).to_string()
}
