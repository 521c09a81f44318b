//! Turns at compiling: of several threads that need the same code, one compiles it, and the others wait for it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::model::Interrupt;

/// The code that is being compiled in this process.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// By the file in which the code is kept.
    under_way: Mutex<HashSet<PathBuf>>,
    one_ended: Condvar,
}

/// The right to compile, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    code: PathBuf,
}

impl Turns {
    /// Waits until no other thread compiles this code; `None` if the wait was interrupted.
    pub(super) fn take(self: &Arc<Self>, code: &Path, interrupt: &Interrupt) -> Option<Turn> {
        let mut under_way = self.under_way.lock();
        if under_way.contains(code) {
            drop(under_way);
            let turns = Arc::clone(self);
            interrupt.on_throw(move || {
                // With the lock: a waiter is before its look at the switch, or waits already.
                let _under_way = turns.under_way.lock();
                turns.one_ended.notify_all();
            });
            under_way = self.under_way.lock();
            while under_way.contains(code) && !interrupt.is_thrown() {
                self.one_ended.wait(&mut under_way);
            }
            if under_way.contains(code) {
                return None;
            }
        }
        under_way.insert(code.to_owned());
        Some(Turn { turns: Arc::clone(self), code: code.to_owned() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.under_way.lock().remove(&self.code);
        self.turns.one_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Asks for a turn in a thread, which tells whether it got one.
    fn ask(turns: &Arc<Turns>, code: &'static str, interrupt: &Arc<Interrupt>) -> mpsc::Receiver<bool> {
        let (tell, told) = mpsc::channel();
        let (turns, interrupt) = (Arc::clone(turns), Arc::clone(interrupt));
        thread::spawn(move || tell.send(turns.take(Path::new(code), &interrupt).is_some()));
        told
    }

    #[test]
    fn the_same_code_is_compiled_by_one_thread_at_a_time() {
        let turns = Arc::new(Turns::default());
        let never = Arc::new(Interrupt::default());
        let turn = turns.take(Path::new("a"), &never).expect("nobody compiles it");
        assert_eq!(ask(&turns, "b", &never).recv_timeout(PATIENCE), Ok(true), "other code waits for nobody");
        let second = ask(&turns, "a", &never);
        assert!(second.try_recv().is_err());
        drop(turn);
        assert_eq!(second.recv_timeout(PATIENCE), Ok(true));
    }

    #[test]
    fn a_wait_ends_when_it_is_interrupted() {
        let turns = Arc::new(Turns::default());
        let interrupt = Arc::new(Interrupt::default());
        let _turn = turns.take(Path::new("a"), &Interrupt::default()).expect("nobody compiles it");
        let second = ask(&turns, "a", &interrupt);
        interrupt.throw();
        assert_eq!(second.recv_timeout(PATIENCE), Ok(false));
    }
}
