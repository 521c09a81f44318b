//! Patience with a store that is away, and consideration for others who use it, in this process too.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::ServiceError;
use crate::runner::{Observation, Observer};
use crate::store::{Batch, Receipt, Store, StoreError};

/// The most invocations that one transaction of an operation on many changes.
pub(super) const CHUNK: usize = 500;

/// The most bytes of arguments that one transaction submits, roughly.
pub(super) const CHUNK_BYTES: usize = 16 << 20;

/// How long an operation tries again while a store that is reached over a network is
/// away: its server restarts, a cable is pulled.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// In all, from the first try of each question on.
    pub total: Duration,
    /// After the first try. It doubles with every other.
    pub first_pause: Duration,
    /// The longest pause.
    pub last_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(30),
            first_pause: Duration::from_millis(50),
            last_pause: Duration::from_secs(1),
        }
    }
}

/// Functions to be called after commits. One that returns false is not called again.
#[derive(Default)]
pub(super) struct Listeners(Mutex<Vec<Box<dyn Fn() -> bool + Send>>>);

impl Listeners {
    pub(super) fn add(&self, tell: impl Fn() -> bool + Send + 'static) {
        self.0.lock().push(Box::new(tell));
    }

    fn tell(&self) {
        self.0.lock().retain(|tell| tell());
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} listeners", self.0.lock().len())
    }
}

/// The users of one store in this process: a store notifies them of the commits of other processes only.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Called after the commits of operations.
    pub(super) runners: Listeners,
    /// Called after the commits of operations and of runners.
    pub(super) waiters: Listeners,
}

impl Observer for Neighbours {
    fn observe(&self, observation: &Observation<'_>) {
        if let Observation::Committed { .. } = observation {
            self.waiters.tell();
        }
    }
}

/// A store, the patience with which it is asked, and its other users here.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) store: Arc<dyn Store>,
    pub(super) patience: Patience,
    pub(super) neighbours: Arc<Neighbours>,
}

impl Access {
    /// The store itself, without patience: for runners, which have their own.
    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Asks for something that can be asked twice, again if the store can't be reached now. The
    /// error is the last one.
    pub(super) fn ask<T>(&self, ask: impl Fn(&dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let began = Instant::now();
        let Patience { total, first_pause: mut pause, last_pause } = self.patience;
        loop {
            match ask(&*self.store) {
                Err(StoreError::Unavailable { .. })
                    if self.store.is_remote() && began.elapsed() + pause < total =>
                {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(last_pause);
                }
                other => return other,
            }
        }
    }

    /// Commits a batch, again if the answer was lost: submits carry their ids, and what
    /// else operations ask for changes nothing the second time.
    pub(super) fn commit(&self, batch: &Batch) -> Result<Receipt, StoreError> {
        let receipt = self.ask(|store| store.commit(batch))?;
        self.neighbours.runners.tell();
        self.neighbours.waiters.tell();
        Ok(receipt)
    }
}

/// An operation in several transactions: an iterator that makes the next one when it is asked
/// for it, and none after one that failed. Dropping it ends the operation between two.
pub struct Transactions<T> {
    next: Box<dyn FnMut() -> Result<Option<T>, ServiceError> + Send>,
    is_over: bool,
}

impl<T> Transactions<T> {
    pub(super) fn new(next: impl FnMut() -> Result<Option<T>, ServiceError> + Send + 'static) -> Self {
        Self { next: Box::new(next), is_over: false }
    }
}

impl<T> Iterator for Transactions<T> {
    type Item = Result<T, ServiceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = (self.next)();
        self.is_over = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

/// Pauses after a transaction that began then for as long as it took, so that runners
/// get at the store in between: a lock that is taken again at once is hardly ever had by
/// others, and leases would run out.
pub(super) fn give_way(began: Instant) {
    std::thread::sleep(began.elapsed());
}
