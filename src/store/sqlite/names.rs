//! Task names and component digests, written once and referred to by a number.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::sql::{Sql, column};
use crate::model::{ComponentDigest, TaskId};

/// The numbers that this process has met. Numbers never change once committed;
/// after a transaction that was not, [`Names::forget`] all.
#[derive(Default)]
pub(super) struct Names {
    task_keys: HashMap<Arc<str>, i64>,
    tasks: HashMap<i64, Arc<str>>,
    component_keys: HashMap<ComponentDigest, i64>,
    components: HashMap<i64, ComponentDigest>,
}

impl Names {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The number of a task, drawn now if it has none.
    pub(super) fn task_key(&mut self, sql: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(key) = self.task_keys.get(name) {
            return Ok(*key);
        }
        let known = sql
            .prepare_cached("SELECT key FROM task WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        let key = match known {
            Some(key) => key,
            None => sql.prepare_cached("INSERT INTO task (name) VALUES (?1)")?.insert([name])?,
        };
        self.task_keys.insert(name.clone(), key);
        self.tasks.insert(key, name.clone());
        Ok(key)
    }

    /// The task with a number.
    pub(super) fn task(&mut self, sql: &Connection, key: i64) -> rusqlite::Result<&Arc<str>> {
        // Another process may have adopted an id that names no component since it was read here.
        let is_known = self.tasks.get(&key).is_some_and(|name| TaskId::split(name).0.is_some());
        // Not an entry: it would need the key's slot while the other map changes.
        if !is_known {
            let name: Arc<str> = sql
                .prepare_cached("SELECT name FROM task WHERE key = ?1")?
                .query_row([key], |row| row.get(0))?;
            self.task_keys.insert(name.clone(), key);
            self.tasks.insert(key, name);
        }
        self.tasks.get(&key).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }

    /// The number of a component, drawn now if it has none.
    pub(super) fn component_key(
        &mut self,
        sql: &Connection,
        digest: ComponentDigest,
    ) -> rusqlite::Result<i64> {
        if let Some(key) = self.component_keys.get(&digest) {
            return Ok(*key);
        }
        let known = sql
            .prepare_cached("SELECT key FROM component WHERE digest = ?1")?
            .query_row([Sql(digest)], |row| row.get(0))
            .optional()?;
        let key = match known {
            Some(key) => key,
            None => {
                sql.prepare_cached("INSERT INTO component (digest) VALUES (?1)")?.insert([Sql(digest)])?
            }
        };
        self.component_keys.insert(digest, key);
        self.components.insert(key, digest);
        Ok(key)
    }

    /// The component with a number.
    pub(super) fn component(&mut self, sql: &Connection, key: i64) -> rusqlite::Result<ComponentDigest> {
        if let Some(digest) = self.components.get(&key) {
            return Ok(*digest);
        }
        let digest = sql
            .prepare_cached("SELECT digest FROM component WHERE key = ?1")?
            .query_row([key], |row| column(row, 0))?;
        self.component_keys.insert(digest, key);
        self.components.insert(key, digest);
        Ok(digest)
    }
}
