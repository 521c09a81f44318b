//! Removing final invocations that are old.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::known;
use super::patience::{Access, CHUNK, give_way};
use super::{PruneDocument, Remedy, Service, ServiceError};
use crate::model::{Glob, Status, TaskId};
use crate::store::{Batch, Keep, Prune, Shrunk};

/// A prune. If nothing says how old or how many, the configuration does.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Only those with one of these final statuses; empty means all.
    pub statuses: Vec<Status>,
    /// The age since the end from which on invocations are removed.
    pub older_than: Option<Duration>,
    /// The number of each status that is kept, however old: the latest to end. Without an age the rest is removed.
    pub keep: Option<usize>,
    /// Only those of components whose names fit one of these patterns; empty means all.
    pub components: Vec<String>,
    /// Removes nothing, and counts.
    pub only_counts: bool,
    /// Writes the store's file anew in the end, without what is free in it.
    pub vacuums: bool,
}

impl Service {
    /// Removes invocations, in as many transactions as it takes, and forgets names of tasks that nothing refers to; removes
    /// usage as well, if the configuration alone says what is old. If the store went away
    /// meanwhile, those that were removed without an answer are not counted.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Invalid`] if nothing says what is old, or if the store can't be written anew: runners hold work, or
    /// it is in no file.
    pub fn prune(&self, request: &PruneRequest) -> Result<PruneDocument, ServiceError> {
        // Flags are about invocations.
        let is_by_configuration = request.statuses.is_empty()
            && request.older_than.is_none()
            && request.keep.is_none()
            && request.components.is_empty();
        let prunes_usage = is_by_configuration && !request.only_counts;
        let keep = match keep(request, &self.config().retention) {
            Err(_) if is_by_configuration && self.config().configured_usage_retention.is_some() => Vec::new(),
            // The file may be all that is asked about.
            Err(_) if is_by_configuration && request.vacuums => Vec::new(),
            keep => keep?,
        };
        let access = self.existing()?;
        if request.vacuums {
            may_vacuum(&access)?;
        }
        let only_counts = request.only_counts;
        let tasks = match request.components.is_empty() {
            true => None,
            false => Some(self.tasks_of_components(&request.components, &access)?),
        };
        let mut by_status = BTreeMap::new();
        for keep in keep {
            let removed = prune_one(&access, keep, tasks.as_ref(), only_counts)?;
            if removed > 0 {
                *by_status.entry(keep.status).or_default() += removed;
            }
        }
        let removed = by_status.values().sum();
        let mut has_old_usage = prunes_usage;
        while has_old_usage {
            let began = Instant::now();
            let prune_usage = Some(self.config().usage_retention());
            has_old_usage = access.commit(&Batch { prune_usage, ..Batch::default() })?.has_old_usage;
            if has_old_usage {
                give_way(began);
            }
        }
        let mut names_after = (!only_counts).then(Arc::default);
        while names_after.is_some() {
            let began = Instant::now();
            let forget = Batch { forget_names: names_after, ..Batch::default() };
            names_after = access.commit(&forget)?.names_after;
            if names_after.is_some() {
                give_way(began);
            }
        }
        if only_counts {
            return Ok(PruneDocument {
                would_remove: Some(removed),
                would_remove_by_status: Some(by_status),
                ..PruneDocument::default()
            });
        }
        let Shrunk { given_back, stays } = match request.vacuums {
            true => access.ask(|store| store.vacuum())?,
            false => shrink(&access)?,
        };
        Ok(PruneDocument { removed, freed_bytes: given_back, free_bytes: stays, ..PruneDocument::default() })
    }

    /// Finds the tasks in the store whose components have a name that fits one of these patterns.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Unknown`] if a pattern fits none: nothing is removed by a name that is misspelt.
    fn tasks_of_components(
        &self,
        patterns: &[String],
        access: &Access,
    ) -> Result<Vec<Arc<str>>, ServiceError> {
        let stored = self.stored_tasks(access)?;
        let names: BTreeSet<&str> = stored.iter().filter_map(|id| TaskId::split(id).0).collect();
        let globs: Vec<_> = patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let fits_none = |glob: &Glob| !names.iter().any(|name| glob.matches(name));
        if let Some((_, pattern)) = globs.iter().zip(patterns).find(|(glob, _)| fits_none(glob)) {
            let names = || names.iter().copied();
            let otherwise = match names().next() {
                Some(_) => known(names()),
                None => "the store has no tasks".to_owned(),
            };
            return Err(ServiceError::unknown("component", pattern, names(), otherwise));
        }
        let fits = |id: &Arc<str>| {
            TaskId::split(id).0.is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
        };
        Ok(stored.into_iter().filter(fits).collect())
    }
}

/// Removes what is old of one status, or counts it. Returns the number.
fn prune_one(
    access: &Access,
    keep: Keep,
    tasks: Option<&Vec<Arc<str>>>,
    only_counts: bool,
) -> Result<usize, ServiceError> {
    let (mut removed, mut after) = (0, None);
    loop {
        let began = Instant::now();
        let prune = Prune { keep: vec![keep], max: CHUNK, after, tasks: tasks.cloned(), only_counts };
        let receipt = access.commit(&Batch { prune: Some(prune), ..Batch::default() })?;
        let Some(pruned) = receipt.pruned else { return Ok(removed) };
        removed += pruned.removed;
        after = pruned.next;
        if after.is_none() {
            return Ok(removed);
        }
        give_way(began);
    }
}

/// Checks that the store's file may be written anew: nobody else can write to it meanwhile.
fn may_vacuum(access: &Access) -> Result<(), ServiceError> {
    if access.ask(|store| Ok(store.is_remote()))? {
        return Err(ServiceError::invalid(
            "`--vacuum` is for stores in a file: PostgreSQL reuses and gives back space by itself (autovacuum), and \
             `VACUUM FULL` in `psql` does so at once",
        ));
    }
    let counts = access.ask(|store| store.counts(None))?;
    let held: u64 =
        Status::ALL.into_iter().filter(|status| status.is_owned()).map(|status| counts.get(status)).sum();
    if held > 0 {
        return Err(ServiceError::invalid(format!(
            "runners hold {held} of the invocations, and nobody can write to the store while `--vacuum` does: stop them \
             first"
        )));
    }
    Ok(())
}

/// Gives the space of removed rows back to the disk, a part in each transaction.
fn shrink(access: &Access) -> Result<Shrunk, ServiceError> {
    let mut given_back = 0;
    loop {
        let began = Instant::now();
        let shrunk = access.ask(|store| store.shrink())?;
        given_back += shrunk.given_back;
        if shrunk.given_back == 0 {
            return Ok(Shrunk { given_back, ..shrunk });
        }
        give_way(began);
    }
}

/// Decides what is kept: as the request says, or as it is configured.
fn keep(request: &PruneRequest, configured: &[Keep]) -> Result<Vec<Keep>, ServiceError> {
    let is_meant = |status: Status| request.statuses.is_empty() || request.statuses.contains(&status);
    if request.older_than.is_some() || request.keep.is_some() {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_final() && is_meant(*status));
        let number = request.keep.map(|count| count as u64);
        let age = request.older_than;
        // Beside an age the number is what is kept of the old, too.
        let (count, at_least) = if age.is_some() { (None, number.unwrap_or(0)) } else { (number, 0) };
        return Ok(statuses.map(|status| Keep { status, age, count, at_least }).collect());
    }
    let keep: Vec<_> = configured.iter().filter(|keep| is_meant(keep.status)).copied().collect();
    if !keep.is_empty() {
        return Ok(keep);
    }
    let message = match configured.is_empty() {
        true => "nothing says what is old: there is no `[retention]` in the configuration",
        false => "nothing says what is old: `[retention]` keeps everything with that status",
    };
    Err(ServiceError::invalid(message).with_remedy(Remedy::SayWhatIsOld))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(statuses: &[Status], older_than: Option<u64>, keep: Option<usize>) -> PruneRequest {
        let older_than = older_than.map(Duration::from_secs);
        PruneRequest { statuses: statuses.to_vec(), older_than, keep, ..PruneRequest::default() }
    }

    #[test]
    fn a_request_wins_over_the_configuration() {
        let day = Some(Duration::from_secs(86_400));
        let failed = Keep { status: Status::Failed, age: day, count: None, at_least: 0 };
        let skipped = Keep { status: Status::Skipped, age: day, count: Some(7), at_least: 0 };
        let configured = [failed, skipped];
        assert_eq!(keep(&request(&[], None, None), &configured).unwrap(), configured);
        assert_eq!(keep(&request(&[Status::Skipped], None, None), &configured).unwrap(), [skipped]);
        assert!(keep(&request(&[Status::Succeeded], None, None), &configured).is_err());
        assert!(keep(&request(&[], None, None), &[]).is_err());
        let all = keep(&request(&[], None, Some(3)), &configured).unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|keep| keep.status.is_final() && (keep.age, keep.count) == (None, Some(3))));
        let old = Keep { age: Some(Duration::from_secs(5)), ..failed };
        assert_eq!(keep(&request(&[Status::Failed], Some(5), None), &configured).unwrap(), [old]);
        // Beside an age, the number is a floor.
        let floor = Keep { at_least: 3, ..old };
        assert_eq!(keep(&request(&[Status::Failed], Some(5), Some(3)), &configured).unwrap(), [floor]);
    }
}
