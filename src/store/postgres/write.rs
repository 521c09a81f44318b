//! One batch in one transaction.
//!
//! What is to be changed is read and locked first, all of it in one round trip;
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
use std::sync::Arc;

use tokio_postgres::Row;

use super::admit::{self, Due};
use super::fault::Fault;
use super::keep;
use super::lanes::Lanes;
use super::link::{Ask, Link};
use super::names::Names;
use super::rules::{Rules, ask_what_holds};
use super::schema::VERSION;
use super::settle::{self, Fresh, Head, LastMove, Moves, head};
use super::sql::{column, server_time, to_json, uuid, uuids};
use crate::model::{Clock, Differing, Event, InvocationId, Outcome, RuleKey, RunnerId, Status, UnixMicros};
use crate::store::rules::{self, Step};
use crate::store::{
    Applied, Batch, ChildOf, EndKind, Heartbeat, Lease, NewInvocation, Receipt, Report, Submitted,
};

/// The wider surroundings of a transaction.
pub(super) struct Surroundings<'a> {
    pub(super) link: &'a Link,
    pub(super) names: &'a mut Names,
    /// A clock instead of the server's.
    pub(super) clock: Option<&'a dyn Clock>,
    /// The channel that commits are told on, and who tells.
    pub(super) channel: &'a str,
    pub(super) sender: &'a str,
    /// The lock that migrations take for themselves and batches share.
    pub(super) migration_lock: i64,
    /// Whether an id that exists already is to be expected.
    pub(super) is_careful: bool,
    /// Whether the tally is to be folded.
    pub(super) folds: bool,
    /// Set when the commit is sent: from then on, whatever goes wrong, it may have
    /// been applied.
    pub(super) is_committing: &'a Cell<bool>,
}

/// What a transaction needs for its end.
pub(super) struct End<'a> {
    pub(super) channel: &'a str,
    pub(super) sender: &'a str,
    pub(super) folds: bool,
    pub(super) is_committing: &'a Cell<bool>,
}

/// A transaction under way.
pub(super) struct Work<'a> {
    pub(super) link: &'a Link,
    pub(super) names: &'a mut Names,
    pub(super) end: End<'a>,
    pub(super) now: UnixMicros,
    /// Whether that is the server's time, and goes on while the transaction waits.
    pub(super) has_server_time: bool,
    pub(super) receipt: Receipt,
    /// Whether another process may want to know of it.
    pub(super) is_news: bool,
    /// Whether something may be past its deadline.
    pub(super) may_expire: bool,
    /// Runners that are marked as lost, of those that the batch speaks for.
    pub(super) lost: HashSet<RunnerId>,
    /// Every invocation that was locked, as it is now: what was changed and is
    /// not written yet is marked.
    pub(super) heads: HashMap<InvocationId, Head>,
    /// Attached children that are not final, of whatever may end.
    pub(super) children: HashMap<InvocationId, Vec<InvocationId>>,
    /// Created, and not written yet.
    pub(super) fresh: Vec<Fresh<'a>>,
    pub(super) moves: Moves,
    pub(super) lanes: Lanes,
    /// What is due, once a claim has asked.
    pub(super) due: Option<Due>,
    /// The lease of a runner that has claimed something.
    pub(super) extends: Option<Heartbeat>,
    pub(super) outcomes: Vec<(i64, Outcome)>,
    pub(super) logs: Vec<(i64, &'a Report)>,
    pub(super) revoked: Vec<(RunnerId, InvocationId)>,
    /// How the invocations that the batch has bills of moved last, before it.
    pub(super) last_moves: HashMap<InvocationId, LastMove>,
    found: Found,
    /// Room for [`rules::plan`].
    steps: Vec<Step>,
}

/// What the batch's submits meet.
#[derive(Default)]
struct Found {
    /// Numbers for new invocations, in falling order.
    numbers: Vec<i64>,
    existing: HashSet<InvocationId>,
    /// By the how-manieth submit: who has its key, and whether with the same
    /// arguments.
    by_key: HashMap<usize, (InvocationId, bool)>,
    /// By the how-manieth submit: who has its place, task and arguments.
    by_place: HashMap<usize, InvocationId>,
    /// The same for what the batch itself creates: with the how-manieth it was.
    new_keys: HashMap<(i64, Arc<str>), usize>,
    new_places: HashMap<(InvocationId, u32), Vec<usize>>,
    /// As `by_key`, for the uniqueness rule.
    by_unique: HashMap<usize, (InvocationId, bool)>,
    new_uniques: HashMap<(i64, RuleKey), usize>,
}

/// Applies a batch.
pub(super) async fn commit(place: &mut Surroundings<'_>, batch: &Batch) -> Result<Receipt, Fault> {
    let link = place.link;
    let committed = transact(place, batch).await;
    if let Err(fault) = &committed {
        // Numbers that were drawn in it do not exist.
        place.names.forget();
        if !fault.breaks_connection() {
            link.ask_one(Ask::simple("ROLLBACK")).await?;
        }
    }
    committed
}

async fn transact(place: &mut Surroundings<'_>, batch: &Batch) -> Result<Receipt, Fault> {
    let mut work = Work::begin(place, batch).await?;
    work.set_rules(batch).await?;
    work.push(batch).await?;
    work.learn_ancestors(batch).await?;
    for (index, submit) in batch.submits.iter().enumerate() {
        let submitted = work.submit(index, submit, &batch.submits)?;
        work.receipt.submits.push(submitted);
    }
    work.find_doomed(batch).await?;
    for bill in &batch.bills {
        let applied = work.add(bill);
        work.receipt.bills.push(applied);
    }
    for report in &batch.reports {
        let applied = work.report(report)?;
        work.receipt.reports.push(applied);
    }
    for cancel in &batch.cancels {
        let cancelled = work.cancel(cancel)?;
        work.receipt.cancels.push(cancelled);
    }
    if let Some(inventory) = &batch.inventory {
        work.take_stock(inventory).await?;
    }
    if let Some(heartbeat) = &batch.heartbeat {
        work.heartbeat(heartbeat).await?;
    }
    // What is overdue is ended before anything is handed out.
    let is_late = (batch.recover || batch.claim.is_some()) && work.expire().await?;
    work.receipt.more = is_late;
    if batch.recover {
        work.recover().await?;
    }
    if let Some(request) = &batch.claim {
        work.claim(request).await?;
    }
    work.settle_lanes(None).await?;
    work.find_openings().await?;
    work.receipt.unblocked.sort_unstable();
    work.receipt.unblocked.dedup();
    if let Some(prune) = &batch.prune {
        let pruned = work.prune(prune).await?;
        work.receipt.pruned = Some(pruned);
    }
    let claimer = batch.claim.as_ref().map(|request| request.runner);
    let claimer = claimer.filter(|_| work.receipt.lease == Some(Lease::Held));
    work.finish(claimer).await
}

impl<'a> Work<'a> {
    /// Begins the transaction: locks and reads what the batch speaks of.
    async fn begin(place: &'a mut Surroundings<'_>, batch: &'a Batch) -> Result<Self, Fault> {
        let mut asks = vec![
            place.link.begin(),
            Ask::new("SELECT pg_advisory_xact_lock_shared($1)").with(place.migration_lock),
        ];
        let runners = batch.heartbeat.iter().map(|heartbeat| heartbeat.runner);
        let runners = runners.chain(batch.claim.iter().map(|claim| claim.runner));
        let mut runners: Vec<_> = runners.map(|runner| uuid(runner.as_bytes())).collect();
        runners.sort_unstable();
        runners.dedup();
        asks.push(
            Ask::new("SELECT id, is_lost FROM @runner WHERE id = ANY($1) ORDER BY id FOR UPDATE")
                .with(runners),
        );
        let parents = batch.submits.iter().filter_map(|submit| submit.child_of.as_ref());
        let ids = batch.reports.iter().map(|report| report.id);
        let ids = ids.chain(batch.bills.iter().map(|bill| bill.id));
        let ids = ids.chain(batch.cancels.iter().map(|cancel| cancel.id));
        let ids: HashSet<_> = ids.chain(parents.map(|place| place.parent)).collect();
        asks.push(
            Ask::new(concat!(
                "SELECT ",
                head!(),
                " FROM @invocation i WHERE i.id = ANY($1) ORDER BY i.seq FOR UPDATE"
            ))
            .with(uuids(&ids)),
        );
        if !batch.bills.is_empty() {
            asks.push(settle::ask_last_moves(&batch.bills));
        }
        let looks = Found::ask(place.is_careful, batch, &mut asks);
        ask_what_holds(batch, &mut asks);
        let fixed = place.clock.map(|clock| clock.now().0);
        // A recovery may take the claiming runner's lease away, and nothing is due for it then.
        let claim = batch.claim.as_ref().filter(|_| !batch.recover);
        if let Some(request) = claim {
            admit::ask_what_is_due(request.runner, fixed, &mut asks);
        }
        // Read when everything is locked: time does not go back from one
        // transaction on an invocation to the next.
        asks.push(Ask::new(concat!("SELECT ", server_time!(), ", version FROM @schema_version")));
        asks.push(keep::look_for_overdue(fixed));
        let mut answers = place.link.ask(asks).await?.into_iter().skip(2);
        let mut next = || answers.next().unwrap_or_default();
        let (runners, rows) = (next(), next());
        let last_moves = if batch.bills.is_empty() { Vec::new() } else { next() };
        let found = Found::read(looks, &mut next)?;
        let rules = Rules::read(batch, &mut next)?;
        let due = claim.is_some().then(|| [next(), next(), next()]);
        let state = next().pop().ok_or_else(|| Fault::Damaged("it has no version".to_owned()))?;
        let has_overdue = !next().is_empty();
        let version: i64 = column(&state, 1)?;
        if version != VERSION {
            return Err(Fault::Upgraded(version));
        }
        let now = match place.clock {
            Some(clock) => clock.now(),
            None => column(&state, 0)?,
        };
        let mut work = Self {
            link: place.link,
            names: place.names,
            end: End {
                channel: place.channel,
                sender: place.sender,
                folds: place.folds,
                is_committing: place.is_committing,
            },
            now,
            has_server_time: place.clock.is_none(),
            receipt: Receipt { now, ..Receipt::default() },
            is_news: false,
            may_expire: has_overdue,
            lost: HashSet::new(),
            heads: HashMap::with_capacity(rows.len() + batch.submits.len()),
            children: HashMap::new(),
            fresh: Vec::with_capacity(batch.submits.len()),
            moves: Moves::default(),
            lanes: Lanes::new(rules),
            due: None,
            extends: None,
            outcomes: Vec::new(),
            logs: Vec::new(),
            revoked: Vec::new(),
            last_moves: settle::read_last_moves(&last_moves)?,
            found,
            steps: Vec::new(),
        };
        for row in runners {
            if column(&row, 1)? {
                work.lost.insert(column(&row, 0)?);
            }
        }
        work.load(&rows)?;
        if let Some(answers) = due {
            work.read_what_is_due(answers)?;
        }
        work.learn_names(batch).await?;
        Ok(work)
    }

    /// Sees to it that what the batch names has numbers: not what orphans name.
    async fn learn_names(&mut self, batch: &Batch) -> Result<(), Fault> {
        let is_wanted = |new: &&NewInvocation| {
            new.child_of.as_ref().is_none_or(|place| self.is_owned_by_submitter(place))
        };
        let submits: Vec<_> = batch.submits.iter().filter(is_wanted).collect();
        let rules = batch.rules.iter().chain(&batch.default_rules);
        let tasks = rules.map(|rule| &rule.task).chain(submits.iter().map(|new| &new.task));
        let digests = submits.iter().map(|new| new.component_digest);
        let digests = digests.chain(batch.reports.iter().filter_map(|report| report.component_digest));
        self.names.learn(self.link, tasks, digests).await
    }

    /// Takes locked rows in; what is known already is newer. The new ones.
    pub(super) fn load(&mut self, rows: &[Row]) -> Result<Vec<InvocationId>, Fault> {
        let mut new = Vec::new();
        for row in rows {
            let head = Head::read(row)?;
            let id = head.id;
            if self.heads.contains_key(&id) {
                continue;
            }
            if let Some(parent) = head.parent
                && !head.detached
            {
                self.children.entry(parent).or_default().push(id);
            }
            self.heads.insert(id, head);
            new.push(id);
        }
        Ok(new)
    }

    /// Locks the attached descendants of everything that the batch may end.
    async fn find_doomed(&mut self, batch: &Batch) -> Result<(), Fault> {
        let ends = batch.reports.iter().filter(|report| {
            matches!(report.end.as_ref().map(|end| &end.how), Some(EndKind::Final(_)))
                && (report.end.as_ref().is_some_and(|end| end.has_children)
                    || self.heads.get(&report.id).is_some_and(|head| head.has_children))
        });
        let cancels = batch.cancels.iter().map(|cancel| cancel.id);
        let cancels = cancels.filter(|id| self.heads.get(id).is_some_and(|head| head.has_children));
        let parents = ends.map(|report| report.id).chain(cancels).collect();
        self.lock_descendants(parents).await
    }

    /// Locks the attached descendants of `parents` that are not final.
    pub(super) async fn lock_descendants(&mut self, mut parents: Vec<InvocationId>) -> Result<(), Fault> {
        // Once more when some were found: a child may have been submitted while
        // its parent was waited for.
        while !parents.is_empty() {
            let ask = Ask::new(concat!(
                "WITH RECURSIVE doomed(seq, id) AS ( \
                     SELECT c.seq, c.id FROM unnest($1) AS p(id) JOIN @invocation c ON c.parent = p.id \
                     WHERE c.place IS NOT NULL AND NOT c.detached \
                     UNION ALL \
                     SELECT c.seq, c.id FROM doomed d JOIN @invocation c ON c.parent = d.id \
                     WHERE c.place IS NOT NULL AND NOT c.detached) \
                 SELECT ",
                head!(),
                " FROM (SELECT DISTINCT seq FROM doomed) d JOIN @invocation i ON i.seq = d.seq \
                 WHERE i.place IS NOT NULL ORDER BY i.seq FOR UPDATE OF i"
            ));
            let rows = self.link.ask_one(ask.with(uuids(&parents))).await?;
            parents = self.load(&rows)?;
        }
        Ok(())
    }

    fn submit(
        &mut self,
        index: usize,
        new: &'a NewInvocation,
        all: &'a [NewInvocation],
    ) -> Result<Submitted, Fault> {
        if let Some(place) = &new.child_of
            && !self.is_owned_by_submitter(place)
        {
            return Ok(Submitted::Orphan);
        }
        // In the map: locked by this batch for another reason, or created by it.
        if self.found.existing.contains(&new.id) || self.heads.contains_key(&new.id) {
            return Ok(Submitted::Existing(new.id));
        }
        let task = self.names.task(&new.task)?;
        if let Some(key) = &new.key {
            let here = self.found.new_keys.get(&(task, Arc::clone(key))).map(|first| &all[*first]);
            let first = match self.found.by_key.get(&index) {
                Some(first) => Some(*first),
                None => here.map(|first| (first.id, first.arguments == new.arguments)),
            };
            match first {
                Some((first, is_same)) if is_same || first == new.id => {
                    return Ok(Submitted::Existing(first));
                }
                Some((first, _)) => return Ok(Submitted::KeyConflict(first)),
                None => {}
            }
        }
        if let Some(place) = &new.child_of {
            if let Some(first) = self.found.by_place.get(&index) {
                return Ok(Submitted::Existing(*first));
            }
            let here = self.found.new_places.get(&(place.parent, place.index));
            let is_same = |first: &&usize| {
                let first = &all[**first];
                first.task == new.task && first.arguments == new.arguments
            };
            if let Some(first) = here.into_iter().flatten().find(is_same) {
                return Ok(Submitted::Existing(all[*first].id));
            }
        }
        if let Some((key, differing)) = new.unique {
            let here = self.found.new_uniques.get(&(task, key)).map(|first| &all[*first]);
            let first = match self.found.by_unique.get(&index) {
                Some(first) => Some(*first),
                None => here.map(|first| (first.id, first.arguments == new.arguments)),
            };
            match first {
                Some((first, false)) if differing == Differing::Refuse && first != new.id => {
                    return Ok(Submitted::UniqueConflict(first));
                }
                Some((first, _)) => return Ok(Submitted::Existing(first)),
                None => {}
            }
        }
        if let Some(ancestor) = self.lanes.blocking_ancestor(new, task) {
            return Ok(Submitted::BehindAncestor(ancestor));
        }
        if let Some(key) = &new.key {
            self.found.new_keys.insert((task, Arc::clone(key)), index);
        }
        if let Some((key, _)) = new.unique {
            self.found.new_uniques.insert((task, key), index);
        }
        if let Some(place) = &new.child_of {
            self.found.new_places.entry((place.parent, place.index)).or_default().push(index);
        }

        let seq = self.found.numbers.pop().ok_or_else(|| Fault::Damaged("no numbers are left".to_owned()))?;
        let child_of = new.child_of.as_ref();
        let parent = child_of.and_then(|place| self.heads.get(&place.parent));
        let parents = parent.and_then(|parent| parent.deadline);
        let mut head = Head {
            seq,
            id: new.id,
            task,
            component: self.names.component(new.component_digest)?,
            status: Status::Queued,
            attempt: 0,
            max_attempts: new.max_attempts.max(1),
            moves: 0,
            priority: new.priority,
            available_at: self.now.plus(new.delay),
            started_at: None,
            finished_at: None,
            runner: None,
            has_children: false,
            parent: child_of.map(|place| place.parent),
            detached: child_of.is_some_and(|place| place.detached),
            deadline: rules::deadline(new, parents, self.now),
            place: None,
            lane: new.lane,
            progress: None,
            usage: None,
            is_changed: false,
        };
        self.lanes.enqueue(&mut head, self.now);
        self.may_expire |= head.deadline.is_some_and(|deadline| deadline <= self.now);
        self.moves.count(task, Status::Queued, 1);
        self.fresh.push(Fresh { id: new.id, new, submitted_at: self.now });
        self.heads.insert(new.id, head);
        if let Some(place) = child_of {
            if !place.detached {
                self.children.entry(place.parent).or_default().push(new.id);
            }
            if let Some(parent) = self.heads.get_mut(&place.parent)
                && !parent.has_children
            {
                parent.has_children = true;
                parent.is_changed = true;
            }
        }
        self.is_news = true;
        Ok(Submitted::Created(new.id))
    }

    /// Whether the attempt that submits a child still owns the parent, whose row
    /// is locked: its end waits for this transaction, and then finds the child.
    pub(super) fn is_owned_by_submitter(&self, place: &ChildOf) -> bool {
        self.heads.get(&place.parent).is_some_and(|parent| {
            parent.owner() == Some(place.parent_runner) && parent.attempt == place.parent_attempt
        })
    }

    fn report(&mut self, report: &'a Report) -> Result<Applied, Fault> {
        let Some(head) = self.heads.get_mut(&report.id) else {
            return Ok(Applied::Stale);
        };
        let mut steps = std::mem::take(&mut self.steps);
        let is_valid = head.owner() == Some(report.runner)
            && head.attempt == report.attempt
            && rules::plan(head.status, report, &mut steps);
        if !is_valid {
            self.steps = steps;
            return Ok(Applied::Stale);
        }
        head.is_changed = true;
        // A claim that is given back before its guest got a slot.
        let has_started = head.status != Status::Claimed || !report.observed.is_empty();
        for (at, event, _, to) in steps.drain(..) {
            if event == Event::Start {
                head.started_at = Some(at);
            }
            let detail = report.end.as_ref().and_then(|end| match &end.how {
                EndKind::Final(outcome) | EndKind::Retry(outcome, _) if !to.is_owned() => {
                    rules::detail(outcome)
                }
                _ => None,
            });
            self.moves.step(head, at, event, to, detail);
        }
        self.steps = steps;
        if let Some(progress) = &report.progress {
            head.progress = Some(to_json(progress)?);
        }
        if let Some(digest) = report.component_digest {
            head.component = self.names.component(digest)?;
        }
        if !report.logs.is_empty() {
            self.logs.push((head.seq, report));
        }
        if let Some(end) = &report.end {
            head.usage = rules::usage(head.usage, end);
            match &end.how {
                EndKind::Final(outcome) => {
                    self.lanes.relocate(head, None);
                    head.finished_at = Some(end.at);
                    self.outcomes.push((head.seq, outcome.clone()));
                    let status = head.status;
                    self.end_children(report.id, status)?;
                }
                EndKind::Retry(_, delay) => {
                    head.available_at = self.now.plus(*delay);
                    self.lanes.enqueue(head, self.now);
                }
                EndKind::Release => {
                    if !has_started {
                        self.lanes.refund_start(head);
                    }
                    self.lanes.enqueue(head, self.now);
                    head.attempt -= 1;
                }
            }
        }
        self.is_news = true;
        Ok(Applied::Done)
    }
}

/// Which questions of [`Found`] were asked, with the submits they are about.
struct Looks {
    reserves: bool,
    existing: bool,
    keyed: Vec<usize>,
    placed: Vec<usize>,
    unique: Vec<usize>,
}

impl Found {
    /// Asks what the batch's submits meet.
    fn ask<'a>(is_careful: bool, batch: &'a Batch, asks: &mut Vec<Ask<'a>>) -> Looks {
        let submits = &batch.submits;
        let which = |is: fn(&NewInvocation) -> bool| -> Vec<usize> {
            (0..submits.len()).filter(|index| is(&submits[*index])).collect()
        };
        let looks = Looks {
            reserves: !submits.is_empty(),
            existing: is_careful && !submits.is_empty(),
            keyed: which(|new| new.key.is_some()),
            placed: which(|new| new.child_of.is_some()),
            unique: which(|new| new.unique.is_some()),
        };
        if looks.reserves {
            let count = i64::try_from(submits.len()).unwrap_or(i64::MAX);
            asks.push(Ask::new("SELECT nextval('@invocation_seq') FROM generate_series(1, $1)").with(count));
        }
        if looks.existing {
            let ids = uuids(submits.iter().map(|new| &new.id));
            asks.push(Ask::new("SELECT id FROM @invocation WHERE id = ANY($1)").with(ids));
        }
        // By name: not every task has a number yet.
        let task = |index: &usize| &*submits[*index].task;
        let json = |index: &usize| &*submits[*index].arguments;
        if !looks.keyed.is_empty() {
            let key = |index: &usize| submits[*index].key.as_ref().map(|key| key.as_bytes());
            let ask = Ask::new(
                "SELECT w.n, i.id, a.json = w.json \
                 FROM unnest($1, $2, $3) WITH ORDINALITY AS w(task, key, json, n) \
                 JOIN @task t ON t.name = w.task \
                 JOIN @invocation i ON i.task = t.key AND i.idempotency_key = w.key \
                 JOIN @arguments a ON a.seq = i.seq",
            );
            asks.push(
                ask.with(looks.keyed.iter().map(task).collect::<Vec<_>>())
                    .with(looks.keyed.iter().map(key).collect::<Vec<_>>())
                    .with(looks.keyed.iter().map(json).collect::<Vec<_>>()),
            );
        }
        if !looks.placed.is_empty() {
            let places = looks.placed.iter().filter_map(|index| submits[*index].child_of.as_ref());
            let parents = uuids(places.clone().map(|place| &place.parent));
            let ask = Ask::new(
                "SELECT DISTINCT ON (w.n) w.n, i.id \
                 FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS w(parent, child_index, task, json, n) \
                 JOIN @task t ON t.name = w.task \
                 JOIN @invocation i ON i.parent = w.parent AND i.child_index = w.child_index \
                     AND i.task = t.key \
                 JOIN @arguments a ON a.seq = i.seq AND a.json = w.json ORDER BY w.n, i.seq",
            );
            asks.push(
                ask.with(parents)
                    .with(places.map(|place| i64::from(place.index)).collect::<Vec<_>>())
                    .with(looks.placed.iter().map(task).collect::<Vec<_>>())
                    .with(looks.placed.iter().map(json).collect::<Vec<_>>()),
            );
        }
        if !looks.unique.is_empty() {
            let key = |index: &usize| submits[*index].unique.map(|(key, _)| uuid(key.as_bytes()));
            let ask = Ask::new(
                "SELECT w.n, i.id, a.json = w.json \
                 FROM unnest($1, $2, $3) WITH ORDINALITY AS w(task, key, json, n) \
                 JOIN @task t ON t.name = w.task \
                 JOIN @invocation i ON i.task = t.key AND i.unique_key = w.key AND i.place IS NOT NULL \
                 JOIN @arguments a ON a.seq = i.seq",
            );
            asks.push(
                ask.with(looks.unique.iter().map(task).collect::<Vec<_>>())
                    .with(looks.unique.iter().map(key).collect::<Vec<_>>())
                    .with(looks.unique.iter().map(json).collect::<Vec<_>>()),
            );
        }
        looks
    }

    fn read(looks: Looks, next: &mut impl FnMut() -> Vec<Row>) -> Result<Self, Fault> {
        let mut found = Self::default();
        if looks.reserves {
            found.numbers = next().iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
            found.numbers.sort_unstable_by(|a, b| b.cmp(a));
        }
        if looks.existing {
            found.existing = next().iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        }
        // Ordinals count from 1.
        let which = |row: &Row, asked: &[usize]| -> Result<usize, Fault> {
            let n: u64 = column(row, 0)?;
            let index = usize::try_from(n).ok().and_then(|n| asked.get(n.checked_sub(1)?).copied());
            index.ok_or_else(|| Fault::Damaged(format!("submit {n} was not asked about")))
        };
        if !looks.keyed.is_empty() {
            for row in next() {
                let index = which(&row, &looks.keyed)?;
                found.by_key.insert(index, (column(&row, 1)?, column(&row, 2)?));
            }
        }
        if !looks.placed.is_empty() {
            for row in next() {
                found.by_place.insert(which(&row, &looks.placed)?, column(&row, 1)?);
            }
        }
        if !looks.unique.is_empty() {
            for row in next() {
                let index = which(&row, &looks.unique)?;
                found.by_unique.insert(index, (column(&row, 1)?, column(&row, 2)?));
            }
        }
        Ok(found)
    }
}
