//! The memory store: the reference for what a store does, and the fastest one.
//! It survives nothing.

mod claim;
mod components;
mod fairness;
mod holders;
mod keep;
mod lanes;
mod quotas;
mod records;
mod settle;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use parking_lot::Mutex;

use self::fairness::Fairness;
use self::lanes::{Lane, LaneId};
use self::quotas::{Account, Quotas};
use self::records::{Records, Seq};
use self::usage::Hours;
use super::brief::brief;
use super::quota;
use super::read::submitted;
use super::rules::{self, Place, Step};
use super::{
    Adoption, Batch, CANDIDATES, Counts, Ended, Filter, Holding, Invocation, Lease, Leases, LookUp,
    NewInvocation, NextDue, PauseTarget, PushedComponent, QueuedCounts, QuotaRule, Receipt, RuleMark,
    Standing, Store, StoreError, Submitted, TaskRule, UsageQuery, UsageRow, Watch,
};
use crate::model::{
    Clock, ComponentDigest, DEFAULT_QUEUE, Differing, Event, Held, HolderKind, IdMap, IdPart, InvocationId,
    LogEntry, Outcome, RuleKey, RunnerId, Status, TaskId, Transition, UnixMicros, Usage, UsageSums,
};

/// A store that lives and dies with its process.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    /// Everything. Held for microseconds per invocation of a batch; nothing is
    /// called back while it is held.
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, StoreError> {
        Ok(read(&self.state.lock()))
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        let mut state = self.state.lock();
        // Read under the lock, so that time does not go back between commits.
        let now = self.clock.now();
        Ok(state.commit(batch, now))
    }

    fn get(&self, ids: &[InvocationId]) -> Result<Vec<Option<Invocation>>, StoreError> {
        self.read(|state| ids.iter().map(|id| state.record(id).map(Record::whole)).collect())
    }

    fn look_up(&self, ids: &[InvocationId]) -> Result<Vec<LookUp>, StoreError> {
        let look_up = |record: &Record| match &record.outcome {
            Some(outcome) => LookUp::Final(outcome.clone()),
            None => LookUp::Unfinished(record.status),
        };
        self.read(|state| ids.iter().map(|id| state.record(id).map_or(LookUp::Unknown, look_up)).collect())
    }

    fn standings(&self, ids: &[InvocationId]) -> Result<Vec<Option<Standing>>, StoreError> {
        self.read(|state| {
            let standing = |record: &Record| Standing {
                status: record.status,
                root: record.root,
                task: Arc::clone(&state.tasks[record.task].name),
            };
            ids.iter().map(|id| state.record(id).map(standing)).collect()
        })
    }

    fn next_due(&self, runner: RunnerId) -> Result<NextDue, StoreError> {
        let state = self.state.lock();
        let now = self.clock.now();
        Ok(NextDue { now, at: state.next_due(runner, now) })
    }

    fn revoked(&self, runner: RunnerId) -> Result<Vec<InvocationId>, StoreError> {
        self.read(|state| {
            state.runners.get(&runner).into_iter().flat_map(|runner| &runner.revoked).copied().collect()
        })
    }

    fn arguments(&self, id: InvocationId) -> Result<Option<Arc<str>>, StoreError> {
        self.read(|state| Some(state.record(&id)?.arguments.clone()))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Invocation>, StoreError> {
        self.read(|state| state.matching(filter).collect())
    }

    fn ids(&self, filter: &Filter) -> Result<Vec<InvocationId>, StoreError> {
        self.read(|state| state.matching(filter).map(|one| one.id).collect())
    }

    fn counts(&self, root: Option<InvocationId>) -> Result<Counts, StoreError> {
        let state = self.state.lock();
        let mut counts = Counts::default();
        match root {
            None => {
                for task in &state.tasks {
                    for status in Status::ALL {
                        counts.add(status, task.counts.get(status));
                    }
                }
            }
            Some(root) => {
                for seq in state.tree(root) {
                    counts.add(state.records[seq].status, 1);
                }
            }
        }
        Ok(counts)
    }

    fn unfinished_by_task(&self) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        let state = self.state.lock();
        let mut tasks: Vec<_> = state
            .tasks
            .iter()
            .map(|task| (task.name.clone(), task.counts.unfinished()))
            .filter(|(_, count)| *count > 0)
            .collect();
        tasks.sort_unstable();
        Ok(tasks)
    }

    fn queued_by_task(&self, now: UnixMicros) -> Result<Vec<QueuedCounts>, StoreError> {
        self.read(|state| {
            let queued = state.records.iter().filter(|record| record.status == Status::Queued);
            QueuedCounts::gather(queued.map(|record| {
                let is_delayed = record.place == Some(Place::Delayed) && record.available_at > now;
                let is_blocked = record.place == Some(Place::Blocked);
                let next = is_delayed.then_some(record.available_at);
                (Arc::clone(&record.shown.task), [1, i64::from(is_delayed), i64::from(is_blocked)], next)
            }))
        })
    }

    fn leases(&self) -> Result<Leases, StoreError> {
        let state = self.state.lock();
        let mut ends: Vec<_> = state.runners.iter().map(|(id, runner)| (*id, runner.lease_until)).collect();
        ends.sort_unstable();
        Ok(Leases { now: self.clock.now(), ends })
    }

    fn rules(&self) -> Result<Vec<TaskRule>, StoreError> {
        let state = self.state.lock();
        let mut rules: Vec<_> = state.known_tasks().map(Task::known_rule).collect();
        rules.sort_unstable_by(|a, b| a.task.cmp(&b.task));
        Ok(rules)
    }

    fn rule_marks(&self) -> Result<Vec<RuleMark>, StoreError> {
        let state = self.state.lock();
        let name = |task: &Task| Some(RuleMark { task: Arc::clone(&task.name), ..task.mark.clone()? });
        let mut marks: Vec<_> = state.tasks.iter().filter_map(name).collect();
        marks.sort_unstable_by(|a, b| a.task.cmp(&b.task));
        Ok(marks)
    }

    fn paused(&self) -> Result<Vec<PauseTarget>, StoreError> {
        self.read(|state| state.paused.iter().cloned().collect())
    }

    fn quotas(&self) -> Result<Vec<QuotaRule>, StoreError> {
        self.read(State::quotas)
    }

    fn holdings(&self, holder: HolderKind) -> Result<Vec<Holding>, StoreError> {
        self.read(|state| state.holdings(holder))
    }

    fn components(&self) -> Result<Vec<PushedComponent>, StoreError> {
        let state = self.state.lock();
        // Of one name the newest first: the sort keeps their order.
        let mut components: Vec<_> = state.pushed.iter().rev().cloned().collect();
        let place = |one: &PushedComponent| (Arc::clone(&one.name), one.removed_at.is_some());
        components.sort_by_key(place);
        Ok(components)
    }

    fn components_version(&self) -> Result<i64, StoreError> {
        self.read(|state| state.components_version)
    }

    fn component(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|state| state.component_bytes.get(&digest).map(|bytes| bytes.to_vec()))
    }

    fn tree(&self, root: InvocationId) -> Result<Vec<Invocation>, StoreError> {
        self.read(|state| {
            state.tree(root).into_iter().map(|seq| state.records[seq].without_value()).collect()
        })
    }

    fn history(&self, id: InvocationId) -> Result<Vec<Transition>, StoreError> {
        self.read(|state| state.record(&id).map(|record| record.history.clone()).unwrap_or_default())
    }

    fn find(&self, part: &IdPart) -> Result<Vec<InvocationId>, StoreError> {
        self.read(|state| {
            let mut found: Vec<_> = state.by_id.keys().copied().filter(|id| part.is_of(*id)).collect();
            found.sort_unstable();
            found.truncate(CANDIDATES);
            found
        })
    }

    fn keyed(&self, keys: &[(Arc<str>, Arc<str>)]) -> Result<Vec<Option<InvocationId>>, StoreError> {
        self.read(|state| {
            let by_key = |(task, key): &(Arc<str>, Arc<str>)| {
                let task = &state.tasks[*state.task_by_name.get(task)?];
                task.by_key.get(key).map(|&seq| state.records[seq].id)
            };
            keys.iter().map(by_key).collect()
        })
    }

    fn logs(&self, id: InvocationId) -> Result<Vec<LogEntry>, StoreError> {
        self.read(|state| state.record(&id).map(|record| record.logs.clone()).unwrap_or_default())
    }

    fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        self.read(|state| state.hours.read(query))
    }

    fn watch(&self, notify: Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> {
        // No other process can commit here, so there is never anything to tell. Kept all
        // the same: whoever watches knows by its drop that the watch has ended.
        Ok(Watch::new(notify))
    }

    fn is_instant(&self) -> bool {
        true
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn url(&self) -> &str {
        "memory:"
    }
}

/// All that the store knows.
#[derive(Default)]
struct State {
    /// Every invocation, in the order of submits.
    records: Records<Record>,
    by_id: IdMap<Seq>,
    /// Children by parent and place. Attempts that do different things may put
    /// several children at one place.
    children: BTreeSet<(InvocationId, u32, Seq)>,
    /// The tasks that were ever submitted, each with its own queue: a claim
    /// merges the queues of the tasks that its runner can run, so work for
    /// others costs it nothing.
    tasks: Vec<Task>,
    task_by_name: BTreeMap<Arc<str>, usize>,
    /// The places of tasks that were forgotten.
    free_tasks: Vec<usize>,
    /// Queued invocations that are not due yet, by `available_at`.
    delayed: BTreeSet<(i64, Seq)>,
    /// Unfinished invocations with a deadline, by that.
    deadlines: BTreeSet<(UnixMicros, Seq)>,
    /// Final invocations, by status and end.
    finals: [BTreeSet<(UnixMicros, Seq)>; Status::ALL.len()],
    runners: HashMap<RunnerId, Runner>,
    /// Components, the newest last.
    /// In the order of their pushes.
    pushed: Vec<PushedComponent>,
    components_version: i64,
    component_bytes: HashMap<ComponentDigest, Arc<[u8]>>,
    /// Invocations that rules count together; empty lanes are forgotten.
    lanes: HashMap<LaneId, Lane>,
    /// Lanes that a change has to be answered in, before the commit ends.
    dirty: BTreeSet<LaneId>,
    /// Lanes by the moment at which a rate lets one more of them start.
    opening: BTreeSet<(i64, usize, RuleKey)>,
    /// Lanes that hold nothing but starts, by the moment at which they are over.
    fading: BTreeSet<(i64, usize, RuleKey)>,
    /// Invocations that were blocked in the commit under way.
    newly_blocked: HashSet<Seq>,
    fairness: Fairness,
    quotas: Quotas,
    hours: Hours,
    paused: BTreeSet<PauseTarget>,
    /// Final invocations that may have attached children which are not final yet.
    cascade: Vec<(InvocationId, Status)>,
    /// How many more descendants the commit under way may cancel.
    cascade_room: usize,
    /// Room for [`rules::plan`], kept to spare an allocation per report.
    steps: Vec<Step>,
}

struct Task {
    name: Arc<str>,
    /// The name under which its usage is counted.
    component: Arc<str>,
    /// Due invocations by order key.
    ready: BTreeSet<(i64, Seq)>,
    by_key: HashMap<Arc<str>, Seq>,
    /// Unfinished invocations by what the uniqueness rule knows them by.
    by_unique: HashMap<RuleKey, Seq>,
    counts: Counts,
    /// The bytes of arguments and outcomes of those that count for its component.
    bytes: i64,
    /// The number of unfinished invocations that count for other components.
    elsewhere: i64,
    /// `None` until somebody says what they are.
    rule: Option<TaskRule>,
    /// The origin of the rule.
    mark: Option<RuleMark>,
}

impl Task {
    fn queue(&self) -> Arc<str> {
        self.rule.as_ref().map_or_else(|| DEFAULT_QUEUE.into(), |rule| Arc::clone(&rule.queue))
    }

    fn known_rule(&self) -> TaskRule {
        self.rule.clone().unwrap_or_else(|| TaskRule {
            task: Arc::clone(&self.name),
            queue: self.queue(),
            concurrency: None,
            rate: None,
        })
    }
}

/// A runner that has a lease, or had one.
struct Runner {
    lease_until: UnixMicros,
    /// Claims were taken away from it.
    is_lost: bool,
    owned: BTreeSet<Seq>,
    /// Taken from it and not yet told.
    revoked: BTreeSet<InvocationId>,
}

struct Record {
    /// Everything that is shown of it, but for `blocked`, which follows from its place.
    shown: Invocation,
    /// The index of its task.
    task: usize,
    /// The number of its fairness key.
    fairness: usize,
    /// Its place in the queue, and the cost with which it got it.
    order_key: i64,
    turn: i64,
    arguments: Arc<str>,
    /// `None` when it is final.
    place: Option<Place>,
    child_index: Option<u32>,
    /// Since its submit, with those that are not in its history.
    moves: u64,
    history: Vec<Transition>,
    logs: Vec<LogEntry>,
}

impl Deref for Record {
    type Target = Invocation;

    fn deref(&self) -> &Invocation {
        &self.shown
    }
}

impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Invocation {
        &mut self.shown
    }
}

impl Record {
    fn whole(&self) -> Invocation {
        Invocation { blocked: self.place == Some(Place::Blocked), ..self.shown.clone() }
    }

    fn without_value(&self) -> Invocation {
        let mut one = self.whole();
        one.outcome = one.outcome.and_then(|outcome| match outcome {
            Outcome::Value(_) => None,
            Outcome::Failure(failure) => Some(Outcome::Failure(brief(&failure).map_or(failure, Arc::new))),
        });
        one
    }

    fn is_owned_by(&self, runner: RunnerId, attempt: u32) -> bool {
        self.status.is_owned() && self.runner == Some(runner) && self.attempt == attempt
    }

    fn lane(&self) -> Option<LaneId> {
        self.lane.map(|key| (self.task, key))
    }

    /// The holders of quotas that count it.
    fn account(&self) -> Account {
        Account { task: self.task, key: (!self.unkeyed).then_some(self.fairness), payer: self.payer.clone() }
    }

    /// The runner that must kill its guest if this ends now.
    fn owner(&self) -> Option<RunnerId> {
        self.runner.filter(|_| self.status.is_owned())
    }
}

impl State {
    fn record(&self, id: &InvocationId) -> Option<&Record> {
        self.by_id.get(id).map(|&seq| &self.records[seq])
    }

    fn matching(&self, filter: &Filter) -> impl Iterator<Item = Invocation> {
        let look = filter.look.and_then(|look| usize::try_from(look).ok()).unwrap_or(usize::MAX);
        let looked_at: Vec<&Record> = match filter.root {
            Some(root) => self.tree(root).into_iter().rev().map(|seq| &self.records[seq]).collect(),
            None => self.records.iter().rev().take(look).collect(),
        };
        let shown = looked_at.into_iter().map(Record::without_value);
        shown.filter(|one| filter.lets_through(one)).take(filter.limit)
    }

    fn children_of(&self, parent: InvocationId) -> impl Iterator<Item = Seq> {
        self.children.range((parent, 0, 0)..=(parent, u32::MAX, Seq::MAX)).map(|&(_, _, seq)| seq)
    }

    /// The invocations below and including `root`, in the order of submits,
    /// which puts parents before children.
    fn tree(&self, root: InvocationId) -> Vec<Seq> {
        let Some(&root_seq) = self.by_id.get(&root) else {
            return Vec::new();
        };
        if self.records[root_seq].root != root {
            return Vec::new();
        }
        let mut tree = vec![root_seq];
        let mut next = 0;
        while let Some(&seq) = tree.get(next) {
            tree.extend(self.children_of(self.records[seq].id));
            next += 1;
        }
        tree.sort_unstable();
        tree
    }

    fn commit(&mut self, batch: &Batch, now: UnixMicros) -> Receipt {
        let mut receipt = Receipt { now, ..Receipt::default() };
        self.cascade_room = rules::CASCADED_AT_ONCE;
        self.hours.present = now.hour();
        for adoption in &batch.adoptions {
            receipt.adopted.push(self.adopt(adoption));
        }
        for rule in &batch.dropped_rules {
            self.drop_rule(rule, now);
        }
        for (rule, only_if_new) in batch.said_rules() {
            let by = batch.rules_by.as_ref().filter(|_| !only_if_new);
            receipt.replaced.extend(self.set_rule(rule, only_if_new, by, now));
        }
        if let Some(weights) = &batch.weights {
            self.fairness.set_weights(weights);
        }
        for quotas in &batch.quotas {
            self.set_quotas(quotas, batch.rules_by.as_ref(), now);
        }
        for pause in &batch.pauses {
            self.set_pause(pause);
        }
        if batch.changes_components() {
            receipt.removed = self.change_components(batch, now);
        }
        for submit in &batch.submits {
            receipt.submits.push(self.submit(submit, now));
        }
        for bill in &batch.bills {
            receipt.bills.push(self.add(bill));
        }
        for (index, report) in batch.reports.iter().enumerate() {
            let (applied, no_room) = self.report(report, now, &mut receipt.ended);
            receipt.no_room.extend(no_room.map(|outcome| (index, outcome)));
            receipt.reports.push(applied);
        }
        for cancel in &batch.cancels {
            let cancelled = self.cancel(cancel, now, &mut receipt.ended);
            receipt.cancels.push(cancelled);
        }
        if let Some(inventory) = &batch.inventory {
            receipt.given_back = self.take_stock(inventory, now);
        }
        if let Some(heartbeat) = &batch.heartbeat {
            receipt.lease = Some(self.heartbeat(heartbeat, now));
            if let Some(runner) = self.runners.get_mut(&heartbeat.runner) {
                receipt.revoked = std::mem::take(&mut runner.revoked).into_iter().collect();
            }
        }
        if batch.recover || batch.claim.is_some() {
            receipt.more = self.expire(now, &mut receipt);
            for (parent, status) in std::mem::take(&mut self.cascade) {
                self.end_children(parent, status, now, &mut receipt.ended);
            }
        }
        if batch.recover {
            self.recover(now, &mut receipt);
        }
        if let Some(request) = &batch.claim {
            self.claim(request, now, &mut receipt);
        }
        self.settle(now, &mut receipt);
        self.move_clock();
        if let Some(request) = &batch.claim
            && receipt.lease == Some(Lease::Held)
        {
            receipt.next_due = self.next_due(request.runner, now);
        }
        receipt.unblocked.sort_unstable();
        receipt.unblocked.dedup();
        self.newly_blocked.clear();
        receipt.has_cascade = !self.cascade.is_empty();
        receipt.pruned = batch.prune.as_ref().map(|prune| self.prune(prune, now));
        if let Some(age) = batch.prune_usage {
            receipt.has_old_usage = self.hours.prune(age, now);
        }
        if let Some(after) = &batch.forget_names {
            receipt.names_after = self.forget_names(after);
        }
        receipt
    }

    /// Gives a task the full id; whether it did.
    fn adopt(&mut self, adoption: &Adoption) -> bool {
        let Some(&task) = self.task_by_name.get(&adoption.from) else {
            return false;
        };
        let component = TaskId::split(&adoption.to).0;
        let pushed = self.pushed.iter().filter(|one| Some(&*one.name) == component).map(|one| one.digest);
        let own: HashSet<_> = pushed.chain([adoption.component_digest]).collect();
        let is_others =
            |one: &Record| one.task == task && !one.status.is_final() && !own.contains(&one.component_digest);
        let names = self.known_tasks().map(|task| &task.name);
        if !rules::is_adopted(adoption, names, self.records.iter().any(is_others)) {
            return false;
        }
        self.task_by_name.remove(&adoption.from);
        self.task_by_name.insert(Arc::clone(&adoption.to), task);
        for record in self.records.iter_mut().filter(|record| record.task == task) {
            record.shown.task = Arc::clone(&adoption.to);
        }
        let renamed = &mut self.tasks[task];
        renamed.name = Arc::clone(&adoption.to);
        renamed.component = rules::billed_component(&adoption.to).into();
        if let Some(rule) = &mut renamed.rule {
            rule.task = Arc::clone(&adoption.to);
        }
        if self.paused.remove(&PauseTarget::Task(Arc::clone(&adoption.from))) {
            self.paused.insert(PauseTarget::Task(Arc::clone(&adoption.to)));
        }
        true
    }

    fn submit(&mut self, new: &NewInvocation, now: UnixMicros) -> Submitted {
        if let Some(place) = &new.child_of {
            let owns = |parent: &Record| parent.is_owned_by(place.parent_runner, place.parent_attempt);
            if !self.record(&place.parent).is_some_and(owns) {
                return Submitted::Orphan;
            }
        }
        let task = self.task(&new.task);
        if self.by_id.contains_key(&new.id) {
            return Submitted::Existing(new.id);
        }
        if let Some(key) = &new.key
            && let Some(&seq) = self.tasks[task].by_key.get(key)
        {
            let first = &self.records[seq];
            return if first.arguments == new.arguments {
                Submitted::Existing(first.id)
            } else {
                Submitted::KeyConflict(first.id)
            };
        }
        if let Some(place) = &new.child_of
            && let Some(first) = self.child_at(place.parent, place.index, task, &new.arguments)
        {
            return Submitted::Existing(first);
        }
        if let Some((key, differing)) = new.unique
            && let Some(&seq) = self.tasks[task].by_unique.get(&key)
        {
            let first = &self.records[seq];
            return match differing {
                Differing::Refuse if first.arguments != new.arguments => Submitted::UniqueConflict(first.id),
                Differing::Refuse | Differing::Existing => Submitted::Existing(first.id),
            };
        }
        if let Some(ancestor) = self.blocking_ancestor(new, task) {
            return Submitted::BehindAncestor(ancestor);
        }
        if let Some(over) = self.over_quota(new, now) {
            return Submitted::OverQuota(Arc::new(over));
        }
        self.take_tokens(new, now);

        let parents = new.child_of.as_ref().and_then(|place| self.record(&place.parent)?.deadline);
        let deadline = rules::deadline(new, parents, now);
        let fairness = self.fairness_key(new);
        let child_of = new.child_of.as_ref();
        let shown = Invocation {
            id: new.id,
            task: Arc::clone(&new.task),
            component_digest: new.component_digest,
            status: Status::Queued,
            attempt: 0,
            max_attempts: new.max_attempts.max(1),
            parent: child_of.map(|place| place.parent),
            root: child_of.map_or(new.id, |place| place.root),
            depth: child_of.map_or(0, |place| place.depth),
            detached: child_of.is_some_and(|place| place.detached),
            priority: new.priority,
            key: new.key.clone(),
            fairness_key: self.fairness.name(fairness),
            payer: quota::payer(&self.quotas.rules, new).map(Arc::from),
            unkeyed: self.is_unkeyed(new),
            labels: new.labels.clone(),
            limits: new.limits.clone(),
            callers: new.callers.clone(),
            runner: None,
            submitted_at: now,
            available_at: now.plus(new.delay),
            blocked: false,
            lane: new.lane,
            unique: new.unique.map(|(key, _)| key),
            deadline,
            started_at: None,
            finished_at: None,
            progress: None,
            usage: None,
            outcome: None,
        };
        let seq = self.records.push(Record {
            shown,
            task,
            fairness,
            order_key: 0,
            turn: 0,
            arguments: new.arguments.clone(),
            place: None,
            child_index: child_of.map(|place| place.index),
            moves: 0,
            history: vec![submitted(now)],
            logs: Vec::new(),
        });
        self.by_id.insert(new.id, seq);
        if let Some(place) = &new.child_of {
            self.children.insert((place.parent, place.index, seq));
        }
        if let Some(key) = &new.key {
            self.tasks[task].by_key.insert(key.clone(), seq);
        }
        if let Some((key, _)) = new.unique {
            self.tasks[task].by_unique.insert(key, seq);
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, seq));
        }
        self.tasks[task].counts.add(Status::Queued, 1);
        let bytes = quota::text_bytes(new.arguments.len());
        let account = self.records[seq].account();
        self.hold(&account, Held { unfinished: 1, bytes });
        if rules::is_at_once(new.delay) {
            self.place(seq);
        }
        self.enqueue(seq, now);
        Submitted::Created(new.id)
    }

    /// The tasks that have names.
    fn known_tasks(&self) -> impl Iterator<Item = &Task> {
        self.task_by_name.values().map(|task| &self.tasks[*task])
    }

    fn task(&mut self, name: &Arc<str>) -> usize {
        if let Some(&task) = self.task_by_name.get(name) {
            return task;
        }
        let new = Task {
            name: name.clone(),
            component: rules::billed_component(name).into(),
            ready: BTreeSet::new(),
            by_key: HashMap::new(),
            by_unique: HashMap::new(),
            counts: Counts::default(),
            bytes: 0,
            elsewhere: 0,
            rule: None,
            mark: None,
        };
        let task = self.free_tasks.pop().unwrap_or(self.tasks.len());
        match self.tasks.get_mut(task) {
            Some(free) => *free = new,
            None => self.tasks.push(new),
        }
        self.task_by_name.insert(name.clone(), task);
        task
    }

    /// The child that an earlier attempt submitted at the same place.
    fn child_at(
        &self,
        parent: InvocationId,
        index: u32,
        task: usize,
        arguments: &Arc<str>,
    ) -> Option<InvocationId> {
        self.children
            .range((parent, index, 0)..=(parent, index, Seq::MAX))
            .map(|&(_, _, seq)| &self.records[seq])
            .find(|child| child.task == task && child.arguments == *arguments)
            .map(|child| child.id)
    }

    /// Puts a queued invocation where claims, or its lane, find it.
    fn enqueue(&mut self, seq: Seq, now: UnixMicros) {
        let record = &mut self.records[seq];
        let order_key = record.order_key;
        if record.available_at > now {
            record.place = Some(Place::Delayed);
            self.delayed.insert((record.available_at.0, seq));
        } else if let Some(lane) = record.lane() {
            self.block(seq, lane, order_key);
        } else {
            record.place = Some(Place::Ready);
            self.tasks[record.task].ready.insert((order_key, seq));
        }
    }

    /// Takes an invocation out of wherever it is to be found.
    fn unlist(&mut self, seq: Seq) {
        let record = &mut self.records[seq];
        let Some(place) = record.place.take() else {
            return;
        };
        let order_key = record.order_key;
        match place {
            Place::Ready => drop(self.tasks[record.task].ready.remove(&(order_key, seq))),
            Place::Delayed => drop(self.delayed.remove(&(record.available_at.0, seq))),
            Place::Blocked => {}
            Place::Owned => {
                if let Some(runner) = record.runner.and_then(|runner| self.runners.get_mut(&runner)) {
                    runner.owned.remove(&seq);
                }
            }
        }
        if let Some(lane) = record.lane() {
            self.leave_lane(seq, lane, place, order_key);
        }
    }

    /// Moves an invocation and writes its history. The event was checked: it can
    /// happen in this status.
    fn step(&mut self, seq: Seq, at: UnixMicros, event: Event, to: Status, detail: Option<String>) {
        let record = &mut self.records[seq];
        debug_assert_eq!(record.status.apply(event), Ok(to));
        let counts = &mut self.tasks[record.task].counts;
        counts.subtract(record.status, 1);
        counts.add(to, 1);
        record.moves += 1;
        let runner = record.runner.filter(|_| record.status.is_owned() || to.is_owned());
        let attempt = record.attempt;
        let last = record.history.last_mut();
        if rules::is_recorded(event, record.moves) {
            let from = last.map(|last| last.to);
            let reason = event.reason();
            record.history.push(Transition { at, from, to, reason, runner, attempt, detail, unrecorded: 0 });
        } else if let Some(last) = last {
            last.unrecorded += 1;
        }
        record.status = to;
        if to.is_final() {
            self.sums_of(seq).count_end(to);
        }
    }

    /// Counts the bill of an attempt, if it left one.
    fn count_bill(&mut self, seq: Seq, bill: Usage) {
        if bill != Usage::default() {
            self.sums_of(seq).count_bill(bill);
        }
    }

    /// The sums of the present hour that an invocation adds to.
    fn sums_of(&mut self, seq: Seq) -> &mut UsageSums {
        let record = &self.records[seq];
        let component = Arc::clone(&self.tasks[record.task].component);
        self.hours.of(component, self.fairness.name(record.fairness))
    }

    /// Ends an invocation that nobody reported on, and keeps its owner's news.
    fn end(&mut self, seq: Seq, at: UnixMicros, event: Event, to: Status, outcome: Outcome) -> Ended {
        let record = &self.records[seq];
        let (id, runner) = (record.id, record.owner());
        if let Some(owner) = runner.and_then(|runner| self.runners.get_mut(&runner)) {
            owner.revoked.insert(id);
        }
        let record = &self.records[seq];
        if rules::has_turn(record.place) {
            let start = super::order::start(record.order_key, record.priority);
            self.fairness.refund(record.fairness, start, record.turn);
        }
        self.finish(seq, at, event, to, outcome.clone());
        Ended { id, runner, outcome }
    }

    /// Makes an invocation final.
    fn finish(&mut self, seq: Seq, at: UnixMicros, event: Event, to: Status, outcome: Outcome) {
        self.unlist(seq);
        self.step(seq, at, event, to, rules::detail(&outcome).map(str::to_owned));
        let record = &mut self.records[seq];
        record.finished_at = Some(at);
        let (account, change) = (record.account(), quotas::ended(&outcome));
        record.outcome = Some(outcome);
        let (unique, task, deadline) = (record.unique, record.task, record.deadline);
        if let Some(key) = unique {
            self.tasks[task].by_unique.remove(&key);
        }
        if let Some(deadline) = deadline {
            self.deadlines.remove(&(deadline, seq));
        }
        self.finals[to as usize].insert((at, seq));
        self.hold(&account, change);
    }
}
