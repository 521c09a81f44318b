//! Retries of final invocations, cancels by filter, and removal.

use run_wasm_runner::model::{
    ComponentDigest, Differing, Failure, FailureKind, InvocationId, RuleKey, Status,
};
use run_wasm_runner::store::{Batch, NewInvocation, Store};

use serde_json::json;

use super::fixture::{Fixture, TASKS};

impl Fixture {
    fn one(&self, id: &str) -> run_wasm_runner::model::Invocation {
        let id: InvocationId = id.parse().expect("an id");
        self.store.get(&[id]).expect("a read").remove(0).expect("it is there")
    }

    fn count(&self, status: Status) -> u64 {
        self.store.counts(None).expect("a read").get(status)
    }

    fn lines(&self, args: &[&str]) -> Vec<String> {
        self.sandbox.run(args).expect(0).stdout().lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_failed_are_listed_with_the_reason() {
    let fixture = Fixture::new();
    fixture.succeeded("1");
    fixture.failed(FailureKind::Trapped);
    let output = fixture.sandbox.run(["list", "--status", "failed"]).expect(0);
    let lines: Vec<_> = output.stdout().lines().collect();
    assert_eq!(lines.len(), 2, "{output:?}");
    assert!(lines[0].contains("ENDED") && lines[0].ends_with("FAILURE"), "{output:?}");
    assert!(
        lines[1].contains(" ago ") && lines[1].ends_with("trapped: it went \\u{1b}[31mwrong"),
        "{output:?}"
    );
    let id = fixture.submit(TASKS[1], None);
    fixture.claim();
    let message = format!("the guest panicked: {} out of bananas", "at a long place, ".repeat(20));
    fixture.fail(id, Failure::new(FailureKind::Trapped, message));
    let output = fixture.sandbox.run(["list", "--status", "failed"]).expect(0);
    let told =
        |line: &str| line.contains("trapped: the guest panicked: ") && line.ends_with("out of bananas");
    assert!(output.stdout().lines().any(told), "the reason at the end is shown: {output:?}");
    let output = fixture.sandbox.run(["list", "--status", "failed,succeeded"]).expect(0);
    assert!(output.stdout().contains("SUBMITTED"), "{output:?}");
}

#[test]
fn a_large_failure_is_whole_in_json_and_its_message_is_in_tables() {
    let fixture = Fixture::new();
    let (root, child) = fixture.parent_of_succeeded();
    let error = "x".repeat(1_000_000);
    fixture.fail(root, Failure::returned(serde_json::value::to_raw_value(&error).expect("a text")));
    let root = root.to_string();
    for args in [&["list", "--json", "--kind", "returned"][..], &["tree", "--json", &root]] {
        let shown = fixture.sandbox.run(args).expect(0).json_lines();
        let failed = shown.iter().find(|one| one["id"] == *root).expect("it is listed");
        assert_eq!(failed["failure"]["error"], *error, "{args:?}");
        assert_eq!(*failed, fixture.sandbox.run(["status", "--json", &root]).expect(0).json());
    }
    let told = "returned: the task returned an error: \"xxx";
    let child = child.to_string();
    for args in [&["list", "--status", "failed"][..], &["tree", &root], &["tree", &child]] {
        let output = fixture.sandbox.run(args).expect(0);
        assert!(output.stdout().contains(told) && output.stdout().len() < 2_000, "{args:?}: {output:?}");
    }
}

#[test]
fn a_retry_is_a_copy_and_is_made_once() {
    let fixture = Fixture::new();
    let failed = fixture.failed(FailureKind::Trapped).to_string();
    let output = fixture.sandbox.run(["retry", &failed]).expect(0);
    let copy = output.stdout().trim().to_owned();
    assert_ne!(copy, failed);
    let (original, new) = (fixture.one(&failed), fixture.one(&copy));
    assert_eq!((new.status, new.attempt, new.parent), (Status::Queued, 0, None));
    assert_eq!(new.root, new.id);
    assert_eq!((&new.task, new.component_digest), (&original.task, original.component_digest));
    assert_eq!((new.priority, new.max_attempts), (original.priority, original.max_attempts));
    let label = ("retry-of".to_owned(), failed.clone());
    assert_eq!(*new.labels, [original.labels.to_vec(), vec![label]].concat());
    assert_eq!(fixture.store.arguments(new.id).expect("a read").as_deref(), Some("[1]"));
    assert_eq!(original.status, Status::Failed);

    // Pressed twice it is the same retry.
    let output = fixture.sandbox.run(["retry", &failed, "--json"]).expect(0);
    assert_eq!(output.json(), serde_json::json!({ "id": copy, "retry_of": failed }));
    assert!(output.stderr.contains(&format!("`{failed}` was retried before, as `{copy}`")), "{output:?}");
    assert_eq!(fixture.count(Status::Queued), 1);

    // A copy can be copied: its label names what it is a copy of.
    fixture.sandbox.run(["cancel", &copy]).expect(0);
    let third = fixture.lines(&["retry", &copy]).remove(0);
    let labels = fixture.one(&third).labels;
    assert_eq!(labels.iter().filter(|(key, _)| key == "retry-of").count(), 1);
    assert!(labels.contains(&("retry-of".to_owned(), copy)), "{labels:?}");
}

#[test]
fn those_that_were_not_retried_are_listed_up_to_the_limit() {
    let fixture = Fixture::new();
    let failed: Vec<_> = (0..6).map(|_| fixture.failed(FailureKind::Trapped).to_string()).collect();
    // The newest four are retried.
    fixture.sandbox.run(["retry"].into_iter().chain(failed[2..].iter().map(String::as_str))).expect(0);
    let listed = |flags: &[&str]| -> Vec<String> {
        let args = [&["list", "--status", "failed", "--json"][..], flags].concat();
        let lines = fixture.sandbox.run(args).expect(0).json_lines();
        lines.iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(listed(&[]).len(), 6);
    assert_eq!(listed(&["--not-retried"]), [failed[1].clone(), failed[0].clone()]);
    assert_eq!(listed(&["--not-retried", "--limit", "1"]), [failed[1].clone()]);
}

#[test]
fn labels_are_in_the_table() {
    let fixture = Fixture::new();
    let table = || fixture.sandbox.run(["list"]).expect(0).stdout().to_owned();
    let new = NewInvocation::new(TASKS[0], ComponentDigest::from_bytes([1; 32]), "[1]");
    fixture.store.commit(&Batch { submits: vec![new], ..Batch::default() }).expect("a submit");
    assert!(!table().contains("LABELS"), "{}", table());
    fixture.submit(TASKS[0], None);
    let table = table();
    assert!(table.contains("LABELS") && table.contains("customer=ac\\u{1b}me"), "{table}");
}

#[test]
fn a_retry_keeps_the_keys_of_its_tasks_rules() {
    let fixture = Fixture::new();
    let (lane, unique) = (RuleKey::from_bytes([7; 16]), RuleKey::from_bytes([8; 16]));
    let submit = || {
        let new = NewInvocation {
            lane: Some(lane),
            unique: Some((unique, Differing::Refuse)),
            ..NewInvocation::new(TASKS[0], ComponentDigest::from_bytes([1; 32]), "[1]")
        };
        let id = new.id;
        fixture.store.commit(&Batch { submits: vec![new], ..Batch::default() }).expect("a submit");
        fixture.sandbox.run(["cancel", &id.to_string()]).expect(0);
        id.to_string()
    };
    let (first, second) = (submit(), submit());
    let copy = fixture.lines(&["retry", &first]).remove(0);
    let invocation = fixture.one(&copy);
    assert_eq!((invocation.lane, invocation.unique), (Some(lane), Some(unique)));
    // The uniqueness rule holds for copies too.
    let output = fixture.sandbox.run(["retry", &second]).expect(0);
    assert_eq!(output.stdout().trim(), copy);
    assert!(output.stderr.contains(&format!("`{copy}` is unfinished and the same")), "{output:?}");
}

#[test]
fn nothing_is_retried_if_one_of_several_can_not_be() {
    let fixture = Fixture::new();
    let failed = fixture.failed(FailureKind::Returned).to_string();
    let succeeded = fixture.succeeded("1").to_string();
    let queued = fixture.submit(TASKS[0], None).to_string();
    let unknown = InvocationId::generate().to_string();
    for (id, words) in [(&queued, "is queued"), (&unknown, "unknown"), (&succeeded, "--even-succeeded")] {
        let output = fixture.sandbox.run(["retry", &failed, id]).expect(2);
        assert!(output.stderr.contains(words), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert_eq!(fixture.count(Status::Queued), 1, "nothing was submitted");
    }
    assert_eq!(fixture.lines(&["retry", "--even-succeeded", &failed, &succeeded]).len(), 2);
    fixture.sandbox.run(["retry"]).expect(2);
    fixture.sandbox.run(["retry", &failed, "--status", "failed"]).expect(2);
    let output = fixture.sandbox.run(["retry", "--status", "running"]).expect(2);
    assert!(output.stderr.contains("`succeeded`, `failed`, `cancelled`, `skipped`"), "{output:?}");
}

#[test]
fn the_failed_of_a_filter_are_retried_in_their_order_and_once() {
    let fixture = Fixture::new();
    let failed: Vec<_> = (0..4).map(|_| fixture.failed(FailureKind::Trapped).to_string()).collect();
    fixture.succeeded("1");
    fixture.submit(TASKS[0], None);
    let retry_of = |args: &[&str]| -> Vec<String> {
        let output = fixture.sandbox.run([&["retry", "--json"][..], args].concat()).expect(0);
        let of = |line: &serde_json::Value| line["retry_of"].as_str().expect("an id").to_owned();
        output.json_lines().iter().map(of).collect()
    };
    assert_eq!(retry_of(&["--status", "failed", "--limit", "2"]), failed[2..]);
    assert!(retry_of(&["--task", TASKS[0]]).is_empty(), "no failed one is of that task");
    assert_eq!(retry_of(&["--task", TASKS[1]]), failed);
    let output = fixture.sandbox.run(["retry", "--status", "failed"]).expect(0);
    assert_eq!(output.stdout().lines().count(), 4);
    assert!(output.stderr.contains("submitted 0 invocations again"), "{output:?}");
    assert_eq!(fixture.count(Status::Queued), 5);
}

#[test]
fn cancelling_by_filter_cancels_just_those() {
    let fixture = Fixture::new();
    let parent = fixture.submit(TASKS[0], None);
    fixture.claim();
    let children: Vec<_> = (0..3).map(|index| fixture.submit_child(parent, index).to_string()).collect();
    let done = fixture.submit(TASKS[1], None);
    let other = fixture.submit(TASKS[0], None).to_string();
    fixture.sandbox.run(["cancel", &done.to_string()]).expect(0);

    let output = fixture.sandbox.run(["cancel", "--status", "queued", "--task", TASKS[1], "--limit", "2"]);
    let output = output.expect(0);
    let expected: String = children[1..].iter().map(|id| format!("{id} cancelled\n")).collect();
    assert_eq!(output.stdout(), expected, "the newest two, the older one first");
    assert!(output.stderr.contains("cancelled 2 invocations"), "{output:?}");
    assert_eq!(fixture.one(&children[0]).status, Status::Queued);

    // A parent takes its children along; each is told of all the same.
    let lines = fixture.lines(&["cancel", "--status", "claimed,queued"]);
    let child = format!("{} already cancelled", children[0]);
    assert_eq!(lines, [format!("{parent} cancelled"), child, format!("{other} cancelled")]);
    assert_eq!(fixture.store.counts(None).expect("a read").unfinished(), 0);
    let output = fixture.sandbox.run(["cancel", "--task", TASKS[0]]).expect(0);
    let nothing = "no invocation is selected by these filters";
    assert!(output.stdout.is_empty() && output.stderr.contains(nothing), "{output:?}");

    fixture.sandbox.run(["cancel", &other, "--task", TASKS[0]]).expect(2);
    fixture.sandbox.run(["cancel", "--limit", "3"]).expect(2);
    let output = fixture.sandbox.run(["cancel", "--status", "failed"]).expect(2);
    assert!(output.stderr.contains("`queued`, `claimed`, `running`, `waiting`"), "{output:?}");
}

#[test]
fn prune_needs_to_be_told_what_is_old() {
    let fixture = Fixture::new();
    fixture.succeeded("1");
    for args in [&["prune"][..], &["prune", "--status", "succeeded"]] {
        let output = fixture.sandbox.run(args).expect(2);
        assert!(output.stderr.contains("--older-than"), "{output:?}");
    }
    let output = fixture.sandbox.run(["prune", "--older-than", "30"]).expect(2);
    assert!(output.stderr.contains("has no unit"), "{output:?}");
    assert_eq!(fixture.count(Status::Succeeded), 1);
}

#[test]
fn prune_removes_what_the_flags_or_the_configuration_say() {
    let fixture = Fixture::new();
    let ids: Vec<_> = (0..5).map(|_| fixture.succeeded("1").to_string()).collect();
    let failed = fixture.failed(FailureKind::Trapped).to_string();
    let queued = fixture.submit(TASKS[0], None).to_string();
    assert_eq!(fixture.lines(&["prune", "--older-than", "365d"]), ["removed 0 invocations"]);
    assert_eq!(fixture.lines(&["prune", "--status", "succeeded", "--keep", "3"]), ["removed 2 invocations"]);
    fixture.sandbox.run(["status", &ids[1]]).expect(2);
    fixture.sandbox.run(["result", &ids[2]]).expect(0);

    let retention = "[retention.succeeded]\ncount = 1\n[retention.failed]\nage = \"0s\"\n";
    fixture.sandbox.write("wasm-runner.toml", retention);
    assert_eq!(fixture.lines(&["prune", "--status", "failed"]), ["removed 1 invocation"]);
    fixture.sandbox.run(["status", &failed]).expect(2);
    let output = fixture.sandbox.run(["prune", "--json"]).expect(0);
    assert_eq!(output.json()["removed"], serde_json::json!(2));
    assert_eq!(fixture.lines(&["list", "--status", "succeeded", "--json"]).len(), 1);
    assert_eq!(fixture.lines(&["prune", "--older-than", "0s"]), ["removed 1 invocation"]);
    assert_eq!(fixture.one(&queued).status, Status::Queued, "what is not final stays");
}

#[test]
fn prune_keeps_so_many_however_old_they_are_and_can_only_count() {
    let fixture = Fixture::new();
    (0..6).for_each(|_| _ = fixture.succeeded("1"));
    let count = |args: &[&str]| fixture.lines(&[&["prune", "--older-than", "0s"][..], args].concat());
    assert_eq!(count(&["--keep", "4", "--dry-run"]), ["would remove 2 invocations: 2 succeeded"]);
    let output = fixture.sandbox.run(["prune", "--keep", "1", "--dry-run", "--json"]).expect(0);
    let json = output.json();
    assert_eq!((&json["removed"], &json["would_remove"]), (&0.into(), &5.into()), "{json}");
    assert_eq!(json["would_remove_by_status"], serde_json::json!({"succeeded": 5}));
    assert_eq!(fixture.count(Status::Succeeded), 6);
    assert_eq!(count(&["--keep", "4"]), ["removed 2 invocations"]);
    assert_eq!(count(&["--keep", "4"]), ["removed 0 invocations"]);
    assert_eq!(count(&[]), ["removed 4 invocations"]);
}

#[test]
fn a_vacuum_gives_the_space_of_what_was_removed_back() {
    let fixture = Fixture::new();
    let large = format!("[\"{}\"]", "x".repeat(100_000));
    let new = || NewInvocation::new("work", ComponentDigest::from_bytes([1; 32]), large.as_str());
    let submits = (0..40).map(|_| new()).collect();
    fixture.store.commit(&Batch { submits, ..Batch::default() }).expect("a submit");
    fixture.sandbox.run(["cancel", "--status", "queued"]).expect(0);
    let output = fixture.sandbox.run(["prune", "--older-than", "0s"]).expect(0);
    assert!(output.stderr.contains("`prune --vacuum`"), "{output:?}");
    let file = fixture.sandbox.path().join(".wasm-runner/state.db");
    let bytes = || std::fs::metadata(&file).expect("the file").len();
    let before = bytes();
    // Somebody may want to write.
    let held = fixture.submit("acme:demo/api.child", None);
    fixture.claim();
    let output = fixture.sandbox.run(["prune", "--vacuum"]).expect(2);
    assert!(output.stderr.contains("runners hold 1 of the invocations"), "{output:?}");
    fixture.succeed(&[held], "1");
    let json = fixture.sandbox.run(["prune", "--vacuum", "--json"]).expect(0).json();
    assert_eq!(json["removed"], 0);
    assert!(json["freed_bytes"].as_u64() > Some(3_000_000), "{json}");
    assert!(bytes() < before / 4, "{} of {before}", bytes());
    assert_eq!(fixture.one(&held.to_string()).status, Status::Succeeded);
    // From then on a prune needs no flag.
    let submits = (0..40).map(|_| new()).collect();
    fixture.store.commit(&Batch { submits, ..Batch::default() }).expect("a submit");
    fixture.sandbox.run(["cancel", "--status", "queued"]).expect(0);
    let json = fixture.sandbox.run(["prune", "--older-than", "0s", "--json"]).expect(0).json();
    assert!(json["freed_bytes"].as_u64() > Some(3_000_000), "{json}");
}

#[test]
fn prune_removes_those_of_one_component_alone() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let new = |task: &str| NewInvocation::new(task, ComponentDigest::from_bytes([1; 32]), "[1]");
    let submits: Vec<_> = ["cust-a::run", "cust-b::run"].into_iter().cycle().take(8).map(new).collect();
    store.commit(&Batch { submits, ..Batch::default() }).expect("a submit");
    fixture.sandbox.run(["cancel", "--status", "queued"]).expect(0);
    let prune = |args: &[&str]| fixture.lines(&[&["prune", "--component"][..], args].concat());
    assert_eq!(prune(&["cust-a", "--keep", "1", "--dry-run"]), ["would remove 3 invocations: 3 cancelled"]);
    assert_eq!(prune(&["cust-a", "--keep", "3"]), ["removed 1 invocation"]);
    assert_eq!(prune(&["cust-a", "--older-than", "0s"]), ["removed 3 invocations"]);
    let left = fixture.lines(&["list", "--json"]);
    assert_eq!(left.iter().filter(|line| line.contains("cust-b::run")).count(), 4, "{left:?}");
    // A name that is misspelt removes nothing.
    let output = fixture.sandbox.run(["prune", "--component", "cust-c", "--older-than", "0s"]).expect(2);
    assert!(output.stderr.contains("unknown component `cust-c`"), "{output:?}");
    assert_eq!(prune(&["cust-*", "--older-than", "0s"]), ["removed 4 invocations"]);
}

#[test]
fn a_cancelled_retry_can_be_retried() {
    let fixture = Fixture::new();
    let failed = fixture.failed(FailureKind::Trapped).to_string();
    let mut copies: Vec<String> = Vec::new();
    for _ in 0..3 {
        let output = fixture.sandbox.run(["retry", "--task", TASKS[1]]).expect(0);
        assert!(output.stderr.contains("submitted 1 invocation again"), "{output:?}");
        copies.push(output.stdout().trim().to_owned());
        // Until it is cancelled, it counts.
        let output = fixture.sandbox.run(["retry", &failed, "--json"]).expect(0);
        let last = &copies[copies.len() - 1];
        assert_eq!(output.json(), serde_json::json!({ "id": last, "retry_of": failed }));
        assert!(output.stderr.contains("was retried before"), "{output:?}");
        fixture.sandbox.run(["cancel", "--task", TASKS[1]]).expect(0);
    }
    assert_eq!(fixture.count(Status::Cancelled), 3);
    // Each is a copy of the one before, and all tell of the last.
    let one = |id: &str| fixture.sandbox.run(["status", id, "--json"]).expect(0).json();
    assert_eq!(
        (&one(&failed)["retry_of"], &one(&failed)["retried_as"]),
        (&().into(), &copies[2].clone().into())
    );
    let second = one(&copies[1]);
    assert_eq!((&second["retry_of"], &second["retried_as"]), (&json!(copies[0]), &json!(copies[2])));
    assert_eq!(one(&copies[2])["retried_as"], serde_json::json!(null));
    let output = fixture.sandbox.run(["list", "--status", "failed"]).expect(0);
    assert!(output.stdout().contains("RETRIED AS") && output.stdout().contains(&copies[2]), "{output:?}");
    let output = fixture.sandbox.run(["list", "--json", "--status", "failed"]).expect(0);
    assert_eq!(output.json()["retried_as"], serde_json::json!(copies[2]));
}

#[test]
fn the_rest_of_a_tree_without_its_root_is_shown_alone() {
    let fixture = Fixture::new();
    let (root, child) = fixture.parent_of_succeeded();
    fixture.sandbox.run(["cancel", &root.to_string()]).expect(0);
    fixture.sandbox.run(["prune", "--status", "cancelled", "--older-than", "0s"]).expect(0);
    let output = fixture.sandbox.run(["tree", &child.to_string()]).expect(0);
    assert!(output.stdout().starts_with(TASKS[1]) && output.stdout().lines().count() == 1, "{output:?}");
    assert!(output.stderr.contains(&format!("the root `{root}` was removed")), "{output:?}");
}
