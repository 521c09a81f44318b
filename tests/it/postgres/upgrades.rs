//! Schemas of older versions, as `crate::upgrades` has it for SQLite.
//!
//! `tests/fixtures/postgres/NNNN.sql` is what `pg_dump` made of a schema of version
//! NNNN, with `@` in the place of its name. It is written once, by `cargo xtask fixtures`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::store::{PostgresStore, PostgresUrl};

use super::open;
use crate::store_contract::harness::{Bench, assert_store_is_consistent};
use crate::support::clock::TestClock;
use crate::support::database::{programs, shared};
use crate::upgrades::{Portrait, furnish, is_whole_and_goes_on, write_if_asked};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/postgres")
}

fn schema(url: &str) -> &str {
    url.rsplit_once("schema=").expect("it names a schema").1
}

fn version_of(url: &str) -> u32 {
    let version = shared().psql("tests", &format!("SELECT version FROM {}.schema_version", schema(url)));
    version.parse().expect("a number")
}

fn version_of_today() -> u32 {
    let url = shared().url();
    drop(open(&url));
    version_of(&url)
}

fn bench(url: &str, clock: Arc<TestClock>) -> Bench {
    let url = PostgresUrl::parse(url).expect("a URL");
    let store = PostgresStore::open(&url, Some(clock.clone())).expect("the store opens");
    Bench::new(Arc::new(store), clock, ())
}

/// A command of PostgreSQL's for the database of tests.
fn command(program: &str) -> Command {
    let mut command = Command::new(programs().join(program));
    command.args(["-U", "postgres", "-h", "127.0.0.1", "-d", "tests", "-p", &shared().port().to_string()]);
    command
}

/// The fixture of today's schema is what one would be restored from tomorrow.
#[test]
fn a_fixture_of_this_schema_is_restored_as_it_was() {
    let url = shared().url();
    let bench = bench(&url, TestClock::new());
    furnish(&bench);
    assert_store_is_consistent(&*bench.store);
    drop(bench);
    let fixture = dump(&url);
    write_if_asked(&fixtures(), version_of(&url), &fixture);

    let restored = shared().url();
    restore(&fixture, &restored, "the fixture of this schema");
    assert_eq!(version_of(&restored), version_of(&url));
    let before = portrait(&url);
    assert_eq!(portrait(&restored), before);
    is_migrated_and_goes_on(&restored, &before, "the fixture of this schema");
}

/// A schema as SQL text, with `@` in the place of its name.
fn dump(url: &str) -> String {
    let dumped = command("pg_dump")
        .args(["--no-owner", "--no-privileges", "--inserts", "--schema", schema(url)])
        .output()
        .expect("pg_dump runs");
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    let dump = String::from_utf8(dumped.stdout).expect("a text");
    // What other versions of the server may not know, and need not.
    let is_needed = |line: &&str| {
        let is_setting = line.starts_with("SET ") || line.starts_with("SELECT pg_catalog.set_config");
        !(line.is_empty() || line.starts_with("--") || line.starts_with('\\') || is_setting)
    };
    let lines: Vec<_> = dump.lines().filter(is_needed).collect();
    lines.join("\n").replace(schema(url), "@") + "\n"
}

/// Makes a schema of a fixture.
fn restore(fixture: &str, url: &str, what: &str) {
    let text = fixture.replace('@', schema(url));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fixture.sql");
    std::fs::write(&file, text).expect("a file");
    let restored = command("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f"])
        .arg(&file)
        .output()
        .expect("psql runs");
    assert!(restored.status.success(), "{what}: {}", String::from_utf8_lossy(&restored.stderr));
}

fn portrait(url: &str) -> Portrait {
    let schema = schema(url);
    let query = format!(
        "SELECT json_agg(json_build_array(i.id, i.status, i.attempt, i.moves)) FROM {schema}.invocation i"
    );
    let rows: Vec<(uuid::Uuid, String, u32, u32)> =
        serde_json::from_str(&shared().psql("tests", &query)).expect("rows");
    let outcome = |id: &uuid::Uuid| {
        let query = format!(
            "SELECT coalesce(o.value, o.failure) FROM {schema}.outcome o \
             JOIN {schema}.invocation i ON i.seq = o.seq WHERE i.id = '{id}'"
        );
        Some(shared().psql("tests", &query)).filter(|text| !text.is_empty())
    };
    rows.into_iter()
        .map(|(id, status, attempt, moves)| {
            let outcome = outcome(&id);
            (id.to_string().parse().expect("an id"), (status, attempt, moves, outcome))
        })
        .collect()
}

#[test]
fn every_older_schema_has_a_fixture() {
    for version in 1..version_of_today() {
        let fixture = fixtures().join(format!("{version:04}.sql"));
        assert!(fixture.exists(), "{fixture:?} is missing: `cargo xtask fixtures` before the migration");
    }
}

#[test]
fn an_older_store_is_migrated_and_its_work_goes_on() {
    let mut found = 0;
    for entry in std::fs::read_dir(fixtures()).expect("fixtures") {
        let fixture = entry.expect("an entry").path();
        found += 1;
        let what = format!("{fixture:?}");
        let url = shared().url();
        restore(&std::fs::read_to_string(&fixture).expect("a fixture"), &url, &what);
        is_migrated_and_goes_on(&url, &portrait(&url), &what);
    }
    assert!(found > 0, "there is no fixture");
}

#[track_caller]
fn is_migrated_and_goes_on(url: &str, before: &Portrait, what: &str) {
    let clock = TestClock::new();
    clock.advance(Duration::from_secs(60));
    let bench = bench(url, clock);
    assert_eq!(version_of(url), version_of_today(), "{what}");
    is_whole_and_goes_on(&bench, before, what);
}
