//! Waiting for a future on a thread that is no runtime's.
//!
//! Threads that call the store may be in the middle of anything, a guest's fiber
//! for instance, whose own runtime must not be entered twice. The futures here
//! only wait for the store's thread, so parking is all that is needed.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The result of a future, or `None` if it is not there at `deadline`.
pub(super) fn wait<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(Parked(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Some(result);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        // May return for nothing: then the future is asked for nothing.
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_result_from_another_thread_is_waited_for() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || sender.send(7));
        assert_eq!(wait(receiver, Instant::now() + Duration::from_secs(60)), Some(Ok(7)));
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn what_never_comes_is_given_up_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(wait(std::future::pending::<()>(), deadline), None);
        assert!(Instant::now() >= deadline);
    }
}
