//! Documents, for people.

use std::collections::HashSet;
use std::time::Duration;

use comfy_table::{Cell, Color, Table, presets};

use crate::model::{
    Failure, InvocationId, LimitKind, LimitUnit, LogEntry, Status, SubmitLimits, UnixMicros, Usage,
    WaitingFor, size,
};
use crate::service::{InvocationDocument, Service};

use super::harmless::{harmless, harmless_line};
use super::output;

/// Writes the bill of an invocation in a line for people: what was not used is left out.
pub fn usage_line(usage: &Usage) -> String {
    let part = |(field, value): (&str, u64)| match field {
        "cpu_micros" => Some(format!("cpu {}", duration(Duration::from_micros(value)))),
        "peak_memory_bytes" => {
            let fuel = usage.fuel.map(|fuel| format!(", fuel {}", thousands(fuel))).unwrap_or_default();
            Some(format!("memory {}{fuel}", size(value)))
        }
        _ if value == 0 => None,
        "memory_byte_seconds" => Some(format!("memory time {}", byte_seconds(value))),
        "peak_host_memory_bytes" => Some(format!("host memory {}", size(value))),
        _ => Some(match field.strip_suffix("_bytes") {
            Some(what) => format!("{what} {}", size(value)),
            None => format!("{field} {}", thousands(value)),
        }),
    };
    usage.entries().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// Writes the limits of a submit in a line for people.
pub fn limits_line(limits: &SubmitLimits) -> String {
    let part = |(kind, most): (LimitKind, u64)| {
        let most = match kind.limit().unit {
            LimitUnit::Time => duration(Duration::from_nanos(most)),
            LimitUnit::Bytes => size(most),
            LimitUnit::Count | LimitUnit::Positive | LimitUnit::OfGrant => thousands(most),
        };
        format!("{kind} {most}")
    };
    limits.entries().map(part).collect::<Vec<_>>().join(", ")
}

/// Lays out columns for people: without lines around them, and without the spaces that would
/// end each line.
pub fn columns(headings: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>, has_colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings.iter().copied());
    table.add_rows(rows);
    // Whether standard output is a terminal was decided already, and
    // NO_COLOR with it.
    if has_colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    // The padding of the first column would stand before every line.
    let lines = table.lines().map(|line| {
        let line = line.trim_end();
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// How the ids of a list are shown: short on a terminal, if that tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// By their last digits.
    Short,
    /// In full.
    Whole,
}

impl Ids {
    /// Chooses the form for a list of these, on a terminal or not.
    pub fn of(ids: impl IntoIterator<Item = InvocationId>, is_terminal: bool) -> Self {
        let mut shown = HashSet::new();
        match is_terminal && ids.into_iter().all(|id| shown.insert(id.short())) {
            true => Self::Short,
            false => Self::Whole,
        }
    }

    /// Shows one.
    pub fn show(self, id: InvocationId) -> String {
        match self {
            Self::Short => id.short(),
            Self::Whole => id.to_string(),
        }
    }
}

/// Makes a cell with text from anywhere.
pub fn cell(text: &str) -> Cell {
    Cell::new(harmless_line(text))
}

/// Makes a cell with a status in its colour.
pub fn status_cell(status: Status) -> Cell {
    let cell = Cell::new(status.as_str());
    match colour(status) {
        Some((colour, _)) => cell.fg(colour),
        None => cell,
    }
}

/// Makes a cell with the status of an invocation, and what keeps it from going on.
pub fn standing_cell(invocation: &InvocationDocument, now: UnixMicros) -> Cell {
    let status = invocation.status;
    let cell = match standing(invocation, now) {
        Some(standing) => Cell::new(format!("{status}, {standing}")),
        None => Cell::new(status.as_str()),
    };
    match colour(status) {
        Some((colour, _)) => cell.fg(colour),
        None => cell,
    }
}

/// Says what keeps an invocation from going on, if anything does that is known.
pub fn standing(invocation: &InvocationDocument, now: UnixMicros) -> Option<String> {
    let waiting = invocation.waiting_for.map(|reason| match reason {
        WaitingFor::Time => format!("{} until {}", reason.adjective(), invocation.available_at.to_seconds()),
        WaitingFor::Pause | WaitingFor::Rule => reason.adjective().to_owned(),
    });
    waiting.or_else(|| {
        let ago = duration(now.since(invocation.lease_ran_out_at?));
        Some(format!("but its runner's lease ran out {ago} ago"))
    })
}

/// Writes a status in its colour, if there are colours.
pub fn status_word(status: Status, has_colours: bool) -> String {
    match colour(status).filter(|_| has_colours) {
        Some((_, code)) => format!("\u{1b}[{code}m{status}\u{1b}[0m"),
        None => status.to_string(),
    }
}

fn colour(status: Status) -> Option<(Color, u8)> {
    match status {
        Status::Running => Some((Color::DarkCyan, 36)),
        Status::Waiting => Some((Color::DarkBlue, 34)),
        Status::Succeeded => Some((Color::DarkGreen, 32)),
        Status::Failed => Some((Color::DarkRed, 31)),
        _ => status.is_final().then_some((Color::DarkYellow, 33)),
    }
}

/// Writes a duration with the two or three digits that matter.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_secs() {
        0 if duration.as_micros() < 1000 => format!("{} µs", duration.as_micros()),
        0 if seconds < 0.1 => format!("{:.1} ms", seconds * 1e3),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds:.1} s"),
        whole @ 60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        whole => format!("{} h {:02} m", whole / 3600, whole / 60 % 60),
    }
}

/// Tells how long an invocation has run, from the start of its last attempt.
pub fn run_time(invocation: &InvocationDocument, now: UnixMicros) -> Option<Duration> {
    let started = invocation.started_at?;
    match invocation.status {
        status if status.is_final() => Some(invocation.finished_at?.since(started)),
        status if status.has_guest() => Some(now.since(started)),
        _ => None,
    }
}

/// Writes a number of bytes times seconds for people.
pub fn byte_seconds(number: u64) -> String {
    format!("{}·s", size(number))
}

/// Writes a number with its thousands apart.
pub fn thousands(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}

/// `1 task`, `2 tasks`.
pub fn plural(count: usize, word: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {word}{s}", thousands(count as u64))
}

/// The task of an invocation, and the limits that its submit has set.
pub struct Limited<'t> {
    /// Knows the configuration.
    pub service: &'t Service,
    /// The task.
    pub task: &'t str,
    /// The limits of the submit.
    pub limits: &'t SubmitLimits,
}

/// Tells a failure of an invocation on standard error: kind, message, call stack, and what could be done about it.
pub fn complain_of_failure(what: &str, of: &Limited<'_>, failure: &Failure) {
    let message = format!("{what} failed ({}): {}", failure.kind.as_str(), failure.message);
    output::complain(&[(message, None)]);
    if let Some(child) = failure.child {
        output::note(&format!("  failed child: {child}"));
    }
    // A deep recursion has thousands of frames, and the first tell the story.
    const FRAMES: usize = 30;
    for (number, frame) in failure.backtrace.iter().take(FRAMES).enumerate() {
        output::note(&format!("  {number:>2}: {}", harmless_line(frame)));
    }
    if let Some(more) = failure.backtrace.len().checked_sub(FRAMES).filter(|more| *more > 0) {
        output::note(&format!("  … and {more} more frames"));
    }
    // Limits are called in failures what they are called in the configuration.
    match failure.limit {
        None => {}
        Some(LimitKind::Scratch) => output::hint(
            "raise `size` or `files` in its component's `[component.NAME.scratch]` if it may have more",
        ),
        Some(LimitKind::Arguments) => {
            output::hint("raise `arguments` in the limits of the task that was called if it may get more");
        }
        Some(limit) if of.limits.get(limit).is_some() => {
            output::hint(&format!(
                "the submit has set `{limit}` for this invocation (`--limit`): the lower of that and of the task's own \
                 holds"
            ));
        }
        Some(limit) => output::hint(&match of.service.section_of_limit(of.task, limit) {
            Some(section) => {
                format!("raise `{limit}` in `{section}`, which sets it here, if the task may use more")
            }
            None => format!(
                "raise `{limit}` in `[task.\"{}\".limits]` if the task may use more: nothing but the default sets it here",
                of.task
            ),
        }),
    }
}

/// Writes text of a guest's stream or log as lines for a terminal.
pub fn log_lines(entry: &LogEntry) -> Vec<String> {
    let text = harmless(&entry.text);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let level = entry.level.as_deref().map(|level| format!(" {level}")).unwrap_or_default();
    text.split('\n').map(|line| format!("{}{level}: {line}", entry.stream.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_the_digits_that_matter() {
        let table = [
            (12, "12 µs"),
            (1_234, "1.2 ms"),
            (123_456, "123 ms"),
            (1_234_567, "1.2 s"),
            (61_000_000, "1 m 01 s"),
            (3_660_000_000, "1 h 01 m"),
        ];
        for (micros, text) in table {
            assert_eq!(duration(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!((thousands(0), thousands(999)), ("0".to_owned(), "999".to_owned()));
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!((size(1023), size(1536)), ("1023 bytes".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!((plural(1, "task"), plural(0, "task")), ("1 task".to_owned(), "0 tasks".to_owned()));
    }

    #[test]
    fn columns_end_without_spaces() {
        let rows = [vec![cell("a\u{1b}b\nc"), status_cell(Status::Failed)], vec![cell("d"), cell("")]];
        assert_eq!(columns(&["ID", "STATUS"], rows, false), "ID           STATUS\na\\u{1b}b\\nc  failed\nd");
    }
}
