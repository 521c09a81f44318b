//! Decisions about states that no store has loaded.

use std::time::Duration;

use super::*;
use crate::model::{
    Blocked, Callers, ComponentDigest, Concurrency, Event, IdSet, InvocationId, Outcome, Rate, RuleKey,
    RunnerId, Status, SubmitLimits, UnixMicros, Usage,
};
use crate::store::order::{TURN, Taken};
use crate::store::rules::{LaneRule, Place};
use crate::store::{
    Applied, AttemptEnd, Batch, Cancel, ClaimRequest, EndKind, Keep, NewInvocation, Prune, Report, Submitted,
};

const NOW: UnixMicros = UnixMicros(1_000_000);

fn new() -> NewInvocation {
    NewInvocation::new("work", ComponentDigest::from_bytes([1; 32]), "[1]")
}

fn state<'b>(numbers: i64) -> State<'b> {
    let mut state = State::new(NOW, 0);
    state.collisions.numbers = (1..=numbers).rev().collect();
    state.fairness.by_name.insert(String::new(), 0);
    state.fairness.keys.insert(0, Share::new(0, TURN));
    state
}

fn submit<'b>(state: &mut State<'b>, all: &'b [NewInvocation]) -> Vec<InvocationId> {
    state.apply_submits(all, |_| Ok::<_, Contradiction>((1, 1))).unwrap()
}

/// Has a runner own what was submitted.
fn own(state: &mut State<'_>, id: InvocationId, runner: RunnerId) {
    let rest = ClaimRest {
        task: "work".into(),
        component_digest: ComponentDigest::from_bytes([1; 32]),
        arguments: "[1]".into(),
        root: id,
        depth: 0,
        labels: std::sync::Arc::default(),
        limits: SubmitLimits::default(),
        callers: Callers::default(),
    };
    let request = ClaimRequest {
        runner,
        lease: Duration::from_secs(1),
        max: 1,
        max_bytes: 1,
        awaited: Vec::new(),
        only_awaited: false,
        leads: std::sync::Arc::default(),
        tasks: std::sync::Arc::default(),
        root: None,
    };
    state.take(id, &request, Taken::InTurn, rest).unwrap();
}

#[test]
fn a_submit_that_met_something_is_confirmed_by_its_id() {
    let keyed =
        |arguments: &str| NewInvocation { key: Some("key".into()), arguments: arguments.into(), ..new() };
    let all = [keyed("[1]"), keyed("[1]"), keyed("[2]"), new()];
    let mut state = state(4);
    assert_eq!(submit(&mut state, &all), [all[1].id, all[2].id], "the rest met nothing");
    let first = all[0].id;
    let created = Submitted::Created(all[3].id);
    let before =
        [Submitted::Created(first), Submitted::Existing(first), Submitted::KeyConflict(first), created];
    assert_eq!(state.receipt.submits, before);
    state.confirm(&IdSet::from_iter([all[2].id]), &all);
    assert_eq!(state.receipt.submits[..2], before[..2]);
    assert_eq!(state.receipt.submits[2], Submitted::Existing(all[2].id), "an id decides before a key");
    let numbers: Vec<_> = state.fresh.iter().map(|fresh| state.heads[&fresh.id].seq).collect();
    assert_eq!(numbers, [1, 2], "in the order of the submits");
}

#[test]
fn a_report_is_applied_once_and_its_end_frees_the_lane() {
    let runner = RunnerId::generate();
    let lane = RuleKey::from_bytes([1; 16]);
    let all = [NewInvocation { lane: Some(lane), ..new() }];
    let id = all[0].id;
    let mut state = state(1);
    submit(&mut state, &all);
    own(&mut state, id, runner);
    let report = Report {
        id,
        runner,
        attempt: 1,
        observed: vec![(NOW, Event::Start)],
        logs: Vec::new(),
        progress: None,
        component_digest: None,
        end: Some(AttemptEnd {
            at: NOW,
            how: EndKind::Final(Outcome::Value("1".into())),
            has_children: false,
            usage: Usage::default(),
        }),
    };
    let cancels = vec![Cancel { id, by: None, message: String::new() }];
    let batch = Batch { reports: vec![report.clone(), report], cancels, ..Batch::default() };
    let mut other = State::new(NOW, 0);
    std::mem::swap(&mut other.heads, &mut state.heads);
    other.apply_attempts(&batch, |_| Ok::<_, Contradiction>(1)).unwrap();
    assert_eq!(other.receipt.reports, [Applied::Done, Applied::Stale]);
    assert!(other.receipt.ended.is_empty(), "final before the cancel");
    let head = &other.heads[&id];
    assert_eq!((head.status, head.place, head.moves), (Status::Succeeded, None, 3));
    let (held, dirty) = other.lanes.take_dirty();
    assert!(held.is_empty());
    assert_eq!(dirty[&(1, lane)], Count { owned: -1, ..Count::default() });
}

#[test]
fn a_lane_has_room_for_what_its_rules_leave() {
    let concurrency = Some(Concurrency { limit: 3, blocked: Blocked::Wait });
    let rate = Some(Rate { limit: 4, window: Duration::from_secs(1) });
    let lane = |ready, blocked, owned, started| Lane {
        id: (1, RuleKey::from_bytes([1; 16])),
        count: Count { ready, blocked, owned, started },
        rule: LaneRule { concurrency, rate },
        opens_at: None,
        last_ready: 0,
        is_changed: false,
    };
    assert_eq!(lane(0, 9, 1, 0).admits(), Some(2), "by concurrency");
    assert_eq!(lane(0, 1, 1, 0).admits(), Some(1), "no more than there are");
    assert_eq!(lane(0, 9, 0, 3).admits(), Some(1), "by rate");
    assert_eq!(lane(2, 9, 1, 0).admits(), None);
    assert_eq!(lane(3, 0, 1, 0).keeps_back(), Some(1));
    assert_eq!(lane(0, 0, 0, 4).forgets(NOW), None, "starts that make no difference stay");
    assert_eq!(lane(0, 1, 0, 4).forgets(NOW), Some(NOW.0 - 1_000_000));
}

#[test]
fn a_step_comes_after_those_that_it_builds_on() {
    let all = Batch { submits: vec![new()], recover: true, ..Batch::default() };
    let names: Vec<_> = steps(&all).map(|step| format!("{step:?}")).collect();
    assert_eq!(names, ["SetRules", "Submit", "Expire", "Cascade", "Recover", "SettleLanes"]);
}

/// Nobody has relatives but the one.
struct OneHasChildren(InvocationId);

impl Ancestry for OneHasChildren {
    type Error = Contradiction;

    fn above(&mut self, _: InvocationId) -> Result<Option<(Option<InvocationId>, bool)>, Contradiction> {
        Ok(None)
    }

    fn has_unfinished_children(&mut self, id: InvocationId) -> Result<bool, Contradiction> {
        Ok(id == self.0)
    }
}

#[test]
fn a_prune_passes_by_what_is_needed_and_goes_on_where_it_stopped() {
    let keep = Keep { status: Status::Succeeded, age: None, count: Some(1), at_least: 0 };
    let mut prune = Prune { keep: vec![keep], max: 2, after: None, tasks: None, only_counts: false };
    let ids: Vec<_> = (0..4).map(|_| InvocationId::generate()).collect();
    let all = |from: usize| -> Vec<Old> {
        let one = |(seq, id): (i64, &InvocationId)| Old {
            seq,
            finished_at: NOW,
            id: *id,
            task: 1,
            parent: None,
            has_children: true,
            fairness_key: 0,
            payer: None,
            unkeyed: false,
        };
        (0..).zip(&ids).map(one).skip(from).collect()
    };
    let mut walk = Walk::new(&prune, None);
    let mut old = all(0).into_iter().take(walk.limit()).collect();
    assert!(!walk.choose(&keep, 4, NOW, &mut old), "there are more");
    let (gone, is_tired) = walk.pass(old, &mut OneHasChildren(ids[0])).unwrap();
    assert_eq!(gone.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[1]]);
    assert!(!is_tired);
    walk.note_removed(1, false);
    let pruned = walk.end();
    assert_eq!(pruned.removed, 1);

    prune.after = pruned.next;
    let mut walk = Walk::new(&prune, None);
    assert_eq!(walk.after(), (NOW, 1));
    let mut old = all(2);
    assert!(walk.choose(&keep, 3, NOW, &mut old));
    let chosen: Vec<_> = old.iter().map(|one| one.id).collect();
    assert_eq!(chosen, [ids[2]], "one of three is kept, and one was passed by");
    walk.note_removed(1, true);
    assert!(walk.end().next.is_none());
}

#[test]
fn what_comes_to_a_lane_is_admitted_from_memory() {
    let lane = RuleKey::from_bytes([1; 16]);
    let all: Vec<_> = (0..3).map(|_| NewInvocation { lane: Some(lane), ..new() }).collect();
    let mut state = state(3);
    submit(&mut state, &all);
    let (_, dirty) = state.lanes.take_dirty();
    let concurrency = Some(Concurrency { limit: 2, blocked: Blocked::Wait });
    let mut lane = Lane {
        id: (1, lane),
        count: Count::default(),
        rule: LaneRule { concurrency, rate: None },
        opens_at: None,
        last_ready: 0,
        is_changed: false,
    };
    lane.add(dirty[&lane.id]);
    let mut lanes = [lane];
    state.admit_arrivals(&mut lanes);
    let places: Vec<_> = all.iter().map(|new| state.heads[&new.id].place).collect();
    assert_eq!(places, [Some(Place::Ready), Some(Place::Ready), Some(Place::Blocked)]);
    assert_eq!(lanes[0].count, Count { ready: 2, blocked: 1, ..Count::default() });
    assert!(state.receipt.unblocked.is_empty(), "nobody was told that they were blocked");
}
