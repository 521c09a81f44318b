//! The example guests: their tasks, and their rights.

mod arguments;
mod documents;
mod examples;
mod imports;
mod primes;
mod rights;
mod sandbox;
mod schemas;
mod secrets;
pub mod setup;
mod usage;
mod values;
