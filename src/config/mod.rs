//! The configuration: flags over `WASM_RUNNER_*` variables over
//! `wasm-runner.toml` over defaults, resolved once into a [`Config`].

mod bounds;
mod component;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod limit;
mod lock;
mod memory;
mod problem;
mod registry;
mod resolve;
mod secrets;
mod surroundings;
#[cfg(test)]
mod tests;
mod units;

pub use bounds::{MAX_SLOTS, check_lease};
pub use component::{
    Component, ComponentOrigin, ComponentPattern, MAX_COMPONENT_NAME, OnRemove, SubmitPattern,
    check_component_name,
};
pub use limit::parse_limit;
pub use lock::{Lock, LockedComponent};
pub use problem::{ConfigError, Origin, Problem, first_in_backticks, in_backticks, nearest};
pub use registry::{OCI_SCHEME, RegistryReference, RegistryVersion};
pub use resolve::{Config, FILE_NAME, Flags, StoreChoice};
pub use secrets::read_secrets;
pub use surroundings::Surroundings;
pub use units::{parse_age, parse_duration, parse_flag_duration, parse_size};
