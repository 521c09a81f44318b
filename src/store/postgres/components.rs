//! Components that travel with the store.

use std::sync::Arc;

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use super::work::Work;
use crate::model::{ComponentDigest, ComponentFacts, Status};
use crate::store::columns::{PUSHED_COLUMNS, read_pushed};
use crate::store::decide::{add_answer, bind};
use crate::store::value::{Fields, json_text};
use crate::store::{Batch, NewComponent, PushedComponent, RunnerAnswer};

impl Work<'_> {
    /// Pushes, removes, and forgets what was removed and is not needed any more.
    pub(super) async fn change_components(&mut self, batch: &Batch) -> Result<(), Fault> {
        // One at a time: a push reads what the one before it has bound.
        self.link.ask_one(Ask::new("SELECT 1 FROM @deployment FOR UPDATE")).await?;
        for new in &batch.pushes {
            self.push(new).await?;
        }
        for name in &batch.removals {
            let ask = Ask::new(
                "UPDATE @pushed SET removed_at = $2 WHERE name = $1 AND removed_at IS NULL RETURNING 1",
            );
            let removed = self.link.ask_one(ask.with(name.to_string()).with(self.state.now.0)).await?;
            self.state.receipt.removed.push(!removed.is_empty());
        }
        self.keep_answers(&batch.answers).await?;
        let has_forgotten = self.forget_removed().await?;
        if has_forgotten || !batch.pushes.is_empty() || self.state.receipt.removed.contains(&true) {
            self.link.ask_one(Ask::new("UPDATE @deployment SET version = version + 1")).await?;
            self.state.is_news = true;
        }
        Ok(())
    }

    /// Keeps the answers of runners to pushes.
    async fn keep_answers(&mut self, answers: &[RunnerAnswer]) -> Result<(), Fault> {
        for answer in answers {
            let ask =
                Ask::new("SELECT facts FROM @pushed WHERE name = $1 AND digest = $2 AND facts IS NOT NULL");
            let ask = ask.with(answer.name.to_string()).with(answer.digest.as_bytes().to_vec());
            let rows = self.link.ask_one(ask).await?;
            let Some(row) = rows.first() else { continue };
            let mut facts = column(row, 0)?;
            add_answer(&mut facts, answer);
            self.link.ask_one(write_facts(&answer.name, &answer.digest, &facts)).await?;
            self.state.is_news = true;
        }
        Ok(())
    }

    async fn push(&mut self, new: &NewComponent) -> Result<(), Fault> {
        let digest = || new.digest.as_bytes().to_vec();
        // Not sent if they are there.
        let there = Ask::new("SELECT 1 FROM @component_bytes WHERE digest = $1").with(digest());
        if self.link.ask_one(there).await?.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @component_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            );
            self.link.ask_one(ask.with(digest()).with(&*new.bytes)).await?;
        }
        let known = read_components(&self.link.ask_one(ask_components()).await?)?;
        let (facts, others) = bind(&known, new);
        let mut asks = Vec::new();
        for (place, facts) in others {
            asks.push(write_facts(&known[place].name, &known[place].digest, &facts));
        }
        // A new row: the last one is the newest.
        let delete = Ask::new("DELETE FROM @pushed WHERE name = $1 AND digest = $2");
        asks.push(delete.with(new.name.to_string()).with(digest()));
        let insert =
            Ask::new("INSERT INTO @pushed (name, digest, at, labels, facts) VALUES ($1, $2, $3, $4, $5)");
        let labels = (!new.labels.is_empty()).then(|| json_text(&new.labels));
        let insert = insert.with(new.name.to_string()).with(digest()).with(self.state.now.0);
        asks.push(insert.with(labels).with(json_text(&facts)));
        self.link.ask(asks).await?;
        Ok(())
    }

    /// Forgets the removed components of which no invocation is unfinished. Returns whether there were any.
    async fn forget_removed(&mut self) -> Result<bool, Fault> {
        let removed = Ask::new("SELECT DISTINCT name FROM @pushed WHERE removed_at IS NOT NULL");
        let removed = self.link.ask_one(removed).await?;
        let mut forgotten = false;
        for row in &removed {
            let name: Arc<str> = column(row, 0)?;
            let ask = Ask::new(
                "DELETE FROM @pushed WHERE name = $1 AND removed_at IS NOT NULL AND NOT EXISTS ( \
                     SELECT 1 FROM @task t JOIN @tally y ON y.task = t.key \
                     WHERE starts_with(t.name, $1 || '::') AND y.status = ANY($2) \
                     GROUP BY t.key HAVING sum(y.n) > 0) RETURNING 1",
            );
            let unfinished = Status::unfinished().map(Status::as_str).collect::<Vec<_>>();
            forgotten |= !self.link.ask_one(ask.with(name.to_string()).with(unfinished)).await?.is_empty();
        }
        if forgotten {
            let ask = Ask::new(
                "DELETE FROM @component_bytes b WHERE NOT EXISTS ( \
                     SELECT 1 FROM @pushed p WHERE p.digest = b.digest)",
            );
            self.link.ask_one(ask).await?;
        }
        Ok(forgotten)
    }
}

fn write_facts(name: &str, digest: &ComponentDigest, facts: &ComponentFacts) -> Ask<'static> {
    let ask = Ask::new("UPDATE @pushed SET facts = $3 WHERE name = $1 AND digest = $2");
    ask.with(name.to_owned()).with(digest.as_bytes().to_vec()).with(json_text(facts))
}

fn ask_components() -> Ask<'static> {
    Ask::new(formatcp!(
        "SELECT {PUSHED_COLUMNS} FROM @pushed p JOIN @component_bytes b ON b.digest = p.digest \
         ORDER BY p.name COLLATE \"C\", p.removed_at IS NOT NULL, p.n DESC"
    ))
}

fn read_components(rows: &[Row]) -> Result<Vec<PushedComponent>, Fault> {
    rows.iter().map(|row| read_pushed(&mut Fields::new(row))).collect()
}

pub(super) async fn components(link: &Link) -> Result<Vec<PushedComponent>, Fault> {
    read_components(&link.read(ask_components()).await?)
}

pub(super) async fn components_version(link: &Link) -> Result<i64, Fault> {
    let rows = link.read(Ask::new("SELECT version FROM @deployment")).await?;
    rows.first()
        .map_or(Err(Fault::Damaged("it has no version of its components".to_owned())), |row| column(row, 0))
}

pub(super) async fn component(link: &Link, digest: ComponentDigest) -> Result<Option<Vec<u8>>, Fault> {
    let ask = Ask::new("SELECT bytes FROM @component_bytes WHERE digest = $1");
    let rows = link.read(ask.with(digest.as_bytes().to_vec())).await?;
    rows.first().map_or(Ok(None), |row| column(row, 0))
}
