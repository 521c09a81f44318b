//! Deadlines, and what is removed at last.

use std::ops::Bound;
use std::sync::Arc;

use super::{Record, Seq, State};
use crate::model::{Event, Held, Status, UnixMicros};
use crate::store::{Keep, Prune, PrunePosition, Pruned, Receipt, quota, rules};

impl State {
    /// Ends what is past its deadline, oldest deadline first; whether some may be
    /// left.
    pub(super) fn expire(&mut self, now: UnixMicros, receipt: &mut Receipt) -> bool {
        for _ in 0..rules::EXPIRED_AT_ONCE {
            let Some(&(deadline, seq)) = self.deadlines.first() else {
                return false;
            };
            if deadline > now {
                return false;
            }
            let record = &self.records[seq];
            let id = record.id;
            let Ok(to) = record.status.apply(Event::Expire) else {
                debug_assert!(false, "what is final has no deadline any more");
                self.deadlines.pop_first();
                continue;
            };
            let ended = self.end(seq, now, Event::Expire, to, rules::expired(deadline));
            receipt.ended.push(ended);
            self.end_children(id, to, now, &mut receipt.ended);
        }
        true
    }

    /// Removes what is final and old.
    pub(super) fn prune(&mut self, prune: &Prune, now: UnixMicros) -> Pruned {
        let mut removed = 0;
        let mut looked_at = 0;
        let start = prune.after.unwrap_or(PrunePosition { keep: 0, last: None, passed: 0 });
        for (index, keep) in prune.keep.iter().enumerate().skip(start.keep) {
            let mut position = match index == start.keep {
                true => start,
                false => PrunePosition { keep: index, last: None, passed: 0 },
            };
            let is_about =
                |task: usize| prune.tasks.as_ref().is_none_or(|tasks| tasks.contains(&self.tasks[task].name));
            let is_meant: Vec<_> = (0..self.tasks.len()).map(is_about).collect();
            let mut left = self.left(keep, &is_meant, position.passed);
            while let Some((finished_at, seq)) = self.next_final(keep, position.last)
                && rules::is_surplus(keep, finished_at, left, now)
            {
                if looked_at == prune.max {
                    return Pruned { removed, next: Some(position) };
                }
                looked_at += 1;
                position.last = Some((finished_at, seq as i64));
                if !is_meant[self.records[seq].task] {
                    continue;
                }
                left = left.saturating_sub(1);
                if self.is_needed(seq) {
                    position.passed += 1;
                    continue;
                }
                removed += 1;
                if prune.only_counts {
                    position.passed += 1;
                } else {
                    self.remove(seq);
                }
            }
        }
        Pruned { removed, next: None }
    }

    /// The first of a status to become final after `last` did.
    fn next_final(&self, keep: &Keep, last: Option<(UnixMicros, i64)>) -> Option<(UnixMicros, Seq)> {
        let after = last.map_or((UnixMicros(i64::MIN), 0), |(at, number)| (at, number as Seq + 1));
        self.finals[keep.status as usize].range(after..).next().copied()
    }

    /// How many of a status there are, of the tasks that are meant, without those that were passed by.
    fn left(&self, keep: &Keep, is_meant: &[bool], passed: u64) -> u64 {
        let meant = self.tasks.iter().zip(is_meant).filter(|(_, is_meant)| **is_meant);
        let there_are: u64 = meant.map(|(task, _)| task.counts.get(keep.status)).sum();
        there_are.saturating_sub(passed)
    }

    /// Whether something that is not final may still look for it.
    fn is_needed(&self, seq: Seq) -> bool {
        let record = &self.records[seq];
        if self.children_of(record.id).any(|child| !self.records[child].status.is_final()) {
            return true;
        }
        let (mut above, mut looked_at) = (record.parent, 0);
        while let Some(ancestor) = above.and_then(|id| self.record(&id)) {
            if !ancestor.status.is_final() || looked_at == rules::GENERATIONS_TO_KEEP_FOR {
                return true;
            }
            looked_at += 1;
            above = ancestor.parent;
        }
        // What was removed had no unfinished ancestor, and nothing final becomes
        // unfinished again.
        false
    }

    fn remove(&mut self, seq: Seq) {
        let Some(record) = self.records.remove(seq) else {
            return;
        };
        let record: Record = *record;
        self.by_id.remove(&record.id);
        if let (Some(parent), Some(index)) = (record.parent, record.child_index) {
            self.children.remove(&(parent, index, seq));
        }
        if let Some(finished_at) = record.finished_at {
            self.finals[record.status as usize].remove(&(finished_at, seq));
        }
        let task = &mut self.tasks[record.task];
        if let Some(key) = &record.key {
            task.by_key.remove(key);
        }
        task.counts.subtract(record.status, 1);
        let outcome = record.outcome.as_ref().map_or(0, quota::stored_bytes);
        let bytes = quota::text_bytes(record.arguments.len()) + outcome;
        self.hold(&record.account(), Held { unfinished: 0, bytes: -bytes });
        self.fairness.leave(record.fairness);
    }

    /// Forgets the names of tasks that nothing refers to, of those behind `after`. Returns the last that it looked at,
    /// if there are more.
    pub(super) fn forget_names(&mut self, after: &str) -> Option<Arc<str>> {
        let behind = (Bound::Excluded(Arc::from(after)), Bound::Unbounded);
        let mut names = self.task_by_name.range::<Arc<str>, _>(behind);
        let looked_at: Vec<_> = names
            .by_ref()
            .take(rules::NAMES_LOOKED_AT)
            .map(|(name, task)| (Arc::clone(name), *task))
            .collect();
        let has_more = names.next().is_some();
        for (name, task) in &looked_at {
            let known = &self.tasks[*task];
            let is_used = known.known_rule().says_something()
                || known.mark.is_some()
                || Status::ALL.into_iter().any(|status| known.counts.get(status) > 0)
                || self.lanes.keys().any(|(of, _)| of == task);
            if !is_used {
                self.task_by_name.remove(name);
                self.tasks[*task].rule = None;
                self.free_tasks.push(*task);
            }
        }
        looked_at.last().filter(|_| has_more).map(|(name, _)| Arc::clone(name))
    }
}
