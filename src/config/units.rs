//! Durations and sizes as people write them.

use std::time::Duration;

/// Examples of durations, for messages.
pub const DURATION_EXAMPLES: &str = "`30s`, `1m30s` or `500ms`";

/// Examples of sizes, for messages.
pub const SIZE_EXAMPLES: &str = "`64KiB`, `256MiB` or `1GiB`";

/// The longest duration that is taken: a year. Longer ones are mistakes, and would overflow somewhere.
const MAX_DURATION: Duration = Duration::from_secs(366 * DAY.as_secs());

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration with units: `30s`, `1m30s`, `500ms`, `1.5h`, `7d`.
///
/// # Errors
///
/// A message without the name of the flag or key.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_duration_up_to(MAX_DURATION, "a year", text)
}

/// Reads how long something is kept: a duration, of up to a hundred years.
///
/// # Errors
///
/// A message without the name of the flag or key.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    parse_duration_up_to(MAX_DURATION * 100, "a hundred years", text)
}

fn parse_duration_up_to(most: Duration, called: &str, text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let unit_missing = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if unit_missing {
        return Err(format!("`{text}` has no unit: write `{text}s` for seconds"));
    }
    // The calendar form (`P1DT…`) that the library takes as well is not ours.
    let looks_right = text.starts_with(|c: char| c.is_ascii_digit());
    let malformed = || format!("`{text}` is not a duration such as {DURATION_EXAMPLES}");
    // A day may have 23 hours in a calendar, so the library does without; ours has 24.
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (days, rest) = text.split_once('d').filter(|(days, _)| is_number(days)).unwrap_or(("0", text));
    let days: u32 = days.parse().map_err(|_| malformed())?;
    let signed: jiff::SignedDuration = match rest.trim_start() {
        "" if looks_right => jiff::SignedDuration::ZERO,
        rest if looks_right => rest.parse().map_err(|_| malformed())?,
        _ => return Err(malformed()),
    };
    let duration = Duration::try_from(signed).map_err(|_| format!("`{text}` is negative"))?;
    let duration = duration.saturating_add(DAY.saturating_mul(days));
    if duration > most { Err(format!("`{text}` is longer than {called}")) } else { Ok(duration) }
}

/// Reads a duration as a flag takes it: with units, or a bare number of seconds.
///
/// # Errors
///
/// A message without the name of the flag.
pub fn parse_flag_duration(text: &str) -> Result<Duration, String> {
    let bare = text.trim().parse::<f64>().ok().filter(|_| !text.contains(['e', 'E', 'n', 'N']));
    match bare {
        Some(seconds) if seconds < 0.0 => Err(format!("`{text}` is negative")),
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(duration) if duration <= MAX_DURATION => Ok(duration),
            _ => Err(format!("`{text}` is longer than a year")),
        },
        None => parse_duration(text),
    }
}

/// Reads a size in bytes: a bare number, or one with a unit (`KiB` is 1024 bytes, `KB` is 1000).
///
/// # Errors
///
/// A message without the name of the flag or key.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let malformed = || format!("`{text}` is not a size such as {SIZE_EXAMPLES}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "m" | "g" | "t" => {
            let unit = unit.trim_start().to_ascii_uppercase();
            return Err(format!("`{text}` has half a unit: write `{number}{unit}iB`"));
        }
        _ => return Err(malformed()),
    };
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is more than 16 EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("7d"), Ok(DAY * 7));
        assert_eq!(parse_duration("1d12h"), Ok(DAY * 3 / 2));
        assert_eq!(parse_duration("5 seconds"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_duration("1d 30m"), Ok(DAY + Duration::from_secs(1800)));
        assert_eq!(parse_duration("30").unwrap_err(), "`30` has no unit: write `30s` for seconds");
        for bad in [
            "",
            "s",
            "fast",
            "-3s",
            "PT3S",
            "3 parsecs",
            "9999999h",
            "367d",
            "d",
            "1.5d",
            "d5h",
            "1d2d",
            "2h1d",
            "1d-3h",
            "3days",
        ] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_long() {
        assert_eq!(parse_age("3650d"), Ok(DAY * 3650));
        assert_eq!(parse_age("30").unwrap_err(), "`30` has no unit: write `30s` for seconds");
        for bad in ["40000d", "99999999999d", "5 weeks"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_take_bare_seconds() {
        assert_eq!(parse_flag_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_flag_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_flag_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_flag_duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["-1", "nan", "inf", "1e9", "999999999999"] {
            assert!(parse_flag_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_know_both_kinds_of_units() {
        assert_eq!(parse_size("0"), Ok(0));
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("10 MB"), Ok(10_000_000));
        assert_eq!(parse_size("1gib"), Ok(1 << 30));
        assert_eq!(parse_size("64M").unwrap_err(), "`64M` has half a unit: write `64MiB`");
        for bad in ["", "MiB", "-1", "1.5MiB", "3 apples", "99999999999TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
