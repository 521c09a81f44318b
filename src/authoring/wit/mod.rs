//! The WIT of tasks: interfaces of components written as files, and what has to be known of a
//! project's own.

pub mod deps;
pub mod docs;
pub mod names;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::AuthoringError;
use crate::wasm::{Interface, identifier};

/// The first words of the files that are written here, and may be written anew.
const MARK: &str = "// Written by `run-wasm-runner wit`";

/// Interfaces by package and version.
pub struct Packages<'i>(BTreeMap<(&'i str, Option<&'i str>), Vec<&'i Interface>>);

/// An interface that was written to a file.
pub struct Written<'i> {
    /// The interface.
    pub interface: &'i Interface,
    /// The path of the file.
    pub path: PathBuf,
}

impl<'i> Packages<'i> {
    /// Groups interfaces, each with the version that it gets.
    pub fn new(interfaces: impl IntoIterator<Item = (&'i Interface, Option<&'i str>)>) -> Self {
        let mut packages: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (interface, version) in interfaces {
            if let Some(package) = interface.package.as_deref() {
                packages.entry((package, version)).or_default().push(interface);
            }
        }
        Self(packages)
    }

    /// Writes all packages as one text.
    pub fn text(&self) -> String {
        let body = |interfaces: &[&Interface]| {
            interfaces.iter().map(|interface| &*interface.text).collect::<Vec<_>>().join("\n")
        };
        if self.0.len() == 1 {
            let texts =
                self.0.iter().map(|(key, interfaces)| format!("{};\n\n{}", declared(*key), body(interfaces)));
            return texts.collect();
        }
        let texts = self.0.iter().map(|(key, interfaces)| {
            let lines = body(interfaces);
            let lines = lines.lines().map(|line| match line.is_empty() {
                true => "\n".to_owned(),
                false => format!("    {line}\n"),
            });
            format!("{} {{\n{}}}\n", declared(*key), lines.collect::<String>())
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Writes each interface into a file of its own below `folder`, in a directory for its
    /// package, where tools look for it if `folder` is `wit/deps`. Removes files of earlier
    /// calls whose interfaces are gone.
    pub fn write(&self, folder: &Path) -> Result<Vec<Written<'i>>, AuthoringError> {
        let mut written: Vec<Written<'i>> = Vec::new();
        for ((package, version), interfaces) in &self.0 {
            let mut place = folder.join(folder_of(package));
            if let Some(version) = version
                && written.iter().any(|file| file.path.starts_with(&place))
            {
                place = folder.join(format!("{}-{version}", folder_of(package)));
            }
            fs::create_dir_all(&place).map_err(AuthoringError::unwritable(&place))?;
            let package = declared((*package, *version));
            for interface in interfaces {
                let path = place.join(format!("{}.wit", interface.name));
                let text = format!(
                    "{MARK} from the component `{}`.\n\n{package};\n\n{}",
                    interface.component, interface.text
                );
                // A file that is right already keeps its time.
                if !fs::read_to_string(&path).is_ok_and(|present| present == text) {
                    fs::write(&path, text).map_err(AuthoringError::unwritable(&path))?;
                }
                written.push(Written { interface, path });
            }
            remove_others(&place, &written)?;
        }
        Ok(written)
    }
}

/// Writes the declaration of a package.
fn declared((package, version): (&str, Option<&str>)) -> String {
    let names: Vec<_> = package.split(':').map(identifier).collect();
    let version = version.map(|version| format!("@{version}")).unwrap_or_default();
    format!("package {}{version}", names.join(":"))
}

/// Removes the files of earlier calls that are not among these.
fn remove_others(place: &Path, written: &[Written<'_>]) -> Result<(), AuthoringError> {
    let entries = fs::read_dir(place).map_err(AuthoringError::unwritable(place))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_ours(&path) && !written.iter().any(|file| file.path == path) {
            fs::remove_file(&path).map_err(AuthoringError::unwritable(&path))?;
        }
    }
    Ok(())
}

/// Tells whether a file was written by this program, so that it may be replaced.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "wit")
        && fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
}

/// Names the directory of a package: `local-hello` for `local:hello`.
fn folder_of(package: &str) -> String {
    package.replace(':', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_keywords_are_escaped() {
        assert_eq!(declared(("acme:export", Some("1.0.0"))), "package acme:%export@1.0.0");
        assert_eq!(declared(("interface:math", None)), "package %interface:math");
        assert_eq!(declared(("demo:exports", None)), "package demo:exports");
    }
}
