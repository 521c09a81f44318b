//! Under the locks that guests share, a call costs what its caller brings, and next to nothing for what others have
//! there: counted with sizes that grow tenfold.

use std::sync::Arc;

use crate::model::steps::steps;
use crate::model::{AwaitMode, InvocationId, Outcome};
use crate::runner::registry::Registry;
use crate::runner::wait::{Wait, WaitFor};

/// The numbers of things that a guest has in there.
const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// The most steps for each id that a caller brings, or for a call that brings none. A step down a tree of ten thousand
/// is one of fourteen comparisons or so.
const MOST: u64 = 100;

fn id() -> InvocationId {
    InvocationId::generate()
}

fn ids(count: usize) -> Vec<InvocationId> {
    (0..count).map(|_| id()).collect()
}

fn registry() -> Registry {
    Registry::new(100, 1 << 20)
}

fn wait(registry: &Registry, caller: InvocationId, ids: &[InvocationId]) -> Arc<Wait> {
    let caller = Some((caller, Arc::from("a.task")));
    let wait_for = WaitFor { caller, depth: 0, ids: ids.to_vec(), mode: AwaitMode::All };
    registry.register(wait_for).expect("no cycle").0
}

/// Everything that guests and the ledger do with the registry for a wait of these ids, each with its steps.
fn a_life(registry: &Registry, ids: &[InvocationId]) -> Vec<(&'static str, u64)> {
    let outcome = Outcome::Value("1".into());
    let caller = id();
    let mut steps_of = Vec::new();
    let mut count = |name, act: &mut dyn FnMut()| steps_of.push((name, steps(act)));
    let mut waits = Vec::new();
    count("own the caller", &mut || _ = registry.own(caller, 1));
    count("wait", &mut || waits.push(wait(registry, caller, ids)));
    count("unregister", &mut || waits.iter().for_each(|wait| registry.unregister(wait)));
    count("wait again", &mut || waits.push(wait(registry, caller, ids)));
    count("wanted", &mut || drop(registry.wanted(8, None)));
    count("mark unclaimable", &mut || registry.mark_unclaimable(ids));
    count("mark unblocked", &mut || registry.mark_unblocked(ids));
    count("own", &mut || ids.iter().for_each(|id| _ = registry.own(*id, 1)));
    count("finish", &mut || ids.iter().for_each(|id| _ = registry.finish(*id, &outcome)));
    count("disown the caller", &mut || _ = registry.disown(caller));
    steps_of
}

/// A guest that brings this to the registry, and how its neighbour's calls are counted beside it.
fn beside(bring: impl Fn(&Registry, usize)) {
    let neighbours = ids(3);
    for size in SIZES {
        let registry = registry();
        bring(&registry, size);
        for (call, steps) in a_life(&registry, &neighbours) {
            assert!(steps <= MOST * neighbours.len() as u64, "{call} beside {size}: {steps} steps");
        }
    }
}

#[test]
fn a_wait_costs_as_much_as_it_has_ids() {
    for size in SIZES {
        let registry = registry();
        for (call, steps) in a_life(&registry, &ids(size)) {
            assert!(steps <= MOST * size as u64, "{call} of {size}: {steps} steps");
        }
    }
}

#[test]
fn one_id_awaited_many_times_over_costs_no_more_than_as_many_ids() {
    for size in SIZES {
        let registry = registry();
        for (call, steps) in a_life(&registry, &vec![id(); size]) {
            assert!(steps <= MOST * size as u64, "{call} of {size}: {steps} steps");
        }
    }
}

#[test]
fn a_wait_of_another_guest_costs_nothing_however_many_ids_it_has() {
    beside(|registry, size| drop(wait(registry, id(), &ids(size))));
}

#[test]
fn waits_of_many_guests_cost_nothing() {
    beside(|registry, size| (0..size).for_each(|_| drop(wait(registry, id(), &ids(1)))));
    // All for the same.
    beside(|registry, size| {
        let awaited = ids(1);
        (0..size).for_each(|_| drop(wait(registry, id(), &awaited)));
    });
}

#[test]
fn chains_and_fans_of_waits_cost_nothing_to_whoever_is_not_in_them() {
    beside(|registry, size| {
        let chain = ids(size + 1);
        chain.windows(2).for_each(|pair| drop(wait(registry, pair[0], &pair[1..])));
    });
    beside(|registry, size| {
        let children = ids(size);
        wait(registry, id(), &children);
        children.iter().for_each(|child| drop(wait(registry, *child, &ids(1))));
    });
}

/// The next link of a chain is looked at from its cheaper end, whichever that is.
#[test]
fn a_chain_of_waits_grows_at_either_end_for_the_same_price() {
    for size in SIZES {
        let registry = registry();
        let chain = ids(size + 1);
        chain.windows(2).for_each(|pair| drop(wait(&registry, pair[0], &pair[1..])));
        for (end, caller, awaited) in [("front", id(), chain[0]), ("back", chain[size], id())] {
            let steps = steps(|| drop(wait(&registry, caller, &[awaited])));
            assert!(steps <= MOST, "the {end} of {size}: {steps} steps");
        }
    }
}

#[test]
fn the_finished_and_the_claimed_of_others_cost_nothing() {
    beside(|registry, size| {
        let outcome = Outcome::Value("1".into());
        ids(size).iter().for_each(|id| _ = registry.finish(*id, &outcome));
        ids(size).iter().for_each(|id| _ = registry.own(*id, 1));
    });
}
