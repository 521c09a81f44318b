//! The resources that an invocation has used: its bill. And the sums of many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LimitKind, Status};

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

            /// The entries that are sums, and the fuel.
            fn summed(self) -> Self {
                Self { $($field: Combined::$combined.summed(self.$field),)* fuel: self.fuel, has_late: false }
            }

            /// The entry with a name, if it is a sum.
            fn sum_mut(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($field) if Combined::$combined == Combined::Sum => Some(&mut self.$field),)*
                    _ => None,
                }
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

    /// The entry, if it can be summed over several invocations.
    fn summed(self, entry: u64) -> u64 {
        match self {
            Self::Sum => entry,
            Self::Largest => 0,
        }
    }
}

/// Makes [`UsageSums`] with the numbers that are counted beside the bills.
macro_rules! sums {
    ($($(#[$doc:meta])* $count:ident,)*) => {
        /// Sums over invocations and attempts: of an hour, a component and a fairness key, or of several.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "Named", into = "Named")]
        pub struct UsageSums {
            $($(#[$doc])* pub $count: u64,)*
            /// The entries of the bills that are sums; the others are 0.
            pub bill: Usage,
            /// Sums that a newer program has written.
            others: Named,
        }

        impl UsageSums {
            /// The numbers that are counted beside the bills, each with its name.
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($count), self.$count)),*].into_iter()
            }

            /// Adds other sums.
            pub fn add(&mut self, other: &Self) {
                $(self.$count = self.$count.saturating_add(other.$count);)*
                self.bill = self.bill.and(other.bill);
                for (name, more) in &other.others {
                    let sum = self.others.entry(name.clone()).or_default();
                    *sum = sum.saturating_add(*more);
                }
            }
        }

        impl From<Named> for UsageSums {
            fn from(named: Named) -> Self {
                let mut sums = Self::default();
                for (name, sum) in named {
                    match &*name {
                        $(stringify!($count) => sums.$count = sum,)*
                        "fuel" => sums.bill.fuel = Some(sum),
                        known => match sums.bill.sum_mut(known) {
                            Some(entry) => *entry = sum,
                            None => {
                                sums.others.insert(name, sum);
                            }
                        },
                    }
                }
                sums
            }
        }

        impl From<UsageSums> for Named {
            fn from(sums: UsageSums) -> Self {
                let bill = sums.entries().chain(sums.bill.fuel.map(|fuel| ("fuel", fuel)));
                let known = sums.counts().chain(bill).filter(|(name, sum)| *sum > 0 || *name == "fuel");
                let mut named = sums.others;
                named.extend(known.map(|(name, sum)| (name.into(), sum)));
                named
            }
        }
    };
}

/// Sums by their names.
type Named = BTreeMap<Box<str>, u64>;

sums! {
    /// Invocations that became final.
    calls,
    /// Calls that failed.
    failures,
    /// Calls that were cancelled.
    cancelled,
    /// Calls that were skipped.
    skipped,
    /// Attempts that left a bill.
    attempts,
}

impl UsageSums {
    /// The entries of the bills that are sums, but for the fuel, each with its name.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let entries = self.bill.entries().zip(USAGE);
        entries.filter(|(_, entry)| entry.combined == Combined::Sum).map(|(entry, _)| entry)
    }

    /// Counts an invocation that became final.
    pub fn count_end(&mut self, status: Status) {
        self.calls += 1;
        match status {
            Status::Failed => self.failures += 1,
            Status::Cancelled => self.cancelled += 1,
            Status::Skipped => self.skipped += 1,
            _ => {}
        }
    }

    /// Adds the bill of an attempt, if it left one.
    pub fn count_bill(&mut self, bill: Usage) {
        if bill != Usage::default() {
            self.attempts += 1;
            self.bill = self.bill.and(bill.summed());
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

    #[test]
    fn sums_leave_out_what_is_no_sum_and_keep_what_a_newer_program_has_summed() {
        let bill = Usage { cpu_micros: 3, peak_memory_bytes: 10, children: 5, ..Usage::default() };
        let mut sums = UsageSums::default();
        sums.count_bill(bill);
        sums.count_bill(Usage { fuel: Some(0), has_late: true, ..bill });
        sums.count_bill(Usage::default());
        sums.count_end(Status::Succeeded);
        sums.count_end(Status::Failed);
        let json = serde_json::to_string(&sums).unwrap();
        assert_eq!(json, r#"{"attempts":2,"calls":2,"cpu_micros":6,"failures":1,"fuel":0}"#);
        assert_eq!(serde_json::from_str::<UsageSums>(&json).unwrap(), sums);
        let newer: UsageSums = serde_json::from_str(r#"{"calls":1,"of_a_newer_program":4}"#).unwrap();
        sums.add(&newer);
        sums.add(&newer);
        let json = serde_json::to_string(&sums).unwrap();
        assert!(json.contains(r#""calls":4"#) && json.contains(r#""of_a_newer_program":8"#), "{json}");
    }
}
