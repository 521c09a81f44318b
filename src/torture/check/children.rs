//! Parents and their children.

use std::collections::BTreeMap;

use super::Finding;
use crate::model::{InvocationId, Outcome};
use crate::torture::book::short;
use crate::torture::evidence::{Evidence, Life};
use crate::torture::kind::Kind;
use crate::torture::witness::Told;

/// Every outcome of a child that any attempt of its parent saw is the one that is
/// committed, and what parents made of them is right.
pub fn parents_saw_what_was_committed(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("parents", "parents saw their children's committed outcomes and added them up");
    for line in &evidence.lines {
        let Told::Saw(child, saw) = &line.told else { continue };
        let life = evidence.lives.get(child);
        let is_child = life.is_some_and(|life| life.invocation.parent == Some(line.id));
        finding.expect(is_child, || format!("{} awaited {child}, which is no child of it", line.id));
        let committed = life.and_then(|life| life.invocation.outcome.as_ref()).map(short);
        finding.expect(committed.as_ref() == Some(saw), || {
            format!(
                "{} saw in attempt {} that its child {child} is `{saw}`, and it is `{}`",
                line.id,
                line.attempt,
                committed.unwrap_or_default()
            )
        });
    }
    let children = children(evidence);
    for (id, life) in &evidence.lives {
        let Some(value) = life.invocation.outcome.as_ref().and_then(value) else { continue };
        // What has no value counts as 0, as it does for the guest.
        let values = || {
            let children = children.get(id).into_iter().flatten();
            children.map(|child| child.invocation.outcome.as_ref().and_then(self::value).unwrap_or(0))
        };
        let (holds, expected) = match life.kind {
            Kind::Leaf | Kind::Lane | Kind::Flaky | Kind::Trap | Kind::Poison => continue,
            Kind::Fan | Kind::Tree => {
                let sum = values().sum::<u64>();
                (value == sum, format!("the sum of its children, {sum}"))
            }
            Kind::Race => (
                values().any(|one| one == value),
                format!("one of its children, {:?}", values().collect::<Vec<_>>()),
            ),
            Kind::Leave => {
                let count = life.kind.children(&life.arguments);
                (value == count, format!("the number of its children, {count}"))
            }
        };
        finding.expect(holds, || format!("{} {id} is {value}, not {expected}", life.kind.name()));
    }
    finding
}

/// However often a parent was run, it has each child once.
pub fn parents_have_the_children_that_they_submitted(evidence: &Evidence) -> Finding {
    let mut finding =
        Finding::new("children", "no child is missing or exists twice, however often its parent ran");
    let children = children(evidence);
    for (id, life) in &evidence.lives {
        let has = children.get(id).map_or(0, |children| children.len() as u64);
        let most = life.kind.children(&life.arguments);
        // One that never came to its end may have submitted them or not.
        let least = if matches!(life.invocation.outcome, Some(Outcome::Value(_))) { most } else { 0 };
        finding.expect((least..=most).contains(&has), || {
            format!("{} {id} has {has} children, not {most}", life.kind.name())
        });
    }
    for parent in children.keys() {
        finding.expect(evidence.lives.contains_key(parent), || {
            format!("the parent {parent} of some invocations does not exist")
        });
    }
    for life in evidence.lives.values() {
        let Some(parent) = life.invocation.parent.and_then(|parent| evidence.lives.get(&parent)) else {
            continue;
        };
        finding.expect(life.invocation.root == parent.invocation.root, || {
            format!("{} is of another tree than its parent", life.invocation.id)
        });
    }
    finding
}

fn value(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Value(json) => json.parse().ok(),
        Outcome::Failure(_) => None,
    }
}

fn children(evidence: &Evidence) -> BTreeMap<InvocationId, Vec<&Life>> {
    let mut children: BTreeMap<InvocationId, Vec<&Life>> = BTreeMap::new();
    for life in evidence.lives.values() {
        if let Some(parent) = life.invocation.parent {
            children.entry(parent).or_default().push(life);
        }
    }
    children
}
