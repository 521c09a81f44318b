//! Streams, whatever is behind them, and the pollables that they give.

use wasip2::http::types::{FutureIncomingResponse, IncomingBody};
use wasip2::io::streams::{InputStream, OutputStream};

use crate::exports::demo::adversary::programs::Operand::{Choice, Size, Times};
use crate::machine::text;
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("stream-write", &[Times, Choice, Size], |machine, numbers| {
        let Some(stream) = machine.find::<OutputStream>(numbers[0]) else { return };
        if let Ok(room @ 1..) = stream.check_write() {
            let _ = stream.write(text(numbers[1].min(room)).as_bytes());
        }
    }),
    entry("stream-write-unasked", &[Times, Choice, Size], |machine, numbers| {
        let Some(stream) = machine.find::<OutputStream>(numbers[0]) else { return };
        // More than `check-write` allows ends the guest; so does not asking.
        let _ = stream.write(text(numbers[1]).as_bytes());
    }),
    entry("stream-zeroes", &[Times, Choice, Size], |machine, numbers| {
        let Some(stream) = machine.find::<OutputStream>(numbers[0]) else { return };
        if let Ok(room) = stream.check_write() {
            let _ = stream.write_zeroes(numbers[1].min(room));
        }
    }),
    entry("stream-block-write", &[Times, Choice, Size], |machine, numbers| {
        let Some(stream) = machine.find::<OutputStream>(numbers[0]) else { return };
        let _ = stream.blocking_write_and_flush(text(numbers[1].min(4096)).as_bytes());
        let _ = stream.blocking_write_zeroes_and_flush(numbers[1].min(4096));
    }),
    entry("stream-flush", &[Times, Choice], |machine, numbers| {
        machine.find::<OutputStream>(numbers[0]).map(OutputStream::flush);
    }),
    entry("stream-block-flush", &[Times, Choice], |machine, numbers| {
        machine.find::<OutputStream>(numbers[0]).map(OutputStream::blocking_flush);
    }),
    entry("stream-read", &[Times, Choice, Size], |machine, numbers| {
        machine.find::<InputStream>(numbers[0]).map(|stream| stream.read(numbers[1]));
    }),
    entry("stream-block-read", &[Times, Choice, Size], |machine, numbers| {
        machine.find::<InputStream>(numbers[0]).map(|stream| stream.blocking_read(numbers[1]));
    }),
    entry("stream-skip", &[Times, Choice, Size], |machine, numbers| {
        let Some(stream) = machine.find::<InputStream>(numbers[0]) else { return };
        let _ = (stream.skip(numbers[1]), stream.blocking_skip(numbers[1]));
    }),
    entry("stream-splice", &[Times, Choice, Choice, Size], |machine, numbers| {
        let from = machine.find::<InputStream>(numbers[0]);
        let (Some(from), Some(to)) = (from, machine.find::<OutputStream>(numbers[1])) else { return };
        let _ = to.splice(from, numbers[2]);
    }),
    entry("stream-block-splice", &[Times, Choice, Choice, Size], |machine, numbers| {
        let from = machine.find::<InputStream>(numbers[0]);
        let (Some(from), Some(to)) = (from, machine.find::<OutputStream>(numbers[1])) else { return };
        let _ = to.blocking_splice(from, numbers[2]);
    }),
    entry("pollable", &[Times, Choice, Choice], |machine, numbers| {
        let pollable = match numbers[0] % 3 {
            0 => machine.find::<InputStream>(numbers[1]).map(InputStream::subscribe),
            1 => machine.find::<OutputStream>(numbers[1]).map(OutputStream::subscribe),
            _ => machine.find::<FutureIncomingResponse>(numbers[1]).map(FutureIncomingResponse::subscribe),
        };
        if let Some(pollable) = pollable {
            machine.keep(pollable);
        }
    }),
    entry("trailers", &[Times], |machine, _| {
        // The newest body, once its stream is gone.
        let place = machine.handles.iter().rposition(|handle| handle.is::<IncomingBody>());
        let Some(place) = place else { return };
        machine.handles.truncate(place + 1);
        let Some(Ok(body)) = machine.handles.pop().map(|handle| handle.downcast::<IncomingBody>()) else {
            return;
        };
        machine.keep(IncomingBody::finish(*body));
    }),
];
