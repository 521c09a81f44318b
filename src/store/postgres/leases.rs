//! The leases of runners: heartbeats, stock-taking, recovery.

use const_format::formatcp;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{column, read_heads, uuid};
use super::work::Work;
use crate::model::{InvocationId, RunnerId};
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::FORGOTTEN_AT_ONCE;
use crate::store::rules::OWNED;
use crate::store::{Heartbeat, Inventory};

impl Work<'_> {
    /// Gives back what a runner owns without knowing of it.
    pub(super) async fn take_stock(&mut self, inventory: &Inventory) -> Result<(), Fault> {
        let ask = Ask::new(formatcp!(
            "SELECT {HEAD_COLUMNS} FROM @invocation i WHERE i.runner = $1 AND i.place = {OWNED} \
             ORDER BY i.seq + 0 FOR UPDATE"
        ));
        let ask = ask.with(uuid(inventory.runner.as_bytes()));
        let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
        let heads = read_heads(&rows)?;
        let owned: Vec<_> = heads.iter().map(|head| head.id).collect();
        self.load(heads);
        Ok(self.state.take_stock(inventory, &owned)?)
    }

    /// Extends the lease of a runner, and tells it what was taken from it, once.
    pub(super) async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<(), Fault> {
        let mut asks = Vec::new();
        if self.state.heartbeat(heartbeat) {
            asks.push(self.extend_lease(heartbeat));
        }
        asks.push(
            Ask::new("DELETE FROM @revoked WHERE runner = $1 RETURNING id")
                .with(uuid(heartbeat.runner.as_bytes())),
        );
        let rows = self.write_and_ask(asks).await?.pop().unwrap_or_default();
        self.state.receipt.revoked = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        self.state.receipt.revoked.sort_unstable();
        Ok(())
    }

    /// Extends the lease of a runner, never shortens it.
    pub(super) fn extend_lease(&self, heartbeat: &Heartbeat) -> Ask<'static> {
        Ask::new(
            "INSERT INTO @runner AS r (id, lease_until, is_lost) VALUES ($1, $2, false) \
             ON CONFLICT (id) DO UPDATE SET lease_until = greatest(r.lease_until, excluded.lease_until)",
        )
        .with(uuid(heartbeat.runner.as_bytes()))
        .with(self.state.now.plus(heartbeat.lease).0)
    }

    /// Takes the claims of dead runners away.
    pub(super) async fn recover(&mut self) -> Result<(), Fault> {
        // One that is locked is giving a sign of life.
        let ask = Ask::new(formatcp!(
            "SELECT r.id FROM @runner r WHERE NOT r.is_lost AND r.lease_until <= $1 AND EXISTS ( \
                 SELECT 1 FROM @invocation i WHERE i.runner = r.id AND i.place = {OWNED} OFFSET 0) \
             ORDER BY r.id FOR UPDATE SKIP LOCKED"
        ));
        let dead = self.write_and_ask(vec![ask.with(self.state.now.0)]).await?.pop().unwrap_or_default();
        let dead: Vec<RunnerId> = dead.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        if !dead.is_empty() {
            self.state.lost.extend(&dead);
            let runners: Vec<_> = dead.iter().map(|runner| uuid(runner.as_bytes())).collect();
            let owned = Ask::new(formatcp!(
                "SELECT {HEAD_COLUMNS} FROM @invocation i WHERE i.runner = ANY($1) AND i.place = {OWNED} \
                 ORDER BY i.seq + 0 FOR UPDATE"
            ));
            let mark = Ask::new("UPDATE @runner SET is_lost = true WHERE id = ANY($1)");
            let asks = vec![mark.with(runners.clone()), owned.with(runners)];
            let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
            let heads = read_heads(&rows)?;
            let mut owned: Vec<(RunnerId, InvocationId)> = Vec::with_capacity(heads.len());
            owned.extend(heads.iter().filter_map(|head| Some((head.runner?, head.id))));
            self.load(heads);
            // Of one runner in the order of their submits, as the rows are.
            owned.sort_by_key(|(runner, _)| *runner);
            self.lock_descendants(self.state.doomed_by_recovery(&owned)).await?;
            self.state.recover(&owned)?;
        }
        self.forget_runners().await
    }

    /// Forgets runners that own nothing and are not to be told anything.
    async fn forget_runners(&mut self) -> Result<(), Fault> {
        let mut asks = Vec::new();
        for (is_lost, before) in self.state.forgotten_before() {
            asks.push(
                Ask::new(formatcp!(
                    "DELETE FROM @runner WHERE id = ANY(ARRAY( \
                     SELECT r.id FROM @runner r WHERE r.is_lost = $1 AND r.lease_until <= $2 \
                     AND NOT EXISTS ( \
                         SELECT 1 FROM @invocation i WHERE i.runner = r.id AND i.place = {OWNED} \
                         OFFSET 0) LIMIT $3 FOR UPDATE SKIP LOCKED))"
                ))
                .with(is_lost)
                .with(before)
                .with(FORGOTTEN_AT_ONCE),
            );
        }
        asks.push(Ask::new(
            "DELETE FROM @revoked v WHERE NOT EXISTS (SELECT 1 FROM @runner r WHERE r.id = v.runner OFFSET 0)",
        ));
        self.write_and_ask(asks).await.map(|_| ())
    }
}
