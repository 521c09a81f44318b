//! The order in which ready invocations are claimed.
//!
//! The key is stored with each invocation, because the order is an index, and in SQLite with each lane
//! (`lane.last_ready`): a change of it needs a migration of every store.

use std::time::Duration;

use crate::model::UnixMicros;

/// One minute of waiting weighs as much as one step of priority: the ageing that
/// keeps low priorities from starving. Claims are ordered by
/// `available_at - priority * AGEING_STEP`, which never changes while an
/// invocation waits, so the order is an index and not a computation.
pub const AGEING_STEP: Duration = Duration::from_secs(60);

/// Where an invocation stands in the queue: smaller is sooner. It never changes
/// while the invocation waits.
pub(super) fn order_key(available_at: UnixMicros, priority: i32) -> i64 {
    let step = i64::try_from(AGEING_STEP.as_micros()).unwrap_or(i64::MAX);
    available_at.0.saturating_sub(i64::from(priority).saturating_mul(step))
}
