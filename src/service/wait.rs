//! Waiting for invocations, whoever runs them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, never};

use super::patience::Access;
use super::{InvocationDocument, Service, ServiceError};
use crate::model::{InvocationId, Outcome, Status};
use crate::store::{Changes, LookUp};

/// Events may be lost where the operating system says so (a full queue, a file
/// system over a network): look again after this long without one.
pub(super) const FALLBACK: Duration = Duration::from_secs(5);

/// The end of a wait for one invocation.
#[derive(Debug)]
pub enum Waited {
    /// It is final.
    Final(Outcome),
    /// The time was over first, or the wait was given up.
    Unfinished(Status),
    /// Nobody has that id.
    Unknown,
}

/// Waits for changes of a store: by other processes, and by the operations and runners of this one that share its
/// service.
pub struct Waiter {
    pub(super) access: Access,
    pub(super) changes: Changes,
    pub(super) given_up: Receiver<()>,
}

/// Keeps a [`Waiter`] waiting: when this is dropped, by whatever thread, the wait ends.
pub struct WaitGuard(#[expect(dead_code, reason = "dropping it disconnects the waiter")] Sender<()>);

impl Service {
    /// Begins to watch the store: an end after this is not missed.
    pub fn waiter(&self) -> Result<Waiter, ServiceError> {
        let access = self.existing()?;
        let changes = access.ask(|_| {
            let Access { store, neighbours, .. } = access.clone();
            Changes::new(Box::new(move |notify| {
                let own = Arc::downgrade(&notify);
                neighbours.waiters.add(move || own.upgrade().inspect(|notify| notify()).is_some());
                store.watch(notify)
            }))
        })?;
        Ok(Waiter { access, changes, given_up: never() })
    }

    /// Waits until an invocation is final, or the time is over; what it is then. Blocks the
    /// thread until then: a caller that may give up takes a [`waiter`](Self::waiter), and drops
    /// its [`guard`](Waiter::guard).
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
    /// Lets another thread end the waits of this one: nothing is left behind then.
    pub fn guard(&mut self) -> WaitGuard {
        let (guard, given_up) = bounded(0);
        self.given_up = given_up;
        WaitGuard(guard)
    }

    /// Waits until an invocation is final, or the deadline, or the guard is dropped.
    pub fn wait(&mut self, id: InvocationId, deadline: Option<Instant>) -> Result<Waited, ServiceError> {
        loop {
            // Watching began before this look: a change after it is told.
            let found = self.access.ask(|store| store.look_up(&[id]))?;
            let status = match found.into_iter().next() {
                Some(LookUp::Final(outcome)) => return Ok(Waited::Final(outcome)),
                Some(LookUp::Unfinished(status)) => status,
                Some(LookUp::Unknown) | None => return Ok(Waited::Unknown),
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || self.given_up.try_recv() == Err(TryRecvError::Disconnected) {
                return Ok(Waited::Unfinished(status));
            }
            let pause = left.map_or(FALLBACK, |left| left.min(FALLBACK));
            self.changes.wait_unless(pause, &self.given_up)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Flags, Surroundings};
    use crate::model::RunnerId;
    use crate::runner::{Observation, Observer};
    use crate::store::Batch;
    use crate::wasm::Compiler;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn commits_of_operations_and_of_runners_wake_the_waiters_of_their_process() {
        let config = Config::resolve(&Flags::default(), &Surroundings::default()).expect("a configuration");
        let service = Service::new(config, Compiler::InProcess).in_memory();
        let mut waiter = service.waiter().expect("the store is watched");
        let began = Instant::now();
        service.access().expect("a store").commit(&Batch::default()).expect("a commit");
        waiter.changes.wait(LONG).expect("a change is told");
        let committed = Observation::Committed {
            took: Duration::ZERO,
            submits: 0,
            reports: 1,
            claims: 0,
            removed: 0,
            runner: RunnerId::generate(),
            taken_over: &[],
        };
        service.shared.neighbours.observe(&committed);
        waiter.changes.wait(LONG).expect("a change is told");
        assert!(began.elapsed() < LONG, "nobody waits for the time to be over");
    }
}
