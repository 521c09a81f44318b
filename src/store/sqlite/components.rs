//! Components that travel with the store.

use rusqlite::{Connection, OptionalExtension, params};

use super::sql::{bound, column};
use super::work::Work;
use crate::model::ComponentDigest;
use crate::store::{NewComponent, PushedComponent};

impl Work<'_> {
    pub(super) fn push(&mut self, new: &NewComponent) -> rusqlite::Result<()> {
        let is_there = self
            .sql
            .prepare_cached("SELECT 1 FROM component_bytes WHERE digest = ?1")?
            .exists([bound(&new.digest)])?;
        if !is_there {
            self.sql
                .prepare_cached("INSERT INTO component_bytes (digest, bytes) VALUES (?1, ?2)")?
                .execute(params![bound(&new.digest), &*new.bytes])?;
        }
        // A new row: the last one is the newest.
        self.sql
            .prepare_cached("DELETE FROM pushed WHERE name = ?1 AND digest = ?2")?
            .execute(params![new.name, bound(&new.digest)])?;
        self.sql
            .prepare_cached("INSERT INTO pushed (name, digest, at) VALUES (?1, ?2, ?3)")?
            .execute(params![new.name, bound(&new.digest), bound(self.state.now)])?;
        self.state.is_news = true;
        Ok(())
    }
}

pub(super) fn components(sql: &Connection) -> rusqlite::Result<Vec<PushedComponent>> {
    sql.prepare_cached(
        "SELECT name, digest, length(bytes), at FROM pushed CROSS JOIN component_bytes USING (digest) \
         ORDER BY name, pushed.n DESC",
    )?
    .query_map([], |row| {
        Ok(PushedComponent {
            name: row.get(0)?,
            digest: column(row, 1)?,
            size: column(row, 2)?,
            pushed_at: column(row, 3)?,
        })
    })?
    .collect()
}

pub(super) fn component(sql: &Connection, digest: ComponentDigest) -> rusqlite::Result<Option<Vec<u8>>> {
    sql.prepare_cached("SELECT bytes FROM component_bytes WHERE digest = ?1")?
        .query_row([bound(&digest)], |row| row.get(0))
        .optional()
}
