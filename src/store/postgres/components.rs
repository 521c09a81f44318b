//! Components that travel with the store.

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use super::work::Work;
use crate::model::ComponentDigest;
use crate::store::{Batch, PushedComponent};

impl Work<'_> {
    pub(super) async fn push(&mut self, batch: &Batch) -> Result<(), Fault> {
        for new in &batch.pushes {
            let digest = || new.digest.as_bytes().to_vec();
            // Not sent if they are there.
            let there = Ask::new("SELECT 1 FROM @component_bytes WHERE digest = $1").with(digest());
            if self.link.ask_one(there).await?.is_empty() {
                let ask = Ask::new(
                    "INSERT INTO @component_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                );
                self.link.ask_one(ask.with(digest()).with(&*new.bytes)).await?;
            }
            // A new row: the last one is the newest.
            let delete = Ask::new("DELETE FROM @pushed WHERE name = $1 AND digest = $2");
            let insert = Ask::new("INSERT INTO @pushed (name, digest, at) VALUES ($1, $2, $3)");
            self.link
                .ask(vec![
                    delete.with(new.name.to_string()).with(digest()),
                    insert.with(new.name.to_string()).with(digest()).with(self.state.now.0),
                ])
                .await?;
            self.state.is_news = true;
        }
        Ok(())
    }
}

pub(super) async fn components(link: &Link) -> Result<Vec<PushedComponent>, Fault> {
    let ask = Ask::new(
        "SELECT p.name, p.digest, octet_length(b.bytes)::bigint, p.at \
         FROM @pushed p JOIN @component_bytes b ON b.digest = p.digest \
         ORDER BY p.name COLLATE \"C\", p.n DESC",
    );
    let read = |row: &Row| {
        Ok(PushedComponent {
            name: column(row, 0)?,
            digest: column(row, 1)?,
            size: column(row, 2)?,
            pushed_at: column(row, 3)?,
        })
    };
    link.read(ask).await?.iter().map(read).collect()
}

pub(super) async fn component(link: &Link, digest: ComponentDigest) -> Result<Option<Vec<u8>>, Fault> {
    let ask = Ask::new("SELECT bytes FROM @component_bytes WHERE digest = $1");
    let rows = link.read(ask.with(digest.as_bytes().to_vec())).await?;
    rows.first().map_or(Ok(None), |row| column(row, 0))
}
