//! The rights that a component asks for, and their granted extent.

use std::collections::{BTreeMap, BTreeSet};

use super::grants::{GRANTS, Grants, RightKind};
use super::inspect::Capability;
use crate::model::Glob;
use crate::model::{FunctionName, TaskId, split_version};

/// A right that a component asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Its kind.
    pub kind: RightKind,
    /// Details: protocols, tasks or interfaces. Sorted.
    pub uses: Vec<String>,
}

/// The granted extent of a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Granted,
    /// A part, which is listed.
    Partly,
    /// Nothing.
    Denied,
}

impl Extent {
    /// Its name in output and documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Partly => "partly",
            Self::Denied => "denied",
        }
    }
}

/// Lists the rights that a component's imports ask for, sorted by kind.
pub fn rights(imports: &[Capability]) -> Vec<Right> {
    let mut found: BTreeMap<RightKind, BTreeSet<String>> = BTreeMap::new();
    for (kind, used) in imports.iter().flat_map(asked) {
        found.entry(kind).or_default().extend(used);
    }
    found.into_iter().map(|(kind, uses)| Right { kind, uses: uses.into_iter().collect() }).collect()
}

/// The rights that one import asks for, each with a detail.
fn asked(import: &Capability) -> Vec<(RightKind, Option<String>)> {
    let (name, _) = split_version(&import.import);
    let uses = |function: &str| import.functions.iter().any(|own| own == function);
    let named = |kind, what: &str| vec![(kind, Some(what.to_owned()))];
    let Some((package, interface)) = name.split_once('/') else {
        return if import.is_provided { Vec::new() } else { named(RightKind::Unknown, &import.import) };
    };
    match (package, interface) {
        ("wasi:filesystem", _) => vec![(RightKind::Files, None)],
        ("wasi:cli", "environment") => vec![(RightKind::Environment, None)],
        ("wasi:sockets", "tcp" | "tcp-create-socket") => named(RightKind::Network, "tcp"),
        ("wasi:sockets", "udp" | "udp-create-socket") => named(RightKind::Network, "udp"),
        ("wasi:sockets", "ip-name-lookup") => named(RightKind::Network, "names"),
        ("wasi:http", "outgoing-handler") => vec![(RightKind::Http, None)],
        ("wasi:clocks", _) => vec![(RightKind::Clocks, None)],
        ("wasi:random", _) => vec![(RightKind::Random, None)],
        ("wasm-runner:task", "invocations") => {
            let submits = ["submit", "submit-all", "call"].iter().any(|function| uses(function));
            submits.then_some((RightKind::Submits, None)).into_iter().collect()
        }
        // Streams, types and the standard streams harm nobody.
        ("wasi:io" | "wasi:cli" | "wasm-runner:task", _)
        | ("wasi:sockets", "network" | "instance-network")
        | ("wasi:http", "types") => Vec::new(),
        (package, _) if package.starts_with("wasi:") => named(RightKind::Unknown, &import.import),
        // An interface without functions only names types.
        _ => {
            let tasks = import.functions.iter().map(|function| format!("{name}.{function}"));
            tasks.map(|task| (RightKind::Tasks, Some(task))).collect()
        }
    }
}

impl Right {
    /// Returns its granted extent, and lists the grants if it is a part.
    pub fn extent(&self, grants: &Grants) -> (Extent, Vec<String>) {
        let listed =
            |list: Vec<String>| (if list.is_empty() { Extent::Denied } else { Extent::Partly }, list);
        match self.kind {
            RightKind::Clocks | RightKind::Random => (Extent::Granted, Vec::new()),
            RightKind::Unknown => (Extent::Denied, Vec::new()),
            RightKind::Submits if grants.may_submit.is_none() => (Extent::Granted, Vec::new()),
            RightKind::Tasks => {
                // The component and the version of the function are not known here.
                let names = |glob: &Glob, task: &str| {
                    let pattern = glob.to_string();
                    let function = FunctionName::parse(TaskId::split(&pattern).1).without_track().to_string();
                    glob.matches(task) || Glob::new(&function).matches(task)
                };
                let may = |task: &&String| {
                    let allowed = grants.may_submit.as_ref();
                    allowed.is_none_or(|allowed| allowed.iter().any(|glob| names(glob, task)))
                };
                let allowed: Vec<_> = self.uses.iter().filter(may).cloned().collect();
                let is_all = allowed.len() == self.uses.len();
                if is_all { (Extent::Granted, Vec::new()) } else { listed(allowed) }
            }
            kind => {
                let kinds = GRANTS.iter().filter(|grant| grant.right == kind);
                listed(kinds.flat_map(|grant| (grant.granted)(grants)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(name: &str, functions: &[&str]) -> Capability {
        Capability {
            import: name.to_owned(),
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
            provided_by: String::new(),
            is_provided: true,
        }
    }

    fn shown(imports: &[Capability]) -> Vec<String> {
        let show = |right: &Right| format!("{} {}", right.kind, right.uses.join(" "));
        rights(imports).iter().map(show).map(|text| text.trim().to_owned()).collect()
    }

    #[test]
    fn imports_are_grouped_by_what_they_ask_for() {
        let imports = [
            import("wasi:io/poll@0.2.6", &["poll"]),
            import("wasi:cli/stdout@0.2.6", &["get-stdout"]),
            import("wasi:cli/environment@0.2.6", &["get-environment"]),
            import("wasi:sockets/network@0.2.6", &[]),
            import("wasi:sockets/udp@0.2.6", &[]),
            import("wasi:sockets/tcp-create-socket@0.2.6", &["create-tcp-socket"]),
            import("wasi:sockets/tcp@0.2.6", &[]),
            import("wasi:sockets/ip-name-lookup@0.2.6", &["resolve-addresses"]),
            import("wasi:http/types@0.2.6", &[]),
            import("wasi:http/outgoing-handler@0.2.6", &["handle"]),
            import("wasi:keyvalue/store@0.2.0", &["open"]),
            import("wasm-runner:task/context@0.1.0", &["id"]),
            import("wasm-runner:task/invocations@0.1.0", &["await-result", "submit"]),
            import("acme:math/ops@1.0.0", &["sub", "add"]),
            import("acme:math/types@1.0.0", &[]),
        ];
        assert_eq!(
            shown(&imports),
            [
                "environment",
                "network names tcp udp",
                "http",
                "submits",
                "tasks acme:math/ops.add acme:math/ops.sub",
                "unknown wasi:keyvalue/store@0.2.0",
            ]
        );
        assert_eq!(
            shown(&[import("wasm-runner:task/invocations@0.1.0", &["await-result", "status"])]),
            [""; 0]
        );
    }

    #[test]
    fn what_is_granted_is_told_with_its_extent() {
        let tasks = Right { kind: RightKind::Tasks, uses: vec!["a:b/c.d".into(), "a:b/c.e".into()] };
        let with = |globs: &[&str]| Grants {
            may_submit: Some(globs.iter().map(|glob| Glob::new(glob)).collect()),
            ..Grants::default()
        };
        assert_eq!(tasks.extent(&Grants::default()), (Extent::Granted, vec![]));
        assert_eq!(tasks.extent(&with(&["a:b/*"])), (Extent::Granted, vec![]));
        assert_eq!(tasks.extent(&with(&["a:b/c.d"])), (Extent::Partly, vec!["a:b/c.d".to_owned()]));
        assert_eq!(tasks.extent(&with(&["ops::a:b/c@1.d"])), (Extent::Partly, vec!["a:b/c.d".to_owned()]));
        assert_eq!(tasks.extent(&with(&["a:b/c@1.*"])), (Extent::Granted, vec![]));
        assert_eq!(tasks.extent(&with(&[])), (Extent::Denied, vec![]));
        let submits = Right { kind: RightKind::Submits, uses: vec![] };
        assert_eq!(submits.extent(&Grants::default()).0, Extent::Granted);
        assert_eq!(submits.extent(&with(&["x"])), (Extent::Partly, vec!["x".to_owned()]));
        let network = Right { kind: RightKind::Network, uses: vec![] };
        assert_eq!(network.extent(&Grants::default()), (Extent::Denied, vec![]));
    }
}
