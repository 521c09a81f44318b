//! Deadlines, and what is removed at last.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::settle::{HEAD_COLUMNS, Head, head};
use super::sql::{Sql, column, optional};
use super::write::Work;
use crate::model::{Event, InvocationId, Status, UnixMicros};
use crate::store::{Keep, Prune, PrunePosition, Pruned, rules};

/// A prune that has looked at this many ancestors stops early: the rows that it
/// removes bound its work only as long as trees are not deep.
const ANCESTORS_AT_ONCE: usize = 10_000;

/// Something final that may be removed.
struct Candidate {
    seq: i64,
    finished_at: UnixMicros,
    id: InvocationId,
    task: i64,
    parent: Option<InvocationId>,
    has_children: bool,
}

/// The earliest deadline of what is not final.
pub(super) fn next_deadline(sql: &Connection) -> rusqlite::Result<Option<UnixMicros>> {
    sql.prepare_cached(
        "SELECT deadline FROM invocation INDEXED BY invocation_deadline \
         WHERE deadline IS NOT NULL AND place IS NOT NULL ORDER BY deadline LIMIT 1",
    )?
    .query_row([], |row| column(row, 0))
    .optional()
}

impl Work<'_> {
    /// Ends what is past its deadline, oldest deadline first; whether some may be
    /// left.
    pub(super) fn expire(&mut self) -> rusqlite::Result<bool> {
        for _ in 0..rules::EXPIRED_AT_ONCE {
            // One by one: each may take others along.
            let overdue = self
                .sql
                .prepare_cached(concat!(
                    "SELECT ",
                    head!(),
                    ", deadline FROM invocation INDEXED BY invocation_deadline \
                     WHERE deadline IS NOT NULL AND place IS NOT NULL AND deadline <= ?1 \
                     ORDER BY deadline, seq LIMIT 1"
                ))?
                .query_row([Sql(self.now)], |row| Ok((Head::read(row)?, column(row, HEAD_COLUMNS)?)))
                .optional()?;
            let Some((head, deadline)) = overdue else {
                return Ok(false);
            };
            let (id, has_children) = (head.id, head.has_children);
            self.end(head, Event::Expire, rules::expired(deadline))?;
            if has_children {
                self.end_children(id, Status::Failed)?;
            }
        }
        Ok(true)
    }

    /// Removes what is final and old. The history must have been written.
    pub(super) fn prune(&mut self, prune: &Prune) -> rusqlite::Result<Pruned> {
        let mut removed = 0;
        let mut looked_at = 0;
        // Final with nothing unfinished above.
        let mut clear = HashSet::new();
        let mut ancestors = 0;
        let start = prune.after.unwrap_or(PrunePosition { keep: 0, last: None, passed: 0 });
        for (index, keep) in prune.keep.iter().enumerate().skip(start.keep) {
            let mut position = match index == start.keep {
                true => start,
                false => PrunePosition { keep: index, last: None, passed: 0 },
            };
            let mut surplus = self.surplus(keep, position.passed)?;
            // One more than may be looked at tells whether that was all.
            let limit = (prune.max - looked_at).saturating_add(1);
            for candidate in self.candidates(keep.status, position.last, limit)? {
                if !rules::is_surplus(keep, candidate.finished_at, surplus, self.now) {
                    break;
                }
                if looked_at == prune.max || ancestors > ANCESTORS_AT_ONCE {
                    return Ok(Pruned { removed, next: Some(position) });
                }
                looked_at += 1;
                surplus = surplus.saturating_sub(1);
                position.last = Some((candidate.finished_at, candidate.seq));
                if self.has_unfinished_children(&candidate)?
                    || self.has_unfinished_ancestor(&candidate, &mut clear, &mut ancestors)?
                {
                    position.passed += 1;
                } else {
                    self.remove(&candidate, keep.status)?;
                    removed += 1;
                }
            }
        }
        Ok(Pruned { removed, next: None })
    }

    /// How many more of a status there are than its rule keeps, without those
    /// that were passed by.
    fn surplus(&self, keep: &Keep, passed: u64) -> rusqlite::Result<u64> {
        let Some(count) = keep.count else {
            return Ok(0);
        };
        let before: i64 = self
            .sql
            .prepare_cached("SELECT coalesce(sum(n), 0) FROM tally WHERE status = ?1")?
            .query_row([Sql(keep.status)], |row| row.get(0))?;
        let of_status = self.tally.iter().filter(|((_, status), _)| *status == keep.status);
        let now = before + of_status.map(|(_, change)| change).sum::<i64>();
        Ok(u64::try_from(now).unwrap_or(0).saturating_sub(count).saturating_sub(passed))
    }

    /// The first of a status to become final after `last` did.
    fn candidates(
        &self,
        status: Status,
        last: Option<(UnixMicros, i64)>,
        limit: usize,
    ) -> rusqlite::Result<Vec<Candidate>> {
        let (at, seq) = last.unwrap_or((UnixMicros(i64::MIN), 0));
        self.sql
            .prepare_cached(
                "SELECT seq, finished_at, id, task, parent, has_children \
                 FROM invocation INDEXED BY invocation_final \
                 WHERE place IS NULL AND status = ?1 AND finished_at >= ?2 \
                 AND (finished_at > ?2 OR seq > ?3) ORDER BY finished_at, seq LIMIT ?4",
            )?
            .query_map(params![Sql(status), Sql(at), seq, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok(Candidate {
                    seq: row.get(0)?,
                    finished_at: column(row, 1)?,
                    id: column(row, 2)?,
                    task: row.get(3)?,
                    parent: optional(row, 4)?,
                    has_children: row.get(5)?,
                })
            })?
            .collect()
    }

    /// Whether it has children that outlived it. Attached ones ended with it.
    fn has_unfinished_children(&self, candidate: &Candidate) -> rusqlite::Result<bool> {
        if !candidate.has_children {
            return Ok(false);
        }
        self.sql
            .prepare_cached(
                "SELECT 1 FROM invocation INDEXED BY invocation_detached \
                 WHERE parent = ?1 AND detached = 1 AND place IS NOT NULL",
            )?
            .exists([Sql(candidate.id)])
    }

    /// Whether something above it may be run again, and look for it.
    fn has_unfinished_ancestor(
        &self,
        candidate: &Candidate,
        clear: &mut HashSet<InvocationId>,
        ancestors: &mut usize,
    ) -> rusqlite::Result<bool> {
        let mut look =
            self.sql.prepare_cached("SELECT parent, place IS NOT NULL FROM invocation WHERE id = ?1")?;
        let mut path = Vec::new();
        let mut above = candidate.parent;
        while let Some(id) = above.filter(|id| !clear.contains(id)) {
            *ancestors += 1;
            let found = look.query_row([Sql(id)], |row| Ok((optional(row, 0)?, row.get(1)?))).optional()?;
            match found {
                Some((_, true)) => return Ok(true),
                Some((parent, false)) => above = parent,
                // What was removed had no unfinished ancestor, and nothing final
                // becomes unfinished again.
                None => above = None,
            }
            path.push(id);
        }
        clear.extend(path);
        Ok(false)
    }

    fn remove(&mut self, candidate: &Candidate, status: Status) -> rusqlite::Result<()> {
        for delete in [
            "DELETE FROM invocation WHERE seq = ?1",
            "DELETE FROM arguments WHERE seq = ?1",
            "DELETE FROM outcome WHERE seq = ?1",
            "DELETE FROM history WHERE seq = ?1",
            "DELETE FROM log WHERE seq = ?1",
        ] {
            self.sql.prepare_cached(delete)?.execute([candidate.seq])?;
        }
        self.count(candidate.task, status, -1);
        Ok(())
    }
}
