//! The `retention` table.

use std::time::Duration;

use toml::de::DeTable;

use super::keys::KEEP_KEYS;
use super::reader::{Reader, Value, dotted, is_unlimited};
use crate::config::units::parse_age;
use crate::model::Status;
use crate::store::Keep;

impl Reader<'_> {
    /// Reads how much is kept of each final status.
    pub(super) fn retention(&mut self, top: &DeTable<'_>) -> Vec<Keep> {
        let Some(retention) = self.table(top, "", "retention") else {
            return Vec::new();
        };
        let statuses = || Status::ALL.into_iter().filter(|status| status.is_final());
        let known: Vec<_> = statuses().map(Status::as_str).collect();
        self.refuse_unknown_keys(retention, "retention", &known);
        statuses()
            .filter_map(|status| {
                let value = retention.get(status.as_str())?;
                self.keep(status, value)
            })
            .collect()
    }

    fn keep(&mut self, status: Status, value: &Value<'_>) -> Option<Keep> {
        let section = dotted("retention", status.as_str());
        let table = self.expect_table(value, &section)?;
        self.refuse_unknown_keys(table, &section, &KEEP_KEYS);
        if table.is_empty() {
            self.problem(value.span().start, format!("`[{section}]` has neither `age` nor `count`")).hint =
                Some("leave it out to keep everything".to_owned());
        }
        let age = self.age(table, &section);
        let count = self.integer(table, &section, "count", 0, i64::MAX as u64);
        Some(Keep { status, age, count })
    }

    fn age(&mut self, table: &DeTable<'_>, section: &str) -> Option<Duration> {
        self.with_units(table, section, "age", "a duration such as `\"30d\"`", parse_age)
    }

    /// Reads how long after its submit an invocation ends at the latest.
    pub(super) fn deadline(&mut self, table: &DeTable<'_>, section: &str) -> Option<Option<Duration>> {
        if is_unlimited(table, "deadline") {
            return Some(None);
        }
        let deadline = self.duration(table, section, "deadline");
        if deadline == Some(Duration::ZERO) {
            let offset = table.get("deadline").map_or(0, |value| value.span().start);
            self.problem(offset, format!("`{section}.deadline` is zero: nothing could ever run"));
        }
        deadline.map(Some)
    }
}
