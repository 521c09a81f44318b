//! Histories: whether they are legal, and how many guests ran at once by them.

use run_wasm_runner::model::{Event, Invocation, Reason, Status, Transition};
use run_wasm_runner::store::Store;

/// The event behind a reason; `None` for the submit.
fn event(reason: Reason) -> Option<Event> {
    Event::ALL.into_iter().find(|event| event.reason() == reason)
}

/// The history of one invocation, checked: a path of the state machine from its
/// submit to where it stands, with attempts counted as they should be.
#[track_caller]
pub fn legal_history(store: &dyn Store, invocation: &Invocation) -> Vec<Transition> {
    let history = store.history(invocation.id).expect("the store can be read");
    let told = || format!("{} ({}): {history:#?}", invocation.id, invocation.task);
    let (first, rest) = history.split_first().expect("a history begins with the submit");
    assert_eq!((first.from, first.to, first.reason), (None, Status::Queued, Reason::Submitted), "{}", told());
    let (mut status, mut attempt, mut owner) = (Status::Queued, 0, None);
    for step in rest {
        let event = event(step.reason).unwrap_or_else(|| panic!("submitted twice: {}", told()));
        assert_eq!(step.from, Some(status), "{}", told());
        assert_eq!(status.apply(event), Ok(step.to), "{}", told());
        if event == Event::Claim {
            attempt += 1;
            owner = step.runner;
            assert!(owner.is_some(), "{}", told());
        }
        // Whoever takes claims away from a dead runner is not its owner.
        if status.is_owned() && !matches!(event, Event::ExpireLease | Event::Cancel | Event::Fail) {
            assert_eq!(step.runner, owner, "a stranger moved it: {}", told());
        }
        if status.is_owned() {
            assert_eq!(step.attempt, attempt, "{}", told());
        }
        if event == Event::Release {
            attempt -= 1;
        }
        status = step.to;
    }
    // It may wait at the moment without a row that says so.
    if history.last().is_some_and(|last| last.unrecorded == 0) || invocation.status.is_final() {
        assert_eq!(status, invocation.status, "{}", told());
    }
    assert_eq!(attempt, invocation.attempt, "{}", told());
    history
}

/// Counts the steps of a kind.
pub fn count(history: &[Transition], reason: Reason) -> usize {
    history.iter().filter(|step| step.reason == reason).count()
}

/// The most guests that ever held a slot at once, by the times in the histories:
/// each runs from `started` or `resumed` until it awaits or its attempt ends.
pub fn peak_running<'h>(histories: impl IntoIterator<Item = &'h Vec<Transition>>) -> usize {
    let mut edges = Vec::new();
    for history in histories {
        for step in history {
            if step.to == Status::Running {
                edges.push((step.at, 1_i64));
            }
            if step.from == Some(Status::Running) {
                edges.push((step.at, -1));
            }
        }
    }
    // Of one microsecond, ends come first: a slot that is given back and taken
    // within it was never held twice.
    edges.sort();
    let (mut running, mut peak) = (0, 0);
    for (_, edge) in edges {
        running += edge;
        peak = peak.max(running);
    }
    assert_eq!(running, 0, "something still runs");
    usize::try_from(peak).expect("a count")
}

#[test]
fn the_peak_counts_overlapping_runs() {
    use run_wasm_runner::model::UnixMicros;
    let history = |times: &[i64]| -> Vec<Transition> {
        let mut from = Status::Claimed;
        let steps = times.iter().map(|at| {
            let (to, reason) = match from {
                Status::Running => (Status::Waiting, Reason::Awaiting),
                _ => (Status::Running, Reason::Resumed),
            };
            let step = Transition {
                at: UnixMicros(*at),
                from: Some(from),
                to,
                reason,
                runner: None,
                attempt: 1,
                detail: None,
                unrecorded: 0,
            };
            from = to;
            step
        });
        steps.collect()
    };
    assert_eq!(peak_running(&[history(&[1, 5]), history(&[5, 9])]), 1);
    assert_eq!(peak_running(&[history(&[1, 5]), history(&[4, 9])]), 2);
    assert_eq!(peak_running(&[history(&[1, 2, 5, 6]), history(&[2, 5])]), 1);
}
