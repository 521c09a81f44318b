//! Components that travel with a store.

use std::sync::Arc;

use run_wasm_runner::model::{Clock, ComponentDigest, ComponentFacts, PushAnswer, RunnerId};
use run_wasm_runner::store::{Batch, Cancel, NewComponent, RunnerAnswer};

use super::super::harness::*;
use super::SECOND;

fn component(name: &str, bytes: &[u8]) -> NewComponent {
    let mut digest = [0; 32];
    digest[..2].copy_from_slice(&bytes[..2]);
    NewComponent {
        name: name.into(),
        digest: ComponentDigest::from_bytes(digest),
        bytes: bytes.into(),
        labels: Arc::default(),
        facts: ComponentFacts::default(),
    }
}

pub fn a_pushed_component_comes_back_whole(bench: &Bench) {
    assert!(bench.store.components().unwrap().is_empty());
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| ((n * 31) >> 3) as u8).collect();
    let large = component("large", &bytes);
    assert!(bench.store.component(large.digest).unwrap().is_none());
    bench.commit(Batch { pushes: vec![large.clone(), component("small", b"\0asm")], ..Batch::default() });
    assert!(bench.store.component(large.digest).unwrap().unwrap() == bytes);
    let listed = bench.store.components().unwrap();
    let listed: Vec<_> = listed.iter().map(|one| (&*one.name, one.size, one.pushed_at)).collect();
    let now = bench.clock.now();
    assert_eq!(listed, [("large", 3_000_000, now), ("small", 4, now)]);
}

pub fn the_last_push_of_a_name_is_its_newest(bench: &Bench) {
    let (old, new) = (component("work", b"old"), component("work", b"new"));
    let other = component("other", b"old");
    for push in [&old, &other, &new] {
        bench.clock.advance(SECOND);
        bench.commit(Batch { pushes: vec![push.clone()], ..Batch::default() });
    }
    let listed = || -> Vec<_> {
        let listed = bench.store.components().unwrap();
        listed.into_iter().map(|one| (one.name.to_string(), one.digest)).collect()
    };
    let of = |one: &NewComponent| (one.name.to_string(), one.digest);
    assert_eq!(listed(), [of(&other), of(&new), of(&old)]);
    // Going back is a push too.
    bench.clock.advance(SECOND);
    bench.commit(Batch { pushes: vec![old.clone()], ..Batch::default() });
    assert_eq!(listed(), [of(&other), of(&old), of(&new)]);
    assert_eq!(bench.store.components().unwrap()[1].pushed_at, bench.clock.now());
}

pub fn a_removed_component_is_kept_for_what_is_unfinished(bench: &Bench) {
    let (work, other) = (component("work", b"work"), component("other", b"other"));
    let labels: Arc<[_]> = [("customer".to_owned(), "7".to_owned())].into();
    let pushes = vec![NewComponent { labels: Arc::clone(&labels), ..work.clone() }, other.clone()];
    let version = || bench.store.components_version().unwrap();
    let before = version();
    bench.commit(Batch { pushes, ..Batch::default() });
    assert!(version() > before);
    assert_eq!(bench.store.components().unwrap()[1].labels, labels);
    let id = bench.create(new("work::run"));
    // One with a name that begins in the same way is not its own.
    bench.create(new("work-more::run"));
    let (before, now) = (version(), bench.clock.now());
    let removals = vec!["work".into(), "nothing".into()];
    assert_eq!(bench.commit(Batch { removals, ..Batch::default() }).removed, [true, false]);
    assert!(version() > before);
    let listed = bench.store.components().unwrap();
    let listed: Vec<_> = listed.iter().map(|one| (&*one.name, one.removed_at)).collect();
    assert_eq!(listed, [("other", None), ("work", Some(now))]);
    assert_eq!(bench.commit(Batch { removals: vec!["work".into()], ..Batch::default() }).removed, [false]);
    assert!(bench.store.component(work.digest).unwrap().is_some());
    // A push under the name begins anew; the removed one comes after it.
    let again = component("work", b"wprk");
    bench.commit(Batch { pushes: vec![again.clone()], ..Batch::default() });
    let digests: Vec<_> = bench.store.components().unwrap().iter().map(|one| one.digest).collect();
    assert_eq!(digests, [other.digest, again.digest, work.digest]);
    let before = version();
    bench.commit(Batch { forgets_removed: true, ..Batch::default() });
    assert_eq!(version(), before, "it is needed still");
    let cancels = vec![Cancel { id, by: None, message: String::new() }];
    bench.commit(Batch { cancels, ..Batch::default() });
    bench.commit(Batch { forgets_removed: true, ..Batch::default() });
    assert!(version() > before);
    let digests: Vec<_> = bench.store.components().unwrap().iter().map(|one| one.digest).collect();
    assert_eq!(digests, [other.digest, again.digest]);
    assert!(bench.store.component(work.digest).unwrap().is_none());
    assert!(bench.store.component(other.digest).unwrap().is_some());
}

pub fn the_provider_of_an_import_is_the_first_and_stays_so(bench: &Bench) {
    let with = |name: &str, exports: &[&str], imports: &[&str]| NewComponent {
        facts: ComponentFacts {
            functions: vec!["run".to_owned()],
            exports: exports.iter().map(|one| (*one).to_owned()).collect(),
            imports: imports.iter().map(|one| ((*one).to_owned(), None)).collect(),
            ..ComponentFacts::default()
        },
        ..component(name, name.as_bytes())
    };
    let push = |new: NewComponent| bench.commit(Batch { pushes: vec![new], ..Batch::default() });
    let bound = |name: &str| -> Vec<Option<String>> {
        let listed = bench.store.components().unwrap();
        let one = listed.into_iter().find(|one| *one.name == *name).expect("it was pushed");
        let facts = one.facts.expect("it has facts");
        facts.imports.into_values().map(|provider| provider.map(|name| name.to_string())).collect()
    };
    push(with("calc", &[], &["a:b/add@1.0.0", "a:b/sub@1.0.0"]));
    assert_eq!(bound("calc"), [None, None]);
    push(with("one", &["a:b/add@1.2.0"], &[]));
    assert_eq!(bound("calc"), [Some("one".to_owned()), None]);
    push(with("two", &["a:b/add@1.3.0", "a:b/sub@2.0.0"], &[]));
    assert_eq!(bound("calc"), [Some("one".to_owned()), None]);
    // With two to choose from it is bound to none, and the next one changes nothing.
    push(with("late", &[], &["a:b/add@1.0.0"]));
    push(with("three", &["a:b/add@1.0.0"], &[]));
    assert_eq!(bound("late"), [None]);
    bench.commit(Batch { removals: vec!["one".into()], ..Batch::default() });
    push(with("four", &["a:b/add@1.0.0", "a:b/sub@1.0.0"], &[]));
    assert_eq!(bound("calc"), [Some("one".to_owned()), Some("four".to_owned())]);
    // New bytes keep what the old ones were bound to.
    let again = with("calc", &[], &["a:b/add@1.1.0"]);
    push(NewComponent { digest: ComponentDigest::from_bytes([9; 32]), ..again });
    assert_eq!(bound("calc"), [Some("one".to_owned())]);
}

pub fn answers_of_runners_to_a_push_are_kept(bench: &Bench) {
    let (work, other) = (component("work", b"work"), component("other", b"other"));
    let push = || bench.commit(Batch { pushes: vec![work.clone(), other.clone()], ..Batch::default() });
    push();
    let [first, second] = [(); 2].map(|()| RunnerId::generate());
    let answer = |runner, one: &NewComponent, answer| {
        let answer = RunnerAnswer { runner, name: Arc::clone(&one.name), digest: one.digest, answer };
        bench.commit(Batch { answers: vec![answer], ..Batch::default() });
    };
    let answers = |name: &str| -> Vec<_> {
        let listed = bench.store.components().unwrap();
        let one = listed.into_iter().find(|one| *one.name == *name).expect("it was pushed");
        one.facts.expect("it has facts").answers.into_iter().collect()
    };
    let refused = PushAnswer::Refused("it lacks an import".to_owned());
    let before = bench.store.components_version().unwrap();
    answer(second, &work, PushAnswer::Preparing);
    answer(first, &work, refused.clone());
    assert_eq!(answers("work"), [(first, refused.clone()), (second, PushAnswer::Preparing)]);
    answer(second, &work, PushAnswer::Taken);
    assert_eq!(answers("work")[1], (second, PushAnswer::Taken), "the last answer holds");
    assert_eq!(answers("other"), []);
    // An answer to bytes that nobody has pushed under the name is dropped.
    answer(first, &NewComponent { name: "other".into(), ..work.clone() }, PushAnswer::Taken);
    assert_eq!(answers("other"), []);
    assert_eq!(bench.store.components_version().unwrap(), before, "no runner has to look again");
    // Another component that is pushed leaves them alone, and a push of the same bytes asks again.
    bench.commit(Batch { pushes: vec![component("third", b"third")], ..Batch::default() });
    assert_eq!(answers("work"), [(first, refused), (second, PushAnswer::Taken)]);
    push();
    assert_eq!(answers("work"), []);
    // However often runners are replaced, there are not ever more of them.
    let runners: Vec<_> = (0..105).map(|_| RunnerId::generate()).collect();
    let answers_of = runners.iter().map(|runner| RunnerAnswer {
        runner: *runner,
        name: Arc::clone(&work.name),
        digest: work.digest,
        answer: PushAnswer::NotServed,
    });
    bench.commit(Batch { answers: answers_of.collect(), ..Batch::default() });
    let kept: Vec<_> = answers("work").into_iter().map(|(runner, _)| runner).collect();
    assert_eq!(kept, runners[5..]);
}
