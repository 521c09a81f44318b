//! Ending what a thread waits for while it makes a guest.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// A switch that is thrown once, by whoever wants no guest any more. Costs nothing
/// until somebody really waits.
#[derive(Debug, Default)]
pub struct Interrupt {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_thrown: bool,
    /// Readable once it was thrown; there is none before anybody waits for it.
    event: Option<Arc<OwnedFd>>,
}

impl Interrupt {
    /// Ends the wait, now or as soon as it begins.
    pub fn throw(&self) {
        let mut state = self.state.lock();
        if !std::mem::replace(&mut state.is_thrown, true)
            && let Some(event) = &state.event
        {
            signal(event);
        }
    }

    /// Whether it was thrown.
    pub fn is_thrown(&self) -> bool {
        self.state.lock().is_thrown
    }

    /// A descriptor to wait for together with others: readable once the switch
    /// was thrown.
    pub(super) fn event(&self) -> io::Result<Arc<OwnedFd>> {
        let mut state = self.state.lock();
        if let Some(event) = &state.event {
            return Ok(Arc::clone(event));
        }
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        if state.is_thrown {
            signal(&event);
        }
        state.event = Some(Arc::clone(&event));
        Ok(event)
    }
}

fn signal(event: &OwnedFd) {
    // It fails only if it was done 2^64 times.
    let _ = rustix::io::write(event, &1u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(event: &OwnedFd) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(event, PollFlags::IN)], Some(&at_once)).expect("it can be waited for") == 1
    }

    #[test]
    fn whoever_waits_is_told_whether_before_or_after() {
        let before = Interrupt::default();
        let event = before.event().expect("there are descriptors");
        assert!(!before.is_thrown() && !is_readable(&event));
        before.throw();
        before.throw();
        assert!(before.is_thrown() && is_readable(&event));

        let after = Interrupt::default();
        after.throw();
        assert!(is_readable(&after.event().expect("there are descriptors")));
    }
}
