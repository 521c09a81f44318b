//! What is asked of the store without changing it: one statement each, so each
//! answer is of one moment.

use std::sync::Arc;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{
    Bytes, VALUE, column, invocation, invocation_columns, invocation_joins, optional, outcome, uuid, uuids,
};
use crate::model::{Invocation, InvocationId, LogEntry, Reason, RunnerId, Status, Transition};
use crate::store::{Counts, Filter, LOOK_UP_BYTES, LookUp};

/// All invocations of the tree `$1`. Follows the children, so roots need no index.
macro_rules! tree {
    () => {
        "WITH RECURSIVE tree(seq, id) AS ( \
             SELECT seq, id FROM @invocation WHERE id = $1 AND root IS NULL \
             UNION ALL \
             SELECT c.seq, c.id FROM tree CROSS JOIN LATERAL ( \
                 SELECT seq, id FROM @invocation WHERE parent = tree.id OFFSET 0) c)"
    };
}

/// Puts each row where its ordinal, in column `ordinal`, says.
fn place<T>(
    rows: &[Row],
    ordinal: usize,
    places: &mut [T],
    read: impl Fn(&Row) -> Result<T, Fault>,
) -> Result<(), Fault> {
    for row in rows {
        let n: u64 = column(row, ordinal)?;
        let place = usize::try_from(n).ok().and_then(|n| places.get_mut(n.checked_sub(1)?));
        *place.ok_or_else(|| Fault::Damaged(format!("nobody asked for row {n}")))? = read(row)?;
    }
    Ok(())
}

pub(super) async fn get(link: &Link, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, Fault> {
    let ask = Ask::new(concat!(
        "SELECT ",
        invocation_columns!(),
        ", o.value, w.n FROM unnest($1) WITH ORDINALITY AS w(id, n) \
         JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) ",
        invocation_joins!()
    ));
    let rows = link.read(ask.with(uuids(ids))).await?;
    let mut found = vec![None; ids.len()];
    place(&rows, VALUE + 1, &mut found, |row| invocation(row, Some(VALUE)).map(Some))?;
    Ok(found)
}

pub(super) async fn look_up(link: &Link, ids: &[InvocationId]) -> Result<Vec<LookUp>, Fault> {
    let ask = Ask::new(
        // The length of a value is read without the value.
        "SELECT n, status, failure, value FROM (SELECT w.n, i.status, o.failure, o.value, \
         sum(COALESCE(octet_length(o.value), 0) + COALESCE(octet_length(o.failure), 0)) \
         OVER (ORDER BY w.n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before \
         FROM unnest($1) WITH ORDINALITY AS w(id, n) \
         LEFT JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) \
         LEFT JOIN @outcome o ON o.seq = ANY(ARRAY[i.seq])) AS found \
         WHERE COALESCE(before, 0) < $2",
    );
    let rows = link.read(ask.with(uuids(ids)).with(LOOK_UP_BYTES as i64)).await?;
    let mut found = vec![LookUp::Unknown; rows.len()];
    place(&rows, 0, &mut found, |row| {
        let status: Option<Status> = optional(row, 1)?;
        Ok(match (status, outcome(row, 2, Some(3))?) {
            (None, _) => LookUp::Unknown,
            (_, Some(outcome)) => LookUp::Final(outcome),
            (Some(status), None) => LookUp::Unfinished(status),
        })
    })?;
    Ok(found)
}

pub(super) async fn statuses(link: &Link, ids: &[InvocationId]) -> Result<Vec<Option<Status>>, Fault> {
    let ask = Ask::new(
        "SELECT w.n, i.status FROM unnest($1) WITH ORDINALITY AS w(id, n) \
         JOIN @invocation i ON i.id = ANY(ARRAY[w.id])",
    );
    let rows = link.read(ask.with(uuids(ids))).await?;
    let mut found = vec![None; ids.len()];
    place(&rows, 0, &mut found, |row| Ok(Some(column(row, 1)?)))?;
    Ok(found)
}

pub(super) async fn revoked(link: &Link, runner: RunnerId) -> Result<Vec<InvocationId>, Fault> {
    let ask = Ask::new("SELECT id FROM @revoked WHERE runner = $1 ORDER BY id");
    let rows = link.read(ask.with(uuid(runner.as_bytes()))).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

pub(super) async fn arguments(link: &Link, id: InvocationId) -> Result<Option<Arc<str>>, Fault> {
    let ask = Ask::new(
        "SELECT a.json FROM @invocation i JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq]) WHERE i.id = $1",
    );
    let rows = link.read(ask.with(uuid(id.as_bytes()))).await?;
    rows.first().map(|row| column(row, 0)).transpose()
}

/// The numbers that a filter lets through, newest first: `found`. `$1` are the
/// statuses, `$2` is the task's name, `$3` the limit.
///
/// The tally says how many there are: the walk through the table, newest first,
/// ends with the last of them.
macro_rules! found {
    () => {
        "WITH wanted AS (SELECT key FROM @task WHERE name = $2), \
         there_are AS (SELECT coalesce(sum(n), 0)::bigint AS n FROM @tally \
             WHERE (cardinality($1) = 0 OR status = ANY($1)) \
             AND ($2 IS NULL OR task = (SELECT key FROM wanted))), \
         found AS MATERIALIZED (SELECT seq FROM @invocation \
             WHERE (cardinality($1) = 0 OR status = ANY($1)) \
             AND ($2 IS NULL OR task = (SELECT key FROM wanted)) \
             ORDER BY seq DESC LIMIT least($3, (SELECT n FROM there_are)))"
    };
}

/// A question about what [`found`] finds.
fn ask_filtered<'a>(sql: &'static str, filter: &'a Filter) -> Ask<'a> {
    let statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
    let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
    Ask::new(sql).with(statuses).with(filter.task.as_deref()).with(limit)
}

pub(super) async fn list(link: &Link, filter: &Filter) -> Result<Vec<Invocation>, Fault> {
    let sql = concat!(
        found!(),
        " SELECT ",
        invocation_columns!(),
        " FROM found f JOIN @invocation i ON i.seq = ANY(ARRAY[f.seq]) ",
        invocation_joins!(),
        " ORDER BY f.seq DESC"
    );
    let rows = link.read(ask_filtered(sql, filter)).await?;
    rows.iter().map(|row| invocation(row, None)).collect()
}

pub(super) async fn ids(link: &Link, filter: &Filter) -> Result<Vec<InvocationId>, Fault> {
    let sql = concat!(
        found!(),
        " SELECT i.id FROM found f JOIN @invocation i ON i.seq = ANY(ARRAY[f.seq]) ORDER BY f.seq DESC"
    );
    let rows = link.read(ask_filtered(sql, filter)).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

pub(super) async fn counts(link: &Link, root: Option<InvocationId>) -> Result<Counts, Fault> {
    let ask = match root {
        None => Ask::new("SELECT status, sum(n)::bigint FROM @tally GROUP BY status"),
        Some(root) => Ask::new(concat!(
            tree!(),
            " SELECT i.status, count(*) FROM tree JOIN @invocation i ON i.seq = ANY(ARRAY[tree.seq]) \
             GROUP BY i.status"
        ))
        .with(uuid(root.as_bytes())),
    };
    let mut counts = Counts::default();
    for row in link.read(ask).await? {
        counts.add(column::<Status>(&row, 0)?, column(&row, 1)?);
    }
    Ok(counts)
}

pub(super) async fn unfinished_by_task(link: &Link) -> Result<Vec<(Arc<str>, u64)>, Fault> {
    let ask = Ask::new(
        "SELECT t.name, sum(n)::bigint FROM @tally y JOIN @task t ON t.key = y.task \
         WHERE y.status IN ('queued', 'claimed', 'running', 'waiting') \
         GROUP BY t.name HAVING sum(n) > 0 ORDER BY t.name COLLATE \"C\"",
    );
    let rows = link.read(ask).await?;
    rows.iter().map(|row| Ok((column(row, 0)?, column(row, 1)?))).collect()
}

pub(super) async fn tree(link: &Link, root: InvocationId) -> Result<Vec<Invocation>, Fault> {
    // In the order of submits, which puts parents before children.
    let ask = Ask::new(concat!(
        tree!(),
        " SELECT ",
        invocation_columns!(),
        " FROM tree JOIN @invocation i ON i.seq = ANY(ARRAY[tree.seq]) ",
        invocation_joins!(),
        " ORDER BY i.seq"
    ));
    let rows = link.read(ask.with(uuid(root.as_bytes()))).await?;
    rows.iter().map(|row| invocation(row, None)).collect()
}

pub(super) async fn history(link: &Link, id: InvocationId) -> Result<Vec<Transition>, Fault> {
    let ask = Ask::new(
        "SELECT i.submitted_at, h.at, h.status, h.reason, h.runner, h.attempt, h.detail \
         FROM @invocation i LEFT JOIN @history h ON h.seq = ANY(ARRAY[i.seq]) WHERE i.id = $1 ORDER BY h.n",
    );
    let rows = link.read(ask.with(uuid(id.as_bytes()))).await?;
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let mut history = vec![Transition {
        at: column(first, 0)?,
        from: None,
        to: Status::Queued,
        reason: Reason::Submitted,
        runner: None,
        attempt: 0,
        detail: None,
    }];
    for row in &rows {
        // An invocation that has not moved yet is a row without a move.
        let Some(at) = optional(row, 1)? else { break };
        let from = history.last().map(|before| before.to);
        history.push(Transition {
            at,
            from,
            to: column(row, 2)?,
            reason: column(row, 3)?,
            runner: optional(row, 4)?,
            attempt: column(row, 5)?,
            detail: optional(row, 6)?.map(|Bytes(text)| text),
        });
    }
    Ok(history)
}

pub(super) async fn logs(link: &Link, id: InvocationId) -> Result<Vec<LogEntry>, Fault> {
    let ask = Ask::new(
        "SELECT l.at, l.attempt, l.stream, l.level, l.text FROM @invocation i \
         JOIN @log l ON l.seq = ANY(ARRAY[i.seq]) WHERE i.id = $1 ORDER BY l.n",
    );
    let rows = link.read(ask.with(uuid(id.as_bytes()))).await?;
    let read = |row: &Row| {
        Ok(LogEntry {
            at: column(row, 0)?,
            attempt: column(row, 1)?,
            stream: column(row, 2)?,
            level: optional(row, 3)?,
            text: column::<Bytes<String>>(row, 4)?.0,
        })
    };
    rows.iter().map(read).collect()
}
