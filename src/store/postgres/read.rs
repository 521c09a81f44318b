//! Reads that change nothing: one statement each, so each
//! answer is of one moment.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{INVOCATION_JOINS, SERVER_TIME, column, uuid, uuids};
use crate::model::{
    Failure, IdPart, Invocation, InvocationId, LogEntry, Outcome, RunnerId, Status, Transition, UnixMicros,
};
use crate::store::columns::{
    BRIEF_COLUMNS, INVOCATION_COLUMNS, LOG_COLUMNS, TRANSITION_COLUMNS, read_invocation, read_log_entry,
    read_transition,
};
use crate::store::filter::{BY_END, BY_STATUS, CONDITIONS, Condition};
use crate::store::read::History;
use crate::store::value::Fields;
use crate::store::{CANDIDATES, Counts, Filter, LOOK, LOOK_UP_BYTES, Leases, LookUp, QueuedCounts, Standing};

pub(super) use super::components::{component, components, components_version};
pub(super) use super::quotas::{holdings, quotas};
pub(super) use super::rules::{paused, rule_marks, rules};
pub(super) use super::usage::usage;

/// All invocations of the tree `$1`. Follows the children, so roots need no index.
const TREE: &str = "WITH RECURSIVE tree(seq, id) AS ( \
             SELECT seq, id FROM @invocation WHERE id = $1 AND root IS NULL \
             UNION ALL \
             SELECT c.seq, c.id FROM tree CROSS JOIN LATERAL ( \
                 SELECT seq, id FROM @invocation WHERE parent = tree.id OFFSET 0) c)";

/// Puts each row where its ordinal, its first column, says.
fn place<T>(
    rows: &[Row],
    places: &mut [T],
    read: impl Fn(&mut Fields<'_, Row>) -> Result<T, Fault>,
) -> Result<(), Fault> {
    for row in rows {
        let mut fields = Fields::new(row);
        let n: u64 = fields.take()?;
        let place = usize::try_from(n).ok().and_then(|n| places.get_mut(n.checked_sub(1)?));
        *place.ok_or_else(|| Fault::Damaged(format!("nobody asked for row {n}")))? = read(&mut fields)?;
    }
    Ok(())
}

pub(super) async fn get(link: &Link, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, Fault> {
    let ask = Ask::new(formatcp!(
        "SELECT w.n, {INVOCATION_COLUMNS}, o.value FROM unnest($1) WITH ORDINALITY AS w(id, n) \
         JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) {INVOCATION_JOINS}"
    ));
    let rows = link.read(ask.with(uuids(ids))).await?;
    let mut found = vec![None; ids.len()];
    place(&rows, &mut found, |fields| {
        let mut invocation = read_invocation(fields)?;
        let value: Option<Arc<str>> = fields.take()?;
        invocation.outcome = invocation.outcome.or(value.map(Outcome::Value));
        Ok(Some(invocation))
    })?;
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
    place(&rows, &mut found, |fields| {
        let status: Option<Status> = fields.take()?;
        let failure = fields.take::<Option<Failure>>()?.map(|failure| Outcome::Failure(failure.into()));
        let value = fields.take::<Option<Arc<str>>>()?.map(Outcome::Value);
        Ok(match (status, failure.or(value)) {
            (None, _) => LookUp::Unknown,
            (_, Some(outcome)) => LookUp::Final(outcome),
            (Some(status), None) => LookUp::Unfinished(status),
        })
    })?;
    Ok(found)
}

pub(super) async fn standings(link: &Link, ids: &[InvocationId]) -> Result<Vec<Option<Standing>>, Fault> {
    let ask = Ask::new(
        "SELECT w.n, i.status, coalesce(i.root, i.id), t.name FROM unnest($1) WITH ORDINALITY AS w(id, n) \
         JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) JOIN @task t ON t.key = ANY(ARRAY[i.task])",
    );
    let rows = link.read(ask.with(uuids(ids))).await?;
    let mut found = vec![None; ids.len()];
    place(&rows, &mut found, |fields| {
        Ok(Some(Standing { status: fields.take()?, root: fields.take()?, task: fields.take()? }))
    })?;
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

/// The source of the rows that a filter looks at.
#[derive(Clone, Copy)]
enum Source {
    /// The whole store, from the newest on.
    Walk,
    /// A tree.
    Tree,
    /// The index of the ends.
    Ends,
}

/// Makes a statement about the numbers that a filter lets through, `found`, newest first. `$1` is the root, `$2`
/// the limit, `$3` the most rows to look at, and the conditions have a parameter each, NULL for one that does not apply.
///
/// The tally says how many there are: the walk through the table, newest first, ends with the last of them.
fn of_found(source: Source, rest: &str) -> String {
    let conditions = |of_tally: bool| -> String {
        let all = CONDITIONS.iter().zip(4..).filter(|(condition, _)| condition.is_tallied || !of_tally);
        let one = |(condition, number): (&Condition, i32)| {
            let parameter = format!("${number}");
            format!(" AND ({parameter} IS NULL OR {})", condition.postgres.replace('#', &parameter))
        };
        all.map(one).collect()
    };
    let (of_tally, of_table) = (conditions(true), conditions(false));
    let source = match source {
        Source::Tree => format!(
            "({TREE} SELECT i.* FROM tree JOIN @invocation i ON i.seq = ANY(ARRAY[tree.seq])) AS i \
             WHERE $3 IS NOT NULL"
        ),
        Source::Walk => {
            "@invocation AS i WHERE $1 IS NULL AND seq > (SELECT max(seq) FROM @invocation) - $3".to_owned()
        }
        // OFFSET keeps the planner from a walk in the order of the result.
        Source::Ends => {
            let [status, since, until] = [BY_STATUS, BY_END[0], BY_END[1]].map(|place| place + 4);
            format!(
                "(SELECT * FROM @invocation WHERE place IS NULL AND status = ANY(${status}) \
                 AND finished_at >= (${since})[1]::bigint \
                 AND finished_at < COALESCE((${until})[1]::bigint, {}) OFFSET 0) AS i \
                 WHERE $1 IS NULL AND $3 IS NOT NULL",
                i64::MAX
            )
        }
    };
    format!(
        "WITH there_are AS (SELECT coalesce(sum(n), 0)::bigint AS n FROM @tally WHERE true{of_tally}), \
         found AS MATERIALIZED (SELECT seq FROM {source}{of_table} \
             ORDER BY seq DESC LIMIT least($2, (SELECT n FROM there_are))) {rest}"
    )
}

/// A question about what [`of_found`] finds, for each source.
struct Filtered([LazyLock<String>; 3]);

impl Filtered {
    fn ask<'a>(&'static self, filter: &'a Filter) -> Ask<'a> {
        let source = match filter.root {
            Some(_) => Source::Tree,
            None if filter.is_by_end() => Source::Ends,
            None => Source::Walk,
        };
        let ask = Ask::new(&self.0[source as usize])
            .with(filter.root.map(|root| uuid(root.as_bytes())))
            .with(i64::try_from(filter.limit).unwrap_or(i64::MAX))
            .with(filter.look.and_then(|look| i64::try_from(look).ok()).unwrap_or(i64::MAX));
        filter.parameters().into_iter().fold(ask, |ask, texts| {
            ask.with(texts.map(|texts| texts.into_iter().map(Cow::into_owned).collect::<Vec<String>>()))
        })
    }
}

/// Makes a question of the end of its statement.
macro_rules! filtered {
    ($rest:expr) => {
        Filtered([
            LazyLock::new(|| of_found(Source::Walk, $rest)),
            LazyLock::new(|| of_found(Source::Tree, $rest)),
            LazyLock::new(|| of_found(Source::Ends, $rest)),
        ])
    };
}

pub(super) async fn list(link: &Link, filter: &Filter) -> Result<Vec<Invocation>, Fault> {
    const REST: &str = formatcp!(
        "SELECT {BRIEF_COLUMNS} FROM found f \
         JOIN @invocation i ON i.seq = ANY(ARRAY[f.seq]) {INVOCATION_JOINS} ORDER BY f.seq DESC"
    );
    static SQL: Filtered = filtered!(REST);
    let rows = link.read(SQL.ask(filter)).await?;
    rows.iter().map(|row| read_invocation(&mut Fields::new(row))).collect()
}

pub(super) async fn ids(link: &Link, filter: &Filter) -> Result<Vec<InvocationId>, Fault> {
    const REST: &str =
        "SELECT i.id FROM found f JOIN @invocation i ON i.seq = ANY(ARRAY[f.seq]) ORDER BY f.seq DESC";
    static SQL: Filtered = filtered!(REST);
    let rows = link.read(SQL.ask(filter)).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

pub(super) async fn find(link: &Link, part: &IdPart) -> Result<Vec<InvocationId>, Fault> {
    let [least, greatest] = part.range();
    // The newest by the time in their ids: the index of the ids alone is read.
    let ask = Ask::new(formatcp!(
        "(SELECT id FROM @invocation WHERE id BETWEEN $1 AND $2 ORDER BY id LIMIT {CANDIDATES}) \
         UNION SELECT id FROM (SELECT id FROM @invocation ORDER BY id DESC LIMIT {LOOK}) AS newest \
         WHERE right(replace(id::text, '-', ''), length($3)) = $3 ORDER BY id LIMIT {CANDIDATES}"
    ));
    let ask = ask.with(uuid(least.as_bytes())).with(uuid(greatest.as_bytes())).with(part.digits());
    link.read(ask).await?.iter().map(|row| column(row, 0)).collect()
}

pub(super) async fn keyed(
    link: &Link,
    keys: &[(Arc<str>, Arc<str>)],
) -> Result<Vec<Option<InvocationId>>, Fault> {
    let ask = Ask::new(
        "SELECT w.n, i.id FROM unnest($1, $2) WITH ORDINALITY AS w(task, key, n) \
         JOIN @task t ON t.name = ANY(ARRAY[w.task]) CROSS JOIN LATERAL ( \
             SELECT id FROM @invocation WHERE task = t.key AND idempotency_key = w.key OFFSET 0) i",
    );
    let (tasks, keys): (Vec<&str>, Vec<&[u8]>) =
        keys.iter().map(|(task, key)| (&**task, key.as_bytes())).unzip();
    let mut found = vec![None; tasks.len()];
    let rows = link.read(ask.with(tasks).with(keys)).await?;
    place(&rows, &mut found, |fields| fields.take().map(Some))?;
    Ok(found)
}

pub(super) async fn counts(link: &Link, root: Option<InvocationId>) -> Result<Counts, Fault> {
    let ask = match root {
        None => Ask::new("SELECT status, sum(n)::bigint FROM @tally GROUP BY status"),
        Some(root) => Ask::new(formatcp!(
            "{TREE} SELECT i.status, count(*) FROM tree JOIN @invocation i ON i.seq = ANY(ARRAY[tree.seq]) \
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
        "SELECT t.name, y.status, sum(n)::bigint FROM @tally y JOIN @task t ON t.key = y.task \
         GROUP BY t.name, y.status ORDER BY t.name COLLATE \"C\"",
    );
    let mut counts: Vec<(Arc<str>, i64)> = Vec::new();
    for row in link.read(ask).await? {
        let (task, status, count): (Arc<str>, Status, i64) =
            (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
        if status.is_final() {
            continue;
        }
        match counts.last_mut().filter(|(last, _)| *last == task) {
            Some((_, sum)) => *sum += count,
            None => counts.push((task, count)),
        }
    }
    let there_are = counts.into_iter().filter_map(|(task, count)| Some((task, u64::try_from(count).ok()?)));
    Ok(there_are.filter(|(_, count)| *count > 0).collect())
}

pub(super) async fn queued_by_task(link: &Link, now: UnixMicros) -> Result<Vec<QueuedCounts>, Fault> {
    let ask = Ask::new(
        "SELECT t.name, sum(c.queued)::bigint, sum(c.delayed)::bigint, sum(c.blocked)::bigint, min(c.next) \
         FROM ( \
             SELECT task, n AS queued, 0::bigint AS delayed, 0::bigint AS blocked, NULL::bigint AS next FROM @tally \
                 WHERE status = 'queued' \
             UNION ALL SELECT task, 0, 1, 0, available_at FROM @invocation \
                 WHERE place = 'delayed' AND available_at > $1 \
             UNION ALL SELECT task, 0, 0, blocked, NULL FROM @lane WHERE blocked > 0) c \
         JOIN @task t ON t.key = c.task GROUP BY t.name",
    );
    let rows = link.read(ask.with(now.0)).await?;
    let read = |row: &Row| {
        Ok((column(row, 0)?, [column(row, 1)?, column(row, 2)?, column(row, 3)?], column(row, 4)?))
    };
    Ok(QueuedCounts::gather(rows.iter().map(read).collect::<Result<Vec<_>, Fault>>()?))
}

pub(super) async fn leases(link: &Link, now: Option<UnixMicros>) -> Result<Leases, Fault> {
    let ask = Ask::new(formatcp!(
        "SELECT present.at, r.id, r.lease_until FROM (SELECT coalesce($1, {SERVER_TIME}) AS at) present \
         LEFT JOIN @runner r ON true ORDER BY r.id"
    ));
    let rows = link.read(ask.with(now.map(|now| now.0))).await?;
    let first = rows.first().ok_or_else(|| Fault::Damaged("there is no present".to_owned()))?;
    let now = column(first, 0)?;
    let mut ends = Vec::new();
    for row in &rows {
        let (runner, end): (Option<RunnerId>, Option<UnixMicros>) = (column(row, 1)?, column(row, 2)?);
        ends.extend(runner.zip(end));
    }
    Ok(Leases { now, ends })
}

pub(super) async fn tree(link: &Link, root: InvocationId) -> Result<Vec<Invocation>, Fault> {
    // In the order of submits, which puts parents before children.
    let ask = Ask::new(formatcp!(
        "{TREE} SELECT {BRIEF_COLUMNS} FROM tree \
         JOIN @invocation i ON i.seq = ANY(ARRAY[tree.seq]) {INVOCATION_JOINS} ORDER BY i.seq"
    ));
    let rows = link.read(ask.with(uuid(root.as_bytes()))).await?;
    rows.iter().map(|row| read_invocation(&mut Fields::new(row))).collect()
}

pub(super) async fn history(link: &Link, id: InvocationId) -> Result<Vec<Transition>, Fault> {
    let ask = Ask::new(formatcp!(
        "SELECT i.submitted_at, i.moves, h.n, {TRANSITION_COLUMNS} FROM @invocation i \
         LEFT JOIN @history h ON h.seq = ANY(ARRAY[i.seq]) WHERE i.id = $1 ORDER BY h.n"
    ));
    let rows = link.read(ask.with(uuid(id.as_bytes()))).await?;
    let mut history = None;
    for row in &rows {
        let mut fields = Fields::new(row);
        let (submitted_at, moves) = (fields.take()?, fields.take()?);
        let history = history.get_or_insert_with(|| History::new(submitted_at, moves));
        // An invocation that has not moved yet is a row without a move.
        if let Some(n) = fields.take()? {
            let step = read_transition(&mut fields, history.status())?;
            history.push(n, step);
        }
    }
    Ok(history.map(History::end).unwrap_or_default())
}

pub(super) async fn logs(link: &Link, id: InvocationId) -> Result<Vec<LogEntry>, Fault> {
    let ask = Ask::new(formatcp!(
        "SELECT {LOG_COLUMNS} FROM @invocation i JOIN @log l ON l.seq = ANY(ARRAY[i.seq]) WHERE i.id = $1 \
         ORDER BY l.n"
    ));
    let rows = link.read(ask.with(uuid(id.as_bytes()))).await?;
    rows.iter().map(|row| read_log_entry(&mut Fields::new(row))).collect()
}
