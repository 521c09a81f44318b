//! The versions of the schema.

/// Each takes a database from the version that is its index to the next one.
/// Released migrations never change.
pub(super) const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/0001_invocations.sql"),
    include_str!("migrations/0002_components.sql"),
    include_str!("migrations/0003_usage.sql"),
    include_str!("migrations/0004_checks.sql"),
    include_str!("migrations/0005_host_memory.sql"),
    include_str!("migrations/0006_cascade_and_rules.sql"),
];

/// The version that this program writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// A statement with the name of a schema in the place of each `@`, which stands
/// before every name of ours and nowhere else.
pub(super) fn in_schema(statement: &str, quoted_schema: &str) -> String {
    statement.replace('@', &format!("{quoted_schema}."))
}

/// A name as SQL takes it, whatever is in it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gets_the_schema() {
        assert_eq!(
            in_schema("SELECT 1 FROM @task JOIN @log l", &quote("a\"b")),
            "SELECT 1 FROM \"a\"\"b\".task JOIN \"a\"\"b\".log l"
        );
    }
}
