//! The decisions of the durable stores, made once and without I/O.
//!
//! A store loads the rows that a step of a batch speaks of into a [`State`], asks it
//! what becomes of them, and writes what has changed: `docs/design/decider.md`. The
//! memory store decides for itself, and is the oracle of the tests that compare.
//!
//! - `batch`: the order of the steps
//! - `state`, `head`, `collisions`: what is loaded, and what is to be written
//! - `settings`, `components`, `submit`, `quotas`, `fairness`, `ends`, `recovery`, `lanes`, `claims`, `prune`: what the steps decide

mod batch;
mod claims;
mod collisions;
mod components;
mod ends;
mod fairness;
mod head;
mod lanes;
mod prune;
mod quotas;
mod recovery;
mod settings;
mod state;
mod submit;
#[cfg(test)]
mod tests;

pub use batch::{Step, named, runners, steps};
pub use claims::{Awaited, ClaimRest, choose_awaited};
pub use collisions::{Above, Collisions};
pub use components::{add_answer, bind, task_range};
pub use fairness::{Changed, Fairness, Share, tried_again};
pub use head::{Head, LaneId, LastMove, Move, Rank};
pub use lanes::{Count, Lane, lane_of};
pub use prune::{Ancestry, Old, Walk};
pub use quotas::Account;
pub use settings::{held_back, is_marked_now, takes_over};
pub use state::{Fresh, State};

use crate::model::IllegalTransition;

/// At most so many delayed invocations become claimable in one transaction; if
/// more are due, the claim's answer says that there is more.
pub const PROMOTED_AT_ONCE: usize = 1_000;

/// At most so many lanes are looked at in one transaction because of the time.
pub const OPENED_AT_ONCE: usize = 1_000;

/// At most so many runners are forgotten in one transaction.
pub const FORGOTTEN_AT_ONCE: i64 = 100;

/// Stored rows that contradict each other, or the question that found them: the
/// database is damaged.
#[derive(Debug)]
pub struct Contradiction(pub String);

impl From<IllegalTransition> for Contradiction {
    fn from(error: IllegalTransition) -> Self {
        Self(error.to_string())
    }
}
