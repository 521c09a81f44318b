//! How people name tasks, and which versions of an interface stand for others.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::suggest::{list, nearest, unknown_near};

/// An interface's name and its version.
pub(super) fn split_version(interface: &str) -> (&str, Option<&str>) {
    match interface.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (interface, None),
    }
}

/// A semantic version. Build metadata is left out, as it has no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version<'a> {
    numbers: [u64; 3],
    prerelease: &'a str,
}

impl<'a> Version<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, prerelease) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = numbers.split('.').map(|part| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Self { numbers, prerelease })
    }

    /// The numbers that must be the same for two versions to be compatible.
    fn line(&self) -> &[u64] {
        match self.numbers {
            [0, 0, _] => &self.numbers,
            [0, _, _] => &self.numbers[..2],
            _ => &self.numbers[..1],
        }
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        // A release comes after its pre-releases. Among those the order of the
        // text is good enough: it only decides which of two is shown.
        let key = |version: &Self| (version.numbers, version.prerelease.is_empty());
        key(self).cmp(&key(other)).then_with(|| self.prerelease.cmp(other.prerelease))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Whether an exported interface can stand for an imported one, by their names
/// (`acme:math/ops@1.0.0`): same name, and a version that semver calls
/// compatible and not older. No version matches any.
pub(super) fn is_compatible(imported: &str, exported: &str) -> bool {
    let (name, wanted) = split_version(imported);
    let (other, offered) = split_version(exported);
    if name != other {
        return false;
    }
    let (Some(wanted_text), Some(offered_text)) = (wanted, offered) else {
        return true;
    };
    match (Version::parse(wanted_text), Version::parse(offered_text)) {
        // Pre-releases promise nothing: only the very same one will do.
        (Some(wanted), Some(offered)) if wanted.prerelease.is_empty() && offered.prerelease.is_empty() => {
            wanted.line() == offered.line() && offered >= wanted
        }
        _ => wanted_text == offered_text,
    }
}

/// The names by which people call tasks.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The full ids, with the versions of their interfaces.
    ids: BTreeMap<Arc<str>, Option<Box<str>>>,
    /// The shorter forms, with the ids that each may mean.
    short: HashMap<Box<str>, Vec<Arc<str>>>,
}

impl Names {
    /// From the ids of all tasks and the versions of their interfaces.
    pub(super) fn new<'a>(tasks: impl IntoIterator<Item = (Arc<str>, Option<&'a str>)>) -> Self {
        let mut names = Self::default();
        for (id, version) in tasks {
            names.ids.insert(id, version.map(Into::into));
        }
        for id in names.ids.keys() {
            for short in short_forms(id) {
                names.short.entry(short.into()).or_default().push(id.clone());
            }
        }
        names
    }

    /// The full id that a name means: the id itself, with or without the version
    /// of its interface, or a shorter form that means only one.
    ///
    /// # Errors
    ///
    /// What the name may mean, or which names are known.
    pub(super) fn resolve(&self, name: &str) -> Result<&Arc<str>, String> {
        // A full id is never ambiguous, even if it looks like a short form.
        if let Some((id, _)) = self.ids.get_key_value(name) {
            return Ok(id);
        }
        if let Some(ids) = self.short.get(name) {
            return match &**ids {
                [id] => Ok(id),
                _ => Err(format!(
                    "task `{name}` is ambiguous: it may be {}; write one of them in full",
                    list(ids.iter().map(|id| &**id))
                )),
            };
        }
        if let Some((interface, rest)) = name.split_once('@')
            && let Some((version, function)) = rest.rsplit_once('.')
            && let Some((id, Some(offered))) = self.ids.get_key_value(&*format!("{interface}.{function}"))
        {
            if is_compatible(&format!("{interface}@{version}"), &format!("{interface}@{offered}")) {
                return Ok(id);
            }
            return Err(format!(
                "unknown task `{name}`: version `{offered}` of the interface is the one that is known"
            ));
        }
        let ids = || self.ids.keys().map(|id| &**id);
        // The short form that looks like it, as what it means.
        let near = nearest(name, ids().chain(self.short.keys().map(|short| &**short)));
        let near = near.map(|near| self.short.get(near).and_then(|ids| ids.first()).map_or(near, |id| &**id));
        Err(unknown_near("task", name, near, ids()))
    }
}

/// The shorter forms of an id: of `acme:demo/tasks.greet`, `demo/tasks.greet`, `tasks.greet` and `greet`.
fn short_forms(id: &str) -> impl Iterator<Item = &str> {
    let after = |mark: char| id.split_once(mark).map(|(_, rest)| rest);
    let function = id.rsplit_once('.').map(|(_, function)| function);
    [after(':'), after('/'), function].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_match_by_semver() {
        for (imported, exported, compatible) in [
            ("a:b/c@1.0.0", "a:b/c@1.2.0", true),
            ("a:b/c@1.2.0", "a:b/c@1.0.0", false),
            ("a:b/c@1.2.0", "a:b/c@2.2.0", false),
            ("a:b/c@0.1.0", "a:b/c@0.1.7", true),
            ("a:b/c@0.1.0", "a:b/c@0.2.0", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.2", false),
            ("a:b/c@0.0.1", "a:b/c@0.0.1", true),
            ("a:b/c@1.0.0", "a:b/c", true),
            ("a:b/c", "a:b/c@7.0.0", true),
            ("a:b/c", "a:b/d", false),
            ("a:b/c@1.0.0-rc.1", "a:b/c@1.0.0", false),
            ("a:b/c@1.0.0-rc.1", "a:b/c@1.0.0-rc.1", true),
            ("a:b/c@1.0.0", "a:b/c@1.1.0-rc.1", false),
            ("a:b/c@1.0.0+x", "a:b/c@1.0.0+y", true),
            ("a:b/c@what", "a:b/c@what", true),
            ("a:b/c@1.9.0", "a:b/c@1.10.0", true),
        ] {
            assert_eq!(is_compatible(imported, exported), compatible, "{imported} by {exported}");
        }
    }

    fn names(ids: &[&str]) -> Names {
        Names::new(ids.iter().map(|id| match id.split_once('@') {
            Some((id, version)) => (Arc::from(id), Some(version)),
            None => (Arc::from(*id), None),
        }))
    }

    #[test]
    fn tasks_are_found_by_every_form_that_means_only_one() {
        let names =
            names(&["acme:demo/tasks.greet@1.2.0", "acme:other/tasks.add", "py.hello", "py/tasks.add"]);
        let resolve = |name| names.resolve(name).map(|id| &**id);
        for name in [
            "acme:demo/tasks.greet",
            "demo/tasks.greet",
            "tasks.greet",
            "greet",
            "acme:demo/tasks@1.2.0.greet",
            "acme:demo/tasks@1.0.0.greet",
        ] {
            assert_eq!(resolve(name), Ok("acme:demo/tasks.greet"), "{name}");
        }
        assert_eq!(resolve("hello"), Ok("py.hello"));
        assert_eq!(resolve("other/tasks.add"), Ok("acme:other/tasks.add"));
        assert_eq!(
            resolve("tasks.add"),
            Err("task `tasks.add` is ambiguous: it may be `acme:other/tasks.add`, `py/tasks.add`; \
                 write one of them in full"
                .into())
        );
        assert_eq!(
            resolve("greeet"),
            Err("unknown task `greeet` (did you mean `acme:demo/tasks.greet`? known tasks: \
                 `acme:demo/tasks.greet`, `acme:other/tasks.add`, `py.hello`, `py/tasks.add`)"
                .into())
        );
        assert_eq!(
            resolve("acme:demo/tasks@2.0.0.greet"),
            Err("unknown task `acme:demo/tasks@2.0.0.greet`: version `1.2.0` of the interface is the one that is known"
                .into())
        );
        assert!(resolve("").is_err());
    }

    #[test]
    fn a_full_id_is_never_ambiguous() {
        let names = names(&["tasks.greet", "acme:demo/tasks.greet"]);
        assert_eq!(names.resolve("tasks.greet").map(|id| &**id), Ok("tasks.greet"));
        assert!(names.resolve("greet").unwrap_err().contains("ambiguous"));
        assert_eq!(
            super::Names::default().resolve("x").unwrap_err(),
            "unknown task `x` (there are no tasks)"
        );
    }
}
