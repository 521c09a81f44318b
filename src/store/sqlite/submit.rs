//! Submits, and the invocations that they collide with.

use const_format::formatcp;
use rusqlite::{OptionalExtension, Params, params};

use super::fault::Fault;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::{IdSet, InvocationId, Status};
use crate::store::decide::Above;
use crate::store::rules::GENERATIONS_IN_LANE;
use crate::store::{ChildOf, NewInvocation};

/// The statement that finds who has taken something of a task, and whether with the same
/// arguments.
macro_rules! taken {
    ($index:literal, $which:literal) => {
        formatcp!(
            "SELECT id, json = ?3 FROM invocation {index} CROSS JOIN arguments USING (seq) WHERE task = ?1 \
             AND {which}",
            index = $index,
            which = $which
        )
    };
}

/// A parent, and the first place under it that nothing stored has taken, nor any behind
/// it: most children need not be looked for.
type FreeFrom = Option<(InvocationId, u32)>;

impl<'a> Work<'a> {
    pub(super) fn submit(&mut self, submits: &'a [NewInvocation], is_careful: bool) -> Result<(), Fault> {
        let last: i64 = self
            .sql
            .prepare_cached("SELECT coalesce(max(seq), 0) FROM invocation")?
            .query_row([], |row| row.get(0))?;
        self.state.collisions.numbers = (last + 1..=last + submits.len() as i64).rev().collect();
        self.state.collisions.knows_ids = is_careful;
        let mut free = None;
        for (index, new) in submits.iter().enumerate() {
            if is_careful && self.exists(new.id)? {
                self.state.collisions.ids.insert(new.id);
            }
            if !self.state.is_orphan(new) {
                self.load_collisions(index, new, &mut free)?;
                self.load_key_of(new)?;
            }
        }
        self.load_counts(submits)?;
        let (sql, names) = (self.sql, &mut *self.names);
        let numbers = |new: &NewInvocation| -> Result<_, Fault> {
            Ok((names.task_key(sql, &new.task)?, names.component_key(sql, new.component_digest)?))
        };
        let unconfirmed = self.state.apply_submits(submits, numbers)?;
        let mut existing = IdSet::default();
        for id in unconfirmed {
            if self.exists(id)? {
                existing.insert(id);
            }
        }
        self.state.confirm(&existing, submits);
        Ok(())
    }

    /// Loads what one submit collides with. Most have nothing that could be taken but their id,
    /// which is left to the index.
    fn load_collisions(
        &mut self,
        index: usize,
        new: &NewInvocation,
        free: &mut FreeFrom,
    ) -> Result<(), Fault> {
        if new.key.is_none() && new.child_of.is_none() && new.unique.is_none() && new.lane.is_none() {
            return Ok(());
        }
        let task = self.names.task_key(self.sql, &new.task)?;
        if let Some(key) = &new.key {
            let sql = taken!("", "idempotency_key = ?2");
            let first = self.taken(sql, params![task, key, new.arguments])?;
            self.state.collisions.by_key.extend(first.map(|first| (index, first)));
        }
        if let Some(place) = &new.child_of {
            let first = self.child_at(place, task, new, free)?;
            self.state.collisions.by_place.extend(first.map(|first| (index, first)));
        }
        if let Some((key, _)) = new.unique {
            let sql = taken!("INDEXED BY invocation_unique", "unique_key = ?2 AND place IS NOT NULL");
            let first = self.taken(sql, params![task, bound(key), new.arguments])?;
            self.state.collisions.by_unique.extend(first.map(|first| (index, first)));
        }
        if new.lane.is_some() {
            self.learn_rule(task)?;
            if let Some(parent) = self.state.ancestors_to_load(new, task) {
                self.learn_ancestors(parent)?;
            }
        }
        Ok(())
    }

    fn taken(&self, sql: &str, params: impl Params) -> rusqlite::Result<Option<(InvocationId, bool)>> {
        self.sql.prepare_cached(sql)?.query_row(params, |row| Ok((column(row, 0)?, row.get(1)?))).optional()
    }

    fn exists(&self, id: InvocationId) -> rusqlite::Result<bool> {
        self.sql.prepare_cached("SELECT 1 FROM invocation WHERE id = ?1")?.exists([bound(id)])
    }

    /// The child that an earlier attempt submitted at the same place.
    fn child_at(
        &self,
        place: &ChildOf,
        task: i64,
        new: &NewInvocation,
        free: &mut FreeFrom,
    ) -> rusqlite::Result<Option<InvocationId>> {
        let from = match free.filter(|(parent, _)| *parent == place.parent) {
            Some((_, from)) => from,
            None => {
                let last: Option<u32> = self
                    .sql
                    .prepare_cached(
                        "SELECT max(child_index) FROM invocation INDEXED BY invocation_child WHERE parent = ?1",
                    )?
                    .query_row([bound(place.parent)], |row| row.get(0))?;
                let from = last.map_or(0, |last| last.saturating_add(1));
                *free = Some((place.parent, from));
                from
            }
        };
        if from <= place.index {
            return Ok(None);
        }
        self.sql
            .prepare_cached(
                "SELECT id FROM invocation INDEXED BY invocation_child \
                 CROSS JOIN arguments USING (seq) \
                 WHERE parent = ?1 AND child_index = ?2 AND task = ?3 AND json = ?4 ORDER BY seq",
            )?
            .query_row(params![bound(place.parent), place.index, task, new.arguments], |row| column(row, 0))
            .optional()
    }

    /// Learns who is above the children of a parent, and that itself.
    fn learn_ancestors(&mut self, parent: InvocationId) -> rusqlite::Result<()> {
        if self.state.collisions.above.contains_key(&parent) {
            return Ok(());
        }
        let above = self
            .sql
            .prepare_cached(formatcp!(
                "WITH RECURSIVE ancestor(id, parent, task, lane, status, generation) AS ( \
                     SELECT id, parent, task, lane, status, 1 FROM invocation WHERE id = ?1 \
                     UNION ALL \
                     SELECT i.id, i.parent, i.task, i.lane, i.status, generation + 1 FROM ancestor \
                     CROSS JOIN invocation i ON i.id = ancestor.parent \
                     WHERE generation < {GENERATIONS_IN_LANE}) \
                 SELECT id, task, lane, status FROM ancestor ORDER BY generation"
            ))?
            .query_map([bound(parent)], |row| {
                Ok(Above {
                    id: column(row, 0)?,
                    task: row.get(1)?,
                    lane: column(row, 2)?,
                    is_owned: column::<Status>(row, 3)?.is_owned(),
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        self.state.collisions.above.insert(parent, above);
        Ok(())
    }
}
