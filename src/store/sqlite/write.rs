//! One batch in one transaction.
//!
//! The rows that the batch names are loaded first; what becomes of them is decided in memory, step
//! by step (`store/decide`); and it is written before anything is looked for that it could
//! change, so each row once or twice.

use std::collections::BTreeMap;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::cascade;
use super::claim;
use super::fairness;
use super::fault::Fault;
use super::keep;
use super::names::Names;
use super::schema;
use super::sql::{bound, column};
use super::work::Work;
use crate::model::{Clock, RunnerId};
use crate::store::decide::{State, Step, named, runners, steps};
use crate::store::round::Round;
use crate::store::rules::GENERATIONS_LOOKED_AT;
use crate::store::{Batch, Bill, Cancel, Lease, Receipt};

/// Applies a batch. `true` with the receipt if other processes may want to know.
pub(super) fn commit(
    sql: &mut Connection,
    (names, round): (&mut Names, &mut Round),
    clock: &dyn Clock,
    batch: &Batch,
) -> Result<(Receipt, bool), Fault> {
    let mut attempt = |is_careful| {
        let committed = transact(sql, (&mut *names, &mut *round), clock, batch, is_careful);
        if committed.is_err() {
            // Numbers that were drawn in it do not exist.
            names.forget();
            // The work that it was to hand out is still there.
            round.begin_anew();
        }
        committed
    };
    match attempt(false) {
        // An id of the batch exists already: most are new, and not looked for before.
        Err(fault) if fault.is_conflict() => attempt(true),
        committed => committed,
    }
}

fn transact(
    sql: &mut Connection,
    (names, round): (&mut Names, &mut Round),
    clock: &dyn Clock,
    batch: &Batch,
    is_careful: bool,
) -> Result<(Receipt, bool), Fault> {
    // Dropped on an error, it rolls back.
    let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::check(&transaction)?;
    names.check(&transaction)?;
    // Read when nobody else can write any more: time does not go back from one
    // transaction to the next.
    let now = clock.now();
    let mut state = State::new(now, batch.submits.len() + batch.reports.len());
    state.fairness.clock = fairness::clock(&transaction)?;
    state.fairness.late = round.late.clone();
    let mut work = Work { sql: &transaction, names, round, state, admitted: BTreeMap::new() };
    work.apply(batch, is_careful)?;
    let State { receipt, is_news, fairness, .. } = work.state;
    transaction.commit()?;
    round.late = fairness.late;
    Ok((receipt, is_news))
}

impl<'a> Work<'a> {
    fn apply(&mut self, batch: &'a Batch, is_careful: bool) -> Result<(), Fault> {
        self.begin(batch)?;
        for step in steps(batch) {
            match step {
                Step::SetRules => {
                    let by = batch.rules_by.as_ref();
                    batch.dropped_rules.iter().try_for_each(|rule| self.drop_rule(rule))?;
                    for (rule, only_if_new) in batch.said_rules() {
                        self.set_rule(rule, only_if_new, by.filter(|_| !only_if_new))?;
                    }
                    batch.weights.iter().try_for_each(|weights| self.set_weights(weights))?;
                    batch.quotas.iter().try_for_each(|quotas| self.set_quotas(quotas, by))?;
                    batch.pauses.iter().try_for_each(|pause| self.set_pause(pause))?;
                }
                Step::ChangeComponents => self.change_components(batch)?,
                Step::Submit => self.submit(&batch.submits, is_careful)?,
                Step::Attempts => {
                    self.load_descendants(self.state.doomed_parents(batch))?;
                    self.load_counts_for_outcomes(batch)?;
                    self.load_keys_of_retries(batch)?;
                    let (sql, names) = (self.sql, &mut *self.names);
                    let component = |digest| -> Result<i64, Fault> { Ok(names.component_key(sql, digest)?) };
                    self.state.apply_attempts(batch, component)?;
                }
                Step::TakeStock(inventory) => self.take_stock(inventory)?,
                Step::Heartbeat(heartbeat) => self.heartbeat(heartbeat)?,
                Step::Expire => self.expire()?,
                Step::Cascade => self.cascade()?,
                Step::Recover => self.recover()?,
                Step::Claim(request) => self.claim(request)?,
                Step::SettleLanes => {
                    self.settle_lanes()?;
                    self.find_openings()?;
                }
                Step::Prune(prune) => self.prune(prune)?,
                Step::PruneUsage(age) => self.prune_usage(age)?,
                Step::ForgetNames(after) => self.forget_names(after)?,
            }
        }
        self.state.close_receipt();
        self.write_all()?;
        self.write_cascade()?;
        self.write_lanes()?;
        self.write_history()?;
        self.write_tally()?;
        self.write_usage()?;
        self.write_keys()?;
        self.write_buckets()?;
        self.move_clock()?;
        if let Some(request) = &batch.claim
            && self.state.receipt.lease == Some(Lease::Held)
        {
            self.state.receipt.next_due = claim::next_due(self.sql, request.runner, self.state.now)?;
        }
        Ok(())
    }

    /// Loads what the batch speaks of.
    fn begin(&mut self, batch: &Batch) -> Result<(), Fault> {
        // Before anything that the batch names is looked up by the full id.
        batch.adoptions.iter().try_for_each(|adoption| self.adopt(adoption))?;
        for runner in runners(batch) {
            if self.is_lost(runner)? {
                self.state.lost.insert(runner);
            }
        }
        if batch.recover || batch.claim.is_some() {
            self.state.may_expire = keep::has_overdue(self.sql, self.state.now)?;
            self.state.may_cascade = cascade::is_left(self.sql)?;
        }
        self.load_named(named(batch))?;
        batch.bills.iter().try_for_each(|bill| self.load_last_move(bill))?;
        for (index, cancel) in batch.cancels.iter().enumerate() {
            self.load_caller(index, cancel)?;
        }
        Ok(())
    }

    /// Whether claims were taken away from a runner.
    fn is_lost(&self, runner: RunnerId) -> rusqlite::Result<bool> {
        self.sql.prepare_cached("SELECT 1 FROM runner WHERE id = ?1 AND is_lost")?.exists([bound(runner)])
    }

    /// Loads how the invocation moved last that a bill is about.
    fn load_last_move(&mut self, bill: &Bill) -> rusqlite::Result<()> {
        let last = self
            .sql
            .prepare_cached(
                "SELECT h.reason, h.runner, h.attempt \
                 FROM invocation i CROSS JOIN history h ON h.seq = i.seq AND h.n = i.moves \
                 WHERE i.id = ?1",
            )?
            .query_row([bound(bill.id)], |row| Ok((column(row, 0)?, column(row, 1)?, row.get(2)?)))
            .optional()?;
        self.state.last_moves.extend(last.map(|last| (bill.id, last)));
        Ok(())
    }

    /// Loads who is above the guest that asks for a cancel.
    fn load_caller(&mut self, index: usize, cancel: &Cancel) -> rusqlite::Result<()> {
        let Some(by) = cancel.by else { return Ok(()) };
        let above = self
            .sql
            .prepare_cached(formatcp!(
                "WITH RECURSIVE above(id, parent, depth, target, generations) AS ( \
                     SELECT i.id, i.parent, i.depth, t.depth, 0 \
                     FROM invocation t CROSS JOIN invocation i ON i.id = ?2 \
                     WHERE t.id = ?1 AND i.depth >= t.depth \
                     AND coalesce(i.root, i.id) = coalesce(t.root, t.id) \
                     UNION ALL \
                     SELECT i.id, i.parent, i.depth, target, generations + 1 \
                     FROM above CROSS JOIN invocation i ON i.id = above.parent \
                     WHERE above.depth > target AND generations < {GENERATIONS_LOOKED_AT}) \
                 SELECT id, generations FROM above ORDER BY generations DESC LIMIT 1"
            ))?
            .query_row([bound(cancel.id), bound(by)], |row| Ok((column(row, 0)?, row.get(1)?)))
            .optional()?;
        self.state.callers.extend(above.map(|above| (index, above)));
        Ok(())
    }
}
