//! Final invocations, kept in memory: an accelerator for waiters, never the
//! truth.

use lru::LruCache;

use crate::model::{InvocationId, Outcome};

/// Keeps outcomes of final invocations, bounded by entries and bytes; the least recently used goes first.
///
/// Only final invocations may be put in, so an entry is never stale. After a miss, read the store.
#[derive(Debug)]
pub(super) struct FinalCache {
    entries: LruCache<InvocationId, Outcome>,
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
}

impl FinalCache {
    /// Makes a cache of at most so many entries and bytes together. Zero of either keeps nothing.
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: LruCache::unbounded(), max_entries, max_bytes, bytes: 0 }
    }

    /// Keeps an outcome, unless it alone is over the bound.
    pub(super) fn insert(&mut self, id: InvocationId, outcome: Outcome) {
        let bytes = outcome.approximate_bytes();
        if bytes > self.max_bytes || self.max_entries == 0 {
            return;
        }
        if let Some(old) = self.entries.put(id, outcome) {
            self.bytes -= old.approximate_bytes();
        }
        self.bytes += bytes;
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            match self.entries.pop_lru() {
                Some((_, evicted)) => self.bytes -= evicted.approximate_bytes(),
                None => break,
            }
        }
    }

    /// The outcome of `id`, if it is here.
    pub(super) fn get(&mut self, id: InvocationId) -> Option<Outcome> {
        self.entries.get(&id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: usize) -> Outcome {
        Outcome::Value("x".repeat(bytes).into())
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = FinalCache::new(2, 1000);
        let ids: Vec<_> = (0..3).map(|_| InvocationId::generate()).collect();
        cache.insert(ids[0], value(1));
        cache.insert(ids[1], value(1));
        assert!(cache.get(ids[0]).is_some());
        cache.insert(ids[2], value(1));
        assert!(cache.get(ids[1]).is_none());
        assert!(cache.get(ids[0]).is_some() && cache.get(ids[2]).is_some());
    }

    #[test]
    fn bytes_are_bounded_whatever_the_number_of_entries() {
        let mut cache = FinalCache::new(100, 10);
        let ids: Vec<_> = (0..4).map(|_| InvocationId::generate()).collect();
        for id in &ids {
            cache.insert(*id, value(4));
        }
        assert_eq!(cache.bytes, 8);
        assert!(cache.get(ids[0]).is_none() && cache.get(ids[3]).is_some());
        cache.insert(ids[0], value(11));
        assert!(cache.get(ids[0]).is_none(), "an entry over the bound is not kept");
        assert!(cache.get(ids[3]).is_some(), "and evicts nobody");
        cache.insert(ids[3], value(2));
        assert_eq!(cache.bytes, 6, "a replaced entry is counted once");
    }

    #[test]
    fn a_cache_of_nothing_keeps_nothing() {
        let mut cache = FinalCache::new(0, 1000);
        let id = InvocationId::generate();
        cache.insert(id, value(1));
        assert!(cache.get(id).is_none());
    }
}
