//! `cargo xtask fixtures`: the databases that later versions of the program must still
//! be able to migrate.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::{cargo, root, run};

/// Set for the tests that make fixtures: they write those that are not there.
const WRITE: &str = "RUN_WASM_RUNNER_WRITE_FIXTURES";

/// Writes the fixtures of today's schemas. Those that are there never change.
pub fn write() -> Result<()> {
    let before = files()?;
    let tests = "a_fixture_of_this_schema_is_restored_as_it_was";
    run(cargo().args(["test", "--test", "it", "--locked", tests]).env(WRITE, "1"))?;
    let after = files()?;
    let written: Vec<_> = after.difference(&before).collect();
    ensure!(!written.is_empty(), "the fixtures of today's schemas are there already, and they never change");
    for path in written {
        println!("{}", path.display());
    }
    Ok(())
}

/// All fixtures of all stores.
fn files() -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for store in ["sqlite", "postgres"] {
        let directory = root().join("tests/fixtures").join(store);
        let failed = || format!("failed to read `{}`", directory.display());
        for entry in fs::read_dir(&directory).with_context(failed)? {
            files.insert(entry.with_context(failed)?.path());
        }
    }
    Ok(files)
}
