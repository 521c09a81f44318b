//! Which failures are worth another attempt, and how long it waits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Failure, FailureKind, InvocationId};

/// The policy for failed attempts of a task. By default none is repeated.
///
/// It never applies to what nobody wants any more (cancelled, skipped) or what leases repeat (lost).
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The kinds of failure that are followed by another attempt.
    pub on: Vec<FailureKind>,
    /// The cases of returned errors that are retried; `None` is all errors. What has no cases matches none.
    pub returned_cases: Option<Arc<[Box<str>]>>,
    /// The pause after the first attempt.
    pub first_delay: Duration,
    /// Each further pause is the last one times this, at least 1.
    pub factor: f64,
    /// The longest pause.
    pub max_delay: Duration,
    /// The random share of a pause, from 0 to 1: a pause of `d` lasts from `d * (1 - jitter)` to `d`.
    pub jitter: f64,
    /// The retries that a runner spends on the task; `None` is as many as there are attempts for.
    pub budget: Option<RetryBudget>,
}

/// At most so many retries within so much time, on each runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// The most retries, of all invocations of the task together.
    pub retries: u32,
    /// Within any time as long as this.
    pub window: Duration,
}

/// The window of a budget, if nobody says otherwise.
pub const DEFAULT_BUDGET_WINDOW: Duration = Duration::from_secs(60);

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            on: Vec::new(),
            returned_cases: None,
            first_delay: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(5 * 60),
            jitter: 0.5,
            budget: None,
        }
    }
}

impl RetryPolicy {
    /// Returns the pause after a failed attempt, from 1; `None` if the failure is final.
    pub fn next(&self, failure: &Failure, attempt: u32, max_attempts: u32, random: f64) -> Option<Duration> {
        (attempt < max_attempts && self.applies_to(failure)).then(|| self.delay(attempt, random))
    }

    /// Whether a failure is of a kind, and a case, that is retried.
    pub fn applies_to(&self, failure: &Failure) -> bool {
        let is_case = |cases: &Arc<[Box<str>]>| {
            case_of(failure).is_some_and(|case| cases.iter().any(|one| **one == *case))
        };
        failure.kind.is_retryable()
            && self.on.contains(&failure.kind)
            && (failure.kind != FailureKind::Returned || self.returned_cases.as_ref().is_none_or(is_case))
    }

    /// Returns the pause after a failed attempt. `random` is from 0 (the longest) to 1 (the shortest).
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        if self.first_delay.is_zero() {
            return Duration::ZERO;
        }
        // `max` and `min` pass over a NaN, and infinity is fine: the pause is within its bounds.
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.first_delay.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        let capped = grown.min(self.max_delay.as_secs_f64());
        let taken_off = share(self.jitter) * share(random);
        let pause = Duration::try_from_secs_f64(capped * (1.0 - taken_off));
        pause.unwrap_or(self.max_delay).min(self.max_delay)
    }
}

/// A number brought between 0 and 1; what is no number is 0.
fn share(number: f64) -> f64 {
    if number > 0.0 { number.min(1.0) } else { 0.0 }
}

/// The case of a returned error: its JSON is `"case"` or `{"case": …}`.
///
/// The JSON alone can't tell a case from a string, or from a record of one field: whoever knows the type
/// leaves no cases in the policy of a task whose error has none.
fn case_of(failure: &Failure) -> Option<String> {
    match serde_json::from_str(failure.error.as_ref()?.get()).ok()? {
        Value::String(case) => Some(case),
        Value::Object(object) if object.len() == 1 => object.into_iter().next().map(|(case, _)| case),
        _ => None,
    }
}

/// Returns a number from 0 to 1 that is fixed for each attempt and as good as random otherwise: pauses of
/// invocations that failed together spread out, and tests can foretell them.
pub fn spread(id: InvocationId, attempt: u32) -> f64 {
    // FNV-1a takes in the bytes; the finaliser of SplitMix64 makes every bit depend on every other.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in id.as_bytes().iter().copied().chain(attempt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    // The 53 bits that a double holds exactly.
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn on(kinds: &[FailureKind]) -> RetryPolicy {
        RetryPolicy { on: kinds.to_vec(), ..RetryPolicy::default() }
    }

    fn returned(json: &str) -> Failure {
        Failure::returned(RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn nothing_is_retried_by_default() {
        for kind in FailureKind::retryable() {
            assert_eq!(RetryPolicy::default().next(&Failure::new(kind, ""), 1, 9, 0.0), None);
        }
    }

    #[test]
    fn listed_kinds_are_retried_while_attempts_are_left() {
        let policy = on(&[FailureKind::TimedOut]);
        let failure = Failure::timed_out("too slow");
        assert_eq!(policy.next(&failure, 1, 3, 0.0), Some(SECOND));
        assert_eq!(policy.next(&failure, 2, 3, 0.0), Some(2 * SECOND));
        assert_eq!(policy.next(&failure, 3, 3, 0.0), None);
        assert_eq!(policy.next(&failure, 4, 3, 0.0), None);
        assert_eq!(policy.next(&Failure::new(FailureKind::Trapped, ""), 1, 3, 0.0), None);
    }

    #[test]
    fn what_nobody_wants_is_never_retried() {
        use FailureKind as K;
        let policy = on(&[K::Cancelled, K::Skipped, K::Lost]);
        for kind in [K::Cancelled, K::Skipped, K::Lost] {
            assert!(!policy.applies_to(&Failure::new(kind, "")), "{kind:?}");
        }
    }

    #[test]
    fn cases_choose_among_returned_errors() {
        let cases = Some(Arc::from([Box::from("unavailable"), Box::from("busy")]));
        let policy =
            RetryPolicy { returned_cases: cases, ..on(&[FailureKind::Returned, FailureKind::Trapped]) };
        for json in [r#""unavailable""#, r#"{"busy": 3}"#, r#" {"busy": {"a": 1, "b": 2}} "#] {
            assert!(policy.applies_to(&returned(json)), "{json}");
        }
        for json in [r#""forbidden""#, r#"{"busy": 1, "b": 2}"#, "{}", "null", "3", r#"["busy"]"#] {
            assert!(!policy.applies_to(&returned(json)), "{json}");
        }
        // Cases are about returned errors alone.
        assert!(policy.applies_to(&Failure::new(FailureKind::Trapped, "")));
        assert!(!policy.applies_to(&Failure::new(FailureKind::Returned, "no payload")));
        let none = RetryPolicy { returned_cases: Some(Arc::from([])), ..policy };
        assert!(!none.applies_to(&returned(r#""unavailable""#)));
    }

    #[test]
    fn pauses_grow_up_to_the_cap() {
        let policy = RetryPolicy { max_delay: 5 * SECOND, ..RetryPolicy::default() };
        let pauses: Vec<_> = (1..=5).map(|attempt| policy.delay(attempt, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert_eq!(policy.delay(2, 1.0), SECOND);
        assert_eq!(RetryPolicy { jitter: 1.0, ..policy.clone() }.delay(9, 1.0), Duration::ZERO);
        assert_eq!(RetryPolicy { jitter: 0.0, ..policy.clone() }.delay(9, 1.0), 5 * SECOND);
        assert_eq!(
            RetryPolicy { first_delay: Duration::ZERO, ..policy }.delay(u32::MAX, 0.5),
            Duration::ZERO
        );
    }

    #[test]
    fn the_spread_is_the_same_for_the_same_attempt_and_even_otherwise() {
        let id = InvocationId::generate();
        assert_eq!(spread(id, 1).to_bits(), spread(id, 1).to_bits());
        assert_ne!(spread(id, 1).to_bits(), spread(id, 2).to_bits());
        let mut tenths = [0_u32; 10];
        for _ in 0..10_000 {
            tenths[(spread(InvocationId::generate(), 1) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|count| (800..1200).contains(count)), "{tenths:?}");
    }

    fn any_policy() -> impl Strategy<Value = RetryPolicy> {
        (0..=u64::MAX / 2, 0..=u64::MAX / 2, any::<f64>(), any::<f64>()).prop_map(
            |(first, max, factor, jitter)| RetryPolicy {
                first_delay: Duration::from_nanos(first),
                max_delay: Duration::from_nanos(max),
                factor,
                jitter,
                ..RetryPolicy::default()
            },
        )
    }

    proptest! {
        #[test]
        fn no_pause_exceeds_the_cap_or_overflows(
            policy in any_policy(),
            attempt in any::<u32>(),
            random in any::<f64>(),
        ) {
            prop_assert!(policy.delay(attempt, random) <= policy.max_delay);
        }

        #[test]
        fn bounds_never_shrink_and_every_pause_is_within_them(
            first in 1..100_000_u64,
            max in 1..10_000_000_u64,
            factor in 1.0..10.0,
            jitter in 0.0..=1.0,
            attempt in 1..200_u32,
            random in 0.0..=1.0,
        ) {
            let policy = RetryPolicy {
                first_delay: Duration::from_millis(first),
                max_delay: Duration::from_millis(max),
                factor,
                jitter,
                ..RetryPolicy::default()
            };
            let (longest, shortest) = (policy.delay(attempt, 0.0), policy.delay(attempt, 1.0));
            prop_assert!(shortest <= policy.delay(attempt, random));
            prop_assert!(policy.delay(attempt, random) <= longest);
            prop_assert!(longest <= policy.delay(attempt + 1, 0.0));
            prop_assert!(shortest <= policy.delay(attempt + 1, 1.0));
            let least = longest.as_secs_f64() * (1.0 - jitter);
            prop_assert!((shortest.as_secs_f64() - least).abs() < 1e-6);
        }
    }
}
