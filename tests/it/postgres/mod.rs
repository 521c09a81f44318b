//! Promises of the PostgreSQL store alone: a server that goes away and comes back,
//! many machines at once, and the ways to reach it.

mod access;
mod disks;
mod outages;
mod runners;
mod sharing;
mod upgrades;

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::store::{PostgresStore, PostgresUrl, StoreError};

/// Longer than any machine needs; nothing waits for it unless it fails.
const LONG: Duration = Duration::from_secs(60);

fn try_open(url: &str) -> Result<PostgresStore, StoreError> {
    PostgresStore::open(&PostgresUrl::parse(url).expect("a URL"), None)
}

#[track_caller]
fn open(url: &str) -> Arc<PostgresStore> {
    Arc::new(try_open(url).expect("the store opens"))
}
