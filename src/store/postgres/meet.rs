//! What the submits of a batch meet.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{column, optional, uuid, uuids};
use super::work::Work;
use crate::model::InvocationId;
use crate::store::decide::{Above, Met};
use crate::store::{Batch, NewInvocation};

/// Which questions were asked, with the submits they are about.
pub(super) struct Looks {
    reserves: bool,
    existing: bool,
    keyed: Vec<usize>,
    placed: Vec<usize>,
    unique: Vec<usize>,
}

impl Looks {
    /// Asks what the batch's submits meet.
    pub(super) fn ask<'a>(is_careful: bool, batch: &'a Batch, asks: &mut Vec<Ask<'a>>) -> Looks {
        let submits = &batch.submits;
        let which = |is: fn(&NewInvocation) -> bool| -> Vec<usize> {
            (0..submits.len()).filter(|index| is(&submits[*index])).collect()
        };
        let looks = Looks {
            reserves: !submits.is_empty(),
            existing: is_careful && !submits.is_empty(),
            keyed: which(|new| new.key.is_some()),
            placed: which(|new| new.child_of.is_some()),
            unique: which(|new| new.unique.is_some()),
        };
        if looks.reserves {
            let count = i64::try_from(submits.len()).unwrap_or(i64::MAX);
            asks.push(Ask::new("SELECT nextval('@invocation_seq') FROM generate_series(1, $1)").with(count));
        }
        if looks.existing {
            asks.push(ask_which_exist(submits.iter().map(|new| &new.id)));
        }
        // By name: not every task has a number yet.
        let task = |index: &usize| &*submits[*index].task;
        let json = |index: &usize| &*submits[*index].arguments;
        if !looks.keyed.is_empty() {
            let key = |index: &usize| submits[*index].key.as_ref().map(|key| key.as_bytes());
            let ask = Ask::new(
                "SELECT w.n, i.id, a.json = w.json \
                 FROM unnest($1, $2, $3) WITH ORDINALITY AS w(task, key, json, n) \
                 JOIN @task t ON t.name = ANY(ARRAY[w.task]) CROSS JOIN LATERAL ( \
                     SELECT seq, id FROM @invocation \
                     WHERE task = t.key AND idempotency_key = w.key OFFSET 0) i \
                 JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq])",
            );
            asks.push(
                ask.with(looks.keyed.iter().map(task).collect::<Vec<_>>())
                    .with(looks.keyed.iter().map(key).collect::<Vec<_>>())
                    .with(looks.keyed.iter().map(json).collect::<Vec<_>>()),
            );
        }
        if !looks.placed.is_empty() {
            let places = looks.placed.iter().filter_map(|index| submits[*index].child_of.as_ref());
            let parents = uuids(places.clone().map(|place| &place.parent));
            let ask = Ask::new(
                "SELECT DISTINCT ON (w.n) w.n, i.id \
                 FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS w(parent, child_index, task, json, n) \
                 JOIN @task t ON t.name = ANY(ARRAY[w.task]) CROSS JOIN LATERAL ( \
                     SELECT seq, id FROM @invocation \
                     WHERE parent = w.parent AND child_index = w.child_index AND task = t.key OFFSET 0) i \
                 JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq]) AND a.json = w.json ORDER BY w.n, i.seq",
            );
            asks.push(
                ask.with(parents)
                    .with(places.map(|place| i64::from(place.index)).collect::<Vec<_>>())
                    .with(looks.placed.iter().map(task).collect::<Vec<_>>())
                    .with(looks.placed.iter().map(json).collect::<Vec<_>>()),
            );
        }
        if !looks.unique.is_empty() {
            let key = |index: &usize| submits[*index].unique.map(|(key, _)| uuid(key.as_bytes()));
            let ask = Ask::new(
                "SELECT w.n, i.id, a.json = w.json \
                 FROM unnest($1, $2, $3) WITH ORDINALITY AS w(task, key, json, n) \
                 JOIN @task t ON t.name = ANY(ARRAY[w.task]) CROSS JOIN LATERAL ( \
                     SELECT seq, id FROM @invocation \
                     WHERE task = t.key AND unique_key = w.key AND place IS NOT NULL OFFSET 0) i \
                 JOIN @arguments a ON a.seq = ANY(ARRAY[i.seq])",
            );
            asks.push(
                ask.with(looks.unique.iter().map(task).collect::<Vec<_>>())
                    .with(looks.unique.iter().map(key).collect::<Vec<_>>())
                    .with(looks.unique.iter().map(json).collect::<Vec<_>>()),
            );
        }
        looks
    }

    /// Reads the answers.
    pub(super) fn read(self, next: &mut impl FnMut() -> Vec<Row>) -> Result<Met, Fault> {
        let looks = self;
        let mut found = Met::default();
        found.knows_ids = looks.existing;
        if looks.reserves {
            found.numbers = next().iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
            found.numbers.sort_unstable_by(|a, b| b.cmp(a));
        }
        if looks.existing {
            found.ids = next().iter().map(|row| column(row, 0)).collect::<Result<_, _>>()?;
        }
        // Ordinals count from 1.
        let which = |row: &Row, asked: &[usize]| -> Result<usize, Fault> {
            let n: u64 = column(row, 0)?;
            let index = usize::try_from(n).ok().and_then(|n| asked.get(n.checked_sub(1)?).copied());
            index.ok_or_else(|| Fault::Damaged(format!("submit {n} was not asked about")))
        };
        if !looks.keyed.is_empty() {
            for row in next() {
                let index = which(&row, &looks.keyed)?;
                found.by_key.insert(index, (column(&row, 1)?, column(&row, 2)?));
            }
        }
        if !looks.placed.is_empty() {
            for row in next() {
                found.by_place.insert(which(&row, &looks.placed)?, column(&row, 1)?);
            }
        }
        if !looks.unique.is_empty() {
            for row in next() {
                let index = which(&row, &looks.unique)?;
                found.by_unique.insert(index, (column(&row, 1)?, column(&row, 2)?));
            }
        }
        Ok(found)
    }
}

fn ask_which_exist<'i>(ids: impl IntoIterator<Item = &'i InvocationId>) -> Ask<'static> {
    Ask::new("SELECT id FROM @invocation WHERE id = ANY($1)").with(uuids(ids))
}

impl<'a> Work<'a> {
    pub(super) async fn submit(&mut self, submits: &'a [NewInvocation]) -> Result<(), Fault> {
        self.learn_ancestors(submits).await?;
        let names = &*self.names;
        let numbers = |new: &NewInvocation| -> Result<_, Fault> {
            Ok((names.task(&new.task)?, names.component(new.component_digest)?))
        };
        let unconfirmed = self.state.apply_submits(submits, numbers)?;
        if !unconfirmed.is_empty() {
            let rows = self.link.ask_one(ask_which_exist(&unconfirmed)).await?;
            let existing = rows.iter().map(|row| column(row, 0)).collect::<Result<HashSet<_>, _>>()?;
            self.state.confirm(&existing, submits);
        }
        Ok(())
    }

    /// Learns who is above the children that could find their own ancestors in
    /// their lane.
    async fn learn_ancestors(&mut self, submits: &[NewInvocation]) -> Result<(), Fault> {
        let mut parents = Vec::new();
        for new in submits.iter().filter(|new| new.lane.is_some() && !self.state.is_orphan(new)) {
            parents.extend(self.state.fears_ancestors(new, self.names.task(&new.task)?));
        }
        if parents.is_empty() {
            return Ok(());
        }
        parents.sort_unstable();
        parents.dedup();
        let ask = Ask::new(
            "WITH RECURSIVE above(below, id, parent, task, lane, status, distance) AS ( \
                 SELECT i.id, i.id, i.parent, i.task, i.lane, i.status, 0 \
                 FROM unnest($1) AS w(id) JOIN @invocation i ON i.id = ANY(ARRAY[w.id]) \
                 UNION ALL \
                 SELECT a.below, i.id, i.parent, i.task, i.lane, i.status, a.distance + 1 \
                 FROM above a JOIN @invocation i ON i.id = ANY(ARRAY[a.parent])) \
             SELECT below, id, task, lane, status IN ('claimed', 'running', 'waiting') FROM above \
             ORDER BY distance",
        );
        for row in self.link.ask_one(ask.with(uuids(&parents))).await? {
            let above = Above {
                id: column(&row, 1)?,
                task: column(&row, 2)?,
                lane: optional(&row, 3)?,
                is_owned: column(&row, 4)?,
            };
            self.state.met.above.entry(column(&row, 0)?).or_default().push(above);
        }
        Ok(())
    }
}
