//! The memory limit of one instance.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::control::GuestControl;

/// Bytes that one element of a table takes.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Counts the bytes of all linear memories and tables of one instance together, and refuses growth over the
/// limit. A refused growth is an error value inside the guest, which may collect garbage and go on.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    /// In bytes.
    pub(super) limit: u64,
    used: u64,
    /// The bytes that the guest wanted in all when it was first refused, for its failure.
    pub(super) refused: Option<u64>,
    /// Gets the peak.
    control: Arc<GuestControl>,
}

impl MemoryLimit {
    pub(super) fn new(limit: u64, control: Arc<GuestControl>) -> Self {
        Self { limit, used: 0, refused: None, control }
    }

    /// Takes the bytes of a memory or table that grows from `current` to `desired` units, if there are so
    /// many. Growth that the `maximum` of its own type forbids is refused without a record.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit_bytes: u64) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let by = (desired.saturating_sub(current) as u64).saturating_mul(unit_bytes);
        let wanted = self.used.saturating_add(by);
        if wanted > self.limit {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used = wanted;
        self.control.meter.note_memory(wanted);
        true
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, TABLE_ELEMENT_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SlotControl;

    fn limit(bytes: u64) -> MemoryLimit {
        MemoryLimit::new(bytes, Arc::new(GuestControl::new(std::time::Duration::from_secs(1))))
    }

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut limit = limit(300);
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.memory_growing(0, 100, None).unwrap());
        assert!(limit.table_growing(0, 10, None).unwrap());
        assert_eq!(limit.refused, None);
        assert!(!limit.memory_growing(100, 150, None).unwrap());
        assert_eq!(limit.refused, Some(330));
        assert!(limit.memory_growing(100, 120, None).unwrap(), "less is still there");
        assert_eq!(limit.control.usage().peak_memory_bytes, 300);
    }

    #[test]
    fn growth_that_the_memory_itself_forbids_is_not_ours() {
        let mut limit = limit(300);
        assert!(!limit.memory_growing(0, 200, Some(100)).unwrap());
        assert_eq!(limit.refused, None);
    }
}
