//! Plans and receipts as tables: no thread, no store.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::effect::Effect;
use super::plan::Plan;
use super::settle::Committed;
use super::state::Ledger;
use super::view::View;
use crate::model::{
    AwaitMode, Callers, Claim, ComponentDigest, Guest, Interrupt, InvocationId, NoGuest, Outcome,
    PreparedCall, Refusal, RunnerId, RunnerSettings, SubmitLimits, TaskClient, UnixMicros, Usage,
};
use crate::runner::executor::Executor;
use crate::runner::fiber::{Fiber, Resume};
use crate::runner::inbox::{Messages, SubmitMessage, SubmitReply};
use crate::runner::options::RunnerOptions;
use crate::runner::registry::Registry;
use crate::runner::scheduler::Load;
use crate::runner::stage::Stage;
use crate::runner::tests::support::Switch;
use crate::runner::wait::WaitFor;
use crate::store::{AttemptEnd, EndKind, NewInvocation, Receipt, TaskRule, TaskSet};

const LEASE: Duration = Duration::from_secs(9);
const SLOTS: usize = 4;

fn digest() -> ComponentDigest {
    ComponentDigest::from_bytes([0; 32])
}

/// Has one task, and runs nothing.
struct Idler;

impl Executor for Idler {
    fn tasks(&self) -> Arc<TaskSet> {
        Arc::new([Arc::from("a.task")].into())
    }
    fn rules(&self) -> Vec<TaskRule> {
        vec![TaskRule::new(&"a.task".into(), &crate::model::TaskRules::default())]
    }
    fn start(&self, _: &Claim, _: &Arc<dyn TaskClient>, _: &Interrupt) -> Result<Guest, NoGuest> {
        unreachable!("nothing runs here")
    }
    fn prepare(&self, _: &str, _: &str) -> Result<PreparedCall, Refusal> {
        unreachable!("nothing runs here")
    }
    fn guest_runs(&self, _: bool) {}
}

struct Nowhere;

impl Resume for Nowhere {
    fn resume(&self, _: Arc<Fiber>) {}
}

/// The view of a bench, without borrowing its ledger.
macro_rules! view {
    ($bench:expr) => {
        View {
            now: $bench.now,
            runner: $bench.ledger.runner,
            stage: $bench.stage,
            load: $bench.load,
            slice: $bench.slice,
            leads: Arc::default(),
            held_back: $bench.held_back.clone(),
            tasks: Arc::clone(&$bench.tasks),
            owns_work: $bench.owns_work,
            options: &$bench.options,
            executor: &Idler,
            registry: &$bench.registry,
        }
    };
}

mod duties;
mod effects;
mod plans;

/// A ledger with the rest of its runner, which stands still.
pub(super) struct Bench {
    ledger: Ledger,
    options: RunnerOptions,
    registry: Registry,
    pub(super) load: Load,
    stage: Stage,
    slice: Option<Duration>,
    owns_work: bool,
    tasks: Arc<TaskSet>,
    held_back: Vec<Arc<str>>,
    now: Instant,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(RunnerOptions {
            slots: SLOTS,
            settings: RunnerSettings { max_live: 100, lease: LEASE, ..RunnerSettings::default() },
            ..RunnerOptions::default()
        })
    }

    fn with(options: RunnerOptions) -> Self {
        let now = Instant::now();
        let load = Load {
            ready: 0,
            awaited: 0,
            taken: 0,
            queued: 0,
            idle: SLOTS,
            busy: 0,
            live: 0,
            may_start_unawaited: true,
            deepest: None,
            resumed: 0,
            owes_start: false,
            startable: 0,
            is_congested: false,
            is_short: false,
            is_out_of_memory: false,
            has_large: false,
        };
        Self {
            ledger: Ledger::new(RunnerId::generate(), &options, now),
            options,
            registry: Registry::new(10, 1 << 20),
            load,
            stage: Stage::Working,
            slice: None,
            owns_work: true,
            tasks: Idler.tasks(),
            held_back: Vec::new(),
            now,
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn plan(&mut self, messages: Messages) -> Plan {
        let view = view!(self);
        self.ledger.plan(messages, &view)
    }

    fn plan_heartbeat(&mut self) -> Option<crate::store::Batch> {
        let view = view!(self);
        self.ledger.plan_heartbeat(&view)
    }

    /// Settles a plan, and says what follows.
    fn settle(&mut self, plan: Plan, receipt: Receipt) -> Vec<String> {
        self.settle_if(plan, receipt, true)
    }

    fn settle_if(&mut self, plan: Plan, receipt: Receipt, is_trusted: bool) -> Vec<String> {
        let committed = Committed { began: self.now, now: self.now, lease: LEASE, is_trusted };
        let mut effects = Vec::new();
        self.ledger.settle(plan, receipt, &committed, &mut effects);
        effects.iter().map(name).collect()
    }

    /// Takes a turn in which nothing happens, so that what a new runner does is done.
    fn settled() -> Self {
        let mut bench = Self::new();
        let plan = bench.plan(Messages::default());
        assert_eq!(bench.settle(plan, Receipt::default()), [] as [&str; 0]);
        bench
    }

    /// Waits for a new invocation from within the runner, at that depth.
    fn want(&self, depth: u32) -> InvocationId {
        let id = InvocationId::generate();
        let caller = Some((InvocationId::generate(), Arc::from("a.task")));
        let wait_for = WaitFor { caller, depth: depth - 1, ids: vec![id], mode: AwaitMode::All };
        self.registry.register(wait_for).expect("no cycle");
        id
    }
}

/// An effect in words.
fn name(effect: &Effect) -> String {
    match effect {
        Effect::AnswerSubmit(_, Ok(ids)) => format!("answer submit with {}", ids.len()),
        Effect::AnswerSubmit(_, Err(refusal)) => format!("refuse submit: {refusal}"),
        Effect::SubmitRest(rest) => format!("submit rest of {}", rest.children.len()),
        Effect::SubmitDeferred(submits) => format!("submit {} later", submits.len()),
        Effect::MarkSubmitted(_) => "mark submitted".to_owned(),
        Effect::Redirect(..) => "redirect".to_owned(),
        Effect::RefuseWait(_, refusal) => format!("refuse wait: {refusal}"),
        Effect::AnswerCancel(_, Ok(is_cancelled)) => format!("answer cancel: {is_cancelled}"),
        Effect::AnswerCancel(_, Err(refusal)) => format!("refuse cancel: {refusal}"),
        Effect::End { end, .. } => match end.how {
            EndKind::Final(_) => "end: final".to_owned(),
            EndKind::Retry(..) => "end: retry".to_owned(),
            EndKind::Release => "end: release".to_owned(),
        },
        Effect::Finish { .. } => "finish".to_owned(),
        Effect::GiveUp(_) => "give up".to_owned(),
        Effect::Disown(_) => "disown".to_owned(),
        Effect::Kill(_) => "kill".to_owned(),
        Effect::Bill(..) => "bill".to_owned(),
        Effect::MarkUnblocked(ids) => format!("mark {} unblocked", ids.len()),
        Effect::MarkUnclaimable(ids) => format!("mark {} unclaimable", ids.len()),
        Effect::ClaimAgain => "claim again".to_owned(),
        Effect::ChangeRunner => "change runner".to_owned(),
        Effect::GiveBack(claims) => format!("give back {}", claims.len()),
        Effect::Start(claims) => format!("start {}", claims.len()),
    }
}

fn claim(runner: RunnerId) -> Claim {
    let id = InvocationId::generate();
    Claim {
        id,
        runner,
        attempt: 1,
        max_attempts: 3,
        task: "a.task".into(),
        arguments: "[]".into(),
        component_digest: digest(),
        parent: None,
        root: id,
        depth: 0,
        deadline: None,
        labels: Arc::default(),
        limits: SubmitLimits::default(),
        callers: Callers::default(),
        has_lane: false,
    }
}

fn fiber(claim: Claim) -> Arc<Fiber> {
    let guest = Guest {
        future: Box::pin(std::future::pending()),
        control: Arc::<Switch>::default(),
        digest: digest(),
        weight: 1,
        retry: Arc::default(),
    };
    Fiber::new(Weak::<Nowhere>::new() as _, claim, guest)
}

fn value(bytes: usize) -> Outcome {
    Outcome::Value("x".repeat(bytes).into())
}

fn end(how: EndKind) -> AttemptEnd {
    let usage = Usage { cpu_micros: 5, ..Usage::default() };
    AttemptEnd { at: UnixMicros(0), how, has_children: false, usage }
}

/// Messages of claims that ended so without a guest.
fn ends(hows: Vec<EndKind>) -> Messages {
    let ended = |how| (claim(RunnerId::generate()), end(how));
    Messages { unstarted: hows.into_iter().map(ended).collect(), ..Messages::default() }
}

/// Submits children for a guest that waits for their ids.
fn submit(children: usize) -> (Messages, tokio::sync::oneshot::Receiver<Result<Vec<InvocationId>, Refusal>>) {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let children = vec![NewInvocation::new("a.task", digest(), "[]".to_owned()); children];
    let message = SubmitMessage { children, reply: SubmitReply::Ids(sender), submitted: Vec::new() };
    (Messages { submits: vec![message], ..Messages::default() }, receiver)
}
