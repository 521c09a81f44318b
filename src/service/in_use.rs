//! The version of a pushed component that is in use, and for which its name stands.

use std::fmt;
use std::sync::Arc;

use crate::model::{ComponentDigest, PushAnswer, clip};
use crate::store::PushedComponent;

/// The most characters of the reason why a version is passed over.
const TOLD: usize = 200;

/// The newest version of a pushed component, where an earlier one is in use, because runners have refused those after
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The name of the component.
    pub component: Arc<str>,
    /// The digest of the newest version.
    pub newest: ComponentDigest,
    /// The digest of the version in use.
    pub in_use: ComponentDigest,
    /// The reason why runners have refused the newest.
    pub reason: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, newest, in_use, reason } = self;
        let reason = clip(reason, TOLD);
        write!(
            formatter,
            "`{component}` stands for {in_use}, which is in use: the newest version, {newest}, can't be used: {reason}"
        )
    }
}

/// Finds the version of a pushed component that a submit gets: the newest that runners have not refused. If they have
/// refused all, none is in use.
pub(super) fn in_use<'p>(pushed: &'p [PushedComponent], name: &str) -> Option<&'p PushedComponent> {
    let is_usable = |one: &&PushedComponent| one.removed_at.is_none() && refusal(one).is_none();
    pushed.iter().filter(|one| *one.name == *name).find(is_usable)
}

/// Finds the version of a pushed component that its name stands for where versions are compared or looked into: the one
/// in use, or else the newest. Tells of the newest if it is passed over.
pub(super) fn meant<'p>(
    pushed: &'p [PushedComponent],
    name: &str,
) -> Option<(&'p PushedComponent, Option<PassedOver>)> {
    let newest = newest(pushed, name)?;
    let used = in_use(pushed, name).unwrap_or(newest);
    let passed_over = (used.digest != newest.digest).then(|| PassedOver {
        component: Arc::clone(&newest.name),
        newest: newest.digest,
        in_use: used.digest,
        reason: refusal(newest).unwrap_or_default().to_owned(),
    });
    Some((used, passed_over))
}

/// Leaves of the versions of a pushed component the one that its name stands for.
pub(super) fn keep_meant(pushed: &mut Vec<PushedComponent>, name: &str) -> Option<PassedOver> {
    let (digest, passed_over) =
        meant(pushed, name).map(|(meant, passed_over)| (meant.digest, passed_over))?;
    pushed.retain(|one| *one.name != *name || one.digest == digest);
    passed_over
}

/// Finds the newest version of a pushed component that was not removed: of each name it comes first.
pub(super) fn newest<'p>(pushed: &'p [PushedComponent], name: &str) -> Option<&'p PushedComponent> {
    pushed.iter().find(|one| *one.name == *name && one.removed_at.is_none())
}

/// Returns the reason why runners can't use a pushed version, if one has said so and none has taken it over.
pub(super) fn refusal(one: &PushedComponent) -> Option<&str> {
    let answers = || one.facts.iter().flat_map(|facts| facts.answers.values());
    if answers().any(|answer| *answer == PushAnswer::Taken) {
        return None;
    }
    answers().find_map(|answer| match answer {
        PushAnswer::Refused(reason) => Some(&**reason),
        _ => None,
    })
}
