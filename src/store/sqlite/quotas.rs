//! Quotas, and the counts of components and fairness keys.

use std::sync::{Arc, LazyLock};

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::fault::Fault;
use super::sql::{bound, column, unfinished_words};
use super::work::Work;
use crate::model::{Bucket, Held, HolderKind};
use crate::store::columns::{QUOTA, QUOTA_COLUMNS, quota_values, read_quota};
use crate::store::value::Fields;
use crate::store::{Batch, Holding, NewInvocation, QuotaRule, QuotaSection, RuleOrigin, quota};

/// At most so many rows of full buckets are removed in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 100;

/// The counts of one component: its tasks follow each other in the index of names. What it pays for of others is added.
static OF_COMPONENT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT coalesce(sum(CASE WHEN status IN ({}) THEN n END), 0) - coalesce(sum(elsewhere), 0) \
             + coalesce((SELECT unfinished FROM paid WHERE component = ?1), 0), \
             coalesce(sum(bytes), 0) + coalesce((SELECT bytes FROM paid WHERE component = ?1), 0) \
         FROM task CROSS JOIN tally ON task = key WHERE name >= ?1 || '::' AND name < ?1 || ':;'",
        unfinished_words()
    )
});

/// The counts of all tasks.
static OF_TASKS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT name, coalesce(sum(CASE WHEN status IN ({}) THEN n END), 0) - sum(elsewhere), sum(bytes) \
         FROM tally CROSS JOIN task ON key = task GROUP BY name ORDER BY name",
        unfinished_words()
    )
});

pub(super) fn quotas(sql: &Connection) -> rusqlite::Result<Vec<QuotaRule>> {
    sql.prepare_cached(formatcp!("SELECT {QUOTA_COLUMNS} FROM quota q ORDER BY holder, names"))?
        .query_map([], |row| read_quota(&mut Fields::new(row)))?
        .collect()
}

pub(super) fn holdings(sql: &Connection, holder: HolderKind) -> rusqlite::Result<Vec<Holding>> {
    let held = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(String, Held)> {
        Ok((row.get(0)?, Held { unfinished: row.get(1)?, bytes: row.get(2)? }))
    };
    let counted: Vec<(String, Held)> = match holder {
        HolderKind::Component => {
            sql.prepare_cached(&OF_TASKS)?.query_map([], held)?.collect::<Result<_, _>>()
        }
        HolderKind::Key => sql
            .prepare_cached("SELECT name, unfinished, bytes FROM fairness_key ORDER BY name")?
            .query_map([], held)?
            .collect(),
    }?;
    let counted = match holder {
        HolderKind::Component => {
            let mut paid = sql.prepare_cached("SELECT component, unfinished, bytes FROM paid")?;
            let paid = paid.query_map([], held)?.collect::<rusqlite::Result<Vec<_>>>()?;
            Holding::of_components(counted, paid)
        }
        HolderKind::Key => counted,
    };
    let holding = |(name, held): (String, Held)| -> rusqlite::Result<Holding> {
        let bucket = bucket(sql, holder, &name)?;
        Ok(Holding { name: name.into(), held, bucket })
    };
    counted.into_iter().filter(|(_, held)| *held != Held::default()).map(holding).collect()
}

fn bucket(sql: &Connection, holder: HolderKind, name: &str) -> rusqlite::Result<Bucket> {
    let full_at = sql
        .prepare_cached("SELECT full_at FROM bucket WHERE holder = ?1 AND name = ?2")?
        .query_row(params![bound(holder), name], |row| row.get(0))
        .optional()?;
    Ok(Bucket { full_at: full_at.unwrap_or(0) })
}

impl Work<'_> {
    /// Takes over the quotas of a configuration, of one kind of holders.
    pub(super) fn set_quotas(&mut self, new: &QuotaSection, by: Option<&RuleOrigin>) -> rusqlite::Result<()> {
        if new.is_in_force(&quotas(self.sql)?) {
            return Ok(());
        }
        self.sql.execute("DELETE FROM quota WHERE holder = ?1", [bound(new.holder)])?;
        let names: Vec<_> = QUOTA.iter().map(|(name, _)| *name).collect();
        let places = vec!["?"; names.len()].join(", ");
        let insert = format!("INSERT INTO quota ({}) VALUES ({places})", names.join(", "));
        for rule in new.rules(by, self.state.now) {
            self.sql.prepare_cached(&insert)?.execute(params_from_iter(quota_values(&rule)))?;
        }
        self.state.is_news = true;
        Ok(())
    }

    /// Loads the counts that the quotas for the submits of a batch look at.
    pub(super) fn load_counts(&mut self, submits: &[NewInvocation]) -> Result<(), Fault> {
        self.state.quotas.rules = quotas(self.sql)?;
        if self.state.quotas.rules.is_empty() {
            return Ok(());
        }
        for name in self.state.components_to_meter(submits) {
            self.meter_component(name)?;
        }
        for key in self.state.keys_to_meter(submits) {
            self.meter_key(key)?;
        }
        Ok(())
    }

    /// Loads the counts that the quotas for the large outcomes of a batch look at.
    pub(super) fn load_counts_for_outcomes(&mut self, batch: &Batch) -> Result<(), Fault> {
        let large = batch.reports.iter().filter(|report| quota::large_outcome(report).is_some());
        let ids: Vec<_> = large.map(|report| report.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if self.state.quotas.rules.is_empty() {
            self.state.quotas.rules = quotas(self.sql)?;
        }
        if !quota::bounds_bytes(&self.state.quotas.rules) {
            return Ok(());
        }
        for id in ids {
            let Some(head) = self.state.heads.get(&id) else { continue };
            let (task, payer) = (head.task, head.payer.clone());
            let key = (!head.unkeyed).then_some(head.fairness_key);
            let name = Arc::clone(self.names.task(self.sql, task)?);
            self.state.quotas.learn_task(task, &name);
            let component = payer.or_else(|| quota::component_of(&name).map(Arc::from));
            if let Some(component) = component.filter(|name| !self.state.quotas.meters_component(name)) {
                self.meter_component(&component)?;
            }
            if let Some(key) = key.filter(|key| !self.state.quotas.meters_key(*key)) {
                self.meter_key(key)?;
            }
        }
        Ok(())
    }

    fn meter_component(&mut self, name: &str) -> rusqlite::Result<()> {
        let held = self
            .sql
            .prepare_cached(&OF_COMPONENT)?
            .query_row([name], |row| Ok(Held { unfinished: row.get(0)?, bytes: row.get(1)? }))?;
        let bucket = bucket(self.sql, HolderKind::Component, name)?;
        self.state.quotas.meter_component(name, held, bucket);
        Ok(())
    }

    fn meter_key(&mut self, key: i64) -> rusqlite::Result<()> {
        let (name, held): (Arc<str>, _) = self
            .sql
            .prepare_cached("SELECT name, unfinished, bytes FROM fairness_key WHERE key = ?1")?
            .query_row([key], |row| {
                Ok((column(row, 0)?, Held { unfinished: row.get(1)?, bytes: row.get(2)? }))
            })?;
        let bucket = bucket(self.sql, HolderKind::Key, &name)?;
        self.state.quotas.meter_key(key, name, held, bucket);
        Ok(())
    }

    /// Writes what payers pay for.
    fn write_paid(&mut self) -> rusqlite::Result<()> {
        for (payer, change) in self.state.quotas.take_paid() {
            self.sql
                .prepare_cached(
                    "INSERT INTO paid (component, unfinished, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE \
                     SET unfinished = unfinished + excluded.unfinished, bytes = bytes + excluded.bytes",
                )?
                .execute(params![payer, change.unfinished, change.bytes])?;
            self.sql
                .prepare_cached("DELETE FROM paid WHERE component = ?1 AND unfinished = 0 AND bytes = 0")?
                .execute([payer])?;
        }
        Ok(())
    }

    /// Writes what payers pay for and the buckets that submits have taken tokens from, and forgets full ones.
    pub(super) fn write_buckets(&mut self) -> rusqlite::Result<()> {
        self.write_paid()?;
        let taken = self.state.quotas.take_taken();
        if taken.is_empty() {
            return Ok(());
        }
        for one in taken {
            self.sql
                .prepare_cached("INSERT OR REPLACE INTO bucket (holder, name, full_at) VALUES (?1, ?2, ?3)")?
                .execute(params![bound(one.holder), one.name, one.bucket.full_at])?;
        }
        self.sql
            .prepare_cached(
                "DELETE FROM bucket WHERE (holder, name) IN (SELECT holder, name FROM bucket \
                     INDEXED BY bucket_full WHERE full_at <= ?1 ORDER BY full_at LIMIT ?2)",
            )?
            .execute([Bucket::moment(self.state.now), FORGOTTEN_AT_ONCE])?;
        Ok(())
    }
}
