//! How a transaction writes what was decided: each table with one statement.

use tokio_postgres::Row;
use uuid::Uuid;

use super::fault::Fault;
use super::link::Ask;
use super::sql::{to_json, uuid};
use super::work::Work;
use crate::model::{InvocationId, Outcome, RunnerId};
use crate::store::decide::{Fresh, Head};
use crate::store::rules::Place;

fn optional_uuid(runner: Option<RunnerId>) -> Option<Uuid> {
    runner.map(|runner| uuid(runner.as_bytes()))
}

fn optional_id(id: Option<InvocationId>) -> Option<Uuid> {
    id.map(|id| uuid(id.as_bytes()))
}

impl<'a> Work<'a> {
    /// Writes everything that is not written yet, and asks.
    pub(super) async fn write_and_ask(&mut self, more: Vec<Ask<'_>>) -> Result<Vec<Vec<Row>>, Fault> {
        let mut asks: Vec<Ask<'_>> = self.write_all()?;
        let written = asks.len();
        asks.extend(more);
        let mut answers = self.link.ask(asks).await?;
        answers.drain(..written);
        Ok(answers)
    }

    /// The statements that write everything that is not written yet.
    pub(super) fn write_all(&mut self) -> Result<Vec<Ask<'a>>, Fault> {
        // They are blocked in the database from now on.
        self.state.lanes.arrivals.clear();
        let mut asks = Vec::new();
        self.write_fresh(&mut asks)?;
        self.write_changed(&mut asks)?;
        let moves = std::mem::take(&mut self.state.moves.rows);
        if !moves.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @history (seq, n, at, status, reason, runner, attempt, detail) \
                 SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)",
            );
            let details = moves.iter().map(|one| one.detail.as_deref().map(|text| text.as_bytes().to_vec()));
            asks.push(
                ask.with(moves.iter().map(|one| one.seq).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.n).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.at.0).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.to.as_str()).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| optional_uuid(one.runner)).collect::<Vec<_>>())
                    .with(moves.iter().map(|one| i64::from(one.attempt)).collect::<Vec<_>>())
                    .with(details.collect::<Vec<_>>()),
            );
        }
        let outcomes = std::mem::take(&mut self.state.outcomes);
        if !outcomes.is_empty() {
            let (mut seqs, mut failures, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for (seq, outcome) in outcomes {
                seqs.push(seq);
                let (failure, value) = match outcome {
                    Outcome::Failure(failure) => (Some(to_json(&failure)?), None),
                    Outcome::Value(value) => (None, Some(value.as_ref().to_owned())),
                };
                failures.push(failure);
                values.push(value);
            }
            let ask = Ask::new("INSERT INTO @outcome (seq, failure, value) SELECT * FROM unnest($1, $2, $3)");
            asks.push(ask.with(seqs).with(failures).with(values));
        }
        self.write_logs(&mut asks);
        let revoked = std::mem::take(&mut self.state.revoked);
        if !revoked.is_empty() {
            let ask = Ask::new(
                "INSERT INTO @revoked (runner, id) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING",
            );
            asks.push(
                ask.with(revoked.iter().map(|(runner, _)| uuid(runner.as_bytes())).collect::<Vec<_>>())
                    .with(revoked.iter().map(|(_, id)| uuid(id.as_bytes())).collect::<Vec<_>>()),
            );
        }
        Ok(asks)
    }

    fn write_fresh(&mut self, asks: &mut Vec<Ask<'a>>) -> Result<(), Fault> {
        let fresh = std::mem::take(&mut self.state.fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        for one in &fresh {
            if let Some(head) = self.state.heads.get_mut(&one.id) {
                head.is_changed = false;
            }
        }
        let rows: Vec<(&Head, &Fresh<'a>)> =
            fresh.iter().filter_map(|one| Some((self.state.heads.get(&one.id)?, one))).collect();
        macro_rules! all {
            (|$head:pat_param, $fresh:pat_param| $value:expr) => {
                rows.iter().map(|($head, $fresh)| $value).collect::<Vec<_>>()
            };
        }
        let place = |one: &Fresh<'a>| one.new.child_of.as_ref();
        let labels = rows.iter().map(|(_, one)| match one.new.labels.is_empty() {
            true => Ok(None),
            false => to_json(&one.new.labels).map(Some),
        });
        let ask = Ask::new(
            "INSERT INTO @invocation (seq, id, status, place, task, component, attempt, max_attempts, \
             moves, order_key, priority, available_at, submitted_at, started_at, finished_at, runner, \
             parent, child_index, root, depth, detached, has_children, idempotency_key, labels, deadline, \
             lane, unique_key) \
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
             $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)",
        );
        asks.push(
            ask.with(all!(|head, _| head.seq))
                .with(all!(|head, _| uuid(head.id.as_bytes())))
                .with(all!(|head, _| head.status.as_str()))
                .with(all!(|head, _| head.place.map(Place::as_str)))
                .with(all!(|head, _| head.task))
                .with(all!(|head, _| head.component))
                .with(all!(|head, _| i64::from(head.attempt)))
                .with(all!(|head, _| i64::from(head.max_attempts)))
                .with(all!(|head, _| head.moves))
                .with(all!(|head, _| head.rank().0))
                .with(all!(|head, _| head.priority))
                .with(all!(|head, _| head.available_at.0))
                .with(all!(|_, one| one.submitted_at.0))
                .with(all!(|head, _| head.started_at.map(|at| at.0)))
                .with(all!(|head, _| head.finished_at.map(|at| at.0)))
                .with(all!(|head, _| optional_uuid(head.runner)))
                .with(all!(|head, _| optional_id(head.parent)))
                .with(all!(|_, one| place(one).map(|place| i64::from(place.index))))
                .with(all!(|_, one| optional_id(place(one).map(|place| place.root))))
                .with(all!(|_, one| place(one).map_or(0, |place| i64::from(place.depth))))
                .with(all!(|head, _| head.detached))
                .with(all!(|head, _| head.has_children))
                .with(all!(|_, one| one.new.key.as_ref().map(|key| key.as_bytes())))
                .with(labels.collect::<Result<Vec<_>, _>>()?)
                .with(all!(|head, _| head.deadline.map(|at| at.0)))
                .with(all!(|_, one| one.new.lane.map(|key| uuid(key.as_bytes()))))
                .with(all!(|_, one| one.new.unique.map(|(key, _)| uuid(key.as_bytes())))),
        );
        let ask = Ask::new("INSERT INTO @arguments (seq, json) SELECT * FROM unnest($1, $2)");
        asks.push(ask.with(all!(|head, _| head.seq)).with(all!(|_, one| &*one.new.arguments)));
        Ok(())
    }

    fn write_changed(&mut self, asks: &mut Vec<Ask<'a>>) -> Result<(), Fault> {
        let mut changed: Vec<&mut Head> =
            self.state.heads.values_mut().filter(|head| head.is_changed).collect();
        if changed.is_empty() {
            return Ok(());
        }
        changed.sort_unstable_by_key(|head| head.seq);
        macro_rules! all {
            (|$head:ident| $value:expr) => {
                changed.iter().map(|$head| $value).collect::<Vec<_>>()
            };
        }
        let usages = changed.iter().map(|head| head.usage.map(|usage| to_json(&usage)).transpose());
        let usages = usages.collect::<Result<Vec<_>, _>>()?;
        let progresses = changed.iter().map(|head| head.progress.as_ref().map(to_json).transpose());
        let progresses = progresses.collect::<Result<Vec<_>, _>>()?;
        let ask = Ask::new(
            "UPDATE @invocation i SET status = u.status, place = u.place, component = u.component, \
             attempt = u.attempt, moves = u.moves, order_key = u.order_key, \
             available_at = u.available_at, started_at = u.started_at, finished_at = u.finished_at, \
             runner = u.runner, has_children = u.has_children, \
             progress = coalesce(u.progress, i.progress), usage = u.usage \
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) AS u(seq, status, \
             place, component, attempt, moves, order_key, available_at, started_at, finished_at, \
             runner, has_children, progress, usage) WHERE i.seq = ANY(ARRAY[u.seq])",
        );
        asks.push(
            ask.with(all!(|head| head.seq))
                .with(all!(|head| head.status.as_str()))
                .with(all!(|head| head.place.map(Place::as_str)))
                .with(all!(|head| head.component))
                .with(all!(|head| i64::from(head.attempt)))
                .with(all!(|head| head.moves))
                .with(all!(|head| head.rank().0))
                .with(all!(|head| head.available_at.0))
                .with(all!(|head| head.started_at.map(|at| at.0)))
                .with(all!(|head| head.finished_at.map(|at| at.0)))
                .with(all!(|head| optional_uuid(head.runner)))
                .with(all!(|head| head.has_children))
                .with(progresses)
                .with(usages),
        );
        for head in changed {
            head.is_changed = false;
            head.progress = None;
        }
        Ok(())
    }

    fn write_logs(&mut self, asks: &mut Vec<Ask<'a>>) {
        let logs = std::mem::take(&mut self.state.logs);
        let lines = logs.iter().flat_map(|(seq, report)| report.logs.iter().map(|line| (*seq, line)));
        let lines: Vec<_> = lines.collect();
        if lines.is_empty() {
            return;
        }
        let ask = Ask::new(
            "INSERT INTO @log (seq, at, attempt, stream, level, text) \
             SELECT seq, at, attempt, stream, level, text \
             FROM unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY \
             AS w(seq, at, attempt, stream, level, text, n) ORDER BY w.n",
        );
        asks.push(
            ask.with(lines.iter().map(|(seq, _)| *seq).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.at.0).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| i64::from(line.attempt)).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.stream.as_str()).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.level.as_deref()).collect::<Vec<_>>())
                .with(lines.iter().map(|(_, line)| line.text.as_bytes()).collect::<Vec<_>>()),
        );
    }
}
