//! Rules and pauses: what configurations and operators say of tasks.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};

use super::sql::{Sql, optional};
use super::work::Work;
use crate::model::{Blocked, Concurrency, DEFAULT_QUEUE, Rate};
use crate::store::decide::{held_back, takes_over};
use crate::store::rules::{LaneRule, window_micros};
use crate::store::{Pause, PauseTarget, TaskRule, TaskSet};

const RULE: &str = "name, queue, concurrency, blocked, rate, rate_window";

/// Reads a rule from the columns [`RULE`].
fn rule(row: &Row<'_>) -> rusqlite::Result<TaskRule> {
    let limit: Option<u32> = row.get(2)?;
    let blocked: Option<Blocked> = optional(row, 3)?;
    let rate: Option<u32> = row.get(4)?;
    let window: Option<u64> = optional(row, 5)?;
    Ok(TaskRule {
        task: row.get(0)?,
        queue: row.get::<_, Option<Arc<str>>>(1)?.unwrap_or_else(|| DEFAULT_QUEUE.into()),
        concurrency: limit.map(|limit| Concurrency { limit, blocked: blocked.unwrap_or(Blocked::Wait) }),
        rate: rate.zip(window).map(|(limit, window)| Rate { limit, window: Duration::from_micros(window) }),
    })
}

pub(super) fn rules(sql: &Connection) -> rusqlite::Result<Vec<TaskRule>> {
    sql.prepare_cached(&format!("SELECT {RULE} FROM task ORDER BY name"))?.query_map([], rule)?.collect()
}

pub(super) fn paused(sql: &Connection) -> rusqlite::Result<Vec<PauseTarget>> {
    // 'queue' is before 'task' in the alphabet too.
    sql.prepare_cached("SELECT kind, name FROM paused ORDER BY kind, name")?
        .query_map([], |row| {
            let name = row.get(1)?;
            Ok(match row.get_ref(0)?.as_str()? {
                "queue" => PauseTarget::Queue(name),
                _ => PauseTarget::Task(name),
            })
        })?
        .collect()
}

fn pause_words(target: &PauseTarget) -> (&'static str, &Arc<str>) {
    match target {
        PauseTarget::Queue(name) => ("queue", name),
        PauseTarget::Task(name) => ("task", name),
    }
}

impl Work<'_> {
    /// Takes over what a configuration says.
    pub(super) fn set_rule(&mut self, new: &TaskRule, only_if_new: bool) -> rusqlite::Result<()> {
        let task = self.names.task_key(self.sql, &new.task)?;
        let (is_known, stored) = self
            .sql
            .prepare_cached(&format!("SELECT {RULE}, queue IS NOT NULL FROM task WHERE key = ?1"))?
            .query_row([task], |row| Ok((row.get::<_, bool>(6)?, rule(row)?)))?;
        if !takes_over(is_known.then_some(&stored), new, only_if_new) {
            return Ok(());
        }
        self.sql
            .prepare_cached(
                "UPDATE task SET queue = ?2, concurrency = ?3, blocked = ?4, rate = ?5, rate_window = ?6 \
                 WHERE key = ?1",
            )?
            .execute(params![
                task,
                new.queue,
                new.concurrency.map(|concurrency| concurrency.limit),
                new.concurrency.map(|concurrency| Sql(concurrency.blocked)),
                new.rate.map(|rate| rate.limit),
                new.rate.map(|rate| window_micros(rate.window)),
            ])?;
        self.state.lanes.rules.insert(task, LaneRule::of(new));
        // Every lane of it is looked at by the next claims.
        self.sql
            .prepare_cached("UPDATE lane SET opens_at = ?2 WHERE task = ?1")?
            .execute(params![task, Sql(self.state.now)])?;
        self.state.is_news = true;
        Ok(())
    }

    pub(super) fn set_pause(&mut self, pause: &Pause) -> rusqlite::Result<()> {
        let (kind, name) = pause_words(&pause.target);
        let statement = match pause.paused {
            true => "INSERT OR IGNORE INTO paused (kind, name) VALUES (?1, ?2)",
            false => "DELETE FROM paused WHERE kind = ?1 AND name = ?2",
        };
        self.sql.prepare_cached(statement)?.execute(params![kind, name])?;
        self.state.is_news = true;
        Ok(())
    }

    /// The tasks that an operator holds back.
    pub(super) fn paused_tasks(&self) -> rusqlite::Result<TaskSet> {
        let paused = paused(self.sql)?;
        Ok(if paused.is_empty() { TaskSet::new() } else { held_back(&paused, rules(self.sql)?) })
    }

    /// Learns what the rules of a task say about its lanes.
    pub(super) fn learn_rule(&mut self, task: i64) -> rusqlite::Result<()> {
        if !self.state.lanes.rules.contains_key(&task) {
            let rule = self
                .sql
                .prepare_cached(&format!("SELECT {RULE} FROM task WHERE key = ?1"))?
                .query_row([task], rule)?;
            self.state.lanes.rules.insert(task, LaneRule::of(&rule));
        }
        Ok(())
    }
}
