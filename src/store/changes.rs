//! Waiting for changes of a store, for as long as it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, never, select};

use super::{Store, StoreError, Watch};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Calls this whenever something has changed, until the watch is dropped.
type StartWatch = dyn Fn(Arc<dyn Fn() + Send + Sync>) -> Result<Watch, StoreError> + Send;

/// Hears of changes that other processes make to a store. If the store stops telling,
/// because something has ended its thread, it is watched anew.
pub struct Changes {
    start: Box<StartWatch>,
    changed: Receiver<()>,
    watch: Watch,
    since: Instant,
    /// Before the next watch, if this one ends at once.
    pause: Duration,
}

impl Changes {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// If the store can't be watched.
    pub fn of(store: &Arc<dyn Store>) -> Result<Self, StoreError> {
        let store = Arc::clone(store);
        Self::new(Box::new(move |notify| store.watch(notify)))
    }

    /// Begins to watch, with the call that does so.
    ///
    /// # Errors
    ///
    /// If the store can't be watched.
    pub(crate) fn new(start: Box<StartWatch>) -> Result<Self, StoreError> {
        let (changed, watch) = begin(&*start)?;
        Ok(Self { start, changed, watch, since: Instant::now(), pause: FIRST_PAUSE })
    }

    /// Waits as [`wait_unless`](Self::wait_unless), and is not given up.
    ///
    /// # Errors
    ///
    /// As [`wait_unless`](Self::wait_unless).
    pub fn wait(&mut self, at_most: Duration) -> Result<(), StoreError> {
        self.wait_unless(at_most, &never())
    }

    /// Waits until something may have changed, but no longer than this, and no longer than the
    /// sender of `given_up` lives. A change after the last return is told by the next one.
    ///
    /// # Errors
    ///
    /// If the store has stopped telling and can't be watched anew.
    pub fn wait_unless(&mut self, at_most: Duration, given_up: &Receiver<()>) -> Result<(), StoreError> {
        select! {
            recv(self.changed) -> change => if change.is_ok() { return Ok(()) },
            recv(given_up) -> _ => return Ok(()),
            default(at_most) => return Ok(()),
        }
        tracing::warn!("the store has stopped telling of changes: it is watched anew");
        if self.since.elapsed() > LAST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        // What ended one watch may end the next as well.
        std::thread::sleep(self.pause.min(at_most));
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        (self.changed, self.watch) = begin(&*self.start)?;
        self.since = Instant::now();
        // Whatever happened in between was not told.
        Ok(())
    }
}

fn begin(start: &StartWatch) -> Result<(Receiver<()>, Watch), StoreError> {
    // One pending change is as good as many: whoever waits looks afresh.
    let (change, changed) = bounded(1);
    let watch = start(Arc::new(move || {
        let _ = change.try_send(());
    }))?;
    Ok((changed, watch))
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, unbounded};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    type Notify = Arc<dyn Fn() + Send + Sync>;

    /// Changes of a store that gives each of its watches to the test, which ends it by
    /// dropping that.
    fn watched() -> (Changes, Receiver<Notify>) {
        let (begun, watches): (Sender<Notify>, _) = unbounded();
        let changes = Changes::new(Box::new(move |notify| {
            begun.send(notify).map_err(|_| StoreError::Unavailable {
                url: "sqlite:state.db".to_owned(),
                message: "no more watches".to_owned(),
            })?;
            Ok(Watch::new(()))
        }));
        (changes.expect("it can be watched"), watches)
    }

    #[test]
    fn a_store_that_stops_telling_is_watched_anew() {
        let (mut changes, watches) = watched();
        let first = watches.try_recv().expect("it is watched");
        first();
        changes.wait(LONG).expect("a change is told");
        drop(first);
        changes.wait(LONG).expect("what was missed is to be looked for");
        let second = watches.try_recv().expect("it is watched anew");
        second();
        let began = Instant::now();
        changes.wait(LONG).expect("a change is told");
        assert!(began.elapsed() < LONG, "nobody waits for the time to be over");
        assert!(watches.is_empty(), "one that tells is kept");
    }

    #[test]
    fn one_that_ends_at_once_is_tried_less_and_less_often() {
        let (mut changes, watches) = watched();
        let mut pauses = Vec::new();
        for _ in 0..4 {
            drop(watches.try_recv().expect("it is watched"));
            pauses.push(changes.pause.as_millis());
            changes.wait(Duration::from_millis(1)).expect("it is watched anew");
        }
        assert_eq!(pauses, [50, 100, 200, 400]);
    }

    #[test]
    fn one_that_can_not_be_watched_anew_is_an_error() {
        let (mut changes, watches) = watched();
        drop(watches);
        let error = changes.wait(LONG).expect_err("there are no more watches");
        assert!(error.to_string().contains("no more watches"), "{error}");
        changes.wait(LONG).expect_err("it is tried again");
    }
}
