//! Ids of tasks: `COMPONENT::FUNCTION`.

use std::fmt;

use super::version::{split_version, track};

/// Separates the name of a component from that of its function.
const SEPARATOR: &str = "::";

/// A full id, taken apart. Stores and claims carry ids as text; only an adoption looks into them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId<'a> {
    /// The name of its component in the configuration or the store.
    pub component: &'a str,
    /// Its function.
    pub function: FunctionName<'a>,
}

/// A function of a component: `namespace:package/interface@TRACK.function`, or `function` at its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName<'a> {
    /// `namespace:package/interface` without a version, or a plain name from within a world; `None` at the
    /// root.
    pub interface: Option<&'a str>,
    /// The range of versions that are compatible with the interface's, if it has one.
    pub track: Option<&'a str>,
    /// Its own name.
    pub name: &'a str,
}

impl<'a> TaskId<'a> {
    /// Takes a full id apart; `None` if it names no component, as those of earlier programs.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (component, function) = text.split_once(SEPARATOR)?;
        Some(Self { component, function: FunctionName::parse(function) })
    }

    /// Splits an id into the name of its component, if it has one, and the text of its function.
    pub fn split(text: &'a str) -> (Option<&'a str>, &'a str) {
        // By bytes: a search for a pattern takes several times as long, and each claim is asked for its component.
        match text.as_bytes().windows(SEPARATOR.len()).position(|bytes| bytes == SEPARATOR.as_bytes()) {
            Some(at) => (Some(&text[..at]), &text[at + SEPARATOR.len()..]),
            None => (None, text),
        }
    }

    /// Returns the name of the component in an id; empty if the id names none.
    pub fn component_of(text: &str) -> &str {
        TaskId::split(text).0.unwrap_or_default()
    }

    /// Returns the id that this task had before all ids named components.
    pub fn former(&self) -> String {
        let FunctionName { interface, name, .. } = self.function;
        match interface {
            Some(interface) if self.former_names_component() => {
                format!("{}/{interface}.{name}", self.component)
            }
            Some(interface) => format!("{interface}.{name}"),
            None => format!("{}.{name}", self.component),
        }
    }

    /// Whether the [`former`](Self::former) id names the component.
    pub fn former_names_component(&self) -> bool {
        self.function.interface.is_none_or(|interface| !interface.contains(':'))
    }
}

impl fmt::Display for TaskId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEPARATOR}{}", self.component, self.function)
    }
}

impl<'a> FunctionName<'a> {
    /// Names a function of an interface as it is exported, with its whole version.
    pub fn exported(interface: Option<&'a str>, name: &'a str) -> Self {
        let (interface, version) = interface.map_or((None, None), |interface| {
            let (interface, version) = split_version(interface);
            (Some(interface), version)
        });
        Self { interface, track: version.map(track), name }
    }

    /// Takes the text of a function apart. A whole version in place of a track stays as it is.
    pub fn parse(text: &'a str) -> Self {
        let Some((path, name)) = text.rsplit_once('.') else {
            return Self { interface: None, track: None, name: text };
        };
        let (interface, track) = split_version(path);
        Self { interface: Some(interface), track, name }
    }

    /// Returns the name without its track.
    pub fn without_track(self) -> Self {
        Self { track: None, ..self }
    }
}

impl fmt::Display for FunctionName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interface) = self.interface {
            f.write_str(interface)?;
            if let Some(track) = self.track {
                write!(f, "@{track}")?;
            }
            f.write_str(".")?;
        }
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        for (text, interface, track, name) in [
            ("scale::acme:plugins/filter@1.apply", Some("acme:plugins/filter"), Some("1"), "apply"),
            ("scale::acme:plugins/filter@0.0.3.apply", Some("acme:plugins/filter"), Some("0.0.3"), "apply"),
            ("scale::acme:plugins/filter.apply", Some("acme:plugins/filter"), None, "apply"),
            ("scale::tasks.apply", Some("tasks"), None, "apply"),
            ("scale::root-add", None, None, "root-add"),
        ] {
            let id = TaskId::parse(text).expect("it names its component");
            assert_eq!(id, TaskId { component: "scale", function: FunctionName { interface, track, name } });
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(TaskId::parse("acme:plugins/filter.apply"), None);
        assert_eq!(TaskId::split("acme:plugins/filter.apply"), (None, "acme:plugins/filter.apply"));
    }

    #[test]
    fn an_exported_version_becomes_its_track() {
        let function = |interface| FunctionName::exported(interface, "apply").to_string();
        assert_eq!(function(Some("acme:plugins/filter@1.4.2")), "acme:plugins/filter@1.apply");
        assert_eq!(function(Some("acme:plugins/filter@0.2.5")), "acme:plugins/filter@0.2.apply");
        assert_eq!(function(Some("acme:plugins/filter")), "acme:plugins/filter.apply");
        assert_eq!(function(None), "apply");
    }

    #[test]
    fn former_ids_are_those_of_earlier_programs() {
        for (id, former) in [
            ("scale::acme:plugins/filter@1.apply", "acme:plugins/filter.apply"),
            ("scale::tasks.apply", "scale/tasks.apply"),
            ("scale::run", "scale.run"),
        ] {
            assert_eq!(TaskId::parse(id).map(|id| id.former()).as_deref(), Some(former));
        }
    }
}
