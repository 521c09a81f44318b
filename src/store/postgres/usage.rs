//! The usage by hour.

use std::time::Duration;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use super::work::Work;
use crate::store::rules::{USAGE_REMOVED_AT_ONCE, first_kept_hour};
use crate::store::usage::{Groups, like};
use crate::store::value::json_text;
use crate::store::{UsageQuery, UsageRow};

/// Sums up the usage of some hours.
pub(super) async fn usage(link: &Link, query: &UsageQuery) -> Result<Vec<UsageRow>, Fault> {
    let ask = Ask::new(
        "SELECT hour, component, fairness_key, jsonb_object_agg(entry, n)::text FROM ( \
             SELECT CASE WHEN $1 THEN u.hour ELSE 0 END AS hour, \
             CASE WHEN $2 THEN u.component ELSE '' END AS component, \
             CASE WHEN $3 THEN u.fairness_key ELSE '' END AS fairness_key, \
             e.key AS entry, least(sum(e.value::numeric), 18446744073709551615) AS n \
             FROM (SELECT hour, component, fairness_key, sums FROM @usage UNION ALL \
                 SELECT hour, component, fairness_key, sums FROM @usage_new) u \
             CROSS JOIN LATERAL jsonb_each_text(u.sums::jsonb) e \
             WHERE u.hour >= $4 AND u.hour < $5 AND (cardinality($6) = 0 OR u.component LIKE ANY ($6)) \
             AND (cardinality($7) = 0 OR u.fairness_key LIKE ANY ($7)) \
             GROUP BY 1, 2, 3, 4) entries \
         GROUP BY 1, 2, 3 LIMIT $8",
    );
    let [since, until] = query.hours();
    let ask = ask.with(query.by.hour).with(query.by.component).with(query.by.fairness_key);
    let ask = ask.with(since).with(until);
    let ask = ask.with(query.components.iter().map(like).collect::<Vec<_>>());
    let ask = ask.with(query.fairness_keys.iter().map(like).collect::<Vec<_>>());
    let rows = link.read(ask.with(i64::try_from(query.max).unwrap_or(i64::MAX).saturating_add(1))).await?;
    // Which rows are asked for is decided above: names of groups need not fit any pattern.
    let grouped = UsageQuery { components: Vec::new(), fairness_keys: Vec::new(), ..query.clone() };
    let mut groups = Groups::new(&grouped);
    for row in &rows {
        let (component, fairness_key): (String, String) = (column(row, 1)?, column(row, 2)?);
        groups.add(column(row, 0)?, &component, &fairness_key, &column(row, 3)?);
    }
    Ok(groups.end())
}

/// The statement that adds the new rows up, unless somebody else does so at present.
pub(super) fn ask_to_fold(lock: i64) -> Ask<'static> {
    // The lock is the last that a transaction takes, and is not waited for: so nobody waits for the rows
    // either.
    Ask::new(
        "WITH gone AS (DELETE FROM @usage_new WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM @usage_new WHERE (SELECT pg_try_advisory_xact_lock($1)) FOR UPDATE SKIP LOCKED)) \
             RETURNING hour, component, fairness_key, sums), \
         entries AS ( \
             SELECT g.hour, g.component, g.fairness_key, e.key AS entry, sum(e.value::numeric) AS n \
             FROM gone g CROSS JOIN LATERAL jsonb_each_text(g.sums::jsonb) e GROUP BY 1, 2, 3, 4) \
         INSERT INTO @usage AS u (hour, component, fairness_key, sums) \
         SELECT hour, component, fairness_key, jsonb_object_agg(entry, n)::text FROM entries GROUP BY 1, 2, 3 \
         ON CONFLICT (hour, component, fairness_key) DO UPDATE SET sums = ( \
             SELECT jsonb_object_agg(added.key, added.n)::text FROM ( \
                 SELECT e.key, sum(e.value::numeric) AS n FROM ( \
                     SELECT key, value FROM jsonb_each_text(u.sums::jsonb) UNION ALL \
                     SELECT key, value FROM jsonb_each_text(excluded.sums::jsonb)) e \
                 GROUP BY e.key) added)",
    )
    .with(lock)
}

impl Work<'_> {
    /// The statement that adds the usage of the transaction to that of its hour.
    pub(super) fn write_usage(&mut self, asks: &mut Vec<Ask<'_>>) {
        let usage = std::mem::take(&mut self.state.moves.usage);
        if usage.is_empty() {
            return;
        }
        let (mut tasks, mut keys, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for ((task, key), sum) in usage {
            tasks.push(task);
            keys.push(key);
            sums.push(json_text(&sum));
        }
        let ask = Ask::new(
            "INSERT INTO @usage_new (hour, component, fairness_key, sums) \
             SELECT $1, CASE WHEN strpos(t.name, '::') > 0 THEN split_part(t.name, '::', 1) ELSE '' END, \
             k.name, w.sums FROM unnest($2, $3, $4) AS w(task, key, sums) \
             CROSS JOIN LATERAL (SELECT name FROM @task WHERE key = w.task OFFSET 0) t \
             CROSS JOIN LATERAL (SELECT name FROM @fairness_key WHERE key = w.key OFFSET 0) k",
        );
        asks.push(ask.with(self.state.now.hour()).with(tasks).with(keys).with(sums));
    }

    /// Removes the usage of hours that ended so long ago.
    pub(super) async fn prune_usage(&mut self, age: Duration) -> Result<(), Fault> {
        let first_kept = first_kept_hour(self.state.now, age);
        let asks = vec![
            // Few rows: they are added up soon, and usually have been.
            Ask::new(
                "DELETE FROM @usage_new WHERE ctid = ANY(ARRAY( \
                     SELECT ctid FROM @usage_new WHERE hour < $1 FOR UPDATE SKIP LOCKED))",
            )
            .with(first_kept),
            Ask::new(
                "WITH gone AS (DELETE FROM @usage WHERE ctid = ANY(ARRAY( \
                     SELECT ctid FROM @usage WHERE hour < $1 ORDER BY hour, component, fairness_key LIMIT $2 \
                     FOR UPDATE SKIP LOCKED)) RETURNING 1) \
                 SELECT count(*) FROM gone",
            )
            .with(first_kept)
            .with(USAGE_REMOVED_AT_ONCE as i64),
        ];
        let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
        let removed: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        self.state.receipt.has_old_usage = removed == USAGE_REMOVED_AT_ONCE as i64;
        Ok(())
    }
}
