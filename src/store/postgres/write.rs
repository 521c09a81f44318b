//! One batch in one transaction.
//!
//! All rows that are to be changed are read and locked first, in one round trip;
//! what becomes of it is decided here, in memory, in the order of the batch; then
//! it is written, each table with one statement. So a batch takes three round trips
//! or four, however large it is.
//!
//! Runners on many machines do this at once. Rows are locked before they are
//! looked at, those of runners first, then invocations in the order of their
//! numbers; what a claim finds locked it passes over. Two that get into each other's
//! way nevertheless are told apart by the server, and one begins anew.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use const_format::formatcp;
use tokio_postgres::Row;

use super::admit;
use super::cascade;
use super::claim;
use super::fairness::Keys;
use super::fault::Fault;
use super::keep;
use super::link::{Ask, Link};
use super::names::Names;
use super::quotas;
use super::rules;
use super::schema::VERSION;
use super::sql::{SERVER_TIME, column, read_heads, uuid, uuids};
use super::submit::{Looks, index};
use super::usage;
use super::work::Work;
use crate::model::{Clock, IdMap, InvocationId, RunnerId};
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::{Fairness, LastMove, State, Step, named, runners, steps};
use crate::store::round::Round;
use crate::store::rules::{CallerAbove, GENERATIONS_LOOKED_AT};
use crate::store::{Batch, Bill, Lease, Receipt};

/// The wider surroundings of a transaction.
pub(super) struct Surroundings<'a> {
    pub(super) link: &'a Link,
    /// A clock instead of the server's.
    pub(super) clock: Option<&'a dyn Clock>,
    /// The channel that commits are told on, and who tells.
    pub(super) channel: &'a str,
    pub(super) sender: &'a str,
    /// The lock that migrations take for themselves and batches share.
    pub(super) migration_lock: i64,
    /// The lock of whoever adds up the usage.
    pub(super) usage_lock: i64,
    /// The lock that whoever forgets names takes alone, and that is shared by all who use numbers of names that they
    /// know, or fold the tally.
    pub(super) names_lock: i64,
    /// Whether an id that exists already is to be expected.
    pub(super) is_careful: bool,
    /// Whether the tally and the usage are to be folded.
    pub(super) folds: bool,
    /// Set when the commit is sent: from then on, whatever goes wrong, it may have
    /// been applied.
    pub(super) is_committing: &'a Cell<bool>,
}

/// Applies a batch.
pub(super) async fn commit(
    place: &Surroundings<'_>,
    (names, round): (&mut Names, &mut Round),
    batch: &Batch,
) -> Result<Receipt, Fault> {
    let link = place.link;
    let committed = transact(place, (&mut *names, &mut *round), batch).await;
    if let Err(fault) = &committed {
        // Numbers that were drawn in it do not exist.
        names.forget();
        // The work that it was to hand out is still there.
        round.begin_anew();
        if !fault.breaks_connection() {
            link.ask_one(Ask::simple("ROLLBACK")).await?;
        }
    }
    committed
}

async fn transact(
    place: &Surroundings<'_>,
    memory: (&mut Names, &mut Round),
    batch: &Batch,
) -> Result<Receipt, Fault> {
    let mut work = Work::begin(place, memory, batch).await?;
    for step in steps(batch) {
        match step {
            Step::SetRules => {
                work.set_rules(batch).await?;
                if let Some(weights) = &batch.weights {
                    work.set_weights(weights).await?;
                }
                for quotas in &batch.quotas {
                    work.set_quotas(quotas, batch.rules_by.as_ref()).await?;
                }
            }
            Step::ChangeComponents => work.change_components(batch).await?,
            Step::Submit => work.submit(&batch.submits).await?,
            Step::Attempts => {
                work.lock_descendants(work.state.doomed_parents(batch)).await?;
                work.load_counts_for_outcomes(batch).await?;
                let names = &*work.names;
                work.state.apply_attempts(batch, |digest| names.component(digest))?;
            }
            Step::TakeStock(inventory) => work.take_stock(inventory).await?,
            Step::Heartbeat(heartbeat) => work.heartbeat(heartbeat).await?,
            Step::Expire => work.expire().await?,
            Step::Cascade => work.cascade().await?,
            Step::Recover => work.recover().await?,
            Step::Claim(request) => work.claim(request).await?,
            Step::SettleLanes => {
                work.settle_lanes(None).await?;
                work.find_openings().await?;
            }
            Step::Prune(prune) => work.prune(prune).await?,
            Step::PruneUsage(age) => work.prune_usage(age).await?,
            Step::ForgetNames(after) => work.forget_names(after).await?,
        }
    }
    let claimer = batch.claim.as_ref().map(|request| request.runner);
    let claimer = claimer.filter(|_| work.state.receipt.lease == Some(Lease::Held));
    work.finish(claimer, place).await
}

impl<'a> Work<'a> {
    /// Begins the transaction: locks and reads what the batch speaks of.
    async fn begin(
        place: &Surroundings<'a>,
        (names, round): (&'a mut Names, &'a mut Round),
        batch: &'a Batch,
    ) -> Result<Self, Fault> {
        let mut asks = vec![
            place.link.begin(),
            Ask::new("SELECT pg_advisory_xact_lock_shared($1)").with(place.migration_lock),
        ];
        // Before any row is locked: whoever forgets names waits for all of these, and for nothing else.
        if batch.forget_names.is_some() {
            asks.push(Ask::new("SELECT pg_advisory_xact_lock($1)").with(place.names_lock));
        } else if place.folds || speaks_of_names(batch) {
            asks.push(Ask::new("SELECT pg_advisory_xact_lock_shared($1)").with(place.names_lock));
        }
        let mut adopted = Vec::new();
        if !batch.adoptions.is_empty() {
            // Before anything that the batch names is looked up by the full id.
            adopted = rules::adopt(place.link, std::mem::take(&mut asks), &batch.adoptions).await?;
            if adopted.contains(&true) {
                names.forget();
            }
        }
        let begun = asks.len();
        let runners: Vec<_> = runners(batch).iter().map(|runner| uuid(runner.as_bytes())).collect();
        asks.push(
            Ask::new("SELECT id, is_lost FROM @runner WHERE id = ANY($1) ORDER BY id FOR UPDATE")
                .with(runners),
        );
        let ids: HashSet<_> = named(batch).collect();
        // From an empty list the planner concludes anything, also that every row is in any index.
        if !ids.is_empty() {
            asks.push(
                Ask::new(formatcp!(
                    "SELECT {HEAD_COLUMNS} FROM @invocation i WHERE i.id = ANY($1) ORDER BY i.seq + 0 \
                     FOR UPDATE"
                ))
                .with(uuids(&ids)),
            );
        }
        if !batch.bills.is_empty() {
            asks.push(ask_last_moves(&batch.bills));
        }
        let callers: Vec<_> = (0..)
            .zip(&batch.cancels)
            .filter_map(|(index, cancel)| Some((index, cancel.id, cancel.by?)))
            .collect();
        if !callers.is_empty() {
            asks.push(ask_who_is_above(&callers));
        }
        let looks = Looks::ask(place.is_careful, batch, &mut asks);
        let keys = Keys::ask(batch, &mut asks);
        let needs_quotas = quotas::are_needed(batch);
        if needs_quotas {
            asks.push(quotas::ask_quotas());
        }
        rules::ask_what_holds(batch, &mut asks);
        let fixed = place.clock.map(|clock| clock.now().0);
        // A recovery may take the claiming runner's lease away, and nothing is due for it then.
        let claim = batch.claim.as_ref().filter(|_| !batch.recover);
        if let Some(request) = claim {
            admit::ask_what_is_due(request.runner, fixed, &mut asks);
        }
        // Read when everything is locked: time does not go back from one
        // transaction on an invocation to the next.
        asks.push(Ask::new(formatcp!(
            "SELECT {SERVER_TIME}, version, (SELECT now FROM @fairness_clock), \
                 (SELECT forgotten FROM @deployment) FROM @schema_version"
        )));
        asks.push(keep::look_for_overdue(fixed));
        asks.push(cascade::look_for_rest());
        let mut answers = place.link.ask(asks).await?.into_iter().skip(begun);
        let mut next = || answers.next().unwrap_or_default();
        let runners = next();
        let rows = if ids.is_empty() { Vec::new() } else { next() };
        let last_moves = if batch.bills.is_empty() { Vec::new() } else { next() };
        let above = if callers.is_empty() { Vec::new() } else { next() };
        let collisions = looks.read(&mut next)?;
        let mut fairness = Fairness::default();
        fairness.late = round.late.clone();
        let (missing, weights) = keys.read(&mut fairness.keys, &mut fairness.by_name, &mut next)?;
        let quotas = if needs_quotas { quotas::read_quotas(&next())? } else { Vec::new() };
        let (lane_rules, has_pauses) = rules::read_what_holds(batch, &mut next)?;
        let due = claim.is_some().then(|| [next(), next(), next()]);
        let state = next().pop().ok_or_else(|| Fault::Damaged("it has no version".to_owned()))?;
        let has_overdue = !next().is_empty();
        let may_cascade = !next().is_empty();
        let version: i64 = column(&state, 1)?;
        if version != VERSION {
            return Err(Fault::Upgraded(version));
        }
        let now = match place.clock {
            Some(clock) => clock.now(),
            None => column(&state, 0)?,
        };
        fairness.clock = column(&state, 2)?;
        names.check(column(&state, 3)?);
        let mut state = State::new(now, rows.len() + batch.submits.len());
        state.may_expire = has_overdue;
        state.may_cascade = may_cascade;
        state.is_news = adopted.contains(&true);
        state.receipt.adopted = adopted;
        state.collisions = collisions;
        state.lanes.rules = lane_rules;
        state.fairness = fairness;
        state.quotas.rules = quotas;
        state.last_moves = read_last_moves(&last_moves)?;
        state.callers = read_who_is_above(&above)?;
        let mut work = Self {
            link: place.link,
            names,
            round,
            state,
            has_server_time: place.clock.is_none(),
            due: None,
            extends: None,
            admitted: Vec::new(),
            has_pauses,
            paused: HashSet::new(),
            has_left: false,
            looked_at: None,
        };
        for row in runners {
            if column(&row, 1)? {
                work.state.lost.insert(column(&row, 0)?);
            }
        }
        work.load(read_heads(&rows)?);
        if let Some(answers) = due {
            work.read_what_is_due(answers)?;
        }
        work.learn_names(batch).await?;
        work.make_keys(missing, &weights).await?;
        Ok(work)
    }

    /// Gives numbers to the tasks and components that the batch names, except those that only orphans name.
    async fn learn_names(&mut self, batch: &Batch) -> Result<(), Fault> {
        let submits: Vec<_> = batch.submits.iter().filter(|new| !self.state.is_orphan(new)).collect();
        let rules = batch.said_rules();
        let tasks = rules.map(|(rule, _)| &rule.task).chain(submits.iter().map(|new| &new.task));
        let digests = submits.iter().map(|new| &new.component_digest);
        let digests =
            digests.chain(batch.reports.iter().filter_map(|report| report.component_digest.as_ref()));
        self.names.learn(self.link, tasks, digests).await
    }

    /// Writes the rest, tells the others, and commits.
    async fn finish(mut self, claimer: Option<RunnerId>, place: &Surroundings<'_>) -> Result<Receipt, Fault> {
        self.state.close_receipt();
        let mut asks = self.write_all()?;
        self.write_cascade(&mut asks);
        self.write_lanes(&mut asks);
        if let Some(heartbeat) = self.extends.take() {
            asks.push(self.extend_lease(&heartbeat));
        }
        // By the names of keys, some of which go when nothing has them any more.
        self.write_usage(&mut asks);
        self.write_keys(&mut asks);
        self.write_counts(&mut asks);
        let tally = self.state.moves.take_tally();
        if !tally.is_empty() {
            let insert = "INSERT INTO @tally (task, status, n, bytes, elsewhere) \
                          SELECT * FROM unnest($1, $2, $3, $4, $5)";
            let ask = Ask::new(insert);
            asks.push(
                ask.with(tally.iter().map(|((task, _), _)| *task).collect::<Vec<_>>())
                    .with(tally.iter().map(|((_, status), _)| status.as_str()).collect::<Vec<_>>())
                    .with(tally.iter().map(|(_, change)| change.n).collect::<Vec<_>>())
                    .with(tally.iter().map(|(_, change)| change.bytes).collect::<Vec<_>>())
                    .with(tally.iter().map(|(_, change)| change.elsewhere).collect::<Vec<_>>()),
            );
        }
        if place.folds {
            // Whoever comes second while it is folded has nothing left to fold.
            asks.push(Ask::new(
                "WITH gone AS (DELETE FROM @tally WHERE ctid = ANY(ARRAY( \
                     SELECT ctid FROM @tally FOR UPDATE SKIP LOCKED)) RETURNING task, status, n, bytes, elsewhere) \
                 INSERT INTO @tally (task, status, n, bytes, elsewhere) \
                 SELECT task, status, sum(n)::bigint, sum(bytes)::bigint, sum(elsewhere)::bigint \
                 FROM gone GROUP BY task, status HAVING sum(n) <> 0 OR sum(bytes) <> 0 OR sum(elsewhere) <> 0",
            ));
            quotas::fold_counts(&mut asks);
            asks.push(usage::ask_to_fold(place.usage_lock));
        }
        if self.state.is_news {
            asks.push(
                Ask::new("SELECT pg_notify($1, $2)")
                    .with(place.channel.to_owned())
                    .with(place.sender.to_owned()),
            );
        }
        let clock = asks.len();
        let moves = self.ask_to_move_clock();
        let is_moving = moves.is_some();
        asks.extend(moves);
        // After a statement that failed, the server takes this for a rollback; the
        // error of that statement is what comes out here.
        let due = asks.len();
        if let Some(runner) = claimer {
            asks.push(claim::ask_next_due(runner, Some(self.state.now)));
        }
        asks.push(Ask::simple("COMMIT"));
        place.is_committing.set(true);
        let answers = self.link.ask(asks).await?;
        if claimer.is_some() {
            let due = claim::read_next_due(&answers[due])?.at;
            self.state.receipt.next_due = due.into_iter().chain(self.state.receipt.next_due).min();
        }
        if is_moving {
            let owed = self.round.owed.saturating_add(self.state.fairness.progress.cost);
            self.round.owed = if answers[clock].is_empty() { owed } else { 0 };
        }
        self.round.late = self.state.fairness.late;
        Ok(self.state.receipt)
    }
}

/// Whether a batch needs numbers of tasks.
fn speaks_of_names(batch: &Batch) -> bool {
    let Batch { adoptions, rules, default_rules, dropped_rules, submits, .. } = batch;
    let rules = rules.iter().chain(default_rules).chain(dropped_rules);
    !(adoptions.is_empty() && submits.is_empty()) || rules.count() > 0
}

/// Asks how the invocations moved last that there are bills of.
fn ask_last_moves<'a>(bills: &[Bill]) -> Ask<'a> {
    Ask::new(
        "SELECT i.id, h.reason, h.runner, h.attempt \
         FROM @invocation i JOIN @history h ON h.seq = ANY(ARRAY[i.seq]) AND h.n = i.moves \
         WHERE i.id = ANY($1)",
    )
    .with(uuids(bills.iter().map(|bill| &bill.id)))
}

/// Reads the answer.
fn read_last_moves(rows: &[Row]) -> Result<IdMap<LastMove>, Fault> {
    let read = |row| Ok((column(row, 0)?, (column(row, 1)?, column(row, 2)?, column(row, 3)?)));
    rows.iter().map(read).collect()
}

/// Asks who is above the guests that ask for cancels: each with its position in the batch, what is to
/// be cancelled, and whose guest asks.
fn ask_who_is_above<'a>(cancels: &[(i64, InvocationId, InvocationId)]) -> Ask<'a> {
    // Whose child somebody is never changes: nothing is locked.
    Ask::new(formatcp!(
        "WITH RECURSIVE above(n, id, parent, depth, target, generations) AS ( \
             SELECT w.n, i.id, i.parent, i.depth, t.depth, 0::bigint FROM unnest($1, $2, $3) AS w(n, id, by) \
             JOIN @invocation t ON t.id = ANY(ARRAY[w.id]) JOIN @invocation i ON i.id = ANY(ARRAY[w.by]) \
             WHERE i.depth >= t.depth AND coalesce(i.root, i.id) = coalesce(t.root, t.id) \
             UNION ALL \
             SELECT a.n, i.id, i.parent, i.depth, a.target, a.generations + 1 \
             FROM above a JOIN @invocation i ON i.id = ANY(ARRAY[a.parent]) \
             WHERE a.depth > a.target AND a.generations < {GENERATIONS_LOOKED_AT}) \
         SELECT DISTINCT ON (n) n, id, generations FROM above ORDER BY n, generations DESC"
    ))
    .with(cancels.iter().map(|(index, ..)| *index).collect::<Vec<_>>())
    .with(uuids(cancels.iter().map(|(_, id, _)| id)))
    .with(uuids(cancels.iter().map(|(.., by)| by)))
}

/// Reads the answer.
fn read_who_is_above(rows: &[Row]) -> Result<HashMap<usize, CallerAbove>, Fault> {
    let read = |row| Ok((index(row)?, (column(row, 1)?, column(row, 2)?)));
    rows.iter().map(read).collect()
}
