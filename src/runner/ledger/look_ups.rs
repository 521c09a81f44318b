//! The ids that waiters have asked for, until the store was asked.

use crate::model::InvocationId;
use crate::runner::inbox::LookUpMessage;
use std::collections::VecDeque;

/// The ids that one wait adds to a read while others wait, too.
const SHARE: usize = 100;

/// The ids that the store must be asked for. A wait that is over takes its own with it, and however many ids a
/// wait has, those of others are asked for beside them.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    of_waits: VecDeque<LookUpMessage>,
    /// Asked for whatever becomes of a wait.
    others: Vec<InvocationId>,
    /// Whether everything that is awaited must be asked for, after `others`.
    all: bool,
}

impl LookUps {
    /// Adds ids of waits.
    pub(crate) fn add(&mut self, of_waits: &mut Vec<LookUpMessage>) {
        // Those that are over go first: between two reads a guest may have begun and ended many waits.
        self.of_waits.retain(|one| !one.wait.is_over());
        self.of_waits.extend(of_waits.drain(..).filter(|one| !one.wait.is_over()));
    }

    /// Adds an id for everybody who waits for it.
    pub(crate) fn push(&mut self, id: InvocationId) {
        self.others.push(id);
    }

    /// Asks for everything that is awaited: the store may have changed.
    pub(crate) fn ask_for_all(&mut self) {
        self.all = true;
    }

    /// Adds everything that is awaited, if it is to be asked for and what was added before has been.
    pub(crate) fn fill(&mut self, awaited: impl FnOnce() -> Vec<InvocationId>) {
        if self.others.is_empty() && std::mem::take(&mut self.all) {
            self.others = awaited();
        }
    }

    /// Takes at most so many ids, some of each wait.
    pub(crate) fn take(&mut self, most: usize) -> Vec<InvocationId> {
        let mut taken = self.others.split_off(self.others.len().saturating_sub(most));
        while taken.len() < most
            && let Some(mut one) = self.of_waits.pop_front()
        {
            if one.wait.is_over() {
                continue;
            }
            let share = SHARE.min(most - taken.len());
            taken.extend(one.ids.split_off(one.ids.len().saturating_sub(share)));
            if !one.ids.is_empty() {
                self.of_waits.push_back(one);
            }
        }
        taken
    }

    /// Gives back ids that the store did not answer.
    pub(crate) fn give_back(&mut self, ids: impl IntoIterator<Item = InvocationId>) {
        self.others.extend(ids);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.of_waits.is_empty() && self.others.is_empty() && !self.all
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::AwaitMode;
    use crate::runner::wait::{Wait, WaitFor};

    fn ids(count: usize) -> Vec<InvocationId> {
        (0..count).map(|_| InvocationId::generate()).collect()
    }

    fn of_wait(count: usize) -> LookUpMessage {
        let ids = ids(count);
        let wait = WaitFor { caller: None, depth: 0, ids: ids.clone(), mode: AwaitMode::All };
        LookUpMessage { wait: Wait::new(wait, 0, &Arc::default()), ids }
    }

    #[test]
    fn a_wait_of_many_leaves_room_for_one_of_few() {
        let mut look_ups = LookUps::default();
        let (many, few) = (of_wait(10_000), of_wait(1));
        let wanted = few.ids[0];
        look_ups.add(&mut vec![many, few]);
        assert!(look_ups.take(1_000).contains(&wanted));
        assert_eq!((0..9).map(|_| look_ups.take(1_000).len()).sum::<usize>(), 9_000);
        assert_eq!((look_ups.take(1_000).len(), look_ups.is_empty()), (1, true));
    }

    #[test]
    fn look_ups_end_with_their_wait() {
        let mut look_ups = LookUps::default();
        let live = of_wait(1);
        let id = live.ids[0];
        let wait = Arc::clone(&live.wait);
        look_ups.add(&mut vec![live]);
        for _ in 0..1_000 {
            let over = of_wait(100);
            over.wait.end();
            look_ups.add(&mut vec![over]);
        }
        assert_eq!(look_ups.of_waits.len(), 1);
        assert_eq!(look_ups.take(1_000), [id]);
        look_ups.give_back([id]);
        wait.end();
        assert_eq!(look_ups.take(1_000), [id], "the store has not answered");
        assert!(look_ups.is_empty());
    }

    #[test]
    fn all_that_is_awaited_comes_after_what_was_asked_for_before() {
        let mut look_ups = LookUps::default();
        look_ups.fill(|| unreachable!("nobody asked for it"));
        look_ups.ask_for_all();
        look_ups.fill(|| ids(1_500));
        look_ups.ask_for_all();
        assert_eq!(look_ups.take(1_000).len(), 1_000);
        look_ups.fill(|| unreachable!("the rest comes first"));
        assert_eq!(look_ups.take(1_000).len(), 500);
        assert!(!look_ups.is_empty());
        look_ups.fill(|| ids(3));
        assert_eq!((look_ups.take(1_000).len(), look_ups.is_empty()), (3, true));
    }
}
