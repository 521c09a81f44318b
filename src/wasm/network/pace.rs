//! The pace of a connection for requests: whatever a server sends, its reader gives way to others.
//!
//! One thread drives the connections and the timers of all guests. Tokio makes a task give way after so many
//! reads; but one read may bring hundreds of heads, and a server's interim responses (1xx) are parsed and dropped
//! for as long as they come. So both are bounded here: the bytes between two pauses, and the interim responses
//! before the one that counts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes after which a reader gives way, whether or not there are more.
const BYTES: usize = 64 << 10;

/// The interim responses that one request may get.
const INTERIM: u32 = 16;

/// The interim responses to one request, counted.
#[derive(Clone, Default)]
pub(super) struct Interim {
    count: Arc<AtomicU32>,
    /// The bytes that were read since the last of them.
    bytes: Arc<AtomicUsize>,
}

impl Interim {
    /// Counts those to a request.
    pub(super) fn count<B>(&self, request: &mut Request<B>) {
        let Self { count, bytes } = self.clone();
        hyper::ext::on_informational(request, move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            bytes.store(0, Ordering::Relaxed);
        });
    }

    /// Whether there were too many.
    pub(super) fn are_too_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > INTERIM
    }

    /// The bytes that were read since the last interim response: as long as there is no other, at least those of the
    /// response's head.
    pub(super) fn bytes_since(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A connection that gives way, and that ends after too many interim responses.
pub(super) struct Paced<S> {
    inner: S,
    /// The bytes until it gives way.
    left: usize,
    interim: Interim,
}

impl<S> Paced<S> {
    pub(super) fn new(inner: S, interim: Interim) -> Self {
        Self { inner, left: BYTES, interim }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.interim.are_too_many() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if self.left == 0 {
            self.left = BYTES;
            // Behind the tasks that are ready now.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(read);
        self.interim.bytes.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_server_that_never_stops_sending_does_not_keep_the_reactor() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut paced = Paced::new(tokio::io::repeat(b'x'), Interim::default());
        for round in 1..10 {
            let mut read = 0;
            loop {
                let mut bytes = [0; 10_000];
                let mut buffer = ReadBuf::new(&mut bytes);
                match Pin::new(&mut paced).poll_read(&mut context, &mut buffer) {
                    Poll::Ready(result) => result.expect("there is always more"),
                    Poll::Pending => break,
                }
                read += buffer.filled().len();
                assert!(read < BYTES + 10_000, "{read} bytes at once");
            }
            assert!(read >= BYTES, "{read} bytes are not many");
            assert_eq!(woken.0.load(Ordering::Relaxed), round, "it is read on, later");
        }
    }
}
