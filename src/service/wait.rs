//! Waiting for invocations that some other process runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{InvocationId, Outcome, Status};
use crate::store::{Changes, LookUp, Store, StoreError};

/// Events may be lost where the operating system says so (a full queue, a file
/// system over a network): look again after this long without one.
const FALLBACK: Duration = Duration::from_secs(5);

/// A store that is reached over a network may be away for a while: its server
/// restarts, a cable is pulled. So long a command tries again.
const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Asks a store for something that can be asked twice, again if it can't be reached
/// now.
///
/// # Errors
///
/// What the store said last.
pub fn patiently<T>(store: &dyn Store, ask: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match ask() {
            Err(StoreError::Unavailable { .. })
                if store.is_remote() && began.elapsed() + pause < PATIENCE =>
            {
                std::thread::sleep(pause);
                pause = (pause * 2).min(LAST_PAUSE);
            }
            other => return other,
        }
    }
}

/// What a wait for one invocation ended with.
#[derive(Debug)]
pub enum Waited {
    /// It is final.
    Final(Outcome),
    /// The time was over first.
    Unfinished(Status),
    /// Nobody has that id.
    Unknown,
}

/// Waits for changes of a store by other processes.
pub struct Waiter {
    store: Arc<dyn Store>,
    changes: Changes,
}

impl Waiter {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// If the store can't be watched.
    pub fn new(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let changes = Changes::of(&store)?;
        Ok(Self { store, changes })
    }

    /// Waits until an invocation is final, or the deadline.
    ///
    /// # Errors
    ///
    /// If the store can't be read, or can't be watched any more.
    pub fn wait(&mut self, id: InvocationId, deadline: Option<Instant>) -> Result<Waited, StoreError> {
        loop {
            // Watching began before this look: a change after it is told.
            let found = patiently(&*self.store, || self.store.look_up(&[id]))?;
            let status = match found.into_iter().next() {
                Some(LookUp::Final(outcome)) => return Ok(Waited::Final(outcome)),
                Some(LookUp::Unfinished(status)) => status,
                Some(LookUp::Unknown) | None => return Ok(Waited::Unknown),
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Waited::Unfinished(status));
            }
            self.changes.wait(left.map_or(FALLBACK, |left| left.min(FALLBACK)))?;
        }
    }
}
