//! The leases of runners: heartbeats, stock-taking, recovery.

use const_format::formatcp;
use rusqlite::params;

use super::fault::Fault;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::RunnerId;
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::FORGOTTEN_AT_ONCE;
use crate::store::rules::OWNED;
use crate::store::{Heartbeat, Inventory};

const OF_RUNNER: &str = formatcp!(
    "SELECT {HEAD_COLUMNS} FROM invocation i INDEXED BY invocation_owned WHERE runner = ?1 \
     AND place = {OWNED} ORDER BY seq"
);

impl Work<'_> {
    /// Gives back what a runner owns without knowing of it.
    pub(super) fn take_stock(&mut self, inventory: &Inventory) -> Result<(), Fault> {
        self.write_all()?;
        let owned = self.load_all(OF_RUNNER, [bound(inventory.runner)])?;
        Ok(self.state.take_stock(inventory, &owned)?)
    }

    /// Extends the lease of a runner, and tells it what was taken from it, once.
    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<(), Fault> {
        self.write_all()?;
        if self.state.heartbeat(heartbeat) {
            self.extend_lease(heartbeat)?;
        }
        self.state.receipt.revoked = self
            .sql
            .prepare_cached("DELETE FROM revoked WHERE runner = ?1 RETURNING id")?
            .query_map([bound(heartbeat.runner)], |row| column(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        self.state.receipt.revoked.sort_unstable();
        Ok(())
    }

    /// Extends the lease of a runner, never shortens it.
    pub(super) fn extend_lease(&self, heartbeat: &Heartbeat) -> rusqlite::Result<()> {
        self.sql
            .prepare_cached(
                "INSERT INTO runner (id, lease_until, is_lost) VALUES (?1, ?2, 0) \
                 ON CONFLICT DO UPDATE SET lease_until = max(lease_until, excluded.lease_until)",
            )?
            .execute(params![bound(heartbeat.runner), bound(self.state.now.plus(heartbeat.lease))])
            .map(|_| ())
    }

    /// Takes the claims of dead runners away.
    pub(super) fn recover(&mut self) -> Result<(), Fault> {
        self.write_all()?;
        let dead: Vec<RunnerId> = self
            .sql
            .prepare_cached(formatcp!(
                "SELECT id FROM runner r INDEXED BY runner_lease \
                 WHERE is_lost = 0 AND lease_until <= ?1 AND EXISTS ( \
                     SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                     WHERE i.runner = r.id AND i.place = {OWNED}) ORDER BY id"
            ))?
            .query_map([bound(self.state.now)], |row| column(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        self.state.lost.extend(&dead);
        let mut owned = Vec::new();
        for runner in dead {
            self.sql
                .prepare_cached("UPDATE runner SET is_lost = 1 WHERE id = ?1")?
                .execute([bound(runner)])?;
            owned.extend(self.load_all(OF_RUNNER, [bound(runner)])?.into_iter().map(|id| (runner, id)));
        }
        self.load_descendants(self.state.doomed_by_recovery(&owned))?;
        self.state.recover(&owned)?;
        self.write_all()?;
        // Who owns nothing and is not to be told anything can be forgotten.
        for (is_lost, before) in self.state.forgotten_before() {
            self.sql
                .prepare_cached(formatcp!(
                    "DELETE FROM runner WHERE id IN ( \
                     SELECT id FROM runner r INDEXED BY runner_lease \
                     WHERE is_lost = ?1 AND lease_until <= ?2 AND NOT EXISTS ( \
                         SELECT 1 FROM invocation i INDEXED BY invocation_owned \
                         WHERE i.runner = r.id AND i.place = {OWNED}) LIMIT ?3)"
                ))?
                .execute(params![is_lost, before, FORGOTTEN_AT_ONCE])?;
        }
        self.sql.execute("DELETE FROM revoked WHERE runner NOT IN (SELECT id FROM runner)", [])?;
        Ok(())
    }
}
