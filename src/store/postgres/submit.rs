//! Submits, and the invocations that they collide with.

use const_format::formatcp;
use tokio_postgres::Row;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{Arg, column, uuid, uuids};
use super::work::Work;
use crate::model::{IdSet, InvocationId, Status};
use crate::store::decide::{Above, Collisions};
use crate::store::rules::GENERATIONS_IN_LANE;
use crate::store::{Batch, NewInvocation};

/// Which questions were asked about the submits of a batch.
pub(super) struct Looks {
    any: bool,
    is_careful: bool,
    keyed: bool,
    placed: bool,
    unique: bool,
}

/// The statement that finds who has taken something of a task, and whether with the same
/// arguments.
macro_rules! taken {
    ($which:literal) => {
        formatcp!(
            "SELECT w.n, i.id, a.json = w.json FROM unnest($1, $2, $3, $4) AS w(n, task, json, key) \
             JOIN @task t ON t.name = ANY(ARRAY[w.task]) CROSS JOIN LATERAL ( \
                 SELECT seq, id FROM @invocation WHERE task = t.key AND {which} OFFSET 0) i \
                 JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq])",
            which = $which
        )
    };
}

impl Looks {
    /// Asks what the batch's submits collide with.
    pub(super) fn ask<'a>(is_careful: bool, batch: &'a Batch, asks: &mut Vec<Ask<'a>>) -> Self {
        let submits = || (0i64..).zip(&batch.submits);
        if !batch.submits.is_empty() {
            let count = i64::try_from(batch.submits.len()).unwrap_or(i64::MAX);
            asks.push(Ask::new("SELECT nextval('@invocation_seq') FROM generate_series(1, $1)").with(count));
            if is_careful {
                asks.push(ask_which_exist(submits().map(|(_, new)| &new.id)));
            }
        }
        let keyed: Vec<_> = submits().filter_map(|one| Some((one, one.1.key.as_ref()?.as_bytes()))).collect();
        if !keyed.is_empty() {
            asks.push(ask_about(taken!("idempotency_key = w.key"), &keyed));
        }
        let placed: Vec<_> = submits().filter_map(|one| Some((one, one.1.child_of.as_ref()?))).collect();
        if !placed.is_empty() {
            let places = || placed.iter().map(|(_, place)| place);
            let placed: Vec<_> =
                placed.iter().map(|(one, place)| (*one, uuid(place.parent.as_bytes()))).collect();
            let ask = ask_about(
                "SELECT DISTINCT ON (w.n) w.n, i.id \
                 FROM unnest($1, $2, $3, $4, $5) AS w(n, task, json, parent, child_index) \
                 CROSS JOIN LATERAL ( \
                     SELECT seq, id, task FROM @invocation \
                     WHERE parent = w.parent AND child_index = w.child_index OFFSET 0) i \
                 CROSS JOIN LATERAL (SELECT FROM @task WHERE key = i.task AND name = w.task OFFSET 0) t \
                 JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq]) AND a.json = w.json ORDER BY w.n, i.seq",
                &placed,
            );
            asks.push(ask.with(places().map(|place| i64::from(place.index)).collect::<Vec<_>>()));
        }
        let unique: Vec<_> =
            submits().filter_map(|one| Some((one, uuid(one.1.unique?.0.as_bytes())))).collect();
        if !unique.is_empty() {
            asks.push(ask_about(taken!("unique_key = w.key AND place IS NOT NULL"), &unique));
        }
        Self {
            any: !batch.submits.is_empty(),
            is_careful: is_careful && !batch.submits.is_empty(),
            keyed: !keyed.is_empty(),
            placed: !placed.is_empty(),
            unique: !unique.is_empty(),
        }
    }

    /// Reads the answers.
    pub(super) fn read(self, next: &mut impl FnMut() -> Vec<Row>) -> Result<Collisions, Fault> {
        let numbers = if self.any { next() } else { Vec::new() };
        let ids = self.is_careful.then(|| next().iter().map(|row| column(row, 0)).collect::<Result<_, _>>());
        let mut found = Collisions::new(ids.transpose()?);
        found.numbers = numbers.iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        found.numbers.sort_unstable_by(|a, b| b.cmp(a));
        let taken = |row: &Row| Ok((index(row)?, (column(row, 1)?, column(row, 2)?)));
        if self.keyed {
            found.by_key = next().iter().map(taken).collect::<Result<_, Fault>>()?;
        }
        if self.placed {
            let taken = |row: &Row| Ok((index(row)?, column(row, 1)?));
            found.by_place = next().iter().map(taken).collect::<Result<_, Fault>>()?;
        }
        if self.unique {
            found.by_unique = next().iter().map(taken).collect::<Result<_, Fault>>()?;
        }
        Ok(found)
    }
}

/// The position in the batch that a row is about.
pub(super) fn index(row: &Row) -> Result<usize, Fault> {
    usize::try_from(column::<i64>(row, 0)?).map_err(|error| Fault::Damaged(error.to_string()))
}

/// Asks about submits: positions, tasks (by name: not every task has a number yet),
/// arguments, and what they may collide with.
fn ask_about<'a, K: Arg + Copy + Sync + Send + 'a>(
    sql: &'static str,
    submits: &[((i64, &'a NewInvocation), K)],
) -> Ask<'a>
where
    Vec<K>: Arg,
{
    let all = || submits.iter().map(|(one, _)| *one);
    Ask::new(sql)
        .with(all().map(|(index, _)| index).collect::<Vec<_>>())
        .with(all().map(|(_, new)| &*new.task).collect::<Vec<&str>>())
        .with(all().map(|(_, new)| &*new.arguments).collect::<Vec<&str>>())
        .with(submits.iter().map(|(_, key)| *key).collect::<Vec<K>>())
}

fn ask_which_exist<'i>(ids: impl IntoIterator<Item = &'i InvocationId>) -> Ask<'static> {
    Ask::new("SELECT id FROM @invocation WHERE id = ANY($1)").with(uuids(ids))
}

impl<'a> Work<'a> {
    pub(super) async fn submit(&mut self, submits: &'a [NewInvocation]) -> Result<(), Fault> {
        self.learn_ancestors(submits).await?;
        self.load_counts(submits).await?;
        let names = &*self.names;
        let numbers = |new: &NewInvocation| -> Result<_, Fault> {
            Ok((names.task(&new.task)?, names.component(new.component_digest)?))
        };
        let unconfirmed = self.state.apply_submits(submits, numbers)?;
        if !unconfirmed.is_empty() {
            let rows = self.link.ask_one(ask_which_exist(&unconfirmed)).await?;
            let existing = rows.iter().map(|row| column(row, 0)).collect::<Result<IdSet, _>>()?;
            self.state.confirm(&existing, submits);
        }
        Ok(())
    }

    /// Learns who is above the children that could find their own ancestors in
    /// their lane.
    async fn learn_ancestors(&mut self, submits: &[NewInvocation]) -> Result<(), Fault> {
        let mut parents = Vec::new();
        for new in submits.iter().filter(|new| new.lane.is_some() && !self.state.is_orphan(new)) {
            parents.extend(self.state.ancestors_to_load(new, self.names.task(&new.task)?));
        }
        if parents.is_empty() {
            return Ok(());
        }
        parents.sort_unstable();
        parents.dedup();
        let ask = Ask::new(formatcp!(
            "WITH RECURSIVE above(below, id, parent, task, lane, status, generation) AS ( \
                 SELECT i.id, i.id, i.parent, i.task, i.lane, i.status, 1 \
                 FROM unnest($1) AS w(id) JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) \
                 UNION ALL \
                 SELECT a.below, i.id, i.parent, i.task, i.lane, i.status, a.generation + 1 \
                 FROM above a JOIN @invocation i ON i.id = ANY(ARRAY[a.parent]) \
                 WHERE a.generation < {GENERATIONS_IN_LANE}) \
             SELECT below, id, task, lane, status FROM above \
             ORDER BY generation"
        ));
        for row in self.link.ask_one(ask.with(uuids(&parents))).await? {
            let above = Above {
                id: column(&row, 1)?,
                task: column(&row, 2)?,
                lane: column(&row, 3)?,
                is_owned: column::<Status>(&row, 4)?.is_owned(),
            };
            self.state.collisions.above.entry(column(&row, 0)?).or_default().push(above);
        }
        Ok(())
    }
}
