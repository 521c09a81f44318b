//! One wait: for all of some invocations, or for the first of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::model::{AwaitMode, InvocationId, MAX_AWAITED_BYTES, MemoryBudget, Outcome, Refusal};

/// Results of a wait are on the memory budget from so many bytes on: those of most waits are small, and come and go.
const UNCHARGED_BYTES: usize = 64 << 10;

/// A request for a wait.
pub(super) struct WaitFor {
    /// The waiting invocation with its task; `None` for a waiter outside.
    pub(super) caller: Option<(InvocationId, Arc<str>)>,
    /// The caller's depth.
    pub(super) depth: u32,
    /// The awaited invocations.
    pub(super) ids: Vec<InvocationId>,
    /// Whether it waits for all or for the first.
    pub(super) mode: AwaitMode,
}

/// One guest, or one thread outside, waiting for one or more results.
#[derive(Debug)]
pub(super) struct Wait {
    /// The waiting invocation with its task; `None` for a waiter outside.
    pub(super) caller: Option<(InvocationId, Arc<str>)>,
    mode: AwaitMode,
    /// Generation of the awaited: one below the caller.
    pub(super) depth: u32,
    /// Order of registration: the age of the wait.
    pub(super) sequence: u64,
    is_over: AtomicBool,
    /// The index in `ids` of each id that was asked for, if some were asked for more than once.
    places: Option<Vec<usize>>,
    state: Mutex<WaitState>,
}

/// The part of a wait that outcomes change.
#[derive(Debug)]
struct WaitState {
    /// The awaited, each once.
    ids: Vec<InvocationId>,
    /// The outcome of each, and the times that it was asked for.
    outcomes: Vec<(Option<Outcome>, usize)>,
    missing: usize,
    /// The size of the answer, in bytes.
    bytes: usize,
    /// The bytes that are on the memory budget, until the guest takes the answer or nobody waits any more.
    charge: Charge,
    /// The index of the first outcome that came, for a wait for any.
    first: Option<usize>,
    refused: Option<Refusal>,
    waker: Option<Waker>,
}

/// Bytes on the memory budget of the runner, which are given back with this value.
#[derive(Debug)]
struct Charge {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl Charge {
    /// Makes it so many bytes, left or not: the results are here.
    fn resize(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.budget.overdraw(bytes.saturating_sub(self.bytes));
        self.budget.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.resize(0);
    }
}

impl Wait {
    /// Makes a wait that knows no outcome yet. Ids that are asked for more than once are awaited once.
    pub(super) fn new(wait_for: WaitFor, sequence: u64, budget: &Arc<MemoryBudget>) -> Arc<Self> {
        let WaitFor { caller, depth, ids: asked, mode } = wait_for;
        let (mut ids, mut outcomes) = (Vec::with_capacity(asked.len()), Vec::with_capacity(asked.len()));
        let mut known = HashMap::new();
        let mut places = Vec::with_capacity(asked.len());
        let is_one = asked.len() == 1;
        for id in asked {
            let place = if is_one { 0 } else { *known.entry(id).or_insert(ids.len()) };
            places.push(place);
            if place == ids.len() {
                ids.push(id);
                outcomes.push((None, 0));
            }
            outcomes[place].1 += 1;
        }
        let places = (places.len() > ids.len()).then_some(places);
        let missing = ids.len();
        let charge = Charge { budget: Arc::clone(budget), bytes: 0 };
        let state =
            WaitState { ids, outcomes, missing, bytes: 0, charge, first: None, refused: None, waker: None };
        Arc::new(Self {
            caller,
            mode,
            depth: depth + 1,
            sequence,
            is_over: AtomicBool::new(false),
            places,
            state: Mutex::new(state),
        })
    }

    /// Ends it: nobody waits any more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether nobody waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Whether the answer is there.
    pub(super) fn is_answered(&self) -> bool {
        let state = self.state.lock();
        self.is_satisfied(&state) || state.refused.is_some()
    }

    /// Returns at most `count` of the awaited, from an index on.
    pub(super) fn ids(&self, from: usize, count: usize) -> Vec<InvocationId> {
        self.state.lock().ids.iter().skip(from).take(count).copied().collect()
    }

    /// The number of the awaited.
    pub(super) fn len(&self) -> usize {
        self.state.lock().ids.len()
    }

    /// Makes a wait for one invocation a wait for `to`.
    pub(super) fn retarget(&self, to: InvocationId) {
        self.state.lock().ids = vec![to];
    }

    /// Returns the answer, if it is there; otherwise keeps `waker` for the moment when it is.
    pub(super) fn poll(&self, waker: &Waker) -> Option<Result<Vec<(usize, Outcome)>, Refusal>> {
        let mut state = self.state.lock();
        if let Some(refusal) = state.refused.take() {
            return Some(Err(refusal));
        }
        if !self.is_satisfied(&state) {
            if !state.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                state.waker = Some(waker.clone());
            }
            return None;
        }
        state.charge.resize(0);
        let outcomes = match (self.mode, state.first) {
            (AwaitMode::Any | AwaitMode::AnyWithin(_), Some(first)) => {
                let place = self
                    .places
                    .as_ref()
                    .map_or(Some(first), |places| places.iter().position(|place| *place == first));
                place.zip(state.outcomes[first].0.take()).into_iter().collect()
            }
            _ => {
                let outcomes =
                    std::mem::take(&mut state.outcomes).into_iter().filter_map(|(outcome, _)| outcome);
                match &self.places {
                    None => outcomes.enumerate().collect(),
                    Some(places) => {
                        let outcomes: Vec<_> = outcomes.collect();
                        places.iter().filter_map(|place| outcomes.get(*place).cloned()).enumerate().collect()
                    }
                }
            }
        };
        Some(Ok(outcomes))
    }

    fn is_satisfied(&self, state: &WaitState) -> bool {
        match self.mode {
            AwaitMode::All => state.missing == 0,
            AwaitMode::Any | AwaitMode::AnyWithin(_) => state.first.is_some(),
        }
    }

    /// Puts the outcome in its place, and wakes the waiter if that completes the answer.
    pub(super) fn fill(&self, index: usize, outcome: &Outcome) {
        let mut state = self.state.lock();
        // What came first is the whole answer to a wait for any.
        let is_superfluous = self.is_satisfied(&state) || state.refused.is_some();
        let Some((place @ None, copies)) = state.outcomes.get_mut(index).filter(|_| !is_superfluous) else {
            return;
        };
        *place = Some(outcome.clone());
        let bytes = outcome.approximate_bytes().saturating_mul(*copies);
        state.missing -= 1;
        state.bytes = state.bytes.saturating_add(bytes);
        state.first.get_or_insert(index);
        state.refuse_too_much();
        if state.bytes > UNCHARGED_BYTES {
            let bytes = if state.refused.is_some() { 0 } else { state.bytes };
            state.charge.resize(bytes);
        }
        if self.is_satisfied(&state) || state.refused.is_some() {
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Ends the wait without an answer.
    pub(super) fn refuse(&self, refusal: Refusal) {
        let mut state = self.state.lock();
        state.refused = Some(refusal);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl WaitState {
    /// Refuses the wait if its results are too large for one answer: they would stay in the host's memory.
    fn refuse_too_much(&mut self) {
        if self.bytes > MAX_AWAITED_BYTES {
            self.outcomes.iter_mut().for_each(|(outcome, _)| *outcome = None);
            self.refused = Some(Refusal::bound(format!(
                "the results that are awaited at once have more than {MAX_AWAITED_BYTES} bytes together: \
                 await fewer of them at a time"
            )));
        }
    }
}
