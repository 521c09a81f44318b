//! Deadlines, and what is removed at last.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use const_format::formatcp;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{PRESENT, column, read_heads, uuids};
use super::work::Work;
use crate::model::{DEFAULT_QUEUE, Held, IdMap, IdSet, InvocationId, Status, UnixMicros};
use crate::store::columns::{HEAD_COLUMNS, OLD_COLUMNS, read_old};
use crate::store::decide::{Account, Ancestry, Old, Walk};
use crate::store::value::Fields;
use crate::store::{Prune, rules};

/// Asks whether anything is past its deadline, by the clock `now` or the server's:
/// a row if so.
pub(super) fn look_for_overdue(now: Option<i64>) -> Ask<'static> {
    Ask::new(formatcp!(
        "SELECT 1 FROM @invocation WHERE deadline IS NOT NULL AND place IS NOT NULL \
         AND deadline <= {PRESENT} LIMIT 1"
    ))
    .with(now)
}

/// The relatives of what may be removed.
#[derive(Default)]
struct Family {
    with_children: IdSet,
    /// The parent, and whether itself is not final.
    above: IdMap<(Option<InvocationId>, bool)>,
}

impl Ancestry for Family {
    type Error = Fault;

    fn above(&mut self, id: InvocationId) -> Result<Option<(Option<InvocationId>, bool)>, Fault> {
        Ok(self.above.get(&id).copied())
    }

    fn has_unfinished_children(&mut self, id: InvocationId) -> Result<bool, Fault> {
        Ok(self.with_children.contains(&id))
    }
}

impl Work<'_> {
    /// Ends what is past its deadline, oldest deadline first.
    pub(super) async fn expire(&mut self) -> Result<(), Fault> {
        let mut left = rules::EXPIRED_AT_ONCE;
        while self.state.may_expire && left > 0 {
            // What is locked, its owner is about to end, perhaps; if not, the next
            // commit finds it. No claim takes it meanwhile.
            let ask = Ask::new(formatcp!(
                "SELECT {HEAD_COLUMNS} FROM @invocation i WHERE i.deadline IS NOT NULL \
                 AND i.place IS NOT NULL \
                 AND i.deadline <= $1 ORDER BY i.deadline, i.seq LIMIT $2 FOR UPDATE SKIP LOCKED"
            ));
            let ask = ask.with(self.state.now.0).with(rules::EXPIRED_AT_ONCE as i64);
            let rows = self.write_and_ask(vec![ask]).await?.pop().unwrap_or_default();
            let heads = read_heads(&rows)?;
            let overdue: Vec<_> = heads.iter().map(|head| head.id).collect();
            self.load(heads);
            self.lock_descendants(self.state.parents_among(overdue.iter().copied())).await?;
            self.state.may_expire = !overdue.is_empty();
            self.state.expire(&overdue, &mut left)?;
        }
        self.state.receipt.more = left == 0;
        Ok(())
    }

    /// Removes what is final and old.
    pub(super) async fn prune(&mut self, prune: &Prune) -> Result<(), Fault> {
        let asks = self.write_all()?;
        self.link.ask(asks).await?;
        let mut walk = Walk::new(prune, self.task_keys(prune).await?);
        while let Some(keep) = walk.keep() {
            let there_are =
                if keep.depends_on_number() { self.counted(&walk, keep.status).await? } else { 0 };
            let mut old = self.final_since(keep.status, walk.after(), walk.limit()).await?;
            let is_all = walk.choose(keep, there_are, self.state.now, &mut old);
            let mut family = self.family(&old).await?;
            let (gone, is_tired) = walk.pass(old, &mut family)?;
            let removed = match walk.removes() {
                true => self.remove(gone.iter().map(|one| one.seq).collect(), keep.status).await?,
                false => gone.len(),
            };
            walk.note_removed(removed, is_all && !is_tired);
            if !is_all || is_tired {
                break;
            }
        }
        self.state.receipt.pruned = Some(walk.end());
        Ok(())
    }

    /// Finds the numbers of the tasks that a prune names, if it names any.
    async fn task_keys(&self, prune: &Prune) -> Result<Option<HashSet<i64>>, Fault> {
        let Some(tasks) = &prune.tasks else { return Ok(None) };
        let names: Vec<_> = tasks.iter().map(ToString::to_string).collect();
        let ask = Ask::new("SELECT key FROM @task WHERE name = ANY($1)");
        let rows = self.link.ask_one(ask.with(names)).await?;
        rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>().map(Some)
    }

    /// How many have a status, of the tasks that a prune is about.
    async fn counted(&self, walk: &Walk<'_>, status: Status) -> Result<i64, Fault> {
        let ask = Ask::new("SELECT task, sum(n)::bigint FROM @tally WHERE status = $1 GROUP BY task");
        let mut sum = self.state.moves.counted(status, |task| walk.is_about(task));
        for row in &self.link.ask_one(ask.with(status.as_str())).await? {
            let (task, n): (i64, i64) = (column(row, 0)?, column(row, 1)?);
            sum += if walk.is_about(task) { n } else { 0 };
        }
        Ok(sum)
    }

    /// The first of a status to become final after `last` did.
    async fn final_since(
        &self,
        status: Status,
        (at, seq): (UnixMicros, i64),
        limit: usize,
    ) -> Result<Vec<Old>, Fault> {
        let ask = Ask::new(formatcp!(
            "SELECT {OLD_COLUMNS} FROM @invocation \
             WHERE place IS NULL AND status = $1 AND (finished_at, seq) > ($2, $3) \
             ORDER BY finished_at, seq LIMIT $4"
        ));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.link.ask_one(ask.with(status.as_str()).with(at.0).with(seq).with(limit)).await?;
        rows.iter().map(|row| read_old(&mut Fields::new(row))).collect()
    }

    /// Loads the ancestors and children of invocations that may be removed.
    async fn family(&self, old: &[Old]) -> Result<Family, Fault> {
        if old.is_empty() {
            return Ok(Family::default());
        }
        let children = Ask::new(
            "SELECT DISTINCT parent FROM @invocation \
             WHERE parent = ANY($1) AND detached AND place IS NOT NULL",
        );
        // Every ancestor once, however many of these are below it; generation by generation, so that the bound leaves
        // out none that the walk looks at.
        let ancestors = Ask::new(
            "WITH RECURSIVE above(id) AS ( \
                 SELECT unnest($1) \
                 UNION \
                 SELECT i.parent FROM above a CROSS JOIN LATERAL ( \
                     SELECT parent FROM @invocation WHERE id = a.id OFFSET 0) i WHERE i.parent IS NOT NULL) \
             SELECT i.id, i.parent, i.place IS NOT NULL \
             FROM (SELECT id FROM above LIMIT $2) a JOIN @invocation i ON i.id = ANY(ARRAY[a.id])",
        );
        let mut parents: Vec<_> = old.iter().filter_map(|one| one.parent).collect();
        parents.sort_unstable();
        parents.dedup();
        let ids = uuids(old.iter().map(|one| &one.id));
        let most = parents.len().saturating_mul(rules::GENERATIONS_TO_KEEP_FOR + 1);
        let ancestors = ancestors.with(uuids(&parents)).with(i64::try_from(most).unwrap_or(i64::MAX));
        let mut answers = self.link.ask(vec![children.with(ids), ancestors]).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let with_children = next().iter().map(|row| column(row, 0)).collect::<Result<IdSet, Fault>>()?;
        let mut above = IdMap::default();
        for row in next() {
            let (id, parent, is_unfinished): (InvocationId, Option<InvocationId>, bool) =
                (column(&row, 0)?, column(&row, 1)?, column(&row, 2)?);
            above.insert(id, (parent, is_unfinished));
        }
        Ok(Family { with_children, above })
    }

    /// Removes what nobody else is removing; how many that were.
    async fn remove(&mut self, seqs: Vec<i64>, status: Status) -> Result<usize, Fault> {
        if seqs.is_empty() {
            return Ok(0);
        }
        let ask = Ask::new(
            "DELETE FROM @invocation WHERE seq = ANY(ARRAY( \
                 SELECT seq FROM @invocation WHERE seq = ANY($1) AND coalesce(place, '') = '' \
                 ORDER BY seq FOR UPDATE SKIP LOCKED)) RETURNING seq, task, fairness_key, payer, unkeyed",
        );
        let rows = self.link.ask_one(ask.with(seqs)).await?;
        let mut gone = Vec::with_capacity(rows.len());
        let mut holders = HashMap::with_capacity(rows.len());
        for row in &rows {
            let (seq, task, key): (i64, i64, i64) = (column(row, 0)?, column(row, 1)?, column(row, 2)?);
            let (payer, unkeyed): (Option<Arc<str>>, bool) = (column(row, 3)?, column(row, 4)?);
            gone.push(seq);
            holders.insert(seq, (task, key, payer, unkeyed));
            self.state.moves.count(task, status, -1);
            self.state.fairness.release(key);
        }
        let deletes = [
            "DELETE FROM @arguments WHERE seq = ANY($1) RETURNING seq, octet_length(json)::bigint",
            "DELETE FROM @outcome WHERE seq = ANY($1) \
             RETURNING seq, coalesce(octet_length(failure), octet_length(value))::bigint",
            "DELETE FROM @history WHERE seq = ANY($1)",
            "DELETE FROM @log WHERE seq = ANY($1)",
        ];
        let answers = self.link.ask(deletes.map(|delete| Ask::new(delete).with(gone.clone())).into()).await?;
        for row in answers.iter().flatten() {
            let (seq, bytes): (i64, i64) = (column(row, 0)?, column(row, 1)?);
            if let Some((task, key, payer, unkeyed)) = holders.get(&seq) {
                let (payer, unkeyed) = (payer.as_ref(), *unkeyed);
                let account = Account { task: *task, status, fairness_key: *key, payer, unkeyed };
                let change = Held { unfinished: 0, bytes: -bytes };
                account.hold(change, &mut self.state.moves, &mut self.state.quotas);
            }
        }
        Ok(gone.len())
    }

    /// Forgets the names of tasks that nothing refers to, of those behind `after`. Nobody else uses the number of a
    /// name, or folds the tally, meanwhile; what other transactions have not committed is of tasks that are counted.
    pub(super) async fn forget_names(&mut self, after: &str) -> Result<(), Fault> {
        // Without a rule a row says nothing but the name.
        let names = Ask::new(formatcp!(
            "SELECT key, name, (queue IS NULL OR queue = '{DEFAULT_QUEUE}') AND rule_by IS NULL \
                 AND concurrency IS NULL AND rate IS NULL \
             FROM @task WHERE name > $1 ORDER BY name LIMIT $2"
        ));
        let limit = rules::NAMES_LOOKED_AT + 1;
        let rows = self.link.ask_one(names.with(after.to_owned()).with(limit as i64)).await?;
        let looked_at = &rows[..rows.len().min(rules::NAMES_LOOKED_AT)];
        if rows.len() == limit {
            self.state.receipt.names_after = looked_at.last().map(|row| column(row, 1)).transpose()?;
        }
        let mut unused = Vec::new();
        for row in looked_at {
            let (task, says_nothing): (i64, bool) = (column(row, 0)?, column(row, 2)?);
            if says_nothing && !self.state.moves.is_about(task) {
                unused.push(task);
            }
        }
        if unused.is_empty() {
            return Ok(());
        }
        let used = Ask::new(
            "SELECT task FROM @tally WHERE task = ANY($1) GROUP BY task HAVING sum(n) <> 0 \
             UNION SELECT task FROM @lane WHERE task = ANY($1) UNION SELECT task FROM @start WHERE task = ANY($1)",
        );
        for row in self.link.ask_one(used.with(unused.clone())).await? {
            let task: i64 = column(&row, 0)?;
            unused.retain(|one| *one != task);
        }
        if !unused.is_empty() {
            let tally = Ask::new("DELETE FROM @tally WHERE task = ANY($1)").with(unused.clone());
            let names = Ask::new("DELETE FROM @task WHERE key = ANY($1)").with(unused);
            let told = Ask::new("UPDATE @deployment SET forgotten = forgotten + 1");
            self.link.ask(vec![tally, names, told]).await?;
            self.names.forget();
        }
        Ok(())
    }
}
