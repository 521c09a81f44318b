//! Ids of earlier programs, which named no component.

use run_wasm_runner::model::{ComponentDigest, InvocationId, RunnerId};
use run_wasm_runner::store::{
    Adoption, Batch, Filter, NewComponent, NewInvocation, Pause, PauseTarget, Submitted, TaskRule,
};

use crate::store_contract::harness::{Bench, ids, new, request, tasks};

const OLD: &str = "acme:plugins/filter.apply";
const FULL: &str = "one::acme:plugins/filter@1.apply";

/// The component that the harness submits for.
fn digest(number: u8) -> ComponentDigest {
    ComponentDigest::from_bytes([number; 32])
}

fn adoption() -> Adoption {
    Adoption { from: OLD.into(), to: FULL.into(), component_digest: digest(1), has_rivals: false }
}

#[track_caller]
fn adopts(bench: &Bench, adoption: Adoption) -> bool {
    bench.commit(Batch { adoptions: vec![adoption], ..Batch::default() }).adopted[0]
}

fn listed(bench: &Bench, task: &str) -> Vec<InvocationId> {
    let filter = Filter { tasks: Some(vec![task.into()]), limit: 10, ..Filter::default() };
    bench.store.ids(&filter).unwrap()
}

pub fn a_task_takes_the_place_of_its_former_id(bench: &Bench) {
    let keyed = |task: &str| NewInvocation { key: Some("a key".into()), ..new(task) };
    let id = bench.create(keyed(OLD));
    let rule =
        |task: &str| TaskRule { task: task.into(), queue: "old".into(), concurrency: None, rate: None };
    let pauses =
        [OLD, FULL, "other"].map(|task| Pause { target: PauseTarget::Task(task.into()), paused: true });
    bench.commit(Batch { rules: vec![rule(OLD)], pauses: pauses.into(), ..Batch::default() });
    // Before everything else in its batch, to which the full id is nothing new.
    let receipt = bench.commit(Batch {
        adoptions: vec![adoption(), adoption()],
        default_rules: vec![TaskRule { queue: "new".into(), ..rule(FULL) }],
        submits: vec![keyed(FULL)],
        ..Batch::default()
    });
    assert_eq!(receipt.adopted, [true, false], "what is gone is not adopted again");
    assert_eq!(receipt.submits, [Submitted::Existing(id)], "its key holds");
    assert_eq!(&*bench.get(id).task, FULL);
    assert_eq!((listed(bench, OLD), listed(bench, FULL)), (vec![], vec![id]));
    assert_eq!(bench.store.unfinished_by_task().unwrap(), [(FULL.into(), 1)]);
    assert_eq!(bench.store.rules().unwrap(), [rule(FULL)]);
    let paused = [FULL, "other"].map(|task| PauseTarget::Task(task.into()));
    assert_eq!(bench.store.paused().unwrap(), paused);
    let mut asked = request(RunnerId::generate(), 10);
    asked.tasks = tasks(&[OLD, FULL]);
    assert!(bench.claim(asked.clone()).claimed.is_empty(), "so does its pause");
    let target = PauseTarget::Task(FULL.into());
    bench.commit(Batch { pauses: vec![Pause { target, paused: false }], ..Batch::default() });
    let receipt = bench.claim(asked);
    assert_eq!(ids(&receipt), [id]);
    assert_eq!(&*receipt.claimed[0].task, FULL);
    bench.succeed(&receipt.claimed[0]);
}

pub fn an_id_that_may_be_anothers_is_adopted_by_its_bytes(bench: &Bench) {
    let old = |number| NewInvocation { component_digest: digest(number), ..new(OLD) };
    let first = bench.create(old(1));
    let second = bench.create(old(2));
    let rivalling = |number| Adoption { component_digest: digest(number), has_rivals: true, ..adoption() };
    assert!(!adopts(bench, rivalling(1)), "one of them was submitted for other bytes");
    assert!(!adopts(bench, rivalling(2)));
    // Only what is unfinished counts.
    bench.cancel(second);
    assert!(!adopts(bench, rivalling(2)));
    // A rival that only the store knows is one, too.
    bench.create(new("two::acme:plugins/filter@2.apply"));
    assert!(!adopts(bench, Adoption { component_digest: digest(3), ..adoption() }));
    // So do bytes that were pushed under the name of the component, and not those of others.
    let push = |name: &str| NewComponent {
        name: name.into(),
        digest: digest(1),
        bytes: [1].into(),
        labels: Default::default(),
        facts: Default::default(),
    };
    bench.commit(Batch { pushes: vec![push("two")], ..Batch::default() });
    assert!(!adopts(bench, rivalling(3)));
    bench.commit(Batch { pushes: vec![push("one")], ..Batch::default() });
    assert!(adopts(bench, rivalling(3)));
    assert_eq!(listed(bench, FULL), [second, first]);
}

pub fn a_task_that_the_store_knows_adopts_nothing(bench: &Bench) {
    assert!(!adopts(bench, adoption()), "nobody knows the old id");
    let old = bench.create(new(OLD));
    let full = bench.create(new(FULL));
    assert!(!adopts(bench, adoption()));
    assert_eq!((listed(bench, OLD), listed(bench, FULL)), (vec![old], vec![full]));
}
