//! The versions of the schema.

/// Each takes a database from the version that is its index to the next one.
/// Released migrations never change.
pub(super) const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/0001_invocations.sql"),
    include_str!("migrations/0002_components.sql"),
    include_str!("migrations/0003_usage.sql"),
    include_str!("migrations/0004_checks.sql"),
    include_str!("migrations/0005_host_memory.sql"),
    include_str!("migrations/0006_plugins_and_fairness.sql"),
    include_str!("migrations/0007_names_and_payers.sql"),
];

/// The version that this program writes.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// A migration without its comments: they are no place for the name of a schema, and the server needs none.
pub(super) fn without_comments(migration: &str) -> String {
    let code = migration.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code).trim_end());
    code.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

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

    #[test]
    fn a_migration_has_the_schema_nowhere_but_before_its_names() {
        for migration in MIGRATIONS {
            let code = without_comments(migration);
            assert!(!code.contains("--") && !code.contains("/*"), "{code}");
            for line in code.lines() {
                let names = line.split('@').skip(1);
                let is_name = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
                assert!(names.clone().all(is_name), "{line}");
                // Not within a text either.
                let before = line.split_once('@').map(|(before, _)| before).unwrap_or_default();
                assert_eq!(before.matches('\'').count() % 2, 0, "{line}");
            }
        }
        // Within a text a comment would be no comment.
        for line in MIGRATIONS.iter().flat_map(|migration| migration.lines()) {
            let before = line.split_once("--").map(|(before, _)| before).unwrap_or_default();
            assert_eq!(before.matches('\'').count() % 2, 0, "{line}");
        }
    }
}
