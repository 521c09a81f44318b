//! Limits as a flag takes them.

use super::problem::{in_backticks, nearest};
use super::units::{parse_flag_duration, parse_size};
use crate::model::{LIMITS, LimitKind, LimitUnit, SubmitLimits};

/// Reads `KEY=VALUE`, a limit of one submit in the units of the configuration; a bare number of a time is seconds.
///
/// # Errors
///
/// A message without the name of the flag.
pub fn parse_limit(text: &str) -> Result<(LimitKind, u64), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err("expected `KEY=VALUE`, for example `cpu=50ms`".to_owned());
    };
    let known = || LIMITS.iter().filter(|limit| SubmitLimits::can_set(limit.kind));
    let Some(limit) = known().find(|limit| limit.key == key) else {
        if LIMITS.iter().any(|limit| limit.key == key) {
            return Err(format!("a submit can't set the limit `{key}`"));
        }
        let keys = || known().map(|limit| limit.key);
        return Err(match nearest(key, keys()) {
            Some(near) => format!("unknown limit `{key}` (did you mean `{near}`?)"),
            None => format!("unknown limit `{key}` (known: {})", in_backticks(keys())),
        });
    };
    let most = match limit.unit {
        LimitUnit::Time => u64::try_from(parse_flag_duration(value)?.as_nanos()).unwrap_or(u64::MAX),
        LimitUnit::Bytes => parse_size(value)?,
        LimitUnit::Count | LimitUnit::Positive | LimitUnit::OfGrant => {
            value.trim().parse().map_err(|_| format!("`{value}` is not a whole number"))?
        }
    };
    match most < limit.unit.least() {
        true => Err(format!("`{key}` is zero: nothing could ever run")),
        false => Ok((limit.kind, most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_the_unit_of_its_row() {
        assert_eq!(parse_limit("cpu=50ms"), Ok((LimitKind::Cpu, 50_000_000)));
        assert_eq!(parse_limit("time=2"), Ok((LimitKind::Time, 2_000_000_000)));
        assert_eq!(parse_limit("memory=16MiB"), Ok((LimitKind::Memory, 16 << 20)));
        assert_eq!(parse_limit("children=0"), Ok((LimitKind::Children, 0)));
        let wrong = |text: &str| parse_limit(text).expect_err("refused");
        assert_eq!(wrong("memry=1MiB"), "unknown limit `memry` (did you mean `memory`?)");
        assert!(
            wrong("zebra=1").starts_with("unknown limit `zebra` (known: `time`, `cpu`, "),
            "{}",
            wrong("zebra=1")
        );
        assert_eq!(wrong("arguments=1KiB"), "a submit can't set the limit `arguments`");
        assert_eq!(wrong("scratch=1KiB"), "a submit can't set the limit `scratch`");
        assert_eq!(wrong("time=0"), "`time` is zero: nothing could ever run");
        assert_eq!(wrong("fuel=0"), "`fuel` is zero: nothing could ever run");
        for bad in ["cpu", "cpu=", "cpu=fast", "memory=1.5MiB", "files=-1", "files=1MiB"] {
            assert!(parse_limit(bad).is_err(), "{bad}");
        }
    }
}
