//! Ids of earlier programs, which named no component: whose they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{ComponentDigest, TaskId};
use crate::store::{Adoption, PushedComponent, Store, StoreError};
use crate::wasm::{Library, Task};

/// Takes over the tasks that a store of an earlier program has and that are, beyond
/// doubt, those of a library. Returns the ids of unfinished invocations that are called like
/// some of its tasks and stay as they are, because nobody can tell whose they are.
///
/// # Errors
///
/// [`StoreError`].
pub fn adopt(store: &dyn Store, library: &Library) -> Result<Vec<Arc<str>>, StoreError> {
    let known: Vec<Arc<str>> = store.rules()?.into_iter().map(|rule| rule.task).collect();
    if known.iter().all(|id| TaskId::parse(id).is_some()) {
        return Ok(Vec::new());
    }
    let pushed = store.components()?;
    let mut left = Vec::new();
    for (from, adoptions) in adoptions(&known, library.tasks(), &pushed) {
        let mut is_adopted = false;
        for adoption in &adoptions {
            is_adopted = is_adopted || store.adopt(adoption)?;
        }
        if !is_adopted {
            left.push(from);
        }
    }
    if !left.is_empty() {
        let unfinished = store.unfinished_by_task()?;
        left.retain(|id| unfinished.iter().any(|(task, _)| task == id));
    }
    Ok(left)
}

/// The old ids that tasks may have had, each with the ways in which it may be adopted.
fn adoptions(
    known: &[Arc<str>],
    tasks: &[Task],
    pushed: &[PushedComponent],
) -> Vec<(Arc<str>, Vec<Adoption>)> {
    let mut found = Vec::new();
    for from in known.iter().filter(|id| TaskId::parse(id).is_none()) {
        let is_former = |id: &str| TaskId::parse(id).is_some_and(|id| id.former() == **from);
        // Of each component the newest: that is what the earlier program would have run.
        let mut exporters: BTreeMap<&str, &Task> = BTreeMap::new();
        for task in tasks.iter().filter(|task| is_former(&task.id)) {
            let newest = exporters.entry(&task.component).or_insert(task);
            if age(&task.id) > age(&newest.id) {
                *newest = task;
            }
        }
        let is_others = |id: &&Arc<str>| {
            is_former(id) && TaskId::split(id).0.is_some_and(|component| !exporters.contains_key(component))
        };
        let is_only = exporters.len() == 1 && !known.iter().any(|id| is_others(&id));
        let digests = |task: &Task| -> Vec<ComponentDigest> {
            let pushed = pushed.iter().filter(|one| one.name == task.component).map(|one| one.digest);
            std::iter::once(task.digest).chain(pushed).collect()
        };
        let adoptions: Vec<_> = exporters
            .values()
            .map(|task| Adoption {
                from: Arc::clone(from),
                to: Arc::clone(&task.id),
                only: (!is_only).then(|| digests(task)),
            })
            .collect();
        if !adoptions.is_empty() {
            found.push((Arc::clone(from), adoptions));
        }
    }
    found
}

/// The numbers of an id's track: the greater, the newer.
fn age(id: &str) -> Vec<u64> {
    let track = TaskId::parse(id).and_then(|id| id.function.track).unwrap_or_default();
    track.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TaskOptions, UnixMicros};

    fn task(id: &str, digest: u8) -> Task {
        Task {
            id: id.into(),
            component: TaskId::split(id).0.expect("it has one").into(),
            digest: ComponentDigest::from_bytes([digest; 32]),
            parameters: Vec::new(),
            result: None,
            docs: None,
            options: TaskOptions::default(),
        }
    }

    /// What becomes of `acme:a/b.run`, beside which the store knows `others`.
    fn ways(others: &[&str], tasks: &[Task], pushed: &[PushedComponent]) -> Vec<(String, Option<Vec<u8>>)> {
        let known: Vec<Arc<str>> = others.iter().copied().chain(["acme:a/b.run"]).map(Arc::from).collect();
        let mut found = adoptions(&known, tasks, pushed);
        let ways = found.pop().map(|(_, ways)| ways).unwrap_or_default();
        assert!(found.is_empty());
        let first =
            |digests: Vec<ComponentDigest>| digests.iter().map(|digest| digest.as_bytes()[0]).collect();
        ways.into_iter().map(|way| (way.to.to_string(), way.only.map(first))).collect()
    }

    #[test]
    fn the_only_component_that_exports_a_function_takes_everything() {
        let tasks = [task("one::acme:a/b@0.1.run", 1), task("one::acme:a/b@0.2.run", 1), task("two::run", 2)];
        assert_eq!(ways(&[], &tasks, &[]), [("one::acme:a/b@0.2.run".to_owned(), None)]);
        assert_eq!(ways(&["one::acme:a/b@0.1.run", "three::run"], &tasks, &[]).len(), 1);
        assert_eq!(ways(&[], &tasks[2..], &[]), []);
    }

    #[test]
    fn of_several_each_takes_what_was_submitted_for_its_bytes() {
        let tasks = [task("one::acme:a/b.run", 1), task("two::acme:a/b.run", 2)];
        let pushed = PushedComponent {
            name: "two".into(),
            digest: ComponentDigest::from_bytes([7; 32]),
            size: 1,
            pushed_at: UnixMicros(0),
        };
        let expected = [
            ("one::acme:a/b.run".to_owned(), Some(vec![1])),
            ("two::acme:a/b.run".to_owned(), Some(vec![2, 7])),
        ];
        assert_eq!(ways(&[], &tasks, &[pushed]), expected);
        // One of another runner counts as well.
        let ways = ways(&["two::acme:a/b.run"], &tasks[..1], &[]);
        assert_eq!(ways, [("one::acme:a/b.run".to_owned(), Some(vec![1]))]);
    }
}
