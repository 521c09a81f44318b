//! Components that travel with the store.

use std::sync::Arc;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params};

use super::sql::{bound, column, unfinished_words};
use super::work::Work;
use crate::model::{ComponentDigest, ComponentFacts};
use crate::store::columns::{PUSHED_COLUMNS, read_pushed};
use crate::store::decide::{add_answer, bind, task_range};
use crate::store::value::Fields;
use crate::store::{Batch, NewComponent, PushedComponent, RunnerAnswer};

impl Work<'_> {
    /// Pushes, removes, and forgets what was removed and is not needed any more.
    pub(super) fn change_components(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        batch.pushes.iter().try_for_each(|push| self.push(push))?;
        for name in &batch.removals {
            let removed = self
                .sql
                .prepare_cached("UPDATE pushed SET removed_at = ?2 WHERE name = ?1 AND removed_at IS NULL")?
                .execute(params![name, bound(self.state.now)])?;
            self.state.receipt.removed.push(removed > 0);
        }
        self.keep_answers(&batch.answers)?;
        if self.forget_removed()? || !batch.pushes.is_empty() || self.state.receipt.removed.contains(&true) {
            self.sql.prepare_cached("UPDATE deployment SET version = version + 1")?.execute([])?;
            self.state.is_news = true;
        }
        Ok(())
    }

    /// Keeps the answers of runners to pushes.
    fn keep_answers(&mut self, answers: &[RunnerAnswer]) -> rusqlite::Result<()> {
        for answer in answers {
            let key = params![answer.name, bound(&answer.digest)];
            let facts: Option<ComponentFacts> = self
                .sql
                .prepare_cached(
                    "SELECT facts FROM pushed WHERE name = ?1 AND digest = ?2 AND facts IS NOT NULL",
                )?
                .query_row(key, |row| column(row, 0))
                .optional()?;
            let Some(mut facts) = facts else { continue };
            add_answer(&mut facts, answer);
            self.write_facts(&answer.name, &answer.digest, &facts)?;
            self.state.is_news = true;
        }
        Ok(())
    }

    fn write_facts(
        &self,
        name: &str,
        digest: &ComponentDigest,
        facts: &ComponentFacts,
    ) -> rusqlite::Result<()> {
        self.sql
            .prepare_cached("UPDATE pushed SET facts = ?3 WHERE name = ?1 AND digest = ?2")?
            .execute(params![name, bound(digest), bound(facts)])
            .map(|_| ())
    }

    fn push(&mut self, new: &NewComponent) -> rusqlite::Result<()> {
        let is_there = self
            .sql
            .prepare_cached("SELECT 1 FROM component_bytes WHERE digest = ?1")?
            .exists([bound(&new.digest)])?;
        if !is_there {
            self.sql
                .prepare_cached("INSERT INTO component_bytes (digest, bytes) VALUES (?1, ?2)")?
                .execute(params![bound(&new.digest), &*new.bytes])?;
        }
        let known = components(self.sql)?;
        let (facts, others) = bind(&known, new);
        for (place, facts) in others {
            self.write_facts(&known[place].name, &known[place].digest, &facts)?;
        }
        // A new row: the last one is the newest.
        self.sql
            .prepare_cached("DELETE FROM pushed WHERE name = ?1 AND digest = ?2")?
            .execute(params![new.name, bound(&new.digest)])?;
        self.sql
            .prepare_cached(
                "INSERT INTO pushed (name, digest, at, labels, facts) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                new.name,
                bound(&new.digest),
                bound(self.state.now),
                bound(&new.labels),
                bound(&facts)
            ])?;
        Ok(())
    }

    /// Forgets the removed components of which no invocation is unfinished. Returns whether there were any.
    fn forget_removed(&mut self) -> rusqlite::Result<bool> {
        let removed = self
            .sql
            .prepare_cached("SELECT DISTINCT name FROM pushed WHERE removed_at IS NOT NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<Arc<str>>>>()?;
        let mut forgotten = 0;
        for name in removed {
            let tasks = task_range(&name);
            let is_needed = self
                .sql
                .prepare_cached(&format!(
                    "SELECT 1 FROM task t CROSS JOIN tally y ON y.task = t.key \
                     WHERE t.name >= ?1 AND t.name < ?2 AND y.n > 0 AND y.status IN ({})",
                    unfinished_words()
                ))?
                .exists([tasks.start, tasks.end])?;
            if !is_needed {
                forgotten += self
                    .sql
                    .prepare_cached("DELETE FROM pushed WHERE name = ?1 AND removed_at IS NOT NULL")?
                    .execute([name])?;
            }
        }
        if forgotten > 0 {
            self.sql
                .prepare_cached(
                    "DELETE FROM component_bytes WHERE digest NOT IN (SELECT digest FROM pushed)",
                )?
                .execute([])?;
        }
        Ok(forgotten > 0)
    }
}

pub(super) fn components(sql: &Connection) -> rusqlite::Result<Vec<PushedComponent>> {
    sql.prepare_cached(formatcp!(
        "SELECT {PUSHED_COLUMNS} FROM pushed p CROSS JOIN component_bytes b ON b.digest = p.digest \
         ORDER BY p.name, p.removed_at IS NOT NULL, p.n DESC"
    ))?
    .query_map([], |row| read_pushed(&mut Fields::new(row)))?
    .collect()
}

pub(super) fn components_version(sql: &Connection) -> rusqlite::Result<i64> {
    sql.prepare_cached("SELECT version FROM deployment")?.query_row([], |row| row.get(0))
}

pub(super) fn component(sql: &Connection, digest: ComponentDigest) -> rusqlite::Result<Option<Vec<u8>>> {
    sql.prepare_cached("SELECT bytes FROM component_bytes WHERE digest = ?1")?
        .query_row([bound(&digest)], |row| row.get(0))
        .optional()
}
