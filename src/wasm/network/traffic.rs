//! The bytes that an attempt sends and receives, counted and limited.

use std::io;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use crate::model::LimitKind;
use crate::wasm::control::GuestControl;
use crate::wasm::denials::Denials;
use crate::wasm::meter::Allowance;

/// The most bytes of one write to a socket. They may wait for the system to take them.
const WRITE_BYTES: usize = 64 << 10;

/// The bytes that one attempt sends and receives, over sockets and requests together.
pub(in crate::wasm) struct Traffic {
    control: Arc<GuestControl>,
    denials: Arc<Denials>,
    allowance: Allowance,
    /// Whether something was refused.
    is_over: AtomicBool,
}

impl Traffic {
    /// Allows at most `limit` bytes.
    pub(in crate::wasm) fn new(limit: u64, control: Arc<GuestControl>, denials: Arc<Denials>) -> Arc<Self> {
        let allowance = Allowance::new(limit);
        Arc::new(Self { control, denials, allowance, is_over: AtomicBool::new(false) })
    }

    /// Whether the limit has refused something. After that every connection fails.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Remembers and logs that more was wanted, and makes the error for it.
    fn refuse(&self) -> io::Error {
        self.is_over.store(true, Ordering::Release);
        let limit = self.allowance.limit;
        let why = format!("the limit `traffic` is {limit} bytes");
        self.denials.say_limit(LimitKind::Traffic, "sending and receiving more", &why);
        io::ErrorKind::PermissionDenied.into()
    }

    /// Makes room for bytes that are sent as a whole. On an error, which is the limit, none may be sent.
    pub(super) fn make_room(&self, bytes: u64) -> io::Result<()> {
        if self.allowance.take(bytes) { Ok(()) } else { Err(self.refuse()) }
    }

    /// Counts the bytes that were received, and gives back the rest of the room that was taken.
    fn count_received(&self, bytes: usize, room: usize) {
        self.allowance.give_back(room.saturating_sub(bytes) as u64);
        self.control.meter.received.add(bytes as u64);
    }

    /// Counts the bytes that were sent, and gives back the rest of the room that was made.
    pub(super) fn count_sent(&self, bytes: u64, room: u64) {
        self.allowance.give_back(room.saturating_sub(bytes));
        self.control.meter.sent.add(bytes);
    }

    /// Counts bytes that were received as a whole. On an error, which is the limit, none may be handed on.
    pub(super) fn receive(&self, bytes: u64) -> io::Result<()> {
        self.make_room(bytes)?;
        self.control.meter.received.add(bytes);
        Ok(())
    }

    /// The streams of a connection, counted.
    pub(super) fn counted(
        self: &Arc<Self>,
        input: DynInputStream,
        output: DynOutputStream,
    ) -> (DynInputStream, DynOutputStream) {
        (Box::new(Counted::new(input, self)), Box::new(Counted::new(output, self)))
    }
}

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// A connection for requests, or a stream of a socket, counted.
pub(super) struct Counted<S> {
    inner: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, traffic: &Arc<Traffic>) -> Self {
        Self { inner, traffic: Arc::clone(traffic) }
    }
}

#[async_trait]
impl<S: DerefMut<Target: Pollable> + Send + 'static> Pollable for Counted<S> {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl InputStream for Counted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let Some(room) = self.traffic.allowance.room(size) else {
            // Nothing more to read is no error.
            let is_end = self.inner.read(1)?.is_empty();
            return if is_end { Ok(Bytes::new()) } else { Err(failed(self.traffic.refuse())) };
        };
        let read = self.inner.read(room);
        self.traffic.count_received(read.as_ref().map_or(0, Bytes::len), room);
        read
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl OutputStream for Counted<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let count = bytes.len() as u64;
        self.traffic.make_room(count).map_err(failed)?;
        let written = self.inner.write(bytes);
        self.traffic.count_sent(if written.is_ok() { count } else { 0 }, count);
        written
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(self.inner.check_write()?.min(WRITE_BYTES))
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(room) = this.traffic.allowance.room(buffer.remaining()) else {
            // Nothing more to read is no error.
            let mut one = [0];
            let mut one = ReadBuf::new(&mut one);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut one))?;
            return Poll::Ready(if one.filled().is_empty() { Ok(()) } else { Err(this.traffic.refuse()) });
        };
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
        let polled = Pin::new(&mut this.inner).poll_read(context, &mut part);
        let count = part.filled().len();
        buffer.advance(count);
        this.traffic.count_received(count, room);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let taken = this.traffic.allowance.take_up_to(bytes.len() as u64);
        let part = &bytes[..usize::try_from(taken).unwrap_or(bytes.len())];
        if part.is_empty() && !bytes.is_empty() {
            return Poll::Ready(Err(this.traffic.refuse()));
        }
        let polled = Pin::new(&mut this.inner).poll_write(context, part);
        let count = match &polled {
            Poll::Ready(Ok(count)) => *count as u64,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        this.traffic.count_sent(count, taken);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
