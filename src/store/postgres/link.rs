//! One connection to the server, and how statements are sent over it: many at
//! once, answered in order, so that a transaction takes a few round trips however
//! many statements it has.

use std::collections::HashMap;
use std::sync::Arc;

use const_format::formatcp;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::fault::Fault;
use super::schema::in_schema;
use super::sql::{Arg, types_of};
use crate::store::columns::Columns;
use crate::store::value::{Kind, Value};

/// So many statements, at most, go out before the first answer is read. Within
/// it, the driver sends them in order.
const SENT_AT_ONCE: usize = 30;

/// How the server is to plan and wait. Statements are written for one plan each, by
/// their indexes, and these settings take the others away (`docs/design/postgres.md`, "One
/// plan for each statement"). And a session whose process stands still lets go of its locks.
macro_rules! settings {
    ($set:literal) => {
        formatcp!(
            "{set} enable_seqscan = off; {set} enable_bitmapscan = off; {set} enable_hashjoin = off; \
             {set} enable_mergejoin = off; {set} jit = off; {set} max_parallel_workers_per_gather = 0; \
             {set} lock_timeout = '10s'; {set} idle_in_transaction_session_timeout = '5s'; ",
            set = $set
        )
    };
}

/// Has a commit on the disk when it returns, whatever the server's default, in this transaction or for good.
macro_rules! durable {
    ($is_local:literal) => {
        formatcp!(
            "SELECT set_config('synchronous_commit', 'on', {}) \
             WHERE current_setting('synchronous_commit') IN ('off', 'local')",
            $is_local
        )
    };
}

/// The settings of a session of our own.
pub(super) const SESSION: &str = formatcp!("{}{}", settings!("SET"), durable!(false));

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

/// Begins a transaction in a session that may have been anybody's.
const BEGIN_POOLED: &str = formatcp!("{BEGIN}; {}{}", settings!("SET LOCAL"), durable!(true));

const BEGIN_READING_POOLED: &str =
    formatcp!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {}", settings!("SET LOCAL"));

/// A connection. Dropped, it is cut, whatever is under way.
pub(super) struct Link {
    client: Client,
    task: AbortHandle,
    schema: Arc<str>,
    /// `None` if the connection is not a session of our own: a pooler may
    /// give each transaction another one, which knows none of our statements and
    /// settings.
    statements: Option<Mutex<HashMap<&'static str, Statement>>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A statement with its arguments.
pub(super) struct Ask<'a> {
    sql: &'static str,
    arguments: Vec<(Box<dyn ToSql + Sync + Send + 'a>, Type)>,
    is_simple: bool,
}

impl<'a> Ask<'a> {
    /// A statement, with `@` before each name of ours.
    pub(super) fn new(sql: &'static str) -> Self {
        Self { sql, arguments: Vec::new(), is_simple: false }
    }

    /// A statement that has no arguments and no rows, such as `COMMIT`.
    pub(super) fn simple(sql: &'static str) -> Self {
        Self { sql, arguments: Vec::new(), is_simple: true }
    }

    /// The next argument.
    pub(super) fn with<T: Arg + Sync + Send + 'a>(mut self, argument: T) -> Self {
        self.arguments.push((Box::new(argument), T::TYPE));
        self
    }

    /// The next argument, a value of one column.
    pub(super) fn with_value(mut self, kind: Kind, value: Value<'a>) -> Self {
        let [one, _] = types_of(kind);
        self.arguments.push((Box::new(value), one));
        self
    }

    /// The next argument, an array of values of one column.
    pub(super) fn with_values(mut self, kind: Kind, values: Vec<Value<'a>>) -> Self {
        let [_, many] = types_of(kind);
        self.arguments.push((Box::new(values), many));
        self
    }

    /// The next arguments, an array for each column.
    pub(super) fn with_rows<const N: usize>(
        mut self,
        columns: Columns,
        rows: impl ExactSizeIterator<Item = [Value<'a>; N]>,
    ) -> Self {
        let mut arrays = [const { Vec::new() }; N];
        arrays.iter_mut().for_each(|array: &mut Vec<_>| array.reserve_exact(rows.len()));
        for row in rows {
            arrays.iter_mut().zip(row).for_each(|(array, value)| array.push(value));
        }
        for ((_, kind), array) in columns.iter().zip(arrays) {
            self = self.with_values(*kind, array);
        }
        self
    }
}

impl Link {
    /// A connection whose traffic is carried by `task`.
    pub(super) fn new(client: Client, task: AbortHandle, schema: Arc<str>, is_session: bool) -> Self {
        let statements = is_session.then(Mutex::default);
        Self { client, task, schema, statements }
    }

    /// Whether it is known to be broken.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Ask<'static> {
        Ask::simple(if self.statements.is_some() { BEGIN } else { BEGIN_POOLED })
    }

    /// Asks what changes nothing.
    pub(super) async fn read(&self, ask: Ask<'_>) -> Result<Vec<Row>, Fault> {
        if self.statements.is_some() {
            return self.ask_one(ask).await;
        }
        let asks = vec![Ask::simple(BEGIN_READING_POOLED), ask, Ask::simple("COMMIT")];
        let mut answers = self.ask(asks).await?;
        Ok(answers.swap_remove(1))
    }

    /// Sends all statements, then reads all answers.
    ///
    /// # Errors
    ///
    /// That of the first statement which failed.
    pub(super) async fn ask(&self, asks: Vec<Ask<'_>>) -> Result<Vec<Vec<Row>>, Fault> {
        let prepared = self.prepare(&asks).await?;
        let mut answers = Vec::with_capacity(asks.len());
        for (asks, prepared) in asks.chunks(SENT_AT_ONCE).zip(prepared.chunks(SENT_AT_ONCE)) {
            let sent = asks.iter().zip(prepared).map(|(ask, statement)| self.send(ask, statement.as_ref()));
            for answer in join_all(sent).await {
                answers.push(answer?);
            }
        }
        Ok(answers)
    }

    /// Sends one statement.
    pub(super) async fn ask_one(&self, ask: Ask<'_>) -> Result<Vec<Row>, Fault> {
        let prepared = self.prepare(std::slice::from_ref(&ask)).await?;
        self.send(&ask, prepared[0].as_ref()).await
    }

    /// Has the server remember the statements that it does not know yet.
    async fn prepare(&self, asks: &[Ask<'_>]) -> Result<Vec<Option<Statement>>, Fault> {
        let Some(statements) = &self.statements else {
            return Ok(vec![None; asks.len()]);
        };
        let mut prepared = Vec::with_capacity(asks.len());
        for ask in asks {
            if ask.is_simple {
                prepared.push(None);
                continue;
            }
            let known = statements.lock().get(ask.sql).cloned();
            let statement = match known {
                Some(statement) => statement,
                None => {
                    let types: Vec<_> = ask.arguments.iter().map(|(_, kind)| kind.clone()).collect();
                    let sql = in_schema(ask.sql, &self.schema);
                    let statement = self.client.prepare_typed(&sql, &types).await?;
                    statements.lock().insert(ask.sql, statement.clone());
                    statement
                }
            };
            prepared.push(Some(statement));
        }
        Ok(prepared)
    }

    async fn send(&self, ask: &Ask<'_>, statement: Option<&Statement>) -> Result<Vec<Row>, Fault> {
        if ask.is_simple {
            self.client.batch_execute(ask.sql).await?;
            return Ok(Vec::new());
        }
        let rows = match statement {
            Some(statement) => {
                let arguments: Vec<&(dyn ToSql + Sync)> =
                    ask.arguments.iter().map(|(value, _)| &**value as &(dyn ToSql + Sync)).collect();
                self.client.query(statement, &arguments).await?
            }
            None => {
                let arguments: Vec<(&(dyn ToSql + Sync), Type)> = ask
                    .arguments
                    .iter()
                    .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))
                    .collect();
                self.client.query_typed(&in_schema(ask.sql, &self.schema), &arguments).await?
            }
        };
        Ok(rows)
    }

    /// Sends statements that have no arguments, of any text.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(sql).await?)
    }
}
