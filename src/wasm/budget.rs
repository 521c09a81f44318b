//! The part of one guest in the memory budget of its runner.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use super::engine::WASM_STACK;
use crate::model::MemoryBudget;

/// The bytes that a live instance takes of the host beside its memories, its account and its state: what the runner
/// knows of it (measured: 36 KiB for a parked guest with one small memory), and half of the stack that it may use, as
/// pages that it has used once stay. Counted in full, a machine with 2 GiB would have no room for the default of 4,096
/// live instances, however small. With half, guests that use all of it fit beside each other until nothing more starts
/// that nobody awaits.
pub(super) const INSTANCE_BYTES: u64 = (64 << 10) + WASM_STACK as u64 / 2;

/// The bytes that one guest has of the budget. Whoever adds to it gives the same back.
#[derive(Debug, Default)]
pub(super) struct GuestMemory {
    budget: Arc<MemoryBudget>,
    held: AtomicU64,
    /// The bytes of its compiled code, which are on the budget beside that: once for all guests of one version.
    code: u64,
    /// The bytes for which the guest waits; 0 if it does not.
    wanted: AtomicU64,
}

impl GuestMemory {
    /// Makes the part of a guest that has nothing yet.
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Says how much compiled code it has.
    pub(super) fn with_code(self, code: u64) -> Self {
        Self { code, ..self }
    }

    /// The bytes of its compiled code.
    pub(super) fn code(&self) -> u64 {
        self.code
    }

    /// Whether it could have so many bytes more if it were alone.
    pub(super) fn could_add(&self, bytes: u64) -> bool {
        let alone = self.held().saturating_add(self.code);
        alone.saturating_add(bytes) <= self.budget.total()
    }

    /// The bytes of the whole budget.
    pub(super) fn total(&self) -> u64 {
        self.budget.total()
    }

    /// The bytes that the guest has.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Acquire)
    }

    /// The bytes for which the guest waits, if it does.
    pub(super) fn wanted(&self) -> Option<u64> {
        Some(self.wanted.load(Ordering::Acquire)).filter(|wanted| *wanted > 0)
    }

    /// Adds bytes, left or not.
    pub(super) fn add(&self, bytes: u64) {
        self.budget.overdraw(bytes);
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Adds bytes as soon as they are left. Nobody wakes the guest for that: whoever polls it sees by
    /// [`wanted`](Self::wanted) that it must make room, and polls again.
    pub(super) async fn add_when_left(&self, bytes: u64) {
        poll_fn(|_| {
            let is_taken = self.budget.take(bytes);
            self.wanted.store(if is_taken { 0 } else { bytes }, Ordering::Release);
            if is_taken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Gives bytes back.
    pub(super) fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.budget.give_back(bytes);
    }
}
