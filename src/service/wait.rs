//! Waiting for invocations that some other process runs.

use std::time::{Duration, Instant};

use super::patience::Access;
use super::{InvocationDocument, Service, ServiceError};
use crate::model::{InvocationId, Outcome, Status};
use crate::store::{Changes, LookUp, StoreError};

/// Events may be lost where the operating system says so (a full queue, a file
/// system over a network): look again after this long without one.
const FALLBACK: Duration = Duration::from_secs(5);

/// The end of a wait for one invocation.
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
    access: Access,
    changes: Changes,
}

impl Service {
    /// Begins to watch the store: an end after this is not missed.
    ///
    /// # Errors
    ///
    /// If the store can't be watched.
    pub fn waiter(&self) -> Result<Waiter, ServiceError> {
        let access = self.existing()?;
        let changes = access.ask(|_| Changes::of(access.store()))?;
        Ok(Waiter { access, changes })
    }

    /// Waits until an invocation is final, or the time is over; what it is then.
    ///
    /// # Errors
    ///
    /// If nobody has that id, or the store can't be read or watched.
    pub fn wait(
        &self,
        id: InvocationId,
        timeout: Option<Duration>,
    ) -> Result<InvocationDocument, ServiceError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.waiter()?.wait(id, deadline)?;
        self.status(id)
    }
}

impl Waiter {
    /// Waits until an invocation is final, or the deadline.
    ///
    /// # Errors
    ///
    /// If the store can't be read, or can't be watched any more.
    pub fn wait(&mut self, id: InvocationId, deadline: Option<Instant>) -> Result<Waited, StoreError> {
        loop {
            // Watching began before this look: a change after it is told.
            let found = self.access.ask(|store| store.look_up(&[id]))?;
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
