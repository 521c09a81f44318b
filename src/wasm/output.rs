//! The output of a guest: standard output, standard error and log messages, bounded, without secrets and
//! terminal controls.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::control::GuestControl;
use super::host_memory::{Held, HostMemory};
use super::scrub::Scrubber;
use crate::model::{Clock, Failure, LimitKind, LogEntry, LogStream, is_terminal_control};

/// Output is handed over when this much has gathered, and when the guest waits or ends.
const HAND_OVER_BYTES: usize = 16 << 10;

/// The bytes that an entry takes besides its text, about: many empty messages must not fill the store either.
const ENTRY_BYTES: usize = 64;

/// One write is accepted up to this size; guests loop over larger ones.
const WRITE_BYTES: usize = 64 << 10;

/// Receives the entries that are handed over.
pub(super) type Sink = Box<dyn Fn(Vec<LogEntry>) + Send + Sync>;

/// The bytes that are kept of a guest's output.
pub(super) struct Bounds {
    /// As its log.
    pub(super) log: u64,
    /// As the task's value, if its standard output is that instead of a log.
    pub(super) value: Option<u64>,
}

/// Gathers the output of one guest.
#[derive(Clone)]
pub(super) struct GuestOutput(Arc<Mutex<Inner>>);

struct Inner {
    clock: Arc<dyn Clock>,
    /// Counts the bytes.
    control: Arc<GuestControl>,
    sink: Sink,
    attempt: u32,
    /// Bytes that may still be kept.
    room: usize,
    /// Entries that may still be begun.
    entries: usize,
    dropped: u64,
    scrubber: Option<Arc<Scrubber>>,
    /// Per stream, text that may be the beginning of a secret whose rest has not been written yet.
    held: [Vec<u8>; 2],
    pending: Vec<LogEntry>,
    pending_bytes: usize,
    /// Per stream, the beginning of a character whose rest has not been written yet.
    partial: [Vec<u8>; 2],
    /// The end of standard error, for the message of a panic.
    last_error: String,
    /// Standard output as the value of a command, if it is one.
    value: Option<Value>,
    /// The bytes that were kept, with twice the room of its text, since a text that grows has up to so much. It is charged
    /// until the end: nobody tells when the store has taken it.
    charged: Held,
    kept_bytes: u64,
}

struct Value {
    bytes: Vec<u8>,
    limit: usize,
    held: Held,
    /// The reason why there is no value.
    refused: Option<Failure>,
}

impl Value {
    /// Keeps as much as its limit and the account allow.
    fn write(&mut self, bytes: &[u8]) {
        if self.refused.is_some() {
            return;
        }
        let limit = self.limit;
        let kept = bytes.len().min(limit - self.bytes.len());
        let wanted = self.bytes.len() + kept;
        if wanted > self.bytes.capacity() {
            // It doubles, so that it seldom moves, as long as that is borne.
            let most = wanted.max(self.bytes.capacity() * 2).min(limit);
            let room = if self.held.resize(most as u64).is_ok() { most } else { wanted };
            if let Err(exceeded) = self.held.resize(room as u64) {
                self.refused = Some(Failure::from(&exceeded));
                return;
            }
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(&bytes[..kept]);
        if kept < bytes.len() {
            let message = format!("standard output is larger than the limit of {limit} bytes for a value");
            self.refused = Some(Failure::limit(LimitKind::Result, message));
        }
    }
}

impl GuestOutput {
    /// Keeps output within bounds, and hands the log to `sink`. All of it is charged to `account`.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        control: Arc<GuestControl>,
        attempt: u32,
        bounds: Bounds,
        scrubber: Option<Arc<Scrubber>>,
        account: &Arc<HostMemory>,
        sink: Sink,
    ) -> Self {
        let to_usize = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let held = || Held::nothing(account);
        let value = |limit| Value { bytes: Vec::new(), limit: to_usize(limit), held: held(), refused: None };
        Self(Arc::new(Mutex::new(Inner {
            clock,
            control,
            sink,
            attempt,
            room: to_usize(bounds.log),
            entries: to_usize(bounds.log) / ENTRY_BYTES + 1,
            dropped: 0,
            scrubber,
            held: Default::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            partial: Default::default(),
            last_error: String::new(),
            value: bounds.value.map(value),
            charged: held(),
            kept_bytes: 0,
        })))
    }

    /// Makes a standard stream for the guest.
    pub(super) fn stream(&self, stream: LogStream) -> OutputPipe {
        OutputPipe { output: self.clone(), stream }
    }

    /// Keeps one log message.
    pub(super) fn log(&self, level: &'static str, message: &str) {
        let mut inner = self.0.lock();
        inner.control.meter.log.add(message.len() as u64);
        let message = inner.scrub(message);
        inner.keep(LogStream::Log, Some(level), &message);
    }

    /// Keeps a line of the runner about the guest, and returns it as it is kept. These lines are few and do
    /// not count against the limit.
    pub(super) fn note(&self, text: String) -> String {
        let mut inner = self.0.lock();
        let text = inner.scrub(&text).into_owned();
        let entry = inner.entry(LogStream::Runner, None, text.clone());
        inner.pending.push(entry);
        text
    }

    /// Hands over the gathered output. Cheap if there is none.
    pub(super) fn hand_over(&self) {
        self.0.lock().hand_over();
    }

    /// Hands over everything, with a note about what was dropped.
    pub(super) fn finish(&self) {
        let mut inner = self.0.lock();
        for (index, stream) in [LogStream::Stdout, LogStream::Stderr].into_iter().enumerate() {
            let mut held = std::mem::take(&mut inner.held[index]);
            if let Some(scrubber) = inner.scrubber.as_ref().filter(|_| !held.is_empty()) {
                held = scrubber.pass(&mut held, true);
                inner.write_scrubbed(stream, held);
            }
            if !inner.partial[index].is_empty() {
                inner.partial[index].clear();
                inner.keep(stream, None, "\u{fffd}");
            }
        }
        let dropped = std::mem::take(&mut inner.dropped);
        if dropped > 0 {
            let note = format!("{dropped} more bytes were dropped: the limit of kept output was reached");
            let entry = inner.entry(LogStream::Runner, None, note);
            inner.pending.push(entry);
        }
        inner.hand_over();
    }

    /// Removes secrets from a text.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.0.lock().scrub(text).into_owned()
    }

    /// Removes secrets from the message of a failure. An error that a task returned is its value, and stays.
    pub(super) fn scrub_failure(&self, mut failure: Failure) -> Failure {
        if let Some(scrubber) = &self.0.lock().scrubber {
            failure.message = scrubber.scrub_cut(&failure.message);
        }
        failure
    }

    /// The end of standard error: the message of a panic.
    pub(super) fn last_error(&self) -> String {
        self.0.lock().last_error.trim().to_owned()
    }

    /// Takes standard output as the value of a command, with what is held for it.
    ///
    /// # Errors
    ///
    /// There was more of it than a limit allows.
    pub(super) fn take_value(&self) -> Result<(Vec<u8>, Option<Held>), Failure> {
        let mut inner = self.0.lock();
        match &inner.value {
            Some(Value { refused: Some(refused), .. }) => Err(refused.clone()),
            _ => {
                Ok(inner.value.take().map_or_else(Default::default, |value| (value.bytes, Some(value.held))))
            }
        }
    }

    /// Keeps standard output as a log after all: of a command that failed it is no value.
    pub(super) fn log_value(&self) {
        let mut inner = self.0.lock();
        let Some(Value { mut bytes, .. }) = inner.value.take() else { return };
        let beyond = bytes.len().saturating_sub(inner.room);
        bytes.truncate(inner.room);
        inner.write(LogStream::Stdout, &bytes);
        inner.control.meter.output.add(beyond as u64);
        inner.dropped += beyond as u64;
    }
}

impl Inner {
    fn write(&mut self, stream: LogStream, bytes: &[u8]) {
        if stream == LogStream::Stdout
            && let Some(value) = &mut self.value
        {
            value.write(bytes);
            return;
        }
        self.control.meter.output.add(bytes.len() as u64);
        let index = usize::from(stream == LogStream::Stderr);
        if self.room == 0 && stream == LogStream::Stdout {
            // Nothing of it will be looked at: do not spend time on it.
            self.dropped += bytes.len() as u64;
            return;
        }
        let Some(scrubber) = &self.scrubber else { return self.write_scrubbed(stream, bytes.to_vec()) };
        self.held[index].extend_from_slice(bytes);
        let scrubbed = scrubber.pass(&mut self.held[index], false);
        self.write_scrubbed(stream, scrubbed);
    }

    /// Keeps written bytes, from which secrets were removed.
    fn write_scrubbed(&mut self, stream: LogStream, bytes: Vec<u8>) {
        let index = usize::from(stream == LogStream::Stderr);
        let mut all = std::mem::take(&mut self.partial[index]);
        if all.is_empty() {
            all = bytes
        } else {
            all.extend(bytes)
        }
        // A character may be split between two writes: its beginning waits.
        let complete = all.len() - incomplete_suffix(&all);
        self.partial[index] = all.split_off(complete);
        let text = String::from_utf8_lossy(&all);
        if stream == LogStream::Stderr {
            self.last_error.push_str(&harmless(&text));
            let excess = self.last_error.len().saturating_sub(2_000);
            if excess > 1_000 {
                let cut = self.last_error.ceil_char_boundary(excess);
                self.last_error.drain(..cut);
            }
        }
        self.keep(stream, None, &text);
    }

    fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.scrubber.as_ref().map_or(text.into(), |scrubber| scrubber.scrub(text))
    }

    fn entry(&self, stream: LogStream, level: Option<&'static str>, text: String) -> LogEntry {
        LogEntry { at: self.clock.now(), attempt: self.attempt, stream, level: level.map(Arc::from), text }
    }

    fn keep(&mut self, stream: LogStream, level: Option<&'static str>, text: &str) {
        let text = harmless(text);
        // Stretches of one stream are one entry; messages are one each.
        let goes_on = level.is_none() && self.pending.last().is_some_and(|last| last.stream == stream);
        if !goes_on && self.entries == 0 {
            self.room = 0;
        }
        let kept = text.floor_char_boundary(text.len().min(self.room));
        let is_full = self.room == 0;
        self.dropped += (text.len() - kept) as u64;
        self.room = if kept < text.len() { 0 } else { self.room - kept };
        let is_message = level.is_some();
        if is_message && is_full && text.is_empty() {
            // An empty line is a line.
            self.dropped += 1;
        }
        let text = &text[..kept];
        if text.is_empty() && (is_full || !is_message) {
            return;
        }
        let bytes =
            self.kept_bytes + 2 * text.len() as u64 + if goes_on { 0 } else { 2 * ENTRY_BYTES as u64 };
        if self.charged.cover(bytes).is_err() {
            self.dropped += text.len() as u64;
            self.room = 0;
            return;
        }
        self.kept_bytes = bytes;
        self.pending_bytes += text.len();
        match self.pending.last_mut() {
            Some(last) if goes_on => last.text.push_str(text),
            _ => {
                self.entries = self.entries.saturating_sub(1);
                self.pending_bytes += ENTRY_BYTES;
                let entry = self.entry(stream, level, text.to_owned());
                self.pending.push(entry);
            }
        }
        if self.pending_bytes >= HAND_OVER_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        self.pending_bytes = 0;
        if !self.pending.is_empty() {
            (self.sink)(std::mem::take(&mut self.pending));
        }
    }
}

/// The length of an incomplete character at the end of `bytes`.
fn incomplete_suffix(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let width = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if width > back { back } else { 0 };
    }
    0
}

/// Replaces control characters by pictures of them, so that showing a text can't move a cursor, change a
/// title or hide a line. Line feeds and tabs stay.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_terminal_control) {
        return text.into();
    }
    let picture = |c| match c {
        c if !is_terminal_control(c) => c,
        '\u{7f}' => '\u{2421}',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    };
    text.chars().map(picture).collect::<String>().into()
}

/// A standard stream of a guest.
pub(super) struct OutputPipe {
    output: GuestOutput,
    stream: LogStream,
}

impl IsTerminal for OutputPipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for OutputPipe {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self { output: self.output.clone(), stream: self.stream })
    }
}

impl OutputStream for OutputPipe {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.0.lock().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputPipe {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    type Entries = Arc<Mutex<Vec<LogEntry>>>;

    fn output(log_bytes: u64, value_bytes: Option<u64>) -> (GuestOutput, Entries) {
        output_on(100_000, log_bytes, value_bytes)
    }

    fn output_on(account_bytes: u64, log_bytes: u64, value_bytes: Option<u64>) -> (GuestOutput, Entries) {
        let entries = Entries::default();
        let sink = Arc::clone(&entries);
        let sink: Sink = Box::new(move |new| sink.lock().extend(new));
        let control = Arc::new(GuestControl::new(std::time::Duration::from_secs(1)));
        let clock = Arc::new(SystemClock::new());
        let account = HostMemory::new(account_bytes, Arc::clone(&control));
        let bounds = Bounds { log: log_bytes, value: value_bytes };
        (GuestOutput::new(clock, control, 1, bounds, None, &account, sink), entries)
    }

    fn write(output: &GuestOutput, stream: LogStream, bytes: &[u8]) {
        output.0.lock().write(stream, bytes);
    }

    fn texts(entries: &Entries) -> Vec<(LogStream, String)> {
        entries.lock().iter().map(|entry| (entry.stream, entry.text.clone())).collect()
    }

    #[test]
    fn stretches_of_one_stream_are_one_entry() {
        let (output, entries) = output(1000, None);
        write(&output, LogStream::Stdout, b"one ");
        write(&output, LogStream::Stdout, b"line\n");
        write(&output, LogStream::Stderr, b"error\n");
        output.log("info", "a message");
        output.log("info", "another");
        output.finish();
        let expected = [
            (LogStream::Stdout, "one line\n"),
            (LogStream::Stderr, "error\n"),
            (LogStream::Log, "a message"),
            (LogStream::Log, "another"),
        ];
        assert_eq!(texts(&entries), expected.map(|(stream, text)| (stream, text.to_owned())));
    }

    #[test]
    fn what_is_over_the_bound_is_counted_and_said() {
        let (output, entries) = output(5, None);
        write(&output, LogStream::Stdout, "ab\u{e9}cdef".as_bytes());
        write(&output, LogStream::Stdout, &[b'x'; 1000]);
        output.finish();
        let texts = texts(&entries);
        assert_eq!(texts[0], (LogStream::Stdout, "ab\u{e9}c".to_owned()));
        assert!(texts[1].1.starts_with("1003 more bytes were dropped"), "{texts:?}");
    }

    #[test]
    fn messages_are_bounded_in_number_even_if_they_are_empty() {
        let (output, entries) = output(640, None);
        for _ in 0..1_000 {
            output.log("info", "");
        }
        output.finish();
        let texts = texts(&entries);
        assert_eq!(texts.len(), 12, "{texts:?}");
        assert!(texts[11].1.starts_with("989 more bytes were dropped"), "{texts:?}");
    }

    #[test]
    fn messages_after_the_bound_leave_nothing_behind() {
        let (output, entries) = output(300, None);
        for _ in 0..100 {
            output.log("info", &"x".repeat(200));
        }
        output.finish();
        let lengths: Vec<_> = texts(&entries).iter().map(|(_, text)| text.len()).collect();
        assert_eq!(lengths[..2], [200, 100]);
        assert_eq!(lengths.len(), 3, "two messages and a note");
    }

    #[test]
    fn what_the_account_does_not_bear_is_dropped() {
        let (output, entries) = output_on(1000, 100_000, None);
        output.log("info", &"x".repeat(300));
        output.log("info", &"y".repeat(300));
        output.log("info", "z");
        output.finish();
        let texts = texts(&entries);
        assert_eq!(texts[0].1, "x".repeat(300));
        assert!(texts[1].1.starts_with("301 more bytes were dropped"), "{texts:?}");
    }

    #[test]
    fn a_character_split_between_writes_stays_whole() {
        let (output, entries) = output(1000, None);
        for byte in "\u{20ac}\u{1f980}".as_bytes() {
            write(&output, LogStream::Stdout, &[*byte]);
        }
        write(&output, LogStream::Stdout, &[0xe2, 0x82]);
        output.finish();
        assert_eq!(texts(&entries), [(LogStream::Stdout, "\u{20ac}\u{1f980}\u{fffd}".to_owned())]);
    }

    #[test]
    fn terminals_have_nothing_to_obey() {
        let text = "\u{1b}]0;title\u{7}\u{1b}[2Jred\r\n\tok\u{9b}31m\u{202e}x\u{7f}";
        assert_eq!(
            harmless(text),
            "\u{241b}]0;title\u{2407}\u{241b}[2Jred\u{240d}\n\tok\u{fffd}31m\u{fffd}x\u{2421}"
        );
        assert!(matches!(harmless("plain\n"), std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn standard_output_can_be_the_value() {
        let (command, entries) = output(1000, Some(10));
        write(&command, LogStream::Stdout, b"\x1b[1m value");
        command.finish();
        assert_eq!(command.take_value().unwrap().0, b"\x1b[1m value", "a value is data: nothing is filtered");
        assert!(entries.lock().is_empty());
        let (command, _) = output(1000, Some(3));
        write(&command, LogStream::Stdout, b"value");
        assert_eq!(command.take_value().unwrap_err().limit, Some(LimitKind::Result));
        let (command, _) = output_on(100, 1000, Some(1000));
        write(&command, LogStream::Stdout, &[b'x'; 60]);
        write(&command, LogStream::Stdout, &[b'x'; 60]);
        assert_eq!(command.take_value().unwrap_err().limit, Some(LimitKind::HostMemory));
    }

    #[test]
    fn standard_output_that_is_no_value_is_a_log() {
        let (command, entries) = output(70, Some(100));
        write(&command, LogStream::Stderr, b"!");
        write(&command, LogStream::Stdout, &[b'x'; 72]);
        command.log_value();
        command.finish();
        let texts = texts(&entries);
        assert_eq!(texts[..2], [(LogStream::Stderr, "!".to_owned()), (LogStream::Stdout, "x".repeat(69))]);
        assert!(texts[2].1.starts_with("3 more bytes were dropped"), "{texts:?}");
    }
}
