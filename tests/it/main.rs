//! One binary for all integration tests; a module per behaviour.

mod cli;
mod sqlite;
mod faults;
mod guests;
mod runner;
mod store_contract;
mod support;
