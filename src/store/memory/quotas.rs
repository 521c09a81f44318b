//! Quotas of components and fairness keys.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{Bucket, Held, HolderKind, Outcome};
use crate::store::{QuotaRule, quota};

/// The quotas in force, and the tokens that submits have taken.
#[derive(Default)]
pub(super) struct Quotas {
    pub(super) rules: Vec<QuotaRule>,
    /// Full buckets may be missing.
    pub(super) buckets: HashMap<(HolderKind, Arc<str>), Bucket>,
    /// The counts of others' invocations that components pay for.
    pub(super) paid: HashMap<Arc<str>, Held>,
}

/// The change that the end of an invocation is.
pub(super) fn ended(outcome: &Outcome) -> Held {
    Held { unfinished: -1, bytes: quota::stored_bytes(outcome) }
}

/// The holders of quotas that count an invocation.
pub(super) struct Account {
    pub(super) task: usize,
    /// `None` if the quota of its fairness key does not count it.
    pub(super) key: Option<usize>,
    pub(super) payer: Option<Arc<str>>,
}
