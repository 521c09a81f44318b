//! Time: one unit, and a clock that tests can hold.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

const HOUR_MICROS: i64 = 3_600_000_000;

/// A moment: microseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// This moment plus `duration`; saturates at the end of time.
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// The moment this long before it.
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The number of its hour since 1970, in UTC.
    pub fn hour(self) -> i64 {
        self.0.div_euclid(HOUR_MICROS)
    }

    /// The beginning of the hour with a number.
    pub fn of_hour(hour: i64) -> Self {
        Self(hour.saturating_mul(HOUR_MICROS))
    }

    /// Reads a date, which means its beginning in UTC, or an RFC 3339 text.
    pub fn parse(text: &str) -> Option<Self> {
        let date = || text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        let is_date = text.len() == "2026-11-01".len();
        let moment = if is_date { date()?.timestamp() } else { text.parse::<jiff::Timestamp>().ok()? };
        Some(Self(moment.as_microsecond()))
    }

    /// The moment as RFC 3339 text with microseconds, in UTC.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => format!("{timestamp:.6}"),
            // Out of jiff's range (years -9999 to 9999): a number beats a lie.
            Err(_) => self.0.to_string(),
        }
    }

    /// The moment as RFC 3339 text with whole seconds, in UTC, for tables.
    pub fn to_seconds(self) -> String {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(timestamp) => format!("{timestamp:.0}"),
            Err(_) => self.0.to_string(),
        }
    }
}

/// A moment as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long ago.
    Ago(Duration),
    /// Then.
    At(UnixMicros),
}

impl Moment {
    /// The moment that is meant now.
    pub fn before(self, now: UnixMicros) -> UnixMicros {
        match self {
            Self::Ago(ago) => now.minus(ago),
            Self::At(at) => at,
        }
    }
}

/// As [`to_rfc3339`](UnixMicros::to_rfc3339).
impl Serialize for UnixMicros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_rfc3339())
    }
}

impl fmt::Display for UnixMicros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// The source of time: the only clock of runners and embedded stores, so that a test can hold it.
pub trait Clock: Send + Sync + 'static {
    /// The present moment. Never goes back within one process.
    fn now(&self) -> UnixMicros;
}

/// The machine's clock, made monotonic: the wall clock is read once, then the time since boot adds to it,
/// also while suspended. A step of the wall clock can neither expire leases nor turn a history around.
#[derive(Debug)]
pub struct SystemClock {
    started: Duration,
    started_at: UnixMicros,
}

/// The time since boot, with time in suspension.
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl SystemClock {
    /// Reads the wall clock once and counts on from there.
    pub fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { started: since_boot(), started_at: UnixMicros(0).plus(since_epoch) }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMicros {
        self.started_at.plus(since_boot().saturating_sub(self.started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_with_microseconds() {
        assert_eq!(UnixMicros(1_700_000_000_000_001).to_rfc3339(), "2023-11-14T22:13:20.000001Z");
        assert_eq!(UnixMicros(0).to_rfc3339(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn dates_and_times_are_read() {
        let time = |text| UnixMicros::parse(text).map(UnixMicros::to_rfc3339);
        let midnight = Some("2026-11-01T00:00:00.000000Z".to_owned());
        assert_eq!(time("2026-11-01"), midnight);
        assert_eq!(time("2026-11-01T01:00:00+01:00"), midnight);
        for bad in ["", "2026-11-31", "2026-11-01T25:00:00Z", "2026-11-01T01:00:00", "tomorrow--"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_is_in_the_hour_that_has_begun() {
        let hour = UnixMicros::of_hour(472_222);
        assert_eq!(hour.to_rfc3339(), "2023-11-14T22:00:00.000000Z");
        assert_eq!(
            (hour.hour(), UnixMicros(hour.0 - 1).hour(), UnixMicros(-1).hour()),
            (472_222, 472_221, -1)
        );
    }

    #[test]
    fn the_clock_counts_the_time_since_boot_from_one_look_at_the_wall() {
        let clock = SystemClock::new();
        let (mut last, boot) = (clock.now(), since_boot());
        for _ in 0..1000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        // As if the wall clock had been set by a day since the start.
        let moved = SystemClock {
            started: clock.started,
            started_at: clock.started_at.plus(Duration::from_secs(86_400)),
        };
        let counted = moved.now().since(moved.started_at);
        assert!(counted >= boot.saturating_sub(clock.started), "nothing but the time since boot counts");
        assert!(counted <= since_boot().saturating_sub(clock.started));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMicros(i64::MAX).plus(Duration::from_secs(1)), UnixMicros(i64::MAX));
        assert_eq!(UnixMicros(1).since(UnixMicros(5)), Duration::ZERO);
        assert_eq!(UnixMicros(5).since(UnixMicros(1)), Duration::from_micros(4));
    }
}
