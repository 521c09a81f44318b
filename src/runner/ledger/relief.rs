//! Relief: parked guests of large users make room for work of small ones that has not been able to start.
//!
//! Shares keep room for others where guests start, but awaited work passes them, and guests grow. `Relief` says when
//! room is made; `scheduler.rs` lets the small ones start, and `room.rs` chooses the guests that are given back.

use std::time::{Duration, Instant};

use crate::runner::scheduler::Load;

/// A runner must have been nearly full for this long. It is more than most guests park for, so a runner that is only
/// busy gives nothing back; and a caller who waits for an answer still waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// For this long small users start first, before what is awaited of others.
const WINDOW: Duration = Duration::from_secs(5);

/// After a window there is none for as long as [`PATIENCE`], doubled each time up to this: those who gave guests back
/// have that time to themselves, and get to the next wait or the end.
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// The work that waits for a start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waiting {
    /// Whether the store may have some that nobody awaits.
    pub(crate) may_be_stored: bool,
    /// Whether some is awaited and is not deep enough. It may be of large users, which is found out by a look.
    pub(crate) is_awaited: bool,
    /// Whether a claim is on its way.
    pub(crate) is_asked_for: bool,
    /// How much of small users is claimed.
    pub(crate) small: usize,
}

/// The next step of the relief.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Claim a little of what small users have: it is known then whether they wait.
    Claim,
    /// Give parked guests of large users back, for so much work of small ones.
    MakeRoom(usize),
    /// Treat all alike again.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    /// Work of small users is being claimed.
    Asks,
    /// Small users start first until then.
    Window(Instant),
}

/// When room is made for small users.
pub(crate) struct Relief {
    phase: Phase,
    /// Since when the runner is nearly full, or has started nothing that nobody awaits though it was not for moments;
    /// and how much of that had left its queue by then.
    full_since: Option<Instant>,
    left: usize,
    /// The end of the last pause between windows, and how long it was.
    pause: Option<(Instant, Duration)>,
    /// There was nothing of small users that is awaited; it is looked for again then.
    look_again: Option<Instant>,
    /// The same of what nobody awaits, if it could not be claimed.
    ask_again: Option<Instant>,
    /// When there is a step to take.
    due: Option<Instant>,
}

impl Relief {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Idle,
            full_since: None,
            left: 0,
            pause: None,
            look_again: None,
            ask_again: None,
            due: None,
        }
    }

    /// Whether a nearly full runner claims for small users.
    pub(crate) fn is_on(&self) -> bool {
        self.phase != Phase::Idle
    }

    /// When there is a step to take, though nothing happens until then.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the next step. To be asked after each turn, with the load of that moment.
    pub(crate) fn step(&mut self, load: &Load, waiting: Waiting, now: Instant) -> Option<Step> {
        let claimed = load.ready - load.awaited;
        let left = load.queued.saturating_sub(claimed);
        if !load.may_start_unawaited && self.full_since.is_none() {
            (self.full_since, self.left) = (Some(now), left);
        } else if load.may_start_unawaited && (claimed == 0 || left > self.left) {
            self.full_since = None;
        }
        let step = match self.phase {
            Phase::Idle => self.may_begin(load, waiting, claimed, now).then(|| {
                self.phase = Phase::Asks;
                Step::Claim
            }),
            Phase::Asks if waiting.is_asked_for => None,
            Phase::Asks if waiting.small == 0 || load.may_start_unawaited => {
                self.phase = Phase::Idle;
                self.look_again = Some(now + PATIENCE);
                self.ask_again = (waiting.may_be_stored || claimed > 0).then_some(now + PATIENCE);
                None
            }
            Phase::Asks => {
                self.phase = Phase::Window(now + WINDOW);
                Some(Step::MakeRoom(waiting.small))
            }
            Phase::Window(until) if now < until => None,
            Phase::Window(_) => {
                self.phase = Phase::Idle;
                // One that comes long after the last is another one.
                let last = self.pause.filter(|(end, _)| now.saturating_duration_since(*end) < LAST_PAUSE);
                let pause = last.map_or(PATIENCE, |(_, last)| (last * 2).min(LAST_PAUSE));
                self.pause = Some((now + pause, pause));
                Some(Step::End)
            }
        };
        self.due = match self.phase {
            Phase::Window(until) => Some(until),
            Phase::Idle => self.begins_at(load, waiting, claimed),
            Phase::Asks => None,
        };
        step
    }

    fn may_begin(&self, load: &Load, waiting: Waiting, claimed: usize, now: Instant) -> bool {
        self.begins_at(load, waiting, claimed).is_some_and(|at| at <= now)
    }

    /// When small users are looked for, if nothing changes.
    fn begins_at(&self, load: &Load, waiting: Waiting, claimed: usize) -> Option<Instant> {
        if !load.has_large {
            return None;
        }
        let begin = (self.full_since? + PATIENCE).max(self.pause.map_or(self.full_since?, |(end, _)| end));
        match waiting {
            _ if waiting.may_be_stored || claimed > 0 => Some(begin.max(self.ask_again.unwrap_or(begin))),
            _ if waiting.is_awaited => Some(begin.max(self.look_again.unwrap_or(begin))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::ledger::tests::Bench;

    /// A relief in the order of its steps, with what waits.
    struct Trial {
        relief: Relief,
        load: Load,
        waiting: Waiting,
        now: Instant,
    }

    impl Trial {
        /// A runner that is nearly full from now on.
        fn new() -> Self {
            let load = Load { may_start_unawaited: false, has_large: true, ..Bench::new().load };
            let mut trial =
                Self { relief: Relief::new(), load, waiting: Waiting::default(), now: Instant::now() };
            assert_eq!(trial.step(), None);
            trial
        }

        fn step(&mut self) -> Option<Step> {
            self.relief.step(&self.load, self.waiting, self.now)
        }

        /// Steps when the relief is due, and returns how long that took.
        fn step_when_due(&mut self) -> (u64, Option<Step>) {
            let due = self.relief.next().expect("a step is due");
            let took = due.saturating_duration_since(self.now);
            self.now = self.now.max(due);
            (took.as_secs(), self.step())
        }
    }

    #[test]
    fn small_users_that_wait_for_some_seconds_get_room_and_a_window() {
        let mut trial = Trial::new();
        assert_eq!(trial.relief.next(), None, "nobody waits");
        trial.waiting.may_be_stored = true;
        assert_eq!(trial.step(), None);
        assert_eq!(trial.step_when_due(), (5, Some(Step::Claim)));
        trial.waiting.is_asked_for = true;
        assert_eq!(trial.step(), None, "the claim goes on");
        trial.waiting = Waiting { small: 2, ..Waiting::default() };
        assert!(trial.relief.is_on());
        assert_eq!(trial.step(), Some(Step::MakeRoom(2)));
        assert_eq!(trial.step(), None, "once");
        assert_eq!(trial.step_when_due(), (5, Some(Step::End)));
        assert!(!trial.relief.is_on());
    }

    #[test]
    fn the_pauses_between_windows_grow() {
        let mut trial = Trial::new();
        trial.waiting = Waiting { may_be_stored: true, small: 1, ..Waiting::default() };
        assert_eq!(trial.step(), None);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let (took, step) = trial.step_when_due();
            assert_eq!(step, Some(Step::Claim));
            pauses.push(took);
            assert_eq!(trial.step(), Some(Step::MakeRoom(1)));
            assert_eq!(trial.step_when_due(), (5, Some(Step::End)));
        }
        assert_eq!(pauses, [5, 5, 10, 20, 40, 60]);
        trial.now += Duration::from_secs(600);
        assert_eq!(trial.step(), Some(Step::Claim));
        assert_eq!(trial.step(), Some(Step::MakeRoom(1)));
        assert_eq!(trial.step_when_due(), (5, Some(Step::End)));
        assert_eq!(trial.step_when_due().0, 5, "long after the last one");
    }

    #[test]
    fn a_runner_that_starts_something_now_and_then_is_not_full() {
        let mut trial = Trial::new();
        (trial.load.ready, trial.load.queued) = (1, 1);
        let seconds = |trial: &mut Trial, seconds| trial.now += Duration::from_secs(seconds);
        seconds(&mut trial, 3);
        trial.load.may_start_unawaited = true;
        assert_eq!(trial.step(), None, "what somebody awaits takes the place");
        trial.load.may_start_unawaited = false;
        assert_eq!((trial.step(), trial.step_when_due()), (None, (2, Some(Step::Claim))));
        trial.waiting.small = 0;
        assert_eq!(trial.step(), None);

        let mut trial = Trial::new();
        (trial.load.ready, trial.load.queued) = (1, 2);
        seconds(&mut trial, 3);
        trial.load.may_start_unawaited = true;
        assert_eq!(trial.step(), None);
        trial.load.may_start_unawaited = false;
        assert_eq!((trial.step(), trial.step_when_due()), (None, (5, Some(Step::Claim))), "one has started");
    }

    #[test]
    fn nothing_is_given_back_in_vain() {
        let mut trial = Trial::new();
        trial.waiting.is_awaited = true;
        assert_eq!(trial.step(), None);
        assert_eq!(trial.step_when_due(), (5, Some(Step::Claim)));
        // It is of a large user.
        assert_eq!(trial.step(), None);
        assert!(!trial.relief.is_on());
        assert_eq!(trial.step_when_due(), (5, Some(Step::Claim)), "it is looked for again, not all the time");
        trial.load.may_start_unawaited = true;
        trial.waiting.small = 1;
        assert_eq!(trial.step(), None, "it can start");
        assert_eq!(trial.relief.next(), None);
        trial.load = Load { may_start_unawaited: false, has_large: false, ..trial.load };
        trial.now += Duration::from_secs(60);
        assert_eq!((trial.step(), trial.relief.next()), (None, None), "nobody has much");

        let mut trial = Trial::new();
        trial.waiting.may_be_stored = true;
        assert_eq!(trial.step(), None);
        assert_eq!(trial.step_when_due(), (5, Some(Step::Claim)));
        assert_eq!(trial.step(), None, "the claim could not be made");
        assert_eq!(trial.step_when_due(), (5, Some(Step::Claim)));
        trial.waiting.may_be_stored = false;
        assert_eq!(trial.step(), None, "there was nothing");
        trial.waiting.may_be_stored = true;
        assert_eq!(trial.step(), Some(Step::Claim), "what comes then is looked for at once");
    }
}
