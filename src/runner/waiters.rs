//! The waits for one invocation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::wait::Wait;

/// A wait, and the index of the invocation in it.
pub(super) type Waiter = (Arc<Wait>, usize);

/// The waits for one invocation; never none.
#[derive(Debug)]
pub(super) enum Waiters {
    /// As it is for most children: without an allocation.
    One(Waiter),
    Many(Box<Many>),
}

#[derive(Debug, Default)]
pub(super) struct Many {
    /// By their age.
    waits: BTreeMap<u64, Waiter>,
    /// The number of them at each depth.
    depths: BTreeMap<u32, usize>,
}

impl Many {
    fn add(&mut self, waiter: Waiter) {
        let depth = waiter.0.depth;
        if self.waits.insert(waiter.0.sequence, waiter).is_none() {
            *self.depths.entry(depth).or_default() += 1;
        }
    }

    fn remove(&mut self, wait: &Wait) {
        if self.waits.remove(&wait.sequence).is_some()
            && let Some(count) = self.depths.get_mut(&wait.depth)
        {
            *count -= 1;
            if *count == 0 {
                self.depths.remove(&wait.depth);
            }
        }
    }
}

impl Waiters {
    /// Adds a wait, or replaces the index in one that is there.
    pub(super) fn add(&mut self, waiter: Waiter) {
        match self {
            Self::One(one) if one.0.sequence == waiter.0.sequence => *one = waiter,
            Self::One(one) => {
                let mut many = Box::<Many>::default();
                many.add(one.clone());
                many.add(waiter);
                *self = Self::Many(many);
            }
            Self::Many(many) => many.add(waiter),
        }
    }

    /// Removes a wait, if it is there. Returns whether none is left: then these must be dropped.
    pub(super) fn remove(&mut self, wait: &Wait) -> bool {
        match self {
            Self::One((one, _)) => one.sequence == wait.sequence,
            Self::Many(many) => {
                many.remove(wait);
                many.waits.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.waits.len(),
        }
    }

    /// The age of the oldest.
    pub(super) fn oldest(&self) -> u64 {
        match self {
            Self::One((one, _)) => one.sequence,
            Self::Many(many) => many.waits.first_key_value().map_or(u64::MAX, |(oldest, _)| *oldest),
        }
    }

    /// The depth of the deepest.
    pub(super) fn depth(&self) -> u32 {
        match self {
            Self::One((one, _)) => one.depth,
            Self::Many(many) => many.depths.last_key_value().map_or(0, |(depth, _)| *depth),
        }
    }

    /// Lists them by their age.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Waiter> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.waits.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// Takes them apart.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = Waiter> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many.waits.into_values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}
