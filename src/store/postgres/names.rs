//! Task names and component digests, written once and referred to by a number.

use std::collections::HashMap;
use std::sync::Arc;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use crate::model::ComponentDigest;
use crate::store::Batch;

/// The numbers that this process has met. A number never changes: it is
/// committed before anything refers to it.
#[derive(Default)]
pub(super) struct Names {
    tasks: HashMap<Arc<str>, i64>,
    components: HashMap<ComponentDigest, i64>,
}

impl Names {
    /// Sees to it that everything that `batch` names has a number. Not in the
    /// batch's transaction: two that draw numbers for the same names in different
    /// order would wait for each other.
    pub(super) async fn learn(&mut self, link: &Link, batch: &Batch) -> Result<(), Fault> {
        let submits = batch.submits.iter();
        let mut tasks: Vec<&str> =
            submits.clone().map(|new| &*new.task).filter(|task| !self.tasks.contains_key(*task)).collect();
        let digests = submits.map(|new| new.component_digest);
        let digests = digests.chain(batch.reports.iter().filter_map(|report| report.component_digest));
        let mut digests: Vec<_> = digests.filter(|digest| !self.components.contains_key(digest)).collect();
        tasks.sort_unstable();
        tasks.dedup();
        digests.sort_unstable();
        digests.dedup();
        if !tasks.is_empty() {
            let known = || Ask::new("SELECT name, key FROM @task WHERE name = ANY($1)").with(tasks.clone());
            let mut rows = link.ask_one(known()).await?;
            if rows.len() < tasks.len() {
                let insert = "INSERT INTO @task (name) SELECT unnest($1) ON CONFLICT DO NOTHING";
                link.ask_one(Ask::new(insert).with(tasks.clone())).await?;
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
