//! The usage by hour.

use super::{Service, ServiceError, UsageDocument};
use crate::model::{Glob, UnixMicros, UsageSums};
use crate::store::{UsageBy, UsageQuery, UsageRow};

/// More groups of usage are not put together.
const MOST_GROUPS: usize = 200_000;

/// A question about usage.
#[derive(Debug, Clone)]
pub struct UsageRequest {
    /// The hours begin with that of this moment.
    pub since: UnixMicros,
    /// They end with the one that ends at this moment, or after it; `None` is the present one.
    pub until: Option<UnixMicros>,
    /// Only that of components whose names fit one of these patterns; empty means of all.
    pub components: Vec<String>,
    /// Only that of fairness keys that fit one of these patterns; empty means of all.
    pub fairness_keys: Vec<String>,
    /// The marks by which lines are told apart.
    pub by: UsageBy,
    /// The order of the lines.
    pub order: UsageOrder,
    /// At most this many lines, the first; `None` means all.
    pub limit: Option<usize>,
}

/// The order of lines of usage: the greatest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "what is compared")]
pub enum UsageOrder {
    #[default]
    Cpu,
    Memory,
    Calls,
    Failures,
    /// By hour, component and key instead, in rising order.
    Hour,
}

/// The answer to a question about usage.
#[derive(Debug)]
pub struct UsageReport {
    /// The beginning of the first hour.
    pub since: UnixMicros,
    /// The end of the last one.
    pub until: UnixMicros,
    /// A document for each line.
    pub lines: Vec<UsageDocument>,
    /// The sums of all lines, also of those that are left out.
    pub total: UsageSums,
    /// How many lines are left out.
    pub left_out: usize,
}

impl Service {
    /// Sums up the usage of some hours.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Invalid`] if the hours end before they begin, or if there are too many lines.
    pub fn usage(&self, request: &UsageRequest) -> Result<UsageReport, ServiceError> {
        let UsageRequest { since, until, components, fairness_keys, by, order, limit } = request;
        let until = until.unwrap_or_else(|| self.clock().now());
        // The last hour is whole.
        let since = UnixMicros::of_hour(since.hour());
        let until = UnixMicros::of_hour(UnixMicros(until.0.saturating_sub(1)).hour() + 1);
        if until <= since {
            return Err(ServiceError::invalid(format!(
                "the hours end at {until}, before they begin at {since}"
            )));
        }
        let globs = |patterns: &[String]| patterns.iter().map(|pattern| Glob::new(pattern)).collect();
        let query = UsageQuery {
            since,
            until: Some(until),
            components: globs(components),
            fairness_keys: globs(fairness_keys),
            by: *by,
            max: MOST_GROUPS,
        };
        let mut rows = self.existing()?.ask(|store| store.usage(&query))?;
        if rows.len() > MOST_GROUPS {
            let message = format!("there are more than {MOST_GROUPS} lines of usage");
            let remedy = "ask for fewer hours, for fewer components or keys, or for sums by less";
            return Err(ServiceError::invalid(message).with_remedy(remedy));
        }
        let mut total = UsageSums::default();
        rows.iter().for_each(|row| total.add(&row.sums));
        if let Some(figure) = order.figure() {
            // Equal ones stay in the order of their names.
            rows.sort_by_key(|row| std::cmp::Reverse(figure(row)));
        }
        let left_out = limit.map_or(0, |limit| rows.len().saturating_sub(limit));
        rows.truncate(rows.len() - left_out);
        let lines = rows.into_iter().map(UsageDocument::from).collect();
        Ok(UsageReport { since, until, lines, total, left_out })
    }
}

impl UsageOrder {
    /// The figure that is compared.
    fn figure(self) -> Option<fn(&UsageRow) -> u64> {
        match self {
            Self::Cpu => Some(|row| row.sums.bill.cpu_micros),
            Self::Memory => Some(|row| row.sums.bill.memory_byte_seconds),
            Self::Calls => Some(|row| row.sums.calls),
            Self::Failures => Some(|row| row.sums.failures),
            Self::Hour => None,
        }
    }
}
