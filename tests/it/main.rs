//! One binary for all integration tests; a module per behaviour.

mod sqlite;
mod store_contract;
mod support;
