//! Tests of observers.

use super::*;
use crate::runner::observer::{Observation, Observer};
use crate::store::EndKind;

/// Keeps what it is told, in words.
#[derive(Debug, Default)]
struct Notebook(Mutex<Vec<String>>);

impl Observer for Notebook {
    fn observe(&self, observation: &Observation<'_>) {
        let words = match observation {
            Observation::Committed { submits, reports, claims, .. } => {
                format!("committed {submits} {reports} {claims}")
            }
            Observation::CommitFailed { .. } => "commit failed".to_owned(),
            Observation::Claimed { claim } => format!("claimed {}", claim.task),
            Observation::Ended { task, attempt, end, .. } => {
                let how = match &end.how {
                    EndKind::Final(outcome) if number(outcome).is_ok() => "well",
                    EndKind::Final(_) => "badly",
                    EndKind::Retry(..) => "for now",
                    EndKind::Release => "unfinished",
                };
                format!("ended {how}: {} {attempt}", task)
            }
            Observation::Taken { attempt, outcome, .. } => format!("taken {attempt} {}", outcome.is_some()),
            Observation::Finished { .. } => "finished".to_owned(),
            Observation::LeaseLost { .. } => "lease lost".to_owned(),
        };
        self.0.lock().push(words);
    }
}

impl Notebook {
    fn has(&self, words: &str) -> bool {
        self.0.lock().iter().any(|one| one == words)
    }

    fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has(words) {
            assert!(Instant::now() < deadline, "{:?}", self.0.lock());
            std::thread::yield_now();
        }
    }
}

fn observed(slots: usize) -> (Arc<Notebook>, RunnerOptions) {
    let notebook = Arc::new(Notebook::default());
    let observers = vec![Arc::clone(&notebook) as _];
    (notebook, RunnerOptions { observers, ..options(slots) })
}

#[test]
fn observers_are_told_of_claims_and_ends_after_their_commit() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default()
            .with("good", |_| async { Ok(7) })
            .with("bad", |_| async { Err("no".to_owned()) });
        let (notebook, options) = observed(1);
        let (good, bad, panic) =
            (store.submit("good", &[]), store.submit("bad", &[]), store.submit("panic-at-start", &[]));
        let guests = Arc::new(guests.with("panic-at-start", |_| async { Ok(0) }));
        let runner = start(&store, &guests, options);
        assert_eq!(value(&runner, good), Ok(7));
        assert!(value(&runner, bad).is_err() && value(&runner, panic).is_err());
        let gauge = runner.stop();
        let told = notebook.0.lock().clone();
        let place = |words: &str| told.iter().position(|one| one == words).expect(words);
        assert!(place("claimed good") < place("ended well: good 1"), "{told:?}");
        assert!(place("claimed bad") < place("ended badly: bad 1"), "{told:?}");
        place("ended badly: panic-at-start 1");
        assert!(
            told[0].starts_with("committed 0 0 "),
            "the commit comes before what it has claimed: {told:?}"
        );
        let ends = told.iter().filter(|words| words.starts_with("ended")).count();
        assert_eq!(ends as u64, gauge.succeeded + gauge.failed);
    }
}

#[test]
fn every_claim_that_observers_are_told_of_has_its_end() {
    for is_instant in [true, false] {
        let store = Slow::new(is_instant);
        let guests = Closures::default()
            .with("good", |_| async { Ok(7) })
            .with("here", |_| std::future::pending())
            .with("elsewhere", |_| std::future::pending());
        let (notebook, options) = observed(3);
        let runner = start(&store, &Arc::new(guests), options);
        let good = store.submit("good", &[]);
        let (here, elsewhere) = (store.submit("here", &[]), store.submit("elsewhere", &[]));
        assert_eq!(value(&runner, good), Ok(7));
        runner.handle().look_again();
        notebook.wait_for("claimed here");
        notebook.wait_for("claimed elsewhere");
        runner.handle().cancel(here, "as asked");
        let cancel = Cancel { id: elsewhere, by: None, message: "as asked".to_owned() };
        store.store.commit(&Batch { cancels: vec![cancel], ..Batch::default() }).expect("a commit");
        runner.handle().look_again();
        notebook.wait_for("taken 1 false");
        notebook.wait_for("taken 1 true");
        runner.stop();
        let told = notebook.0.lock().clone();
        let count = |word: &str| told.iter().filter(|one| one.starts_with(word)).count();
        assert_eq!((count("claimed"), count("ended"), count("taken")), (3, 1, 2), "{told:?}");
    }
}

#[test]
fn observers_are_told_of_failed_commits_and_lost_leases() {
    let store = Slow::new(false);
    let guests = Arc::new(Closures::default().with("endless", |_| std::future::pending()));
    let (notebook, options) = observed(1);
    let runner = start(&store, &guests, with_lease(Duration::from_millis(300), options));
    store.submit("endless", &[]);
    runner.handle().look_again();
    notebook.wait_for("claimed endless");
    store.is_away.store(true, Ordering::SeqCst);
    notebook.wait_for("commit failed");
    notebook.wait_for("lease lost");
    store.is_away.store(false, Ordering::SeqCst);
    runner.stop();
}
