//! The programs that builds run.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::authoring::AuthoringError;
use crate::authoring::project::{Host, Project};

/// A program that a build needs.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Another name that it goes by.
    pub alias: Option<&'static str>,
    /// The folder of a project's own, which goes before the one on `PATH`.
    pub within: Option<&'static str>,
    /// The command that installs it, to be run in the project's directory.
    pub install: &'static str,
}

impl Tool {
    /// Makes a command that runs it in the project's directory.
    /// [`AuthoringError::Build`] with the command that installs it, if it isn't there.
    pub fn command(&self, project: &Project) -> Result<Command, AuthoringError> {
        let found = self.find(project).ok_or_else(|| missing(self.name, self.install, project))?;
        let mut command = Command::new(found);
        command.current_dir(&project.directory).stdin(Stdio::null());
        Ok(command)
    }

    fn find(&self, project: &Project) -> Option<PathBuf> {
        let names = || std::iter::once(self.name).chain(self.alias);
        let own =
            self.within.into_iter().flat_map(|folder| names().map(move |name| Path::new(folder).join(name)));
        let mut own = own.filter_map(|path| std::path::absolute(project.directory.join(path)).ok());
        own.find(|path| is_program(path)).or_else(|| names().find_map(on_path))
    }
}

/// Finds a program where the shell would.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Makes the error of something that a build needs and that is not there.
pub fn missing(what: &str, install: &str, project: &Project) -> AuthoringError {
    let place = match project.directory.as_os_str() == OsStr::new(".") {
        true => String::new(),
        false => format!(" in `{}`", project.directory.display()),
    };
    AuthoringError::Build {
        message: format!("`{what}` is missing: {} projects are built with it", project.language.name),
        hint: Some(format!("install it with `{install}`{place}")),
    }
}

/// Runs a command to its end; all of its output goes to standard error.
/// [`AuthoringError::Build`] if it can't be started or fails.
pub fn run(host: &dyn Host, command: &mut Command) -> Result<(), AuthoringError> {
    let shared = io::stderr().as_fd().try_clone_to_owned();
    let cannot = |error| AuthoringError::build(format!("standard error can't be shared: {error}"));
    command.stdout(shared.map_err(cannot)?);
    let status = started(host, command)?.wait();
    judge(command, status)
}

/// Runs a command to its end and returns its standard output; its standard error stays
/// what it is.
pub fn read(host: &dyn Host, command: &mut Command) -> Result<String, AuthoringError> {
    command.stdout(Stdio::piped());
    let mut child = started(host, command)?;
    let mut bytes = Vec::new();
    let read = child.stdout.take().map(|mut pipe| pipe.read_to_end(&mut bytes)).transpose();
    let status = child.wait().and_then(|status| read.map(|_| status));
    judge(command, status)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn started(host: &dyn Host, command: &mut Command) -> Result<Child, AuthoringError> {
    host.note(&format!("$ {}", shown(command)));
    command.spawn().map_err(AuthoringError::cannot("started", Path::new(&shown(command))))
}

fn judge(command: &Command, status: io::Result<std::process::ExitStatus>) -> Result<(), AuthoringError> {
    let command = shown(command);
    let status = status.map_err(AuthoringError::cannot("waited for", Path::new(&command)))?;
    match status.success() {
        true => Ok(()),
        false => Err(AuthoringError::build(format!("`{command}` failed with {status}: see above"))),
    }
}

/// Writes a command as one would type it, with the program's name alone.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let words = [program.file_name().unwrap_or(program.as_os_str())].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
