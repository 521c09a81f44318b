//! The walk of a prune: oldest ends first, status by status, from where the last one
//! stopped.

use std::collections::HashSet;
use std::sync::Arc;

use super::quotas::Account;
use crate::model::{IdSet, InvocationId, Status, UnixMicros};
use crate::store::{Keep, Prune, PrunePosition, Pruned, rules};

/// A prune that has looked at this many ancestors stops early: the rows that it
/// removes bound its work only as long as trees are not deep.
const ANCESTORS_AT_ONCE: usize = 10_000;

/// Something final that may be removed.
pub struct Old {
    pub seq: i64,
    pub finished_at: UnixMicros,
    pub id: InvocationId,
    pub task: i64,
    pub parent: Option<InvocationId>,
    pub has_children: bool,
    pub fairness_key: i64,
    pub payer: Option<Arc<str>>,
    pub unkeyed: bool,
}

impl Old {
    /// Returns the holders of quotas that count it, and its status.
    pub fn account(&self, status: Status) -> Account<'_> {
        let Self { task, fairness_key, payer, unkeyed, .. } = self;
        Account { task: *task, status, fairness_key: *fairness_key, payer: payer.as_ref(), unkeyed: *unkeyed }
    }
}

/// Answers what stands above and below those that may be removed.
pub trait Ancestry {
    type Error;

    /// The parent of an invocation, and whether itself is not final; `None` if it was
    /// removed.
    fn above(&mut self, id: InvocationId) -> Result<Option<(Option<InvocationId>, bool)>, Self::Error>;

    /// Whether it has children that outlived it. Attached ones ended with it.
    fn has_unfinished_children(&mut self, id: InvocationId) -> Result<bool, Self::Error>;
}

/// A prune under way.
pub struct Walk<'p> {
    prune: &'p Prune,
    /// The numbers of the tasks that it is about; all if there are none.
    tasks: Option<HashSet<i64>>,
    position: PrunePosition,
    looked_at: usize,
    removed: usize,
    /// Final with nothing unfinished above.
    clear: IdSet,
    /// Unfinished, or kept for those above: so is all that is below them.
    needed: IdSet,
    ancestors: usize,
}

impl<'p> Walk<'p> {
    /// Begins, or goes on. `tasks` are the numbers of those that the prune names.
    pub fn new(prune: &'p Prune, tasks: Option<HashSet<i64>>) -> Self {
        let position = prune.after.unwrap_or(PrunePosition { keep: 0, last: None, passed: 0 });
        Self {
            prune,
            tasks,
            position,
            looked_at: 0,
            removed: 0,
            clear: IdSet::default(),
            needed: IdSet::default(),
            ancestors: 0,
        }
    }

    /// Whether the prune is about a task.
    pub fn is_about(&self, task: i64) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&task))
    }

    /// Returns the rule of the status that is looked at next: the first of it to become final after
    /// [`after`](Self::after), [`limit`](Self::limit) of them; and how many have the status
    /// if that matters to it.
    pub fn keep(&self) -> Option<&'p Keep> {
        self.prune.keep.get(self.position.keep)
    }

    /// The last that was looked at.
    pub fn after(&self) -> (UnixMicros, i64) {
        self.position.last.unwrap_or((UnixMicros(i64::MIN), 0))
    }

    /// How many to look at: one more than may be tells whether that is all.
    pub fn limit(&self) -> usize {
        (self.prune.max - self.looked_at).saturating_add(1)
    }

    /// Leaves of `old` those that are to be looked at: `keep` no longer keeps them, of
    /// `there_are` with its status and these tasks. `true` if nothing of that status is left to look at
    /// after them.
    pub fn choose(&self, keep: &Keep, there_are: i64, now: UnixMicros, old: &mut Vec<Old>) -> bool {
        let mut left = u64::try_from(there_are).unwrap_or(0).saturating_sub(self.position.passed);
        let stays = |one: &Old| {
            let stays = !rules::is_surplus(keep, one.finished_at, left, now);
            left = left.saturating_sub(u64::from(self.is_about(one.task)));
            stays
        };
        let first_to_keep = old.iter().position(stays);
        old.truncate(first_to_keep.unwrap_or(old.len()));
        let is_all = old.len() < self.limit();
        old.truncate(self.limit() - 1);
        is_all
    }

    /// Passes by those of `old` that are of other tasks, or that something unfinished may still look for: an ancestor,
    /// or a detached child. The rest is to be removed. What was removed had no unfinished
    /// ancestor, and nothing final becomes unfinished again.
    pub fn pass<A: Ancestry>(
        &mut self,
        old: Vec<Old>,
        ancestry: &mut A,
    ) -> Result<(Vec<Old>, bool), A::Error> {
        let mut gone = Vec::with_capacity(old.len());
        for one in old {
            if self.ancestors > ANCESTORS_AT_ONCE {
                return Ok((gone, true));
            }
            self.looked_at += 1;
            self.position.last = Some((one.finished_at, one.seq));
            if !self.is_about(one.task) {
                continue;
            }
            let is_needed = one.has_children && ancestry.has_unfinished_children(one.id)?
                || self.has_unfinished_ancestor(one.parent, ancestry)?;
            if is_needed {
                self.position.passed += 1;
            } else {
                gone.push(one);
            }
        }
        Ok((gone, false))
    }

    fn has_unfinished_ancestor<A: Ancestry>(
        &mut self,
        parent: Option<InvocationId>,
        ancestry: &mut A,
    ) -> Result<bool, A::Error> {
        let mut path = Vec::new();
        let mut above = parent;
        let is_needed = loop {
            let Some(id) = above.filter(|id| !self.clear.contains(id)) else { break false };
            if self.needed.contains(&id) || path.len() == rules::GENERATIONS_TO_KEEP_FOR {
                break true;
            }
            self.ancestors += 1;
            path.push(id);
            above = match ancestry.above(id)? {
                Some((_, true)) => break true,
                Some((parent, false)) => parent,
                None => None,
            };
        };
        let known = if is_needed { &mut self.needed } else { &mut self.clear };
        known.extend(path);
        Ok(is_needed)
    }

    /// Whether what goes is to be removed, and not only counted.
    pub fn removes(&self) -> bool {
        !self.prune.only_counts
    }

    /// Notes how many were removed, or only counted, and goes on to the next status.
    pub fn note_removed(&mut self, removed: usize, status_is_done: bool) {
        self.removed += removed;
        if self.prune.only_counts {
            self.position.passed += removed as u64;
        }
        if status_is_done {
            self.position = PrunePosition { keep: self.position.keep + 1, last: None, passed: 0 };
        }
    }

    /// Returns the result of the prune. It stopped early if there is something to look at.
    pub fn end(self) -> Pruned {
        Pruned { removed: self.removed, next: self.keep().is_some().then_some(self.position) }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    /// A chain from the root down, of which everything but perhaps the root is final.
    struct Chain {
        ids: Vec<InvocationId>,
        root_is_unfinished: bool,
        asked: usize,
    }

    impl Chain {
        fn old(&self, generation: usize) -> Old {
            Old {
                seq: generation as i64,
                finished_at: UnixMicros(generation as i64),
                id: self.ids[generation],
                task: 1,
                parent: generation.checked_sub(1).map(|above| self.ids[above]),
                has_children: false,
                fairness_key: 1,
                payer: None,
                unkeyed: false,
            }
        }
    }

    impl Ancestry for Chain {
        type Error = Infallible;

        fn above(&mut self, id: InvocationId) -> Result<Option<(Option<InvocationId>, bool)>, Infallible> {
            self.asked += 1;
            let generation = self.ids.iter().position(|one| *one == id).expect("it is one of them");
            let parent = generation.checked_sub(1).map(|above| self.ids[above]);
            Ok(Some((parent, generation == 0 && self.root_is_unfinished)))
        }

        fn has_unfinished_children(&mut self, _: InvocationId) -> Result<bool, Infallible> {
            Ok(false)
        }
    }

    #[test]
    fn a_pass_looks_at_each_ancestor_once_and_only_so_far_up() {
        let prune = Prune { keep: Vec::new(), tasks: None, max: 200, after: None, only_counts: false };
        for (depth, root_is_unfinished, is_removed) in
            [(600, true, false), (600, false, true), (3_000, true, false), (3_000, false, false)]
        {
            let ids = (0..depth).map(|_| InvocationId::generate()).collect();
            let mut chain = Chain { ids, root_is_unfinished, asked: 0 };
            for is_downwards in [true, false] {
                let mut old: Vec<_> = (depth - 200..depth).map(|generation| chain.old(generation)).collect();
                if !is_downwards {
                    old.reverse();
                }
                chain.asked = 0;
                let Ok((gone, is_tired)) = Walk::new(&prune, None).pass(old, &mut chain);
                assert_eq!((gone.len(), is_tired), (if is_removed { 200 } else { 0 }, false), "{depth}");
                assert!(chain.asked <= 1_200, "{depth}: {}", chain.asked);
            }
        }
    }
}
