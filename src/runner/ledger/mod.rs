//! The ledger: what a runner writes next, and what follows from the receipt.
//!
//! Everything here is pure: it looks at its arguments and changes the ledger's own state.
//! `turn.rs` gathers, commits and performs; see `docs/design/runner-turn.md`.

mod claims;
pub(super) mod duties;
mod effect;
mod heartbeat;
mod held;
mod look_ups;
mod names;
mod outage;
mod plan;
mod prefetch;
mod relief;
mod settle;
mod share;
mod shortage;
mod standstill;
mod state;
mod stopping;
#[cfg(test)]
mod tests;
mod view;

pub(super) use effect::Effect;
pub(super) use held::LOOK_UPS;
pub(super) use plan::Plan;
pub(super) use prefetch::STALE_PREFETCH;
pub(super) use relief::{Step as ReliefStep, Waiting};
pub(super) use settle::{Committed, extends_lease};
pub(super) use standstill::Standstill;
pub(super) use state::Ledger;
pub(super) use view::View;
