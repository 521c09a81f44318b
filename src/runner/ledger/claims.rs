//! Claims: the amount of work that a runner asks for, and its choice.

use std::sync::Arc;

use super::prefetch::{AWAITED_PER_SLOT, Prefetch};
use super::share::TURN_BYTES;
use super::view::View;
use crate::runner::fill::user_of;
use crate::runner::stage::Stage;
use crate::store::{ClaimRequest, TaskSet};

/// The knowledge of the work in the store.
pub(crate) struct Claims {
    /// Whether the store may hold something to claim.
    pub(crate) may_have_work: bool,
    /// Whether the next claim of a nearly full runner may be of anything awaited, however deep.
    pub(super) takes_any_depth: bool,
    /// Whether the receipt of a claim never came: this runner may own what it has never heard of.
    pub(super) must_take_inventory: bool,
    /// The users that are held back, with the tasks of all others.
    held_back: Option<(Vec<Arc<str>>, Arc<TaskSet>)>,
    /// The tasks of the runner when it was found out.
    tasks: Arc<TaskSet>,
    /// The claim that has to follow the last one, which could not ask for everything.
    pub(super) owed: Option<Owed>,
}

/// While some are held back, a claim is either for awaited work, whoever's it is, or for the work of all
/// others: they take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owed {
    Awaited,
    Others,
}

impl Claims {
    /// Knows nothing of the store: there may be work.
    pub(super) fn new() -> Self {
        Self {
            may_have_work: true,
            takes_any_depth: false,
            must_take_inventory: false,
            held_back: None,
            tasks: Arc::default(),
            owed: None,
        }
    }

    /// Asks for as much as the slots get through soon; for nothing if there can't be anything.
    /// If it `relieves`, a nearly full runner asks for a little of what the users have that are not held back.
    pub(super) fn request(
        &mut self,
        prefetch: &Prefetch,
        view: &View<'_>,
        relieves: bool,
    ) -> Option<ClaimRequest> {
        let load = &view.load;
        let relieves = relieves && !load.may_start_unawaited;
        if view.stage != Stage::Working || load.is_congested || load.is_short && !relieves {
            return None;
        }
        let slots = view.options.slots;
        // A nearly full runner claims only what it may start.
        let above = load.deepest.filter(|_| !std::mem::take(&mut self.takes_any_depth));
        // Awaited work that is claimed starts before the work of others. So while work is slow, nothing is claimed before a
        // slot is free: then a claim is for all that waits.
        let is_slow = view.slice.is_some() && prefetch.ahead(view.slice) == 0;
        let awaited_per_slot = if is_slow { 0 } else { AWAITED_PER_SLOT };
        let most_awaited = (awaited_per_slot * slots).max(load.idle);
        let awaited_room = match above {
            None => most_awaited.saturating_sub(load.awaited).max(usize::from(load.deepest.is_some())),
            Some(_) => most_awaited.saturating_sub(load.startable),
        };
        let room = match load.may_start_unawaited {
            true => {
                let ahead = (slots * prefetch.ahead(view.slice)).max(usize::from(load.owes_start));
                (load.idle + ahead).saturating_sub(load.ready)
            }
            false if relieves => slots.saturating_sub(load.ready - load.awaited),
            false => 0,
        };
        let mut max = room.max(awaited_room);
        if max == 0 {
            return None;
        }
        let is_small = |user: &str| view.held_back.iter().all(|large| **large != *user);
        let mut awaited = match relieves {
            true => view.registry.wanted_by(max, is_small),
            false => view.registry.wanted(max, above),
        };
        let mut only_awaited = room == 0;
        let mut tasks = Arc::clone(&view.tasks);
        let owed = self.owed.take();
        if let Some(others) = self.tasks_of_others(view).filter(|_| !only_awaited) {
            let is_for_others = awaited.is_empty() || self.may_have_work && owed == Some(Owed::Others);
            if self.may_have_work && !awaited.is_empty() {
                self.owed = Some(if is_for_others { Owed::Awaited } else { Owed::Others });
            }
            only_awaited = !is_for_others;
            if is_for_others {
                awaited.clear();
                tasks = others;
                max = if relieves { room } else { max };
            }
        }
        if awaited.is_empty() && (only_awaited || !self.may_have_work) {
            return None;
        }
        Some(ClaimRequest {
            runner: view.runner,
            lease: view.options.settings.lease,
            max,
            max_bytes: TURN_BYTES,
            only_awaited,
            awaited,
            leads: Arc::clone(&view.leads),
            tasks,
            root: view.options.only_root,
        })
    }

    /// Whether the last claim could not ask for everything, and another follows.
    pub(crate) fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    /// The tasks of all users that are not held back: of the others nothing is claimed that nobody
    /// awaits. `None` if none is held back.
    fn tasks_of_others(&mut self, view: &View<'_>) -> Option<Arc<TaskSet>> {
        let known = self.held_back.as_ref().map_or(&[][..], |(users, _)| users);
        if known != view.held_back || !Arc::ptr_eq(&self.tasks, &view.tasks) {
            self.tasks = Arc::clone(&view.tasks);
            // The work of some was not looked for.
            self.may_have_work = true;
            let is_others = |task: &&Arc<str>| view.held_back.iter().all(|user| **user != *user_of(task));
            self.held_back = (!view.held_back.is_empty()).then(|| {
                let others = view.tasks.iter().filter(is_others).cloned().collect();
                (view.held_back.clone(), Arc::new(others))
            });
        }
        self.held_back.as_ref().map(|(_, tasks)| Arc::clone(tasks))
    }
}
