//! How much work a runner takes, which, and when it gives some back.

use std::time::{Duration, Instant};

use super::Ledger;
use crate::model::{Claim, InvocationId};
use crate::runner::core::Core;
use crate::runner::inbox::Messages;
use crate::runner::stage::Stage;
use crate::store::{AttemptEnd, ClaimRequest, EndKind, Report};

/// A runner claims ahead at most what its slots get through in this time, so
/// that what it holds without running it is hardly late anywhere else.
const PREFETCH_TIME: Duration = Duration::from_millis(20);

/// And never more than this many.
const PREFETCH_MAX: usize = 512;

/// Claimed work that no slot has taken for this long is given back: the guess
/// about how long guests run was wrong.
pub(super) const STALE_PREFETCH: Duration = Duration::from_millis(500);

impl Ledger {
    /// If the runner is nearly full of parked parents and nothing runs, sees to
    /// it that something does: claims what may start, then makes an exception for
    /// what otherwise may not, and at the cap ends a wait with an error. After a
    /// turn that left nothing unsaid, so that no wake-up is on its way.
    pub(super) fn break_standstill(&mut self, core: &Core) {
        let load = core.scheduler.load();
        if load.may_start_unawaited
            || load.busy > 0
            || load.resumed > 0
            || core.stage() != Stage::Working
            || !self.is_through()
            || core.inbox.is_urgent()
        {
            return;
        }
        if load.live >= core.options.max_live {
            if load.awaited > 0 {
                core.give_up_at_cap();
            } else if !core.registry.wanted(1, None).is_empty() {
                core.inbox.put(|messages| messages.is_hungry = true);
            }
        } else if load.startable > 0 {
            // A slot is on its way to it.
        } else if !core.registry.wanted(1, load.deepest).is_empty() {
            core.inbox.put(|messages| messages.is_hungry = true);
        } else if core.registry.awaits_events() {
            // Time, or another runner, will wake somebody.
        } else if load.awaited > 0 {
            core.scheduler.make_exception();
        } else if !core.registry.wanted(1, None).is_empty() {
            self.takes_any_depth = true;
            core.inbox.put(|messages| messages.is_hungry = true);
        }
    }

    pub(super) fn give_back_claimed(&mut self, core: &Core, messages: &mut Messages) {
        for claim in core.scheduler.take_claimed() {
            let end = AttemptEnd::unstarted(core.clock.now(), EndKind::Release);
            messages.unstarted.push(Report::unstarted(&claim, end));
        }
    }

    pub(super) fn give_back_stale_prefetch(&mut self, core: &Core, messages: &mut Messages) {
        let load = core.scheduler.load();
        if load.ready == 0 || load.live >= core.options.max_live || !load.may_start_unawaited {
            self.ready_since = None;
            return;
        }
        match self.ready_since {
            Some((since, taken)) if taken == load.taken => {
                if since.elapsed() >= STALE_PREFETCH {
                    self.ready_since = None;
                    core.counters.set_slice(STALE_PREFETCH);
                    self.give_back_claimed(core, messages);
                    self.may_have_work = true;
                }
            }
            _ => self.ready_since = Some((Instant::now(), load.taken)),
        }
    }

    /// Asks for as much as the slots get through soon; nothing if there can't be
    /// anything.
    pub(super) fn claim_request(&mut self, core: &Core) -> Option<ClaimRequest> {
        let load = core.scheduler.load();
        if core.stage() != Stage::Working || load.is_congested {
            return None;
        }
        let slots = core.options.slots;
        // A nearly full runner claims only what it may start.
        let above = load.deepest.filter(|_| !std::mem::take(&mut self.takes_any_depth));
        let awaited_room = match above {
            None => (2 * slots).saturating_sub(load.awaited).max(usize::from(load.deepest.is_some())),
            Some(_) => (2 * slots).saturating_sub(load.startable),
        };
        let room = if load.may_start_unawaited {
            let fits = |slice: Duration| PREFETCH_TIME.as_nanos() / slice.as_nanos().max(1);
            let ahead = core.counters.slice().map_or(0, fits);
            let ahead = usize::try_from(ahead).unwrap_or(usize::MAX).min(PREFETCH_MAX);
            (load.idle + slots * ahead).saturating_sub(load.ready)
        } else {
            0
        };
        let max = room.max(awaited_room);
        if max == 0 {
            return None;
        }
        let awaited = core.registry.wanted(max, above);
        let only_awaited = room == 0;
        if awaited.is_empty() && (only_awaited || !self.may_have_work) {
            return None;
        }
        Some(ClaimRequest {
            runner: self.runner,
            lease: core.options.lease,
            max,
            only_awaited,
            awaited,
            tasks: core.tasks(),
            root: core.options.only_root,
        })
    }

    pub(super) fn act_on_claims(
        &mut self,
        core: &Core,
        request: &ClaimRequest,
        claimed: Vec<Claim>,
        unclaimable: &[InvocationId],
        more: bool,
    ) {
        core.registry.mark_unclaimable(unclaimable);
        if !request.only_awaited {
            self.may_have_work = more;
        }
        if claimed.is_empty() {
            return;
        }
        if !core.trust.is_good(request.runner) {
            // The commit took so long that the lease is over, or nearly: others
            // may be about to take them. What is still ours is given back.
            self.may_have_work = true;
            let release = |claim: &Claim| {
                let end = AttemptEnd::unstarted(core.clock.now(), EndKind::Release);
                Report::unstarted(claim, end)
            };
            core.inbox.put(|messages| messages.unstarted.extend(claimed.iter().map(release)));
            return;
        }
        // The claim extended the lease.
        self.next_heartbeat = Some(Instant::now() + core.options.lease / 3);
        let claims = claimed
            .into_iter()
            .map(|claim| {
                let urgency = core.registry.own(claim.id, claim.attempt);
                (claim, urgency)
            })
            .collect();
        core.scheduler.push_claimed(claims);
    }
}
