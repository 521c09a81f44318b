//! Tasks for `run-wasm-runner` from plain Rust functions.
//!
//! ```ignore
//! #[wasm_runner::tasks("local:hello")]
//! mod tasks {
//!     pub fn add(a: u32, b: u32) -> u32 {
//!         a + b
//!     }
//!
//!     pub fn twice(a: u32) -> Result<u32, String> {
//!         // A child: it runs beside this invocation, which awaits it here.
//!         Ok(add::submit(a, a)?.result()?)
//!     }
//! }
//! ```
//!
//! Each `pub fn` of the module is a task. Its types become WIT types: numbers, `bool`, `char`, `String`, `Vec`, `Option`,
//! `Result`, tuples, maps, and the structs and enums of the module itself. [`remote`] declares a task of another component.

mod invocation;
mod json;
mod value;

/// The imports of `wasm-runner:task`.
mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "task", generate_all });
}

pub use bindings::wasm_runner::task::log::Level;
pub use bindings::wasm_runner::task::types::{Failure, Refusal};
pub use invocation::{Error, Invocation, Options, Submitted, as_completed, gather};
#[doc(hidden)]
pub use invocation::{submit, submit_all};
pub use json::Json;
#[doc(hidden)]
pub use json::{arguments, flagged, flags, member, tagged};
pub use value::Value;
#[doc(hidden)]
pub use value::object;
pub use wasm_runner_macros::{remote, tasks};
#[doc(hidden)]
pub use wit_bindgen;

use bindings::wasm_runner::task::{context, log as host_log};

/// Keeps a log message with the invocation.
pub fn log(level: Level, message: &str) {
    host_log::log(level, message);
}

/// Reports the progress of this invocation.
pub fn progress(done: u64, total: u64, message: &str) {
    context::progress(done, total, message);
}

/// The id of this invocation.
pub fn invocation_id() -> String {
    context::id()
}

/// The number of this attempt, from 1.
pub fn attempt() -> u32 {
    context::attempt()
}
