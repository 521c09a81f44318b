//! The state that the threads of one runner share.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::executor::Executor;
use super::fiber::{Fiber, Kill, Notes, Resume};
use super::fill::user_of;
use super::inbox::{Inbox, NewRules};
use super::ledger::Ledger;
use super::options::RunnerOptions;
use super::parking::Parking;
use super::registry::Registry;
use super::retry_budget::RetryBudgets;
use super::scheduler::Scheduler;
use super::stage::{Stage, Stages};
use super::starts::Starts;
use super::totals::Totals;
use super::trust::Trust;
use crate::model::{
    Claim, Clock, IdMap, Interrupt, InvocationId, MemoryBudget, Refusal, RunnerId, Shortage, Usage,
};
use crate::store::{Bill, Store, StoreError, TaskSet};

/// The state that the threads of one runner share.
pub(super) struct Core {
    pub(super) store: Arc<dyn Store>,
    pub(super) executor: Arc<dyn Executor>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) options: RunnerOptions,
    /// The tasks that this runner claims. Replaced as a whole when components come and go.
    tasks: RwLock<Arc<TaskSet>>,
    pub(super) scheduler: Scheduler,
    /// The memory that all guests may take together.
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) registry: Registry,
    pub(super) trust: Trust,
    pub(super) inbox: Inbox,
    /// Held for one turn: by any thread with an instant store, else by the ledger thread alone.
    pub(super) ledger: Mutex<Ledger>,
    /// Live fibers by invocation.
    pub(super) live: Mutex<IdMap<Arc<Fiber>>>,
    /// Guests in the making.
    pub(super) starts: Starts,
    pub(super) stages: Stages,
    pub(super) parking: Parking,
    pub(super) totals: Mutex<Totals>,
    pub(super) retry_budgets: RetryBudgets,
    /// The reason for which the runner ended by itself, if it did.
    pub(super) fault: OnceLock<StoreError>,
}

impl Core {
    /// Makes the state of a runner that owns nothing yet.
    pub(super) fn new(
        store: Arc<dyn Store>,
        executor: Arc<dyn Executor>,
        clock: Arc<dyn Clock>,
        options: RunnerOptions,
    ) -> Self {
        let id = RunnerId::generate();
        let (budget, settings) = (executor.memory_budget(), &options.settings);
        let registry = Registry::new(settings.final_cache_entries, settings.final_cache_bytes);
        let tasks = options.only_tasks.clone().unwrap_or_else(|| executor.tasks());
        Self {
            ledger: Mutex::new(Ledger::new(id, &options, Instant::now())),
            scheduler: Scheduler::new(options.settings.max_live, Arc::clone(&budget), &tasks),
            tasks: RwLock::new(tasks),
            registry: registry.with_budget(&budget),
            budget,
            inbox: Inbox::default(),
            trust: Trust::new(id),
            live: Mutex::new(IdMap::default()),
            starts: Starts::new(options.slots),
            stages: Stages::new(options.grace),
            parking: Parking::new(),
            totals: Mutex::default(),
            retry_budgets: RetryBudgets::default(),
            fault: OnceLock::new(),
            store,
            executor,
            clock,
            options,
        }
    }

    /// The tasks that this runner claims.
    pub(super) fn tasks(&self) -> Arc<TaskSet> {
        Arc::clone(&self.tasks.read())
    }

    /// Replaces the tasks that this runner claims, and has the rules of new ones told to the store.
    pub(super) fn replace_tasks(&self, tasks: Arc<TaskSet>, rules: NewRules) {
        self.scheduler.replace_tasks(&tasks);
        *self.tasks.write() = tasks;
        self.inbox.put(|messages| {
            messages.new_rules.add(rules);
        });
        // There may be work of theirs.
        self.tell_foreign_change();
    }

    /// Moves on to `stage`, and has the ledger thread look at it.
    pub(super) fn advance(&self, stage: Stage) {
        self.stages.advance(stage);
        self.inbox.call();
    }

    /// Tells the ledger that another process has changed the store, or may have.
    pub(super) fn tell_foreign_change(&self) {
        self.inbox.put(|messages| messages.has_foreign_change = true);
        self.inbox.ring();
    }

    /// Leaves the bill of an attempt that something else ended, a cancel say: the store decides if it counts.
    pub(super) fn leave_bill(&self, id: InvocationId, runner: RunnerId, attempt: u32, usage: Usage) {
        if usage != Usage::default() {
            self.inbox.put(|messages| messages.bills.push(Bill { id, runner, attempt, usage }));
        }
    }

    /// Notes something of a fiber: it is written with the next batch, or soon.
    pub(super) fn note(&self, fiber: &Arc<Fiber>, add: impl FnOnce(&mut Notes)) {
        fiber.note(add);
        self.inbox.put_noted(fiber);
    }

    /// Ends the youngest wait with an error, if parked parents fill the runner and none can ever go on.
    pub(super) fn give_up_at_cap(&self) {
        while let Some(id) = self.scheduler.stuck_at_cap() {
            let Some(wait) = self.registry.youngest_wait_for(id) else {
                // The wait for it was given up before: it must not hide those that are awaited still.
                self.scheduler.lay_back(id);
                continue;
            };
            let message = format!(
                "all {} live instances that this runner may have are parked in waits, and the awaited {id} can't \
                 start (raise `max-live`, or await less at once; one with many memories, core instances or granted \
                 directories counts several times)",
                self.options.settings.max_live
            );
            wait.refuse(Refusal::bound(message));
            return;
        }
    }

    /// Says that the guests have all of their memory, if so many bytes more are wanted.
    pub(super) fn shortage_of_memory(&self, wanted: u64) -> Shortage {
        let [used, total, wanted] =
            [self.budget.used(), self.budget.total(), wanted].map(|bytes| bytes >> 20);
        Shortage(format!(
            "memory: guests have {used} MiB of the `memory-budget` of {total} MiB, and one wants {wanted} MiB more"
        ))
    }

    /// Finds the live fiber of an invocation.
    pub(super) fn live_fiber(&self, id: InvocationId) -> Option<Arc<Fiber>> {
        self.live.lock().get(&id).cloned()
    }

    /// Lists the live fibers.
    pub(super) fn live_fibers(&self) -> Vec<Arc<Fiber>> {
        self.live.lock().values().cloned().collect()
    }

    /// Adds a fiber to the live ones.
    pub(super) fn add_live_fiber(&self, fiber: &Arc<Fiber>) {
        self.live.lock().insert(fiber.id(), Arc::clone(fiber));
        self.totals.lock().add_live();
    }

    /// Removes a fiber from the live ones.
    pub(super) fn remove_live_fiber(&self, fiber: &Arc<Fiber>) {
        let mut live = self.live.lock();
        self.totals.lock().gauge.live -= 1;
        // The next attempt may have taken its place already.
        if live.get(&fiber.id()).is_some_and(|other| Arc::ptr_eq(other, fiber)) {
            live.remove(&fiber.id());
        }
    }

    /// Counts a fiber as running, and starts its clock.
    pub(super) fn enter_slot(&self, fiber: &Fiber) {
        self.totals.lock().enter_slot();
        self.executor.guest_runs(true);
        fiber.control.begin_slice();
    }

    /// Counts a fiber as running no longer, after a slice this long.
    pub(super) fn leave_slot(&self, fiber: &Fiber, slice: Duration) {
        self.executor.guest_runs(false);
        self.totals.lock().leave_slot(user_of(&fiber.claim.task), slice, fiber.add_held(slice));
    }

    /// Drops the claim, the start and the guest of an invocation, in the order in which a claim moves on.
    pub(super) fn end_here(&self, id: InvocationId) {
        self.scheduler.take_one(id);
        self.starts.kill(Kill::NotOurs, |one| one == id);
        if let Some(fiber) = self.live_fiber(id) {
            fiber.kill(Kill::NotOurs);
        }
    }

    /// Registers that a slot makes a guest of a claim. The returned switch is thrown
    /// already if the claim was to be ended just before: it was in neither place then.
    pub(super) fn begin_start(&self, slot: usize, claim: &Claim) -> Arc<Interrupt> {
        let interrupt = self.starts.begin(slot, claim.id);
        if !self.trust.is_good(claim.runner) || !self.registry.owns(claim.id, claim.attempt) {
            self.starts.kill(Kill::NotOurs, |one| one == claim.id);
        } else if self.stages.now() >= Stage::Draining {
            self.starts.kill(Kill::Release, |one| one == claim.id);
        }
        interrupt
    }

    /// Kills every guest and forgets every claim without a report: they may be another runner's. A claim that
    /// a slot has just taken is in no list: the slot asks before it starts it.
    pub(super) fn disown_everything(&self) {
        for claim in self.scheduler.take_claimed() {
            self.registry.disown(claim.id);
        }
        for id in self.starts.kill(Kill::NotOurs, |_| true) {
            self.registry.disown(id);
        }
        for fiber in self.live_fibers() {
            self.registry.disown(fiber.id());
            fiber.kill(Kill::NotOurs);
        }
    }
}

impl Resume for Core {
    fn resume(&self, fiber: Arc<Fiber>) {
        self.scheduler.push_resumed(fiber);
    }
}
