//! One binary for all integration tests; a module per behaviour.

mod store_contract;
mod support;
