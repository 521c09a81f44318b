//! Quotas, and the counts of components and fairness keys.
//!
//! Counts are read without a lock. What transactions add to those of a key is appended, and folded now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use super::work::Work;
use crate::model::{Bucket, Held, HolderKind, Status};
use crate::store::columns::{QUOTA, QUOTA_COLUMNS, quota_values, read_quota};
use crate::store::value::Fields;
use crate::store::{Batch, Holding, NewInvocation, QuotaRule, QuotaSection, RuleOrigin, quota};

/// At most so many rows of full buckets, or of keys without counts, are removed in one transaction.
const FORGOTTEN_AT_ONCE: i64 = 100;

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names: Vec<_> = QUOTA.iter().map(|(name, _)| *name).collect();
    let places: Vec<_> = (1..=names.len()).map(|number| format!("${number}")).collect();
    format!("INSERT INTO @quota ({}) SELECT * FROM unnest({})", names.join(", "), places.join(", "))
});

/// The tasks of components: their numbers, and whose they are.
const TASKS_OF: &str = "SELECT t.key, w.name FROM unnest($1) AS w(name) CROSS JOIN LATERAL ( \
         SELECT key, name FROM @task WHERE split_part(name, '::', 1) = w.name OFFSET 0) t \
     WHERE strpos(t.name, '::') > 0";

/// The counts of the tasks of components, by the numbers of the tasks.
const COUNTS_OF: &str = "SELECT y.task, (coalesce(sum(y.n) FILTER (WHERE y.status = ANY($2)), 0) - sum(y.elsewhere))::bigint, \
         sum(y.bytes)::bigint FROM @tally y WHERE y.task = ANY(ARRAY( \
             SELECT t.key FROM unnest($1) AS w(name) CROSS JOIN LATERAL ( \
                 SELECT key FROM @task WHERE split_part(name, '::', 1) = w.name OFFSET 0) t)) GROUP BY y.task";

/// The counts of others' invocations that components pay for.
const PAID_BY: &str = "SELECT component, sum(unfinished)::bigint, sum(bytes)::bigint FROM @paid \
     WHERE component = ANY($1) GROUP BY component";

/// The buckets of holders.
const BUCKETS_OF: &str = "SELECT b.name, b.full_at FROM unnest($2) AS w(name) CROSS JOIN LATERAL ( \
         SELECT name, full_at FROM @bucket WHERE holder = $1 AND name = w.name OFFSET 0) b";

/// The names, counts and buckets of fairness keys.
const KEYS_OF: &str = "SELECT k.key, k.name, coalesce(c.unfinished, 0) + coalesce(d.unfinished, 0), \
         coalesce(c.bytes, 0) + coalesce(d.bytes, 0), coalesce(b.full_at, 0) \
     FROM unnest($1) AS w(key) \
     CROSS JOIN LATERAL (SELECT key, name FROM @fairness_key WHERE key = w.key OFFSET 0) k \
     LEFT JOIN LATERAL (SELECT unfinished, bytes FROM @key_count WHERE key = w.key OFFSET 0) c ON true \
     LEFT JOIN LATERAL (SELECT full_at FROM @bucket WHERE holder = $2 AND name = k.name OFFSET 0) b ON true \
     CROSS JOIN LATERAL (SELECT sum(unfinished)::bigint AS unfinished, sum(bytes)::bigint AS bytes \
                   FROM @key_change WHERE key = w.key) d";

/// Whether a batch meets quotas: it submits something, or ends something with a large outcome.
pub(super) fn are_needed(batch: &Batch) -> bool {
    !batch.submits.is_empty() || batch.reports.iter().any(|report| quota::large_outcome(report).is_some())
}

/// Asks for the quotas in force.
pub(super) fn ask_quotas() -> Ask<'static> {
    Ask::new(formatcp!("SELECT {QUOTA_COLUMNS} FROM @quota q ORDER BY holder, names COLLATE \"C\""))
}

pub(super) fn read_quotas(rows: &[Row]) -> Result<Vec<QuotaRule>, Fault> {
    rows.iter().map(|row| read_quota(&mut Fields::new(row))).collect()
}

pub(super) async fn quotas(link: &Link) -> Result<Vec<QuotaRule>, Fault> {
    read_quotas(&link.read(ask_quotas()).await?)
}

pub(super) async fn holdings(link: &Link, holder: HolderKind) -> Result<Vec<Holding>, Fault> {
    let ask = match holder {
        HolderKind::Component => Ask::new(
            "SELECT c.name, c.unfinished, c.bytes, (SELECT full_at FROM @bucket WHERE holder = $1 \
                 AND name = split_part(c.name, '::', 1)), c.is_paid FROM ( \
                 SELECT t.name, (coalesce(sum(y.n) FILTER (WHERE y.status = ANY($2)), 0) - sum(y.elsewhere))::bigint \
                     AS unfinished, sum(y.bytes)::bigint AS bytes, false AS is_paid \
                 FROM @tally y JOIN @task t ON t.key = ANY(ARRAY[y.task]) GROUP BY t.name \
                 UNION ALL SELECT component, sum(unfinished)::bigint, sum(bytes)::bigint, true \
                 FROM @paid GROUP BY component) c",
        )
        .with(holder.as_str())
        .with(Status::unfinished().map(Status::as_str).collect::<Vec<_>>()),
        HolderKind::Key => Ask::new(
            "SELECT k.name, s.unfinished, s.bytes, \
                 (SELECT full_at FROM @bucket WHERE holder = $1 AND name = k.name), false FROM ( \
                 SELECT key, sum(unfinished)::bigint AS unfinished, sum(bytes)::bigint AS bytes FROM ( \
                     SELECT key, unfinished, bytes FROM @key_count UNION ALL \
                     SELECT key, unfinished, bytes FROM @key_change) c GROUP BY key) s \
             JOIN @fairness_key k ON k.key = ANY(ARRAY[s.key]) ORDER BY k.name COLLATE \"C\"",
        )
        .with(holder.as_str()),
    };
    let (mut counted, mut paid, mut buckets) = (Vec::new(), Vec::new(), HashMap::new());
    for row in link.read(ask).await? {
        let name: String = column(&row, 0)?;
        let full_at: Option<i64> = column(&row, 3)?;
        let is_paid: bool = column(&row, 4)?;
        let of = match holder {
            HolderKind::Component if !is_paid => crate::store::quota::component_of(&name).unwrap_or_default(),
            _ => &name,
        };
        buckets.insert(of.to_owned(), Bucket { full_at: full_at.unwrap_or(0) });
        let counts = if is_paid { &mut paid } else { &mut counted };
        counts.push((name, Held { unfinished: column(&row, 1)?, bytes: column(&row, 2)? }));
    }
    if holder == HolderKind::Component {
        counted = Holding::of_components(counted, paid);
    }
    counted.retain(|(_, held)| *held != Held::default());
    let holding = |(name, held): (String, Held)| {
        let bucket = buckets.get(&name).copied().unwrap_or_default();
        Holding { name: name.into(), held, bucket }
    };
    Ok(counted.into_iter().map(holding).collect())
}

impl Work<'_> {
    /// Takes over the quotas of a configuration, of one kind of holders.
    pub(super) async fn set_quotas(
        &mut self,
        new: &QuotaSection,
        by: Option<&RuleOrigin>,
    ) -> Result<(), Fault> {
        if new.is_in_force(&read_quotas(&self.link.ask_one(ask_quotas()).await?)?) {
            return Ok(());
        }
        // Two who say different things do not mix. Readers are not kept waiting.
        let rules = new.rules(by, self.state.now);
        let asks = vec![
            Ask::new("LOCK TABLE @quota IN EXCLUSIVE MODE"),
            Ask::new("DELETE FROM @quota WHERE holder = $1").with(new.holder.as_str()),
            Ask::new(&INSERT).with_rows(QUOTA, rules.iter().map(quota_values)),
            ask_quotas(),
        ];
        let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
        self.state.quotas.rules = read_quotas(&rows)?;
        self.state.is_news = true;
        Ok(())
    }

    /// Loads the counts that the quotas for the submits of a batch look at.
    pub(super) async fn load_counts(&mut self, submits: &[NewInvocation]) -> Result<(), Fault> {
        let components: Vec<&str> = self.state.components_to_meter(submits).into_iter().collect();
        let keys: Vec<i64> = self.state.keys_to_meter(submits).into_iter().collect();
        self.load_counts_of(components, keys).await
    }

    /// Loads the counts that the quotas for the large outcomes of a batch look at.
    pub(super) async fn load_counts_for_outcomes(&mut self, batch: &Batch) -> Result<(), Fault> {
        if !quota::bounds_bytes(&self.state.quotas.rules) {
            return Ok(());
        }
        let large = batch.reports.iter().filter(|report| quota::large_outcome(report).is_some());
        let heads: Vec<_> = large.filter_map(|report| self.state.heads.get(&report.id)).collect();
        if heads.is_empty() {
            return Ok(());
        }
        let names = Ask::new("SELECT key, name FROM @task WHERE key = ANY($1)");
        let names = names.with(heads.iter().map(|head| head.task).collect::<Vec<_>>());
        let payers = heads.iter().filter_map(|head| head.payer.as_deref());
        let mut components: BTreeSet<String> = payers.map(str::to_owned).collect();
        let mut keys: BTreeSet<i64> =
            heads.iter().filter(|head| !head.unkeyed).map(|head| head.fairness_key).collect();
        for row in self.link.ask_one(names).await? {
            let (task, name): (i64, String) = (column(&row, 0)?, column(&row, 1)?);
            self.state.quotas.learn_task(task, &name);
            components.extend(quota::component_of(&name).map(str::to_owned));
        }
        components.retain(|name| !self.state.quotas.meters_component(name));
        keys.retain(|key| !self.state.quotas.meters_key(*key));
        let components = components.iter().map(String::as_str).collect();
        self.load_counts_of(components, keys.into_iter().collect()).await
    }

    async fn load_counts_of(&mut self, components: Vec<&str>, keys: Vec<i64>) -> Result<(), Fault> {
        let mut asks = Vec::new();
        if !components.is_empty() {
            let unfinished = Status::unfinished().map(Status::as_str).collect::<Vec<_>>();
            asks.push(Ask::new(TASKS_OF).with(components.clone()));
            asks.push(Ask::new(COUNTS_OF).with(components.clone()).with(unfinished));
            asks.push(Ask::new(PAID_BY).with(components.clone()));
            asks.push(Ask::new(BUCKETS_OF).with(HolderKind::Component.as_str()).with(components.clone()));
        }
        if !keys.is_empty() {
            asks.push(Ask::new(KEYS_OF).with(keys.clone()).with(HolderKind::Key.as_str()));
        }
        if asks.is_empty() {
            return Ok(());
        }
        let mut answers = self.link.ask(asks).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        if !components.is_empty() {
            let read = |row| Ok((column(row, 0)?, column(row, 1)?));
            let tasks = next().iter().map(read).collect::<Result<HashMap<i64, String>, Fault>>()?;
            let mut held: BTreeMap<&str, Held> = BTreeMap::new();
            for row in next() {
                let change = Held { unfinished: column(&row, 1)?, bytes: column(&row, 2)? };
                if let Some(component) = tasks.get(&column(&row, 0)?) {
                    held.entry(component).or_default().add(change);
                }
            }
            for row in next() {
                let component: String = column(&row, 0)?;
                let change = Held { unfinished: column(&row, 1)?, bytes: column(&row, 2)? };
                if let Some(name) = components.iter().find(|name| **name == component) {
                    held.entry(name).or_default().add(change);
                }
            }
            let read = |row| Ok((column(row, 0)?, Bucket { full_at: column(row, 1)? }));
            let buckets = next().iter().map(read).collect::<Result<HashMap<String, Bucket>, Fault>>()?;
            for name in components {
                let held = held.get(name).copied().unwrap_or_default();
                let bucket = buckets.get(name).copied().unwrap_or_default();
                self.state.quotas.meter_component(name, held, bucket);
            }
        }
        if !keys.is_empty() {
            for row in next() {
                let held = Held { unfinished: column(&row, 2)?, bytes: column(&row, 3)? };
                let bucket = Bucket { full_at: column(&row, 4)? };
                self.state.quotas.meter_key(column(&row, 0)?, column(&row, 1)?, held, bucket);
            }
        }
        Ok(())
    }

    /// The statements that write the changes to the counts of keys, and the buckets that submits have taken tokens
    /// from, in the order of holders.
    pub(super) fn write_counts(&mut self, asks: &mut Vec<Ask<'_>>) {
        let held = self.state.quotas.take_held();
        if !held.is_empty() {
            let ask =
                Ask::new("INSERT INTO @key_change (key, unfinished, bytes) SELECT * FROM unnest($1, $2, $3)");
            asks.push(
                ask.with(held.keys().copied().collect::<Vec<_>>())
                    .with(held.values().map(|change| change.unfinished).collect::<Vec<_>>())
                    .with(held.values().map(|change| change.bytes).collect::<Vec<_>>()),
            );
        }
        let paid = self.state.quotas.take_paid();
        if !paid.is_empty() {
            let ask =
                Ask::new("INSERT INTO @paid (component, unfinished, bytes) SELECT * FROM unnest($1, $2, $3)");
            asks.push(
                ask.with(paid.keys().map(ToString::to_string).collect::<Vec<_>>())
                    .with(paid.values().map(|change| change.unfinished).collect::<Vec<_>>())
                    .with(paid.values().map(|change| change.bytes).collect::<Vec<_>>()),
            );
        }
        let taken = self.state.quotas.take_taken();
        if taken.is_empty() {
            return;
        }
        // Adds to the tokens that others have taken meanwhile.
        let now = Bucket::moment(self.state.now);
        let write = Ask::new(
            "INSERT INTO @bucket AS b (holder, name, full_at) \
             SELECT w.holder, w.name, $4 + w.cost FROM unnest($1, $2, $3) AS w(holder, name, cost) \
             ON CONFLICT (holder, name) DO UPDATE SET full_at = greatest(b.full_at, $4) + (excluded.full_at - $4)",
        );
        asks.push(
            write
                .with(taken.iter().map(|one| one.holder.as_str()).collect::<Vec<_>>())
                .with(taken.iter().map(|one| one.name.to_string()).collect::<Vec<_>>())
                .with(taken.iter().map(|one| one.cost).collect::<Vec<_>>())
                .with(now),
        );
        let forget = Ask::new(
            "DELETE FROM @bucket WHERE ctid = ANY(ARRAY( \
                 SELECT ctid FROM @bucket WHERE full_at <= $1 ORDER BY full_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
        );
        asks.push(forget.with(now).with(FORGOTTEN_AT_ONCE));
    }
}

/// The statements that fold the changes to the counts of keys and payers. Whoever comes second has nothing left to fold.
pub(super) fn fold_counts(asks: &mut Vec<Ask<'_>>) {
    asks.push(Ask::new(
        "WITH gone AS (DELETE FROM @paid WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM @paid FOR UPDATE SKIP LOCKED)) RETURNING component, unfinished, bytes) \
         INSERT INTO @paid (component, unfinished, bytes) \
         SELECT component, sum(unfinished)::bigint, sum(bytes)::bigint FROM gone GROUP BY component \
         HAVING sum(unfinished) <> 0 OR sum(bytes) <> 0",
    ));
    asks.push(Ask::new(
        "WITH gone AS (DELETE FROM @key_change WHERE ctid = ANY(ARRAY( \
             SELECT ctid FROM @key_change FOR UPDATE SKIP LOCKED)) RETURNING key, unfinished, bytes) \
         INSERT INTO @key_count AS c (key, unfinished, bytes) \
         SELECT key, sum(unfinished)::bigint, sum(bytes)::bigint FROM gone GROUP BY key ORDER BY key \
         ON CONFLICT (key) DO UPDATE \
         SET unfinished = c.unfinished + excluded.unfinished, bytes = c.bytes + excluded.bytes",
    ));
    asks.push(
        Ask::new(
            "DELETE FROM @key_count WHERE ctid = ANY(ARRAY( \
                 SELECT ctid FROM @key_count WHERE unfinished = 0 AND bytes = 0 ORDER BY key LIMIT $1 \
                 FOR UPDATE SKIP LOCKED))",
        )
        .with(FORGOTTEN_AT_ONCE),
    );
}
