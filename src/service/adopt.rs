//! Ids of earlier programs, which named no component: whose they may be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::TaskId;
use crate::store::{Adoption, Batch, Store, StoreError};
use crate::wasm::{Library, Task};

/// Takes over the tasks that a store of an earlier program has and that are, beyond
/// doubt, those of a library. Returns the ids of unfinished invocations that are called like
/// some of its tasks and stay as they are, because nobody can tell whose they are.
///
/// # Errors
///
/// [`StoreError`].
pub(super) fn adopt(store: &dyn Store, library: &Library) -> Result<Vec<Arc<str>>, StoreError> {
    let known: BTreeSet<Arc<str>> = store.rules()?.into_iter().map(|rule| rule.task).collect();
    let mut adoptions = adoptions(library.tasks());
    adoptions.retain(|adoption| known.contains(&adoption.from));
    if adoptions.is_empty() {
        return Ok(Vec::new());
    }
    let batch = Batch { adoptions, ..Batch::default() };
    let adopted = store.commit(&batch)?.adopted;
    let mut left: BTreeSet<_> = batch.adoptions.iter().map(|adoption| Arc::clone(&adoption.from)).collect();
    for (adoption, _) in batch.adoptions.iter().zip(adopted).filter(|(_, is_adopted)| *is_adopted) {
        left.remove(&adoption.from);
    }
    if !left.is_empty() {
        let unfinished = store.unfinished_by_task()?;
        left.retain(|id| unfinished.iter().any(|(task, _)| task == id));
    }
    Ok(left.into_iter().collect())
}

/// The ids that tasks had before ids named components, as a store may have them still. Of
/// several tracks of a component the newest is meant, which the earlier program would have run.
pub(super) fn adoptions(tasks: &[Task]) -> Vec<Adoption> {
    let mut exporters: BTreeMap<String, BTreeMap<&str, &Task>> = BTreeMap::new();
    for task in tasks {
        let Some(id) = TaskId::parse(&task.id) else { continue };
        let newest = exporters.entry(id.former()).or_default().entry(&task.component).or_insert(task);
        if age(&task.id) > age(&newest.id) {
            *newest = task;
        }
    }
    let adoptions = exporters.into_iter().flat_map(|(from, exporters)| {
        let (from, has_rivals): (Arc<str>, _) = (from.into(), exporters.len() > 1);
        exporters.into_values().map(move |task| Adoption {
            from: Arc::clone(&from),
            to: Arc::clone(&task.id),
            component_digest: task.digest,
            has_rivals,
        })
    });
    adoptions.collect()
}

/// The numbers of an id's track: the greater, the newer.
fn age(id: &str) -> Vec<u64> {
    let track = TaskId::parse(id).and_then(|id| id.function.track).unwrap_or_default();
    track.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ComponentDigest, TaskOptions};

    fn task(id: &str) -> Task {
        Task {
            id: id.into(),
            component: TaskId::split(id).0.expect("it has one").into(),
            digest: ComponentDigest::from_bytes([1; 32]),
            parameters: Vec::new(),
            result: None,
            docs: None,
            options: TaskOptions::default(),
        }
    }

    /// Lists the adoptions: the former id, the full id, and whether it has rivals.
    fn ways(tasks: &[Task]) -> Vec<(String, String, bool)> {
        let all = adoptions(tasks).into_iter();
        all.map(|one| (one.from.to_string(), one.to.to_string(), one.has_rivals)).collect()
    }

    #[test]
    fn of_the_tracks_of_a_component_the_newest_is_meant() {
        let tasks = [task("one::acme:a/b@0.9.run"), task("one::acme:a/b@0.10.run"), task("two::run")];
        let newest = ("acme:a/b.run".to_owned(), "one::acme:a/b@0.10.run".to_owned(), false);
        assert_eq!(ways(&tasks), [newest, ("two.run".to_owned(), "two::run".to_owned(), false)]);
    }

    #[test]
    fn components_that_export_one_function_are_rivals() {
        let from = || "acme:a/b.run".to_owned();
        let expected = [
            (from(), "one::acme:a/b@1.run".to_owned(), true),
            (from(), "two::acme:a/b.run".to_owned(), true),
        ];
        assert_eq!(ways(&[task("two::acme:a/b.run"), task("one::acme:a/b@1.run")]), expected);
    }
}
