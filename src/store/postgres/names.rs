//! Task names and component digests, written once and referred to by a number.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{Arg, column};
use crate::model::ComponentDigest;
use crate::store::rules::NAMES_KEPT;
use crate::store::value::Stored;

/// The numbers that this process has met. Numbers do not change once committed, unless names are forgotten;
/// after a transaction that was not, [`Names::forget`] all.
#[derive(Default)]
pub(super) struct Names {
    tasks: HashMap<Arc<str>, i64>,
    components: HashMap<ComponentDigest, i64>,
    /// How often the store had forgotten names when these were met.
    forgotten: i64,
}

impl Names {
    pub(super) fn forget(&mut self) {
        self.tasks.clear();
        self.components.clear();
    }

    /// Forgets all if some process has had the store forget names since.
    pub(super) fn check(&mut self, forgotten: i64) {
        if std::mem::replace(&mut self.forgotten, forgotten) != forgotten {
            self.forget();
        }
    }

    /// Sees to it that tasks and components have numbers, which are drawn in this order.
    pub(super) async fn learn<'n>(
        &mut self,
        link: &Link,
        tasks: impl Iterator<Item = &'n Arc<str>>,
        digests: impl Iterator<Item = &'n ComponentDigest>,
    ) -> Result<(), Fault> {
        // There may be far more names than a process needs.
        if self.tasks.len() >= NAMES_KEPT || self.components.len() >= NAMES_KEPT {
            self.forget();
        }
        let known = "SELECT name, key FROM @task WHERE name = ANY($1)";
        let insert = "INSERT INTO @task (name) SELECT unnest($1) ON CONFLICT DO NOTHING";
        learn(link, &mut self.tasks, tasks, [known, insert], |task| task.to_string()).await?;
        let known = "SELECT digest, key FROM @component WHERE digest = ANY($1)";
        let insert = "INSERT INTO @component (digest) SELECT unnest($1) ON CONFLICT DO NOTHING";
        learn(link, &mut self.components, digests, [known, insert], |digest| digest.as_bytes().to_vec()).await
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

/// Reads the numbers of names, as `bind` makes arguments of them, and draws those that are missing.
async fn learn<'n, K: Stored + Eq + Hash + 'n, N: Arg + Sync + Send>(
    link: &Link,
    numbers: &mut HashMap<K, i64>,
    names: impl Iterator<Item = &'n K>,
    [known, insert]: [&'static str; 2],
    bind: fn(&K) -> N,
) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    let mut new: Vec<&K> = names.filter(|name| !numbers.contains_key(*name) && seen.insert(*name)).collect();
    let ask = |sql, names: &[&K]| Ask::new(sql).with(names.iter().map(|name| bind(name)).collect::<Vec<N>>());
    let mut asks = vec![ask(known, &new)];
    while !new.is_empty() {
        for row in link.ask(asks).await?.pop().unwrap_or_default() {
            numbers.insert(column(&row, 0)?, column(&row, 1)?);
        }
        new.retain(|name| !numbers.contains_key(*name));
        asks = vec![ask(insert, &new), ask(known, &new)];
    }
    Ok(())
}
