//! Compiling beside the slots and take-overs: neither waits for a compiler, so a component that is slow to compile keeps
//! nobody but its own callers waiting.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use crate::model::{Interrupt, NoGuest, Shortage};

/// The threads that compile at once.
const THREADS: usize = 2;

/// The failures that are kept for the next attempts.
const FAILURES_KEPT: NonZeroUsize = NonZeroUsize::new(1024).expect("more than none");

/// A component is held back for so long after one of its invocations had to wait: others of it may have their code.
const HELD_BACK: Duration = Duration::from_secs(1);

/// Makes the code of a version ready.
type Make = Box<dyn FnOnce(&Interrupt) -> Result<(), NoGuest> + Send>;

/// A version: the name of its component, and its digest or file.
pub(super) type Version = (Arc<str>, String);

/// The code that is made beside the slots.
pub(super) struct Compiling {
    state: Mutex<State>,
    /// The number of components that wait: nobody takes the lock to learn that there are none.
    waiting: AtomicUsize,
    /// The number of failures that nobody has been given.
    failures: AtomicUsize,
    /// Thrown at the end.
    interrupt: Interrupt,
}

struct State {
    /// The components of the versions to make, and of those that are being made: one of each at a time. With each the
    /// moment up to which it is held back.
    components: Vec<(Arc<str>, Instant)>,
    queue: VecDeque<(Version, Make)>,
    /// The reasons why there is no code, for the next attempt that needs it.
    failed: LruCache<Version, NoGuest>,
    threads: Vec<JoinHandle<()>>,
    busy: usize,
    tell: Vec<Arc<dyn Fn() + Send + Sync>>,
}

impl Compiling {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            components: Vec::new(),
            queue: VecDeque::new(),
            failed: LruCache::new(FAILURES_KEPT),
            threads: Vec::new(),
            busy: 0,
            tell: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(state),
            waiting: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            interrupt: Interrupt::default(),
        })
    }

    /// Calls `tell` whenever a component has what it waited for.
    pub(super) fn tell(&self, tell: Arc<dyn Fn() + Send + Sync>) {
        self.state.lock().tell.push(tell);
    }

    /// Returns the components whose code is being made, and that are held back.
    pub(super) fn held_back(&self) -> Vec<Arc<str>> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        let state = self.state.lock();
        let held_back = state.components.iter().filter(|(_, until)| *until > now);
        held_back.map(|(component, _)| Arc::clone(component)).collect()
    }

    /// Returns the time after which a component that waits may be tried again; `None` if none waits.
    pub(super) fn again(&self) -> Option<Duration> {
        (self.waiting.load(Ordering::Acquire) > 0).then_some(HELD_BACK)
    }

    /// Takes the reason why a version could not be made, if that was tried.
    pub(super) fn take_failure(&self, version: impl FnOnce() -> Version) -> Option<NoGuest> {
        if self.failures.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut state = self.state.lock();
        let failure = state.failed.pop(&version());
        self.failures.store(state.failed.len(), Ordering::Release);
        failure
    }

    /// Whether the code of some version of a component is being made.
    pub(super) fn is_making(&self, component: &str) -> bool {
        self.state.lock().components.iter().any(|(one, _)| **one == *component)
    }

    /// Makes the code of a version of a component, unless one of it is being made. `holds_back` says whether an
    /// invocation waits for it. Returns whether it has begun.
    ///
    /// # Errors
    ///
    /// A shortage of threads.
    pub(super) fn begin(
        self: &Arc<Self>,
        component: &str,
        version: String,
        holds_back: bool,
        make: impl FnOnce(&Interrupt) -> Result<(), NoGuest> + Send + 'static,
    ) -> Result<bool, Shortage> {
        let mut state = self.state.lock();
        let until = Instant::now() + if holds_back { HELD_BACK } else { Duration::ZERO };
        if let Some((_, held_back)) = state.components.iter_mut().find(|(one, _)| **one == *component) {
            *held_back = until.max(*held_back);
            return Ok(false);
        }
        let component: Arc<str> = component.into();
        if state.busy < THREADS {
            let shared = Arc::clone(self);
            let work = std::thread::Builder::new().name("compile".to_owned()).spawn(move || shared.work());
            let work = work.map_err(|error| Shortage(format!("threads: {error}")))?;
            state.threads.retain(|thread| !thread.is_finished());
            state.threads.push(work);
            state.busy += 1;
        }
        state.components.push((Arc::clone(&component), until));
        state.queue.push_back(((component, version), Box::new(make)));
        self.waiting.store(state.components.len(), Ordering::Release);
        Ok(true)
    }

    /// Makes one version after the other until there is none to make.
    fn work(&self) {
        loop {
            let (version, make) = {
                let mut state = self.state.lock();
                match state.queue.pop_front() {
                    Some(next) if !self.interrupt.is_thrown() => next,
                    _ => {
                        state.busy -= 1;
                        return;
                    }
                }
            };
            tracing::debug!(component = %version.0, version = %version.1, "compiling beside the slots");
            let made = catch_unwind(AssertUnwindSafe(|| make(&self.interrupt)))
                .unwrap_or_else(|_| Err(NoGuest::trapped("a bug in the runner: its compiling panicked")));
            let tell = {
                let mut state = self.state.lock();
                state.components.retain(|(component, _)| *component != version.0);
                match made {
                    Ok(()) | Err(NoGuest::Unready) => {}
                    Err(failure) => drop(state.failed.put(version, failure)),
                }
                self.waiting.store(state.components.len(), Ordering::Release);
                self.failures.store(state.failed.len(), Ordering::Release);
                state.tell.clone()
            };
            tell.iter().for_each(|tell| tell());
        }
    }

    /// Ends what is being made, and waits for that.
    pub(super) fn end(&self) {
        self.interrupt.throw();
        let threads = std::mem::take(&mut self.state.lock().threads);
        for thread in threads {
            // The last owner of the runner may have been the teller of one of them.
            if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread that compiles panicked");
            }
        }
    }
}

/// Ends what is being made when it is dropped.
pub(super) struct EndsCompiling(pub(super) Arc<Compiling>);

impl Drop for EndsCompiling {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn one() -> String {
        "one".to_owned()
    }

    /// Compiles, tells of each end.
    fn compiling() -> (Arc<Compiling>, Receiver<()>) {
        let compiling = Compiling::new();
        let (tell, told) = channel();
        compiling.tell(Arc::new(move || tell.send(()).unwrap_or_default()));
        (compiling, told)
    }

    /// The components that wait.
    fn waiting(compiling: &Compiling) -> Vec<Arc<str>> {
        compiling.state.lock().components.iter().map(|(component, _)| Arc::clone(component)).collect()
    }

    /// Begins something that ends when the returned sender says how.
    fn begin(compiling: &Arc<Compiling>, component: &str) -> Sender<Result<(), NoGuest>> {
        let (end, ended) = channel();
        let begun = compiling.begin(component, one(), true, move |interrupt| {
            while !interrupt.is_thrown() {
                if let Ok(made) = ended.recv_timeout(Duration::from_millis(1)) {
                    return made;
                }
            }
            Err(NoGuest::Unready)
        });
        begun.expect("there are threads");
        end
    }

    #[test]
    fn a_component_waits_until_its_code_is_made() {
        let (compiling, told) = compiling();
        assert!(waiting(&compiling).is_empty());
        let end = begin(&compiling, "slow");
        assert_eq!(waiting(&compiling), ["slow".into()]);
        end.send(Ok(())).expect("it is being made");
        told.recv_timeout(PATIENCE).expect("its end is told");
        assert!(waiting(&compiling).is_empty());
        assert!(compiling.take_failure(|| ("slow".into(), one())).is_none());
    }

    #[test]
    fn a_component_that_waits_is_held_back_for_a_while() {
        let (compiling, _told) = compiling();
        assert_eq!((compiling.held_back(), compiling.again()), (Vec::new(), None));
        let _end = begin(&compiling, "slow");
        assert_eq!((compiling.held_back(), compiling.again()), (vec!["slow".into()], Some(HELD_BACK)));
        let until = |moment| compiling.state.lock().components[0].1 = moment;
        until(Instant::now());
        assert!(compiling.held_back().is_empty(), "others of it may have their code");
        let ahead = compiling.begin("slow", "two".to_owned(), false, |_| Ok(()));
        assert!(!ahead.expect("there are threads") && compiling.is_making("slow"), "one version at a time");
        assert!(compiling.held_back().is_empty(), "no invocation waits for that");
        let _again = begin(&compiling, "slow");
        assert_eq!(compiling.held_back(), ["slow".into()], "another had to wait");
        compiling.end();
    }

    #[test]
    fn a_failure_is_given_to_one_attempt() {
        let (compiling, told) = compiling();
        begin(&compiling, "bad").send(Err(NoGuest::trapped("no"))).expect("it is being made");
        told.recv_timeout(PATIENCE).expect("its end is told");
        assert!(compiling.take_failure(|| ("other".into(), one())).is_none());
        assert!(compiling.take_failure(|| ("bad".into(), one())).is_some());
        assert!(compiling.take_failure(|| ("bad".into(), one())).is_none(), "the next one tries again");
    }

    #[test]
    fn a_panic_is_a_failure() {
        let (compiling, told) = compiling();
        compiling.begin("bad", one(), true, |_| panic!("a bug")).expect("there are threads");
        told.recv_timeout(PATIENCE).expect("its end is told");
        assert!(waiting(&compiling).is_empty());
        assert!(compiling.take_failure(|| ("bad".into(), one())).is_some());
    }

    #[test]
    fn components_wait_for_each_other_beyond_the_threads_and_end_together() {
        let (compiling, told) = compiling();
        let first = begin(&compiling, "a");
        let _second = begin(&compiling, "b");
        let third = begin(&compiling, "c");
        let _again = begin(&compiling, "a");
        assert_eq!(waiting(&compiling).len(), 3, "one version of each");
        first.send(Ok(())).expect("it is being made");
        told.recv_timeout(PATIENCE).expect("its end is told");
        third.send(Ok(())).expect("it is being made");
        told.recv_timeout(PATIENCE).expect("its end is told");
        assert_eq!(waiting(&compiling), ["b".into()]);
        compiling.end();
        assert_eq!(compiling.state.lock().busy, 0);
    }
}
