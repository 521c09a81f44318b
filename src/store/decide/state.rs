//! The rows that a transaction has loaded, and those that it is to write.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Contradiction;
use super::collisions::Collisions;
use super::fairness::Fairness;
use super::head::{Head, LastMove, Moves};
use super::lanes::Lanes;
use super::quotas::Quotas;
use crate::model::{IdMap, InvocationId, Outcome, RunnerId, Status, UnixMicros};
use crate::store::rules::{self, CallerAbove, Step};
use crate::store::{Batch, EndKind, NewInvocation, Receipt, Report};

/// An invocation that the batch creates; its [`Head`] says where it is by now.
pub struct Fresh<'b> {
    pub id: InvocationId,
    pub new: &'b NewInvocation,
    pub submitted_at: UnixMicros,
}

/// The loaded rows of a transaction as they are now, and everything that it is to
/// write. A store takes out what it writes; what it loads again later is ignored
/// where something newer is here.
#[derive(Default)]
pub struct State<'b> {
    pub now: UnixMicros,
    pub receipt: Receipt,
    /// Whether another process may want to know of it.
    pub is_news: bool,
    /// Whether something may be past its deadline.
    pub may_expire: bool,
    /// Runners that are marked as lost, of those that the batch speaks for.
    pub lost: HashSet<RunnerId>,
    /// Every invocation that was loaded. What was changed and is not written yet is
    /// marked.
    pub heads: IdMap<Head>,
    /// Whether earlier transactions have left descendants of what ended.
    pub may_cascade: bool,
    /// How many more descendants may be loaded to be cancelled.
    pub(super) cascade_room: usize,
    /// Invocations that may have attached children beyond the loaded ones.
    passed_over: Vec<InvocationId>,
    /// Attached children that are not final, of whatever may end.
    pub(super) children: IdMap<Vec<InvocationId>>,
    /// How the invocations that the batch has bills of moved last, before it.
    pub last_moves: IdMap<LastMove>,
    /// By the position of a cancel in the batch, if a guest asks for it and what it asks about may be
    /// above it.
    pub callers: HashMap<usize, CallerAbove>,
    pub collisions: Collisions,
    pub lanes: Lanes,
    pub fairness: Fairness,
    pub quotas: Quotas,
    /// Created, and not written yet.
    pub fresh: Vec<Fresh<'b>>,
    pub moves: Moves,
    pub outcomes: Vec<(i64, Outcome)>,
    pub logs: Vec<(i64, &'b Report)>,
    /// Invocations that runners are to be told that they have lost.
    pub revoked: Vec<(RunnerId, InvocationId)>,
    /// The bytes of the arguments that were claimed.
    pub(super) claimed_bytes: usize,
    /// Room for [`rules::plan`].
    pub(super) steps: Vec<Step>,
}

impl<'b> State<'b> {
    /// Nothing but a moment; there will be room for so many invocations.
    pub fn new(now: UnixMicros, capacity: usize) -> Self {
        let receipt = Receipt { now, ..Receipt::default() };
        Self {
            now,
            receipt,
            heads: IdMap::with_capacity_and_hasher(capacity, Default::default()),
            cascade_room: rules::CASCADED_AT_ONCE,
            ..Self::default()
        }
    }

    /// Takes a loaded row in; `false` if what is here is newer.
    pub fn load(&mut self, head: Head) -> bool {
        let id = head.id;
        if self.heads.contains_key(&id) {
            return false;
        }
        if let Some(parent) = head.parent.filter(|_| !head.detached) {
            self.children.entry(parent).or_default().push(id);
        }
        self.heads.insert(id, head);
        true
    }

    /// Returns the `ids` whose attached descendants must be loaded before they end.
    pub fn parents_among(&self, ids: impl IntoIterator<Item = InvocationId>) -> Vec<InvocationId> {
        let is_parent = |id: &InvocationId| self.heads.get(id).is_some_and(|head| head.has_children);
        ids.into_iter().filter(is_parent).collect()
    }

    /// Returns the invocations with children that reports and cancels of a batch may end: their
    /// attached descendants must be loaded before.
    pub fn doomed_parents(&self, batch: &Batch) -> Vec<InvocationId> {
        let ends = batch.reports.iter().filter_map(|report| {
            let end = report.end.as_ref()?;
            matches!(end.how, EndKind::Final(_)).then_some((report.id, end.has_children))
        });
        let cancels = batch.cancels.iter().map(|cancel| (cancel.id, false));
        let knows = |id: &InvocationId| self.heads.get(id).is_some_and(|head| head.has_children);
        ends.chain(cancels)
            .filter(|(id, has_children)| *has_children || knows(id))
            .map(|(id, _)| id)
            .collect()
    }

    /// How many more descendants may be loaded to be cancelled.
    pub fn cascade_room(&self) -> usize {
        self.cascade_room
    }

    /// Counts the descendants of `parents` that a store has found. If there was no room for more of them
    /// (`is_full`), what is below all of these is left for later.
    pub fn count_cascade(&mut self, parents: Vec<InvocationId>, found: &[InvocationId], is_full: bool) {
        self.cascade_room = self.cascade_room.saturating_sub(found.len());
        if is_full {
            let below = self.parents_among(found.iter().copied());
            self.passed_over.extend(parents.into_iter().chain(below));
        }
    }

    /// Takes out what is final and may still have attached children that are not: number, id and status,
    /// for a later transaction to go on with.
    pub fn take_cascade(&mut self) -> BTreeMap<i64, (InvocationId, Status)> {
        let passed_over = std::mem::take(&mut self.passed_over);
        let heads = passed_over.into_iter().filter_map(|id| self.heads.get(&id));
        let finals = heads.filter(|head| head.status.is_final());
        let cascade: BTreeMap<_, _> = finals.map(|head| (head.seq, (head.id, head.status))).collect();
        self.receipt.has_cascade |= !cascade.is_empty();
        cascade
    }

    /// The moment before which a lost runner that owns nothing is forgotten, and one
    /// that was not lost.
    pub fn forgotten_before(&self) -> [(bool, i64); 2] {
        let memory = i64::try_from(rules::LOST_RUNNER_MEMORY.as_micros()).unwrap_or(i64::MAX);
        [(false, self.now.0), (true, self.now.0 - memory)]
    }

    /// Sorts and cleans what the receipt says at the end.
    pub fn close_receipt(&mut self) {
        self.receipt.unblocked.sort_unstable();
        self.receipt.unblocked.dedup();
    }
}

/// The head of an invocation that was loaded before.
pub(super) fn loaded(heads: &mut IdMap<Head>, id: InvocationId) -> Result<&mut Head, Contradiction> {
    heads.get_mut(&id).ok_or_else(|| Contradiction(format!("`{id}` was not loaded")))
}
