//! The evidence when all has come to its end: the requests of this process, the lines of
//! guests, the ends of runners, and the contents of the store.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::book::{CancelAsked, Submit};
use super::kind::Kind;
use super::runners::Record;
use super::witness::Line;
use crate::model::{FailureKind, Invocation, InvocationId, Outcome, Transition};
use crate::store::{Filter, Store, StoreError};

/// Invocations that are read at once.
const AT_ONCE: usize = 500;

/// The evidence.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub lease: Duration,
    pub slots: usize,
    pub submits: Vec<Submit>,
    pub cancels: Vec<CancelAsked>,
    /// The outcome of each when it was first seen to be final.
    pub seen: HashMap<InvocationId, String>,
    /// The answers of the store that contradict earlier ones.
    pub contradictions: Vec<String>,
    /// Every invocation of the run's tasks, oldest first.
    pub lives: BTreeMap<InvocationId, Life>,
    /// The lines that guests wrote, in the order of each process.
    pub lines: Vec<Line>,
    /// The lines that can't be read.
    pub unreadable: Vec<String>,
    /// The ends of the runner processes.
    pub runners: Vec<Record>,
}

/// An invocation, as the store tells it.
#[derive(Debug, Clone)]
pub struct Life {
    pub kind: Kind,
    pub arguments: Vec<u64>,
    pub invocation: Invocation,
    pub history: Vec<Transition>,
}

impl Life {
    /// Tells whether its runners disappeared in its last attempt.
    pub fn is_lost(&self) -> bool {
        matches!(&self.invocation.outcome, Some(Outcome::Failure(failure)) if failure.kind == FailureKind::Lost)
    }
}

/// Reads all invocations of these tasks from the store.
pub fn lives(
    store: &dyn Store,
    tasks: impl IntoIterator<Item = (Kind, String)>,
) -> Result<BTreeMap<InvocationId, Life>, StoreError> {
    let mut lives = BTreeMap::new();
    for (kind, task) in tasks {
        let filter = Filter { tasks: Some(vec![task.into()]), ..Filter::default() };
        for ids in store.ids(&filter)?.chunks(AT_ONCE) {
            for invocation in store.get(ids)?.into_iter().flatten() {
                let id = invocation.id;
                let arguments = store.arguments(id)?;
                // What is no list of numbers was not submitted by us; without
                // arguments it will not have the children that it should have.
                let arguments = arguments.and_then(|json| serde_json::from_str(&json).ok());
                let life = Life {
                    kind,
                    arguments: arguments.unwrap_or_default(),
                    invocation,
                    history: store.history(id)?,
                };
                lives.insert(id, life);
            }
        }
    }
    Ok(lives)
}

impl Evidence {
    /// Returns what clocks of processes may differ by, and what a runner that has lost its
    /// lease may need to notice: the part of a lease that runners don't trust.
    pub fn margin(&self) -> Duration {
        self.lease / 10
    }
}
