//! A transaction under way.

use std::collections::BTreeMap;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::fault::Fault;
use super::names::Names;
use super::sql::bound;
use crate::model::InvocationId;
use crate::store::columns::{HEAD_COLUMNS, read_head};
use crate::store::decide::{Head, Rank, State};
use crate::store::round::Round;
use crate::store::value::Fields;

/// A transaction under way.
pub(super) struct Work<'a> {
    pub(super) sql: &'a Connection,
    pub(super) names: &'a mut Names,
    pub(super) round: &'a mut Round,
    /// The loaded rows as they are now, and what is to be written.
    pub(super) state: State<'a>,
    /// Invocations that were admitted to their lanes and are not written yet: the task, by rank. A claim
    /// merges it with the queues.
    pub(super) admitted: BTreeMap<Rank, i64>,
}

impl Work<'_> {
    /// Takes a loaded row in, with the rules of its lane.
    pub(super) fn load(&mut self, head: Head) -> rusqlite::Result<()> {
        if head.lane.is_some() {
            self.learn_rule(head.task)?;
        }
        self.state.load(head);
        Ok(())
    }

    /// Loads what a statement with the columns [`HEAD_COLUMNS`] finds; the ids.
    pub(super) fn load_all(&mut self, sql: &str, params: impl Params) -> rusqlite::Result<Vec<InvocationId>> {
        let heads = self.heads(sql, params)?;
        let ids = heads.iter().map(|head| head.id).collect();
        heads.into_iter().try_for_each(|head| self.load(head))?;
        Ok(ids)
    }

    /// Reads the heads that a statement with the columns [`HEAD_COLUMNS`] finds.
    pub(super) fn heads(&self, sql: &str, params: impl Params) -> rusqlite::Result<Vec<Head>> {
        self.sql.prepare_cached(sql)?.query_map(params, |row| read_head(&mut Fields::new(row)))?.collect()
    }

    /// Loads those of `ids` that are there.
    pub(super) fn load_named(&mut self, ids: impl Iterator<Item = InvocationId>) -> rusqlite::Result<()> {
        let mut select =
            self.sql.prepare_cached(formatcp!("SELECT {HEAD_COLUMNS} FROM invocation i WHERE i.id = ?1"))?;
        let mut last = None;
        for id in ids {
            if last.replace(id) == Some(id) || self.state.heads.contains_key(&id) {
                continue;
            }
            let head = select.query_row([bound(id)], |row| read_head(&mut Fields::new(row)));
            if let Some(head) = head.optional()? {
                self.load(head)?;
            }
        }
        Ok(())
    }

    /// Loads the attached descendants of `parents` that are not final, those of one parent level by level, as
    /// far as there is room for them. Returns whether they are all.
    pub(super) fn load_descendants(&mut self, parents: Vec<InvocationId>) -> Result<bool, Fault> {
        let mut is_all = true;
        for parent in parents {
            let room = self.state.cascade_room();
            // Below a final child there is nothing to end: its own end did that, or is on its way to it.
            let found = self.load_all(
                formatcp!(
                    "WITH RECURSIVE doomed(found, child) AS ( \
                         SELECT seq, id FROM invocation INDEXED BY invocation_child \
                         WHERE parent = ?1 AND place IS NOT NULL AND NOT detached UNION ALL \
                         SELECT c.seq, c.id FROM doomed \
                         CROSS JOIN invocation c INDEXED BY invocation_child ON c.parent = child \
                         WHERE c.place IS NOT NULL AND NOT c.detached LIMIT ?2) \
                     SELECT {HEAD_COLUMNS} FROM doomed CROSS JOIN invocation i ON i.seq = found"
                ),
                params![bound(parent), i64::try_from(room).unwrap_or(i64::MAX)],
            )?;
            let is_full = found.len() == room;
            is_all &= !is_full;
            self.state.count_cascade(vec![parent], &found, is_full);
        }
        Ok(is_all)
    }
}
