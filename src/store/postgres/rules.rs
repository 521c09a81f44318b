//! Rules and pauses: what configurations and operators say of tasks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{column, optional};
use super::write::Work;
use crate::model::{Blocked, Concurrency, DEFAULT_QUEUE, Rate};
use crate::store::rules::{LaneRule, window_micros};
use crate::store::{Batch, PauseTarget, TaskRule};

/// What holds in a transaction.
#[derive(Default)]
pub(super) struct Rules {
    /// By the number of the task, of each that has lanes.
    of: HashMap<i64, LaneRule>,
    /// Whether an operator holds anything back.
    has_pauses: bool,
    /// The tasks that are held back, once a claim has asked.
    pub(super) paused: HashSet<Arc<str>>,
}

impl Rules {
    pub(super) fn of(&self, task: i64) -> LaneRule {
        self.of.get(&task).copied().unwrap_or_default()
    }

    /// Reads the answers of [`ask_what_holds`].
    pub(super) fn read(batch: &Batch, next: &mut impl FnMut() -> Vec<Row>) -> Result<Self, Fault> {
        let mut rules = Self::default();
        for row in next() {
            let rule = read_rule(&row)?;
            rules.of.insert(column(&row, 6)?, LaneRule::of(&rule));
        }
        for _ in &batch.pauses {
            next();
        }
        rules.has_pauses = !next().is_empty();
        Ok(rules)
    }
}

/// The columns of a rule.
macro_rules! rule {
    () => {
        "t.name, t.queue, t.concurrency, t.blocked, t.rate, t.rate_window"
    };
}

/// Reads a rule from the columns [`rule`].
fn read_rule(row: &Row) -> Result<TaskRule, Fault> {
    let limit: Option<u32> = optional(row, 2)?;
    let blocked: Option<Blocked> = optional(row, 3)?;
    let rate: Option<u32> = optional(row, 4)?;
    let window: Option<u64> = optional(row, 5)?;
    Ok(TaskRule {
        task: column(row, 0)?,
        queue: optional(row, 1)?.unwrap_or_else(|| DEFAULT_QUEUE.into()),
        concurrency: limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }),
        rate: rate.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
    })
}

/// The same; `None` if nobody has said anything of the task.
fn read_known_rule(row: &Row) -> Result<Option<TaskRule>, Fault> {
    optional::<String>(row, 1)?.map(|_| read_rule(row)).transpose()
}

/// What the rule of a task becomes when these are said of it, one after another, each
/// perhaps only if nothing was said before; `None` if it stays what it is.
fn changes<'r>(known: Option<&TaskRule>, said: &[(&'r TaskRule, bool)]) -> Option<&'r TaskRule> {
    let mut becomes: Option<&'r TaskRule> = None;
    for (rule, only_if_new) in said {
        let is_known = known.is_some() || becomes.is_some();
        if !(is_known && *only_if_new) {
            becomes = Some(*rule);
        }
    }
    becomes.filter(|rule| known != Some(*rule))
}

pub(super) async fn rules(link: &Link) -> Result<Vec<TaskRule>, Fault> {
    let ask = Ask::new(concat!("SELECT ", rule!(), " FROM @task t ORDER BY t.name COLLATE \"C\""));
    link.read(ask).await?.iter().map(read_rule).collect()
}

pub(super) async fn paused(link: &Link) -> Result<Vec<PauseTarget>, Fault> {
    // 'queue' is before 'task' in the alphabet too.
    let rows =
        link.read(Ask::new("SELECT kind, name FROM @paused ORDER BY kind, name COLLATE \"C\"")).await?;
    let read = |row: &Row| {
        let (kind, name): (String, Arc<str>) = (column(row, 0)?, column(row, 1)?);
        Ok(if kind == "queue" { PauseTarget::Queue(name) } else { PauseTarget::Task(name) })
    };
    rows.iter().map(read).collect()
}

/// The statements with which a transaction learns what holds: the rules of lanes,
/// and whether anything is paused. Pauses of the batch come before that.
pub(super) fn ask_what_holds(batch: &Batch, asks: &mut Vec<Ask<'_>>) {
    asks.push(Ask::new(concat!(
        "SELECT ",
        rule!(),
        ", t.key FROM @task t WHERE t.concurrency IS NOT NULL OR t.rate IS NOT NULL"
    )));
    for pause in &batch.pauses {
        let (kind, name) = match &pause.target {
            PauseTarget::Queue(name) => ("queue", name),
            PauseTarget::Task(name) => ("task", name),
        };
        let ask = Ask::new(match pause.paused {
            true => "INSERT INTO @paused (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            false => "DELETE FROM @paused WHERE kind = $1 AND name = $2",
        });
        asks.push(ask.with(kind).with(name.to_string()));
    }
    asks.push(Ask::new("SELECT 1 FROM @paused LIMIT 1"));
}

impl Work<'_> {
    /// Takes over what configurations say.
    ///
    /// A task that changes is locked, so that two who say different things do not
    /// mix; in the order of the tasks' numbers, so that they do not wait for each other.
    /// Nearly always nothing changes: every submit and every start of a runner says
    /// what is known already, and must not wait for anybody to do so.
    pub(super) async fn set_rules(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.is_news |= !batch.pauses.is_empty();
        let sure = batch.rules.iter().map(|rule| (rule, false));
        let mut said: BTreeMap<i64, Vec<(&TaskRule, bool)>> = BTreeMap::new();
        for (rule, only_if_new) in sure.chain(batch.default_rules.iter().map(|rule| (rule, true))) {
            said.entry(self.names.task(&rule.task)?).or_default().push((rule, only_if_new));
        }
        if said.is_empty() {
            return Ok(());
        }
        let ask = Ask::new(concat!("SELECT ", rule!(), ", t.key FROM @task t WHERE t.key = ANY($1)"));
        let rows = self.link.ask_one(ask.with(said.keys().copied().collect::<Vec<_>>())).await?;
        for row in &rows {
            let task: i64 = column(row, 6)?;
            let known = read_known_rule(row)?;
            said.retain(|key, rules| *key != task || changes(known.as_ref(), rules).is_some());
        }
        for (task, rules) in said {
            // It may have changed before the lock was there.
            let ask = Ask::new(concat!("SELECT ", rule!(), " FROM @task t WHERE t.key = $1 FOR UPDATE"));
            let rows = self.link.ask_one(ask.with(task)).await?;
            let row = rows.first().ok_or_else(|| Fault::Damaged(format!("task {task} is gone")))?;
            if let Some(rule) = changes(read_known_rule(row)?.as_ref(), &rules) {
                self.set_rule(task, rule).await?;
            }
        }
        if batch.claim.is_some() {
            self.look_for_openings().await?;
        }
        Ok(())
    }

    async fn set_rule(&mut self, task: i64, new: &TaskRule) -> Result<(), Fault> {
        let write = Ask::new(
            "UPDATE @task SET queue = $2, concurrency = $3, blocked = $4, rate = $5, rate_window = $6 \
             WHERE key = $1",
        );
        let write = write
            .with(task)
            .with(new.queue.to_string())
            .with(new.concurrency.map(|rule| i64::from(rule.limit)))
            .with(new.concurrency.map(|rule| rule.blocked.as_str()))
            .with(new.rate.map(|rate| i64::from(rate.limit)))
            .with(new.rate.map(|rate| window_micros(rate.window)));
        // Every lane of it is looked at by the next claims.
        let open = Ask::new("UPDATE @lane SET opens_at = $2 WHERE task = $1");
        self.link.ask(vec![write, open.with(task).with(self.now.0)]).await?;
        self.lanes.rules.of.insert(task, LaneRule::of(new));
        self.is_news = true;
        Ok(())
    }

    /// Learns which tasks an operator holds back, themselves or with their queue.
    pub(super) async fn learn_paused(&mut self) -> Result<(), Fault> {
        if !self.lanes.rules.has_pauses {
            return Ok(());
        }
        let ask = Ask::new(
            "SELECT t.name FROM @paused p JOIN @task t ON CASE p.kind WHEN 'task' THEN t.name = p.name \
             ELSE coalesce(t.queue, $1) = p.name END",
        );
        let rows = self.link.ask_one(ask.with(DEFAULT_QUEUE)).await?;
        self.lanes.rules.paused = rows.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
