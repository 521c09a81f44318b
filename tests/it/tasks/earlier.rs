//! Stores of earlier programs, whose ids named no component.

use std::sync::Arc;

use run_wasm_runner::model::{ComponentDigest, InvocationId, SystemClock};
use run_wasm_runner::store::{
    Batch, NewInvocation, Pause, PauseTarget, PostgresStore, PostgresUrl, SqliteStore, Store, TaskRule,
};
use serde_json::{Value, json};

use crate::support::cli::Sandbox;
use crate::support::database::shared;
use crate::support::guests::guest;

const OLD: &str = "acme:plugins/filter.apply";

/// A store that an earlier program left behind, in which others are yet to run.
struct Earlier {
    url: String,
    store: Arc<dyn Store>,
    _place: Sandbox,
}

impl Earlier {
    fn sqlite() -> Self {
        let place = Sandbox::new();
        let path = place.path().join("state.db");
        let store = Arc::new(SqliteStore::open(&path, Arc::new(SystemClock::new())).expect("it opens"));
        Self { url: format!("sqlite:{}", path.display()), store, _place: place }
    }

    fn postgres() -> Self {
        let url = shared().url();
        let parsed = PostgresUrl::parse(&url).expect("a URL");
        let store = Arc::new(PostgresStore::open(&parsed, None).expect("it opens"));
        Self { url, store, _place: Sandbox::new() }
    }

    /// Submits an invocation for the bytes of a guest, as an earlier program did.
    fn submit(&self, task: &str, component: &str, key: Option<&str>) -> InvocationId {
        let bytes = std::fs::read(guest(component)).expect("the guest can be read");
        let mut new = NewInvocation::new(task, ComponentDigest::of(&bytes), "[7]");
        new.key = key.map(Arc::from);
        let id = new.id;
        self.store.commit(&Batch { submits: vec![new], ..Batch::default() }).expect("it is submitted");
        id
    }

    fn place(&self, components: &[&str]) -> Sandbox {
        self.place_with(components, "")
    }

    fn place_with(&self, components: &[&str], more: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        let mut text = format!("store = {:?}\n", self.url);
        for name in components {
            text += &format!("[component.{name}]\npath = {:?}\n", guest(name));
        }
        sandbox.write("wasm-runner.toml", text + more);
        sandbox
    }

    #[track_caller]
    fn status(&self, id: InvocationId) -> Value {
        self.place(&[]).run(["status", &id.to_string(), "--json"]).expect(0).json()
    }
}

fn the_only_component_takes_over_everything(earlier: &Earlier) {
    let id = earlier.submit(OLD, "shift", Some("a key"));
    let rule = TaskRule::new(&Arc::from(OLD), &Default::default());
    let rule = TaskRule { queue: "old".into(), ..rule };
    earlier.store.commit(&Batch { rules: vec![rule], ..Batch::default() }).expect("rules are set");
    // Whoever does not export it leaves it alone.
    let before = earlier.status(id);
    assert_eq!((&before["task"], &before["component"]), (&json!(OLD), &Value::Null));
    earlier.place(&["workflow"]).run(["start", "--until-idle"]).expect(0);
    assert_eq!(earlier.status(id)["status"], "queued");
    // A copy of what nobody has adopted yet stays with the rest.
    let lost = earlier.submit(OLD, "shift", None);
    earlier.place(&[]).run(["cancel", &lost.to_string()]).expect(0);
    let copy = earlier.place(&[]).run(["retry", &lost.to_string(), "--json"]).expect(0).json();
    let copy: InvocationId = copy["id"].as_str().expect("it has an id").parse().expect("it is one");
    assert_eq!(earlier.status(copy)["task"], OLD);
    // The component was built anew since.
    let scale = earlier.place(&["scale"]);
    let again = scale.run(["submit", "apply", "[7]", "--key", "a key"]).expect(0);
    assert_eq!(again.stdout().trim(), id.to_string(), "its key holds");
    let queues = scale.run(["queues", "--json"]).expect(0).json_lines();
    let its_own: Vec<_> = queues.iter().filter(|one| one["component"] == "scale").collect();
    assert_eq!(its_own.len(), 1, "{queues:?}");
    assert_eq!(its_own[0]["queue"], "old", "so do its rules");
    scale.run(["start", "--until-idle"]).expect(0);
    let done = earlier.status(id);
    assert_eq!((&done["task"], &done["result"]), (&json!("scale::acme:plugins/filter@1.apply"), &json!(70)));
    assert_eq!(earlier.status(copy)["result"], 70);
}

fn of_several_the_one_with_the_digest_takes_over(earlier: &Earlier) {
    let id = earlier.submit(OLD, "shift", None);
    let root = earlier.submit("ask.ask", "ask", None);
    let target = PauseTarget::Task(OLD.into());
    let pause = |paused| Pause { target: target.clone(), paused };
    earlier.store.commit(&Batch { pauses: vec![pause(true)], ..Batch::default() }).expect("it is paused");
    // Three runners: one has nothing of it, one has others that are called so, one has it.
    earlier.place(&["workflow"]).run(["start", "--until-idle"]).expect(0);
    let others = earlier.place(&["scale", "wrap"]);
    let told = others.run(["start", "--until-idle"]).expect(0);
    assert!(told.stderr.contains(&format!("`{OLD}`")), "{}", told.stderr);
    assert_eq!(earlier.status(id)["task"], OLD);
    let choice = "[component.ask.imports]\n\"acme:plugins/filter\" = \"scale\"\n";
    let all = earlier.place_with(&["scale", "shift", "ask"], choice);
    all.run(["start", "--until-idle"]).expect(0);
    let held = earlier.status(id);
    assert_eq!(
        (&held["task"], &held["status"]),
        (&json!("shift::acme:plugins/filter@1.apply"), &json!("queued"))
    );
    assert_eq!(earlier.status(root)["result"], 70, "the id named its component");
    all.run(["resume", "--task", "shift::apply"]).expect(0);
    all.run(["start", "--until-idle"]).expect(0);
    assert_eq!(earlier.status(id)["result"], 8);
    all.run(["retry", &id.to_string(), "--even-succeeded"]).expect(0);
}

#[test]
fn a_call_adopts_what_is_there() {
    let earlier = Earlier::sqlite();
    let id = earlier.submit(OLD, "scale", None);
    earlier.place(&["scale"]).run(["call", "apply", "[7]", "--store", &earlier.url]).expect(0);
    assert_eq!(earlier.status(id)["task"], "scale::acme:plugins/filter@1.apply");
}

#[test]
fn the_only_component_adopts_everything_in_sqlite() {
    the_only_component_takes_over_everything(&Earlier::sqlite());
}

#[test]
fn the_only_component_adopts_everything_in_postgres() {
    the_only_component_takes_over_everything(&Earlier::postgres());
}

#[test]
fn of_several_components_the_one_with_the_digest_adopts_in_sqlite() {
    of_several_the_one_with_the_digest_takes_over(&Earlier::sqlite());
}

#[test]
fn of_several_components_the_one_with_the_digest_adopts_in_postgres() {
    of_several_the_one_with_the_digest_takes_over(&Earlier::postgres());
}
