//! The outcome of an attempt. A failure is data: it is stored, shown and matched
//! on; it is never a host error.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::words::words;
use super::{InvocationId, LimitKind, Status};

/// The outcome of a final invocation.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The task's value as JSON text.
    Value(Arc<str>),
    /// Why there is no value.
    Failure(Arc<Failure>),
}

impl Outcome {
    /// The final status of an invocation that left this behind.
    pub fn status(&self) -> Status {
        match self {
            Self::Value(_) => Status::Succeeded,
            Self::Failure(failure) => failure.kind.status(),
        }
    }

    /// About how many bytes of memory the outcome holds.
    pub fn approximate_bytes(&self) -> usize {
        match self {
            Self::Value(json) => json.len(),
            Self::Failure(failure) => {
                failure.message.len() + failure.error.as_ref().map_or(0, |error| error.get().len()) + 128
            }
        }
    }
}

/// The longest message of a failure, in bytes.
const MAX_MESSAGE_BYTES: usize = 8_000;

/// Why an invocation has no value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// For people: a lower-case sentence.
    pub message: String,
    /// The error that the task returned, as JSON; only for [`FailureKind::Returned`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<RawValue>>,
    /// The limit that was hit, for [`FailureKind::LimitExceeded`] and [`FailureKind::TimedOut`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitKind>,
    /// The guest's exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The child whose failure ended this invocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<InvocationId>,
    /// The guest's call stack, innermost first, as far as its names are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
    /// Whether only the kind and the message were read of it, for a list.
    #[serde(skip)]
    pub is_cut: bool,
}

impl Failure {
    /// Makes a failure with a message, which is cut: one that quotes a child's, and so on, grows with the
    /// tree.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
            message.push('…');
        }
        Self {
            kind,
            message,
            error: None,
            limit: None,
            exit_code: None,
            child: None,
            backtrace: Vec::new(),
            is_cut: false,
        }
    }

    /// The failure of a task that returned the `err` of its result.
    pub fn returned(error: Box<RawValue>) -> Self {
        let mut message = String::from("the task returned an error: ");
        // The whole error is in `error`; the message is for a terminal.
        message.extend(error.get().chars().take(500));
        Self { error: Some(error), ..Self::new(FailureKind::Returned, message) }
    }

    /// The failure of a guest that a limit other than time ended.
    pub fn limit(limit: LimitKind, message: impl Into<String>) -> Self {
        Self { limit: Some(limit), ..Self::new(FailureKind::LimitExceeded, message) }
    }

    /// The failure of a guest that ran longer than it may.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self { limit: Some(LimitKind::Time), ..Self::new(FailureKind::TimedOut, message) }
    }
}

/// Makes [`FailureKind`] of the rows.
macro_rules! failure_kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal, $status:ident, $class:ident, $retryable:literal;)+) => {
        words! {
            /// The kinds of failure, as in the `failure` variant of the WIT package.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub enum FailureKind {
                $($(#[$doc])* $kind = $word,)+
            }
        }

        impl FailureKind {
            /// The final status of an invocation that failed so.
            pub fn status(self) -> Status {
                match self {
                    $(Self::$kind => Status::$status,)+
                }
            }

            /// The class of exit code by which scripts tell what happened.
            pub fn exit_class(self) -> ExitClass {
                match self {
                    $(Self::$kind => ExitClass::$class,)+
                }
            }

            /// Whether a policy can have it retried: not if nobody wants it any more, or if leases repeat it.
            pub fn is_retryable(self) -> bool {
                match self {
                    $(Self::$kind => $retryable,)+
                }
            }
        }
    };
}

// A kind is one row here, with the final status, the class of exit code and whether it can be retried; the code that
// makes such a failure; and its case in `wit/task.wit`.
failure_kinds! {
    /// The task returned the `err` of its result.
    Returned = "returned", Failed, Returned, true;
    /// The guest trapped, panicked or exited, or a child's failure ended it.
    Trapped = "trapped", Failed, Trapped, true;
    /// The time limit ended it, or its deadline passed.
    TimedOut = "timed-out", Failed, Limit, true;
    /// Another limit ended it: the failure names it.
    LimitExceeded = "limit-exceeded", Failed, Limit, true;
    /// Somebody cancelled it, or its parent became final.
    Cancelled = "cancelled", Cancelled, NotWanted, false;
    /// A concurrency rule said that it must never run.
    Skipped = "skipped", Skipped, NotWanted, false;
    /// Its runner disappeared in every attempt.
    Lost = "lost", Failed, Trapped, false;
}

impl FailureKind {
    /// Lists the kinds that can be retried.
    pub fn retryable() -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(|kind| kind.is_retryable())
    }
}

/// The classes of failures that scripts tell apart by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// The task itself said no.
    Returned,
    /// The guest broke, or its runners did.
    Trapped,
    /// A limit ended it.
    Limit,
    /// It was cancelled or skipped.
    NotWanted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_written_without_empty_fields() {
        let failure = Failure::new(FailureKind::Trapped, "the guest trapped");
        assert_eq!(
            serde_json::to_string(&failure).unwrap(),
            r#"{"kind":"trapped","message":"the guest trapped"}"#
        );
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let failure = Failure::new(FailureKind::Trapped, "é".repeat(MAX_MESSAGE_BYTES));
        assert_eq!(failure.message.len(), MAX_MESSAGE_BYTES + '…'.len_utf8());
        assert!(failure.message.ends_with("é…"));
    }

    #[test]
    fn a_returned_error_keeps_its_json() {
        let error = RawValue::from_string(r#"{"code":18446744073709551615}"#.to_owned()).unwrap();
        let text = serde_json::to_string(&Failure::returned(error)).unwrap();
        let back: Failure = serde_json::from_str(&text).unwrap();
        assert_eq!(back.error.unwrap().get(), r#"{"code":18446744073709551615}"#);
        assert_eq!(back.kind, FailureKind::Returned);
    }
}
