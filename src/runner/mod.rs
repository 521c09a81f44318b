//! The runner: claims invocations and runs them.
//!
//! ```text
//!            claim                     work                  guest
//!   store ─────────► ledger ─────────► scheduler ─────────► slot threads
//!     ▲                │ ▲                                     │   │
//!     └── one batch ───┘ └──────────── inbox ◄─────────────────┘   │ awaits
//!                        registry (waiters, final cache) ◄─────────┘
//! ```
//!
//! * **Slots** (`slot.rs`) are threads. Each holds at most one guest, so the
//!   guests that run never exceed the slots.
//! * **Fibers** (`fiber.rs`) are live guests. One that awaits results is parked:
//!   it is on no thread, and its slot takes other work.
//! * **The ledger** (`ledger/`) is the only writer. A turn (`turn.rs`) drains the
//!   inbox, commits one batch that the ledger plans, and performs the effects that the
//!   ledger reads from the receipt. The design: `docs/design/runner-turn.md`.
//! * **The registry** (`registry.rs`) holds the waits, and caches final outcomes.
//! * **The scheduler** (`scheduler.rs`) holds what is to run next.
//! * **Observers** (`observer.rs`) are told of claims, ends and commits: the hook for metrics
//!   and logs. Totals are kept in `totals.rs` whether anybody observes or not.
//!
//! Nothing here polls: every wait is for an event or for a moment known in
//! advance.

mod client;
mod core;
mod descriptors;
mod executor;
mod fiber;
mod fill;
mod final_cache;
mod inbox;
mod ledger;
mod lifecycle;
mod observer;
mod options;
mod outcomes;
mod parking;
mod reach;
mod registry;
mod retry_budget;
mod room;
mod rule_watch;
mod scheduler;
mod shares;
mod slot;
mod slot_times;
mod stage;
mod starts;
#[cfg(test)]
mod tests;
mod totals;
mod trust;
mod turn;
mod wait;
mod waiters;

pub use executor::Executor;
pub use inbox::NewRules;
pub use lifecycle::{Runner, RunnerHandle};
pub use observer::{LogObserver, Observation, Observer};
pub use options::{RulesFrom, RunnerError, RunnerOptions};
pub use outcomes::FinalOutcome;
pub use totals::Gauge;
