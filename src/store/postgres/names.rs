//! Task names and component digests, written once and referred to by a number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use crate::model::ComponentDigest;

/// The numbers that this process has met. Numbers never change once committed;
/// after a transaction that was not, [`Names::forget`] all.
#[derive(Default)]
pub(super) struct Names {
    tasks: HashMap<Arc<str>, i64>,
    components: HashMap<ComponentDigest, i64>,
}

impl Names {
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Sees to it that tasks and components have numbers, which are drawn in this
    /// order.
    pub(super) async fn learn<'n>(
        &mut self,
        link: &Link,
        tasks: impl Iterator<Item = &'n Arc<str>>,
        digests: impl Iterator<Item = ComponentDigest>,
    ) -> Result<(), Fault> {
        let mut seen = HashSet::new();
        let tasks = tasks.map(|task| &**task);
        let tasks: Vec<&str> =
            tasks.filter(|task| !self.tasks.contains_key(*task) && seen.insert(*task)).collect();
        let mut seen = HashSet::new();
        let digests: Vec<_> =
            digests.filter(|digest| !self.components.contains_key(digest) && seen.insert(*digest)).collect();
        if !tasks.is_empty() {
            let known = || Ask::new("SELECT name, key FROM @task WHERE name = ANY($1)").with(tasks.clone());
            let mut rows = link.ask_one(known()).await?;
            if rows.len() < tasks.len() {
                let insert = "INSERT INTO @task (name) SELECT unnest($1) ON CONFLICT DO NOTHING";
                let known_now: HashSet<Arc<str>> =
                    rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
                let new: Vec<&str> =
                    tasks.iter().copied().filter(|task| !known_now.contains(*task)).collect();
                link.ask_one(Ask::new(insert).with(new)).await?;
                rows = link.ask_one(known()).await?;
            }
            for row in rows {
                self.tasks.insert(column(&row, 0)?, column(&row, 1)?);
            }
        }
        if !digests.is_empty() {
            let digests: Vec<&[u8]> = digests.iter().map(|digest| &digest.as_bytes()[..]).collect();
            let known = || {
                Ask::new("SELECT digest, key FROM @component WHERE digest = ANY($1)").with(digests.clone())
            };
            let mut rows = link.ask_one(known()).await?;
            if rows.len() < digests.len() {
                let insert = "INSERT INTO @component (digest) SELECT unnest($1) ON CONFLICT DO NOTHING";
                link.ask_one(Ask::new(insert).with(digests.clone())).await?;
                rows = link.ask_one(known()).await?;
            }
            for row in rows {
                self.components.insert(column(&row, 0)?, column(&row, 1)?);
            }
        }
        Ok(())
    }

    /// The number of a task that was learnt.
    pub(super) fn task(&self, name: &str) -> Result<i64, Fault> {
        let key = self.tasks.get(name).copied();
        key.ok_or_else(|| Fault::Damaged(format!("the task `{name}` has no number")))
    }

    /// The number of a component that was learnt.
    pub(super) fn component(&self, digest: ComponentDigest) -> Result<i64, Fault> {
        let key = self.components.get(&digest).copied();
        key.ok_or_else(|| Fault::Damaged(format!("the component `{digest}` has no number")))
    }
}
