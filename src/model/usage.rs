//! The resources that an invocation has used: its bill.

use serde::{Deserialize, Serialize};

use super::LimitKind;

/// How an entry of several attempts becomes one of their invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combined {
    /// The attempts' entries are added.
    Sum,
    /// The largest entry counts.
    Largest,
}

/// An entry of the bill, as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct UsageEntry {
    /// Its name.
    pub field: &'static str,
    /// How those of several attempts become one.
    pub combined: Combined,
    /// The limit that bounds it in one attempt.
    pub limit: LimitKind,
}

/// Makes [`Usage`] and [`USAGE`] of the rows.
macro_rules! usage {
    ($($(#[$doc:meta])* $field:ident: $combined:ident, $limit:ident;)*) => {
        /// The resources that the ended attempts of an invocation used. One lost with its runner left no
        /// bill.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Usage {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_zero")] pub $field: u64,)*
            /// Units of fuel; `None` if nobody counted them.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub fuel: Option<u64>,
            /// Whether it includes the late bill: that of an attempt which a cancel, a deadline or a parent ended.
            /// There is at most one, and it is never added twice.
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            pub has_late: bool,
        }

        impl Usage {
            /// The bill with another attempt on it.
            pub fn and(self, attempt: Self) -> Self {
                Self {
                    $($field: Combined::$combined.of(self.$field, attempt.$field),)*
                    fuel: self.fuel.into_iter().chain(attempt.fuel).reduce(u64::saturating_add),
                    has_late: self.has_late || attempt.has_late,
                }
            }

            /// The entries of [`USAGE`], in its order, each with its name.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }

        /// Every entry but `fuel`, which not every runner counts.
        pub const USAGE: &[UsageEntry] = &[$(UsageEntry {
            field: stringify!($field),
            combined: Combined::$combined,
            limit: LimitKind::$limit,
        }),*];
    };
}

usage! {
    /// Time of a processor on slots, in microseconds.
    cpu_micros: Sum, Cpu;
    /// Bytes of memories and tables, times the seconds for which an attempt had them, also while it waited.
    memory_byte_seconds: Sum, Memory;
    /// The most bytes that all memories and tables of one attempt had together.
    peak_memory_bytes: Largest, Memory;
    /// The most bytes that the runner held for one attempt outside of its memories.
    peak_host_memory_bytes: Largest, HostMemory;
    /// The most children that one attempt submitted: a repeated attempt finds those of the one before.
    children: Largest, Children;
    /// Bytes of log messages, kept or dropped.
    log_bytes: Sum, Logs;
    /// Bytes written to standard output and standard error, kept or dropped.
    output_bytes: Sum, Logs;
    /// Bytes of values, or of returned errors, as JSON.
    result_bytes: Sum, Result;
    /// Bytes read from files.
    read_bytes: Sum, FileBytes;
    /// Bytes written to files.
    written_bytes: Sum, FileBytes;
    /// Bytes sent over the network.
    sent_bytes: Sum, Traffic;
    /// Bytes received over the network.
    received_bytes: Sum, Traffic;
}

impl Combined {
    fn of(self, one: u64, other: u64) -> u64 {
        match self {
            Self::Sum => one.saturating_add(other),
            Self::Largest => one.max(other),
        }
    }
}

/// Whether a number is left out of a document.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_add_up_and_the_largest_counts_for_what_is_had_at_once() {
        let first = Usage { cpu_micros: 3, peak_memory_bytes: 10, children: 5, ..Usage::default() };
        let second = Usage { cpu_micros: 4, peak_memory_bytes: 7, children: 2, fuel: Some(9), ..first };
        let both = Usage { cpu_micros: 7, peak_memory_bytes: 10, children: 5, fuel: Some(9), ..first };
        assert_eq!(first.and(second), both);
        assert_eq!(both.and(second).fuel, Some(18));
    }

    #[test]
    fn what_was_not_used_is_not_written_and_unknown_fields_are_passed_by() {
        let usage = Usage { cpu_micros: 3, ..Usage::default() };
        assert_eq!(serde_json::to_string(&usage).unwrap(), r#"{"cpu_micros":3}"#);
        let read: Usage = serde_json::from_str(r#"{"cpu_micros":3,"of_a_newer_program":1}"#).unwrap();
        assert_eq!(read, usage);
    }
}
