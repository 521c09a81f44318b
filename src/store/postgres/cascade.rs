//! The descendants of what ended, beyond those that the transaction of its end could cancel.

use super::fault::Fault;
use super::link::Ask;
use super::sql::{column, uuid};
use super::work::Work;
use crate::model::{InvocationId, Status};
use crate::store::rules::CASCADED_AT_ONCE;

/// Asks whether earlier transactions have left any: a row if so.
pub(super) fn look_for_rest() -> Ask<'static> {
    Ask::new("SELECT 1 FROM @cascade LIMIT 1")
}

impl Work<'_> {
    /// Cancels some of them. Those that another transaction is at are left to it.
    pub(super) async fn cascade(&mut self) -> Result<(), Fault> {
        if !self.state.may_cascade {
            return Ok(());
        }
        let ask =
            Ask::new("SELECT seq, id, status FROM @cascade ORDER BY seq LIMIT $1 FOR UPDATE SKIP LOCKED");
        let ask = ask.with(CASCADED_AT_ONCE as i64);
        let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
        let parents = rows.iter().map(|row| Ok((column(row, 1)?, column(row, 2)?)));
        let parents = parents.collect::<Result<Vec<(InvocationId, Status)>, Fault>>()?;
        let is_all = self.lock_descendants(parents.iter().map(|(id, _)| *id).collect()).await?;
        if is_all && !rows.is_empty() {
            let done = rows.iter().map(|row| column(row, 0)).collect::<Result<Vec<i64>, Fault>>()?;
            self.link.ask_one(Ask::new("DELETE FROM @cascade WHERE seq = ANY($1)").with(done)).await?;
        }
        Ok(self.state.cascade(&parents, is_all)?)
    }

    /// Notes whose children are left for later.
    pub(super) fn write_cascade(&mut self, asks: &mut Vec<Ask<'_>>) {
        let cascade = self.state.take_cascade();
        if cascade.is_empty() {
            return;
        }
        let ask = Ask::new(
            "INSERT INTO @cascade (seq, id, status) SELECT * FROM unnest($1, $2, $3) ON CONFLICT DO NOTHING",
        );
        asks.push(
            ask.with(cascade.keys().copied().collect::<Vec<_>>())
                .with(cascade.values().map(|(id, _)| uuid(id.as_bytes())).collect::<Vec<_>>())
                .with(cascade.values().map(|(_, status)| status.as_str()).collect::<Vec<_>>()),
        );
    }
}
