//! The load: invocations of every kind, submitted and sometimes cancelled while
//! runners die; and the reader that sees how they end.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::book::{Book, CancelAsked, Submit, full};
use super::kind::Kind;
use super::random::Random;
use crate::model::{InvocationId, SubmitLimits, SubmitOptions, Submitter};
use crate::store::{Batch, Cancel, Changes, LookUp, NewInvocation, Store, StoreError, Submitted, TaskRule};
use crate::wasm::Task;

/// The mean pause between two submits.
const PAUSE: Duration = Duration::from_millis(25);

/// The pause after a commit or a look that failed.
const BACK_OFF: Duration = Duration::from_millis(500);

/// The label that names the run.
pub const LABEL: &str = "torture";

/// Submits until it is told to stop.
pub struct Load {
    pub store: Arc<dyn Store>,
    pub tasks: HashMap<Kind, Task>,
    /// The book in which everything is noted.
    pub book: Arc<Book>,
    pub random: Random,
    /// The seed, for the label.
    pub seed: u64,
    /// The number of unfinished invocations beyond which no more are submitted.
    pub most_pending: usize,
    /// The call after each commit: runners may have to be told.
    pub committed: Box<dyn Fn() + Send>,
    /// True if somebody kills the runners of poisonous tasks.
    pub has_poison: bool,
    /// Milliseconds that a few tasks sleep: so long that somebody stops or kills their
    /// runner.
    pub long_sleep: RangeInclusive<u64>,
}

impl Load {
    /// Submits until `stop` is disconnected.
    pub fn run(mut self, stop: &Receiver<()>) {
        let mut pause = Duration::ZERO;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = self.random.pause(PAUSE);
            if self.book.with(|pages| pages.pending.len()) >= self.most_pending {
                continue;
            }
            let done = if self.random.chance(8) { self.cancel() } else { self.submit() };
            (self.committed)();
            if let Err(error) = done {
                self.book.with(|pages| pages.note_error(&error));
                pause = BACK_OFF;
            }
        }
    }

    /// Submits one batch.
    fn submit(&mut self) -> Result<(), StoreError> {
        let count = self.random.within(1..=6);
        let batch: Vec<_> = (0..count).map(|_| self.new_invocation()).collect();
        // Before the commit: if that fails, they may exist all the same.
        self.book.with(|pages| pages.submits.extend(batch.iter().map(|(submit, _)| submit.clone())));
        let submits: Vec<_> = batch.into_iter().map(|(_, new)| new).collect();
        // Who submits before a runner has told its rules must be counted too.
        let default_rules = submits.iter().filter_map(|new| {
            let task = self.tasks.values().find(|task| task.id == new.task)?;
            Some(TaskRule::new(&task.id, &task.options.rules))
        });
        let batch =
            Batch { default_rules: default_rules.collect(), submits: submits.clone(), ..Batch::default() };
        let receipt = self.store.commit(&batch)?;
        self.book.with(|pages| {
            for (new, submitted) in submits.iter().zip(&receipt.submits) {
                if *submitted != Submitted::Created(new.id) {
                    let message = format!("the new `{}` was answered with {submitted:?}", new.id);
                    pages.contradictions.push(message);
                }
            }
            for submit in pages.submits.iter_mut().rev().take(submits.len()) {
                submit.is_acknowledged = true;
                pages.pending.insert(submit.id);
            }
        });
        if self.random.chance(20) {
            self.submit_again(&submits)?;
        }
        Ok(())
    }

    /// Submits the same again, as somebody does who never got the answer. Ids and keys
    /// must find what exists.
    fn submit_again(&mut self, submits: &[NewInvocation]) -> Result<(), StoreError> {
        let again: Vec<_> = submits
            .iter()
            .map(|new| match &new.key {
                None => new.clone(),
                Some(_) => NewInvocation { id: InvocationId::generate(), ..new.clone() },
            })
            .collect();
        let receipt = self.store.commit(&Batch { submits: again, ..Batch::default() })?;
        self.book.with(|pages| {
            for (new, submitted) in submits.iter().zip(receipt.submits) {
                if submitted != Submitted::Existing(new.id) {
                    let message = format!("`{}`, submitted again, was answered with {submitted:?}", new.id);
                    pages.contradictions.push(message);
                }
            }
        });
        Ok(())
    }

    fn new_invocation(&mut self) -> (Submit, NewInvocation) {
        let kind = self.kind();
        let arguments = self.arguments(kind);
        let delay = match self.random.chance(15) {
            true => Duration::from_millis(self.random.within(50..=2_000)),
            false => Duration::ZERO,
        };
        let deadline =
            self.random.chance(4).then(|| delay + Duration::from_millis(self.random.within(100..=2_000)));
        let task = &self.tasks[&kind];
        let arguments_json = serde_json::to_string(&arguments).expect("numbers are JSON");
        let options = SubmitOptions {
            priority: i32::try_from(self.random.within(0..=3)).ok(),
            delay,
            deadline,
            key: self.random.chance(25).then(|| InvocationId::generate().to_string().into()),
            labels: [(LABEL.to_owned(), self.seed.to_string())].into(),
            detached: false,
            fairness_key: None,
            limits: SubmitLimits::default(),
        };
        let new = NewInvocation::of(task.prepared(arguments_json.into()), options, Submitter::Outside)
            .expect("it is within bounds");
        (Submit { id: new.id, kind, delay, is_acknowledged: false }, new)
    }

    fn kind(&mut self) -> Kind {
        match self.random.within(1..=100) {
            1 if self.has_poison => Kind::Poison,
            2..=6 => Kind::Trap,
            7..=16 => Kind::Flaky,
            17..=30 => Kind::Fan,
            31..=34 => Kind::Lane,
            35..=42 => Kind::Tree,
            43..=52 => Kind::Race,
            53..=60 => Kind::Leave,
            _ => Kind::Leaf,
        }
    }

    fn arguments(&mut self, kind: Kind) -> Vec<u64> {
        let random = &mut self.random;
        match kind {
            Kind::Trap | Kind::Poison => Vec::new(),
            Kind::Flaky => vec![random.within(0..=3)],
            Kind::Fan => vec![random.within(0..=8), random.within(0..=10)],
            Kind::Tree => vec![random.within(0..=3), random.within(1..=3)],
            Kind::Race => vec![random.within(1..=4), random.within(50..=400)],
            Kind::Leave => vec![random.within(1..=3), random.within(0..=200)],
            // So few keys that many are blocked.
            Kind::Lane => vec![random.within(0..=2), random.within(0..=300)],
            Kind::Leaf if random.chance(10) => vec![0, random.within(self.long_sleep.clone())],
            Kind::Leaf => vec![random.within(0..=20), random.within(0..=60)],
        }
    }

    /// Cancels one that is not final, or a descendant of it.
    fn cancel(&mut self) -> Result<(), StoreError> {
        let pending: Vec<_> = self.book.with(|pages| pages.pending.iter().copied().collect());
        let Some(mut id) = self.random.choose(&pending) else { return Ok(()) };
        if self.random.chance(40) {
            let tree = self.store.tree(id)?;
            let alive = tree.iter().filter(|member| !member.status.is_final()).map(|member| member.id);
            id = self.random.choose(&alive.collect::<Vec<_>>()).unwrap_or(id);
        }
        let cancel = Cancel { id, by: None, message: "cancelled by torture".to_owned() };
        let committed = self.store.commit(&Batch { cancels: vec![cancel], ..Batch::default() });
        let answer = committed.as_ref().ok().and_then(|receipt| receipt.cancels.first().copied());
        self.book.with(|pages| pages.cancels.push(CancelAsked { id, answer }));
        committed.map(|_| ())
    }
}

/// Notes the outcome of each invocation when it is first seen to be final.
pub struct Reader {
    pub store: Arc<dyn Store>,
    /// The book in which outcomes are noted.
    pub book: Arc<Book>,
}

impl Reader {
    /// Looks whenever the store has changed, until `stop` is disconnected.
    pub fn run(&self, stop: &Receiver<()>) {
        /// The shortest pause between two looks, however often the store changes.
        const BREATH: Duration = Duration::from_millis(30);
        /// This process's own commits are not told of.
        const FALLBACK: Duration = Duration::from_millis(300);
        let mut changes = None;
        let mut pause = BREATH;
        while stop.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let told = match &mut changes {
                Some(changes) => Changes::wait(changes, FALLBACK),
                none => Changes::of(&self.store).map(|new| *none = Some(new)),
            };
            let looked = told.and_then(|()| self.look());
            pause = if looked.is_ok() { BREATH } else { BACK_OFF };
            if let Err(error) = looked {
                self.book.with(|pages| pages.note_error(&error));
            }
        }
    }

    /// Looks once.
    pub fn look(&self) -> Result<(), StoreError> {
        let pending: Vec<_> = self.book.with(|pages| pages.pending.iter().copied().collect());
        let mut rest = &pending[..];
        while !rest.is_empty() {
            // Of as many at once as the store gives.
            let answers = self.store.look_up(rest)?;
            let (answered, later) = rest.split_at(answers.len());
            rest = later;
            self.book.with(|pages| {
                for (id, answer) in answered.iter().zip(answers) {
                    if let LookUp::Final(outcome) = answer {
                        pages.pending.remove(id);
                        pages.seen.insert(*id, full(&outcome));
                    }
                }
            });
        }
        Ok(())
    }
}
