//! Filters that `list`, `cancel` and `retry` share, and short ids.

use run_wasm_runner::model::{ComponentDigest, FailureKind, InvocationId};
use run_wasm_runner::store::{Batch, NewInvocation, Pause, PauseTarget, Store, TaskRule};
use serde_json::{Value, json};

use super::fixture::{Fixture, TASKS};

impl Fixture {
    fn labelled(&self, task: &str, customer: &str) -> String {
        let labels = [("customer".to_owned(), customer.to_owned())].into();
        let new =
            NewInvocation { labels, ..NewInvocation::new(task, ComponentDigest::from_bytes([1; 32]), "[1]") };
        let id = new.id.to_string();
        self.store.commit(&Batch { submits: vec![new], ..Batch::default() }).expect("a submit");
        id
    }

    fn ids(&self, args: &[&str]) -> Vec<String> {
        let output = self.sandbox.run([args, &["--json"]].concat()).expect(0);
        output.json_lines().iter().map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
    }
}

const BULK: &str = "math::work";
const OTHER: &str = "text::work";

/// Three invocations of two tasks: one of them is in the queue `bulk`.
fn three() -> (Fixture, [String; 3]) {
    let fixture = Fixture::new();
    let rule = |task: &str, queue: &str| TaskRule {
        task: task.into(),
        queue: queue.into(),
        concurrency: None,
        rate: None,
    };
    let rules = vec![rule(BULK, "bulk"), rule(OTHER, "default")];
    fixture.store.commit(&Batch { rules, ..Batch::default() }).expect("rules");
    let ids =
        [fixture.labelled(BULK, "acme"), fixture.labelled(OTHER, "acme"), fixture.labelled(OTHER, "other")];
    (fixture, ids)
}

#[test]
fn lists_are_filtered_by_label_queue_component_time_and_root() {
    let (fixture, [bulk, acme, other]) = three();
    let list = |args: &[&str]| fixture.ids(&[&["list"], args].concat());
    assert_eq!(list(&["--label", "customer=acme"]), [acme.as_str(), &bulk]);
    assert_eq!(list(&["--queue", "bulk"]), [bulk.as_str()]);
    assert_eq!(list(&["--queue", "bulk", "--queue", "default"]), [other.as_str(), &acme, &bulk]);
    assert_eq!(list(&["--component", "text", "--label", "customer=acme"]), [acme.as_str()]);
    assert_eq!(list(&["--since", "1h", "--root", &other]), [other.as_str()]);
    assert!(list(&["--queue", "bulk", "--component", "text"]).is_empty());
    let parent = fixture.submit(TASKS[0], None);
    fixture.claim();
    let child = fixture.submit_child(parent, 0).to_string();
    let parent = parent.to_string();
    assert_eq!(list(&["--root", &parent]), [child.as_str(), &parent]);
    assert_eq!(list(&["--root", &parent, "--limit", "1"]), [child.as_str()]);
    let output = fixture.sandbox.run(["list", "--root", &child]).expect(2);
    assert!(output.stderr.contains("not a root") && output.stderr.contains(&parent), "{output:?}");
    let output = fixture.sandbox.run(["list", "--queue", "bulky"]).expect(2);
    assert!(output.stderr.contains("did you mean `bulk`?"), "{output:?}");
    let output = fixture.sandbox.run(["list", "--label", "customer"]).expect(2);
    assert!(output.stderr.contains("expected `K=V`"), "{output:?}");
}

#[test]
fn failures_are_found_by_the_time_of_their_end_and_by_their_kind() {
    let fixture = Fixture::new();
    let queued = fixture.submit(TASKS[0], None).to_string();
    let trapped = fixture.failed(FailureKind::Trapped).to_string();
    let lost = fixture.failed(FailureKind::Lost).to_string();
    let fine = fixture.succeeded("1").to_string();
    let list = |args: &[&str]| fixture.ids(&[&["list"], args].concat());
    assert_eq!(list(&["--ended-since", "1h"]), [fine.as_str(), &lost, &trapped]);
    assert_eq!(list(&["--ended-since", "1h", "--status", "failed"]), [lost.as_str(), &trapped]);
    assert_eq!(list(&["--kind", "trapped,timed-out"]), [trapped.as_str()]);
    assert_eq!(
        list(&["--kind", "lost", "--kind", "trapped", "--ended-since", "1h"]),
        [lost.as_str(), &trapped]
    );
    assert_eq!(list(&["--until", "0s"]).len(), 4);
    assert_eq!(list(&["--since", "2000-01-01", "--until", "2000-01-02T12:00:00Z"]), [""; 0]);
    assert_eq!(list(&["--ended-until", "2000-01-01"]), [""; 0]);
    assert_eq!(list(&["--status", "queued"]), [""; 0]);
    assert!(list(&["--until", "0s"]).contains(&queued));
    let table = fixture.sandbox.run(["list", "--kind", "lost"]).expect(0);
    assert!(table.stdout().contains("ENDED") && table.stdout().contains("lost: it went"), "{table:?}");
    let retried = fixture.sandbox.run(["retry", "--kind", "lost", "--ended-since", "1h", "--json"]).expect(0);
    assert_eq!(retried.json()["retry_of"], json!(lost));
    let output = fixture.sandbox.run(["list", "--kind", "trap"]).expect(2);
    assert!(output.stderr.contains("did you mean `trapped`?"), "{output:?}");
    let output = fixture.sandbox.run(["list", "--status", "fialed"]).expect(2);
    assert!(output.stderr.contains("did you mean `failed`?"), "{output:?}");
    let output = fixture.sandbox.run(["retry", "--ended-since", "yesterday"]).expect(2);
    assert!(output.stderr.contains("expected a time such as"), "{output:?}");
}

#[test]
fn queues_list_what_has_work_a_rule_or_a_pause() {
    let (fixture, [bulk, ..]) = three();
    let pause = |name: &str| Pause { target: PauseTarget::Queue(name.into()), paused: true };
    fixture.store.commit(&Batch { pauses: vec![pause("renamed")], ..Batch::default() }).expect("a pause");
    let tasks = |args: &[&str]| -> Vec<_> {
        let output = fixture.sandbox.run([args, &["--json"]].concat()).expect(0);
        output.json_lines().into_iter().map(|line| (line["queue"].clone(), line["task"].clone())).collect()
    };
    let orphan = (json!("renamed"), Value::Null);
    let [of_bulk, of_other] = [(json!("bulk"), json!(BULK)), (json!("default"), json!(OTHER))];
    assert_eq!(tasks(&["queues"]), [of_bulk.clone(), of_other.clone(), orphan.clone()]);
    fixture.sandbox.run(["cancel", "--component", "text"]).expect(0);
    fixture.sandbox.run(["cancel", &bulk]).expect(0);
    // A queue of its own is a rule.
    assert_eq!(tasks(&["queues"]), [of_bulk.clone(), orphan.clone()]);
    let output = fixture.sandbox.run(["queues"]).expect(0);
    assert!(output.stdout().contains("(none)") && output.stderr.contains("1 task without"), "{output:?}");
    assert_eq!(tasks(&["queues", "--all"]), [of_bulk.clone(), of_other.clone(), orphan]);
    fixture.sandbox.run(["resume", "--queue", "renamed"]).expect(0);
    assert_eq!(tasks(&["queues", "--all"]), [of_bulk, of_other]);
}

#[test]
fn filters_that_select_nothing_say_so() {
    let (fixture, [bulk, ..]) = three();
    for command in ["list", "cancel", "retry"] {
        for filter in [["--label", "customer=nobody"], ["--since", "0s"]] {
            let output = fixture.sandbox.run([command, filter[0], filter[1]]).expect(0);
            let text = "no invocation is selected by these filters";
            assert!(output.stdout.is_empty() && output.stderr.contains(text), "{output:?}");
        }
    }
    // Without a filter there would be too much, and a component's file is none.
    let file = fixture.sandbox.write("x.wasm", []);
    let component = format!("x={}", file.display());
    for args in
        [&["cancel"][..], &["cancel", "--component", &component], &["cancel", &bulk, "--queue", "bulk"]]
    {
        fixture.sandbox.run(args).expect(2);
    }
    assert_eq!(fixture.ids(&["list", "--status", "queued"]).len(), 3);
}

#[test]
fn what_filters_select_is_cancelled_and_retried() {
    let (fixture, [bulk, acme, other]) = three();
    assert_eq!(fixture.ids(&["cancel", "--label", "customer=acme", "--queue", "bulk"]), [bulk.as_str()]);
    assert_eq!(fixture.ids(&["cancel", "--component", "text", "--since", "1h"]), [acme.as_str(), &other]);
    let retried =
        fixture.sandbox.run(["retry", "--status", "cancelled", "--label", "customer=acme", "--json"]);
    let of: Vec<_> = retried.expect(0).json_lines().iter().map(|line| line["retry_of"].clone()).collect();
    assert_eq!(of, [json!(bulk), json!(acme)]);
    let retried =
        fixture.sandbox.run(["retry", "--status", "cancelled", "--root", &other, "--json"]).expect(0);
    assert_eq!(retried.json()["retry_of"], json!(other));
}

#[test]
fn a_dry_run_says_what_would_be_cancelled_or_retried() {
    let (fixture, [bulk, acme, other]) = three();
    let dry = |command: &str, args: &[&str]| {
        let output = fixture.sandbox.run([&[command, "--dry-run"], args].concat()).expect(0);
        (output.stdout().lines().map(str::to_owned).collect::<Vec<_>>(), output.stderr)
    };
    let (ids, told) = dry("cancel", &["--component", "text"]);
    assert_eq!(ids, [acme.as_str(), &other]);
    assert!(told.contains("would cancel 2 invocations"), "{told}");
    assert_eq!(fixture.ids(&["list", "--status", "queued"]).len(), 3, "nothing was cancelled");
    fixture.sandbox.run(["cancel", "--status", "queued"]).expect(0);
    fixture.sandbox.run(["retry", &acme]).expect(0);
    let cancelled = ["--status", "cancelled"];
    let (ids, told) = dry("retry", &cancelled);
    assert_eq!(ids, [bulk.as_str(), &other]);
    assert!(told.contains("would retry 2 invocations; 1 invocation was retried before"), "{told}");
    let new = ["--status", "cancelled", "--not-retried"];
    let (ids, told) = dry("retry", &new);
    assert_eq!(ids, [bulk.as_str(), &other]);
    assert!(told.contains("would retry 2 invocations"), "{told}");
    let retried = fixture.sandbox.run([&["retry", "--json"], &new[..]].concat()).expect(0).json_lines();
    let of: Vec<_> = retried.iter().map(|line| line["retry_of"].clone()).collect();
    assert_eq!(of, [json!(bulk), json!(other)]);
    let (ids, told) = dry("retry", &new);
    assert!(ids.is_empty() && told.contains("no invocation is selected"), "{told}");
    let (ids, told) = dry("retry", &cancelled);
    assert!(
        ids.is_empty() && told.contains("retry 0 invocations; 3 invocations were retried before"),
        "{told}"
    );
    let again = fixture.sandbox.run([&["retry"], &cancelled[..]].concat()).expect(0);
    assert_eq!(again.stdout().lines().count(), 3, "{again:?}");
    assert_eq!(again.stderr.matches("retried before").count(), 1, "{again:?}");
    assert!(again.stderr.contains("3 invocations were retried before"), "{again:?}");
    fixture.sandbox.run(["retry", "--dry-run", &bulk]).expect(2);
}

#[test]
fn a_part_of_an_id_names_an_invocation() {
    let fixture = Fixture::new();
    let id = |time: &str, end: u32| -> InvocationId {
        format!("{time}-7a2b-7c3d-8e4f-5a6b{end:08x}").parse().expect("an id")
    };
    let ids = [id("01939f5e", 0xabcd_0001), id("01939f5e", 0xabcd_0002), id("01939f5f", 0xabcd_0001)];
    let submits = ids.map(|id| NewInvocation {
        id,
        ..NewInvocation::new(TASKS[0], ComponentDigest::from_bytes([1; 32]), "[1]")
    });
    fixture.store.commit(&Batch { submits: submits.into(), ..Batch::default() }).expect("submits");
    let status = |name: &str| fixture.sandbox.run(["status", name, "--json"]);
    assert_eq!(status("abcd0002").expect(0).json()["id"], json!(ids[1].to_string()));
    assert_eq!(status("01939F5F").expect(0).json()["id"], json!(ids[2].to_string()));
    let output = status("abcd0001").expect(2);
    for id in [ids[0], ids[2]] {
        assert!(output.stderr.contains(&format!("`{id}`")), "{output:?}");
    }
    assert!(!output.stderr.contains(&ids[1].to_string()) && output.stderr.contains("digits"), "{output:?}");
    assert!(status("ffffff").expect(2).stderr.contains("unknown invocation `ffffff`"));
    assert!(status("01939").expect(2).stderr.contains("6 or more"));
    for command in ["tree", "history", "logs", "cancel", "retry"] {
        let output = fixture.sandbox.run([command, "abcd0002"]).expect(0);
        assert!(!output.stderr.contains("unknown"), "{output:?}");
    }
    fixture.sandbox.run(["result", "abcd0002"]).expect(5);
    let failed = fixture.failed(FailureKind::Trapped);
    assert_eq!(status(&failed.short()).expect(0).json()["id"], json!(failed.to_string()));
}
