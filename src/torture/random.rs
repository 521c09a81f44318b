//! Choices that a seed decides.

use std::ops::RangeInclusive;
use std::time::Duration;

/// SplitMix64: small, and good enough to choose victims and moments.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Everything that follows hangs on `seed`, and on the `stream`: streams of
    /// one seed have nothing to do with each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.number();
        random
    }

    /// Draws any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number within the range, each as likely as any other.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let width = range.end() - range.start() + 1;
        range.start() + self.number() % width
    }

    /// Returns true in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.within(1..=100) <= percent
    }

    /// Draws the index of one of `count` things; `None` of nothing.
    pub fn index(&mut self, count: usize) -> Option<usize> {
        let last = u64::try_from(count).ok()?.checked_sub(1)?;
        usize::try_from(self.within(0..=last)).ok()
    }

    /// Draws one of these; `None` of nothing.
    pub fn choose<T: Copy>(&mut self, among: &[T]) -> Option<T> {
        self.index(among.len()).map(|index| among[index])
    }

    /// Draws a pause between events that come by chance, `mean` apart on average and
    /// at most five times that.
    pub fn pause(&mut self, mean: Duration) -> Duration {
        // From above 0 to 1, in the 53 bits that a double holds.
        let share = ((self.number() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        mean.mul_f64((-share.ln()).min(5.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_streams_differ() {
        let draw = |seed, stream| -> Vec<u64> {
            let mut random = Random::new(seed, stream);
            (0..10).map(|_| random.within(0..=99)).collect()
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn pauses_have_the_mean_that_was_asked_for() {
        let mut random = Random::new(1, 1);
        let mean = Duration::from_millis(400);
        let pauses: Vec<_> = (0..10_000).map(|_| random.pause(mean)).collect();
        let average = pauses.iter().sum::<Duration>() / 10_000;
        assert!((380..420).contains(&average.as_millis()), "{average:?}");
        assert!(pauses.iter().all(|pause| *pause <= mean * 5));
    }

    #[test]
    fn ranges_have_both_their_ends() {
        let mut random = Random::new(1, 1);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| random.within(3..=5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(random.index(0), None);
        assert_eq!(random.index(1), Some(0));
    }
}
