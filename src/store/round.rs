//! The tasks that a claim looks at, if more have ready invocations than one look takes: some of them each time, in
//! turn.

use super::order::LateFlows;

/// The most tasks that one claim looks at. Among so many the order of claims is exact.
pub(super) const TASKS_AT_ONCE: usize = 1_000;

/// How far the looks of this process have come in the order of the tasks' numbers. The end of one round is the
/// beginning of the next.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The task that the last look ended with, if it was not the last.
    last: Option<i64>,
    /// Whether a look of this round has left something that could be claimed.
    has_left: bool,
    /// How far the late invocations of tasks have been claimed.
    pub(super) late: LateFlows,
    /// The time by which the clock was to be moved when another transaction held it.
    pub(super) owed: i64,
}

impl Round {
    /// Begins a new round: what the last look was to hand out is still there.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { late: std::mem::take(&mut self.late), owed: self.owed, ..Self::default() };
    }

    /// The task behind which the next look begins.
    pub(super) fn begin(&self) -> i64 {
        self.last.unwrap_or(i64::MIN)
    }

    /// Notes a look, which came to the end of the tasks or ended with `last`, and whether it left something. Returns
    /// whether there may be more to claim: after a round in which nothing was left there is not, so that nobody
    /// looks round after round.
    pub(super) fn note(&mut self, last: Option<i64>, has_left: bool) -> bool {
        self.has_left |= has_left;
        self.last = last;
        last.is_some() || std::mem::take(&mut self.has_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_ends_and_the_next_one_begins() {
        let mut round = Round::default();
        assert_eq!(round.begin(), i64::MIN);
        assert!(round.note(Some(7), false), "the rest was not looked at");
        assert_eq!(round.begin(), 7);
        assert!(!round.note(None, false), "nothing was left anywhere");
        assert_eq!(round.begin(), i64::MIN);
    }

    #[test]
    fn what_a_look_has_left_is_told_at_the_end_of_its_round() {
        let mut round = Round::default();
        assert!(round.note(Some(7), true));
        assert!(round.note(None, false), "the first look left something");
        assert!(!round.note(None, false), "that was told");
        assert!(round.note(None, true));
    }
}
