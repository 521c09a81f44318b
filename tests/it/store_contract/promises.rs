//! The promises, one function each.

mod adoption;
mod attempts;
mod claims;
mod components;
mod ends;
mod fairness;
mod filters;
mod keep;
mod ladder;
mod names;
mod quotas;
mod reads;
mod recovery;
mod rules;
mod submits;
mod usage;

use std::time::Duration;

pub use adoption::*;
pub use attempts::*;
pub use claims::*;
pub use components::*;
pub use ends::*;
pub use fairness::*;
pub use filters::*;
pub use keep::*;
pub use ladder::*;
pub use names::*;
pub use quotas::*;
pub use reads::*;
pub use recovery::*;
pub use rules::*;
pub use submits::*;
pub use usage::*;

const SECOND: Duration = Duration::from_secs(1);
