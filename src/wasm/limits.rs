//! The memory limit of one instance.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::control::GuestControl;

/// Bytes that one element of a table takes.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Counts the bytes of all linear memories and tables of one instance together,
/// and refuses growth over the limit. A refused growth is an error value inside
/// the guest, which may collect garbage and go on; what was refused is remembered
/// for the failure of a guest that does not.
#[derive(Debug)]
pub(super) struct MemoryLimit {
    limit: u64,
    used: u64,
    refused: Option<u64>,
    /// Where the most that was had is noted.
    control: Arc<GuestControl>,
}

impl MemoryLimit {
    pub(super) fn new(limit: u64, control: Arc<GuestControl>) -> Self {
        Self { limit, used: 0, refused: None, control }
    }

    /// The bytes that the guest wanted to have in all when it was first refused.
    pub(super) fn refused(&self) -> Option<u64> {
        self.refused
    }

    /// The limit in bytes.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    fn grow(&mut self, by: u64) -> bool {
        let wanted = self.used.saturating_add(by);
        if wanted > self.limit {
            self.refused.get_or_insert(wanted);
            return false;
        }
        self.used = wanted;
        self.control.meter().note_memory(wanted);
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
        // What the memory's own type forbids is not for us to count.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES)))
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
        assert_eq!(limit.refused(), None);
        assert!(!limit.memory_growing(100, 150, None).unwrap());
        assert_eq!(limit.refused(), Some(330));
        assert!(limit.memory_growing(100, 120, None).unwrap(), "less is still there");
        assert_eq!(limit.control.usage().peak_memory_bytes, 300);
    }

    #[test]
    fn growth_that_the_memory_itself_forbids_is_not_ours() {
        let mut limit = limit(300);
        assert!(!limit.memory_growing(0, 200, Some(100)).unwrap());
        assert_eq!(limit.refused(), None);
    }
}
