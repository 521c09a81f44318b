//! How a runner stops, in bounded time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Held, Ledger};
use crate::runner::core::Core;
use crate::runner::fiber::Kill;
use crate::runner::inbox::Messages;
use crate::runner::stage::{KILL_PATIENCE, Stage};
use crate::store::{AttemptEnd, EndKind, StoreError};

impl Ledger {
    /// Whether a runner that stops has nothing left to write.
    pub(super) fn is_done(&self, core: &Core) -> bool {
        let given_up = self.killing_since.is_some_and(|since| since.elapsed() > KILL_PATIENCE);
        if given_up && !self.held.is_empty() {
            tracing::error!(
                reports = self.held.reports.len(),
                "the store could not be written to until the end: these attempts will be run again"
            );
        }
        let is_settled = core.live.lock().is_empty()
            && core.scheduler.load().busy == 0
            && self.held.is_empty()
            && self.bills.is_empty()
            && !core.inbox.is_urgent();
        self.has_drained && (is_settled || given_up)
    }

    /// Ends the runner because it can never write to its store again. Its guests
    /// are killed and not reported: their lease runs out.
    pub(super) fn abandon(&mut self, core: &Core, fault: &StoreError) {
        (self.held, self.later) = (Held::default(), Held::default());
        self.look_ups.clear();
        self.bills.clear();
        self.is_in_doubt = false;
        core.disown_everything();
        if core.fault.set(fault.clone()).is_ok() {
            tracing::error!(error = %fault, "the runner stops");
            core.advance(Stage::Draining);
            core.advance(Stage::Killing);
        }
    }

    /// Gives back what is not running once draining has begun, and kills what
    /// still runs once the grace time is over.
    pub(super) fn move_stage(&mut self, core: &Arc<Core>, messages: &mut Messages) {
        if core.stage() == Stage::Working {
            self.give_back_stale_prefetch(core, messages);
            return;
        }
        if !self.has_drained {
            self.has_drained = true;
            self.give_back_claimed(core, messages);
            core.starts.kill_all(Kill::Release);
            for fiber in core.live_fibers() {
                if fiber.is_off_slot() {
                    fiber.kill(Kill::Release);
                }
            }
        }
        if core.stage() == Stage::Draining && core.grace_ends.lock().is_some_and(|end| end <= Instant::now())
        {
            core.stage.fetch_max(Stage::Killing as u8, Ordering::AcqRel);
        }
        if core.stage() >= Stage::Killing {
            if self.killing_since.is_none() {
                self.killing_since = Some(Instant::now());
                for fiber in core.live_fibers() {
                    fiber.kill(Kill::Release);
                }
            } else if self.killing_since.is_some_and(|since| since.elapsed() > KILL_PATIENCE) {
                // Stuck in the operating system: give them back without it.
                for fiber in core.live_fibers() {
                    let end = AttemptEnd::unstarted(core.clock.now(), EndKind::Release);
                    messages.ends.push((fiber, end));
                }
            }
        }
    }
}
