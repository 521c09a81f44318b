//! One wait: for all of some invocations, or for the first of them.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::model::{AwaitMode, InvocationId, MAX_AWAITED_BYTES, Outcome, Refusal};

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
    state: Mutex<WaitState>,
}

/// The part of a wait that outcomes change.
#[derive(Debug)]
struct WaitState {
    ids: Vec<InvocationId>,
    outcomes: Vec<Option<Outcome>>,
    missing: usize,
    /// The size of the outcomes, in bytes.
    bytes: usize,
    /// The place of the first outcome that came, for a wait for any.
    first: Option<usize>,
    refused: Option<Refusal>,
    waker: Option<Waker>,
}

impl Wait {
    /// Makes a wait that knows the outcomes that are there already.
    pub(super) fn new(wait_for: WaitFor, sequence: u64, outcomes: Vec<Option<Outcome>>) -> Arc<Self> {
        let WaitFor { caller, depth, ids, mode } = wait_for;
        let mut state = WaitState {
            missing: outcomes.iter().filter(|outcome| outcome.is_none()).count(),
            bytes: outcomes.iter().flatten().map(Outcome::approximate_bytes).sum(),
            first: outcomes.iter().position(Option::is_some),
            ids,
            outcomes,
            refused: None,
            waker: None,
        };
        if mode == AwaitMode::All {
            state.refuse_too_much();
        }
        Arc::new(Self { caller, mode, depth: depth + 1, sequence, state: Mutex::new(state) })
    }

    /// Visits the awaited whose outcomes are missing, with their places. Returns whether the wait goes on.
    pub(super) fn visit_missing(&self, mut visit: impl FnMut(InvocationId, usize)) -> bool {
        let state = self.state.lock();
        let is_open = !self.is_satisfied(&state) && state.refused.is_none();
        if is_open {
            let missing = state.ids.iter().enumerate().filter(|(place, _)| state.outcomes[*place].is_none());
            missing.for_each(|(place, id)| visit(*id, place));
        }
        is_open
    }

    /// Looks at the list of the awaited.
    pub(super) fn with_ids(&self, look: impl FnOnce(&[InvocationId])) {
        look(&self.state.lock().ids);
    }

    /// Makes it a wait for `to` alone. Returns what it waited for before.
    pub(super) fn retarget(&self, to: InvocationId) -> Vec<InvocationId> {
        std::mem::replace(&mut self.state.lock().ids, vec![to])
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
        let outcomes = match (self.mode, state.first) {
            (AwaitMode::Any | AwaitMode::AnyWithin(_), Some(first)) => {
                state.outcomes[first].take().map(|outcome| (first, outcome)).into_iter().collect()
            }
            _ => std::mem::take(&mut state.outcomes).into_iter().flatten().enumerate().collect(),
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
        if is_superfluous || state.outcomes.get(index).is_none_or(Option::is_some) {
            return;
        }
        state.outcomes[index] = Some(outcome.clone());
        state.missing -= 1;
        state.bytes += outcome.approximate_bytes();
        state.first.get_or_insert(index);
        state.refuse_too_much();
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
            self.outcomes.iter_mut().for_each(|outcome| *outcome = None);
            self.refused = Some(Refusal::bound(format!(
                "the results that are awaited at once have more than {MAX_AWAITED_BYTES} bytes together: \
                 await fewer of them at a time"
            )));
        }
    }
}
