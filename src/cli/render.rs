//! Invocations and tasks, as JSON documents and for people.

use std::time::Duration;

use comfy_table::{Cell, Color, Table, presets};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::model::{
    ComponentDigest, Failure, Invocation, InvocationId, LimitKind, LogEntry, LogStream, Outcome, Progress,
    RunnerId, Status, TaskLimits, Transition, UnixMicros, Usage,
};
use crate::wasm::{Grants, Inspection, NotTask, Right, Task, rights};

use super::output::{self, harmless, harmless_line};

/// `status --json`, and wherever else an invocation is a JSON document.
#[derive(Debug, Serialize)]
pub struct StatusDocument<'a> {
    id: InvocationId,
    task: &'a str,
    component_digest: ComponentDigest,
    status: Status,
    attempt: u32,
    max_attempts: u32,
    parent: Option<InvocationId>,
    root: InvocationId,
    depth: u32,
    detached: bool,
    runner: Option<RunnerId>,
    submitted_at: String,
    available_at: String,
    deadline: Option<String>,
    /// Due, and kept back by a concurrency or rate rule.
    blocked: bool,
    started_at: Option<String>,
    finished_at: Option<String>,
    priority: i32,
    key: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    labels: &'a [(String, String)],
    progress: Option<&'a Progress>,
    usage: Option<UsageDocument>,
    /// The value, with all the digits that it was written with.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
}

impl<'a> StatusDocument<'a> {
    /// The document of an invocation.
    pub fn new(invocation: &'a Invocation) -> Self {
        let (result, failure) = match &invocation.outcome {
            // A value that is not JSON would be a bug of whoever stored it; the
            // rest of the document is still worth printing.
            Some(Outcome::Value(json)) => (serde_json::from_str(json).ok(), None),
            Some(Outcome::Failure(failure)) => (None, Some(&**failure)),
            None => (None, None),
        };
        Self {
            id: invocation.id,
            task: &invocation.task,
            component_digest: invocation.component_digest,
            status: invocation.status,
            attempt: invocation.attempt,
            max_attempts: invocation.max_attempts,
            parent: invocation.parent,
            root: invocation.root,
            depth: invocation.depth,
            detached: invocation.detached,
            runner: invocation.runner,
            submitted_at: invocation.submitted_at.to_rfc3339(),
            available_at: invocation.available_at.to_rfc3339(),
            deadline: invocation.deadline.map(UnixMicros::to_rfc3339),
            blocked: invocation.blocked,
            started_at: invocation.started_at.map(UnixMicros::to_rfc3339),
            finished_at: invocation.finished_at.map(UnixMicros::to_rfc3339),
            priority: invocation.priority,
            key: invocation.key.as_deref(),
            labels: &invocation.labels,
            progress: invocation.progress.as_ref(),
            usage: invocation.usage.map(UsageDocument::new),
            result,
            failure,
        }
    }
}

/// What an invocation used.
#[derive(Debug, Serialize)]
struct UsageDocument {
    cpu_ms: f64,
    peak_memory_bytes: u64,
    fuel: Option<u64>,
    children: u64,
    log_bytes: u64,
    output_bytes: u64,
    result_bytes: u64,
    read_bytes: u64,
    written_bytes: u64,
    sent_bytes: u64,
    received_bytes: u64,
}

impl UsageDocument {
    fn new(usage: Usage) -> Self {
        Self {
            cpu_ms: usage.cpu_micros as f64 / 1e3,
            peak_memory_bytes: usage.peak_memory_bytes,
            fuel: usage.fuel,
            children: usage.children,
            log_bytes: usage.log_bytes,
            output_bytes: usage.output_bytes,
            result_bytes: usage.result_bytes,
            read_bytes: usage.read_bytes,
            written_bytes: usage.written_bytes,
            sent_bytes: usage.sent_bytes,
            received_bytes: usage.received_bytes,
        }
    }
}

/// What an invocation used, in a line for people: what was not used is left out.
pub fn usage_line(usage: &Usage) -> String {
    let mut parts = vec![
        format!("cpu {}", duration(Duration::from_micros(usage.cpu_micros))),
        format!("memory {}", size(usage.peak_memory_bytes)),
    ];
    parts.extend(usage.fuel.map(|fuel| format!("fuel {}", thousands(fuel))));
    if usage.children > 0 {
        parts.push(format!("children {}", thousands(usage.children)));
    }
    let bytes = [
        ("log", usage.log_bytes),
        ("output", usage.output_bytes),
        ("result", usage.result_bytes),
        ("read", usage.read_bytes),
        ("written", usage.written_bytes),
        ("sent", usage.sent_bytes),
        ("received", usage.received_bytes),
    ];
    let used = bytes.into_iter().filter(|(_, bytes)| *bytes > 0);
    parts.extend(used.map(|(what, bytes)| format!("{what} {}", size(bytes))));
    parts.join(", ")
}

fn as_map<S: Serializer>(labels: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(labels.len()))?;
    for (key, value) in *labels {
        map.serialize_entry(key, value)?;
    }
    map.end()
}

/// A line of `history --json`.
#[derive(Debug, Serialize)]
pub struct TransitionDocument<'a> {
    at: String,
    from: Option<Status>,
    to: Status,
    reason: &'static str,
    runner: Option<RunnerId>,
    attempt: u32,
    detail: Option<&'a str>,
}

impl<'a> TransitionDocument<'a> {
    /// The document of a transition.
    pub fn new(transition: &'a Transition) -> Self {
        Self {
            at: transition.at.to_rfc3339(),
            from: transition.from,
            to: transition.to,
            reason: transition.reason.as_str(),
            runner: transition.runner,
            attempt: transition.attempt,
            detail: transition.detail.as_deref(),
        }
    }
}

/// A line of `logs --json`.
#[derive(Debug, Serialize)]
pub struct LogDocument<'a> {
    at: String,
    attempt: u32,
    stream: LogStream,
    level: Option<&'a str>,
    text: &'a str,
}

impl<'a> LogDocument<'a> {
    /// The document of what a guest wrote.
    pub fn new(entry: &'a LogEntry) -> Self {
        Self {
            at: entry.at.to_rfc3339(),
            attempt: entry.attempt,
            stream: entry.stream,
            level: entry.level.as_deref(),
            text: &entry.text,
        }
    }
}

/// A line of `tasks --json`.
#[derive(Debug, Serialize)]
pub struct TaskDocument<'a> {
    task: &'a str,
    component: &'a str,
    component_digest: ComponentDigest,
    params: Vec<ParameterDocument<'a>>,
    result: Option<&'a str>,
    docs: Option<&'a str>,
    max_attempts: u32,
    priority: i32,
    deadline_seconds: Option<f64>,
    limits: &'a TaskLimits,
}

#[derive(Debug, Serialize)]
struct ParameterDocument<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
}

impl<'a> TaskDocument<'a> {
    /// The document of a task.
    pub fn new(task: &'a Task) -> Self {
        let parameters = task.parameters.iter();
        Self {
            task: &task.id,
            component: &task.component,
            component_digest: task.digest,
            params: parameters
                .map(|parameter| ParameterDocument { name: &parameter.name, type_name: &parameter.type_name })
                .collect(),
            result: task.result.as_deref(),
            docs: task.docs.as_deref(),
            max_attempts: task.options.max_attempts,
            priority: task.options.priority,
            deadline_seconds: task.options.deadline.map(|deadline| deadline.as_secs_f64()),
            limits: &task.options.limits,
        }
    }
}

/// `inspect --json`.
#[derive(Debug, Serialize)]
pub struct InspectionDocument<'a> {
    digest: ComponentDigest,
    bytes: u64,
    tasks: Vec<TaskDocument<'a>>,
    not_tasks: Vec<NotTaskDocument<'a>>,
    imports: Vec<ImportDocument<'a>>,
    /// The name under which it is configured.
    component: Option<&'a str>,
    rights: Vec<RightDocument>,
}

/// Something that a component asks for.
#[derive(Debug, Serialize)]
pub struct RightDocument {
    right: &'static str,
    uses: Vec<String>,
    /// How much of it is granted; `None` if the component is not configured.
    extent: Option<&'static str>,
    granted: Vec<String>,
}

impl RightDocument {
    /// The document of a right, with what is granted of it.
    pub fn new(right: &Right, grants: Option<&Grants>) -> Self {
        let extent = grants.map(|grants| right.extent(grants));
        let (extent, granted) = match extent {
            Some((extent, granted)) => (Some(extent.as_str()), granted),
            None => (None, Vec::new()),
        };
        Self { right: right.kind.as_str(), uses: right.uses.clone(), extent, granted }
    }
}

#[derive(Debug, Serialize)]
struct NotTaskDocument<'a> {
    id: &'a str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct ImportDocument<'a> {
    import: &'a str,
    provided_by: &'a str,
    is_provided: bool,
}

impl<'a> InspectionDocument<'a> {
    /// The document of a component file; with the name under which it is configured,
    /// and what it is granted.
    pub fn new(inspection: &'a Inspection, configured: Option<(&'a str, &Grants)>) -> Self {
        let grants = configured.map(|(_, grants)| grants);
        let rights = rights(&inspection.imports);
        let not_task = |not: &'a NotTask| NotTaskDocument { id: &not.id, reason: &not.reason };
        let imports = inspection.imports.iter().map(|import| ImportDocument {
            import: &import.import,
            provided_by: &import.provided_by,
            is_provided: import.is_provided,
        });
        Self {
            digest: inspection.digest,
            bytes: inspection.bytes,
            tasks: inspection.tasks.iter().map(TaskDocument::new).collect(),
            not_tasks: inspection.not_tasks.iter().map(not_task).collect(),
            imports: imports.collect(),
            component: configured.map(|(name, _)| name),
            rights: rights.iter().map(|right| RightDocument::new(right, grants)).collect(),
        }
    }
}

/// Columns without lines around them, for people.
pub struct Columns {
    table: Table,
}

impl Columns {
    /// With a line of headings.
    pub fn new(headings: &[&str], has_colours: bool) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(headings.iter().copied());
        // Whether standard output is a terminal was decided already, and
        // NO_COLOR with it.
        if has_colours {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        Self { table }
    }

    /// Adds a line.
    pub fn row(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
    }

    /// The lines, without the spaces that would end them.
    pub fn lines(&self) -> String {
        // The padding of the first column would stand before every line.
        let lines = self.table.lines().map(|line| {
            let line = line.trim_end();
            line.strip_prefix(' ').unwrap_or(line).to_owned()
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// A cell with text from anywhere.
pub fn cell(text: &str) -> Cell {
    Cell::new(harmless_line(text))
}

/// A cell with a status in its colour.
pub fn status_cell(status: Status) -> Cell {
    let cell = Cell::new(status.as_str());
    match colour(status) {
        Some((colour, _)) => cell.fg(colour),
        None => cell,
    }
}

/// A status in its colour, if there are colours.
pub fn status_word(status: Status, has_colours: bool) -> String {
    match colour(status).filter(|_| has_colours) {
        Some((_, code)) => format!("\u{1b}[{code}m{status}\u{1b}[0m"),
        None => status.to_string(),
    }
}

fn colour(status: Status) -> Option<(Color, u8)> {
    match status {
        Status::Queued | Status::Claimed => None,
        Status::Running => Some((Color::DarkCyan, 36)),
        Status::Waiting => Some((Color::DarkBlue, 34)),
        Status::Succeeded => Some((Color::DarkGreen, 32)),
        Status::Failed => Some((Color::DarkRed, 31)),
        Status::Cancelled | Status::Skipped => Some((Color::DarkYellow, 33)),
    }
}

/// A duration with two or three digits that matter.
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

/// How long an invocation has run, from the start of its last attempt.
pub fn run_time(invocation: &Invocation, now: UnixMicros) -> Option<Duration> {
    let started = invocation.started_at?;
    match invocation.status {
        Status::Queued | Status::Claimed => None,
        Status::Running | Status::Waiting => Some(now.since(started)),
        Status::Succeeded | Status::Failed | Status::Cancelled | Status::Skipped => {
            Some(invocation.finished_at?.since(started))
        }
    }
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

/// A number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 task`, `2 tasks`.
pub fn plural(count: usize, word: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{} {word}{s}", thousands(count as u64))
}

/// Tells a failure of an invocation of `task` on standard error: kind, message,
/// call stack, and what could be done about it.
pub fn complain_of_failure(what: &str, task: &str, failure: &Failure) {
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
        Some(limit) => {
            output::hint(&format!("raise `{limit}` in `[task.\"{task}\".limits]` if the task may use more"))
        }
    }
}

/// Text of a guest's stream or log, as lines for a terminal.
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
        let mut columns = Columns::new(&["ID", "STATUS"], false);
        columns.row(vec![cell("a\u{1b}b\nc"), status_cell(Status::Failed)]);
        columns.row(vec![cell("d"), cell("")]);
        assert_eq!(columns.lines(), "ID           STATUS\na\\u{1b}b\\nc  failed\nd");
    }

    #[test]
    fn a_value_keeps_its_digits() {
        let id = InvocationId::generate();
        let invocation = Invocation {
            id,
            task: "a:b/c.d".into(),
            component_digest: ComponentDigest::from_bytes([1; 32]),
            status: Status::Succeeded,
            attempt: 1,
            max_attempts: 3,
            parent: None,
            root: id,
            depth: 0,
            detached: false,
            priority: 0,
            key: None,
            labels: vec![("k".to_owned(), "v".to_owned())],
            runner: None,
            submitted_at: UnixMicros(0),
            available_at: UnixMicros(0),
            blocked: false,
            lane: None,
            unique: None,
            deadline: None,
            started_at: Some(UnixMicros(1)),
            finished_at: Some(UnixMicros(2)),
            progress: None,
            usage: None,
            outcome: Some(Outcome::Value("18446744073709551615.000000000000000000001".into())),
        };
        let json = serde_json::to_string(&StatusDocument::new(&invocation)).expect("a document");
        assert!(json.contains(r#""result":18446744073709551615.000000000000000000001"#), "{json}");
        assert!(json.contains(r#""started_at":"1970-01-01T00:00:00.000001Z""#), "{json}");
        assert!(json.contains(r#""labels":{"k":"v"}"#) && !json.contains("failure"), "{json}");
    }
}
