//! Claims: the amount of work that a runner asks for, and its choice.

use std::sync::Arc;

use super::prefetch::{AWAITED_PER_SLOT, prefetch};
use super::view::View;
use crate::runner::stage::Stage;
use crate::store::ClaimRequest;

/// The knowledge of the work in the store.
pub(crate) struct Claims {
    /// Whether the store may hold something to claim.
    pub(crate) may_have_work: bool,
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
        if view.stage != Stage::Working || load.is_congested || load.is_short {
            return None;
        }
        let slots = view.options.slots;
        // A nearly full runner claims only what it may start.
        let above = load.deepest.filter(|_| !std::mem::take(&mut self.takes_any_depth));
        let awaited_room = match above {
            None => (AWAITED_PER_SLOT * slots)
                .saturating_sub(load.awaited)
                .max(usize::from(load.deepest.is_some())),
            Some(_) => (AWAITED_PER_SLOT * slots).saturating_sub(load.startable),
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
            lease: view.options.settings.lease,
            max,
            only_awaited,
            awaited,
            tasks: Arc::clone(view.tasks),
            root: view.options.only_root,
        })
    }
}
