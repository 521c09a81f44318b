//! How a transaction writes what was decided: each table with one statement.

use std::sync::LazyLock;

use tokio_postgres::Row;

use super::fault::Fault;
use super::link::Ask;
use super::sql::uuid;
use super::work::Work;
use crate::model::Outcome;
use crate::store::columns::{
    ANYWHERE, Columns, HISTORY, LOG, NEW, WITH_PLACE, anywhere_values, history_values, log_values,
    new_values, with_place_values,
};
use crate::store::decide::Head;
use crate::store::value::{Kind, Value};

/// `each` of these columns, with commas between them.
fn list(columns: &[Columns], each: impl Fn(&str) -> String) -> String {
    let names = columns.iter().copied().flatten().map(|(name, _)| each(name));
    names.collect::<Vec<_>>().join(", ")
}

/// `$1, $2, …` up to `count`.
fn parameters(count: usize) -> String {
    (1..=count).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

fn insert(table: &str, columns: Columns) -> String {
    format!(
        "INSERT INTO @{table} ({}) SELECT * FROM unnest({})",
        list(&[columns], str::to_owned),
        parameters(columns.len())
    )
}

static INSERT_INVOCATIONS: LazyLock<String> = LazyLock::new(|| insert("invocation", NEW));
static INSERT_HISTORY: LazyLock<String> = LazyLock::new(|| insert("history", HISTORY));
static INSERT_LOG: LazyLock<String> = LazyLock::new(|| {
    // In the order in which they were written, which numbers them.
    let names = list(&[LOG], str::to_owned);
    format!(
        "INSERT INTO @log ({names}) SELECT {names} FROM unnest({}) WITH ORDINALITY AS w({names}, n) \
         ORDER BY w.n",
        parameters(LOG.len())
    )
});
static UPDATE_INVOCATIONS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE @invocation i SET {}, {} FROM unnest({}) AS u(seq, {}) WHERE i.seq = ANY(ARRAY[u.seq])",
        list(&[ANYWHERE], |name| format!("{name} = coalesce(u.{name}, i.{name})")),
        list(&[WITH_PLACE], |name| format!("{name} = u.{name}")),
        parameters(1 + ANYWHERE.len() + WITH_PLACE.len()),
        list(&[ANYWHERE, WITH_PLACE], str::to_owned)
    )
});

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
        self.write_fresh(&mut asks);
        self.write_changed(&mut asks);
        let moves = std::mem::take(&mut self.state.moves.rows);
        if !moves.is_empty() {
            asks.push(Ask::new(&INSERT_HISTORY).with_rows(HISTORY, moves.into_iter().map(history_values)));
        }
        let outcomes = std::mem::take(&mut self.state.outcomes);
        if !outcomes.is_empty() {
            let (mut seqs, mut failures, mut values) = (Vec::new(), Vec::new(), Vec::new());
            for (seq, outcome) in outcomes {
                seqs.push(seq);
                let (failure, value) = match outcome {
                    Outcome::Failure(failure) => (Value::from(&*failure), None),
                    Outcome::Value(value) => (Value::Null, Some(value.as_ref().to_owned())),
                };
                failures.push(failure);
                values.push(value);
            }
            let ask = Ask::new("INSERT INTO @outcome (seq, failure, value) SELECT * FROM unnest($1, $2, $3)");
            asks.push(ask.with(seqs).with_values(Kind::Text, failures).with(values));
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

    fn write_fresh(&mut self, asks: &mut Vec<Ask<'a>>) {
        let fresh = std::mem::take(&mut self.state.fresh);
        if fresh.is_empty() {
            return;
        }
        let mut rows = Vec::with_capacity(fresh.len());
        let (mut seqs, mut arguments) = (Vec::with_capacity(fresh.len()), Vec::with_capacity(fresh.len()));
        for one in fresh {
            let Some(head) = self.state.heads.get_mut(&one.id) else { continue };
            head.is_changed = false;
            rows.push(new_values(head, &one));
            seqs.push(head.seq);
            arguments.push(&*one.new.arguments);
        }
        asks.push(Ask::new(&INSERT_INVOCATIONS).with_rows(NEW, rows.into_iter()));
        let ask = Ask::new("INSERT INTO @arguments (seq, json) SELECT * FROM unnest($1, $2)");
        asks.push(ask.with(seqs).with(arguments));
    }

    fn write_changed(&mut self, asks: &mut Vec<Ask<'a>>) {
        let mut changed: Vec<&mut Head> =
            self.state.heads.values_mut().filter(|head| head.is_changed).collect();
        if changed.is_empty() {
            return;
        }
        changed.sort_unstable_by_key(|head| head.seq);
        let seqs: Vec<_> = changed.iter().map(|head| head.seq).collect();
        asks.push(
            Ask::new(&UPDATE_INVOCATIONS)
                .with(seqs)
                .with_rows(ANYWHERE, changed.iter().map(|head| anywhere_values(head)))
                .with_rows(WITH_PLACE, changed.iter().map(|head| with_place_values(head))),
        );
        for head in changed {
            head.is_changed = false;
            head.progress = None;
        }
    }

    fn write_logs(&mut self, asks: &mut Vec<Ask<'a>>) {
        let logs = std::mem::take(&mut self.state.logs);
        let lines = logs.iter().flat_map(|(seq, report)| report.logs.iter().map(|line| (*seq, line)));
        let rows: Vec<_> = lines.map(|(seq, line)| log_values(seq, line)).collect();
        if !rows.is_empty() {
            asks.push(Ask::new(&INSERT_LOG).with_rows(LOG, rows.into_iter()));
        }
    }
}
