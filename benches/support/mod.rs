//! The parts of a runner that benchmarks of stores play: claims, and reports of ends.

use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{Claim, Event, Outcome, RunnerId, UnixMicros, Usage};
use run_wasm_runner::store::{AttemptEnd, ClaimRequest, EndKind, Report, TaskSet};

/// Asks for at most `max` invocations of a task, whatever their size, with a lease that no benchmark outlives.
pub fn request(runner: RunnerId, max: usize, task: &str) -> ClaimRequest {
    ClaimRequest {
        runner,
        lease: Duration::from_secs(600),
        max,
        max_bytes: usize::MAX,
        awaited: Vec::new(),
        only_awaited: false,
        leads: Arc::default(),
        tasks: Arc::new(TaskSet::from([task.into()])),
        root: None,
    }
}

/// Reports that a claimed invocation has run, and succeeded at once.
pub fn finished(claim: &Claim, now: UnixMicros) -> Report {
    Report {
        id: claim.id,
        runner: claim.runner,
        attempt: claim.attempt,
        observed: vec![(now, Event::Start)],
        logs: Vec::new(),
        progress: None,
        component_digest: None,
        end: Some(AttemptEnd {
            at: now,
            how: EndKind::Final(Outcome::Value("42".into())),
            has_children: false,
            usage: Usage::default(),
        }),
    }
}
