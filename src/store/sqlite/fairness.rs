//! Fairness keys, their weights, and the clock of virtual time.

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params};

use super::work::Work;
use crate::store::decide::{Changed, Share, tried_again};
use crate::store::order;
use crate::store::rules::READY;
use crate::store::{Batch, FairnessWeight, NewInvocation};

/// The clock.
pub(super) fn clock(sql: &Connection) -> rusqlite::Result<i64> {
    sql.prepare_cached("SELECT now FROM fairness_clock WHERE n = 1")?.query_row([], |row| row.get(0))
}

fn weights(sql: &Connection) -> rusqlite::Result<Vec<FairnessWeight>> {
    sql.prepare_cached("SELECT keys, cost FROM fairness_weight ORDER BY keys")?
        .query_map([], |row| Ok(FairnessWeight::stored(&row.get::<_, String>(0)?, row.get(1)?)))?
        .collect()
}

impl Work<'_> {
    /// Takes over the weights of a configuration.
    pub(super) fn set_weights(&mut self, new: &[FairnessWeight]) -> rusqlite::Result<()> {
        let new = order::sorted(new);
        if weights(self.sql)? == new {
            return Ok(());
        }
        self.sql.execute("DELETE FROM fairness_weight", [])?;
        for weight in &new {
            self.sql
                .prepare_cached("INSERT INTO fairness_weight (keys, cost) VALUES (?1, ?2)")?
                .execute(params![weight.keys.as_str(), weight.cost])?;
        }
        let known: Vec<(i64, String, i64)> = self
            .sql
            .prepare_cached("SELECT key, name, cost FROM fairness_key")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (key, name, cost) in known {
            let new_cost = order::cost(&new, &name);
            if new_cost != cost {
                self.sql
                    .prepare_cached("UPDATE fairness_key SET cost = ?2 WHERE key = ?1")?
                    .execute([key, new_cost])?;
            }
        }
        Ok(())
    }

    /// Loads the fairness key of a submit that is no orphan, and makes it if it is new.
    pub(super) fn load_key_of(&mut self, new: &NewInvocation) -> rusqlite::Result<()> {
        if let Some(place) = &new.child_of {
            let parent = self.state.heads.get(&place.parent).map(|parent| parent.fairness_key);
            return parent.map_or(Ok(()), |key| self.load_key(key));
        }
        let name = new.fairness_key();
        if self.state.fairness.by_name.contains_key(name) {
            return Ok(());
        }
        let found = self
            .sql
            .prepare_cached("SELECT key, finish, cost FROM fairness_key WHERE name = ?1")?
            .query_row([name], |row| Ok((row.get(0)?, Share::new(row.get(1)?, row.get(2)?))))
            .optional()?;
        let (key, share) = match found {
            Some(found) => found,
            None => {
                let cost = order::cost(&weights(self.sql)?, name);
                let mut insert = self.sql.prepare_cached(
                    "INSERT INTO fairness_key (name, cost, finish, uses) VALUES (?1, ?2, 0, 0)",
                )?;
                (insert.insert(params![name, cost])?, Share::new(0, cost))
            }
        };
        self.state.fairness.by_name.insert(name.to_owned(), key);
        self.state.fairness.keys.entry(key).or_insert(share);
        Ok(())
    }

    /// Loads the fairness keys of the invocations that become claimable again by reports.
    pub(super) fn load_keys_of_retries(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        for id in tried_again(batch) {
            if let Some(key) = self.state.heads.get(&id).map(|head| head.fairness_key) {
                self.load_key(key)?;
            }
        }
        Ok(())
    }

    /// Loads a fairness key.
    pub(super) fn load_key(&mut self, key: i64) -> rusqlite::Result<()> {
        if self.state.fairness.keys.contains_key(&key) {
            return Ok(());
        }
        let share = self
            .sql
            .prepare_cached("SELECT finish, cost FROM fairness_key WHERE key = ?1")?
            .query_row([key], |row| Ok(Share::new(row.get(0)?, row.get(1)?)))?;
        self.state.fairness.keys.insert(key, share);
        Ok(())
    }

    /// Writes the fairness keys that changed, and removes those that nothing has any more.
    pub(super) fn write_keys(&mut self) -> rusqlite::Result<()> {
        let Changed { given_back, shares, released } = self.state.fairness.take_changed();
        for (key, start, finish) in given_back {
            self.sql
                .prepare_cached("UPDATE fairness_key SET finish = ?2 WHERE key = ?1 AND finish = ?3")?
                .execute([key, start, finish])?;
        }
        let mut held = self.state.quotas.take_held();
        for (key, share) in shares {
            let held = held.remove(&key).unwrap_or_default();
            self.sql
                .prepare_cached(
                    "UPDATE fairness_key SET finish = max(finish + ?2, ?3), uses = uses + ?4, \
                     unfinished = unfinished + ?5, bytes = bytes + ?6 WHERE key = ?1",
                )?
                .execute([key, share.added, share.finish, share.uses, held.unfinished, held.bytes])?;
        }
        for (key, held) in held {
            self.sql
                .prepare_cached(
                    "UPDATE fairness_key SET unfinished = unfinished + ?2, bytes = bytes + ?3 WHERE key = ?1",
                )?
                .execute([key, held.unfinished, held.bytes])?;
        }
        for key in released {
            self.sql
                .prepare_cached(
                    "DELETE FROM fairness_key WHERE key = ?1 AND key <> 0 AND uses = 0 AND finish <= ?2",
                )?
                .execute([key, self.state.fairness.clock])?;
        }
        Ok(())
    }

    /// Moves the clock. Everything that was claimed is written.
    pub(super) fn move_clock(&mut self) -> rusqlite::Result<()> {
        let (clock, progress) = (self.state.fairness.clock, self.state.fairness.progress);
        let is_empty = progress.latest.is_some_and(|latest| latest > clock) && !self.has_ready()?;
        let now = progress.clock(clock, is_empty);
        if now > clock {
            self.sql.prepare_cached("UPDATE fairness_clock SET now = ?1 WHERE n = 1")?.execute([now])?;
        }
        Ok(())
    }

    fn has_ready(&self) -> rusqlite::Result<bool> {
        let ready =
            formatcp!("SELECT 1 FROM invocation INDEXED BY invocation_ready WHERE place = {READY} LIMIT 1");
        self.sql.prepare_cached(ready)?.exists([])
    }
}
