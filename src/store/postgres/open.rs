//! Opening: looking before touching, creating, migrating.

use std::time::Instant;

use super::engine::Connector;
use super::fault::{self, Fault};
use super::link::{Ask, Link};
use super::schema::{MIGRATIONS, VERSION, in_schema, without_comments};
use super::sql::column;
use super::wait::wait;

/// PostgreSQL 14.
const OLDEST_SERVER: i64 = 140_000;

/// Sees to it that the schema is there and of this program's version. `false` if
/// it is not there and is not to be made.
pub(super) fn prepare(
    connector: &Connector,
    link: &Link,
    migration_lock: i64,
    creates: bool,
    deadline: Instant,
) -> Result<bool, Fault> {
    let prepared = wait(prepare_schema(connector, link, migration_lock, creates), deadline);
    prepared.ok_or(Fault::TimedOut)?
}

async fn prepare_schema(
    connector: &Connector,
    link: &Link,
    migration_lock: i64,
    creates: bool,
) -> Result<bool, Fault> {
    let server = Ask::new(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_version'), \
         current_setting('server_encoding')",
    );
    let rows = link.ask_one(server).await?;
    let row = rows.first().ok_or_else(|| Fault::Damaged("the server has no version".to_owned()))?;
    let (number, name, encoding): (i64, String, String) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    if number < OLDEST_SERVER {
        return Err(Fault::Unusable(format!(
            "{} runs PostgreSQL {name}: version 14 or newer is needed",
            connector.place
        )));
    }
    if encoding != "UTF8" {
        return Err(Fault::Unusable(format!(
            "the database is encoded as {encoding}: create one with `ENCODING 'UTF8'`"
        )));
    }
    match look(connector, link).await? {
        Seen::Nothing { .. } if !creates => Ok(false),
        Seen::Version(VERSION) => Ok(true),
        Seen::Version(version) if version > VERSION => Err(fault::newer(version)),
        Seen::Version(_) | Seen::Nothing { .. } => {
            let migrated = migrate(connector, link, migration_lock).await;
            if let Err(fault) = &migrated
                && !fault.breaks_connection()
            {
                link.ask_one(Ask::simple("ROLLBACK")).await?;
            }
            migrated.map(|()| true)
        }
    }
}

/// The content of a database.
enum Seen {
    /// The schema is missing or empty.
    Nothing { has_schema: bool },
    /// A schema of ours.
    Version(i64),
}

async fn look(connector: &Connector, link: &Link) -> Result<Seen, Fault> {
    let schema = connector.url.schema.as_str();
    let ask = Ask::new(
        "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1), \
         count(*), count(*) FILTER (WHERE relname = 'schema_version') \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v')",
    );
    let rows = link.ask_one(ask.with(schema)).await?;
    let row = rows.first().ok_or_else(|| Fault::Damaged("the catalog is empty".to_owned()))?;
    let (has_schema, tables, versions): (bool, i64, i64) =
        (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    if versions == 0 {
        if tables > 0 {
            return Err(Fault::Unusable(format!(
                "the schema {} belongs to another application: choose one with `schema=NAME`",
                connector.schema
            )));
        }
        return Ok(Seen::Nothing { has_schema });
    }
    let rows = link.ask_one(Ask::new("SELECT version FROM @schema_version")).await?;
    let version = rows.first().map(|row| column(row, 0)).transpose()?;
    version.map(Seen::Version).ok_or_else(|| Fault::Damaged("its schema has no version".to_owned()))
}

/// Brings the schema up to date in one transaction, alone: no batch is under way
/// meanwhile, and one that comes later sees the new version.
async fn migrate(connector: &Connector, link: &Link, migration_lock: i64) -> Result<(), Fault> {
    link.ask(vec![link.begin(), Ask::new("SELECT pg_advisory_xact_lock($1)").with(migration_lock)]).await?;
    // Somebody else may have done it while we waited.
    let done = match look(connector, link).await? {
        Seen::Version(version) if version > VERSION => return Err(fault::newer(version)),
        Seen::Version(version) => version,
        Seen::Nothing { has_schema } => {
            if !has_schema {
                link.run(&format!("CREATE SCHEMA {}", connector.schema)).await?;
            }
            0
        }
    };
    for migration in MIGRATIONS.iter().skip(usize::try_from(done).unwrap_or(0)) {
        link.run(&in_schema(&without_comments(migration), &connector.schema)).await?;
    }
    let ask = Ask::new("UPDATE @schema_version SET version = $1").with(VERSION);
    link.ask(vec![ask, Ask::simple("COMMIT")]).await?;
    Ok(())
}
