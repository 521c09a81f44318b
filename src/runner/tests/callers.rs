//! Tests of guests that ask for the results of what has called them.

use super::*;

/// Runs a parent that submits a detached child, which awaits its root. Returns the value of the child, that of the root.
fn awaits_its_root(parent: &'static str, child_task: &'static str) -> Result<u64, String> {
    let store = Slow::new(false);
    let guests = Closures::default()
        .with(parent, move |hands| async move {
            let mut request = child(child_task, &[]);
            request.options.detached = true;
            hands.submit(vec![request]).await?;
            Ok(7)
        })
        .with(child_task, |hands| async move {
            let root = hands.caller().root;
            let outcomes = hands.wait(vec![root], AwaitMode::All).await?;
            Ok(outcomes[0].1)
        });
    let runner = start(&store, &Arc::new(guests), options(1));
    let root = store.submit(parent, &[]);
    runner.handle().look_again();
    assert_eq!(value(&runner, root), Ok(7));
    let family = store.all();
    let child = family.iter().find(|one| one.parent == Some(root)).expect("the child");
    value(&runner, child.id)
}

#[test]
fn a_guest_awaits_nothing_of_another_component_that_called_it() {
    let error = awaits_its_root("a::parent", "b::child").expect_err("it is refused");
    assert!(error.contains("a guest can't await what called it"), "{error}");
}

/// Runs a guest that awaits and cancels an invocation of another tree, which nobody runs, and returns its value: whether
/// it has cancelled it.
fn cancels(guest: &'static str, other: &'static str) -> Result<u64, String> {
    let store = Slow::new(false);
    let id = store.submit(other, &[]);
    let guests = Closures::default().with(guest, move |hands| async move {
        let waited = hands.wait(vec![id], AwaitMode::AnyWithin(Duration::ZERO)).await;
        let cancelled = hands.cancel(id).await;
        assert_eq!(waited.as_ref().err(), cancelled.as_ref().err(), "one rule");
        cancelled.map(u64::from)
    });
    let runner = start(&store, &Arc::new(guests), options(1));
    let root = store.submit(guest, &[]);
    runner.handle().look_again();
    value(&runner, root)
}

#[test]
fn a_guest_reaches_trees_of_others_only_by_tasks_that_it_may_submit() {
    assert_eq!(cancels("a::guest", "other::task"), Ok(1));
    assert_eq!(cancels("confined::guest", "confined::task"), Ok(1), "of its own component");
    let error = cancels("confined::guest", "other::task").expect_err("it is refused");
    assert!(error.contains("and of a task that this component may not submit"), "{error}");
}

#[test]
fn a_guest_reaches_whatever_is_in_its_tree() {
    let store = Slow::new(false);
    let guests = Closures::default()
        .with("a::parent", |hands| async move {
            let one = hands.submit(vec![child("other::one", &[])]).await?[0];
            let digits = one.to_string().replace('-', "");
            let halves = [&digits[..16], &digits[16..]];
            let halves = halves.map(|half| u64::from_str_radix(half, 16).expect("an id is hexadecimal"));
            let other = hands.submit(vec![child("confined::two", &halves)]).await?;
            Ok(hands.wait(other, AwaitMode::All).await?[0].1)
        })
        .with("other::one", |_| async move { Ok(7) })
        .with("confined::two", |hands| async move {
            let halves: Vec<u64> = serde_json::from_str(&hands.claim.arguments).expect("they are numbers");
            let id: InvocationId = format!("{:016x}{:016x}", halves[0], halves[1]).parse().expect("an id");
            Ok(hands.wait(vec![id], AwaitMode::All).await?[0].1)
        });
    let runner = start(&store, &Arc::new(guests), options(1));
    let root = store.submit("a::parent", &[]);
    runner.handle().look_again();
    assert_eq!(value(&runner, root), Ok(7));
}

#[test]
fn a_detached_guest_awaits_the_root_of_its_own_component() {
    assert_eq!(awaits_its_root("a::parent", "a::child"), Ok(7));
}

#[test]
fn a_detached_child_does_not_read_the_result_of_its_parents_caller() {
    let store = Slow::new(false);
    let caller = Arc::new(Mutex::new(None));
    let told = Arc::clone(&caller);
    let calls = |task: &'static str| {
        move |hands: Hands| async move {
            let request = child(task, &[]);
            let id = hands.submit(vec![request]).await?[0];
            hands.wait(vec![id], AwaitMode::All).await?;
            Ok(7)
        }
    };
    let guests = Closures::default()
        .with("other::root", calls("other::middle"))
        .with("other::middle", move |hands| {
            *caller.lock() = Some(hands.caller().id);
            calls("confined::plugin")(hands)
        })
        .with("confined::plugin", |hands| async move {
            let mut request = child("confined::spy", &[]);
            request.options.detached = true;
            hands.submit(vec![request]).await?;
            Ok(7)
        })
        .with("confined::spy", move |hands| {
            let caller = told.lock().expect("its parent has told it");
            async move { Ok(hands.wait(vec![caller], AwaitMode::All).await?[0].1) }
        });
    let runner = start(&store, &Arc::new(guests), options(1));
    let root = store.submit("other::root", &[]);
    runner.handle().look_again();
    assert_eq!(value(&runner, root), Ok(7));
    let spy = store.all().into_iter().find(|one| &*one.task == "confined::spy").expect("the spy");
    let error = value(&runner, spy.id).expect_err("it is refused");
    assert!(error.contains("and of a task that this component may not submit"), "{error}");
}
