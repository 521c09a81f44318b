//! Signals: those that stop a runner, in stages, and those that must not end it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

use super::error::CliError;
use crate::store::is_ignored;

/// Signals that no longer have their usual effect, and wait for somebody to act
/// on them: registered before there is anything to stop, so that none falls
/// between.
pub struct Registered(Signals);

/// Acts on the signals until dropped.
pub struct Stages {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
    /// Closed once the stages, and what they held of the runner, are gone.
    is_over: crossbeam_channel::Receiver<()>,
}

/// How long the end waits for a stage that hangs.
const PATIENCE: Duration = Duration::from_secs(1);

fn refused(error: io::Error) -> CliError {
    CliError::system(format!("signals can't be handled: {error}"))
}

/// Makes a write beyond the limit of a file's size (`ulimit -f`) an error instead of the end of the process.
/// A process that is started from this one has the usual effect again.
pub fn survive_file_size_limits() -> Result<(), CliError> {
    // The flag is not asked: the handler alone is what counts.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop).map_err(refused)
}

impl Registered {
    /// Takes the place of the signals' usual effect.
    pub fn new() -> Result<Self, CliError> {
        let hang_up = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        Signals::new([SIGINT, SIGTERM].into_iter().chain(hang_up)).map(Self).map_err(refused)
    }

    /// Calls `first` on the first signal and `second` on the second. The third
    /// one ends the process at once: whatever the others were to end hangs, or they do.
    pub fn act(
        self,
        first: impl FnOnce() + Send + 'static,
        second: impl FnOnce() + Send + 'static,
    ) -> Result<Stages, CliError> {
        let Self(mut signals) = self;
        let handle = signals.handle();
        // On a thread of its own, so that nothing that they wait for keeps later signals from being seen.
        let (next, stages) = crossbeam_channel::bounded::<()>(2);
        let (over, is_over) = crossbeam_channel::bounded::<()>(0);
        let act = std::thread::Builder::new().name("stages".to_owned()).spawn(move || {
            // Dropped last, after the stages that nobody has asked for.
            let _over = over;
            let (first, second) = (first, second);
            let is_next = || stages.recv().is_ok();
            if is_next() {
                first();
            }
            if is_next() {
                second();
            }
        });
        act.map_err(refused)?;
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for (before, signal) in signals.forever().enumerate() {
                if before >= 2 {
                    // What a shell reports for a process that a signal ended.
                    signal_hook::low_level::exit(128 + signal);
                }
                // There is room for both. If a stage panicked, the next ones do nothing.
                let _ = next.try_send(());
            }
        });
        Ok(Stages { handle, thread: Some(thread.map_err(refused)?), is_over })
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed, and the handlers have nothing to clean up.
            let _ = thread.join();
            // The handles that the stages hold must not outlive the runner: its end removes directories.
            let _ = self.is_over.recv_timeout(PATIENCE);
        }
    }
}
