//! Rules and pauses: what configurations and operators say of tasks.

use std::sync::LazyLock;

use const_format::formatcp;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::sql::{bound, column, unfinished_words};
use super::work::Work;
use crate::model::TaskId;
use crate::store::columns::{MARK_COLUMNS, RULE, RULE_COLUMNS, read_mark, read_rule, rule_values};
use crate::store::decide::{held_back, is_marked_now, takes_over};
use crate::store::rules::{LaneRule, is_adopted};
use crate::store::setting::PauseKind;
use crate::store::value::{Fields, Value};
use crate::store::{Adoption, Pause, PauseTarget, ReplacedRule, RuleMark, RuleOrigin, TaskRule, TaskSet};

/// Takes the rule of a task away.
static DROP_RULE: LazyLock<String> = LazyLock::new(|| {
    let set = RULE.iter().map(|(name, _)| format!("{name} = NULL"));
    format!("UPDATE task SET {} WHERE key = ?1", set.collect::<Vec<_>>().join(", "))
});

/// Gives a task another rule.
static SET_RULE: LazyLock<String> = LazyLock::new(|| {
    let set = RULE.iter().zip(2..).map(|((name, _), number)| format!("{name} = ?{number}"));
    format!("UPDATE task SET {} WHERE key = ?1", set.collect::<Vec<_>>().join(", "))
});

pub(super) fn rules(sql: &Connection) -> rusqlite::Result<Vec<TaskRule>> {
    sql.prepare_cached(formatcp!("SELECT {RULE_COLUMNS} FROM task t ORDER BY t.name"))?
        .query_map([], |row| read_rule(&mut Fields::new(row)))?
        .collect()
}

pub(super) fn rule_marks(sql: &Connection) -> rusqlite::Result<Vec<RuleMark>> {
    sql.prepare_cached(formatcp!(
        "SELECT {MARK_COLUMNS} FROM task t WHERE t.rule_by IS NOT NULL ORDER BY t.name"
    ))?
    .query_map([], |row| read_mark(&mut Fields::new(row)))?
    .collect()
}

/// The rule of a task, if anybody has said it, and who did.
fn rule_of(sql: &Connection, task: i64) -> rusqlite::Result<(Option<TaskRule>, Option<RuleMark>)> {
    sql.prepare_cached(formatcp!(
        "SELECT t.queue IS NOT NULL, t.rule_by IS NOT NULL, {RULE_COLUMNS}, {MARK_COLUMNS} \
         FROM task t WHERE t.key = ?1"
    ))?
    .query_row([task], |row| {
        let mut fields = Fields::new(row);
        let (is_known, is_marked): (bool, bool) = (fields.take()?, fields.take()?);
        let rule = read_rule(&mut fields)?;
        let mark = if is_marked { Some(read_mark(&mut fields)?) } else { None };
        Ok((is_known.then_some(rule), mark))
    })
}

pub(super) fn paused(sql: &Connection) -> rusqlite::Result<Vec<PauseTarget>> {
    sql.prepare_cached("SELECT kind, name FROM paused ORDER BY kind, name")?
        .query_map([], |row| Ok(column::<PauseKind>(row, 0)?.target(row.get(1)?)))?
        .collect()
}

/// Finds out whether unfinished invocations of a task were submitted for other components
/// than one. The tally says how many are unfinished: the walk through the table, newest
/// first, ends with the last of them.
static WAITS_FOR_OTHERS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT 1 FROM (SELECT component FROM invocation WHERE task = ?1 AND place IS NOT NULL \
             ORDER BY seq DESC LIMIT (SELECT coalesce(sum(n), 0) FROM tally \
                 WHERE task = ?1 AND status IN ({}))) \
         CROSS JOIN component ON key = component \
         WHERE digest <> ?2 AND digest NOT IN (SELECT digest FROM pushed WHERE name = ?3) LIMIT 1",
        unfinished_words()
    )
});

impl Work<'_> {
    /// Gives tasks of earlier programs full ids.
    pub(super) fn adopt(&mut self, adoption: &Adoption) -> rusqlite::Result<()> {
        let is_adopted = self.is_adopted(adoption)?;
        if is_adopted {
            let renamed = params![adoption.from, adoption.to];
            self.sql.prepare_cached("UPDATE task SET name = ?2 WHERE name = ?1")?.execute(renamed)?;
            self.sql
                .prepare_cached("UPDATE OR REPLACE paused SET name = ?2 WHERE kind = ?3 AND name = ?1")?
                .execute(params![adoption.from, adoption.to, PauseKind::Task.as_str()])?;
            self.names.forget();
            self.state.is_news = true;
        }
        self.state.receipt.adopted.push(is_adopted);
        Ok(())
    }

    fn is_adopted(&self, adoption: &Adoption) -> rusqlite::Result<bool> {
        let task: Option<i64> = self
            .sql
            .prepare_cached("SELECT key FROM task WHERE name = ?1")?
            .query_row([&adoption.from], |row| row.get(0))
            .optional()?;
        let Some(task) = task else { return Ok(false) };
        let component = TaskId::split(&adoption.to).0;
        let waits_for_others = self.sql.prepare_cached(&WAITS_FOR_OTHERS)?.exists(params![
            task,
            bound(&adoption.component_digest),
            component
        ])?;
        let tasks = rules(self.sql)?;
        Ok(is_adopted(adoption, tasks.iter().map(|rule| &rule.task), waits_for_others))
    }

    /// Takes over what the configuration of somebody says.
    pub(super) fn set_rule(
        &mut self,
        new: &TaskRule,
        only_if_new: bool,
        by: Option<&RuleOrigin>,
    ) -> rusqlite::Result<()> {
        let task = self.names.task_key(self.sql, &new.task)?;
        let (stored, mark) = rule_of(self.sql, task)?;
        let is_change = takes_over(stored.as_ref(), mark.as_ref(), new, only_if_new, by);
        if !is_change && !is_marked_now(stored.as_ref(), mark.is_some(), new, by) {
            return Ok(());
        }
        let values = rule_values(new, by.map(|by| (by, self.state.now)));
        let values = std::iter::once(Value::Int(task)).chain(values);
        self.sql.prepare_cached(&SET_RULE)?.execute(params_from_iter(values))?;
        if !is_change {
            return Ok(());
        }
        self.state.receipt.replaced.extend(stored.map(|old| ReplacedRule { old, mark }));
        self.note_rule(task, LaneRule::of(new))
    }

    /// Forgets a rule, if it is in force.
    pub(super) fn drop_rule(&mut self, rule: &TaskRule) -> rusqlite::Result<()> {
        let Some(task) = self.names.known_task(self.sql, &rule.task)? else { return Ok(()) };
        if rule_of(self.sql, task)?.0.as_ref() != Some(rule) {
            return Ok(());
        }
        self.sql.prepare_cached(&DROP_RULE)?.execute([task])?;
        self.note_rule(task, LaneRule::default())
    }

    /// Notes that a task has another rule.
    fn note_rule(&mut self, task: i64, rule: LaneRule) -> rusqlite::Result<()> {
        self.state.lanes.rules.insert(task, rule);
        // Every lane of it is looked at by the next claims.
        self.sql
            .prepare_cached("UPDATE lane SET opens_at = ?2 WHERE task = ?1")?
            .execute(params![task, bound(self.state.now)])?;
        self.state.is_news = true;
        Ok(())
    }

    pub(super) fn set_pause(&mut self, pause: &Pause) -> rusqlite::Result<()> {
        let (kind, name) = pause.target.parts();
        let statement = match pause.paused {
            true => "INSERT OR IGNORE INTO paused (kind, name) VALUES (?1, ?2)",
            false => "DELETE FROM paused WHERE kind = ?1 AND name = ?2",
        };
        self.sql.prepare_cached(statement)?.execute(params![kind.as_str(), name])?;
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
                .prepare_cached(formatcp!("SELECT {RULE_COLUMNS} FROM task t WHERE t.key = ?1"))?
                .query_row([task], |row| read_rule(&mut Fields::new(row)))?;
            self.state.lanes.rules.insert(task, LaneRule::of(&rule));
        }
        Ok(())
    }
}
