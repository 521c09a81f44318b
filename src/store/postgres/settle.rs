//! Moving invocations: history, ends, what the end of one does to others, and the
//! leases of runners. And how all of it is written.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::claim;
use super::fault::Fault;
use super::lanes::LaneId;
use super::link::Ask;
use super::sql::{Json, column, optional, to_json, uuid, uuids};
use super::write::Work;
use crate::model::{
    Event, IllegalTransition, InvocationId, Outcome, Reason, RuleKey, RunnerId, Status, UnixMicros, Usage,
};
use crate::store::rules::Place;
use crate::store::{
    Applied, Bill, Cancel, Cancelled, Ended, Heartbeat, Inventory, Lease, NewInvocation, Receipt, rules,
};

/// At most so many runners are forgotten in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 100;

/// Where an invocation stands in the queue: smaller is sooner.
pub(super) type Rank = (i64, i64);

/// What can change of an invocation, and what decides about it.
pub(super) struct Head {
    pub(super) seq: i64,
    pub(super) id: InvocationId,
    pub(super) task: i64,
    pub(super) component: i64,
    pub(super) status: Status,
    pub(super) attempt: u32,
    pub(super) max_attempts: u32,
    pub(super) moves: i64,
    pub(super) priority: i32,
    pub(super) available_at: UnixMicros,
    pub(super) started_at: Option<UnixMicros>,
    pub(super) finished_at: Option<UnixMicros>,
    pub(super) runner: Option<RunnerId>,
    pub(super) has_children: bool,
    pub(super) parent: Option<InvocationId>,
    pub(super) detached: bool,
    pub(super) deadline: Option<UnixMicros>,
    /// Where others look for it; `None` when it is final.
    pub(super) place: Option<Place>,
    pub(super) lane: Option<RuleKey>,
    pub(super) usage: Option<Usage>,
    /// As JSON, if it is to be written.
    pub(super) progress: Option<String>,
    /// Whether the row is not as this is.
    pub(super) is_changed: bool,
}

/// The columns of a [`Head`], of the invocation `i`.
macro_rules! head {
    () => {
        "i.seq, i.id, i.task, i.component, i.status, i.attempt, i.max_attempts, i.moves, i.priority, \
         i.available_at, i.started_at, i.finished_at, i.runner, i.has_children, i.parent, i.detached, \
         i.deadline, i.place, i.lane, i.usage"
    };
}
pub(super) use head;

/// How many columns that is.
pub(super) const HEAD_COLUMNS: usize = 20;

impl Head {
    pub(super) fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            seq: column(row, 0)?,
            id: column(row, 1)?,
            task: column(row, 2)?,
            component: column(row, 3)?,
            status: column(row, 4)?,
            attempt: column(row, 5)?,
            max_attempts: column(row, 6)?,
            moves: column(row, 7)?,
            priority: column(row, 8)?,
            available_at: column(row, 9)?,
            started_at: optional(row, 10)?,
            finished_at: optional(row, 11)?,
            runner: optional(row, 12)?,
            has_children: column(row, 13)?,
            parent: optional(row, 14)?,
            detached: column(row, 15)?,
            deadline: optional(row, 16)?,
            place: optional(row, 17)?,
            lane: optional(row, 18)?,
            usage: optional(row, 19)?.map(|Json(usage)| usage),
            progress: None,
            is_changed: false,
        })
    }

    /// The runner that owns it now.
    pub(super) fn owner(&self) -> Option<RunnerId> {
        self.runner.filter(|_| self.status.is_owned())
    }

    pub(super) fn rank(&self) -> Rank {
        (rules::order_key(self.available_at, self.priority), self.seq)
    }

    /// Where `event` takes it. A row that can't go there contradicts the query
    /// that found it, so it is damaged.
    pub(super) fn after(&self, event: Event) -> Result<Status, Fault> {
        self.status.apply(event).map_err(|error: IllegalTransition| Fault::Damaged(error.to_string()))
    }

    /// What its task's rules count it with.
    pub(super) fn lane(&self) -> Option<LaneId> {
        self.lane.map(|key| (self.task, key))
    }
}

/// An invocation that the batch creates; its [`Head`] says where it is by now.
pub(super) struct Fresh<'a> {
    pub(super) id: InvocationId,
    pub(super) new: &'a NewInvocation,
    pub(super) submitted_at: UnixMicros,
}

/// A row of the history to be written.
struct Move {
    seq: i64,
    n: i64,
    at: UnixMicros,
    to: Status,
    event: Event,
    runner: Option<RunnerId>,
    attempt: u32,
    detail: Option<Box<str>>,
}

/// The history that a transaction writes, and what it adds to the counts.
#[derive(Default)]
pub(super) struct Moves {
    rows: Vec<Move>,
    pub(super) tally: HashMap<(i64, Status), i64>,
}

impl Moves {
    /// Counts an invocation in or out.
    pub(super) fn count(&mut self, task: i64, status: Status, change: i64) {
        *self.tally.entry((task, status)).or_default() += change;
    }

    /// Moves an invocation.
    pub(super) fn step(
        &mut self,
        head: &mut Head,
        at: UnixMicros,
        event: Event,
        to: Status,
        detail: Option<&str>,
    ) {
        self.count(head.task, head.status, -1);
        self.count(head.task, to, 1);
        head.moves += 1;
        self.rows.push(Move {
            seq: head.seq,
            n: head.moves,
            at,
            to,
            event,
            runner: head.runner.filter(|_| head.status.is_owned() || to.is_owned()),
            attempt: head.attempt,
            detail: detail.map(Box::from),
        });
        head.status = to;
        head.is_changed = true;
    }
}

/// The last move of an invocation, and whose it was until then.
pub(super) type LastMove = (Reason, Option<RunnerId>, u32);

/// Asks how the invocations moved last that there are bills of.
pub(super) fn ask_last_moves<'a>(bills: &[Bill]) -> Ask<'a> {
    Ask::new(
        "SELECT i.id, h.reason, h.runner, h.attempt \
         FROM @invocation i JOIN @history h ON h.seq = i.seq AND h.n = i.moves WHERE i.id = ANY($1)",
    )
    .with(uuids(bills.iter().map(|bill| &bill.id)))
}

/// What that question was answered.
pub(super) fn read_last_moves(rows: &[Row]) -> Result<HashMap<InvocationId, LastMove>, Fault> {
    let read = |row| Ok((column(row, 0)?, (column(row, 1)?, optional(row, 2)?, column(row, 3)?)));
    rows.iter().map(read).collect()
}

fn optional_uuid(runner: Option<RunnerId>) -> Option<Uuid> {
    runner.map(|runner| uuid(runner.as_bytes()))
}

fn optional_id(id: Option<InvocationId>) -> Option<Uuid> {
    id.map(|id| uuid(id.as_bytes()))
}

impl<'a> Work<'a> {
    /// Ends an invocation that nobody reported on.
    pub(super) fn end(&mut self, id: InvocationId, event: Event, outcome: Outcome) -> Result<(), Fault> {
        let Some(head) = self.heads.get_mut(&id) else {
            return Err(Fault::Damaged(format!("`{id}` was not locked")));
        };
        let runner = head.owner();
        let to = head.after(event)?;
        self.moves.step(head, self.now, event, to, rules::detail(&outcome));
        self.lanes.relocate(head, None);
        head.finished_at = Some(self.now);
        self.outcomes.push((head.seq, outcome.clone()));
        if let Some(runner) = runner {
            // Its owner may be another process, which hears of it from this.
            self.revoked.push((runner, id));
        }
        self.receipt.ended.push(Ended { id, runner, outcome });
        self.is_news = true;
        Ok(())
    }

    /// Cancels the attached descendants of an invocation that became final. All
    /// of them are locked and known.
    pub(super) fn end_children(&mut self, parent: InvocationId, status: Status) -> Result<(), Fault> {
        // By number: the order of their submits.
        let mut doomed = BTreeMap::new();
        let mut parents = vec![(parent, status)];
        while let Some((parent, status)) = parents.pop() {
            for id in self.children.get(&parent).into_iter().flatten() {
                if let Some(child) = self.heads.get(id).filter(|child| !child.status.is_final()) {
                    doomed.insert(child.seq, (*id, rules::orphaned(parent, status)));
                    parents.push((*id, Status::Cancelled));
                }
            }
        }
        doomed.into_values().try_for_each(|(id, outcome)| self.end(id, Event::Cancel, outcome))
    }

    /// Adds what an attempt used that somebody else ended.
    pub(super) fn add(&mut self, bill: &Bill) -> Applied {
        let found = self.heads.get_mut(&bill.id).zip(self.last_moves.get(&bill.id));
        let Some((head, usage)) = found.and_then(|(head, last)| {
            let usage = rules::late(head.usage, *last, bill)?;
            Some((head, usage))
        }) else {
            return Applied::Stale;
        };
        head.usage = Some(usage);
        head.is_changed = true;
        self.is_news = true;
        Applied::Done
    }

    pub(super) fn cancel(&mut self, cancel: &Cancel) -> Result<Cancelled, Fault> {
        let Some(head) = self.heads.get(&cancel.id) else {
            return Ok(Cancelled::Unknown);
        };
        if head.status.is_final() {
            return Ok(Cancelled::AlreadyFinal(head.status));
        }
        self.end(cancel.id, Event::Cancel, rules::cancelled(&cancel.message))?;
        self.end_children(cancel.id, Status::Cancelled)?;
        Ok(Cancelled::Done)
    }

    /// Gives back what a runner owns without knowing of it.
    pub(super) async fn take_stock(&mut self, inventory: &Inventory) -> Result<(), Fault> {
        let mut asks = self.write_all()?;
        asks.push(
            Ask::new(concat!(
                "SELECT ",
                head!(),
                " FROM @invocation i WHERE i.runner = $1 AND i.place = 'owned' ORDER BY i.seq FOR UPDATE"
            ))
            .with(uuid(inventory.runner.as_bytes())),
        );
        let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
        self.load(&rows)?;
        let known: HashSet<_> = inventory.owned.iter().copied().collect();
        for row in &rows {
            let id: InvocationId = column(row, 1)?;
            let Some(head) = self.heads.get_mut(&id) else { continue };
            if known.contains(&(id, head.attempt)) {
                continue;
            }
            let to = head.after(Event::Release)?;
            if head.status == Status::Claimed {
                self.lanes.refund_start(head);
            }
            self.moves.step(head, self.now, Event::Release, to, None);
            self.lanes.enqueue(head, self.now);
            head.attempt -= 1;
            self.receipt.given_back += 1;
            self.is_news = true;
        }
        Ok(())
    }

    /// Extends the lease of a runner, never shortens it, and tells it what was
    /// taken from it, once.
    pub(super) async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Result<(), Fault> {
        let mut asks = self.write_all()?;
        let is_lost = self.lost.contains(&heartbeat.runner);
        self.receipt.lease = Some(if is_lost { Lease::Lost } else { Lease::Held });
        if !is_lost {
            asks.push(self.extend_lease(heartbeat));
        }
        asks.push(
            Ask::new("DELETE FROM @revoked WHERE runner = $1 RETURNING id")
                .with(uuid(heartbeat.runner.as_bytes())),
        );
        let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
        self.receipt.revoked = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        self.receipt.revoked.sort_unstable();
        Ok(())
    }

    pub(super) fn extend_lease(&self, heartbeat: &Heartbeat) -> Ask<'static> {
        Ask::new(
            "INSERT INTO @runner AS r (id, lease_until, is_lost) VALUES ($1, $2, false) \
             ON CONFLICT (id) DO UPDATE SET lease_until = greatest(r.lease_until, excluded.lease_until)",
        )
        .with(uuid(heartbeat.runner.as_bytes()))
        .with(self.now.plus(heartbeat.lease).0)
    }

    /// Takes the claims of dead runners away.
    pub(super) async fn recover(&mut self) -> Result<(), Fault> {
        let mut asks = self.write_all()?;
        // One that is locked is giving a sign of life.
        asks.push(
            Ask::new(
                "SELECT r.id FROM @runner r WHERE NOT r.is_lost AND r.lease_until <= $1 AND EXISTS ( \
                     SELECT 1 FROM @invocation i WHERE i.runner = r.id AND i.place = 'owned') \
                 ORDER BY r.id FOR UPDATE SKIP LOCKED",
            )
            .with(self.now.0),
        );
        let dead = self.link.ask(asks).await?.pop().unwrap_or_default();
        let dead: Vec<RunnerId> = dead.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        if !dead.is_empty() {
            self.lost.extend(&dead);
            let runners: Vec<_> = dead.iter().map(|runner| uuid(runner.as_bytes())).collect();
            let owned = Ask::new(concat!(
                "SELECT ",
                head!(),
                " FROM @invocation i WHERE i.runner = ANY($1) AND i.place = 'owned' ORDER BY i.seq FOR UPDATE"
            ));
            let mark = Ask::new("UPDATE @runner SET is_lost = true WHERE id = ANY($1)");
            let mut answers = self
                .link
                .ask(vec![mark.with(runners.clone()), owned.with(runners)])
                .await?
                .into_iter()
                .skip(1);
            let rows = answers.next().unwrap_or_default();
            self.load(&rows)?;
            let mut owned = Vec::with_capacity(rows.len());
            for row in &rows {
                let runner: Option<RunnerId> = optional(row, 12)?;
                owned.push((runner, column::<i64>(row, 0)?, column::<InvocationId>(row, 1)?));
            }
            owned.sort_unstable();
            let lost = owned.iter().map(|(.., id)| *id);
            let lost = lost.filter(|id| {
                self.heads.get(id).is_some_and(|head| head.has_children && head.attempt >= head.max_attempts)
            });
            self.lock_descendants(lost.collect()).await?;
            for (runner, _, id) in owned {
                self.take_away(runner, id)?;
            }
        }
        self.forget_runners().await
    }

    /// Takes one claim of a dead runner away.
    fn take_away(&mut self, runner: Option<RunnerId>, id: InvocationId) -> Result<(), Fault> {
        // The end of its parent may have ended it a moment ago.
        let Some((head, runner)) = self.heads.get_mut(&id).zip(runner) else { return Ok(()) };
        if head.owner() != Some(runner) {
            return Ok(());
        }
        self.receipt.recovered += 1;
        self.is_news = true;
        if head.attempt < head.max_attempts {
            let to = head.after(Event::ExpireLease)?;
            self.moves.step(head, self.now, Event::ExpireLease, to, None);
            self.lanes.enqueue(head, self.now);
            Ok(())
        } else {
            let outcome = rules::lost(runner, head.attempt, head.max_attempts);
            self.end(id, Event::Fail, outcome)?;
            self.end_children(id, Status::Failed)
        }
    }

    /// Who owns nothing and is not to be told anything can be forgotten.
    async fn forget_runners(&mut self) -> Result<(), Fault> {
        let memory = i64::try_from(rules::LOST_RUNNER_MEMORY.as_micros()).unwrap_or(i64::MAX);
        let mut asks = self.write_all()?;
        for (is_lost, before) in [(false, self.now.0), (true, self.now.0 - memory)] {
            asks.push(
                Ask::new(
                    "DELETE FROM @runner WHERE id = ANY(ARRAY( \
                         SELECT r.id FROM @runner r WHERE r.is_lost = $1 AND r.lease_until <= $2 \
                         AND NOT EXISTS ( \
                             SELECT 1 FROM @invocation i WHERE i.runner = r.id AND i.place = 'owned') \
                         LIMIT $3 FOR UPDATE SKIP LOCKED))",
                )
                .with(is_lost)
                .with(before)
                .with(FORGOTTEN_AT_ONCE),
            );
        }
        asks.push(Ask::new(
            "DELETE FROM @revoked v WHERE NOT EXISTS (SELECT 1 FROM @runner r WHERE r.id = v.runner)",
        ));
        self.link.ask(asks).await.map(|_| ())
    }

    /// The statements that write everything that is not written yet.
    pub(super) fn write_all(&mut self) -> Result<Vec<Ask<'a>>, Fault> {
        // They are blocked in the database from now on.
        self.lanes.arrivals.clear();
        let mut asks = Vec::new();
        self.write_fresh(&mut asks)?;
        self.write_changed(&mut asks)?;
        let moves = std::mem::take(&mut self.moves.rows);
        if !moves.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @history (seq, n, at, status, reason, runner, attempt, detail) \
                 SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
            );
            let details = moves.iter().map(|one| one.detail.as_deref().map(|text| text.as_bytes().to_vec()));
            asks.push(
                ask.with(moves.iter().map(|one| one.seq).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.n).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.at.0).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.to.as_str()).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.event.reason().as_str()).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| optional_uuid(one.runner)).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| i64::from(one.attempt)).collect::<Vec<_>>())
                    .with(details.collect::<Vec<_>>()),
            );
        }
        let outcomes = std::mem::take(&mut self.outcomes);
        if !outcomes.is_empty() {
            let (mut seqs, mut failures, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for (seq, outcome) in outcomes {
                seqs.push(seq);
                let (failure, value) = match outcome {
                    Outcome::Failure(failure) => (Some(to_json(&failure)?), None),
                    Outcome::Value(value) => (None, Some(value.as_ref().to_owned())),
                };
                failures.push(failure);
                values.push(value);
            }
            let ask = Ask::new("INSERT INTO @outcome (seq, failure, value) SELECT * FROM unnest($1, $2, $3)");
            asks.push(ask.with(seqs).with(failures).with(values));
        }
        self.write_logs(&mut asks);
        let revoked = std::mem::take(&mut self.revoked);
        if !revoked.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @revoked (runner, id) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING",
            );
            asks.push(
                ask.with(revoked.iter().map(|(runner, _)| uuid(runner.as_bytes())).collect::<Vec<_>>())
                    .with(revoked.iter().map(|(_, id)| uuid(id.as_bytes())).collect::<Vec<_>>()),
            );
        }
        Ok(asks)
    }

    fn write_fresh(&mut self, asks: &mut Vec<Ask<'a>>) -> Result<(), Fault> {
        let fresh = std::mem::take(&mut self.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        for one in &fresh {
            if let Some(head) = self.heads.get_mut(&one.id) {
                head.is_changed = false;
            }
        }
        let rows: Vec<(&Head, &Fresh<'a>)> =
            fresh.iter().filter_map(|one| Some((self.heads.get(&one.id)?, one))).collect();
        macro_rules! all {
            (|$head:pat_param, $fresh:pat_param| $value:expr) => {
                rows.iter().map(|($head, $fresh)| $value).collect::<Vec<_>>()
            };
        }
        let place = |one: &Fresh<'a>| one.new.child_of.as_ref();
        let labels = rows.iter().map(|(_, one)| match one.new.labels.is_empty() {
            true => Ok(None),
            false => to_json(&one.new.labels).map(Some),
        });
        let ask = Ask::new(
            "INSERT INTO @invocation (seq, id, status, place, task, component, attempt, max_attempts, \
             moves, order_key, priority, available_at, submitted_at, started_at, finished_at, runner, \
             parent, child_index, root, depth, detached, has_children, idempotency_key, labels, deadline, \
             lane, unique_key) \
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
             $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)",
        );
        asks.push(
            ask.with(all!(|head, _| head.seq))
                .with(all!(|head, _| uuid(head.id.as_bytes())))
                .with(all!(|head, _| head.status.as_str()))
                .with(all!(|head, _| head.place.map(Place::as_str)))
                .with(all!(|head, _| head.task))
                .with(all!(|head, _| head.component))
                .with(all!(|head, _| i64::from(head.attempt)))
                .with(all!(|head, _| i64::from(head.max_attempts)))
                .with(all!(|head, _| head.moves))
                .with(all!(|head, _| head.rank().0))
                .with(all!(|head, _| head.priority))
                .with(all!(|head, _| head.available_at.0))
                .with(all!(|_, one| one.submitted_at.0))
                .with(all!(|head, _| head.started_at.map(|at| at.0)))
                .with(all!(|head, _| head.finished_at.map(|at| at.0)))
                .with(all!(|head, _| optional_uuid(head.runner)))
                .with(all!(|head, _| optional_id(head.parent)))
                .with(all!(|_, one| place(one).map(|place| i64::from(place.index))))
                .with(all!(|_, one| optional_id(place(one).map(|place| place.root))))
                .with(all!(|_, one| place(one).map_or(0, |place| i64::from(place.depth))))
                .with(all!(|head, _| head.detached))
                .with(all!(|head, _| head.has_children))
                .with(all!(|_, one| one.new.key.as_ref().map(|key| key.as_bytes())))
                .with(labels.collect::<Result<Vec<_>, _>>()?)
                .with(all!(|head, _| head.deadline.map(|at| at.0)))
                .with(all!(|_, one| one.new.lane.map(|key| uuid(key.as_bytes()))))
                .with(all!(|_, one| one.new.unique.map(|(key, _)| uuid(key.as_bytes())))),
        );
        let ask = Ask::new("INSERT INTO @arguments (seq, json) SELECT * FROM unnest($1, $2)");
        asks.push(ask.with(all!(|head, _| head.seq)).with(all!(|_, one| &*one.new.arguments)));
        Ok(())
    }

    fn write_changed(&mut self, asks: &mut Vec<Ask<'a>>) -> Result<(), Fault> {
        let mut changed: Vec<&mut Head> = self.heads.values_mut().filter(|head| head.is_changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable_by_key(|head| head.seq);
        macro_rules! all {
            (|$head:ident| $value:expr) => {
                changed.iter().map(|$head| $value).collect::<Vec<_>>()
            };
        }
        let usages = changed.iter().map(|head| head.usage.map(|usage| to_json(&usage)).transpose());
        let usages = usages.collect::<Result<Vec<_>, _>>()?;
        let ask = Ask::new(
            "UPDATE @invocation i SET status = u.status, place = u.place, component = u.component, \
             attempt = u.attempt, moves = u.moves, order_key = u.order_key, \
             available_at = u.available_at, started_at = u.started_at, finished_at = u.finished_at, \
             runner = u.runner, has_children = u.has_children, \
             progress = coalesce(u.progress, i.progress), usage = u.usage \
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS u(seq, status, \
             place, component, attempt, moves, order_key, available_at, started_at, finished_at, \
             runner, has_children, progress, usage) WHERE i.seq = u.seq",
        );
        asks.push(
            ask.with(all!(|head| head.seq))
                .with(all!(|head| head.status.as_str()))
                .with(all!(|head| head.place.map(Place::as_str)))
                .with(all!(|head| head.component))
                .with(all!(|head| i64::from(head.attempt)))
                .with(all!(|head| head.moves))
                .with(all!(|head| head.rank().0))
                .with(all!(|head| head.available_at.0))
                .with(all!(|head| head.started_at.map(|at| at.0)))
                .with(all!(|head| head.finished_at.map(|at| at.0)))
                .with(all!(|head| optional_uuid(head.runner)))
                .with(all!(|head| head.has_children))
                .with(all!(|head| head.progress.clone()))
                .with(usages),
        );
        for head in changed {
            head.is_changed = false;
            head.progress = None;
        }
        Ok(())
    }

    fn write_logs(&mut self, asks: &mut Vec<Ask<'a>>) {
        let logs = std::mem::take(&mut self.logs);
        let lines = logs.iter().flat_map(|(seq, report)| report.logs.iter().map(|line| (*seq, line)));
        let lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            return;
        }
        let ask = Ask::new(
            "INSERT INTO @log (seq, at, attempt, stream, level, text) \
             SELECT seq, at, attempt, stream, level, text \
             FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
             AS w(seq, at, attempt, stream, level, text, n) ORDER BY w.n",
        );
        asks.push(
            ask.with(lines.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.at.0).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| i64::from(line.attempt)).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.stream.as_str()).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.level.as_deref()).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.text.as_bytes()).collect::<Vec<_>>()),
        );
    }

    /// Writes the rest, tells the others, and commits.
    pub(super) async fn finish(mut self, claimer: Option<RunnerId>) -> Result<Receipt, Fault> {
        let mut asks = self.write_all()?;
        self.write_lanes(&mut asks);
        if let Some(heartbeat) = self.extends.take() {
            asks.push(self.extend_lease(&heartbeat));
        }
        let tally: Vec<_> = self.moves.tally.drain().filter(|(_, change)| *change != 0).collect();
        if !tally.is_empty() {
            let ask = Ask::new("INSERT INTO @tally (task, status, n) SELECT * FROM unnest($1, $2, $3)");
            asks.push(
                ask.with(tally.iter().map(|((task, _), _)| *task).collect::<Vec<_>>())
                    .with(tally.iter().map(|((_, status), _)| status.as_str()).collect::<Vec<_>>())
                    .with(tally.iter().map(|(_, change)| *change).collect::<Vec<_>>()),
            );
        }
        if self.end.folds {
            // Whoever comes second while it is folded has nothing left to fold.
            asks.push(Ask::new(
                "WITH gone AS (DELETE FROM @tally WHERE ctid = ANY(ARRAY( \
                     SELECT ctid FROM @tally FOR UPDATE SKIP LOCKED)) RETURNING task, status, n) \
                 INSERT INTO @tally (task, status, n) \
                 SELECT task, status, sum(n)::bigint FROM gone GROUP BY task, status HAVING sum(n) <> 0",
            ));
        }
        if self.is_news {
            asks.push(
                Ask::new("SELECT pg_notify($1, $2)")
                    .with(self.end.channel.to_owned())
                    .with(self.end.sender.to_owned()),
            );
        }
        // After a statement that failed, the server takes this for a rollback; the
        // error of that statement is what comes out here.
        let due = asks.len();
        if let Some(runner) = claimer {
            asks.push(claim::ask_next_due(runner, Some(self.now)));
        }
        asks.push(Ask::simple("COMMIT"));
        self.end.is_committing.set(true);
        let answers = self.link.ask(asks).await?;
        if claimer.is_some() {
            let due = claim::read_next_due(&answers[due])?.at;
            self.receipt.next_due = due.into_iter().chain(self.receipt.next_due).min();
        }
        Ok(self.receipt)
    }
}
