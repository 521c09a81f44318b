//! Quotas: how much the invocations of a component or a fairness key may take of a store.

use std::fmt;
use std::sync::Arc;

use super::outcome::{Failure, FailureKind};
use super::rules::Rate;
use super::shown::{size, span};
use super::time::UnixMicros;
use super::words::words;

/// The most submits of a quota within its window.
pub const MAX_SUBMITS: u32 = 1_000_000;

words! {
    /// The holders whose invocations a quota counts together.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum HolderKind {
        /// A component: the invocations of its tasks.
        Component = "component",
        /// A fairness key: the invocations that have it.
        Key = "key",
    }
}

words! {
    /// The quantity that a quota bounds.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum QuotaKind {
        /// Invocations that are not final.
        Unfinished = "unfinished",
        /// Bytes of arguments and outcomes.
        StoredBytes = "stored-bytes",
        /// New invocations per time.
        Submits = "submits",
    }
}

/// The bounds of a holder; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Invocations that are not final.
    pub unfinished: Option<u64>,
    /// Bytes of the arguments of all invocations, and of the outcomes of the final ones.
    pub stored_bytes: Option<u64>,
    /// Invocations that are created within a time.
    pub submits: Option<Rate>,
}

/// The counts of a holder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Invocations that are not final.
    pub unfinished: i64,
    /// Bytes of the arguments of all invocations, and of the outcomes of the final ones.
    pub bytes: i64,
}

impl Held {
    /// Adds a change.
    pub fn add(&mut self, change: Self) {
        self.unfinished += change.unfinished;
        self.bytes += change.bytes;
    }
}

/// The tokens that new invocations take; they are filled again at an even rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The moment at which all tokens are there again, in nanoseconds: those of microseconds would be too coarse for
    /// the greatest rates.
    pub full_at: i64,
}

impl Bucket {
    /// The present moment in the units of a bucket.
    pub fn moment(now: UnixMicros) -> i64 {
        now.0.saturating_mul(1_000)
    }

    /// The time in which one token is filled again.
    pub fn cost(rate: Rate) -> i64 {
        let cost = rate.window.as_nanos().div_ceil(u128::from(rate.limit.max(1)));
        i64::try_from(cost).unwrap_or(i64::MAX)
    }

    /// Returns the number of tokens that are taken, rounded up.
    pub fn taken(self, rate: Rate, now: UnixMicros) -> u64 {
        let missing = self.full_at.saturating_sub(Self::moment(now)).max(0);
        u64::try_from(missing).unwrap_or(0).div_ceil(Self::cost(rate).max(1).unsigned_abs())
    }

    /// Whether there is a token.
    fn has_one(self, rate: Rate, now: UnixMicros) -> bool {
        let cost = Self::cost(rate);
        let missing = self.full_at.saturating_sub(Self::moment(now)).max(0);
        missing.saturating_add(cost) <= cost.saturating_mul(rate.limit.into())
    }

    /// Takes tokens that are filled again within `cost`.
    pub fn take(&mut self, cost: i64, now: UnixMicros) {
        self.full_at = self.full_at.max(Self::moment(now)).saturating_add(cost);
    }
}

impl Quota {
    /// Whether nothing is bounded.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts these bounds over others.
    pub fn over(self, below: Self) -> Self {
        Self {
            unfinished: self.unfinished.or(below.unfinished),
            stored_bytes: self.stored_bytes.or(below.stored_bytes),
            submits: self.submits.or(below.submits),
        }
    }

    /// Returns the first bound that one more invocation would break, whose arguments have so many `bytes`.
    pub fn refuses(&self, held: Held, bucket: Bucket, bytes: usize, now: UnixMicros) -> Option<QuotaKind> {
        let is_over = |most: u64, would_be: i64| would_be > i64::try_from(most).unwrap_or(i64::MAX);
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.unfinished.is_some_and(|most| is_over(most, held.unfinished.saturating_add(1))) {
            return Some(QuotaKind::Unfinished);
        }
        if self.stored_bytes.is_some_and(|most| is_over(most, held.bytes.saturating_add(bytes))) {
            return Some(QuotaKind::StoredBytes);
        }
        if self.submits.is_some_and(|rate| !bucket.has_one(rate, now)) {
            return Some(QuotaKind::Submits);
        }
        None
    }
}

impl Quota {
    /// Whether an outcome of so many bytes may be stored.
    pub fn may_store(&self, held: Held, bytes: i64) -> bool {
        let most = self.stored_bytes.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        most.is_none_or(|most| held.bytes.saturating_add(bytes) <= most)
    }
}

/// A refusal of a new invocation: its holder may have no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverQuota {
    /// Whether the holder is a component or a fairness key.
    pub holder: HolderKind,
    /// Its name.
    pub name: Arc<str>,
    /// The quantity that it has no more room for.
    pub kind: QuotaKind,
    /// Its quota.
    pub quota: Quota,
    /// Its counts.
    pub held: Held,
}

impl OverQuota {
    /// Makes the failure of an invocation for whose outcome, of so many bytes, there is no room.
    pub fn failure(&self, bytes: i64) -> Failure {
        let bytes = size(bytes.max(0).unsigned_abs());
        Failure::new(
            FailureKind::LimitExceeded,
            format!("there is no room for its outcome of {bytes}: {self}"),
        )
    }
}

/// Says why, for people and guests.
impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { holder, name, kind, quota, held } = self;
        let holder = match holder {
            HolderKind::Component => "the component",
            HolderKind::Key => "the fairness key",
        };
        write!(f, "{holder} `{name}` ")?;
        match kind {
            QuotaKind::Unfinished => write!(f, "has {} unfinished invocations", held.unfinished)?,
            QuotaKind::StoredBytes => {
                write!(f, "has {} of arguments and outcomes stored", size(held.bytes.max(0).unsigned_abs()))?;
            }
            QuotaKind::Submits => f.write_str("has had as many submits as it may have for now")?,
        }
        write!(f, " (quota `{}`: ", kind.as_str())?;
        match kind {
            QuotaKind::Unfinished => write!(f, "{}", quota.unfinished.unwrap_or_default())?,
            QuotaKind::StoredBytes => f.write_str(&size(quota.stored_bytes.unwrap_or_default()))?,
            QuotaKind::Submits => {
                quota.submits.map_or(Ok(()), |rate| write!(f, "{} in {}", rate.limit, span(rate.window)))?;
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: UnixMicros = UnixMicros(1_000_000_000);

    fn rate(limit: u32, window: Duration) -> Rate {
        Rate { limit, window }
    }

    #[test]
    fn a_bucket_gives_its_tokens_at_once_and_then_at_an_even_rate() {
        for limit in [1, 3, 7, 600, 999_983] {
            let rate = rate(limit, Duration::from_millis(1_009));
            let quota = Quota { submits: Some(rate), ..Quota::default() };
            let may = |bucket, now| quota.refuses(Held::default(), bucket, 0, now).is_none();
            let mut bucket = Bucket::default();
            for taken in 0..limit {
                assert!(may(bucket, NOW), "{taken} of {limit}");
                bucket.take(Bucket::cost(rate), NOW);
            }
            assert!(!may(bucket, NOW), "{limit}");
            assert_eq!(bucket.taken(rate, NOW), u64::from(limit));
            let one = UnixMicros(NOW.0 + 1 + Bucket::cost(rate) / 1_000);
            assert!(may(bucket, one), "{limit}");
            // All are there again after the window, and never more.
            let later = UnixMicros(NOW.0 + 10 * 1_009_000);
            assert_eq!(bucket.taken(rate, later), 0);
        }
    }

    #[test]
    fn the_first_bound_that_breaks_is_told() {
        let quota = Quota {
            unfinished: Some(2),
            stored_bytes: Some(10),
            submits: Some(rate(1, Duration::from_secs(1))),
        };
        let refuses =
            |unfinished, bytes, more| quota.refuses(Held { unfinished, bytes }, Bucket::default(), more, NOW);
        assert_eq!(refuses(1, 4, 6), None);
        assert_eq!(refuses(2, 10, 6), Some(QuotaKind::Unfinished));
        assert_eq!(refuses(1, 4, 7), Some(QuotaKind::StoredBytes));
        assert_eq!(refuses(-1, -1, 11), None, "what a fold has not seen yet");
        let mut bucket = Bucket::default();
        bucket.take(Bucket::cost(rate(1, Duration::from_secs(1))), NOW);
        assert_eq!(quota.refuses(Held::default(), bucket, 0, NOW), Some(QuotaKind::Submits));
    }

    #[test]
    fn a_refusal_names_the_holder_and_the_quota() {
        let over = OverQuota {
            holder: HolderKind::Component,
            name: "customer-anna".into(),
            kind: QuotaKind::Unfinished,
            quota: Quota { unfinished: Some(1_000), ..Quota::default() },
            held: Held { unfinished: 1_000, bytes: 5 },
        };
        assert_eq!(
            over.to_string(),
            "the component `customer-anna` has 1000 unfinished invocations (quota `unfinished`: 1000)"
        );
        let quota = Quota { submits: Some(rate(600, Duration::from_secs(60))), ..Quota::default() };
        let over = OverQuota { holder: HolderKind::Key, kind: QuotaKind::Submits, quota, ..over };
        let text = "the fairness key `customer-anna` has had as many submits as it may have for now (quota `submits`: 600 in 1m)";
        assert_eq!(over.to_string(), text);
    }
}
