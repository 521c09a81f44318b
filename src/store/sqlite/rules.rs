//! Rules and pauses: what configurations and operators say of tasks.

use std::sync::{Arc, LazyLock};

use rusqlite::{Connection, params, params_from_iter};

use super::sql::{Cursor, Sql};
use super::work::Work;
use crate::store::columns::{RULE, read_rule, rule, rule_values};
use crate::store::decide::{held_back, takes_over};
use crate::store::rules::LaneRule;
use crate::store::value::{Fields, Value};
use crate::store::{Pause, PauseTarget, TaskRule, TaskSet};

/// Gives a task another rule.
static SET_RULE: LazyLock<String> = LazyLock::new(|| {
    let set = RULE.iter().zip(2..).map(|((name, _), number)| format!("{name} = ?{number}"));
    format!("UPDATE task SET {} WHERE key = ?1", set.collect::<Vec<_>>().join(", "))
});

pub(super) fn rules(sql: &Connection) -> rusqlite::Result<Vec<TaskRule>> {
    sql.prepare_cached(concat!("SELECT ", rule!(), " FROM task t ORDER BY t.name"))?
        .query_map([], |row| read_rule(&mut Cursor::new(row)))?
        .collect()
}

/// The rule of a task, and whether anybody has said it.
fn rule_of(sql: &Connection, task: i64) -> rusqlite::Result<(bool, TaskRule)> {
    sql.prepare_cached(concat!("SELECT t.queue IS NOT NULL, ", rule!(), " FROM task t WHERE t.key = ?1"))?
        .query_row([task], |row| {
            let mut fields = Cursor::new(row);
            Ok((fields.take()?, read_rule(&mut fields)?))
        })
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
        let (is_known, stored) = rule_of(self.sql, task)?;
        if !takes_over(is_known.then_some(&stored), new, only_if_new) {
            return Ok(());
        }
        let values = std::iter::once(Value::Int(task)).chain(rule_values(new));
        self.sql.prepare_cached(&SET_RULE)?.execute(params_from_iter(values))?;
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
            let (_, rule) = rule_of(self.sql, task)?;
            self.state.lanes.rules.insert(task, LaneRule::of(&rule));
        }
        Ok(())
    }
}
