//! The memory limit of one instance.

use std::sync::Arc;

use wasmtime::ResourceLimiterAsync;
use wasmtime_wasi::async_trait;

use super::budget::INSTANCE_BYTES;
use super::control::GuestControl;

/// Bytes that one element of a table takes.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Counts the bytes of all linear memories and tables of one instance together, and refuses growth over the
/// limit. A refused growth is an error value inside the guest, which may collect garbage and go on. Growth within the
/// limit waits until the budget of the runner has room for it. The whole is off that budget when this is dropped.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    /// In bytes.
    limit: u64,
    used: u64,
    /// The bytes of the state of its core instances.
    state: u64,
    /// The bytes that the guest wanted in all when it was first refused, for its failure.
    pub(super) refused: Option<u64>,
    /// Gets the peak, and has the part in the budget.
    control: Arc<GuestControl>,
}

impl MemoryLimit {
    pub(super) fn new(limit: u64, control: Arc<GuestControl>) -> Self {
        control.memory.add(INSTANCE_BYTES);
        Self { limit, used: 0, state: 0, refused: None, control }
    }

    /// Holds the state of the core instances on the budget, as soon as it has room. Returns `false` if it never has.
    pub(super) async fn hold_state(&mut self, bytes: u64) -> bool {
        let memory = &self.control.memory;
        if !memory.could_add(bytes) {
            return false;
        }
        memory.add_when_left(bytes).await;
        self.state = bytes;
        true
    }

    /// Takes the bytes of a memory or table that grows from `current` to `desired` units, if there are so
    /// many. Growth that the `maximum` of its own type forbids is refused without a record.
    async fn grow(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        unit_bytes: u64,
    ) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let by = (desired.saturating_sub(current) as u64).saturating_mul(unit_bytes);
        let wanted = self.used.saturating_add(by);
        let memory = &self.control.memory;
        // More than the whole budget would be waited for without end.
        if wanted > self.limit || !memory.could_add(by) {
            self.refused.get_or_insert(wanted);
            return false;
        }
        if by > 0 {
            memory.add_when_left(by).await;
        }
        self.used = wanted;
        self.control.meter.note_memory(wanted);
        true
    }

    /// Says which bound a refused growth has met.
    pub(super) fn bound(&self, wanted: u64) -> String {
        match self.limit {
            limit if wanted > limit => format!("its limit of {limit}"),
            _ => format!(
                "there is in the `memory-budget` of {} of this runner beside its compiled code of {}",
                self.control.memory.total(),
                self.control.memory.code()
            ),
        }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        self.control.meter.note_memory(0);
        self.control.memory.give_back(self.used + self.state + INSTANCE_BYTES);
    }
}

#[async_trait]
impl ResourceLimiterAsync for MemoryLimit {
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1).await)
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, TABLE_ELEMENT_BYTES).await)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::model::{MemoryBudget, SlotControl};

    fn limit(bytes: u64, budget: u64) -> (MemoryLimit, Arc<MemoryBudget>) {
        let budget = Arc::new(MemoryBudget::new(budget));
        let control = GuestControl::new(std::time::Duration::from_secs(1)).on_budget(Arc::clone(&budget));
        (MemoryLimit::new(bytes, Arc::new(control)), budget)
    }

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn all_memories_and_tables_count_together() {
        let (mut limit, budget) = limit(300, u64::MAX);
        assert!(now(limit.memory_growing(0, 100, None)).unwrap().unwrap());
        assert!(now(limit.memory_growing(0, 100, None)).unwrap().unwrap());
        assert!(now(limit.table_growing(0, 10, None)).unwrap().unwrap());
        assert_eq!(limit.refused, None);
        assert!(!now(limit.memory_growing(100, 150, None)).unwrap().unwrap());
        assert_eq!(limit.refused, Some(330));
        assert!(now(limit.memory_growing(100, 120, None)).unwrap().unwrap(), "less is still there");
        assert_eq!(limit.control.usage().peak_memory_bytes, 300);
        assert_eq!((budget.used(), limit.control.memory()), (300 + INSTANCE_BYTES, 300 + INSTANCE_BYTES));
        drop(limit);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn growth_that_the_memory_itself_forbids_is_not_ours() {
        let (mut limit, _) = limit(300, u64::MAX);
        assert!(!now(limit.memory_growing(0, 200, Some(100))).unwrap().unwrap());
        assert_eq!(limit.refused, None);
    }

    #[test]
    fn growth_waits_for_room_in_the_budget_and_more_than_all_of_it_is_refused() {
        let (mut limit, budget) = limit(3_000, INSTANCE_BYTES + 1_000);
        budget.overdraw(500);
        let control = Arc::clone(&limit.control);
        {
            let mut growing = limit.memory_growing(0, 800, None);
            let mut context = Context::from_waker(Waker::noop());
            assert!(growing.as_mut().poll(&mut context).is_pending());
            assert_eq!(control.wanted_memory(), Some(800));
            budget.give_back(500);
            assert!(matches!(growing.as_mut().poll(&mut context), Poll::Ready(Ok(true))));
        }
        assert_eq!((control.wanted_memory(), limit.refused), (None, None));
        assert!(!now(limit.memory_growing(800, 1_001, None)).unwrap().unwrap());
        let bound = limit.bound(limit.refused.expect("a refusal"));
        let total = INSTANCE_BYTES + 1_000;
        assert!(bound.contains(&format!("`memory-budget` of {total}")), "{bound}");
    }

    #[test]
    fn the_state_of_instances_is_on_the_budget_and_waits_for_room() {
        let (mut limit, budget) = limit(3_000, INSTANCE_BYTES + 1_000);
        assert_eq!(now(limit.hold_state(1_001)), Some(false), "more than there is");
        budget.overdraw(500);
        assert_eq!(now(limit.hold_state(800)), None);
        budget.give_back(500);
        assert_eq!(now(limit.hold_state(800)), Some(true));
        assert_eq!(budget.used(), INSTANCE_BYTES + 800);
        assert!(!now(limit.memory_growing(0, 201, None)).unwrap().unwrap());
        drop(limit);
        assert_eq!(budget.used(), 0);
    }
}
