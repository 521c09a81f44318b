//! The queues from which slot threads take their work.
//!
//! One lock protects the queues; it is held for a few instructions, never over a
//! guest, a store or a waker. A condition variable wakes idle slot threads, one
//! for each piece of work.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::Wake;

use parking_lot::{Condvar, Mutex};

use super::fiber::Fiber;
use super::fill::{Fill, Room, user_of};
use super::registry::Urgency;
use super::shares::{Freed, SharedCode, Shares, Small};
use crate::model::{Claim, InvocationId, MemoryBudget};
use crate::store::TaskSet;

thread_local! {
    /// Whether this thread will ask for work before it runs a guest: it may keep one piece of work for itself.
    static IS_FREE_SOON: Cell<bool> = const { Cell::new(false) };
    /// Whether it has kept one.
    static HAS_KEPT: Cell<bool> = const { Cell::new(false) };
}

/// Promises that this thread will ask the scheduler for work, or call
/// [`hand_over_kept`](Scheduler::hand_over_kept), before it runs a guest.
pub(super) fn soon_free<T>(act: impl FnOnce() -> T) -> T {
    IS_FREE_SOON.set(true);
    let result = act();
    IS_FREE_SOON.set(false);
    result
}

/// While outcomes of more bytes than this wait for the store, no guest gets a slot.
const MAX_UNWRITTEN: usize = 64 << 20;

/// After so many resumed fibers something starts, if anything may: guests that sleep for a moment in a loop are
/// resumed without end.
const RESUMED_IN_A_ROW: usize = 8;

/// A piece of work for a slot thread.
pub(super) enum Work {
    /// A claimed invocation: make a guest of it.
    Start(Claim),
    /// A fiber whose results are there, or which is to be killed.
    Resume(Arc<Fiber>),
}

/// The queues of one runner.
pub(super) struct Scheduler {
    queues: Mutex<Queues>,
    work_or_stop: Condvar,
    room: Room,
}

#[derive(Default)]
struct Queues {
    /// First: they hold memory, and somebody waits for them.
    resumed: VecDeque<Arc<Fiber>>,
    /// How many of them slots have taken since the last start.
    resumed_in_a_row: usize,
    /// Then the claimed that somebody awaits, most urgent first.
    awaited: BTreeMap<Urgency, Claim>,
    /// Then the other claimed, in the order of the store: priority and age.
    ready: VecDeque<Claim>,
    /// Slot threads without work.
    idle: usize,
    /// Live instances, running and parked, by weight.
    live: usize,
    /// Slot threads that hold a guest.
    busy: usize,
    /// The number of live instances of each depth.
    depths: BTreeMap<u32, usize>,
    /// The part that each component has of what there is only so much of.
    shares: Shares,
    /// While small users start first: the most that they have.
    relief: Option<Small>,
    /// The number of claims that may start although they are not deep enough for a full runner.
    exceptions: usize,
    /// The number of claims that slots have ever taken.
    taken: usize,
    /// The number of claims that have ever come into `ready`.
    queued: usize,
    stopping: bool,
    /// Bytes of outcomes that wait for the store.
    unwritten: usize,
    /// Whether the host was short of something for the last start: nothing starts until a guest is gone, or
    /// some time has passed.
    is_short: bool,
    /// The guest that may wait for others to leave it memory.
    grower: Option<Arc<Fiber>>,
    /// Whether it does: nothing starts meanwhile.
    grower_waits: bool,
}

/// The guests besides the one that waits for memory, none of which is parked.
pub(super) enum Others {
    /// Some are on slots.
    Run,
    /// There is no slot for one whose results have come. Whoever has it here must end it.
    Queued(Arc<Fiber>),
    /// There are none.
    Gone,
}

/// The load of a runner.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Claimed, not started.
    pub(super) ready: usize,
    /// Claimed, not started, and awaited.
    pub(super) awaited: usize,
    /// The number of claims that slots have ever taken.
    pub(super) taken: usize,
    /// The number of claims that have ever been queued and not awaited.
    pub(super) queued: usize,
    /// Slots without work.
    pub(super) idle: usize,
    /// Slots with a guest.
    pub(super) busy: usize,
    /// Live instances by weight.
    pub(super) live: usize,
    /// Whether work that nobody awaits may start.
    pub(super) may_start_unawaited: bool,
    /// If it may not, and there is room still: awaited work that is deeper than this may start.
    pub(super) deepest: Option<u32>,
    /// Resumed, and not taken by a slot yet.
    pub(super) resumed: usize,
    /// Whether so many were resumed in a row that the next slot should start something.
    pub(super) owes_start: bool,
    /// Claimed and awaited, and a slot may take it.
    pub(super) startable: usize,
    /// Whether nothing gets a slot until the store has taken what was made.
    pub(super) is_congested: bool,
    /// Whether nothing starts because the host is short of something.
    pub(super) is_short: bool,
    /// Whether the live instances have all of the memory budget.
    pub(super) is_out_of_memory: bool,
    /// Whether the runner is nearly full, of guests of some of several users.
    pub(super) has_large: bool,
}

impl Scheduler {
    /// Makes the queues of a runner of these tasks, with room for `max_live` live instances and their memory.
    pub(super) fn new(max_live: usize, budget: Arc<MemoryBudget>, tasks: &TaskSet) -> Self {
        Self {
            queues: Mutex::new(Queues::default()),
            work_or_stop: Condvar::new(),
            room: Room::new(max_live, budget, tasks),
        }
    }

    /// Takes note of other tasks.
    pub(super) fn replace_tasks(&self, tasks: &TaskSet) {
        self.room.replace_tasks(tasks);
    }

    /// Waits for work; `None` once stopped with nothing resumed. Calls `when_idle` without the lock first.
    pub(super) fn next(&self, mut when_idle: impl FnMut()) -> Option<Work> {
        // Whatever this thread has kept for itself it takes now.
        HAS_KEPT.take();
        let mut told = false;
        let mut queues = self.queues.lock();
        loop {
            if let Some(work) = queues.take(&self.room) {
                queues.busy += 1;
                return Some(work);
            }
            if queues.stopping {
                return None;
            }
            if !told {
                // Asking for work may produce some at once: look again before waiting.
                told = true;
                queues.idle += 1;
                drop(queues);
                when_idle();
                queues = self.queues.lock();
                queues.idle -= 1;
                continue;
            }
            queues.idle += 1;
            self.work_or_stop.wait(&mut queues);
            queues.idle -= 1;
        }
    }

    /// Counts a slot as free: its guest has parked, or is gone, and frees so much.
    pub(super) fn leave_slot(&self, claim: &Claim, freed: Freed) {
        let mut queues = self.queues.lock();
        queues.leave_slot(claim, freed);
        queues.wake_grower();
        // Others may be short of the things that it held.
        queues.is_short &= freed.live == 0;
        if freed.live > 0 && queues.idle > 0 && (!queues.awaited.is_empty() || !queues.ready.is_empty()) {
            // Somebody may have stopped for want of room; one large guest leaves room for several.
            self.work_or_stop.notify_all();
        }
    }

    /// Counts a slot as free whose guest could not begin for a shortage: nothing starts for now.
    pub(super) fn leave_slot_short(&self, claim: &Claim, freed: Freed) {
        let mut queues = self.queues.lock();
        queues.leave_slot(claim, freed);
        queues.wake_grower();
        queues.is_short = true;
    }

    /// Counts a parked guest as gone that was given back for its memory: nothing starts for now.
    pub(super) fn free_parked(&self, claim: &Claim, freed: Freed) {
        let mut queues = self.queues.lock();
        queues.free(claim, freed);
        queues.wake_grower();
        queues.is_short = true;
    }

    /// Lets a guest wait until others leave it memory, unless another one may.
    pub(super) fn begin_growth(&self, fiber: &Arc<Fiber>) -> bool {
        let mut queues = self.queues.lock();
        let is_first = queues.grower.is_none();
        queues.grower.get_or_insert_with(|| Arc::clone(fiber));
        is_first
    }

    /// Lets nothing start for the guest that may wait, and says whom it waits for. It is woken when one of them leaves
    /// its slot.
    pub(super) fn wait_for_others(&self) -> Others {
        let mut queues = self.queues.lock();
        queues.grower_waits = true;
        match queues.busy {
            1 if queues.idle == 0 => queues.resumed.pop_back().map_or(Others::Gone, Others::Queued),
            1 if queues.resumed.is_empty() => Others::Gone,
            _ => Others::Run,
        }
    }

    /// Lets work start again: the guest goes on.
    pub(super) fn stop_waiting(&self) {
        self.stop_growth(|_| {});
    }

    /// Lets another guest wait for memory.
    pub(super) fn end_growth(&self) {
        self.stop_growth(|queues| queues.grower = None);
    }

    fn stop_growth(&self, change: impl FnOnce(&mut Queues)) {
        let mut queues = self.queues.lock();
        change(&mut queues);
        if std::mem::take(&mut queues.grower_waits) && queues.idle > 0 {
            self.work_or_stop.notify_all();
        }
    }

    /// Lets guests start again after a shortage.
    pub(super) fn end_shortage(&self) {
        let mut queues = self.queues.lock();
        queues.is_short = false;
        if queues.idle > 0 {
            self.work_or_stop.notify_all();
        }
    }

    /// Counts a guest that was made for more than the one live instance that [`next`](Self::next) counted, and its code.
    pub(super) fn add_guest(&self, more: usize, claim: &Claim, code: SharedCode) {
        let mut queues = self.queues.lock();
        queues.live += more;
        let user = user_of(&claim.task);
        queues.shares.add_live(user, more);
        queues.shares.add_code(user, code);
    }

    /// Queues a fiber that is to be polled again.
    pub(super) fn push_resumed(&self, fiber: Arc<Fiber>) {
        let mut queues = self.queues.lock();
        queues.resumed.push_back(fiber);
        self.wake(queues.idle.min(1));
    }

    /// Wakes so many idle slot threads; one fewer if this slot thread looks for work itself at once. Handing
    /// a child to another thread while this one runs dry costs two thread switches a step.
    fn wake(&self, count: usize) {
        let keeps_one = count > 0 && IS_FREE_SOON.get() && !HAS_KEPT.replace(true);
        for _ in 0..count - usize::from(keeps_one) {
            self.work_or_stop.notify_one();
        }
    }

    /// Wakes an idle slot thread for the work that this one had kept and does not take after all.
    pub(super) fn hand_over_kept(&self) {
        if HAS_KEPT.take() {
            self.work_or_stop.notify_one();
        }
    }

    /// Queues claims, with the urgency of those that are awaited.
    pub(super) fn push_claimed(&self, claims: Vec<(Claim, Option<Urgency>)>) {
        let mut queues = self.queues.lock();
        let wake = claims.len().min(queues.idle);
        for (claim, urgency) in claims {
            match urgency {
                Some(urgency) => drop(queues.awaited.insert(urgency, claim)),
                None => queues.queue(claim),
            }
        }
        self.wake(wake);
    }

    /// Moves claims ahead of others that have not started and are awaited from now on.
    pub(super) fn promote(&self, ids: &[InvocationId], urgency_of: impl Fn(InvocationId) -> Option<Urgency>) {
        if self.queues.lock().ready.is_empty() {
            return;
        }
        // Before the lock: there may be very many.
        let ids: HashSet<_> = ids.iter().collect();
        let mut queues = self.queues.lock();
        let count = queues.ready.len();
        for _ in 0..count {
            let Some(claim) = queues.ready.pop_front() else { break };
            match ids.contains(&claim.id).then(|| urgency_of(claim.id)).flatten() {
                Some(urgency) => drop(queues.awaited.insert(urgency, claim)),
                None => queues.ready.push_back(claim),
            }
        }
        if queues.ready.len() < count && queues.idle > 0 {
            self.work_or_stop.notify_one();
        }
    }

    /// Takes back what is claimed and has not started.
    pub(super) fn take_claimed(&self) -> Vec<Claim> {
        let mut queues = self.queues.lock();
        let awaited = std::mem::take(&mut queues.awaited);
        let ready = std::mem::take(&mut queues.ready);
        awaited.into_values().chain(ready).collect()
    }

    /// Takes back what is claimed of some users, and that nobody awaits.
    pub(super) fn take_claims_of(&self, users: &[Arc<str>]) -> Vec<Claim> {
        if users.is_empty() {
            return Vec::new();
        }
        let mut queues = self.queues.lock();
        let is_over = |claim: &Claim| users.iter().any(|user| **user == *user_of(&claim.task));
        let (taken, left) = std::mem::take(&mut queues.ready).into_iter().partition(is_over);
        queues.ready = left;
        taken.into()
    }

    /// Lists the users that have more than their share, or had a moment ago: nothing of them is claimed that nobody
    /// awaits.
    pub(super) fn held_back(&self) -> Vec<Arc<str>> {
        let queues = &mut *self.queues.lock();
        queues.shares.held_back(&self.room, queues.live)
    }

    /// Counts the claims of small users that can't start, awaited or not.
    pub(super) fn claims_of_small(&self) -> usize {
        let queues = self.queues.lock();
        let deepest = queues.deepest().filter(|_| self.room.fill(queues.live) != Fill::Full);
        let is_shallow = |urgency: &Urgency| deepest.is_none_or(|deepest| urgency.depth() <= deepest);
        let awaited =
            queues.awaited.iter().filter(|(urgency, _)| is_shallow(urgency)).map(|(_, claim)| claim);
        let small = queues.shares.small(&self.room, queues.live);
        let is_small = |claim: &&Claim| queues.shares.is_small(user_of(&claim.task), small);
        awaited.chain(&queues.ready).filter(is_small).count()
    }

    /// Finds the most that small users have now.
    pub(super) fn small(&self) -> Small {
        let queues = self.queues.lock();
        queues.shares.small(&self.room, queues.live)
    }

    /// Lets small users start first from now on, unless the runner is full.
    pub(super) fn begin_relief(&self, small: Small) {
        let mut queues = self.queues.lock();
        // If the runner was not nearly full after all, nobody is held back.
        queues.relief = small.is_bound().then_some(small);
        if queues.idle > 0 {
            self.work_or_stop.notify_all();
        }
    }

    /// Treats all users alike again. Returns what is claimed, can't start and is awaited by nobody: others may run it.
    pub(super) fn end_relief(&self) -> Vec<Claim> {
        let mut queues = self.queues.lock();
        queues.relief = None;
        if self.room.fill(queues.live) == Fill::Open {
            return Vec::new();
        }
        std::mem::take(&mut queues.ready).into()
    }

    /// Takes one claimed invocation back, if it has not started.
    pub(super) fn take_one(&self, id: InvocationId) -> Option<Claim> {
        let mut queues = self.queues.lock();
        if let Some(place) = queues.ready.iter().position(|claim| claim.id == id) {
            return queues.ready.remove(place);
        }
        let urgency = *queues.awaited.iter().find(|(_, claim)| claim.id == id)?.0;
        queues.awaited.remove(&urgency)
    }

    /// Finds the awaited invocation that can never start, because parked parents fill the runner up to its
    /// cap while every slot is free: only the end of a wait lets anything move.
    pub(super) fn stuck_at_cap(&self) -> Option<InvocationId> {
        let queues = self.queues.lock();
        if queues.busy > 0 || !queues.resumed.is_empty() || queues.live < self.room.max_live {
            return None;
        }
        // Of the user that has most of them: the others have not filled the runner.
        let live = |claim: &Claim| queues.shares.live_of(user_of(&claim.task));
        queues.awaited.values().rev().max_by_key(|claim| live(claim)).map(|claim| claim.id)
    }

    /// Queues an awaited claim behind those that nobody awaits, if it is here: its wait is over.
    pub(super) fn lay_back(&self, id: InvocationId) {
        let mut queues = self.queues.lock();
        let found = queues.awaited.iter().find(|(_, claim)| claim.id == id).map(|(urgency, _)| *urgency);
        if let Some(claim) = found.and_then(|urgency| queues.awaited.remove(&urgency)) {
            queues.queue(claim);
        }
    }

    /// Lets one awaited invocation start that is not deep enough for a runner as full as this.
    pub(super) fn make_exception(&self) {
        let mut queues = self.queues.lock();
        queues.exceptions = 1;
        if queues.idle > 0 {
            self.work_or_stop.notify_one();
        }
    }

    /// Counts the bytes of an outcome that waits for the store.
    pub(super) fn add_unwritten(&self, bytes: usize) {
        self.queues.lock().unwritten += bytes;
    }

    /// Sets the bytes of outcomes that wait for the store. Returns whether that lets guests get slots again.
    pub(super) fn set_unwritten(&self, bytes: usize) -> bool {
        let mut queues = self.queues.lock();
        let was_congested = queues.is_congested();
        queues.unwritten = bytes;
        let is_free_again = was_congested && !queues.is_congested();
        if is_free_again && queues.idle > 0 {
            self.work_or_stop.notify_all();
        }
        is_free_again
    }

    /// Reads the load.
    pub(super) fn load(&self) -> Load {
        let queues = self.queues.lock();
        let fill = self.room.fill(queues.live);
        let deepest = (fill == Fill::Nearly).then(|| queues.deepest()).flatten();
        Load {
            deepest,
            resumed: queues.resumed.len(),
            owes_start: queues.resumed_in_a_row >= RESUMED_IN_A_ROW,
            startable: match deepest {
                _ if fill == Fill::Full => 0,
                None => queues.awaited.len(),
                Some(deepest) => queues.awaited.keys().filter(|urgency| urgency.depth() > deepest).count(),
            },
            ready: queues.ready.len() + queues.awaited.len(),
            awaited: queues.awaited.len(),
            taken: queues.taken,
            queued: queues.queued,
            idle: queues.idle,
            busy: queues.busy,
            live: queues.live,
            may_start_unawaited: fill == Fill::Open,
            is_congested: queues.is_congested(),
            is_short: queues.is_short || queues.grower_waits,
            is_out_of_memory: queues.live > 0 && self.room.memory() == Fill::Full,
            has_large: fill != Fill::Open && self.room.is_shared() && !queues.shares.is_empty(),
        }
    }

    /// Ends the queues: slot threads end when the resumed fibers are through.
    pub(super) fn stop(&self) {
        self.queues.lock().stopping = true;
        self.work_or_stop.notify_all();
    }
}

impl Queues {
    /// Queues a claim that nobody awaits.
    fn queue(&mut self, claim: Claim) {
        self.ready.push_back(claim);
        self.queued += 1;
    }

    /// Counts a slot as free, and what its guest held.
    fn leave_slot(&mut self, claim: &Claim, freed: Freed) {
        self.busy -= 1;
        self.free(claim, freed);
    }

    /// Wakes the guest that waits for others to leave it memory.
    fn wake_grower(&self) {
        if let Some(grower) = self.grower.as_ref().filter(|_| self.grower_waits) {
            // It is on a slot: its waker takes no lock of ours.
            Arc::clone(grower).wake();
        }
    }

    /// Counts what a guest held as free.
    fn free(&mut self, claim: &Claim, freed: Freed) {
        self.live -= freed.live;
        self.shares.free(user_of(&claim.task), freed);
        if freed.live > 0
            && let Some(live) = self.depths.get_mut(&claim.depth)
        {
            *live -= 1;
            if *live == 0 {
                self.depths.remove(&claim.depth);
            }
        }
    }

    /// Takes the next of the claimed that nobody awaits, of users that have no more than their share.
    fn take_ready(&mut self, room: &Room) -> Option<Claim> {
        let Some(left) = Shares::scarce(room, self.live) else { return self.ready.pop_front() };
        let may_start = |claim: &Claim| !self.shares.is_over(user_of(&claim.task), left);
        let place = self.ready.iter().position(may_start)?;
        self.ready.remove(place)
    }

    /// The depth of the deepest live instance.
    fn deepest(&self) -> Option<u32> {
        self.depths.last_key_value().map(|(depth, _)| *depth)
    }

    /// Whether outcomes are made faster than the store takes them.
    fn is_congested(&self) -> bool {
        self.unwritten > MAX_UNWRITTEN
    }

    fn take(&mut self, room: &Room) -> Option<Work> {
        if self.is_congested() && !self.stopping {
            return None;
        }
        if self.resumed_in_a_row >= RESUMED_IN_A_ROW
            && let Some(claim) = self.take_start(room)
        {
            self.resumed_in_a_row = 0;
            return Some(Work::Start(claim));
        }
        if let Some(fiber) = self.resumed.pop_front() {
            self.resumed_in_a_row += 1;
            return Some(Work::Resume(fiber));
        }
        self.resumed_in_a_row = 0;
        self.take_start(room).map(Work::Start)
    }

    /// While small users start first, takes the next of theirs, however deep.
    fn take_small(&mut self) -> Option<Claim> {
        let small = self.relief?;
        let is_small = |claim: &Claim| self.shares.is_small(user_of(&claim.task), small);
        if let Some(urgency) =
            self.awaited.iter().find(|(_, claim)| is_small(claim)).map(|(urgency, _)| *urgency)
        {
            return self.awaited.remove(&urgency);
        }
        let place = self.ready.iter().position(is_small)?;
        self.ready.remove(place)
    }

    /// Takes the next of the claimed that may start.
    fn take_start(&mut self, room: &Room) -> Option<Claim> {
        let fill = room.fill(self.live);
        if self.stopping || self.grower_waits || fill == Fill::Full {
            return None;
        }
        let claim = if let Some(claim) = self.take_small() {
            // Also during a shortage: the large ones may be short of memory all the time.
            claim
        } else if self.is_short {
            return None;
        } else if fill == Fill::Open {
            match self.awaited.pop_first() {
                Some((_, claim)) => claim,
                None => self.take_ready(room)?,
            }
        } else {
            // Nearly full. More parents would leave their children no room: the rest is for the way down.
            let deepest = self.deepest();
            let is_deeper = |urgency: &Urgency| deepest.is_none_or(|deepest| urgency.depth() > deepest);
            let deeper = self.awaited.keys().find(|urgency| is_deeper(urgency)).copied();
            let urgency = match deeper {
                Some(deeper) => deeper,
                None if self.exceptions > 0 => *self.awaited.first_key_value()?.0,
                None => return None,
            };
            self.exceptions = 0;
            self.awaited.remove(&urgency)?
        };
        *self.depths.entry(claim.depth).or_default() += 1;
        self.shares.add_live(user_of(&claim.task), 1);
        self.live += 1;
        self.taken += 1;
        Some(claim)
    }
}
