//! The messages of slots and clients for the ledger.
//!
//! One lock around plain vectors: a message costs one push, and the ledger takes
//! everything at once. Unbounded, because each sender is: a guest waits for the
//! answer to its submit before it can send another, and a slot reports one end
//! for each guest that it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::fiber::Fiber;
use super::wait::Wait;
use crate::model::{Claim, InvocationId, Refusal, Shortage};
use crate::store::{AttemptEnd, Bill, Cancel, NewInvocation, Standing, TaskRule};

/// The way on which the ledger answers a question.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// An invocation that is asked about, and the receiver of the answer.
pub(super) type StandingMessage = (InvocationId, Reply<Standing>);

/// Children to be submitted together, and the receiver of the answer.
pub(super) struct SubmitMessage {
    pub(super) children: Vec<NewInvocation>,
    pub(super) reply: SubmitReply,
    /// The ids of the children of earlier turns, which are in the store already.
    pub(super) submitted: Vec<InvocationId>,
}

/// The receiver of the answer to a submit.
pub(super) enum SubmitReply {
    /// A guest that waits for the ids.
    Ids(Reply<Vec<InvocationId>>),
    /// A guest that waits for the result: told only if there will be none.
    Result(Arc<Wait>),
}

/// Ids that a wait must know about.
#[derive(Debug)]
pub(super) struct LookUpMessage {
    pub(super) wait: Arc<Wait>,
    pub(super) ids: Vec<InvocationId>,
}

/// An invocation to be cancelled, and the receiver of the answer.
pub(super) struct CancelMessage {
    pub(super) cancel: Cancel,
    pub(super) reply: Reply<bool>,
}

/// The rules of tasks that a runner is given while it runs.
#[derive(Debug, Default)]
pub struct NewRules {
    /// The rules that somebody has configured.
    pub configured: Vec<TaskRule>,
    /// The rules that nobody has configured.
    pub default: Vec<TaskRule>,
    /// Rules of tasks that are gone.
    pub dropped: Vec<TaskRule>,
}

impl NewRules {
    /// Adds those of a later moment. What is dropped in them was perhaps not told yet.
    pub(super) fn add(&mut self, later: Self) {
        let Self { configured, default, dropped } = later;
        self.configured.retain(|rule| !dropped.contains(rule));
        self.configured.extend(configured);
        self.default.extend(default);
        self.dropped.extend(dropped);
    }
}

/// The messages since the ledger last drained the inbox.
#[derive(Default)]
pub(super) struct Messages {
    pub(super) submits: Vec<SubmitMessage>,
    /// Live fibers with something noted.
    pub(super) noted: Vec<Arc<Fiber>>,
    /// Fibers whose attempt ended.
    pub(super) ends: Vec<(Arc<Fiber>, AttemptEnd)>,
    /// Claims that ended without ever becoming a fiber.
    pub(super) unstarted: Vec<(Claim, AttemptEnd)>,
    /// The shortages for which some of these attempts were given back.
    pub(super) shortages: Vec<Shortage>,
    /// Bills of attempts that another process had ended.
    pub(super) bills: Vec<Bill>,
    pub(super) look_ups: Vec<LookUpMessage>,
    pub(super) cancels: Vec<CancelMessage>,
    pub(super) standings: Vec<StandingMessage>,
    /// A slot has nothing to do.
    pub(super) is_hungry: bool,
    /// The rules of new tasks.
    pub(super) new_rules: NewRules,
    /// The store may have changed without us.
    pub(super) has_foreign_change: bool,
}

impl Messages {
    /// Whether the ledger must turn for them now.
    pub(super) fn is_urgent(&self) -> bool {
        !(self.submits.is_empty()
            && self.ends.is_empty()
            && self.unstarted.is_empty()
            && self.shortages.is_empty()
            && self.bills.is_empty()
            && self.look_ups.is_empty()
            && self.cancels.is_empty()
            && self.standings.is_empty())
            || self.is_hungry
            || self.has_foreign_change
    }
}

/// The inbox of the ledger.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    messages: Messages,
    /// The ledger thread itself is wanted, a turn by another thread does not do. Only it takes this back.
    is_called: bool,
    /// Whether the ledger thread will look for notes by itself, soon: it does while guests run. When it has
    /// found none for a beat, it sleeps until the next note rings.
    looks_for_notes: bool,
}

impl Inbox {
    /// Leaves a message; does not wake the ledger thread.
    pub(super) fn put(&self, message: impl FnOnce(&mut Messages)) {
        message(&mut self.state.lock().messages);
    }

    /// Wakes the ledger thread.
    pub(super) fn ring(&self) {
        self.arrived.notify_one();
    }

    /// Makes the ledger thread turn, and look at its alarm and at the runner's stage.
    pub(super) fn call(&self) {
        self.state.lock().is_called = true;
        self.ring();
    }

    /// Remembers that `fiber` has notes, once until the ledger takes them.
    pub(super) fn put_noted(&self, fiber: &Arc<Fiber>) {
        if fiber.is_noted.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.state.lock();
        state.messages.noted.push(Arc::clone(fiber));
        if !state.looks_for_notes {
            state.looks_for_notes = true;
            drop(state);
            self.ring();
        }
    }

    /// Drains the inbox.
    pub(super) fn take(&self) -> Messages {
        std::mem::take(&mut self.state.lock().messages)
    }

    /// Whether the ledger must turn now.
    pub(super) fn is_urgent(&self) -> bool {
        self.state.lock().messages.is_urgent()
    }

    /// Returns the size of the outcomes that lie here, in bytes.
    pub(super) fn outcome_bytes(&self) -> usize {
        self.state.lock().messages.ends.iter().map(|(_, end)| end.how.outcome_bytes()).sum()
    }

    /// Waits for an urgent message or a call, until `until` (`None`: for ever), or until notes are a `beat`
    /// old.
    pub(super) fn wait(&self, until: Option<Instant>, beat: Duration) {
        let mut state = self.state.lock();
        let mut next_beat = None;
        while !state.messages.is_urgent() && !std::mem::take(&mut state.is_called) {
            let now = Instant::now();
            if until.is_some_and(|until| until <= now) {
                return;
            }
            if next_beat.is_some_and(|next_beat| next_beat <= now) {
                if !state.messages.noted.is_empty() {
                    return;
                }
                state.looks_for_notes = false;
                next_beat = None;
            } else if state.looks_for_notes && next_beat.is_none() {
                next_beat = Some(now + beat);
            }
            match [until, next_beat].into_iter().flatten().min() {
                Some(moment) => drop(self.arrived.wait_until(&mut state, moment)),
                None => self.arrived.wait(&mut state),
            }
        }
    }
}
