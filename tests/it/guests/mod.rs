//! What the example guests do, and what they are given.

mod arguments;
mod documents;
mod examples;
mod imports;
mod primes;
mod sandbox;
mod schemas;
pub mod setup;
mod values;
