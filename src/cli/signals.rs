//! SIGINT and SIGTERM, in stages.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::error::CliError;

/// Signals that no longer have their usual effect, and wait for somebody to act
/// on them: registered before there is anything to stop, so that none falls
/// between.
pub struct Registered(Signals);

/// Acts on the signals until dropped.
pub struct Stages {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

fn refused(error: io::Error) -> CliError {
    CliError::system(format!("signals can't be handled: {error}"))
}

impl Registered {
    /// Takes the place of the signals' usual effect.
    pub fn new() -> Result<Self, CliError> {
        Signals::new([SIGINT, SIGTERM]).map(Self).map_err(refused)
    }

    /// Calls `first` on the first signal and `second` on the second. The third
    /// one ends the process at once: whatever the second one was to end hangs.
    pub fn act(
        self,
        first: impl FnOnce() + Send + 'static,
        second: impl FnOnce() + Send + 'static,
    ) -> Result<Stages, CliError> {
        let Self(mut signals) = self;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let (mut first, mut second) = (Some(first), Some(second));
            for signal in signals.forever() {
                if let Some(first) = first.take() {
                    first();
                } else if let Some(second) = second.take() {
                    second();
                } else {
                    // What a shell reports for a process that a signal ended.
                    signal_hook::low_level::exit(128 + signal);
                }
            }
        });
        Ok(Stages { handle, thread: Some(thread.map_err(refused)?) })
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // Its panic was printed, and the handlers have nothing to clean up.
            let _ = thread.join();
        }
    }
}
