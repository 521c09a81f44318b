//! What the example guests do, and what they are given.

pub mod setup;
