//! The descendants of what ended, beyond those that the transaction of its end could cancel.

use rusqlite::{Connection, params};

use super::fault::Fault;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::{InvocationId, Status};
use crate::store::rules::CASCADED_AT_ONCE;

/// Whether earlier transactions have left any.
pub(super) fn is_left(sql: &Connection) -> rusqlite::Result<bool> {
    sql.prepare_cached("SELECT 1 FROM cascade LIMIT 1")?.exists([])
}

impl Work<'_> {
    /// Cancels some of them.
    pub(super) fn cascade(&mut self) -> Result<(), Fault> {
        if !self.state.may_cascade {
            return Ok(());
        }
        self.write_all()?;
        let parents = self
            .sql
            .prepare_cached("SELECT seq, id, status FROM cascade ORDER BY seq LIMIT ?1")?
            .query_map([CASCADED_AT_ONCE as i64], |row| Ok((row.get(0)?, column(row, 1)?, column(row, 2)?)))?
            .collect::<rusqlite::Result<Vec<(i64, InvocationId, Status)>>>()?;
        let is_all = self.load_descendants(parents.iter().map(|(_, id, _)| *id).collect())?;
        if is_all {
            let mut delete = self.sql.prepare_cached("DELETE FROM cascade WHERE seq = ?1")?;
            parents.iter().try_for_each(|(seq, ..)| delete.execute([seq]).map(|_| ()))?;
        }
        let parents: Vec<_> = parents.into_iter().map(|(_, id, status)| (id, status)).collect();
        Ok(self.state.cascade(&parents, is_all)?)
    }

    /// Notes whose children are left for later.
    pub(super) fn write_cascade(&mut self) -> rusqlite::Result<()> {
        for (seq, (id, status)) in self.state.take_cascade() {
            self.sql
                .prepare_cached("INSERT OR IGNORE INTO cascade (seq, id, status) VALUES (?1, ?2, ?3)")?
                .execute(params![seq, bound(id), bound(status)])?;
        }
        Ok(())
    }
}
