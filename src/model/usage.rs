//! The resources that an invocation has used: its bill.

use serde::{Deserialize, Serialize};

/// The resources that the attempts of an invocation used, as far as they have ended. An attempt
/// that was lost with its runner left no bill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Time of a processor on slots, in microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpu_micros: u64,
    /// The most bytes that all memories and tables of one attempt had together.
    #[serde(skip_serializing_if = "is_zero")]
    pub peak_memory_bytes: u64,
    /// Units of fuel; `None` if nobody counted them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Children that one attempt submitted, at most: a repeated attempt finds those
    /// of the one before.
    #[serde(skip_serializing_if = "is_zero")]
    pub children: u64,
    /// Bytes of log messages, kept or dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_bytes: u64,
    /// Bytes written to standard output and standard error, kept or dropped.
    #[serde(skip_serializing_if = "is_zero")]
    pub output_bytes: u64,
    /// Bytes of values, or of returned errors, as JSON.
    #[serde(skip_serializing_if = "is_zero")]
    pub result_bytes: u64,
    /// Bytes read from files.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_bytes: u64,
    /// Bytes written to files.
    #[serde(skip_serializing_if = "is_zero")]
    pub written_bytes: u64,
    /// Bytes sent over the network.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent_bytes: u64,
    /// Bytes received over the network.
    #[serde(skip_serializing_if = "is_zero")]
    pub received_bytes: u64,
    /// Whether the bill of an attempt that somebody else ended is among it. There is
    /// one such attempt at most, and this is what keeps its bill from being added
    /// twice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub has_late: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Usage {
    /// The bill with another attempt on it.
    pub fn and(self, attempt: Self) -> Self {
        let fuel = self.fuel.into_iter().chain(attempt.fuel).reduce(u64::saturating_add);
        Self {
            cpu_micros: self.cpu_micros.saturating_add(attempt.cpu_micros),
            peak_memory_bytes: self.peak_memory_bytes.max(attempt.peak_memory_bytes),
            fuel,
            children: self.children.max(attempt.children),
            log_bytes: self.log_bytes.saturating_add(attempt.log_bytes),
            output_bytes: self.output_bytes.saturating_add(attempt.output_bytes),
            result_bytes: self.result_bytes.saturating_add(attempt.result_bytes),
            read_bytes: self.read_bytes.saturating_add(attempt.read_bytes),
            written_bytes: self.written_bytes.saturating_add(attempt.written_bytes),
            sent_bytes: self.sent_bytes.saturating_add(attempt.sent_bytes),
            received_bytes: self.received_bytes.saturating_add(attempt.received_bytes),
            has_late: self.has_late || attempt.has_late,
        }
    }
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
