//! One binary for all integration tests; a module per behaviour.

mod architecture;
mod cli;
mod clocks;
mod crashes;
mod docs;
mod faults;
mod guests;
mod languages;
mod plans;
mod postgres;
mod power;
mod runner;
mod service;
mod sqlite;
mod store_contract;
mod support;
mod tasks;
mod torture;
mod upgrades;
