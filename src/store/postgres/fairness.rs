//! Fairness keys, their weights, and the clock of virtual time.
//!
//! Keys are read without a lock and changed at the end of a transaction, in the order of their numbers; what
//! transactions add meanwhile is added up.

use std::collections::{BTreeSet, HashMap};

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{PRESENT, column, uuids};
use super::work::Work;
use crate::store::decide::{Changed, PROMOTED_AT_ONCE, Share, tried_again};
use crate::store::order;
use crate::store::rules::{DELAYED, READY};
use crate::store::{Batch, FairnessWeight};

/// Finds keys by their names. A lock that changes nothing but that they can't be removed meanwhile.
const BY_NAME: &str = "SELECT k.key, k.finish, k.cost, k.name FROM unnest($1) AS w(name) CROSS JOIN LATERAL ( \
     SELECT * FROM @fairness_key WHERE name = w.name OFFSET 0 FOR KEY SHARE) k";

/// Finds the keys of invocations.
const OF_INVOCATIONS: &str = "SELECT k.key, k.finish, k.cost FROM unnest($1) AS w(id) CROSS JOIN LATERAL ( \
         SELECT fairness_key FROM @invocation WHERE id = w.id OFFSET 0) i \
     CROSS JOIN LATERAL (SELECT * FROM @fairness_key WHERE key = i.fairness_key OFFSET 0) k";

/// Finds the keys of the delayed invocations that are due.
const OF_DUE: &str = formatcp!(
    "SELECT k.key, k.finish, k.cost FROM ( \
         SELECT DISTINCT fairness_key FROM ( \
             SELECT fairness_key FROM @invocation WHERE place = {DELAYED} AND available_at <= {PRESENT} \
             ORDER BY available_at LIMIT $2) due) d \
     CROSS JOIN LATERAL (SELECT * FROM @fairness_key WHERE key = d.fairness_key OFFSET 0) k"
);

const WEIGHTS: &str = "SELECT keys, cost FROM @fairness_weight ORDER BY keys COLLATE \"C\"";

fn read_weights(rows: &[Row]) -> Result<Vec<FairnessWeight>, Fault> {
    rows.iter().map(|row| Ok(FairnessWeight::stored(&column::<String>(row, 0)?, column(row, 1)?))).collect()
}

/// Asks for the keys of the delayed invocations that are due.
pub(super) fn ask_keys_of_due(now: Option<i64>) -> Ask<'static> {
    Ask::new(OF_DUE).with(now).with(PROMOTED_AT_ONCE as i64)
}

/// Which questions were asked about the keys of a batch.
pub(super) struct Keys<'b> {
    names: BTreeSet<&'b str>,
    has_others: bool,
}

impl<'b> Keys<'b> {
    /// Asks for the keys of what the batch submits, and of what it makes claimable again.
    pub(super) fn ask(batch: &'b Batch, asks: &mut Vec<Ask<'b>>) -> Self {
        let roots = batch.submits.iter().filter(|new| new.child_of.is_none());
        let names: BTreeSet<&str> = roots.map(|new| new.fairness_key()).collect();
        let parents = batch.submits.iter().filter_map(|new| Some(new.child_of.as_ref()?.parent));
        let others: BTreeSet<_> = parents.chain(tried_again(batch)).collect();
        if !names.is_empty() {
            asks.push(Ask::new(BY_NAME).with(names.iter().copied().collect::<Vec<&str>>()));
            asks.push(Ask::new(WEIGHTS));
        }
        if !others.is_empty() {
            asks.push(Ask::new(OF_INVOCATIONS).with(uuids(&others)));
        }
        Self { names, has_others: !others.is_empty() }
    }

    /// Reads the answers; the names that have no key yet, and the weights that hold.
    pub(super) fn read(
        self,
        keys: &mut HashMap<i64, Share>,
        by_name: &mut HashMap<String, i64>,
        next: &mut impl FnMut() -> Vec<Row>,
    ) -> Result<(BTreeSet<&'b str>, Vec<FairnessWeight>), Fault> {
        let (mut missing, mut weights) = (self.names, Vec::new());
        if !missing.is_empty() {
            read_named(&next(), keys, by_name)?;
            missing.retain(|name| !by_name.contains_key(*name));
            weights = read_weights(&next())?;
        }
        if self.has_others {
            read_keys(&next(), keys)?;
        }
        Ok((missing, weights))
    }
}

/// Reads keys: number, finish and cost.
pub(super) fn read_keys(rows: &[Row], keys: &mut HashMap<i64, Share>) -> Result<(), Fault> {
    for row in rows {
        let share = Share::new(column(row, 1)?, column(row, 2)?);
        keys.entry(column(row, 0)?).or_insert(share);
    }
    Ok(())
}

fn read_named(
    rows: &[Row],
    keys: &mut HashMap<i64, Share>,
    by_name: &mut HashMap<String, i64>,
) -> Result<(), Fault> {
    for row in rows {
        by_name.insert(column(row, 3)?, column(row, 0)?);
    }
    read_keys(rows, keys)
}

impl Work<'_> {
    /// Makes the keys that are new.
    pub(super) async fn make_keys(
        &mut self,
        mut missing: BTreeSet<&str>,
        weights: &[FairnessWeight],
    ) -> Result<(), Fault> {
        while !missing.is_empty() {
            let names: Vec<&str> = missing.iter().copied().collect();
            let costs: Vec<_> = names.iter().map(|name| order::cost(weights, name)).collect();
            let insert = Ask::new(
                "INSERT INTO @fairness_key (name, cost, finish, uses) \
                 SELECT w.name, w.cost, 0, 0 FROM unnest($1, $2) AS w(name, cost) ON CONFLICT DO NOTHING",
            );
            let asks = vec![insert.with(names.clone()).with(costs), Ask::new(BY_NAME).with(names)];
            let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
            let fairness = &mut self.state.fairness;
            read_named(&rows, &mut fairness.keys, &mut fairness.by_name)?;
            missing.retain(|name| !fairness.by_name.contains_key(*name));
        }
        Ok(())
    }

    /// Takes over the weights of a configuration.
    pub(super) async fn set_weights(&mut self, new: &[FairnessWeight]) -> Result<(), Fault> {
        let new = order::sorted(new);
        if read_weights(&self.link.ask_one(Ask::new(WEIGHTS)).await?)? == new {
            return Ok(());
        }
        // Two who say different things do not mix. Readers are not kept waiting.
        let keys: Vec<&str> = new.iter().map(|weight| weight.keys.as_str()).collect();
        let costs: Vec<_> = new.iter().map(|weight| weight.cost).collect();
        let insert = "INSERT INTO @fairness_weight (keys, cost) SELECT * FROM unnest($1, $2)";
        let asks = vec![
            Ask::new("LOCK TABLE @fairness_weight IN EXCLUSIVE MODE"),
            Ask::new("DELETE FROM @fairness_weight"),
            Ask::new(insert).with(keys).with(costs),
            Ask::new("SELECT key, name, cost FROM @fairness_key"),
        ];
        let known = self.link.ask(asks).await?.pop().unwrap_or_default();
        let (mut changed, mut costs) = (Vec::new(), Vec::new());
        for row in &known {
            let (key, name, cost): (i64, String, i64) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
            let new_cost = order::cost(&new, &name);
            if new_cost != cost {
                changed.push(key);
                costs.push(new_cost);
                if let Some(share) = self.state.fairness.keys.get_mut(&key) {
                    share.cost = new_cost;
                }
            }
        }
        if !changed.is_empty() {
            let update = "UPDATE @fairness_key k SET cost = w.cost FROM unnest($1, $2) AS w(key, cost) \
                 WHERE k.key = ANY(ARRAY[w.key])";
            self.link.ask_one(Ask::new(update).with(changed).with(costs)).await?;
        }
        Ok(())
    }

    /// The statements that write the keys that changed, and remove those that nothing has any more.
    pub(super) fn write_keys(&mut self, asks: &mut Vec<Ask<'_>>) {
        let Changed { given_back, shares: changed, released } = self.state.fairness.take_changed();
        if !given_back.is_empty() {
            let all = |of: fn(&(i64, i64, i64)) -> i64| given_back.iter().map(of).collect::<Vec<_>>();
            let update = "UPDATE @fairness_key k SET finish = w.start FROM unnest($1, $2, $3) AS w(key, start, finish) \
                 WHERE k.key = ANY(ARRAY[w.key]) AND k.finish = w.finish";
            asks.push(
                Ask::new(update).with(all(|turn| turn.0)).with(all(|turn| turn.1)).with(all(|turn| turn.2)),
            );
        }
        if !changed.is_empty() {
            let all = |of: fn(&Share) -> i64| changed.values().map(of).collect::<Vec<_>>();
            let update = "UPDATE @fairness_key k \
                 SET finish = greatest(k.finish + w.added, w.finish), uses = k.uses + w.uses \
                 FROM unnest($1, $2, $3, $4) AS w(key, added, finish, uses) WHERE k.key = ANY(ARRAY[w.key])";
            asks.push(
                Ask::new(update)
                    .with(changed.keys().copied().collect::<Vec<_>>())
                    .with(all(|share| share.added))
                    .with(all(|share| share.finish))
                    .with(all(|share| share.uses)),
            );
        }
        if !released.is_empty() {
            let delete = "DELETE FROM @fairness_key WHERE key = ANY(ARRAY( \
                 SELECT key FROM @fairness_key WHERE key = ANY($1) AND key <> 0 AND uses = 0 AND finish <= $2 \
                 ORDER BY key FOR UPDATE SKIP LOCKED))";
            asks.push(Ask::new(delete).with(released).with(self.state.fairness.clock));
        }
    }

    /// The statement that moves the clock, unless somebody else is at it: then it answers nothing. Nothing follows
    /// from it in this transaction. Everything that was claimed is written before.
    pub(super) fn ask_to_move_clock(&self) -> Option<Ask<'static>> {
        let progress = self.state.fairness.progress;
        let latest = progress.latest?;
        let clock = self.state.fairness.clock;
        let has_more = latest <= clock || self.has_left;
        if has_more && progress.reached.is_none_or(|reached| reached <= clock) {
            return None;
        }
        // A row that is locked has been moved, and is soon free again.
        let update = formatcp!(
            "UPDATE @fairness_clock SET now = greatest(now, least($1, now + $2), \
                 CASE WHEN $3 IS NULL THEN now \
                 WHEN EXISTS (SELECT 1 FROM @invocation WHERE place = {READY} OFFSET 0) THEN now ELSE $3 END) \
             WHERE ctid = ANY(ARRAY(SELECT ctid FROM @fairness_clock FOR UPDATE SKIP LOCKED)) RETURNING now"
        );
        let ask = Ask::new(update).with(progress.reached.unwrap_or(clock));
        let ask = ask.with(progress.cost.saturating_add(self.round.owed));
        Some(ask.with((!has_more).then_some(latest)))
    }
}
