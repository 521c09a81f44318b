//! The waits of a runner, and its final cache.
//!
//! Registering a waiter of an invocation and asking whether its result is already
//! there happen under one lock, the registry's, so a wake-up can't be lost between
//! them. A finishing invocation puts its outcome into the final cache and takes its
//! waiters under the same lock, and fills them after it.
//!
//! All guests share this lock, so nothing under it costs more than a constant, or
//! logarithm, for each of [`AT_ONCE`] ids: a wait for more takes the lock again. The
//! look for cycles goes from both ends, and costs no more than twice the cheaper.
//!
//! Lock order: the registry's, then one wait's. Nothing calls a guest, a store or
//! a waker while it holds the registry's.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::fill::user_of;
use super::final_cache::FinalCache;
use super::wait::{Wait, WaitFor};
use super::waiters::{Waiter, Waiters};
use crate::model::{IdMap, IdSet, InvocationId, MemoryBudget, Outcome, Refusal};

/// The urgency of an awaited invocation: most waiters first, then the deepest, then the oldest wait. Deepest
/// before oldest keeps the number of parked parents near the depth of a tree instead of its width. The
/// children of one wait are in the order of their ids, which grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Urgency(Reverse<usize>, Reverse<u32>, u64, InvocationId);

impl Urgency {
    /// The depth of the awaited: one below its deepest waiter.
    pub(super) fn depth(&self) -> u32 {
        self.1.0
    }
}

/// The waiters of one invocation that are looked at to learn whose they are.
const LOOKED_AT: usize = 8;

/// The ids of a wait for which the lock is taken once.
const AT_ONCE: usize = 1_000;

/// The waits of one runner, and its final cache.
#[derive(Debug)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
    next_sequence: AtomicU64,
    /// On which large results are until their waiters take them.
    budget: Arc<MemoryBudget>,
}

/// One end of a look for a cycle.
struct Search {
    start: InvocationId,
    /// The step before each invocation that it has reached.
    came_from: IdMap<InvocationId>,
    /// Reached, and not gone on from.
    open: Vec<InvocationId>,
    /// The steps so far.
    cost: usize,
}

impl Search {
    fn new(start: InvocationId) -> Self {
        Self { start, came_from: IdMap::default(), open: vec![start], cost: 0 }
    }

    fn has_reached(&self, id: InvocationId) -> bool {
        id == self.start || self.came_from.contains_key(&id)
    }

    /// Goes on from `from` to `ids`. Returns the first that the other end has reached.
    fn go(
        &mut self,
        from: InvocationId,
        ids: impl Iterator<Item = InvocationId>,
        other: &Self,
    ) -> Option<InvocationId> {
        for id in ids {
            if other.has_reached(id) {
                return Some(id);
            }
            if !self.has_reached(id) {
                self.came_from.insert(id, from);
                self.open.push(id);
            }
        }
        None
    }

    /// Lists the way from `id` back to the start.
    fn way_from(&self, id: InvocationId) -> Vec<InvocationId> {
        std::iter::successors(Some(id), |at| self.came_from.get(at).copied()).collect()
    }
}

#[derive(Debug)]
struct Inner {
    finals: FinalCache,
    waiters: IdMap<Waiters>,
    /// The wait of each waiting invocation: the graph in which cycles are looked for.
    waiting: IdMap<Arc<Wait>>,
    /// The attempts that this runner has claimed and not settled: only it makes their invocations final.
    owned: IdMap<u32>,
    /// The awaited that this runner has not claimed yet, most urgent first.
    wanted: BTreeSet<Urgency>,
    /// The same, deepest first.
    deepest: BTreeSet<(Reverse<u32>, Urgency)>,
    urgency: IdMap<Urgency>,
    /// The awaited that could not be claimed when asked for: delayed, or owned by another runner.
    aside: IdSet,
    /// The awaited whose submit is on its way: the store does not know them yet, and is not asked.
    unsubmitted: IdSet,
}

impl Registry {
    pub(super) fn new(cache_entries: usize, cache_bytes: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                finals: FinalCache::new(cache_entries, cache_bytes),
                waiters: IdMap::default(),
                waiting: IdMap::default(),
                owned: IdMap::default(),
                wanted: BTreeSet::new(),
                deepest: BTreeSet::new(),
                urgency: IdMap::default(),
                aside: IdSet::default(),
                unsubmitted: IdSet::default(),
            }),
            next_sequence: AtomicU64::new(0),
            budget: Arc::default(),
        }
    }

    /// Charges the results that wait for others to this budget.
    pub(super) fn with_budget(self, budget: &Arc<MemoryBudget>) -> Self {
        Self { budget: Arc::clone(budget), ..self }
    }

    /// Registers a waiter. Returns it, with the ids that the caller must look up in the store, because
    /// nothing here knows whether they are final: each answer goes to [`finish`](Self::finish) or
    /// [`refuse`](Self::refuse).
    ///
    /// # Errors
    ///
    /// [`Refusal::Cycle`] if the wait would wait for its own caller.
    pub(super) fn register(&self, wait_for: WaitFor) -> Result<(Arc<Wait>, Vec<InvocationId>), Refusal> {
        let wait = Wait::new(wait_for, self.next_sequence.fetch_add(1, Ordering::Relaxed), &self.budget);
        let mut unknown = Vec::new();
        let mut first = 0;
        loop {
            let mut inner = self.inner.lock();
            let part = wait.ids(first, AT_ONCE);
            for (id, index) in part.iter().zip(first..) {
                match inner.finals.get(*id) {
                    Some(outcome) => wait.fill(index, &outcome),
                    None => {
                        inner.add_waiter(*id, &wait, index);
                        if !inner.owned.contains_key(id) {
                            unknown.push(*id);
                        }
                    }
                }
            }
            first += part.len();
            let is_open = !wait.is_answered();
            if is_open && part.len() == AT_ONCE {
                continue;
            }
            let Some((caller, task)) = &wait.caller else { break };
            // Seen under one lock, ids that wait for nothing lead nowhere.
            let leads_on =
                first > part.len() || part.iter().any(|id| id == caller || inner.waiting.contains_key(id));
            if leads_on && let Err(refusal) = inner.refuse_cycle(*caller, task, &wait) {
                drop(inner);
                self.unregister(&wait);
                return Err(refusal);
            }
            if is_open {
                inner.waiting.insert(*caller, Arc::clone(&wait));
            }
            break;
        }
        Ok((wait, unknown))
    }

    /// Marks a child that is about to be submitted, and awaited: the store is not asked for its outcome until
    /// [`mark_submitted`](Self::mark_submitted), or the end of its wait.
    pub(super) fn mark_unsubmitted(&self, id: InvocationId) {
        self.inner.lock().unsubmitted.insert(id);
    }

    /// Turns a wait for a duplicate to the other invocation. Returns whether that must be looked up.
    pub(super) fn redirect(&self, wait: &Arc<Wait>, to: InvocationId) -> bool {
        let mut inner = self.inner.lock();
        for id in wait.ids(0, 1) {
            inner.remove_waiter(wait, id);
        }
        wait.retarget(to);
        inner.add_waiter(to, wait, 0);
        !inner.owned.contains_key(&to)
    }

    /// Forgets a waiter, answered or not.
    pub(super) fn unregister(&self, wait: &Arc<Wait>) {
        wait.end();
        let mut first = 0;
        loop {
            let mut inner = self.inner.lock();
            if let Some((caller, _)) = &wait.caller
                && inner.waiting.get(caller).is_some_and(|other| Arc::ptr_eq(other, wait))
            {
                inner.waiting.remove(caller);
            }
            let part = wait.ids(first, AT_ONCE);
            part.iter().for_each(|id| inner.remove_waiter(wait, *id));
            first += part.len();
            if part.len() < AT_ONCE {
                return;
            }
        }
    }

    /// Keeps the outcome of an invocation that is final, and answers its waiters. Returns the attempt of it
    /// that this runner owned.
    pub(super) fn finish(&self, id: InvocationId, outcome: &Outcome) -> Option<u32> {
        let (owned, waiters) = {
            let mut inner = self.inner.lock();
            inner.finals.insert(id, outcome.clone());
            inner.aside.remove(&id);
            inner.forget_want(id);
            (inner.owned.remove(&id), inner.waiters.remove(&id))
        };
        for (wait, index) in waiters.into_iter().flat_map(Waiters::into_waiters) {
            wait.fill(index, outcome);
        }
        owned
    }

    /// Ends every wait for `id` without an answer.
    pub(super) fn refuse(&self, id: InvocationId, refusal: &Refusal) {
        let waiters = {
            let mut inner = self.inner.lock();
            inner.forget_want(id);
            inner.waiters.remove(&id)
        };
        for (wait, _) in waiters.into_iter().flat_map(Waiters::into_waiters) {
            wait.refuse(refusal.clone());
        }
    }

    /// Ends every wait of a thread outside without an answer.
    pub(super) fn refuse_outsiders(&self, refusal: &Refusal) {
        let inner = self.inner.lock();
        let waits = inner.waiters.values().flat_map(Waiters::iter).map(|(wait, _)| wait);
        let outside: Vec<_> = waits.filter(|wait| wait.caller.is_none()).cloned().collect();
        drop(inner);
        for wait in outside {
            wait.refuse(refusal.clone());
        }
    }

    /// Marks `id` as claimed by this runner. Returns its urgency, if it is awaited.
    pub(super) fn own(&self, id: InvocationId, attempt: u32) -> Option<Urgency> {
        let mut inner = self.inner.lock();
        inner.owned.insert(id, attempt);
        let urgency = inner.urgency_of(id);
        inner.forget_want(id);
        inner.aside.remove(&id);
        urgency
    }

    /// Marks `id` as claimed no longer; it may not be final. Returns the attempt that this runner owned.
    pub(super) fn disown(&self, id: InvocationId) -> Option<u32> {
        let mut inner = self.inner.lock();
        let owned = inner.owned.remove(&id);
        inner.update_want(id);
        owned
    }

    /// Marks an attempt whose guest is gone as claimed no longer: the next may be this runner's by then.
    pub(super) fn disown_attempt(&self, id: InvocationId, attempt: u32) {
        let mut inner = self.inner.lock();
        if inner.owned.get(&id) == Some(&attempt) {
            inner.owned.remove(&id);
            inner.update_want(id);
        }
    }

    /// Whether this runner owns that attempt.
    pub(super) fn owns(&self, id: InvocationId, attempt: u32) -> bool {
        self.inner.lock().owned.get(&id) == Some(&attempt)
    }

    /// Lists everything that this runner owns, with the attempt: from the receipt of its claim to that of its
    /// end. It changes within a turn only, but for guests that are killed because they are not ours.
    pub(super) fn owned(&self) -> Vec<(InvocationId, u32)> {
        self.inner.lock().owned.iter().map(|(id, attempt)| (*id, *attempt)).collect()
    }

    /// Returns the urgency of `id`, if it is awaited.
    pub(super) fn urgency_of(&self, id: InvocationId) -> Option<Urgency> {
        self.inner.lock().urgency_of(id)
    }

    /// Lists awaited ones that this runner has not claimed: the most urgent, or the deepest of those that are deeper
    /// than `above`. It steps over none that it does not list.
    pub(super) fn wanted(&self, max: usize, above: Option<u32>) -> Vec<InvocationId> {
        let inner = self.inner.lock();
        match above {
            None => inner.wanted.iter().take(max).map(|urgency| urgency.3).collect(),
            Some(above) => {
                let deep = inner.deepest.iter().take_while(|(depth, _)| depth.0 > above);
                deep.take(max).map(|(_, urgency)| urgency.3).collect()
            }
        }
    }

    /// Lists the most urgent of the awaited ones that this runner has not claimed and that somebody awaits outside, or a
    /// guest of one of these users. It looks at [`AT_ONCE`] from both ends, and at some of the waiters of each.
    pub(super) fn wanted_by(&self, max: usize, is_one: impl Fn(&str) -> bool) -> Vec<InvocationId> {
        let inner = self.inner.lock();
        let waits = |(wait, _): &Waiter| wait.caller.as_ref().is_none_or(|(_, task)| is_one(user_of(task)));
        let is_wanted = |urgency: &&Urgency| {
            inner.waiters.get(&urgency.3).is_some_and(|waiters| waiters.iter().take(LOOKED_AT).any(waits))
        };
        let least = inner.wanted.len().saturating_sub(AT_ONCE).min(AT_ONCE);
        let ends = inner.wanted.iter().take(AT_ONCE).chain(inner.wanted.iter().rev().take(least));
        ends.filter(is_wanted).take(max).map(|urgency| urgency.3).collect()
    }

    /// Sets awaited invocations aside that can't be claimed now, so that others are asked for.
    pub(super) fn mark_unclaimable(&self, ids: &[InvocationId]) {
        let mut inner = self.inner.lock();
        for id in ids {
            inner.forget_want(*id);
            if inner.waiters.contains_key(id) {
                inner.aside.insert(*id);
            }
        }
    }

    /// Wants everything again that was set aside: its time may have come, or a process changed something.
    pub(super) fn want_again(&self) {
        let mut inner = self.inner.lock();
        std::mem::take(&mut inner.aside).into_iter().for_each(|id| inner.update_want(id));
    }

    /// Wants again what a rule kept back: it can be claimed now.
    pub(super) fn mark_unblocked(&self, ids: &[InvocationId]) {
        let mut inner = self.inner.lock();
        for id in ids {
            inner.bring_back(*id);
        }
    }

    /// Marks a child that is awaited since before its submit as being in the store now. Returns `true` if a
    /// claim between the two has asked for it in vain: then it is asked for again.
    pub(super) fn mark_submitted(&self, id: InvocationId) -> bool {
        let mut inner = self.inner.lock();
        inner.unsubmitted.remove(&id);
        inner.bring_back(id)
    }

    /// Whether something awaited was set aside: time or another runner will bring it.
    pub(super) fn awaits_events(&self) -> bool {
        !self.inner.lock().aside.is_empty()
    }

    /// Lists everything awaited here that the store knows and that becomes final elsewhere.
    pub(super) fn awaited_elsewhere(&self) -> Vec<InvocationId> {
        let inner = self.inner.lock();
        let is_elsewhere =
            |id: &&InvocationId| !inner.owned.contains_key(id) && !inner.unsubmitted.contains(id);
        inner.waiters.keys().filter(is_elsewhere).copied().collect()
    }

    /// Finds the most recent wait for `id`.
    pub(super) fn youngest_wait_for(&self, id: InvocationId) -> Option<Arc<Wait>> {
        let inner = self.inner.lock();
        inner.waiters.get(&id)?.iter().next_back().map(|(wait, _)| Arc::clone(wait))
    }
}

impl Inner {
    fn add_waiter(&mut self, id: InvocationId, wait: &Arc<Wait>, index: usize) {
        let waiter = (Arc::clone(wait), index);
        match self.waiters.entry(id) {
            Entry::Vacant(entry) => drop(entry.insert(Waiters::One(waiter))),
            Entry::Occupied(mut entry) => entry.get_mut().add(waiter),
        }
        self.update_want(id);
    }

    /// Removes a wait for `id`.
    fn remove_waiter(&mut self, wait: &Wait, id: InvocationId) {
        self.unsubmitted.remove(&id);
        let Some(waiters) = self.waiters.get_mut(&id) else { return };
        if waiters.remove(wait) {
            self.waiters.remove(&id);
            self.aside.remove(&id);
        }
        self.update_want(id);
    }

    fn urgency_of(&self, id: InvocationId) -> Option<Urgency> {
        let waiters = self.waiters.get(&id)?;
        Some(Urgency(Reverse(waiters.len()), Reverse(waiters.depth()), waiters.oldest(), id))
    }

    /// Brings `wanted` in line with the waiters of `id`.
    fn update_want(&mut self, id: InvocationId) {
        self.forget_want(id);
        if !self.owned.contains_key(&id)
            && let Some(urgency) = self.urgency_of(id)
        {
            self.wanted.insert(urgency);
            self.deepest.insert((urgency.1, urgency));
            self.urgency.insert(id, urgency);
        }
    }

    /// Wants `id` again if it was set aside. Returns whether it was.
    fn bring_back(&mut self, id: InvocationId) -> bool {
        let was_aside = self.aside.remove(&id);
        if was_aside {
            self.update_want(id);
        }
        was_aside
    }

    fn forget_want(&mut self, id: InvocationId) {
        if let Some(urgency) = self.urgency.remove(&id) {
            self.wanted.remove(&urgency);
            self.deepest.remove(&(urgency.1, urgency));
        }
    }

    /// Looks for a way from `caller`, by its new wait and those of others, back to `caller`: from both ends,
    /// always on at the one that has cost less, until they meet or one can't go on.
    fn refuse_cycle(&self, caller: InvocationId, task: &str, wait: &Arc<Wait>) -> Result<(), Refusal> {
        let wait_of = |id: InvocationId| if id == caller { Some(wait) } else { self.waiting.get(&id) };
        let mut ahead = Search::new(caller);
        let mut behind = Search::new(caller);
        let met = loop {
            let (Some(next), Some(before)) = (ahead.open.last().copied(), behind.open.last().copied()) else {
                return Ok(());
            };
            let cost = |id| wait_of(id).map_or(0, |wait| wait.len());
            let cost_behind = self.waiters.get(&before).map_or(0, Waiters::len);
            let met = if ahead.cost + cost(next) <= behind.cost + cost_behind {
                ahead.cost += cost(next);
                ahead.open.pop();
                let ids = wait_of(next).map(|wait| wait.ids(0, usize::MAX)).unwrap_or_default();
                let ids = ids.into_iter().filter(|id| wait_of(*id).is_some());
                ahead.go(next, ids, &behind).map(|id| (next, id))
            } else {
                behind.cost += cost_behind;
                behind.open.pop();
                let waits = self.waiters.get(&before).into_iter().flat_map(Waiters::iter);
                let callers = waits.filter_map(|(of, _)| {
                    let (id, _) = of.caller.as_ref()?;
                    wait_of(*id).is_some_and(|present| Arc::ptr_eq(present, of)).then_some(*id)
                });
                behind.go(before, callers, &ahead).map(|id| (id, before))
            };
            if let Some(met) = met {
                break met;
            }
        };
        let mut path = ahead.way_from(met.0);
        path.reverse();
        path.extend(behind.way_from(met.1));
        let task_of = |id| self.waiting.get(id).and_then(|wait| Some(&*wait.caller.as_ref()?.1));
        let names: Vec<_> = path.iter().map(|id| format!("{} ({id})", task_of(id).unwrap_or(task))).collect();
        let what = if path.len() == 2 { "an invocation can't await itself" } else { "a cycle of waits" };
        Err(Refusal::Cycle(format!("{what}: {}", names.join(" awaits "))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use super::*;
    use crate::model::{AwaitMode, MAX_AWAITED_BYTES};

    struct CountingWaker(AtomicUsize);

    impl std::task::Wake for CountingWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn registry() -> Registry {
        Registry::new(100, 1 << 20)
    }

    fn id() -> InvocationId {
        InvocationId::generate()
    }

    fn wait_for(caller: Option<InvocationId>, ids: &[InvocationId], mode: AwaitMode) -> WaitFor {
        WaitFor { caller: caller.map(|id| (id, Arc::from("a.task"))), depth: 0, ids: ids.to_vec(), mode }
    }

    fn value(text: &str) -> Outcome {
        Outcome::Value(text.into())
    }

    fn values(answer: Option<Result<Vec<(usize, Outcome)>, Refusal>>) -> Vec<(usize, String)> {
        answer
            .expect("an answer")
            .expect("not refused")
            .into_iter()
            .map(|(index, outcome)| match outcome {
                Outcome::Value(json) => (index, json.to_string()),
                Outcome::Failure(failure) => (index, failure.message.clone()),
            })
            .collect()
    }

    #[test]
    fn a_wait_for_all_answers_once_in_the_order_asked() {
        let registry = registry();
        let (a, b) = (id(), id());
        let (wait, unknown) = registry.register(wait_for(Some(id()), &[a, b, a], AwaitMode::All)).unwrap();
        assert_eq!(unknown, [a, b]);
        let count = Arc::new(CountingWaker(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        assert!(wait.poll(&waker).is_none());
        registry.finish(b, &value("2"));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        registry.finish(a, &value("1"));
        registry.finish(a, &value("1"));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let expected = [(0, "1".to_owned()), (1, "2".to_owned()), (2, "1".to_owned())];
        assert_eq!(values(wait.poll(&waker)), expected);
    }

    #[test]
    fn a_wait_for_any_answers_with_the_first() {
        let registry = registry();
        let (a, b) = (id(), id());
        let (wait, _) = registry.register(wait_for(None, &[a, b], AwaitMode::Any)).unwrap();
        registry.finish(b, &value("2"));
        registry.finish(a, &value("1"));
        assert_eq!(values(wait.poll(Waker::noop())), [(1, "2".to_owned())]);
    }

    #[test]
    fn more_results_than_anybody_gets_at_once_are_refused_and_let_go() {
        let registry = Registry::new(0, 0);
        let ids: Vec<_> = (0..4).map(|_| id()).collect();
        let large = value(&"x".repeat(MAX_AWAITED_BYTES / 2));
        let (wait, _) = registry.register(wait_for(None, &ids, AwaitMode::All)).unwrap();
        registry.finish(ids[0], &large);
        registry.finish(ids[1], &large);
        assert!(wait.poll(Waker::noop()).is_none(), "it is just not too much");
        let Outcome::Value(json) = &large else { panic!() };
        assert!(Arc::strong_count(json) > 2);
        registry.finish(ids[2], &value("1"));
        assert_eq!(Arc::strong_count(json), 1);
        let answer = wait.poll(Waker::noop()).unwrap();
        assert!(
            matches!(&answer, Err(Refusal::Limit { message, .. }) if message.contains("await fewer")),
            "{answer:?}"
        );

        // Until the waiter takes them, and no longer, large results are on the memory budget.
        let budget = Arc::new(MemoryBudget::new(u64::MAX));
        let registry = Registry::new(0, 0).with_budget(&budget);
        let (wait, _) = registry.register(wait_for(None, &ids[..2], AwaitMode::All)).unwrap();
        registry.finish(ids[0], &value("1"));
        assert_eq!(budget.used(), 0, "small ones are not");
        registry.finish(ids[1], &large);
        assert!(budget.used() >= MAX_AWAITED_BYTES as u64 / 2);
        assert!(wait.poll(Waker::noop()).is_some());
        assert_eq!(budget.used(), 0);
        let (wait, _) = registry.register(wait_for(None, &ids, AwaitMode::All)).unwrap();
        registry.finish(ids[0], &large);
        assert!(budget.used() >= MAX_AWAITED_BYTES as u64 / 2);
        registry.finish(ids[1], &large);
        registry.finish(ids[2], &value("1"));
        assert_eq!(budget.used(), 0, "refused");
        drop(wait);
        assert_eq!(budget.used(), 0);

        // One of them is not too much, whatever else is there.
        let registry = Registry::new(10, 10 * MAX_AWAITED_BYTES);
        ids.iter().for_each(|id| assert_eq!(registry.finish(*id, &large), None));
        let (any, _) = registry.register(wait_for(None, &ids, AwaitMode::Any)).unwrap();
        assert!(matches!(any.poll(Waker::noop()), Some(Ok(found)) if found.len() == 1));
        let (all, _) = registry.register(wait_for(None, &ids, AwaitMode::All)).unwrap();
        assert!(matches!(all.poll(Waker::noop()), Some(Err(Refusal::Limit { .. }))));
    }

    #[test]
    fn what_is_in_the_final_cache_is_answered_without_a_look() {
        let registry = registry();
        let a = id();
        registry.finish(a, &value("1"));
        let (wait, unknown) = registry.register(wait_for(None, &[a], AwaitMode::All)).unwrap();
        assert!(unknown.is_empty());
        assert_eq!(values(wait.poll(Waker::noop())), [(0, "1".to_owned())]);
    }

    /// pynenc defect 1: a waiter whose result was evicted before it looked hung
    /// for ever. Here a registered waiter is filled directly, whatever the size
    /// of the cache.
    #[test]
    fn an_evicted_outcome_still_reaches_its_waiters() {
        let registry = Registry::new(1, 1 << 20);
        let ids: Vec<_> = (0..40).map(|_| id()).collect();
        let (wait, _) = registry.register(wait_for(None, &ids, AwaitMode::All)).unwrap();
        for id in &ids {
            registry.finish(*id, &value("1"));
        }
        assert_eq!(values(wait.poll(Waker::noop())).len(), 40);
    }

    #[test]
    fn awaiting_oneself_is_refused() {
        let registry = registry();
        let a = id();
        let refusal = registry.register(wait_for(Some(a), &[a], AwaitMode::All)).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Cycle(format!("an invocation can't await itself: a.task ({a}) awaits a.task ({a})"))
        );
    }

    #[test]
    fn closing_a_cycle_of_waits_is_refused_and_names_it() {
        let registry = registry();
        let (a, b, c) = (id(), id(), id());
        registry.register(wait_for(Some(a), &[b], AwaitMode::All)).unwrap();
        registry.register(wait_for(Some(b), &[id(), c], AwaitMode::Any)).unwrap();
        let Refusal::Cycle(message) = registry.register(wait_for(Some(c), &[a], AwaitMode::All)).unwrap_err()
        else {
            panic!("not a cycle");
        };
        let expected = format!(
            "a cycle of waits: a.task ({c}) awaits a.task ({a}) awaits a.task ({b}) awaits a.task ({c})"
        );
        assert_eq!(message, expected);
    }

    #[test]
    fn a_wait_that_ended_closes_no_cycle() {
        let registry = registry();
        let (a, b) = (id(), id());
        let (wait, _) = registry.register(wait_for(Some(a), &[b], AwaitMode::All)).unwrap();
        registry.unregister(&wait);
        assert!(registry.register(wait_for(Some(b), &[a], AwaitMode::All)).is_ok());
    }

    #[test]
    fn wanted_are_ordered_by_waiters_then_depth_then_age() {
        let registry = registry();
        let (old, deep, popular, owned) = (id(), id(), id(), id());
        registry.own(owned, 1);
        let at_depth = |depth, ids: &[InvocationId]| WaitFor { depth, ..wait_for(None, ids, AwaitMode::All) };
        let first = registry.register(at_depth(0, &[old, popular, owned])).unwrap();
        let second = registry.register(at_depth(3, &[deep])).unwrap();
        let third = registry.register(at_depth(1, &[popular])).unwrap();
        assert_eq!(registry.wanted(10, None), [popular, deep, old]);
        registry.unregister(&third.0);
        assert_eq!(registry.wanted(10, None), [deep, old, popular]);
        assert!(registry.own(deep, 1).is_some());
        assert_eq!(registry.wanted(10, None), [old, popular]);
        registry.disown(deep);
        assert_eq!(registry.wanted(1, None), [deep]);
        registry.unregister(&second.0);
        registry.unregister(&first.0);
        assert!(registry.wanted(10, None).is_empty());
        let inner = registry.inner.lock();
        assert!(inner.waiters.is_empty() && inner.deepest.is_empty(), "nothing is left behind");
    }

    #[test]
    fn in_the_reserve_the_deepest_are_wanted_first_and_the_others_are_not_looked_at() {
        let registry = registry();
        let at_depth = |depth, ids: &[InvocationId]| WaitFor { depth, ..wait_for(None, ids, AwaitMode::All) };
        let shallow: Vec<_> = (0..10_000).map(|_| id()).collect();
        let (popular, deep, deepest) = (id(), id(), id());
        let mut waits = vec![registry.register(at_depth(0, &shallow)).unwrap()];
        for (depth, one) in [(2, popular), (2, popular), (2, deep), (3, deepest)] {
            waits.push(registry.register(at_depth(depth, &[one])).unwrap());
        }
        assert_eq!(registry.wanted(10, Some(1)), [deepest, popular, deep]);
        assert_eq!(registry.wanted(1, Some(1)), [deepest]);
        assert_eq!(registry.wanted(10, Some(3)), [deepest]);
        assert!(registry.wanted(10, Some(4)).is_empty());
        registry.own(deepest, 1);
        assert_eq!(registry.wanted(10, Some(1)), [popular, deep]);
        assert_eq!(registry.wanted(1, None), [popular]);
    }

    #[test]
    fn a_refused_wait_is_woken_with_the_refusal() {
        let registry = registry();
        let a = id();
        let (wait, _) = registry.register(wait_for(None, &[a], AwaitMode::All)).unwrap();
        registry.refuse(a, &Refusal::UnknownInvocation("no such id".to_owned()));
        assert!(matches!(wait.poll(Waker::noop()), Some(Err(Refusal::UnknownInvocation(_)))));
    }

    #[test]
    fn a_redirected_wait_is_answered_by_the_other() {
        let registry = registry();
        let (mine, theirs) = (id(), id());
        let (wait, _) = registry.register(wait_for(Some(id()), &[mine], AwaitMode::All)).unwrap();
        assert!(registry.redirect(&wait, theirs));
        registry.finish(mine, &value("mine"));
        assert!(wait.poll(Waker::noop()).is_none());
        registry.finish(theirs, &value("theirs"));
        assert_eq!(values(wait.poll(Waker::noop())), [(0, "theirs".to_owned())]);
    }

    #[test]
    fn what_is_not_submitted_yet_is_not_looked_for() {
        let registry = registry();
        let (child, other) = (id(), id());
        registry.mark_unsubmitted(child);
        let (wait, _) = registry.register(wait_for(None, &[child], AwaitMode::All)).unwrap();
        let (_other, _) = registry.register(wait_for(None, &[other], AwaitMode::All)).unwrap();
        assert_eq!(registry.awaited_elsewhere(), [other]);
        registry.mark_submitted(child);
        assert_eq!(registry.awaited_elsewhere().len(), 2);
        // A submit that came to nothing leaves nothing behind.
        registry.mark_unsubmitted(child);
        registry.unregister(&wait);
        let (_again, _) = registry.register(wait_for(None, &[child], AwaitMode::All)).unwrap();
        assert_eq!(registry.awaited_elsewhere().len(), 2);
    }
}
