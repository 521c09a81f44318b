//! Task names and component digests, written once and referred to by a number.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::sql::column;
use crate::model::{ComponentDigest, TaskId};
use crate::store::rules::NAMES_KEPT;
use crate::store::value::{Stored, Value};

/// The numbers that this process has met. Numbers do not change once committed, unless names are forgotten;
/// after a transaction that was not, [`Names::forget`] all.
#[derive(Default)]
pub(super) struct Names {
    tasks: Numbers<Arc<str>>,
    components: Numbers<ComponentDigest>,
    /// How often the store had forgotten names when these were met.
    forgotten: i64,
}

impl Names {
    pub(super) fn forget(&mut self) {
        self.tasks = Numbers::default();
        self.components = Numbers::default();
    }

    /// Forgets all if some process has had the store forget names since: their numbers may be those of others now.
    pub(super) fn check(&mut self, sql: &Connection) -> rusqlite::Result<()> {
        let forgotten =
            sql.prepare_cached("SELECT forgotten FROM deployment")?.query_row([], |row| row.get(0))?;
        if std::mem::replace(&mut self.forgotten, forgotten) != forgotten {
            self.forget();
        }
        Ok(())
    }

    /// The number of a task, drawn now if it has none.
    pub(super) fn task_key(&mut self, sql: &Connection, name: &Arc<str>) -> rusqlite::Result<i64> {
        let select = "SELECT key FROM task WHERE name = ?1";
        self.tasks.key(sql, name, select, "INSERT INTO task (name) VALUES (?1)")
    }

    /// The number of a task, if it has one.
    pub(super) fn known_task(&self, sql: &Connection, name: &Arc<str>) -> rusqlite::Result<Option<i64>> {
        if let Some(key) = self.tasks.keys.get(name) {
            return Ok(Some(*key));
        }
        sql.prepare_cached("SELECT key FROM task WHERE name = ?1")?
            .query_row([Value::from(name)], |row| row.get(0))
            .optional()
    }

    /// The task with a number.
    pub(super) fn task(&mut self, sql: &Connection, key: i64) -> rusqlite::Result<&Arc<str>> {
        // Another process may have adopted an id that names no component since it was read here.
        if self.tasks.names.get(&key).is_some_and(|name| TaskId::split(name).0.is_none()) {
            self.tasks.names.remove(&key);
        }
        self.tasks.name(sql, key, "SELECT name FROM task WHERE key = ?1")
    }

    /// The number of a component, drawn now if it has none.
    pub(super) fn component_key(
        &mut self,
        sql: &Connection,
        digest: ComponentDigest,
    ) -> rusqlite::Result<i64> {
        let select = "SELECT key FROM component WHERE digest = ?1";
        self.components.key(sql, &digest, select, "INSERT INTO component (digest) VALUES (?1)")
    }

    /// The component with a number.
    pub(super) fn component(&mut self, sql: &Connection, key: i64) -> rusqlite::Result<ComponentDigest> {
        self.components.name(sql, key, "SELECT digest FROM component WHERE key = ?1").copied()
    }
}

/// Numbers and what they stand for.
struct Numbers<K> {
    keys: HashMap<K, i64>,
    names: HashMap<i64, K>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { keys: HashMap::new(), names: HashMap::new() }
    }
}

impl<K: Stored + Clone + Eq + Hash> Numbers<K>
where
    for<'v> Value<'v>: From<&'v K>,
{
    fn key(&mut self, sql: &Connection, name: &K, select: &str, insert: &str) -> rusqlite::Result<i64> {
        if let Some(key) = self.keys.get(name) {
            return Ok(*key);
        }
        let known =
            sql.prepare_cached(select)?.query_row([Value::from(name)], |row| row.get(0)).optional()?;
        let key = match known {
            Some(key) => key,
            None => sql.prepare_cached(insert)?.insert([Value::from(name)])?,
        };
        self.keep(name.clone(), key);
        Ok(key)
    }

    /// Keeps a number. There may be far more names than a process needs: with too many it starts anew.
    fn keep(&mut self, name: K, key: i64) {
        if self.names.len() >= NAMES_KEPT {
            *self = Self::default();
        }
        self.keys.insert(name.clone(), key);
        self.names.insert(key, name);
    }

    fn name(&mut self, sql: &Connection, key: i64, select: &str) -> rusqlite::Result<&K> {
        // Not an entry: it would need the key's slot while the other map changes.
        if !self.names.contains_key(&key) {
            let name: K = sql.prepare_cached(select)?.query_row([key], |row| column(row, 0))?;
            self.keep(name, key);
        }
        self.names.get(&key).ok_or(rusqlite::Error::QueryReturnedNoRows)
    }
}
