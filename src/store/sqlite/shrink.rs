//! Giving the space of removed rows back to the disk.

use rusqlite::{Connection, TransactionBehavior};

use super::fault::Fault;
use super::schema;
use crate::store::Shrunk;

/// The pages that one transaction gives back at most: each costs the move of another page into its place.
const PAGES_AT_ONCE: u64 = 500;

/// The value of `auto_vacuum` of a file whose pages can be given back one by one. A file has it after [`vacuum`]
/// (`docs/design/deadlines-and-retention.md`).
const INCREMENTAL: i64 = 2;

/// Gives free pages at the end of the database back, and moves others to get free ones there.
pub(super) fn shrink(sql: &mut Connection) -> Result<Shrunk, Fault> {
    let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::check(&transaction)?;
    let number = |pragma: &str| number(&transaction, pragma);
    let (free, page_bytes) = (number("freelist_count")?, number("page_size")?);
    let mode: i64 = transaction.query_row("PRAGMA auto_vacuum", [], |row| row.get(0))?;
    if free == 0 || mode != INCREMENTAL {
        return Ok(Shrunk { given_back: 0, stays: free * page_bytes });
    }
    let before = number("page_count")?;
    transaction.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let given_back = before.saturating_sub(number("page_count")?);
    let stays = if given_back == 0 { number("freelist_count")? } else { 0 };
    transaction.commit()?;
    Ok(Shrunk { given_back: given_back * page_bytes, stays: stays * page_bytes })
}

/// Writes the database anew, without free pages, and so that pages can be given back one by one from then on. Returns the
/// bytes by which it is smaller.
pub(super) fn vacuum(sql: &mut Connection) -> Result<u64, Fault> {
    schema::check(sql)?;
    let bytes = |sql: &Connection| -> rusqlite::Result<u64> {
        Ok(number(sql, "page_count")? * number(sql, "page_size")?)
    };
    let before = bytes(sql)?;
    sql.execute_batch(&format!("PRAGMA auto_vacuum = {INCREMENTAL}; VACUUM"))?;
    Ok(before.saturating_sub(bytes(sql)?))
}

fn number(sql: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    let number: i64 = sql.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
    Ok(u64::try_from(number).unwrap_or(0))
}
