//! The versions of the schema.

use rusqlite::Connection;

use super::fault::Fault;

/// Marks a database file as ours: "rwrs".
pub(super) const APPLICATION_ID: i32 = 0x7277_7273;

/// Each takes a database from the version that is its index to the next one.
/// Released migrations never change.
const MIGRATIONS: [&str; 9] = [
    include_str!("migrations/0001_invocations.sql"),
    include_str!("migrations/0002_deadlines_and_retention.sql"),
    include_str!("migrations/0003_rules.sql"),
    include_str!("migrations/0004_components.sql"),
    include_str!("migrations/0005_usage.sql"),
    include_str!("migrations/0006_checks.sql"),
    include_str!("migrations/0007_host_memory.sql"),
    include_str!("migrations/0008_plugins_and_fairness.sql"),
    include_str!("migrations/0009_names_and_payers.sql"),
];

/// The version that this program writes.
pub(super) const VERSION: i32 = MIGRATIONS.len() as i32;

/// The tables of [`VERSION`], each with the name of its key.
pub(super) const TABLES: [(&str, &str); 24] = [
    ("task", "rowid"),
    ("component", "rowid"),
    ("pushed", "rowid"),
    ("component_bytes", "rowid"),
    ("deployment", "rowid"),
    ("invocation", "rowid"),
    ("arguments", "rowid"),
    ("outcome", "rowid"),
    ("history", "1"),
    ("log", "rowid"),
    ("runner", "1"),
    ("revoked", "1"),
    ("cascade", "rowid"),
    ("tally", "1"),
    ("lane", "1"),
    ("start", "1"),
    ("paused", "1"),
    ("fairness_key", "rowid"),
    ("fairness_weight", "1"),
    ("fairness_clock", "rowid"),
    ("quota", "1"),
    ("bucket", "1"),
    ("paid", "1"),
    ("usage", "1"),
];

/// Brings a database from `version` to [`VERSION`], within the caller's
/// transaction.
pub(super) fn migrate(sql: &Connection, version: i32) -> rusqlite::Result<()> {
    let done = usize::try_from(version).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        sql.execute_batch(migration)?;
    }
    sql.pragma_update(None, "application_id", APPLICATION_ID)?;
    sql.pragma_update(None, "user_version", VERSION)
}

/// Looks, within a transaction, whether the schema is still ours: a newer program
/// may have migrated it since this one opened the file. A microsecond, because
/// the number stands on the first page.
pub(super) fn check(sql: &Connection) -> Result<(), Fault> {
    match sql.prepare_cached("PRAGMA user_version")?.query_row([], |row| row.get(0))? {
        VERSION => Ok(()),
        found => Err(Fault::OtherVersion { found, known: VERSION }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_listed() {
        let sql = Connection::open_in_memory().expect("a database");
        migrate(&sql, 0).expect("migrated");
        let mut tables = sql
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
            .expect("SQL");
        let tables = tables.query_map([], |row| row.get(0)).expect("rows");
        let mut tables = tables.collect::<rusqlite::Result<Vec<String>>>().expect("names");
        tables.sort_unstable();
        let mut listed = TABLES.map(|(table, _)| table);
        listed.sort_unstable();
        assert_eq!(tables, listed);
    }
}
