//! A bound for the lines that somebody else makes us log.

use std::time::{Duration, Instant};

/// The lines about one component that are logged in a minute.
const LINES: u64 = 60;

/// How long those count.
const WINDOW: Duration = Duration::from_secs(60);

/// The lines about one component: so many in a minute are logged, the rest is counted.
#[derive(Debug, Default)]
pub struct LineBudget {
    /// The end of the minute, once it has begun.
    until: Option<Instant>,
    lines: u64,
}

impl LineBudget {
    /// Ends a minute that is over. Returns the number of lines that were left out in it, if there were any.
    pub fn end(&mut self, now: Instant) -> Option<u64> {
        self.until.filter(|until| *until <= now)?;
        self.finish()
    }

    /// Ends the minute, over or not, as [`end`](Self::end).
    pub fn finish(&mut self) -> Option<u64> {
        let Self { lines, .. } = std::mem::take(self);
        lines.checked_sub(LINES).filter(|left_out| *left_out > 0)
    }

    /// Whether a minute has begun and is not over.
    pub fn is_idle(&self) -> bool {
        self.until.is_none()
    }

    /// Takes the last line off the count: it was logged all the same.
    pub fn uncount(&mut self) {
        self.lines = self.lines.saturating_sub(1);
    }

    /// Counts a line. Returns whether it is to be logged.
    pub fn take(&mut self, now: Instant) -> bool {
        self.until.get_or_insert(now + WINDOW);
        self.lines += 1;
        self.lines <= LINES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_logged_in_a_minute_and_the_rest_is_counted() {
        let (mut budget, now) = (LineBudget::default(), Instant::now());
        for minute in 0..3 {
            let now = now + WINDOW * minute;
            assert!(budget.is_idle());
            let logged = (0..LINES + 7).filter(|_| budget.take(now)).count();
            assert_eq!(logged as u64, LINES);
            assert_eq!(budget.end(now + WINDOW - Duration::from_nanos(1)), None);
            assert_eq!((budget.end(now + WINDOW), budget.end(now + WINDOW)), (Some(7), None));
        }
        // Nothing was left out.
        assert!(budget.take(now));
        assert_eq!(budget.finish(), None);
        assert!(budget.is_idle());
    }
}
