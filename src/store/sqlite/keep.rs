//! Deadlines, and what is removed at last.

use std::collections::HashSet;
use std::sync::Arc;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params};

use super::fault::Fault;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::{DEFAULT_QUEUE, Held, InvocationId, Status, UnixMicros};
use crate::store::columns::{HEAD_COLUMNS, OLD_COLUMNS, read_old};
use crate::store::decide::{Ancestry, Old, Walk};
use crate::store::value::Fields;
use crate::store::{Prune, rules};

/// The earliest deadline of what is not final.
pub(super) fn next_deadline(sql: &Connection) -> rusqlite::Result<Option<UnixMicros>> {
    sql.prepare_cached(
        "SELECT deadline FROM invocation INDEXED BY invocation_deadline \
         WHERE deadline IS NOT NULL AND place IS NOT NULL ORDER BY deadline LIMIT 1",
    )?
    .query_row([], |row| column(row, 0))
    .optional()
}

/// Whether anything is past its deadline.
pub(super) fn has_overdue(sql: &Connection, now: UnixMicros) -> rusqlite::Result<bool> {
    sql.prepare_cached(
        "SELECT 1 FROM invocation INDEXED BY invocation_deadline \
         WHERE deadline IS NOT NULL AND place IS NOT NULL AND deadline <= ?1 LIMIT 1",
    )?
    .exists([bound(now)])
}

/// Looks up the relatives of what may be removed.
struct Family<'s>(&'s Connection);

impl Ancestry for Family<'_> {
    type Error = Fault;

    fn above(&mut self, id: InvocationId) -> Result<Option<(Option<InvocationId>, bool)>, Fault> {
        let found = self
            .0
            .prepare_cached("SELECT parent, place IS NOT NULL FROM invocation WHERE id = ?1")?
            .query_row([bound(id)], |row| Ok((column(row, 0)?, row.get(1)?)));
        Ok(found.optional()?)
    }

    fn has_unfinished_children(&mut self, id: InvocationId) -> Result<bool, Fault> {
        Ok(self
            .0
            .prepare_cached(
                "SELECT 1 FROM invocation INDEXED BY invocation_detached \
                 WHERE parent = ?1 AND detached = 1 AND place IS NOT NULL",
            )?
            .exists([bound(id)])?)
    }
}

impl Work<'_> {
    /// Ends what is past its deadline, oldest deadline first.
    pub(super) fn expire(&mut self) -> Result<(), Fault> {
        let mut left = rules::EXPIRED_AT_ONCE;
        while self.state.may_expire && left > 0 {
            self.write_all()?;
            let overdue = self.load_all(
                formatcp!(
                    "SELECT {HEAD_COLUMNS} FROM invocation i INDEXED BY invocation_deadline \
                     WHERE deadline IS NOT NULL AND place IS NOT NULL AND deadline <= ?1 \
                     ORDER BY deadline, seq LIMIT ?2"
                ),
                params![bound(self.state.now), rules::EXPIRED_AT_ONCE as i64],
            )?;
            self.load_descendants(self.state.parents_among(overdue.iter().copied()))?;
            self.state.may_expire = !overdue.is_empty();
            self.state.expire(&overdue, &mut left)?;
        }
        self.state.receipt.more = left == 0;
        Ok(())
    }

    /// Removes what is final and old.
    pub(super) fn prune(&mut self, prune: &Prune) -> Result<(), Fault> {
        self.write_all()?;
        self.write_history()?;
        let mut walk = Walk::new(prune, self.task_keys(prune)?);
        while let Some(keep) = walk.keep() {
            let there_are = if keep.depends_on_number() { self.counted(&walk, keep.status)? } else { 0 };
            let mut old = self.final_since(keep.status, walk.after(), walk.limit())?;
            let is_all = walk.choose(keep, there_are, self.state.now, &mut old);
            let (gone, is_tired) = walk.pass(old, &mut Family(self.sql))?;
            if walk.removes() {
                gone.iter().try_for_each(|one| self.remove(one, keep.status))?;
            }
            walk.note_removed(gone.len(), is_all && !is_tired);
            if !is_all || is_tired {
                break;
            }
        }
        self.state.receipt.pruned = Some(walk.end());
        Ok(())
    }

    /// Finds the numbers of the tasks that a prune names, if it names any.
    fn task_keys(&self, prune: &Prune) -> rusqlite::Result<Option<HashSet<i64>>> {
        let Some(tasks) = &prune.tasks else { return Ok(None) };
        let mut find = self.sql.prepare_cached("SELECT key FROM task WHERE name = ?1")?;
        let keys = tasks.iter().map(|task| find.query_row([task], |row| row.get(0)).optional());
        keys.filter_map(Result::transpose).collect::<rusqlite::Result<_>>().map(Some)
    }

    /// How many have a status, of the tasks that a prune is about.
    fn counted(&self, walk: &Walk<'_>, status: Status) -> rusqlite::Result<i64> {
        let mut find = self.sql.prepare_cached("SELECT task, n FROM tally WHERE status = ?1")?;
        let counts = find.query_map([bound(status)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut sum = self.state.moves.counted(status, |task| walk.is_about(task));
        for count in counts {
            let (task, n): (i64, i64) = count?;
            sum += if walk.is_about(task) { n } else { 0 };
        }
        Ok(sum)
    }

    /// The first of a status to become final after `last` did.
    fn final_since(
        &self,
        status: Status,
        (at, seq): (UnixMicros, i64),
        limit: usize,
    ) -> rusqlite::Result<Vec<Old>> {
        self.sql
            .prepare_cached(formatcp!(
                "SELECT {OLD_COLUMNS} FROM invocation INDEXED BY invocation_final \
                 WHERE place IS NULL AND status = ?1 AND finished_at >= ?2 \
                 AND (finished_at > ?2 OR seq > ?3) ORDER BY finished_at, seq LIMIT ?4"
            ))?
            .query_map(
                params![bound(status), bound(at), seq, i64::try_from(limit).unwrap_or(i64::MAX)],
                |row| read_old(&mut Fields::new(row)),
            )?
            .collect()
    }

    fn remove(&mut self, old: &Old, status: Status) -> rusqlite::Result<()> {
        let mut bytes = 0;
        for delete in [
            "DELETE FROM arguments WHERE seq = ?1 RETURNING octet_length(json)",
            "DELETE FROM outcome WHERE seq = ?1 RETURNING coalesce(octet_length(failure), octet_length(value))",
        ] {
            let found: Option<i64> =
                self.sql.prepare_cached(delete)?.query_row([old.seq], |row| row.get(0)).optional()?;
            bytes += found.unwrap_or(0);
        }
        for delete in [
            "DELETE FROM invocation WHERE seq = ?1",
            "DELETE FROM history WHERE seq = ?1",
            "DELETE FROM log WHERE seq = ?1",
        ] {
            self.sql.prepare_cached(delete)?.execute([old.seq])?;
        }
        let change = Held { unfinished: 0, bytes: -bytes };
        old.account(status).hold(change, &mut self.state.moves, &mut self.state.quotas);
        self.state.moves.count(old.task, status, -1);
        self.state.fairness.release(old.fairness_key);
        Ok(())
    }

    /// Forgets the names of tasks that nothing refers to, of those behind `after`.
    pub(super) fn forget_names(&mut self, after: &str) -> rusqlite::Result<()> {
        // Without a rule a row says nothing but the name.
        let mut select = self.sql.prepare_cached(formatcp!(
            "SELECT t.key, t.name, \
                 (t.queue IS NULL OR t.queue = '{DEFAULT_QUEUE}') AND t.rule_by IS NULL \
                 AND t.concurrency IS NULL AND t.rate IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM tally y WHERE y.task = t.key AND y.n <> 0) \
                 AND NOT EXISTS (SELECT 1 FROM lane l WHERE l.task = t.key) \
                 AND NOT EXISTS (SELECT 1 FROM start s WHERE s.task = t.key) \
             FROM task t WHERE t.name > ?1 ORDER BY t.name LIMIT ?2"
        ))?;
        let limit = rules::NAMES_LOOKED_AT + 1;
        let mut found = select
            .query_map(params![after, limit as i64], |row| Ok((row.get(0)?, column(row, 1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, Arc<str>, bool)>>>()?;
        let has_more = found.len() == limit;
        found.truncate(rules::NAMES_LOOKED_AT);
        let mut forgotten = 0;
        for (task, ..) in
            found.iter().filter(|(task, _, is_unused)| *is_unused && !self.state.moves.is_about(*task))
        {
            for delete in ["DELETE FROM tally WHERE task = ?1", "DELETE FROM task WHERE key = ?1"] {
                self.sql.prepare_cached(delete)?.execute([task])?;
            }
            forgotten += 1;
        }
        if forgotten > 0 {
            self.sql.prepare_cached("UPDATE deployment SET forgotten = forgotten + 1")?.execute([])?;
            self.names.forget();
        }
        self.state.receipt.names_after = found.pop().filter(|_| has_more).map(|(_, name, _)| name);
        Ok(())
    }
}
