//! What commands that work through many invocations have in common.

use std::time::Instant;

/// One transaction does so many.
pub const CHUNK: usize = 500;

/// Pauses after a transaction that began then for as long as it took, so that
/// runners get at the store in between: a lock that is taken again at once is
/// hardly ever had by others, and leases would run out.
pub fn give_way(began: Instant) {
    std::thread::sleep(began.elapsed());
}
