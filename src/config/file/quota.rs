//! Quotas, of components and of fairness keys.

use super::keys::QUOTA_KEYS;
use super::section::{MANY, Section};
use crate::config::units::parse_duration;
use crate::model::{MAX_SUBMITS, Quota, Rate};

impl Section<'_> {
    /// Reads the quota under a key.
    pub(super) fn quota(&self, key: &str) -> Option<Quota> {
        let quota = self.table(key, &QUOTA_KEYS)?;
        let submits = quota.string("submits").map(parse_submits);
        Some(Quota {
            unfinished: quota.integer("unfinished", 0..=MANY),
            stored_bytes: quota.size("stored-bytes"),
            submits: submits.and_then(|submits| quota.accept("submits", submits)),
        })
    }
}

/// Reads submits per time: `600/1m`.
fn parse_submits(text: &str) -> Result<Rate, String> {
    let malformed = || format!("`{text}` is not a number of submits per time such as `600/1m`");
    let (limit, window) = text.split_once('/').ok_or_else(malformed)?;
    let limit: u32 = limit.trim().parse().map_err(|_| malformed())?;
    if limit == 0 || limit > MAX_SUBMITS {
        return Err(format!("`{text}` is not from 1 to {MAX_SUBMITS} submits per time"));
    }
    let window = parse_duration(window)?;
    if window.is_zero() {
        return Err(format!("`{text}` is a number of submits in no time"));
    }
    Ok(Rate { limit, window })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn submits_are_a_number_per_time() {
        let rate = |limit, seconds| Ok(Rate { limit, window: Duration::from_secs(seconds) });
        assert_eq!(parse_submits("600/1m"), rate(600, 60));
        assert_eq!(parse_submits("1 / 1h30m"), rate(1, 5400));
        for bad in ["600", "600/", "/1m", "1.5/1m", "0/1m", "1/0s", "1000001/1s", "5/60", "x/1m", "-1/1m"] {
            assert!(parse_submits(bad).is_err(), "{bad}");
        }
    }
}
