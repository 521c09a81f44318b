//! Ids of earlier programs, renamed.

use rusqlite::{Connection, TransactionBehavior, params};

use super::fault::Fault;
use super::schema;
use crate::store::Adoption;

/// Renames a task; whether it did.
pub(super) fn adopt(sql: &mut Connection, adoption: &Adoption) -> Result<bool, Fault> {
    let transaction = sql.transaction_with_behavior(TransactionBehavior::Immediate)?;
    schema::check(&transaction)?;
    let only = adoption.only.as_ref().map(|digests| {
        let digests = digests.iter().map(|digest| format!("\"{digest}\""));
        format!("[{}]", digests.collect::<Vec<_>>().join(", ").replace("sha256:", ""))
    });
    let renamed = transaction.execute(
        "UPDATE task SET name = ?2 WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM task WHERE name = ?2) AND \
         (?3 IS NULL OR NOT EXISTS ( \
             SELECT 1 FROM invocation i CROSS JOIN component c ON c.key = i.component \
             WHERE i.task = task.key AND i.place IS NOT NULL \
             AND lower(hex(c.digest)) NOT IN (SELECT value FROM json_each(?3))))",
        params![adoption.from, adoption.to, only],
    )?;
    if renamed > 0 {
        transaction.execute(
            "UPDATE OR REPLACE paused SET name = ?2 WHERE kind = 'task' AND name = ?1",
            params![adoption.from, adoption.to],
        )?;
    }
    transaction.commit()?;
    Ok(renamed > 0)
}
