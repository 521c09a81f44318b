//! Shortages of the host: what was given back is not tried again at once, and the log says what is short.

use std::time::{Duration, Instant};

/// Work is tried again after this long, doubled each time that something is still short.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The log tells of a shortage at most this often.
const TELL_PAUSE: Duration = Duration::from_secs(5);

/// Until when nothing starts, and what the log has said of it.
#[derive(Default)]
pub(crate) struct Shortages {
    /// The end of the last pause, and how long it was.
    pause: Option<(Instant, Duration)>,
    /// Whether that end is still to come.
    is_paused: bool,
    /// When the log has told of one, and the attempts that were given back since.
    told: Option<Instant>,
    given_back: usize,
}

impl Shortages {
    /// Takes note of the attempts that a shortage ended in this turn: starts pause, unless they do already. If
    /// guests have ended, what they held is free: there is no reason for a long pause.
    /// Returns how many such attempts there were since the log has told of one, if it is to tell again.
    pub(crate) fn note(&mut self, attempts: usize, has_freed: bool, now: Instant) -> Option<usize> {
        if has_freed {
            let shorter = |(until, _): (Instant, Duration)| (until.min(now + FIRST_PAUSE), FIRST_PAUSE);
            self.pause = self.pause.filter(|_| self.is_paused).map(shorter);
        }
        if attempts == 0 {
            return None;
        }
        self.given_back += attempts;
        if !self.is_paused {
            // One that comes long after the last is another one.
            let is_same = |(until, pause): &(Instant, Duration)| now.duration_since(*until) < *pause;
            let pause =
                self.pause.filter(is_same).map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(LAST_PAUSE));
            (self.pause, self.is_paused) = (Some((now + pause, pause)), true);
        }
        let is_told = self.told.is_some_and(|told| now.duration_since(told) < TELL_PAUSE);
        (!is_told).then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.given_back)
        })
    }

    /// When guests may start again.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.pause.filter(|_| self.is_paused).map(|(until, _)| until)
    }

    /// Ends a pause that is over. Returns whether one was.
    pub(crate) fn end_pause(&mut self, now: Instant) -> bool {
        let is_over = self.paused_until().is_some_and(|until| until <= now);
        self.is_paused &= !is_over;
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_while_something_is_short_and_is_short_again_later() {
        let mut shortages = Shortages::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            shortages.note(1, false, now);
            // Another slot met the same.
            shortages.note(1, false, now + FIRST_PAUSE / 2);
            let until = shortages.paused_until().expect("nothing starts");
            pauses.push((until - now).as_millis());
            assert!(!shortages.end_pause(until - Duration::from_nanos(1)));
            assert!(shortages.end_pause(until) && !shortages.end_pause(until));
            now = until + Duration::from_millis(1);
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        now += LAST_PAUSE;
        shortages.note(1, false, now);
        assert_eq!(shortages.paused_until(), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn the_end_of_a_guest_makes_the_pauses_short_again() {
        let mut shortages = Shortages::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            shortages.note(1, false, now);
            now = shortages.paused_until().expect("nothing starts");
            assert!(shortages.end_pause(now));
        }
        // Between two pauses.
        shortages.note(1, true, now);
        assert_eq!(shortages.paused_until(), Some(now + FIRST_PAUSE));
        // Within one.
        assert!(shortages.end_pause(now + FIRST_PAUSE));
        shortages.note(1, false, now + FIRST_PAUSE);
        assert_eq!(shortages.paused_until(), Some(now + 3 * FIRST_PAUSE));
        shortages.note(0, true, now + FIRST_PAUSE);
        assert_eq!(shortages.paused_until(), Some(now + 2 * FIRST_PAUSE));
    }

    #[test]
    fn the_log_tells_of_many_shortages_once_in_a_few_seconds() {
        let mut shortages = Shortages::default();
        let now = Instant::now();
        assert_eq!(shortages.note(0, false, now), None);
        assert_eq!(shortages.note(2, false, now), Some(2));
        assert_eq!(shortages.note(1, false, now + TELL_PAUSE / 2), None);
        assert_eq!(shortages.note(3, false, now + TELL_PAUSE), Some(4));
    }
}
