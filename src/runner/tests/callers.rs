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

#[test]
fn a_detached_guest_awaits_the_root_of_its_own_component() {
    assert_eq!(awaits_its_root("a::parent", "a::child"), Ok(7));
}
