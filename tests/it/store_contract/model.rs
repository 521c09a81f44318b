//! Random batches, applied to every store: the memory store is the oracle.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use run_wasm_runner::model::{
    Blocked, Bucket, Claim, Clock, ComponentDigest, Concurrency, Differing, Event, Glob, HolderKind,
    InvocationId, LimitKind, Outcome, Progress, Quota, Rate, RuleKey, RunnerId, Status, SubmitLimits, Usage,
};
use run_wasm_runner::store::{
    Adoption, AttemptEnd, Batch, Bill, Cancel, ClaimRequest, EndKind, FairnessWeight, Filter, Heartbeat,
    Holding, Inventory, Keep, Leads, Lease, MemoryStore, NewInvocation, Pause, PauseTarget, Prune,
    PrunePosition, QuotaSection, Report, RuleOrigin, SqliteStore, Store, TaskRule,
};

use super::harness::{
    LEASE, assert_store_is_consistent, assert_usage_is_that_of_the_invocations, child_of, detached,
    everything, failure, new, tasks, usage_query, value,
};
use super::open_postgres;
use crate::support::clock::TestClock;

/// The last is of a component, which has quotas now and then.
const TASKS: [&str; 3] = ["work", "child", "two::other"];

/// One batch, in numbers that are made to fit what exists when it is applied.
#[derive(Debug, Clone)]
struct Plan {
    advance: u64,
    /// Of a task, by a component with some bytes, which perhaps has rivals.
    adoption: Option<(usize, u8, bool)>,
    rule: Option<PlannedRule>,
    pause: Option<(usize, bool)>,
    submits: Vec<PlannedSubmit>,
    reports: Vec<PlannedReport>,
    bills: Vec<PlannedBill>,
    /// Whoever may ask for it is one of the latest claims.
    cancels: Vec<(usize, Option<usize>)>,
    inventory: Option<usize>,
    heartbeat: Option<usize>,
    recover: bool,
    claim: Option<PlannedClaim>,
    prune: Option<PlannedPrune>,
}

#[derive(Debug, Clone)]
struct PlannedPrune {
    keep: Vec<(usize, Option<u64>, Option<u64>)>,
    max: usize,
    goes_on: bool,
}

#[derive(Debug, Clone)]
struct PlannedRule {
    task: usize,
    concurrency: Option<(u32, bool)>,
    rate: Option<(u32, u64)>,
    is_default: bool,
}

#[derive(Debug, Clone)]
struct PlannedSubmit {
    lane: Option<u8>,
    unique: Option<(u8, bool)>,
    task: usize,
    arguments: u8,
    key: Option<u8>,
    priority: i32,
    delay: u64,
    deadline: Option<u64>,
    max_attempts: u32,
    parent: Option<usize>,
    index: u32,
    detached: bool,
    again: bool,
}

#[derive(Debug, Clone)]
struct PlannedReport {
    claim: usize,
    events: usize,
    end: usize,
    is_stale: bool,
    says_more: bool,
    used: u64,
}

#[derive(Debug, Clone)]
struct PlannedBill {
    claim: usize,
    is_stale: bool,
    used: u64,
}

#[derive(Debug, Clone)]
struct PlannedClaim {
    runner: usize,
    max: usize,
    /// Arguments have three bytes.
    max_bytes: usize,
    awaited: Vec<usize>,
    only_awaited: bool,
    tasks: usize,
    root: Option<usize>,
}

fn submits() -> impl Strategy<Value = PlannedSubmit> {
    (
        (0..3_usize, 0..2_u8, proptest::option::weighted(0.2, 0..2_u8)),
        (
            -2..3_i32,
            prop_oneof![3 => Just(0), 1 => 1..90_u64],
            proptest::option::weighted(0.2, 0..90_u64),
            1..4_u32,
        ),
        (
            proptest::option::weighted(0.6, any::<usize>()),
            0..4_u32,
            any::<bool>(),
            proptest::bool::weighted(0.1),
        ),
        (proptest::option::weighted(0.6, 0..2_u8), proptest::option::weighted(0.2, (0..2_u8, any::<bool>()))),
    )
        .prop_map(
            |((task, arguments, key), (priority, delay, deadline, max_attempts), rest, (lane, unique))| {
                let (parent, index, detached, again) = rest;
                PlannedSubmit {
                    lane,
                    unique,
                    task,
                    arguments,
                    key,
                    priority,
                    delay,
                    deadline,
                    max_attempts,
                    parent,
                    index,
                    detached,
                    again,
                }
            },
        )
}

fn reports() -> impl Strategy<Value = PlannedReport> {
    (
        0..12_usize,
        prop_oneof![40 => 0..6_usize, 1 => Just(6)],
        0..7_usize,
        proptest::bool::weighted(0.1),
        any::<bool>(),
        0..4_u64,
    )
        .prop_map(|(claim, events, end, is_stale, says_more, used)| PlannedReport {
            claim,
            events,
            end,
            is_stale,
            says_more,
            used,
        })
}

fn bills() -> impl Strategy<Value = PlannedBill> {
    (0..12_usize, proptest::bool::weighted(0.1), 0..4_u64).prop_map(|(claim, is_stale, used)| PlannedBill {
        claim,
        is_stale,
        used,
    })
}

fn claims() -> impl Strategy<Value = PlannedClaim> {
    (
        0..3_usize,
        0..6_usize,
        vec(any::<usize>(), 0..4),
        proptest::bool::weighted(0.2),
        0..5_usize,
        proptest::option::weighted(0.2, any::<usize>()),
    )
        .prop_map(|(runner, max, awaited, only_awaited, tasks, root)| PlannedClaim {
            runner,
            max,
            // Of the other numbers: with one more to draw, the seeds that are kept would be other plans.
            max_bytes: if awaited.len() == 3 { 1 + max } else { usize::MAX },
            awaited,
            only_awaited,
            tasks,
            root,
        })
}

fn rules() -> impl Strategy<Value = PlannedRule> {
    (
        0..3_usize,
        proptest::option::weighted(0.7, (1..4_u32, any::<bool>())),
        proptest::option::weighted(0.4, (1..4_u32, 1..30_u64)),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(task, concurrency, rate, is_default)| PlannedRule {
            task,
            concurrency,
            rate,
            is_default,
        })
}

fn prunes() -> impl Strategy<Value = PlannedPrune> {
    let keep = (0..5_usize, proptest::option::of(0..90_u64), proptest::option::of(0..4_u64));
    (vec(keep, 1..4), 0..6_usize, any::<bool>()).prop_map(|(keep, max, goes_on)| PlannedPrune {
        keep,
        max,
        goes_on,
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    (
        (
            prop_oneof![3 => Just(0), 2 => 1..5_u64, 1 => 5..90_u64],
            proptest::option::weighted(0.05, (0..3_usize, 0..2_u8, any::<bool>())),
            proptest::option::weighted(0.2, rules()),
            proptest::option::weighted(0.1, (0..4_usize, proptest::bool::weighted(0.3))),
        ),
        vec(submits(), 0..5),
        vec(reports(), 0..5),
        (vec(bills(), 0..3), vec((any::<usize>(), proptest::option::of(0..12_usize)), 0..2)),
        (proptest::option::weighted(0.1, 0..3_usize), proptest::option::of(0..3_usize)),
        any::<bool>(),
        proptest::option::weighted(0.8, claims()),
        proptest::option::weighted(0.2, prunes()),
    )
        .prop_map(
            |(
                (advance, adoption, rule, pause),
                submits,
                reports,
                (bills, cancels),
                (inventory, heartbeat),
                recover,
                claim,
                prune,
            )| Plan {
                advance,
                adoption,
                rule,
                pause,
                submits,
                reports,
                bills,
                cancels,
                inventory,
                heartbeat,
                recover,
                claim,
                prune,
            },
        )
}

/// Lets awaited invocations run ahead by no more than a turn if they are slow.
fn leads(are_slow: bool) -> Arc<Leads> {
    let mut leads = Leads::default();
    if are_slow {
        ["", "two"].iter().for_each(|component| leads.set(component, 1));
    }
    Arc::new(leads)
}

fn weights(weights: &[(&str, f64)]) -> Vec<FairnessWeight> {
    weights.iter().map(|(keys, weight)| FairnessWeight::new(keys, *weight).unwrap()).collect()
}

fn quotas(holder: HolderKind, quotas: &[(&str, Quota)]) -> QuotaSection {
    QuotaSection { holder, quotas: quotas.iter().map(|(names, quota)| (Glob::new(names), *quota)).collect() }
}

/// The quotas that a batch sets after so many seconds.
fn quotas_after(seconds: u64) -> Vec<QuotaSection> {
    use HolderKind::{Component, Key};
    let unfinished = |most| Quota { unfinished: Some(most), ..Quota::default() };
    let stored = |most| Quota { stored_bytes: Some(most), ..Quota::default() };
    let submits = |limit, seconds| Some(Rate { limit, window: Duration::from_secs(seconds) });
    match seconds % 9 {
        1 => vec![quotas(Component, &[("two", unfinished(1)), ("*", stored(30))])],
        2 => {
            vec![quotas(Key, &[("a", Quota { submits: submits(2, 20), ..stored(60) }), ("*", unfinished(3))])]
        }
        4 => vec![quotas(Component, &[("*", Quota { submits: submits(3, 11), ..Quota::default() })])],
        6 => vec![quotas(
            Key,
            &[("b", Quota::default()), ("*", Quota { submits: submits(2, 30), ..stored(100) })],
        )],
        7 => vec![quotas(Component, &[]), quotas(Key, &[("", unfinished(4))])],
        8 => vec![quotas(Key, &[])],
        _ => Vec::new(),
    }
}

/// The state that the test has built up so far.
struct World {
    clock: Arc<TestClock>,
    runners: [RunnerId; 3],
    claims: Vec<Claim>,
    submitted: Vec<NewInvocation>,
    /// The last prune, to go on with.
    pruned: Option<Vec<Keep>>,
}

impl World {
    fn new(clock: &Arc<TestClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            runners: std::array::from_fn(|_| RunnerId::generate()),
            claims: Vec::new(),
            submitted: Vec::new(),
            pruned: None,
        }
    }

    fn known(&self, number: usize) -> InvocationId {
        match number % (self.submitted.len() + 1) {
            0 => InvocationId::from_bytes([0xee; 16]),
            n => self.submitted[n - 1].id,
        }
    }

    /// One of the latest claims.
    fn recent(&self, number: usize) -> Option<&Claim> {
        let n = self.claims.len().checked_sub(1 + number % self.claims.len().max(1))?;
        self.claims.get(n)
    }

    fn submit(&self, plan: &PlannedSubmit) -> NewInvocation {
        if plan.again
            && let Some(first) = self.submitted.last()
        {
            return first.clone();
        }
        let mut submit = new(TASKS[plan.task]);
        if let Some(parent) = plan.parent.and_then(|number| self.recent(number % 8)) {
            submit.child_of = child_of(parent, plan.index).child_of;
            if plan.detached {
                submit = detached(submit);
            }
        }
        NewInvocation {
            component_digest: ComponentDigest::from_bytes([plan.arguments; 32]),
            arguments: format!("[{}]", plan.arguments).into(),
            max_attempts: plan.max_attempts,
            priority: plan.priority,
            delay: Duration::from_secs(plan.delay),
            deadline: plan.deadline.map(Duration::from_secs),
            // The number among the children of a parent means nothing for a root.
            fairness_key: [None, None, Some("a"), Some("b")][plan.index as usize % 4].map(Into::into),
            limits: SubmitLimits::of((plan.index % 3 == 1).then_some((LimitKind::Cpu, plan.index.into()))),
            key: plan.key.map(|key| format!("key {key}").into()),
            lane: plan.lane.map(|lane| RuleKey::from_bytes([lane; 16])),
            unique: plan.unique.map(|(key, refuse)| {
                let differing = if refuse { Differing::Refuse } else { Differing::Existing };
                (RuleKey::from_bytes([key; 16]), differing)
            }),
            ..submit
        }
    }

    fn report(&self, plan: &PlannedReport) -> Option<Report> {
        let claim = self.recent(plan.claim)?;
        let now = self.clock.now();
        // A stale one may be that of the next claim by the same runner.
        let attempt = claim.attempt + u32::from(plan.is_stale);
        let events = match plan.events {
            0 => vec![],
            1 => vec![Event::Await],
            2 => vec![Event::Resume],
            3 => vec![Event::Start, Event::Await],
            // So often that its waits leave no rows any more.
            6 => [vec![Event::Start], [Event::Await, Event::Resume].repeat(510)].concat(),
            _ => vec![Event::Start],
        };
        let how = match plan.end {
            0 => Some(EndKind::Release),
            1 => Some(EndKind::Retry(failure("once more"), Duration::ZERO)),
            2 => Some(EndKind::Retry(failure("later"), Duration::from_secs(3))),
            3 => Some(EndKind::Final(failure("it broke"))),
            4 | 5 => Some(EndKind::Final(value("42"))),
            _ => None,
        }
        // A retry of the last attempt is the runner's mistake.
        .filter(|how| !matches!(how, EndKind::Retry(..)) || attempt < claim.max_attempts);
        Some(Report {
            id: claim.id,
            runner: claim.runner,
            attempt,
            observed: events.iter().map(|event| (now, *event)).collect(),
            logs: Vec::new(),
            progress: plan.says_more.then(|| Progress {
                done: now.0 as u64,
                total: 7,
                message: String::new(),
            }),
            component_digest: plan.says_more.then_some(ComponentDigest::from_bytes([8; 32])),
            end: how.map(|how| AttemptEnd {
                at: now,
                how,
                has_children: plan.says_more,
                // Nothing at all now and then.
                usage: Usage {
                    cpu_micros: plan.used * 1_000,
                    peak_memory_bytes: plan.used << 16,
                    fuel: plan.used.checked_sub(2),
                    children: plan.used / 2,
                    ..Usage::default()
                },
            }),
        })
    }

    fn bill(&self, plan: &PlannedBill) -> Option<Bill> {
        let claim = self.recent(plan.claim)?;
        let usage = Usage { cpu_micros: plan.used, children: plan.used, ..Usage::default() };
        let attempt = claim.attempt + u32::from(plan.is_stale);
        Some(Bill { id: claim.id, runner: claim.runner, attempt, usage })
    }

    fn prune(&self, plan: &PlannedPrune) -> Prune {
        let keep = |&(status, age, count): &(usize, Option<u64>, Option<u64>)| Keep {
            // One that is not final now and then: nothing may happen to it.
            status: Status::ALL[Status::ALL.len() - 1 - status],
            age: age.map(Duration::from_secs),
            count,
            at_least: count.map_or(0, |count| count % 3),
        };
        let fresh = || plan.keep.iter().map(keep).collect();
        let going_on = self.pruned.clone().filter(|_| plan.goes_on);
        Prune {
            keep: going_on.unwrap_or_else(fresh),
            max: plan.max,
            after: None,
            tasks: match plan.max {
                2 => Some(vec![TASKS[0].into()]),
                4 => Some(Vec::new()),
                _ => None,
            },
            only_counts: plan.max % 4 == 3,
        }
    }

    fn batch(&mut self, plan: &Plan) -> Batch {
        let submits: Vec<_> = plan.submits.iter().map(|submit| self.submit(submit)).collect();
        let rule = plan.rule.iter().map(|rule| TaskRule {
            task: TASKS[rule.task].into(),
            queue: if rule.is_default { "bulk" } else { "default" }.into(),
            concurrency: rule.concurrency.map(|(limit, skips)| Concurrency {
                limit,
                blocked: if skips { Blocked::Skip } else { Blocked::Wait },
            }),
            rate: rule.rate.map(|(limit, seconds)| Rate { limit, window: Duration::from_secs(seconds) }),
        });
        let (rules, default_rules) = match plan.rule.as_ref().is_some_and(|rule| rule.is_default) {
            true => (Vec::new(), rule.collect()),
            false => (rule.collect(), Vec::new()),
        };
        let pauses = plan.pause.iter().map(|(which, paused)| Pause {
            target: match which {
                0 => PauseTarget::Queue("default".into()),
                1 => PauseTarget::Queue("bulk".into()),
                which => PauseTarget::Task(TASKS[which - 2].into()),
            },
            paused: *paused,
        });
        let adoption = plan.adoption.map(|(task, digest, has_rivals)| Adoption {
            from: TASKS[task % 2].into(),
            to: format!("one::{}", TASKS[task % 2]).into(),
            component_digest: ComponentDigest::from_bytes([digest; 32]),
            has_rivals,
        });
        let batch = Batch {
            adoptions: adoption.into_iter().collect(),
            rules,
            rules_by: plan.pause.is_none().then(|| RuleOrigin {
                runner: RunnerId::from_bytes([7; 16]),
                host: "host".into(),
                config: None,
            }),
            default_rules,
            pauses: pauses.collect(),
            reports: plan.reports.iter().filter_map(|report| self.report(report)).collect(),
            bills: plan.bills.iter().filter_map(|bill| self.bill(bill)).collect(),
            cancels: plan
                .cancels
                .iter()
                .map(|(number, by)| Cancel {
                    id: self.known(*number),
                    by: by.and_then(|by| Some(self.recent(by)?.id)),
                    message: "enough".to_owned(),
                })
                .collect(),
            // Of every other claim, whatever has become of it.
            inventory: plan.inventory.map(|runner| Inventory {
                runner: self.runners[runner],
                owned: self.claims.iter().step_by(2).map(|claim| (claim.id, claim.attempt)).collect(),
            }),
            heartbeat: plan.heartbeat.map(|runner| Heartbeat { runner: self.runners[runner], lease: LEASE }),
            recover: plan.recover,
            claim: plan.claim.as_ref().map(|claim| ClaimRequest {
                runner: self.runners[claim.runner],
                lease: LEASE,
                max: claim.max,
                max_bytes: claim.max_bytes,
                awaited: claim.awaited.iter().map(|number| self.known(*number)).collect(),
                only_awaited: claim.only_awaited,
                leads: leads(claim.max % 2 == 0),
                tasks: match claim.tasks {
                    task @ 0..3 => tasks(&[TASKS[task]]),
                    _ => tasks(&TASKS),
                },
                root: claim.root.map(|number| self.known(number)),
            }),
            submits: submits.clone(),
            prune: plan.prune.as_ref().map(|prune| self.prune(prune)),
            prune_usage: None,
            forget_names: None,
            dropped_rules: Vec::new(),
            pushes: Vec::new(),
            removals: Vec::new(),
            answers: Vec::new(),
            forgets_removed: false,
            quotas: quotas_after(plan.advance),
            // Of the time that passes, as bytes are of other numbers.
            weights: match plan.advance % 7 {
                3 => Some(weights(&[("a", 4.0), ("b*", 0.25)])),
                5 => Some(weights(&[])),
                6 => Some(weights(&[("a", 0.01), ("*", 2.0)])),
                _ => None,
            },
        };
        self.submitted.extend(submits);
        batch
    }
}

/// Everything that can be asked of a store, as text.
fn portrait(store: &dyn Store, world: &World) -> String {
    let ids: Vec<_> = (0..=world.submitted.len()).map(|n| world.known(n)).collect();
    let mut portrait = format!(
        "{:#?}\n{:?}\n{:?}\n{:?}\n",
        store.get(&ids).unwrap(),
        store.look_up(&ids).unwrap(),
        store.counts(None).unwrap(),
        store.unfinished_by_task().unwrap(),
    );
    portrait += &format!("{:?}\n{:?}\n", store.rules().unwrap(), store.paused().unwrap());
    portrait += &format!("{:?}\n", store.rule_marks().unwrap());
    portrait += &format!("{:?}\n", store.quotas().unwrap());
    for holder in HolderKind::ALL {
        // Whether a full bucket has a row is a store's own.
        let now = Bucket::moment(world.clock.now());
        let left = |one: &Holding| one.bucket.full_at.saturating_sub(now).max(0);
        let holdings = store.holdings(holder).unwrap();
        let holdings: Vec<_> = holdings.iter().map(|one| (&one.name, one.held, left(one))).collect();
        portrait += &format!("{holdings:?}\n");
    }
    portrait += &format!("{:#?}\n", store.usage(&usage_query()).unwrap());
    for runner in world.runners {
        portrait += &format!("{:?}\n", store.next_due(runner).unwrap());
    }
    for id in ids {
        let tree = store.tree(id).unwrap();
        let tree: Vec<_> = tree.iter().map(|one| one.id).collect();
        portrait += &format!(
            "{id}: {tree:?}\n{:?}\n{:#?}\n{:?}\n",
            store.counts(Some(id)).unwrap(),
            store.history(id).unwrap(),
            store.arguments(id).unwrap(),
        );
    }
    let failed = Filter { tasks: Some(vec!["work".into()]), limit: 3, ..everything() };
    for filter in [everything(), failed] {
        let list = store.list(&filter).unwrap();
        portrait += &format!("{:?}\n", list.iter().map(|one| one.id).collect::<Vec<_>>());
        portrait += &format!("{:?}\n", store.ids(&filter).unwrap());
    }
    portrait
}

/// The plans are the same in every run, so that one that fails does so again; `PROPTEST_RNG_SEED=N` draws others.
fn config() -> ProptestConfig {
    let default = ProptestConfig { cases: 48, ..ProptestConfig::default() };
    match default.rng_seed {
        RngSeed::Random => ProptestConfig { rng_seed: RngSeed::Fixed(1), ..default },
        RngSeed::Fixed(_) => default,
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn all_stores_do_the_same(plans in vec(plans(), 1..40)) {
        let clock = TestClock::new();
        let directory = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new(clock.clone());
        let sqlite = SqliteStore::open(&directory.path().join("state.db"), clock.clone()).unwrap();
        let postgres = open_postgres(&clock);
        let mut world = World::new(&clock);
        // Positions are a store's own.
        let mut positions = [None; 3];
        for plan in &plans {
            clock.advance(Duration::from_secs(plan.advance));
            let batch = world.batch(plan);
            let goes_on = plan.prune.as_ref().is_some_and(|prune| prune.goes_on);
            let commit = |store: &dyn Store, position: &mut Option<PrunePosition>| {
                let mut batch = batch.clone();
                if let Some(prune) = &mut batch.prune {
                    prune.after = position.take().filter(|_| goes_on);
                }
                let mut receipt = store.commit(&batch).unwrap();
                let pruned = receipt.pruned.take();
                *position = pruned.and_then(|pruned| pruned.next).or(*position);
                (receipt, pruned.map(|pruned| (pruned.removed, pruned.next.is_some())))
            };
            let expected = commit(&memory, &mut positions[0]);
            let found = commit(&sqlite, &mut positions[1]);
            if let Some(prune) = &batch.prune {
                world.pruned = Some(prune.keep.clone());
            }
            prop_assert_eq!(format!("{expected:#?}"), format!("{found:#?}"), "SQLite");
            let found = commit(&postgres, &mut positions[2]);
            prop_assert_eq!(format!("{expected:#?}"), format!("{found:#?}"), "PostgreSQL");
            let (expected, _) = expected;
            let next_due = |store: &dyn Store| store.next_due(world.runners[0]).unwrap();
            prop_assert_eq!(next_due(&memory), next_due(&sqlite), "after {:#?}\nRECEIPT {:#?}", batch, expected);
            for ended in &expected.ended {
                prop_assert!(matches!(ended.outcome, Outcome::Failure(_)));
            }
            if expected.lease == Some(Lease::Lost) {
                // A runner that lost its lease goes on under a new id.
                world.runners = std::array::from_fn(|_| RunnerId::generate());
            }
            world.claims.extend(expected.claimed);
        }
        prop_assert_eq!(portrait(&memory, &world), portrait(&sqlite, &world));
        prop_assert_eq!(portrait(&memory, &world), portrait(&postgres, &world));
        assert_store_is_consistent(&postgres);
        assert_store_is_consistent(&memory);
        assert_store_is_consistent(&sqlite);
    }

    #[test]
    fn the_usage_is_the_sum_of_the_bills(plans in vec(plans(), 1..40)) {
        let clock = TestClock::new();
        let directory = tempfile::tempdir().unwrap();
        let stores: [Box<dyn Store>; 3] = [
            Box::new(MemoryStore::new(clock.clone())),
            Box::new(SqliteStore::open(&directory.path().join("state.db"), clock.clone()).unwrap()),
            Box::new(open_postgres(&clock)),
        ];
        let mut world = World::new(&clock);
        for plan in &plans {
            // Some of it in other hours, while claims are held.
            let hours = if plan.advance == 4 { 3_600 } else { 0 };
            clock.advance(Duration::from_secs(plan.advance + hours));
            // What was removed can't be compared any more.
            let batch = Batch { prune: None, ..world.batch(plan) };
            let receipts = stores.each_ref().map(|store| store.commit(&batch).unwrap());
            if receipts[0].lease == Some(Lease::Lost) {
                world.runners = std::array::from_fn(|_| RunnerId::generate());
            }
            let [receipt, ..] = receipts;
            world.claims.extend(receipt.claimed);
        }
        for store in &stores {
            assert_usage_is_that_of_the_invocations(&**store);
        }
        let usage = stores.each_ref().map(|store| store.usage(&usage_query()).unwrap());
        prop_assert_eq!(&usage[0], &usage[1]);
        prop_assert_eq!(&usage[0], &usage[2]);
    }
}
