//! The ladder of a submit: what a new invocation meets decides what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Contradiction;
use super::head::Head;
use super::state::{Fresh, State};
use crate::model::{Blocked, Differing, Held, HolderKind, IdSet, InvocationId, Status};
use crate::store::{ChildOf, NewInvocation, QuotaRule, Submitted, quota, rules};

impl<'b> State<'b> {
    /// Whether the attempt that submits a child still owns the parent.
    fn is_owned_by_submitter(&self, place: &ChildOf) -> bool {
        let parent = self.heads.get(&place.parent);
        parent.is_some_and(|parent| parent.is_owned_by(place.parent_runner, place.parent_attempt))
    }

    /// Whether the attempt that submits it has lost its parent: the first rung of the
    /// ladder, before anything that it names is looked at.
    pub fn is_orphan(&self, new: &NewInvocation) -> bool {
        new.child_of.as_ref().is_some_and(|place| !self.is_owned_by_submitter(place))
    }

    /// Returns the parent of a child whose ancestors may fill its lane: they are to be loaded.
    pub fn ancestors_to_load(&self, new: &NewInvocation, task: i64) -> Option<InvocationId> {
        new.lane?;
        let place = new.child_of.as_ref().filter(|place| !place.detached)?;
        let rule = self.lanes.rule(task).concurrency?;
        (rule.blocked == Blocked::Wait).then_some(place.parent)
    }

    /// Applies the submits of a batch. `numbers` knows the numbers of their tasks and
    /// components; it is not asked about orphans. The ids of those that met something, which
    /// holds only if their ids are new.
    pub fn apply_submits<E: From<Contradiction>>(
        &mut self,
        all: &'b [NewInvocation],
        mut numbers: impl FnMut(&NewInvocation) -> Result<(i64, i64), E>,
    ) -> Result<Vec<InvocationId>, E> {
        for (index, new) in all.iter().enumerate() {
            let submitted = if self.is_orphan(new) {
                Submitted::Orphan
            } else {
                let (task, component) = numbers(new)?;
                self.submit(index, all, task, component)?
            };
            self.receipt.submits.push(submitted);
        }
        Ok(self.collisions.unconfirmed.iter().map(|index| all[*index].id).collect())
    }

    /// Answers each unconfirmed submit whose id exists: it is a repetition of one that was committed.
    pub fn confirm(&mut self, existing: &IdSet, all: &[NewInvocation]) {
        for index in std::mem::take(&mut self.collisions.unconfirmed) {
            let id = all[index].id;
            if existing.contains(&id) {
                self.receipt.submits[index] = Submitted::Existing(id);
            }
        }
    }

    /// Creates the invocation that a batch submits at `index`, unless it meets
    /// something. It is no orphan.
    fn submit(
        &mut self,
        index: usize,
        all: &'b [NewInvocation],
        task: i64,
        component: i64,
    ) -> Result<Submitted, Contradiction> {
        let new = &all[index];
        // In the map: loaded for another reason, or created by this batch.
        if self.collisions.ids.contains(&new.id) || self.heads.contains_key(&new.id) {
            return Ok(Submitted::Existing(new.id));
        }
        if let Some((answer, by)) = self.collision(index, all, task) {
            if by == new.id {
                return Ok(Submitted::Existing(new.id));
            }
            if !self.collisions.knows_ids {
                self.collisions.unconfirmed.push(index);
            }
            return Ok(answer);
        }
        let key = self.key_of(new)?;
        let counts_for_key = (!self.is_unkeyed(new)).then_some(key);
        if let Some(over) = self.quotas.over(new, counts_for_key, self.now) {
            if !self.collisions.knows_ids {
                self.collisions.unconfirmed.push(index);
            }
            return Ok(Submitted::OverQuota(Arc::new(over)));
        }
        self.create(index, new, [task, component, key])?;
        Ok(Submitted::Created(new.id))
    }

    /// Returns the components whose quotas the submits of a batch meet: their counts are to be loaded.
    pub fn components_to_meter<'n>(&self, submits: &'n [NewInvocation]) -> BTreeSet<&'n str> {
        let rules = &self.quotas.rules;
        if !QuotaRule::any(rules, HolderKind::Component) {
            return BTreeSet::new();
        }
        let submits = submits.iter().filter(|new| !self.is_orphan(new));
        let mut names: BTreeSet<_> = submits.filter_map(|new| quota::counted_for(rules, new)).collect();
        names.retain(|name| QuotaRule::of(rules, HolderKind::Component, name).is_some());
        names
    }

    /// Returns the numbers of the fairness keys whose quotas the submits of a batch may meet: their names and counts are to
    /// be loaded. The keys themselves are loaded.
    pub fn keys_to_meter(&self, submits: &[NewInvocation]) -> BTreeSet<i64> {
        if !QuotaRule::any(&self.quotas.rules, HolderKind::Key) {
            return BTreeSet::new();
        }
        let keys = submits.iter().filter(|new| !self.is_orphan(new)).map(|new| self.key_of(new));
        // One that was not loaded is an error later.
        keys.filter_map(Result::ok).collect()
    }

    /// Returns the number of the fairness key of a new invocation: that of its parent, or its own.
    fn key_of(&self, new: &NewInvocation) -> Result<i64, Contradiction> {
        match new.child_of.as_ref().and_then(|place| self.heads.get(&place.parent)) {
            Some(parent) => Ok(parent.fairness_key),
            None => self.fairness.number(new.fairness_key()),
        }
    }

    /// Whether the quota of its fairness key does not count a new invocation: it, or one above it, is detached. Nobody
    /// waits for it, and its key would be full for as long as a stranger likes.
    fn is_unkeyed(&self, new: &NewInvocation) -> bool {
        new.child_of.as_ref().is_some_and(|place| {
            place.detached || self.heads.get(&place.parent).is_some_and(|parent| parent.unkeyed)
        })
    }

    /// Returns the answer of the first rung below the id that is taken, and the invocation
    /// that has taken it.
    fn collision(&self, index: usize, all: &[NewInvocation], task: i64) -> Option<(Submitted, InvocationId)> {
        let (new, collisions) = (&all[index], &self.collisions);
        let same = |first: &usize| (all[*first].id, all[*first].arguments == new.arguments);
        if let Some(key) = &new.key {
            let stored = collisions.by_key.get(&index).copied();
            let here = || collisions.new_keys.get(&(task, Arc::clone(key))).map(same);
            match stored.or_else(here) {
                Some((first, true)) => return Some((Submitted::Existing(first), first)),
                Some((first, false)) => return Some((Submitted::KeyConflict(first), first)),
                None => {}
            }
        }
        if let Some(place) = &new.child_of {
            let stored = collisions.by_place.get(&index).copied();
            if let Some(first) = stored.or_else(|| self.new_child_at(place, all, new)) {
                return Some((Submitted::Existing(first), first));
            }
        }
        if let Some((key, differing)) = new.unique {
            let stored = collisions.by_unique.get(&index).copied();
            let here = || collisions.new_uniques.get(&(task, key)).map(same);
            match stored.or_else(here) {
                Some((first, false)) if differing == Differing::Refuse => {
                    return Some((Submitted::UniqueConflict(first), first));
                }
                Some((first, _)) => return Some((Submitted::Existing(first), first)),
                None => {}
            }
        }
        let ancestor = self.blocking_ancestor(new, task)?;
        Some((Submitted::BehindAncestor(ancestor), ancestor))
    }

    /// The child that the batch has created at the same place.
    fn new_child_at(
        &self,
        place: &ChildOf,
        all: &[NewInvocation],
        new: &NewInvocation,
    ) -> Option<InvocationId> {
        let first = self.collisions.new_places.get(&(place.parent, place.index))?;
        let is_there = |one: &&NewInvocation| {
            let at = one.child_of.as_ref().map(|at| (at.parent, at.index));
            at == Some((place.parent, place.index)) && one.task == new.task && one.arguments == new.arguments
        };
        let there = std::iter::once(first).chain(&self.collisions.more_places).map(|index| &all[*index]);
        there.clone().find(is_there).map(|one| one.id)
    }

    /// The nearest ancestor in the lane of a child, if ancestors fill it.
    fn blocking_ancestor(&self, new: &NewInvocation, task: i64) -> Option<InvocationId> {
        let parent = self.ancestors_to_load(new, task)?;
        let limit = self.lanes.rule(task).concurrency?.limit;
        let above = self.collisions.above.get(&parent)?;
        let mut filling = above.iter().filter(|one| one.task == task && one.lane == new.lane && one.is_owned);
        let nearest = filling.next()?.id;
        (1 + filling.count() >= limit as usize).then_some(nearest)
    }

    fn create(
        &mut self,
        index: usize,
        new: &'b NewInvocation,
        [task, component, key]: [i64; 3],
    ) -> Result<(), Contradiction> {
        if let Some(key) = &new.key {
            self.collisions.new_keys.insert((task, Arc::clone(key)), index);
        }
        if let Some((key, _)) = new.unique {
            self.collisions.new_uniques.insert((task, key), index);
        }
        let child_of = new.child_of.as_ref();
        if let Some(place) = child_of
            && *self.collisions.new_places.entry((place.parent, place.index)).or_insert(index) != index
        {
            self.collisions.more_places.push(index);
        }
        let seq = self.collisions.numbers.pop();
        let seq = seq.ok_or_else(|| Contradiction("no numbers are left".to_owned()))?;
        let parents = child_of.and_then(|place| self.heads.get(&place.parent)?.deadline);
        let deadline = rules::deadline(new, parents, self.now);
        let mut head = Head::new(new, [seq, task, component, key], deadline, self.now);
        self.fairness.count(key)?;
        if head.available_at <= self.now {
            self.fairness.place(&mut head)?;
        }
        self.lanes.enqueue(&mut head, self.now);
        self.may_expire |= deadline.is_some_and(|deadline| deadline <= self.now);
        self.moves.count(task, Status::Queued, 1);
        head.payer = quota::payer(&self.quotas.rules, new).map(Arc::from);
        head.unkeyed = self.is_unkeyed(new);
        let change = Held { unfinished: 1, bytes: quota::text_bytes(new.arguments.len()) };
        self.quotas.take_tokens(new, (!head.unkeyed).then_some(key), self.now);
        self.quotas.learn_task(task, &new.task);
        head.account().hold(change, &mut self.moves, &mut self.quotas);
        self.fresh.push(Fresh { id: new.id, new, submitted_at: self.now });
        self.heads.insert(new.id, head);
        if let Some(place) = child_of {
            if !place.detached {
                self.children.entry(place.parent).or_default().push(new.id);
            }
            if let Some(parent) = self.heads.get_mut(&place.parent).filter(|parent| !parent.has_children) {
                parent.has_children = true;
                parent.is_changed = true;
            }
        }
        self.is_news = true;
        Ok(())
    }
}
