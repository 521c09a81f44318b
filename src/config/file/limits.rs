//! The `limits` of a component or a task.

use std::time::Duration;

use toml::de::DeTable;

use super::reader::{Reader, is_unlimited};
use crate::model::{LIMIT_KEYS, LIMITS, Limit, LimitKind, LimitUnit};

impl Reader<'_> {
    /// The limits that a section names.
    pub(super) fn limits(&mut self, table: &DeTable<'_>, section: &str) -> Vec<(LimitKind, Option<u64>)> {
        let Some(limits) = self.table(table, section, "limits") else { return Vec::new() };
        let section = format!("{section}.limits");
        self.refuse_unknown_keys(limits, &section, &LIMIT_KEYS);
        LIMITS
            .iter()
            .filter_map(|limit| Some((limit.kind, self.limit_of(limits, &section, limit)?)))
            .collect()
    }

    fn limit_of(&mut self, table: &DeTable<'_>, section: &str, limit: &Limit) -> Option<Option<u64>> {
        if limit.default.is_none() && is_unlimited(table, limit.key) {
            return Some(None);
        }
        let most = match limit.unit {
            LimitUnit::Time => {
                let time: Duration = self.duration(table, section, limit.key)?;
                if time.is_zero() {
                    let offset = table.get(limit.key).map_or(0, |value| value.span().start);
                    let message = format!("`{section}.{}` is zero: nothing could ever run", limit.key);
                    self.problem(offset, message);
                }
                u64::try_from(time.as_nanos()).ok()
            }
            LimitUnit::Bytes => self.size(table, section, limit.key),
            LimitUnit::Count => self.integer(table, section, limit.key, 0, i64::MAX as u64),
            LimitUnit::Positive => self.positive(table, section, limit.key),
            LimitUnit::OfGrant => None,
        };
        most.map(Some)
    }
}
