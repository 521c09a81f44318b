//! Reads that change nothing.

use std::borrow::Cow;
use std::sync::Arc;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params, params_from_iter};

use super::sql::{FROM_INVOCATION, bound, column, unfinished_words};
use crate::model::{
    Failure, IdPart, Invocation, InvocationId, LogEntry, Outcome, RunnerId, Status, Transition, UnixMicros,
};
use crate::store::columns::{
    BRIEF_COLUMNS, INVOCATION_COLUMNS, LOG_COLUMNS, TRANSITION_COLUMNS, read_invocation, read_log_entry,
    read_transition,
};
use crate::store::filter::CONDITIONS;
use crate::store::read::History;
use crate::store::value::{Fields, json_text};
use crate::store::{CANDIDATES, Counts, Filter, LOOK, LOOK_UP_BYTES, LookUp, QueuedCounts, Standing};

pub(super) use super::components::{component, components, components_version};
pub(super) use super::quotas::{holdings, quotas};
pub(super) use super::rules::{paused, rule_marks, rules};
pub(super) use super::usage::usage;

/// All invocations of a tree. Follows the children, so roots need no index.
const TREE: &str = "\
    WITH RECURSIVE tree(seq, id) AS ( \
        SELECT seq, id FROM invocation WHERE id = ?1 AND root IS NULL \
        UNION ALL \
        SELECT c.seq, c.id FROM tree CROSS JOIN invocation c INDEXED BY invocation_child \
            ON c.parent = tree.id)";

/// Fewer than one of so many are few.
const FEW: u64 = 20;

fn collect<T>(
    sql: &Connection,
    query: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    sql.prepare_cached(query)?.query_map(params, read)?.collect()
}

pub(super) fn get(sql: &Connection, ids: &[InvocationId]) -> rusqlite::Result<Vec<Option<Invocation>>> {
    let mut statement = sql.prepare_cached(formatcp!(
        "SELECT {INVOCATION_COLUMNS}, o.value FROM {FROM_INVOCATION} WHERE i.id = ?1"
    ))?;
    let mut read = |id: &InvocationId| {
        let found = statement.query_row([bound(*id)], |row| {
            let mut fields = Fields::new(row);
            let mut invocation = read_invocation(&mut fields)?;
            let value: Option<Arc<str>> = fields.take()?;
            invocation.outcome = invocation.outcome.or(value.map(Outcome::Value));
            Ok(invocation)
        });
        found.optional()
    };
    ids.iter().map(&mut read).collect()
}

pub(super) fn look_up(sql: &Connection, ids: &[InvocationId]) -> rusqlite::Result<Vec<LookUp>> {
    let mut statement = sql.prepare_cached(
        "SELECT i.status, o.failure, o.value FROM invocation i \
         LEFT JOIN outcome o ON o.seq = i.seq WHERE i.id = ?1",
    )?;
    let mut found = Vec::with_capacity(ids.len());
    let mut bytes = 0;
    for id in ids {
        let one = statement.query_row([bound(*id)], |row| {
            let mut fields = Fields::new(row);
            let status: Status = fields.take()?;
            if let Some(failure) = fields.take::<Option<Failure>>()? {
                return Ok(LookUp::Final(Outcome::Failure(failure.into())));
            }
            let value: Option<Arc<str>> = fields.take()?;
            Ok(value.map_or(LookUp::Unfinished(status), |value| LookUp::Final(Outcome::Value(value))))
        });
        let one = one.optional()?.unwrap_or(LookUp::Unknown);
        bytes += one.outcome_bytes();
        found.push(one);
        if bytes >= LOOK_UP_BYTES {
            break;
        }
    }
    Ok(found)
}

pub(super) fn standings(sql: &Connection, ids: &[InvocationId]) -> rusqlite::Result<Vec<Option<Standing>>> {
    let mut statement = sql.prepare_cached(
        "SELECT i.status, coalesce(i.root, i.id), t.name FROM invocation i \
         CROSS JOIN task t ON t.key = i.task WHERE i.id = ?1",
    )?;
    let standing = |row: &Row<'_>| {
        let mut fields = Fields::new(row);
        Ok(Standing { status: fields.take()?, root: fields.take()?, task: fields.take()? })
    };
    ids.iter().map(|id| statement.query_row([bound(*id)], standing).optional()).collect()
}

pub(super) fn revoked(sql: &Connection, runner: RunnerId) -> rusqlite::Result<Vec<InvocationId>> {
    collect(sql, "SELECT id FROM revoked WHERE runner = ?1 ORDER BY id", [bound(runner)], |row| {
        column(row, 0)
    })
}

pub(super) fn arguments(sql: &Connection, id: InvocationId) -> rusqlite::Result<Option<Arc<str>>> {
    sql.prepare_cached("SELECT json FROM invocation CROSS JOIN arguments USING (seq) WHERE id = ?1")?
        .query_row([bound(id)], |row| row.get(0))
        .optional()
}

/// Adds the conditions of a filter that apply, of the tally or of the table, and the parameters that they have.
fn conditions(filter: &Filter, of_tally: bool, parameters: &mut Vec<Box<dyn ToSql>>) -> String {
    let mut text = String::new();
    for (condition, parameter) in CONDITIONS.iter().zip(filter.parameters()) {
        let Some(parameter) = parameter.filter(|_| condition.is_tallied || !of_tally) else { continue };
        parameters.push(Box::new(json_text(&parameter)));
        text.push_str(" AND ");
        text.push_str(&condition.sqlite.replace('#', &format!("?{}", parameters.len())));
    }
    text
}

/// A statement and its parameters.
type Bound = (String, Vec<Box<dyn ToSql>>);

/// The statement of the numbers that a filter lets through, newest first, and its parameters; `None` if there
/// are none.
fn matching(sql: &Connection, filter: &Filter) -> rusqlite::Result<Option<Bound>> {
    let count = |filter: &Filter| {
        let mut parameters = Vec::new();
        let conditions = conditions(filter, true, &mut parameters);
        let query = format!("SELECT coalesce(sum(n), 0) FROM tally WHERE true{conditions}");
        sql.prepare_cached(&query)?.query_row(params_from_iter(parameters), |row| column::<u64>(row, 0))
    };
    // The tally says how many there are: the walk through the table, newest
    // first, ends with the last of them.
    let there_are = count(filter)?;
    let limit = there_are.min(filter.limit.try_into().unwrap_or(u64::MAX));
    let mut parameters: Vec<Box<dyn ToSql>> = Vec::new();
    let source = match filter.root {
        Some(root) => {
            parameters.push(Box::new(root.as_bytes().to_vec()));
            format!("({TREE} SELECT i.* FROM tree CROSS JOIN invocation i USING (seq)) AS i WHERE true")
                .into()
        }
        None => walk(filter, count)?,
    };
    let conditions = conditions(filter, false, &mut parameters);
    let query = format!("SELECT seq AS found FROM {source}{conditions} ORDER BY seq DESC LIMIT {limit}");
    Ok((limit > 0).then_some((query, parameters)))
}

/// Chooses the walk through the table: `count` says how many of the tally a filter lets through.
fn walk(
    filter: &Filter,
    count: impl Fn(&Filter) -> rusqlite::Result<u64>,
) -> rusqlite::Result<Cow<'static, str>> {
    // Few final ones among many, and those of a time, are found by their index, in any order, and
    // sorted.
    let are_few = || {
        let are_few = count(&filter.of_statuses())?.saturating_mul(FEW) < count(&Filter::default())?;
        Ok::<_, rusqlite::Error>(are_few)
    };
    if filter.is_by_end() || (filter.is_of_final() && are_few()?) {
        return Ok("invocation AS i INDEXED BY invocation_final WHERE place IS NULL".into());
    }
    Ok(match filter.look {
        None => "invocation AS i WHERE true".into(),
        Some(look) => {
            let look = look.min(1 << 62);
            format!("invocation AS i WHERE seq > (SELECT max(seq) FROM invocation) - {look}").into()
        }
    })
}

pub(super) fn list(sql: &Connection, filter: &Filter) -> rusqlite::Result<Vec<Invocation>> {
    let Some((matching, parameters)) = matching(sql, filter)? else { return Ok(Vec::new()) };
    let query = format!(
        "SELECT {BRIEF_COLUMNS} FROM ({matching}) CROSS JOIN {FROM_INVOCATION} \
         WHERE i.seq = found ORDER BY found DESC"
    );
    collect(sql, &query, params_from_iter(parameters), |row| read_invocation(&mut Fields::new(row)))
}

pub(super) fn ids(sql: &Connection, filter: &Filter) -> rusqlite::Result<Vec<InvocationId>> {
    let Some((matching, parameters)) = matching(sql, filter)? else { return Ok(Vec::new()) };
    let query =
        format!("SELECT id FROM ({matching}) CROSS JOIN invocation ON seq = found ORDER BY found DESC");
    collect(sql, &query, params_from_iter(parameters), |row| column(row, 0))
}

pub(super) fn find(sql: &Connection, part: &IdPart) -> rusqlite::Result<Vec<InvocationId>> {
    let [least, greatest] = part.range();
    // The newest by the time in their ids: the index of the ids alone is read.
    let query = formatcp!(
        "SELECT id FROM (SELECT id FROM invocation WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT {CANDIDATES}) \
         UNION SELECT id FROM (SELECT id FROM invocation ORDER BY id DESC LIMIT {LOOK}) \
         WHERE substr(hex(id), -length(?3)) = ?3 ORDER BY id LIMIT {CANDIDATES}"
    );
    let end = part.digits().to_ascii_uppercase();
    collect(sql, query, params![bound(least), bound(greatest), end], |row| column(row, 0))
}

pub(super) fn keyed(
    sql: &Connection,
    keys: &[(Arc<str>, Arc<str>)],
) -> rusqlite::Result<Vec<Option<InvocationId>>> {
    let mut statement = sql.prepare_cached(
        "SELECT id FROM task CROSS JOIN invocation ON task = key WHERE name = ?1 AND idempotency_key = ?2",
    )?;
    let mut find = |(task, key): &(Arc<str>, Arc<str>)| {
        statement.query_row([task, key], |row| column(row, 0)).optional()
    };
    keys.iter().map(&mut find).collect()
}

pub(super) fn counts(sql: &Connection, root: Option<InvocationId>) -> rusqlite::Result<Counts> {
    let read = |row: &Row<'_>| Ok((column::<Status>(row, 0)?, column::<u64>(row, 1)?));
    let rows = match root {
        None => collect(sql, "SELECT status, sum(n) FROM tally GROUP BY status", [], read),
        Some(root) => collect(
            sql,
            &format!(
                "{TREE} SELECT status, count(*) FROM tree CROSS JOIN invocation USING (seq) \
                 GROUP BY status"
            ),
            [bound(root)],
            read,
        ),
    }?;
    let mut counts = Counts::default();
    for (status, count) in rows {
        counts.add(status, count);
    }
    Ok(counts)
}

pub(super) fn unfinished_by_task(sql: &Connection) -> rusqlite::Result<Vec<(Arc<str>, u64)>> {
    let query = format!(
        "SELECT name, sum(n) FROM tally CROSS JOIN task ON key = task WHERE status IN ({}) \
         GROUP BY task HAVING sum(n) > 0 ORDER BY name",
        unfinished_words()
    );
    collect(sql, &query, [], |row| Ok((row.get(0)?, column::<u64>(row, 1)?)))
}

pub(super) fn queued_by_task(sql: &Connection, now: UnixMicros) -> rusqlite::Result<Vec<QueuedCounts>> {
    let query = "SELECT name, queued, delayed, counts.blocked, next FROM ( \
             SELECT task, n AS queued, 0 AS delayed, 0 AS blocked, NULL AS next FROM tally WHERE status = 'queued' \
             UNION ALL SELECT task, 0, 1, 0, available_at FROM invocation INDEXED BY invocation_delayed \
                 WHERE place = 'delayed' AND available_at > ?1 \
             UNION ALL SELECT task, 0, 0, blocked, NULL FROM lane WHERE blocked > 0) AS counts \
         CROSS JOIN task ON key = counts.task";
    let counts = collect(sql, query, [bound(now)], |row| {
        let next = row.get::<_, Option<i64>>(4)?.map(UnixMicros);
        Ok((row.get::<_, Arc<str>>(0)?, [row.get(1)?, row.get(2)?, row.get(3)?], next))
    })?;
    Ok(QueuedCounts::gather(counts))
}

pub(super) fn leases(sql: &Connection) -> rusqlite::Result<Vec<(RunnerId, UnixMicros)>> {
    collect(sql, "SELECT id, lease_until FROM runner ORDER BY id", [], |row| {
        Ok((column(row, 0)?, column(row, 1)?))
    })
}

pub(super) fn tree(sql: &Connection, root: InvocationId) -> rusqlite::Result<Vec<Invocation>> {
    // In the order of submits, which puts parents before children.
    let query = format!(
        "{TREE} SELECT {BRIEF_COLUMNS} FROM (SELECT seq AS found FROM tree) CROSS JOIN {FROM_INVOCATION} \
         WHERE i.seq = found ORDER BY found"
    );
    collect(sql, &query, [bound(root)], |row| read_invocation(&mut Fields::new(row)))
}

pub(super) fn history(sql: &Connection, id: InvocationId) -> rusqlite::Result<Vec<Transition>> {
    let invocation = sql
        .prepare_cached("SELECT submitted_at, moves FROM invocation WHERE id = ?1")?
        .query_row([bound(id)], |row| Ok((column(row, 0)?, row.get(1)?)))
        .optional()?;
    let Some((submitted_at, moves)) = invocation else {
        return Ok(Vec::new());
    };
    let mut history = History::new(submitted_at, moves);
    let mut statement = sql.prepare_cached(formatcp!(
        "SELECT h.n, {TRANSITION_COLUMNS} FROM invocation i CROSS JOIN history h ON h.seq = i.seq \
         WHERE i.id = ?1 ORDER BY h.n"
    ))?;
    let mut rows = statement.query([bound(id)])?;
    while let Some(row) = rows.next()? {
        let mut fields = Fields::new(row);
        let n = fields.take()?;
        let step = read_transition(&mut fields, history.status())?;
        history.push(n, step);
    }
    Ok(history.end())
}

pub(super) fn logs(sql: &Connection, id: InvocationId) -> rusqlite::Result<Vec<LogEntry>> {
    let query = formatcp!(
        "SELECT {LOG_COLUMNS} FROM invocation i CROSS JOIN log l ON l.seq = i.seq WHERE i.id = ?1 \
         ORDER BY l.n"
    );
    collect(sql, query, [bound(id)], |row| read_log_entry(&mut Fields::new(row)))
}
