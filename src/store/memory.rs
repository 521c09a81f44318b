//! The memory store.

/// In memory.
pub struct MemoryStore;
