//! The ladder of a submit: of everything that a new invocation meets, the first rung
//! decides. A promise for each pair of rungs.

use run_wasm_runner::model::{Blocked, Claim, Concurrency, Differing, InvocationId, RuleKey, RunnerId};
use run_wasm_runner::store::{Batch, NewInvocation, Submitted, TaskRule};

use crate::store_contract::harness::{Bench, child_of, everything, new};

/// The checks of a submit, in the order in which they decide.
#[derive(Clone, Copy)]
enum Rung {
    Orphan,
    Id,
    Key,
    Place,
    Unique,
    Ancestor,
}

/// The invocations that make each check apply.
struct Ladder {
    parent: Claim,
    /// Tells the keys and places of one ladder from those of another.
    number: u8,
    id: NewInvocation,
    key: NewInvocation,
    place: NewInvocation,
    unique: NewInvocation,
}

fn lane() -> RuleKey {
    RuleKey::from_bytes([255; 16])
}

impl Ladder {
    fn new(parent: Claim, number: u8) -> Self {
        let differing = NewInvocation { arguments: "[2]".into(), ..new("work") };
        let mut ladder = Self {
            id: new("work"),
            key: NewInvocation { id: InvocationId::generate(), ..differing.clone() },
            place: child_of(&parent, number.into()),
            unique: differing,
            parent,
            number,
        };
        ladder.place.task = "work".into();
        ladder.key.key = Some(ladder.idempotency_key());
        ladder.unique.unique = Some(ladder.unique_key());
        ladder
    }

    fn idempotency_key(&self) -> std::sync::Arc<str> {
        format!("key {}", self.number).into()
    }

    fn unique_key(&self) -> (RuleKey, Differing) {
        (RuleKey::from_bytes([self.number; 16]), Differing::Refuse)
    }

    fn takers(&self) -> Vec<NewInvocation> {
        vec![self.id.clone(), self.key.clone(), self.place.clone(), self.unique.clone()]
    }

    /// A child of the parent at a free place, so that it meets nothing.
    fn child(&self) -> NewInvocation {
        NewInvocation { task: "work".into(), ..child_of(&self.parent, 1000 + u32::from(self.number)) }
    }

    /// Has `new` meet what stands on a rung.
    fn meet(&self, new: &mut NewInvocation, rung: Rung) {
        let place = new.child_of.as_mut().expect("it is a child");
        match rung {
            Rung::Orphan => place.parent_attempt += 1,
            Rung::Id => new.id = self.id.id,
            Rung::Key => new.key = Some(self.idempotency_key()),
            Rung::Place => place.index = self.number.into(),
            Rung::Unique => new.unique = Some(self.unique_key()),
            Rung::Ancestor => new.lane = Some(lane()),
        }
    }

    fn answer(&self, rung: Rung) -> Submitted {
        match rung {
            Rung::Orphan => Submitted::Orphan,
            Rung::Id => Submitted::Existing(self.id.id),
            Rung::Key => Submitted::KeyConflict(self.key.id),
            Rung::Place => Submitted::Existing(self.place.id),
            Rung::Unique => Submitted::UniqueConflict(self.unique.id),
            Rung::Ancestor => Submitted::BehindAncestor(self.parent.id),
        }
    }
}

#[track_caller]
fn decides(bench: &Bench, upper: Rung, lower: Rung) {
    let concurrency = Some(Concurrency { limit: 1, blocked: Blocked::Wait });
    let rule = TaskRule { task: "work".into(), queue: "default".into(), concurrency, rate: None };
    bench.commit(Batch { rules: vec![rule], ..Batch::default() });
    bench.create(NewInvocation { lane: Some(lane()), ..new("work") });
    let parent = bench.claim_one(RunnerId::generate());

    // What it meets was there before; or comes with the same batch.
    for (number, is_there) in [(1, true), (2, false)] {
        let ladder = Ladder::new(parent.clone(), number);
        let mut submits = ladder.takers();
        if is_there {
            bench.commit(Batch { submits: std::mem::take(&mut submits), ..Batch::default() });
        }
        let takers = submits.len();
        for rungs in [vec![upper], vec![lower], vec![upper, lower]] {
            let mut new = ladder.child();
            rungs.iter().for_each(|rung| ladder.meet(&mut new, *rung));
            submits.push(new);
        }
        let receipt = bench.commit(Batch { submits, ..Batch::default() });
        let [first, second, both] = &receipt.submits[takers..] else { panic!("{receipt:?}") };
        assert_eq!(*first, ladder.answer(upper));
        assert_eq!(*second, ladder.answer(lower));
        assert_eq!(*both, ladder.answer(upper), "the upper rung decides");
    }
    assert_eq!(bench.store.list(&everything()).unwrap().len(), 1 + 2 * 4, "nothing was created");
}

macro_rules! pairs {
    ($($promise:ident: $upper:ident, $lower:ident;)*) => {
        $(pub fn $promise(bench: &Bench) {
            decides(bench, Rung::$upper, Rung::$lower);
        })*
    };
}

pairs! {
    being_an_orphan_decides_before_an_id: Orphan, Id;
    being_an_orphan_decides_before_a_key: Orphan, Key;
    being_an_orphan_decides_before_a_place: Orphan, Place;
    being_an_orphan_decides_before_uniqueness: Orphan, Unique;
    being_an_orphan_decides_before_ancestors: Orphan, Ancestor;
    an_id_decides_before_a_key: Id, Key;
    an_id_decides_before_a_place: Id, Place;
    an_id_decides_before_uniqueness: Id, Unique;
    an_id_decides_before_ancestors: Id, Ancestor;
    a_key_decides_before_a_place: Key, Place;
    a_key_decides_before_uniqueness: Key, Unique;
    a_key_decides_before_ancestors: Key, Ancestor;
    a_place_decides_before_uniqueness: Place, Unique;
    a_place_decides_before_ancestors: Place, Ancestor;
    uniqueness_decides_before_ancestors: Unique, Ancestor;
}
