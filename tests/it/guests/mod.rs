//! What the example guests do, and what they are given.

mod arguments;
pub mod setup;
mod values;
