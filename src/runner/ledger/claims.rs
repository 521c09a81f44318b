//! Claims: the amount of work that a runner asks for, its choice, and when it gives work back.

use std::time::{Duration, Instant};

use super::view::View;
use crate::runner::scheduler::Load;
use crate::runner::stage::Stage;
use crate::store::ClaimRequest;

/// A runner claims ahead at most what its slots get through in this time, so that little is late for it.
const PREFETCH_TIME: Duration = Duration::from_millis(20);

/// A runner never claims ahead more than this many for each slot.
const PREFETCH_MAX: usize = 512;

/// Claimed work that no slot has taken for this long is given back: guests run longer than was guessed.
pub(in crate::runner) const STALE_PREFETCH: Duration = Duration::from_millis(500);

/// The knowledge of the work in the store.
pub(super) struct Claims {
    /// Whether the store may hold something to claim.
    pub(super) may_have_work: bool,
    /// Whether the next claim of a nearly full runner may be of anything awaited, however deep.
    pub(super) takes_any_depth: bool,
    /// Whether the receipt of a claim never came: this runner may own what it has never heard of.
    pub(super) must_take_inventory: bool,
}

impl Claims {
    /// Knows nothing of the store: there may be work.
    pub(super) fn new() -> Self {
        Self { may_have_work: true, takes_any_depth: false, must_take_inventory: false }
    }

    /// Asks for as much as the slots get through soon; for nothing if there can't be anything.
    pub(super) fn request(&mut self, view: &View<'_>) -> Option<ClaimRequest> {
        let load = &view.load;
        if view.stage != Stage::Working || load.is_congested {
            return None;
        }
        let slots = view.options.slots;
        // A nearly full runner claims only what it may start.
        let above = load.deepest.filter(|_| !std::mem::take(&mut self.takes_any_depth));
        let awaited_room = match above {
            None => (2 * slots).saturating_sub(load.awaited).max(usize::from(load.deepest.is_some())),
            Some(_) => (2 * slots).saturating_sub(load.startable),
        };
        let room = match load.may_start_unawaited {
            true => (load.idle + slots * prefetch(view.slice)).saturating_sub(load.ready),
            false => 0,
        };
        let max = room.max(awaited_room);
        if max == 0 {
            return None;
        }
        let awaited = view.registry.wanted(max, above);
        let only_awaited = room == 0;
        if awaited.is_empty() && (only_awaited || !self.may_have_work) {
            return None;
        }
        Some(ClaimRequest {
            runner: view.runner,
            lease: view.options.lease,
            max,
            only_awaited,
            awaited,
            tasks: view.tasks(),
            root: view.options.only_root,
        })
    }
}

/// Returns the number to claim ahead for each slot, if a guest holds its slot for `slice`.
pub(super) fn prefetch(slice: Option<Duration>) -> usize {
    let fits = slice.map_or(0, |slice| PREFETCH_TIME.as_nanos() / slice.as_nanos().max(1));
    usize::try_from(fits).unwrap_or(usize::MAX).min(PREFETCH_MAX)
}

/// Whether slots take what was claimed ahead.
#[derive(Default)]
pub(super) struct Prefetch {
    /// Since when slots have taken none of it, and how much they had taken before.
    untaken_since: Option<(Instant, usize)>,
}

impl Prefetch {
    /// Whether claimed work has lain too long. If so, it is given back.
    pub(super) fn is_stale(&mut self, load: &Load, now: Instant) -> bool {
        if load.ready == 0 || !load.may_start_unawaited {
            self.untaken_since = None;
            return false;
        }
        match self.untaken_since {
            Some((since, taken)) if taken == load.taken => {
                let is_stale = now.duration_since(since) >= STALE_PREFETCH;
                if is_stale {
                    self.untaken_since = None;
                }
                is_stale
            }
            _ => {
                self.untaken_since = Some((now, load.taken));
                false
            }
        }
    }

    /// When claimed work becomes stale, if no slot takes any.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        self.untaken_since.map(|(since, _)| since + STALE_PREFETCH)
    }
}
