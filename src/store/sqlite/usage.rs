//! The usage by hour.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::sql::column;
use super::work::Work;
use crate::store::rules::{USAGE_REMOVED_AT_ONCE, billed_component, first_kept_hour};
use crate::store::usage::Groups;
use crate::store::value::{Value, json_text};
use crate::store::{UsageQuery, UsageRow};

/// Sums up the usage of some hours.
pub(super) fn usage(sql: &Connection, query: &UsageQuery) -> rusqlite::Result<Vec<UsageRow>> {
    let mut select = sql.prepare_cached(
        "SELECT hour, component, fairness_key, sums FROM usage WHERE hour >= ?1 AND hour < ?2 \
         ORDER BY hour, component, fairness_key",
    )?;
    let mut rows = select.query(query.hours())?;
    let mut groups = Groups::new(query);
    while let Some(row) = rows.next()? {
        let (component, fairness_key): (String, String) = (row.get(1)?, row.get(2)?);
        groups.add(row.get(0)?, &component, &fairness_key, &column(row, 3)?);
    }
    Ok(groups.end())
}

impl Work<'_> {
    /// Adds the usage of the transaction to that of its hour.
    pub(super) fn write_usage(&mut self) -> rusqlite::Result<()> {
        let usage = std::mem::take(&mut self.state.moves.usage);
        if usage.is_empty() {
            return Ok(());
        }
        let hour = self.state.now.hour();
        let mut read = self.sql.prepare_cached(
            "SELECT k.name, u.sums FROM fairness_key k LEFT JOIN usage u \
             ON u.hour = ?1 AND u.component = ?2 AND u.fairness_key = k.name WHERE k.key = ?3",
        )?;
        let mut write = self.sql.prepare_cached(
            "INSERT INTO usage (hour, component, fairness_key, sums) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET sums = excluded.sums",
        )?;
        for ((task, key), mut sums) in usage {
            let component = billed_component(self.names.task(self.sql, task)?);
            let read_row = |row: &rusqlite::Row<'_>| Ok((column(row, 0)?, column::<Option<_>>(row, 1)?));
            let (name, before): (Arc<str>, _) = read.query_row(params![hour, component, key], read_row)?;
            if let Some(before) = before {
                sums.add(&before);
            }
            write.execute(params![hour, component, Value::from(&name), json_text(&sums)])?;
        }
        Ok(())
    }

    /// Removes the usage of hours that ended so long ago.
    pub(super) fn prune_usage(&mut self, age: Duration) -> rusqlite::Result<()> {
        let removed = self
            .sql
            .prepare_cached(
                "DELETE FROM usage WHERE (hour, component, fairness_key) IN ( \
                     SELECT hour, component, fairness_key FROM usage WHERE hour < ?1 \
                     ORDER BY hour, component, fairness_key LIMIT ?2)",
            )?
            .execute([first_kept_hour(self.state.now, age), USAGE_REMOVED_AT_ONCE as i64])?;
        self.state.receipt.has_old_usage = removed == USAGE_REMOVED_AT_ONCE;
        Ok(())
    }
}
