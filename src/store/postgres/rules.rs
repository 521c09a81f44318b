//! Rules and pauses: what configurations and operators say of tasks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::sql::column;
use super::work::Work;
use crate::model::{Status, TaskId};
use crate::store::columns::{MARK_COLUMNS, RULE, RULE_COLUMNS, read_mark, read_rule, rule_values};
use crate::store::decide::{held_back, is_marked_now, takes_over};
use crate::store::rules::{LaneRule, is_adopted};
use crate::store::setting::PauseKind;
use crate::store::value::Fields;
use crate::store::{Adoption, Batch, PauseTarget, ReplacedRule, RuleMark, RuleOrigin, TaskRule};

/// Takes the rule of a task away.
static DROP_RULE: LazyLock<String> = LazyLock::new(|| {
    let set = RULE.iter().map(|(name, _)| format!("{name} = NULL"));
    format!("UPDATE @task SET {} WHERE key = $1", set.collect::<Vec<_>>().join(", "))
});

/// Gives a task another rule.
static SET_RULE: LazyLock<String> = LazyLock::new(|| {
    let set = RULE.iter().zip(2..).map(|((name, _), number)| format!("{name} = ${number}"));
    format!("UPDATE @task SET {} WHERE key = $1", set.collect::<Vec<_>>().join(", "))
});

/// A task's number, its rule, if it was given one, and the origin of that rule.
struct Known {
    task: i64,
    rule: Option<TaskRule>,
    mark: Option<RuleMark>,
}

impl Known {
    /// Reads the columns `t.key, t.queue IS NOT NULL, t.rule_by IS NOT NULL`, [`RULE_COLUMNS`] and [`MARK_COLUMNS`].
    fn read(row: &Row) -> Result<Self, Fault> {
        let mut fields = Fields::new(row);
        let (task, is_known, is_marked) = (fields.take()?, fields.take::<bool>()?, fields.take::<bool>()?);
        let rule = read_rule(&mut fields)?;
        let mark = if is_marked { Some(read_mark(&mut fields)?) } else { None };
        Ok(Self { task, rule: is_known.then_some(rule), mark })
    }

    /// Returns the rule in force of which `by` becomes the origin.
    fn marked_now<'r>(&self, said: &[(&'r TaskRule, bool)], by: Option<&RuleOrigin>) -> Option<&'r TaskRule> {
        let is_same = |(rule, only_if_new): &&(&'r TaskRule, bool)| {
            !only_if_new && is_marked_now(self.rule.as_ref(), self.mark.is_some(), rule, by)
        };
        said.iter().find(is_same).map(|(rule, _)| *rule)
    }
}

/// Returns the rule that a task gets when these are said of it, one after another, each
/// perhaps only if nothing was said before; `None` if it stays what it is.
fn changes<'r>(
    known: &Known,
    said: &[(&'r TaskRule, bool)],
    by: Option<&RuleOrigin>,
) -> Option<&'r TaskRule> {
    let (known, mark) = (known.rule.as_ref(), known.mark.as_ref());
    let mut becomes: Option<&'r TaskRule> = None;
    for (rule, only_if_new) in said {
        if takes_over(becomes.or(known), mark, rule, *only_if_new, by) {
            becomes = Some(*rule);
        }
    }
    becomes.filter(|rule| known != Some(*rule))
}

fn ask_rules() -> Ask<'static> {
    Ask::new(formatcp!("SELECT {RULE_COLUMNS} FROM @task t ORDER BY t.name COLLATE \"C\""))
}

fn read_rules(rows: &[Row]) -> Result<Vec<TaskRule>, Fault> {
    rows.iter().map(|row| read_rule(&mut Fields::new(row))).collect()
}

pub(super) async fn rules(link: &Link) -> Result<Vec<TaskRule>, Fault> {
    read_rules(&link.read(ask_rules()).await?)
}

pub(super) async fn rule_marks(link: &Link) -> Result<Vec<RuleMark>, Fault> {
    let ask = Ask::new(formatcp!(
        "SELECT {MARK_COLUMNS} FROM @task t WHERE t.rule_by IS NOT NULL ORDER BY t.name COLLATE \"C\""
    ));
    link.read(ask).await?.iter().map(|row| read_mark(&mut Fields::new(row))).collect()
}

fn ask_paused() -> Ask<'static> {
    Ask::new("SELECT kind, name FROM @paused ORDER BY kind, name COLLATE \"C\"")
}

fn read_paused(rows: &[Row]) -> Result<Vec<PauseTarget>, Fault> {
    rows.iter().map(|row| Ok(column::<PauseKind>(row, 0)?.target(column(row, 1)?))).collect()
}

pub(super) async fn paused(link: &Link) -> Result<Vec<PauseTarget>, Fault> {
    read_paused(&link.read(ask_paused()).await?)
}

/// Gives tasks of earlier programs full ids, after `before` was asked; which of the adoptions did. Those that
/// know the old id are locked, so that nobody else adopts it or claims what is under it meanwhile.
pub(super) async fn adopt<'a>(
    link: &Link,
    mut before: Vec<Ask<'a>>,
    adoptions: &'a [Adoption],
) -> Result<Vec<bool>, Fault> {
    let known = Ask::new("SELECT name, key FROM @task WHERE name = ANY($1) ORDER BY key FOR UPDATE");
    before.push(known.with(adoptions.iter().map(|adoption| &*adoption.from).collect::<Vec<&str>>()));
    let known = link.ask(before).await?.pop().unwrap_or_default();
    let read = |row| Ok((column(row, 0)?, column(row, 1)?));
    let mut known = known.iter().map(read).collect::<Result<HashMap<Arc<str>, i64>, Fault>>()?;
    let mut adopted = Vec::with_capacity(adoptions.len());
    for adoption in adoptions {
        let is_adopted = match known.get(&adoption.from) {
            Some(task) => adopt_known(link, adoption, *task).await?,
            None => false,
        };
        if is_adopted {
            known.remove(&adoption.from);
        }
        adopted.push(is_adopted);
    }
    Ok(adopted)
}

async fn adopt_known(link: &Link, adoption: &Adoption, task: i64) -> Result<bool, Fault> {
    // The tally says how many are unfinished: the walk through the table, newest first, ends
    // with the last of them.
    let waits_for_others = Ask::new(
        "SELECT 1 FROM (SELECT component FROM @invocation WHERE task = $1 AND place IS NOT NULL \
             ORDER BY seq DESC LIMIT (SELECT coalesce(sum(n), 0)::bigint FROM @tally \
                 WHERE task = $1 AND status = ANY($4))) i \
         JOIN @component c ON c.key = ANY(ARRAY[i.component]) \
         WHERE c.digest <> $2 AND NOT EXISTS ( \
             SELECT 1 FROM @pushed WHERE name = $3 AND digest = c.digest OFFSET 0) LIMIT 1",
    );
    let waits_for_others = waits_for_others
        .with(task)
        .with(&adoption.component_digest.as_bytes()[..])
        .with(TaskId::split(&adoption.to).0)
        .with(Status::unfinished().map(Status::as_str).collect::<Vec<_>>());
    let mut answers = link.ask(vec![ask_rules(), waits_for_others]).await?.into_iter();
    let mut next = || answers.next().unwrap_or_default();
    let tasks = read_rules(&next())?;
    if !is_adopted(adoption, tasks.iter().map(|rule| &rule.task), !next().is_empty()) {
        return Ok(false);
    }
    let rename = Ask::new("UPDATE @task SET name = $2 WHERE key = $1").with(task).with(&*adoption.to);
    let pause = Ask::new(
        "WITH gone AS (DELETE FROM @paused WHERE kind = $1 AND name = $2 RETURNING kind) \
         INSERT INTO @paused (kind, name) SELECT kind, $3 FROM gone ON CONFLICT DO NOTHING",
    );
    let pause = pause.with(PauseKind::Task.as_str()).with(&*adoption.from).with(&*adoption.to);
    link.ask(vec![rename, pause]).await?;
    Ok(true)
}

/// The statements with which a transaction learns what holds: the rules of lanes,
/// and whether anything is paused. Pauses of the batch come before that.
pub(super) fn ask_what_holds(batch: &Batch, asks: &mut Vec<Ask<'_>>) {
    asks.push(Ask::new(formatcp!(
        "SELECT t.key, {RULE_COLUMNS} FROM @task t WHERE t.concurrency IS NOT NULL OR t.rate IS NOT NULL"
    )));
    for pause in &batch.pauses {
        let (kind, name) = pause.target.parts();
        let ask = Ask::new(match pause.paused {
            true => "INSERT INTO @paused (kind, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            false => "DELETE FROM @paused WHERE kind = $1 AND name = $2",
        });
        asks.push(ask.with(kind.as_str()).with(name.to_string()));
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
        let mut fields = Fields::new(&row);
        rules.insert(fields.take()?, LaneRule::of(&read_rule(&mut fields)?));
    }
    for _ in &batch.pauses {
        next();
    }
    Ok((rules, !next().is_empty()))
}

/// The statement that reads what is known of some tasks.
macro_rules! select {
    ($which:literal) => {
        formatcp!(
            "SELECT t.key, t.queue IS NOT NULL, t.rule_by IS NOT NULL, {RULE_COLUMNS}, {MARK_COLUMNS} \
             FROM @task t WHERE {which}",
            which = $which
        )
    };
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
        for rule in &batch.dropped_rules {
            self.drop_rule(rule).await?;
        }
        let by = batch.rules_by.as_ref();
        let mut said: BTreeMap<i64, Vec<(&TaskRule, bool)>> = BTreeMap::new();
        for (rule, only_if_new) in batch.said_rules() {
            said.entry(self.names.task(&rule.task)?).or_default().push((rule, only_if_new));
        }
        if said.is_empty() {
            return Ok(());
        }
        let ask = Ask::new(select!("t.key = ANY($1)"));
        let rows = self.link.ask_one(ask.with(said.keys().copied().collect::<Vec<_>>())).await?;
        for row in &rows {
            let known = Known::read(row)?;
            said.retain(|key, rules| {
                *key != known.task
                    || changes(&known, rules, by).is_some()
                    || known.marked_now(rules, by).is_some()
            });
        }
        for (task, rules) in said {
            // It may have changed before the lock was there.
            let rows = self.link.ask_one(Ask::new(select!("t.key = $1 FOR UPDATE")).with(task)).await?;
            let row = rows.first().ok_or_else(|| Fault::Damaged(format!("task {task} is gone")))?;
            let known = Known::read(row)?;
            // A rule of a process that only submits has no origin.
            let is_of_runner = |new: &TaskRule| rules.iter().any(|(rule, only)| !only && *rule == new);
            if let Some(rule) = changes(&known, &rules, by) {
                self.set_rule(task, rule, by.filter(|_| is_of_runner(rule)), true).await?;
                let replaced = known.rule.map(|old| ReplacedRule { old, mark: known.mark });
                self.state.receipt.replaced.extend(replaced);
            } else if let Some(rule) = known.marked_now(&rules, by) {
                self.set_rule(task, rule, by, false).await?;
            }
        }
        if batch.claim.is_some() {
            self.look_for_openings().await?;
        }
        Ok(())
    }

    async fn set_rule(
        &mut self,
        task: i64,
        new: &TaskRule,
        by: Option<&RuleOrigin>,
        is_change: bool,
    ) -> Result<(), Fault> {
        let mut write = Ask::new(&SET_RULE).with(task);
        for ((_, kind), value) in RULE.iter().zip(rule_values(new, by.map(|by| (by, self.state.now)))) {
            write = write.with_value(*kind, value);
        }
        if !is_change {
            self.link.ask_one(write).await?;
            return Ok(());
        }
        self.write_rule(task, write, LaneRule::of(new)).await
    }

    /// Forgets a rule, if it is in force.
    async fn drop_rule(&mut self, rule: &TaskRule) -> Result<(), Fault> {
        let ask = Ask::new(select!("t.name = $1 FOR UPDATE")).with(rule.task.to_string());
        let rows = self.link.ask_one(ask).await?;
        let known = rows.first().map(Known::read).transpose()?;
        match known.filter(|known| known.rule.as_ref() == Some(rule)) {
            Some(Known { task, .. }) => {
                self.write_rule(task, Ask::new(&DROP_RULE).with(task), LaneRule::default()).await
            }
            None => Ok(()),
        }
    }

    /// Writes another rule of a task. Every lane of it is looked at by the next claims.
    async fn write_rule(&mut self, task: i64, write: Ask<'_>, rule: LaneRule) -> Result<(), Fault> {
        let open = Ask::new("UPDATE @lane SET opens_at = $2 WHERE task = $1");
        self.link.ask(vec![write, open.with(task).with(self.state.now.0)]).await?;
        self.state.lanes.rules.insert(task, rule);
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
