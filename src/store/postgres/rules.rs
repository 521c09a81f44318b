//! Rules and pauses: what configurations and operators say of tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::{column, optional};
use super::work::Work;
use crate::model::{Blocked, Concurrency, DEFAULT_QUEUE, Rate};
use crate::store::decide::{held_back, takes_over};
use crate::store::rules::{LaneRule, window_micros};
use crate::store::{Batch, PauseTarget, TaskRule};

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
        if takes_over(becomes.or(known), rule, *only_if_new) {
            becomes = Some(*rule);
        }
    }
    becomes.filter(|rule| known != Some(*rule))
}

fn ask_rules() -> Ask<'static> {
    Ask::new(concat!("SELECT ", rule!(), " FROM @task t ORDER BY t.name COLLATE \"C\""))
}

fn read_rules(rows: &[Row]) -> Result<Vec<TaskRule>, Fault> {
    rows.iter().map(read_rule).collect()
}

pub(super) async fn rules(link: &Link) -> Result<Vec<TaskRule>, Fault> {
    read_rules(&link.read(ask_rules()).await?)
}

fn ask_paused() -> Ask<'static> {
    // 'queue' is before 'task' in the alphabet too.
    Ask::new("SELECT kind, name FROM @paused ORDER BY kind, name COLLATE \"C\"")
}

fn read_paused(rows: &[Row]) -> Result<Vec<PauseTarget>, Fault> {
    let read = |row: &Row| {
        let (kind, name): (String, Arc<str>) = (column(row, 0)?, column(row, 1)?);
        Ok(if kind == "queue" { PauseTarget::Queue(name) } else { PauseTarget::Task(name) })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn paused(link: &Link) -> Result<Vec<PauseTarget>, Fault> {
    read_paused(&link.read(ask_paused()).await?)
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

/// Reads the answers: the rules by the number of the task, and whether anything is paused.
pub(super) fn read_what_holds(
    batch: &Batch,
    next: &mut impl FnMut() -> Vec<Row>,
) -> Result<(HashMap<i64, LaneRule>, bool), Fault> {
    let mut rules = HashMap::new();
    for row in next() {
        rules.insert(column(&row, 6)?, LaneRule::of(&read_rule(&row)?));
    }
    for _ in &batch.pauses {
        next();
    }
    Ok((rules, !next().is_empty()))
}

impl Work<'_> {
    /// Takes over what configurations say.
    ///
    /// A task that changes is locked, so that two who say different things do not
    /// mix; in the order of the tasks' numbers, so that they do not wait for each other.
    /// Nearly always nothing changes: every submit and every start of a runner says
    /// what is known already, and must not wait for anybody to do so.
    pub(super) async fn set_rules(&mut self, batch: &Batch) -> Result<(), Fault> {
        self.state.is_news |= !batch.pauses.is_empty();
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
        self.link.ask(vec![write, open.with(task).with(self.state.now.0)]).await?;
        self.state.lanes.rules.insert(task, LaneRule::of(new));
        self.state.is_news = true;
        Ok(())
    }

    /// Learns which tasks an operator holds back.
    pub(super) async fn learn_paused(&mut self) -> Result<(), Fault> {
        if self.has_pauses {
            let mut answers = self.link.ask(vec![ask_paused(), ask_rules()]).await?.into_iter();
            let mut next = || answers.next().unwrap_or_default();
            self.paused = held_back(&read_paused(&next())?, read_rules(&next())?);
        }
        Ok(())
    }
}
