//! The limits of an attempt: one row for each, from which everything else that must know them follows.

use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a limit is counted and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitUnit {
    /// Nanoseconds, written as a duration; none is zero.
    Time,
    /// Bytes, written as a size.
    Bytes,
    /// A number.
    Count,
    /// A number that is not zero.
    Positive,
    /// The unit of the grant that sets it: it is no key among the limits.
    OfGrant,
}

impl LimitUnit {
    /// A limit in this unit as programs read it: times in seconds.
    fn json(self, most: Option<u64>) -> serde_json::Value {
        match self {
            Self::Time => serde_json::json!(most.map(|most| Duration::from_nanos(most).as_secs_f64())),
            _ => serde_json::json!(most),
        }
    }

    /// The least number in this unit that can be set.
    pub fn least(self) -> u64 {
        match self {
            Self::Time | Self::Positive => 1,
            Self::Bytes | Self::Count | Self::OfGrant => 0,
        }
    }
}

/// A limit, as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Which one it is: also its place in the table.
    pub kind: LimitKind,
    /// Its name in configuration, failures and docs.
    pub key: &'static str,
    /// Its name in JSON documents, with its unit.
    pub field: &'static str,
    /// How it is counted and written.
    pub unit: LimitUnit,
    /// The default; `None` is unlimited, which may then, and only then, be written as `unlimited`.
    pub default: Option<u64>,
    /// The thing that it bounds, for the docs.
    pub bounds: &'static str,
    /// The consequence at the limit, for the docs.
    pub at_limit: &'static str,
}

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Makes [`LimitKind`] and [`LIMITS`] of the rows.
macro_rules! limits {
    ($($kind:ident $key:literal $field:literal $unit:ident $default:expr, $bounds:literal, $at_limit:literal;)*) => {
        /// The limits, in the order of the table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum LimitKind {
            $(#[doc = concat!("`", $key, "`: ", $bounds, ".")] #[serde(rename = $key)] $kind,)*
        }

        /// Every limit.
        pub const LIMITS: [Limit; [$(LimitKind::$kind),*].len()] = [$(Limit {
            kind: LimitKind::$kind,
            key: $key,
            field: $field,
            unit: LimitUnit::$unit,
            default: $default,
            bounds: $bounds,
            at_limit: $at_limit,
        }),*];
    };
}

// A limit is one row here, and the code that enforces it: the configuration, failures, `tasks` and the
// fuzzer's dictionary follow, and tests compare `docs/configuration.md` with it.
limits! {
    Time "time" "time_seconds" Time Some(60 * SECOND),
        "duration on a slot, also asleep or doing I/O, not awaiting results",
        "the attempt ends: kind `timed-out`";
    Cpu "cpu" "cpu_seconds" Time None,
        "duration of a processor on a slot, and within `time` anyway",
        "the attempt ends: kind `limit-exceeded`";
    Parked "parked" "parked_seconds" Time Some(7 * 24 * 3600 * SECOND),
        "duration off its slot: awaiting results, and then a slot",
        "the attempt ends: kind `limit-exceeded`";
    Memory "memory" "memory_bytes" Bytes Some(256 * MIB),
        "bytes of all linear memories and tables together",
        "growing fails";
    HostMemory "host-memory" "host_memory_bytes" Bytes Some(128 * MIB),
        "bytes that the runner holds for the guest outside of its memory: arguments and values (40 bytes for each element of a list), captured output, handles and what hangs on them, children and results on their way",
        "the attempt ends: `limit-exceeded`; what has an error for it fails (`insufficient-memory`, the refusal `limit`, sockets, requests)";
    Fuel "fuel" "fuel" Positive None,
        "instructions, roughly",
        "the attempt ends: `limit-exceeded`";
    Arguments "arguments" "arguments_bytes" Bytes Some(64 * MIB),
        "bytes of the arguments as JSON",
        "refused at submit: exit code 2, or the refusal `limit` for a guest that submits";
    Result "result" "result_bytes" Bytes Some(64 * MIB),
        "bytes of the value as JSON",
        "the attempt ends: `limit-exceeded`";
    Logs "logs" "log_bytes" Bytes Some(MIB),
        "bytes kept of standard output, standard error and log messages together",
        "the rest is dropped, and counted in a last line";
    Children "children" "children" Count Some(100_000),
        "children that are submitted",
        "the refusal `limit`";
    Files "files" "files" Count Some(256),
        "files and directories open at once, in granted directories",
        "opening fails (`quota`)";
    FileBytes "file-bytes" "file_bytes" Bytes Some(64 * GIB),
        "bytes read and written of files, together",
        "reading and writing fail (`quota`)";
    Scratch "scratch" "scratch" OfGrant None,
        "bytes and files of the scratch directory, set with it",
        "writing and creating fail (`insufficient-space`)";
    Sockets "sockets" "sockets" Count Some(64),
        "sockets, requests and lookups of names open at once",
        "opening fails";
    RequestBody "request-body" "request_body_bytes" Bytes Some(64 * MIB),
        "bytes of the body of one request",
        "the body fails";
    ResponseBody "response-body" "response_body_bytes" Bytes Some(64 * MIB),
        "bytes of the body of one response",
        "the body fails";
    Traffic "traffic" "traffic_bytes" Bytes Some(GIB),
        "bytes sent and received, together, by sockets and requests",
        "sending and receiving fail (`access-denied`, `HTTP-request-denied`)";
}

impl LimitKind {
    /// Its row of the table.
    pub const fn limit(self) -> &'static Limit {
        &LIMITS[self as usize]
    }

    /// Its name in configuration, failures and docs.
    pub const fn as_str(self) -> &'static str {
        self.limit().key
    }
}

impl std::fmt::Display for LimitKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The keys of the limits that a configuration sets by themselves.
pub const LIMIT_KEYS: [&str; LIMITS.len() - 1] = {
    let mut keys = [""; LIMITS.len() - 1];
    let (mut row, mut count) = (0, 0);
    while row < LIMITS.len() {
        if !matches!(LIMITS[row].unit, LimitUnit::OfGrant) {
            keys[count] = LIMITS[row].key;
            count += 1;
        }
        row += 1;
    }
    keys
};

/// How much one attempt may use of everything that is limited, each in the unit of its row; `None` is
/// unlimited. Whatever ends an attempt is named in its failure.
#[derive(Debug, Clone)]
pub struct TaskLimits {
    most: [Option<u64>; LIMITS.len()],
    /// The section of the configuration that has set a limit, for those that are not the default.
    sections: Vec<(LimitKind, Arc<str>)>,
}

/// The same limits are equal, whatever has set them.
impl PartialEq for TaskLimits {
    fn eq(&self, other: &Self) -> bool {
        self.most == other.most
    }
}

impl Eq for TaskLimits {}

impl TaskLimits {
    /// Changes one limit.
    pub fn set(&mut self, kind: LimitKind, most: Option<u64>) {
        self.most[kind as usize] = most;
    }

    /// Changes one limit, as a section of the configuration says.
    pub fn set_by(&mut self, section: &Arc<str>, kind: LimitKind, most: Option<u64>) {
        self.set(kind, most);
        self.sections.retain(|(known, _)| *known != kind);
        self.sections.push((kind, Arc::clone(section)));
    }

    /// Names the section that has set a limit, such as `[component.math.limits]`; `None` if it is the default.
    pub fn section(&self, kind: LimitKind) -> Option<&Arc<str>> {
        self.sections.iter().find(|(known, _)| *known == kind).map(|(_, section)| section)
    }

    /// The most of what one limit bounds, which is more than there is if it is unlimited.
    pub fn most(&self, kind: LimitKind) -> u64 {
        self[kind].unwrap_or(u64::MAX)
    }

    /// The limit of a time.
    pub fn time(&self, kind: LimitKind) -> Option<Duration> {
        self[kind].map(Duration::from_nanos)
    }
}

impl Index<LimitKind> for TaskLimits {
    type Output = Option<u64>;

    fn index(&self, kind: LimitKind) -> &Option<u64> {
        &self.most[kind as usize]
    }
}

impl Default for TaskLimits {
    fn default() -> Self {
        Self { most: LIMITS.map(|limit| limit.default), sections: Vec::new() }
    }
}

/// A limit in the documents that programs read: times in seconds.
impl Serialize for TaskLimits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = LIMITS.iter().filter(|limit| limit.unit != LimitUnit::OfGrant);
        serializer.collect_map(said.map(|limit| (limit.field, limit.unit.json(self[limit.kind]))))
    }
}

/// The limits that a submit sets for its invocation and for what that submits. At each attempt the lower of such a
/// limit and of the task's own holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmitLimits(Arc<[(LimitKind, u64)]>);

impl SubmitLimits {
    /// Makes them of limits in the units of their rows: of several of one kind the lowest counts.
    pub fn of(limits: impl IntoIterator<Item = (LimitKind, u64)>) -> Self {
        let mut limits: Vec<_> = limits.into_iter().collect();
        limits.sort_unstable_by_key(|(kind, most)| (*kind as usize, *most));
        limits.dedup_by_key(|(kind, _)| *kind);
        Self(limits.into())
    }

    /// Whether a submit can set a limit. `arguments` bounds the submit itself, and that of the scratch directory is
    /// part of its grant.
    pub fn can_set(kind: LimitKind) -> bool {
        kind != LimitKind::Arguments && kind.limit().unit != LimitUnit::OfGrant
    }

    /// The limits that are set, in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = (LimitKind, u64)> {
        self.0.iter().copied()
    }

    /// The limit of a kind, if it is set.
    pub fn get(&self, kind: LimitKind) -> Option<u64> {
        self.entries().find(|(set, _)| *set == kind).map(|(_, most)| most)
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lower of such a limit and of a task's own.
    pub fn lower(&self, kind: LimitKind, own: Option<u64>) -> Option<u64> {
        self.get(kind).into_iter().chain(own).min()
    }

    /// The limits that are set, for programs: names with their units, and times in seconds.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, serde_json::Value)> {
        self.entries().map(|(kind, most)| (kind.limit().field, kind.limit().unit.json(Some(most))))
    }
}

/// As they are stored: keys of the table, and numbers in the units of its rows.
impl Serialize for SubmitLimits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

impl<'de> Deserialize<'de> for SubmitLimits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HashMap::<LimitKind, u64>::deserialize(deserializer).map(Self::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_at_its_place_and_called_the_same_everywhere() {
        for (place, limit) in LIMITS.iter().enumerate() {
            assert_eq!((limit.kind as usize, limit.kind.limit().key), (place, limit.key));
            assert_eq!(serde_json::to_string(&limit.kind).unwrap(), format!("\"{}\"", limit.key));
            let is_said = LIMIT_KEYS.contains(&limit.key);
            assert_eq!(is_said, limit.unit != LimitUnit::OfGrant, "{}", limit.key);
        }
    }

    #[test]
    fn the_limits_of_a_submit_lower_those_of_a_task_and_raise_none() {
        use LimitKind::{Cpu, Memory, Sockets};
        let limits = SubmitLimits::of([(Memory, 9), (Cpu, 70), (Memory, 5), (Cpu, 80)]);
        assert_eq!(limits.entries().collect::<Vec<_>>(), [(Cpu, 70), (Memory, 5)]);
        let lower = |kind, own| limits.lower(kind, own);
        assert_eq!([lower(Memory, Some(4)), lower(Memory, Some(6))], [Some(4), Some(5)]);
        assert_eq!(
            [lower(Cpu, None), lower(Sockets, None), lower(Sockets, Some(1))],
            [Some(70), None, Some(1)]
        );
        let stored = serde_json::to_string(&limits).unwrap();
        assert_eq!(stored, r#"{"cpu":70,"memory":5}"#);
        assert_eq!(serde_json::from_str::<SubmitLimits>(&stored).unwrap(), limits);
        let settable = LIMITS.iter().filter(|limit| SubmitLimits::can_set(limit.kind)).count();
        assert_eq!(settable, LIMITS.len() - 2);
    }

    #[test]
    fn limits_are_written_with_their_units_for_programs() {
        let mut limits = TaskLimits::default();
        limits.set(LimitKind::Cpu, Some(SECOND / 2));
        assert_eq!(
            serde_json::to_string(&limits).unwrap(),
            r#"{"time_seconds":60.0,"cpu_seconds":0.5,"parked_seconds":604800.0,"memory_bytes":268435456,"host_memory_bytes":134217728,"fuel":null,"arguments_bytes":67108864,"result_bytes":67108864,"log_bytes":1048576,"children":100000,"files":256,"file_bytes":68719476736,"sockets":64,"request_body_bytes":67108864,"response_body_bytes":67108864,"traffic_bytes":1073741824}"#
        );
    }
}
