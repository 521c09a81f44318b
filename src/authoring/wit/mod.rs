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
    /// Groups interfaces, each with the version that it gets. Of those of one name, what the configuration names is
    /// meant, and the same is taken once.
    pub fn new(interfaces: impl IntoIterator<Item = (&'i Interface, Option<&'i str>)>) -> Self {
        let mut packages: BTreeMap<_, Vec<&Interface>> = BTreeMap::new();
        for (interface, version) in interfaces {
            let Some(package) = interface.package.as_deref() else { continue };
            let group = packages.entry((package, version)).or_default();
            let gives_way = |one: &&Interface| {
                (!one.is_named && interface.is_named)
                    || (one.is_named == interface.is_named && one.text != interface.text)
            };
            if group.iter().filter(|one| one.name == interface.name).all(gives_way) {
                group.retain(|one| one.name != interface.name || one.is_named == interface.is_named);
                group.push(interface);
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
    /// calls whose interfaces are gone. An interface of a pushed component whose place a component of the configuration
    /// takes is left out.
    ///
    /// # Errors
    ///
    /// If two components want different things at one place, or a file can't be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<Written<'i>>, AuthoringError> {
        let files = self.files(folder)?;
        for place in files.iter().filter_map(|(file, _)| file.path.parent()) {
            fs::create_dir_all(place).map_err(AuthoringError::unwritable(place))?;
        }
        for (Written { path, .. }, text) in &files {
            // A file that is right already keeps its time.
            if !fs::read_to_string(path).is_ok_and(|present| present == *text) {
                fs::write(path, text).map_err(AuthoringError::unwritable(path))?;
            }
        }
        let written: Vec<_> = files.into_iter().map(|(file, _)| file).collect();
        for place in written.iter().filter_map(|file| file.path.parent()) {
            remove_others(place, &written)?;
        }
        Ok(written)
    }

    /// Finds the places of all interfaces below `folder`, with the texts that are to be there.
    fn files(&self, folder: &Path) -> Result<Vec<(Written<'i>, String)>, AuthoringError> {
        // Nobody takes the place of what the configuration names.
        let mut groups: Vec<_> = self.0.iter().collect();
        groups.sort_by_key(|(_, interfaces)| !interfaces.iter().any(|one| one.is_named));
        let mut files: Vec<(Written<'i>, String)> = Vec::new();
        for ((package, version), interfaces) in groups {
            let mut place = folder.join(folder_of(package));
            let there = |place: &Path| {
                let mut there =
                    files.iter().map(|(file, _)| file).filter(|file| file.path.starts_with(place));
                there.next().map(|file| file.interface)
            };
            if let Some(version) = version
                && there(&place).is_some_and(|other| other.package.as_deref() == Some(package))
            {
                place = folder.join(format!("{}-{version}", folder_of(package)));
            }
            let declaration = declared((*package, *version));
            let taken = there(&place);
            for interface in interfaces {
                let path = place.join(format!("{}.wit", interface.name));
                let other = taken.or_else(|| {
                    files.iter().find(|(file, _)| file.path == path).map(|(file, _)| file.interface)
                });
                match other {
                    Some(other) if other.is_named && !interface.is_named => continue,
                    Some(other) => return Err(collision(&path, other, interface)),
                    None => {}
                }
                if let Some((component, other)) = other_package(&place, package) {
                    return Err(AuthoringError::Build {
                        message: format!(
                            "`{}` has the package `{other}` from the component `{component}`, and `{}` of `{}` would be \
                             written there",
                            place.display(),
                            interface.import(),
                            interface.component
                        ),
                        hint: Some("write it into another directory, or remove what is there".to_owned()),
                    });
                }
                let text = format!(
                    "{MARK} from the component `{}`.\n\n{declaration};\n\n{}",
                    interface.component, interface.text
                );
                files.push((Written { interface, path }, text));
            }
        }
        Ok(files)
    }
}

/// The error of two interfaces that want one place.
fn collision(path: &Path, one: &Interface, other: &Interface) -> AuthoringError {
    AuthoringError::Build {
        message: format!(
            "`{}` would be of two components: `{}` of `{}`, and `{}` of `{}`",
            path.display(),
            one.import(),
            one.component,
            other.import(),
            other.component
        ),
        hint: Some("name the component that is meant: `run-wasm-runner wit NAME --output DIR`".to_owned()),
    }
}

/// Finds another package that an earlier call has written to a place, and its component.
fn other_package(place: &Path, package: &str) -> Option<(String, String)> {
    let own = declared((package, None));
    let files = fs::read_dir(place).ok()?.flatten().map(|entry| entry.path()).filter(|path| is_ours(path));
    files.filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| {
        let component = text.split('`').nth(3)?.to_owned();
        let declaration = text.lines().find(|line| line.starts_with("package "))?.trim_end_matches(';');
        let declaration = declaration.split('@').next()?;
        let name = declaration.strip_prefix("package ")?.replace('%', "");
        (declaration != own).then_some((component, name))
    })
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

    fn interface(component: &str, is_named: bool, package: &str, parameter: &str) -> Interface {
        Interface {
            component: component.into(),
            is_named,
            package: Some(package.to_owned()),
            name: "send".to_owned(),
            version: None,
            text: format!("interface send {{\n    pay: func({parameter}: u32);\n}}\n"),
        }
    }

    /// Writes interfaces; the components that the files are from, in the order of their paths.
    fn write(folder: &Path, interfaces: &[Interface]) -> Result<Vec<String>, String> {
        let packages = Packages::new(interfaces.iter().map(|one| (one, None)));
        let mut written = packages.write(folder).map_err(|error| error.to_string())?;
        written.sort_by(|a, b| a.path.cmp(&b.path));
        for file in &written {
            let text = fs::read_to_string(&file.path).expect("a file");
            assert!(text.ends_with(&file.interface.text), "{text}");
        }
        Ok(written.iter().map(|file| file.interface.component.to_string()).collect())
    }

    #[test]
    fn two_components_do_not_write_one_file() {
        let folder = tempfile::tempdir().expect("a directory");
        let folder = folder.path();
        let victim = |is_named| interface("victim", is_named, "acme-pay:bank", "amount");
        let eve = |package| interface("eve", false, package, "evil");
        for package in ["acme-pay:bank", "acme:pay-bank"] {
            let error = write(folder, &[victim(false), eve(package)]).unwrap_err();
            assert!(error.contains("`victim`") && error.contains("`eve`"), "{error}");
            assert_eq!(fs::read_dir(folder).expect("it is there").count(), 0, "nothing is written");
        }
        for package in ["acme-pay:bank", "acme:pay-bank"] {
            // Components that the configuration names are meant, in whatever order they come.
            assert_eq!(write(folder, &[eve(package), victim(true)]), Ok(vec!["victim".to_owned()]));
        }
        // The same is taken once.
        let twin = interface("twin", false, "acme-pay:bank", "amount");
        assert_eq!(write(folder, &[victim(false), twin]), Ok(vec!["victim".to_owned()]));
        // An earlier call is as good as this one.
        let error = write(folder, &[eve("acme:pay-bank")]).unwrap_err();
        assert!(error.contains("`acme-pay:bank` from the component `victim`"), "{error}");
        assert_eq!(write(folder, &[eve("acme-pay:bank")]), Ok(vec!["eve".to_owned()]), "it is asked for");
    }

    #[test]
    fn names_that_are_keywords_are_escaped() {
        assert_eq!(declared(("acme:export", Some("1.0.0"))), "package acme:%export@1.0.0");
        assert_eq!(declared(("interface:math", None)), "package %interface:math");
        assert_eq!(declared(("demo:exports", None)), "package demo:exports");
    }
}
