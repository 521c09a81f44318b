//! Suspending: a process that is stopped from its terminal (Ctrl-Z) while it writes would keep the lock that all
//! others wait for, until it is continued. So it stops when it has written.

use std::sync::Once;

use parking_lot::{RwLock, RwLockReadGuard};
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Held, shared, by whoever has or may get a lock in a database; and alone while the process is stopped.
static WRITING: RwLock<()> = RwLock::new(());

/// Keeps the process from being stopped by its terminal until it is dropped.
pub(super) fn hold() -> RwLockReadGuard<'static, ()> {
    static START: Once = Once::new();
    START.call_once(start);
    WRITING.read()
}

/// Takes the signals over, but for those that the process was started with ignored. (SIGSTOP can't be.)
fn start() {
    let signals = [SIGTSTP, SIGTTIN, SIGTTOU].into_iter().filter(|signal| !is_ignored(*signal));
    let act = |mut signals: Signals| {
        for signal in signals.forever() {
            let _nobody_writes = WRITING.write();
            if let Err(error) = emulate_default_handler(signal) {
                tracing::debug!(%error, signal, "the process can't be stopped");
            }
        }
    };
    let started = Signals::new(signals).and_then(|signals| {
        std::thread::Builder::new().name("suspend".to_owned()).spawn(move || act(signals))
    });
    if let Err(error) = started {
        tracing::debug!(%error, "signals that stop the process act at once, also while it writes");
    }
}

/// Whether this process was started with a signal ignored, as `nohup` does.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
