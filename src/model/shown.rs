//! Amounts as people read them, in messages and tables.

use std::time::Duration;

/// Returns a length of time in whole milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Writes a length of time as it is configured: in the largest unit of which it is a whole number.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60)];
    let is_whole = |unit: &u64| seconds > 0 && duration.subsec_nanos() == 0 && seconds.is_multiple_of(*unit);
    match units.iter().find(|(_, unit)| is_whole(unit)) {
        Some((word, unit)) => format!("{}{word}", seconds / unit),
        None => format!("{duration:?}"),
    }
}

/// Writes a number of bytes.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    // So often it can be divided by 1024; beyond the last unit numbers grow.
    match (bytes.max(1).ilog2() / 10).min(4) {
        0 => format!("{bytes} bytes"),
        power => format!(
            "{:.1} {}",
            bytes as f64 / f64::from(1024_u32).powi(power.cast_signed()),
            units[power as usize - 1]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_in_their_largest_whole_unit() {
        for (seconds, text) in
            [(0, "0ns"), (1, "1s"), (60, "1m"), (90, "90s"), (7_200, "2h"), (172_800, "2d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        assert_eq!(span(Duration::from_millis(60_500)), "60.5s");
    }
}
