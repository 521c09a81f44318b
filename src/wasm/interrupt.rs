//! Waiting for an interrupt together with something else.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::model::Interrupt;

/// Makes a descriptor that is readable once `interrupt` is thrown.
pub(super) fn event_of(interrupt: &Interrupt) -> io::Result<Arc<OwnedFd>> {
    let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let signalled = Arc::clone(&event);
    interrupt.on_throw(move || signal(&signalled));
    Ok(event)
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
        let event = event_of(&before).expect("there are descriptors");
        assert!(!before.is_thrown() && !is_readable(&event));
        before.throw();
        before.throw();
        assert!(before.is_thrown() && is_readable(&event));

        let after = Interrupt::default();
        after.throw();
        assert!(is_readable(&event_of(&after).expect("there are descriptors")));
    }
}
