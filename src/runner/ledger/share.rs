//! How much of what is large one turn takes.
//!
//! Everybody's commit waits for the one before it: a guest that submits a hundred thousand
//! children, awaits as many, or returns megabytes, must not make its neighbours wait for
//! all of that. So each turn takes a share of it, and what is small goes before what is
//! left. And guests that produce more than the store can take have to wait for it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Held, Ledger};
use crate::runner::{Core, Stage};
use crate::store::{NewInvocation, Report};

/// Children of one submit that one turn takes: so many, or one that is as large.
const CHILDREN: usize = 500;
const CHILDREN_BYTES: usize = 1 << 20;

/// Ids that one turn looks up.
pub(super) const LOOK_UPS: usize = 1_000;

/// A report with more is large. A turn takes one that is, or several that are not larger
/// together than the share.
const LARGE: usize = 64 << 10;
const REPORTS_BYTES: usize = 4 << 20;

/// While outcomes of more bytes than this wait for the store, no guest gets a slot.
pub(in crate::runner) const MAX_UNWRITTEN: usize = 64 << 20;

/// How many of some children are the share of one turn.
pub(super) fn children(children: &[NewInvocation]) -> usize {
    let mut bytes = 0;
    let fits = |child: &&NewInvocation| {
        bytes += child.arguments.len();
        bytes <= CHILDREN_BYTES
    };
    children.iter().take(CHILDREN).take_while(fits).count().max(children.len().min(1))
}

fn bytes(report: &Report) -> usize {
    let logs: usize = report.logs.iter().map(|entry| entry.text.len()).sum();
    logs + report.end.as_ref().map_or(0, |end| end.how.outcome_bytes())
}

impl Held {
    fn outcome_bytes(&self) -> usize {
        let ends = self.reports.iter().filter_map(|report| report.end.as_ref());
        ends.map(|end| end.how.outcome_bytes()).sum()
    }

    /// Takes out what is more than one turn's share. Reports of one invocation stay in
    /// their order.
    fn split_share(&mut self) -> Self {
        let mut later = Self::default();
        let mut left = REPORTS_BYTES;
        let mut has_large = false;
        let is_over = |bytes: usize, left: usize, has_large: bool| bytes > LARGE && has_large && bytes > left;
        if !self.reports.iter().any(|report| bytes(report) > LARGE) {
            return later;
        }
        let mut is_later = HashSet::new();
        let all = std::mem::take(self);
        for (report, fiber) in all.reports.into_iter().zip(all.fibers) {
            let bytes = bytes(&report);
            if is_later.contains(&report.id) || is_over(bytes, left, has_large) {
                is_later.insert(report.id);
                later.push(report, fiber);
                continue;
            }
            if bytes > LARGE {
                has_large = true;
                left = left.saturating_sub(bytes);
            }
            self.push(report, fiber);
        }
        later
    }

    fn append(&mut self, later: &mut Self) {
        self.reports.append(&mut later.reports);
        self.fibers.append(&mut later.fibers);
    }
}

impl Ledger {
    /// Sets reports aside that are more than this turn's share.
    pub(super) fn take_share(&mut self) {
        self.later = self.held.split_share();
    }

    /// Sees to what is left: that it is not forgotten, and that no more is made than can
    /// be written.
    pub(super) fn end_turn(&mut self, core: &Arc<Core>) {
        let asks = !self.look_ups.is_empty() && core.stage() < Stage::Killing;
        let is_left = !self.later.is_empty() || asks;
        self.held.append(&mut self.later);
        let unwritten = match core.stage() {
            // Slots are needed to end what they hold, whatever the store does.
            stage if stage > Stage::Working => 0,
            _ => self.held.outcome_bytes() + core.inbox.outcome_bytes(),
        };
        let is_free_again = core.scheduler.set_unwritten(unwritten);
        if (is_left && self.back_off.is_none()) || is_free_again {
            core.inbox.put(|messages| messages.is_hungry = true);
        }
    }
}
