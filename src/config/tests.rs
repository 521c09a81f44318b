//! Whole configurations, right and wrong.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::surroundings::variables;
use super::*;
use crate::model::{
    FailureKind, Glob, HolderKind, LimitKind, Quota, Rate, RetryBudget, RetryPolicy, RunnerSettings, Status,
    TaskOptions,
};
use crate::store::{FairnessWeight, Keep, QuotaSection, StoreUrl};
use crate::wasm::{CompileLimits, DirectoryAccess};

fn around(directory: &Path, variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        variables: variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        directory: directory.to_owned(),
        user_cache: Some("/cache".into()),
        processors: 3,
        max_maps: None,
        memory: None,
    }
}

fn resolve(text: &str, flags: &Flags, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join(FILE_NAME), text).expect("a file is written");
    Config::resolve(flags, &around(directory.path(), variables))
}

#[track_caller]
fn problems(text: &str) -> String {
    let error = resolve(text, &Flags::default(), &[]).expect_err("the file is wrong");
    let lines = error.0.iter().map(|problem| match &problem.hint {
        Some(hint) => format!("{problem}\n  hint: {hint}\n"),
        None => format!("{problem}\n"),
    });
    lines.collect()
}

/// What a section makes of the options of a component.
#[track_caller]
fn task_options(component: &Component, section: &str) -> TaskOptions {
    let found = component.tasks.iter().find(|one| one.name == section);
    found.expect("there is such a section").options.over(&component.defaults)
}

/// Nearly everything that is made up of it would be refused for the same reason.
#[test]
fn what_the_fuzz_target_begins_with_is_right() {
    let text = include_str!("../../tests/fuzz/seeds/configuration/whole.toml");
    resolve(text, &Flags::default(), &[]).expect("nothing is wrong");
}

#[test]
fn without_a_file_there_are_defaults() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config =
        Config::resolve(&Flags::default(), &around(directory.path(), &[])).expect("nothing is wrong");
    assert_eq!(config.slots, 3);
    assert_eq!(config.grace, Duration::from_secs(30));
    assert_eq!(config.store.url, StoreUrl::Sqlite(directory.path().join(".wasm-runner/state.db")));
    assert_eq!(config.store.origin, None);
    assert_eq!(config.cache_directory.as_deref(), Some(Path::new("/cache/run-wasm-runner")));
    assert!(config.components.is_empty() && config.warnings.is_empty());
    assert_eq!(config.runner, RunnerSettings::default());
}

#[test]
fn a_whole_file_is_read_relative_to_itself() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let below = directory.path().join("a/b");
    std::fs::create_dir_all(&below).expect("directories");
    let text = r#"
            store = "sqlite:x.db"
            slots = 2
            grace = "1m30s"
            cache-dir = "cache"
            [runner]
            max-live = 100
            lease = "5s"
            final-cache-entries = 7
            final-cache-size = "1MiB"
            [component.wordcount]
            path = "wordcount.wasm"
            priority = 5
            [[component.wordcount.directory]]
            host = "text"
            guest = "/text"
            access = "read-write"
            [[component.wordcount.network]]
            host = "*.Example.com"
            ports = [443, "8000-8999"]
            [[component.wordcount.http]]
            host = "api.example.com"
            methods = ["GET", "HEAD"]
            paths = ["/v1/*"]
            [[component.wordcount.http]]
            host = "127.0.0.1"
            schemes = ["http", "https"]
            ports = [8080]
            [[component.wordcount.network]]
            host = "10.0.0.1/8"
            ports = "any"
            allow-private = true
            [component.wordcount.limits]
            time = "2s"
            memory = "1MiB"
            [task."acme:text/count.words"]
            max-attempts = 9
            [task."acme:text/count.words".limits]
            fuel = 1_000
            logs = "1KiB"
        "#;
    std::fs::write(directory.path().join(FILE_NAME), text).expect("a file is written");
    let config = Config::resolve(&Flags::default(), &around(&below, &[])).expect("nothing is wrong");
    assert_eq!(config.store.url, StoreUrl::Sqlite(directory.path().join("x.db")));
    assert_eq!((config.slots, config.grace), (2, Duration::from_secs(90)));
    assert_eq!(config.cache_directory, Some(directory.path().join("cache")));
    assert_eq!((config.runner.max_live, config.runner.lease), (100, Duration::from_secs(5)));
    assert_eq!((config.runner.final_cache_entries, config.runner.final_cache_bytes), (7, 1 << 20));
    let [component] = &config.components[..] else { panic!("one component") };
    assert_eq!(component.origin, ComponentOrigin::File(directory.path().join("wordcount.wasm")));
    let [grant] = &component.grants.directories[..] else { panic!("one directory") };
    assert_eq!((&grant.host, grant.access), (&directory.path().join("text"), DirectoryAccess::ReadWrite));
    let network: Vec<_> = component.grants.network.iter().map(ToString::to_string).collect();
    assert_eq!(
        network,
        ["*.example.com, ports 443, 8000-8999", "10.0.0.0/8, any port, private addresses too"]
    );
    let http: Vec<_> = component.grants.http.iter().map(ToString::to_string).collect();
    assert_eq!(
        http,
        [
            "GET, HEAD by https to api.example.com, paths /v1/*",
            "any method by http and https to 127.0.0.1, port 8080"
        ]
    );
    assert_eq!(component.defaults.limits[LimitKind::Memory], Some(1 << 20));
    let task = task_options(component, "acme:text/count.words");
    // The task's own options, then its component's, then the defaults.
    let [fuel, logs, result] =
        [LimitKind::Fuel, LimitKind::Logs, LimitKind::Result].map(|kind| task.limits[kind]);
    assert_eq!((task.max_attempts, fuel, logs, result), (9, Some(1000), Some(1024), Some(64 << 20)));
    assert_eq!((task.priority, task.limits.time(LimitKind::Time)), (5, Some(Duration::from_secs(2))));
}

#[test]
fn the_documented_file_is_a_right_one() {
    let page = include_str!("../../docs/configuration.md");
    let (_, rest) = page.split_once("```toml\n").expect("the page has an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let config = resolve(example, &Flags::default(), &[]).expect("the example is right");
    let task = task_options(&config.components[0], "acme:text/count.words");
    assert_eq!(task.deadline, Some(Duration::from_secs(3600)));
    assert_eq!(config.retention.len(), 2);
    // The limits in the example are the defaults.
    assert_eq!(config.components[0].defaults, TaskOptions::default());
    assert_eq!(task.retry.on, [FailureKind::Trapped, FailureKind::Returned]);
    assert_eq!((task.max_attempts, task.limits.time(LimitKind::Time)), (5, Some(Duration::from_secs(5))));
    assert_eq!(&*task.rules.queue, "bulk");
    assert_eq!(task.rules.concurrency.map(|concurrency| concurrency.limit), Some(2));
    assert_eq!(task.rules.rate.map(|rate| rate.window), Some(Duration::from_secs(60)));
    for name in variables() {
        assert!(page.contains(&format!("WASM_RUNNER_{name}")), "{name} is not documented");
    }
}

#[test]
fn guests_have_three_quarters_of_the_memory_unless_somebody_says_otherwise() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let budget = |memory, variables: &[(&str, &str)]| {
        let around = Surroundings { memory, ..around(directory.path(), variables) };
        Config::resolve(&Flags::default(), &around).map(|config| config.runner.memory_budget)
    };
    assert_eq!(budget(Some(4096), &[]).expect("nothing is wrong"), 3072);
    assert_eq!(budget(None, &[]).expect("nothing is wrong"), u64::MAX);
    let said = [("WASM_RUNNER_MEMORY_BUDGET", "1GiB")];
    assert_eq!(budget(Some(4096), &said).expect("nothing is wrong"), 1 << 30);
    let error = budget(None, &[("WASM_RUNNER_MEMORY_BUDGET", "1MiB")]).expect_err("it is too small");
    assert!(error.to_string().contains("`memory-budget` of 1048576 bytes is too small"), "{error}");
}

#[test]
fn flags_win_over_variables_over_the_file() {
    let text = "slots = 2\nstore = \"sqlite:file.db\"\n[component.a]\npath = \"a.wasm\"\n";
    let variables = [("WASM_RUNNER_SLOTS", "3"), ("WASM_RUNNER_GRACE", "5")];
    let config = resolve(text, &Flags::default(), &variables).expect("nothing is wrong");
    assert_eq!((config.slots, config.grace), (3, Duration::from_secs(5)));
    assert_eq!(config.store.origin, Some(Origin::File));
    let flags = Flags {
        slots: Some(4),
        store: Some("memory:".into()),
        components: vec![("b".into(), "b.wasm".into()), ("a".into(), "other.wasm".into())],
        ..Flags::default()
    };
    let config = resolve(text, &flags, &variables).expect("nothing is wrong");
    assert_eq!(config.slots, 4);
    assert_eq!(config.store, StoreChoice { url: StoreUrl::Memory, origin: Some(Origin::Flag) });
    let files: Vec<_> =
        config.components.iter().map(|source| source.origin.file().and_then(Path::file_name)).collect();
    assert_eq!(files, [Some("other.wasm".as_ref()), Some("b.wasm".as_ref())]);
}

#[test]
fn everything_wrong_with_a_file_is_told_at_once() {
    let text = r#"stroe = "memory:"
slots = 0
grace = 30
cache-dir = 1
lease = "1s"
[runner]
max_live = 5
final-cache-size = "64M"
[component.word_count]
pat = "x.wasm"
[component.ok]
path = "x.wasm"
priority = 5000
max-attempts = 0
directory = "text"
[component.ok.limits]
memory = "lots"
time = "0s"
[[component.two.directory]]
hots = "a"
access = "write"
[task.acme]
prio = 1
[task.a.b]
priority = 1
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn a_task_says_when_it_is_retried_over_its_component() {
    let text = r#"
            [component.a]
            path = "a.wasm"
            [component.a.retry]
            on = ["trapped"]
            factor = 3
            jitter = "full"
            budget = 7
            [task.t.retry]
            on = ["returned", "timed-out"]
            cases = ["busy"]
            delay = "250ms"
            max-delay = "2s"
            budget-window = "10s"
            [task.u.retry]
            budget = "unlimited"
        "#;
    let config = resolve(text, &Flags::default(), &[]).expect("nothing is wrong");
    let [component] = &config.components[..] else { panic!("one component") };
    let minute = Duration::from_secs(60);
    let of_component = RetryPolicy {
        on: vec![FailureKind::Trapped],
        factor: 3.0,
        jitter: 1.0,
        budget: Some(RetryBudget { retries: 7, window: minute }),
        ..RetryPolicy::default()
    };
    assert_eq!(*component.defaults.retry, of_component);
    let of_task = RetryPolicy {
        on: vec![FailureKind::Returned, FailureKind::TimedOut],
        returned_cases: Some(Arc::from([Box::from("busy")])),
        first_delay: Duration::from_millis(250),
        max_delay: Duration::from_secs(2),
        budget: Some(RetryBudget { retries: 7, window: minute / 6 }),
        ..of_component.clone()
    };
    assert_eq!(*task_options(component, "t").retry, of_task);
    assert_eq!(*task_options(component, "u").retry, RetryPolicy { budget: None, ..of_component });
}

#[test]
fn everything_wrong_with_rules_is_told_at_once() {
    let text = r#"[component.a]
path = "a.wasm"
[task."a"]
queue = "with space"
[task."b".concurrency]
limit = 0
per = "argument"
blocked = "wiat"
[task."c".rate]
limit = 5
[task."d".rate]
window = "0s"
limit = 200000
[task."e"]
concurrency = { limit = 1, per = ["x"] }
rate = { limit = 1, window = "1s", per = "task" }
[task."f".unique]
per = []
differing = 3
[task."g".concurrency]
limt = 1
window = "1s"
[task."h"]
concurrency = 3
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn everything_wrong_with_retries_is_told_at_once() {
    let text = r#"[component.a]
path = "a.wasm"
retry = 3
[task.b.retry]
on = ["trap", "lost", "cancelled", 1]
cases = []
delay = 1
factor = 0.5
max_delay = "1s"
jitter = "some"
budget = -1
budget-window = "0s"
[task.c.retry]
on = "trapped"
delay = "2s"
max-delay = "1s"
factor = nan
[task.d.retry]
on = ["trapped"]
cases = ["busy"]
[task.e]
jitter = 0.5
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn everything_wrong_with_grants_is_told_at_once() {
    let text = r#"[component.a]
path = "a.wasm"
network = "all"
may-submit = "acme:math/*"
ports = [80]
[component.b]
path = "b.wasm"
may-submit = ["", 3]
[[component.b.network]]
[[component.b.network]]
host = "https://api.example.com"
ports = 443
[[component.b.network]]
host = "10.0.0.0/33"
ports = [0, 443, 70000, "9-8", "80", true]
[[component.b.network]]
host = "a b"
ports = []
allow-private = "yes"
[[component.b.network]]
host = 3
port = [80]
ports = "all"
[[component.b.http]]
[[component.b.http]]
host = "api.example.com"
schemes = ["https", "ftp"]
methods = ["GET", "get", "CONNECT", ""]
paths = ["/v1/*", "v2", "/a?b=c"]
ports = []
path = "/"
[component.b.limits]
sockets = -1
request-body = 3
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn what_is_kept_is_read_by_status() {
    let text = r#"
            [retention.failed]
            age = "730d"
            [retention.succeeded]
            age = "1d12h"
            count = 0
            [component.a]
            path = "a.wasm"
            deadline = "1h"
            [task.t]
            deadline = "unlimited"
            [task.u]
            priority = 1
        "#;
    let config = resolve(text, &Flags::default(), &[]).expect("nothing is wrong");
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let kept = [
        Keep { status: Status::Succeeded, age: hours(36), count: Some(0), at_least: 0 },
        Keep { status: Status::Failed, age: hours(730 * 24), count: None, at_least: 0 },
    ];
    assert_eq!(config.retention, kept);
    assert_eq!(config.usage_retention(), Duration::from_secs(400 * 24 * 3600));
    let [component] = &config.components[..] else { panic!("one component") };
    assert_eq!(component.defaults.deadline, hours(1));
    assert_eq!(
        (task_options(component, "t").deadline, task_options(component, "u").deadline),
        (None, hours(1))
    );
}

#[test]
fn usage_is_kept_for_as_long_as_the_file_says() {
    let config = resolve("[retention]\nusage = \"90d\"\n", &Flags::default(), &[]).expect("nothing is wrong");
    assert_eq!(config.usage_retention(), Duration::from_secs(90 * 24 * 3600));
    assert!(config.retention.is_empty());
}

#[test]
fn everything_wrong_with_retention_is_told_at_once() {
    let text = r#"count = 3
[retention]
usage = 30
finished = 1
failed = "7d"
[retention.queued]
age = "7d"
[retention.succeeded]
[retention.cancelled]
age = 7
count = -1
[retention.skipped]
age = "5 weeks"
max = 3
[component.a]
path = "a.wasm"
deadline = "0s"
[task.t]
deadline = 5
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn bad_toml_is_told_with_its_line() {
    insta::assert_snapshot!(problems("slots = 2\nstore = sqlite\n"));
}

#[test]
fn too_many_live_instances_name_the_systems_limit() {
    insta::assert_snapshot!(problems("[runner]\nmax-live = 1000000\n"));
}

#[test]
fn unknown_variables_are_warned_of() {
    let config = resolve("", &Flags::default(), &[("WASM_RUNNER_SLOT", "3"), ("WASM_RUNNER_X", "")]);
    let warnings = config.expect("nothing is wrong").warnings;
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0].hint.as_deref(), Some("did you mean `WASM_RUNNER_SLOTS`?"));
}

#[test]
fn wrong_flags_and_variables_are_usage_errors() {
    let flags = Flags {
        store: Some("redis://x".into()),
        components: vec![("a.b".into(), "x".into()), ("c".into(), "x".into()), ("c".into(), "y".into())],
        ..Flags::default()
    };
    let error = resolve("", &flags, &[("WASM_RUNNER_SLOTS", "many")]).expect_err("much is wrong");
    assert!(error.is_usage());
    assert_eq!(error.0.len(), 4, "{error}");
    assert!(!resolve("slots = 0", &flags, &[]).expect_err("more is wrong").is_usage());
}

#[test]
fn everything_wrong_with_sources_and_compiling_is_told_at_once() {
    insta::assert_snapshot!(problems(
        r#"
        compile = 7
        [component.a]
        source = "oci://ghcr.io/acme/a"
        [component.b]
        path = "b.wasm"
        source = "oci://ghcr.io/acme/b:1"
        [component.c]
        path = "c.wasm"
        insecure = true
        [component.d]
        source = "oci://ghcr.io/acme/d:1"
        insecure = "yes"
        [component.e]
        source = "elsewhere"
        "#
    ));
    insta::assert_snapshot!(problems(
        r#"
        [compile]
        time = "0s"
        cpu = 5
        memory = "1MiB"
        code = "0B"
        components = "1MiB"
        "#
    ));
}

#[test]
fn limits_of_compiling_and_registries_are_read() {
    let text = r#"
        [compile]
        time = "1m"
        cpu = "30s"
        memory = "1GiB"
        component = "16MiB"
        [component.a]
        source = "oci://registry.example/acme/a:1"
        insecure = true
        "#;
    let config = resolve(text, &Flags::default(), &[]).expect("nothing is wrong");
    let limits = CompileLimits {
        time: Duration::from_secs(60),
        cpu: Duration::from_secs(30),
        memory_bytes: 1 << 30,
        component_bytes: 16 << 20,
        ..CompileLimits::default()
    };
    assert_eq!(config.compile, limits);
    let [Component { origin: ComponentOrigin::Registry(reference), .. }] = &config.components[..] else {
        panic!("one component in a registry")
    };
    assert!(reference.is_plain());
    assert_eq!(reference.to_string(), "oci://registry.example/acme/a:1");
}

#[test]
fn imports_are_chosen_by_interface() {
    let text = r#"
        [component.a]
        path = "a.wasm"
        [component.a.imports]
        "acme:math/ops" = "b"
        "acme:math/ops@0.2" = "c"
    "#;
    let config = resolve(text, &Flags::default(), &[]).expect("nothing is wrong");
    let [component] = &config.components[..] else { panic!("one component") };
    let chosen = |import| component.imports.find(import).map(|(_, chosen)| chosen);
    assert_eq!(chosen("acme:math/ops@0.2.5"), Some("c"));
    assert_eq!((chosen("acme:math/ops@0.1.0"), chosen("acme:math/ops")), (Some("b"), Some("b")));
    assert_eq!(chosen("acme:math/others@0.2.5"), None);
    let wrong =
        "[component.a]\npath = \"a.wasm\"\n[component.a.imports]\nops = \"b\"\n\"acme:math/ops\" = 1\n";
    assert_eq!(
        problems(wrong),
        "wasm-runner.toml:4: `ops` in `[component.a.imports]` is not the name of an interface\n  \
         hint: write it as the component imports it: `\"acme:math/ops\" = \"COMPONENT\"`\n\
         wasm-runner.toml:5: `component.a.imports.acme:math/ops` must be a string, found `1`\n"
    );
}

#[test]
fn weights_are_of_fairness_keys() {
    let config = resolve("", &Flags::default(), &[]).expect("nothing is wrong");
    assert_eq!(config.weights, None, "the store keeps what it has");
    let text = "[fairness.weights]\nacme = 4\n\"trial-*\" = 0.5\n";
    let weights = resolve(text, &Flags::default(), &[]).expect("nothing is wrong").weights;
    let expected = [("acme", 4.0), ("trial-*", 0.5)];
    assert_eq!(
        weights,
        Some(expected.map(|(keys, of)| FairnessWeight::new(keys, of).expect("valid")).to_vec())
    );
    assert_eq!(
        problems("[fairness.weights]\nacme = 0\n\"a\\tb\" = 1\nb = \"2\"\n[fairness]\nweight = 1\n"),
        "wasm-runner.toml:2: `fairness.weights.acme` must be a number from 0.01 to 1000, found `0`\n\
         wasm-runner.toml:3: `fairness.weights`: a fairness key has one character at least, and no control \
         characters\n\
         wasm-runner.toml:4: `fairness.weights.b` must be a number from 0.01 to 1000, found the string `2`\n\
         wasm-runner.toml:6: unknown key `weight` in `[fairness]` (known: `weights`, `quotas`)\n  \
         hint: did you mean `weights`?\n"
    );
}

#[test]
fn quotas_are_of_components_and_of_fairness_keys() {
    let quotas = |text: &str| resolve(text, &Flags::default(), &[]).expect("nothing is wrong").quotas;
    let components = "[component.a]\npath = \"a.wasm\"\n[component.\"b-*\"]\nprofile = \"p\"\n[profile.p]\n";
    assert_eq!(quotas(components), [], "the store keeps what it has");
    let bounds = "[profile.p.quota]\nunfinished = 5\nstored-bytes = \"1KiB\"\n[component.\"b-*\".quota]\nunfinished = 7\n";
    let of_components = QuotaSection {
        holder: HolderKind::Component,
        quotas: vec![
            (Glob::new("a"), Quota::default()),
            (Glob::new("b-*"), Quota { unfinished: Some(7), stored_bytes: Some(1024), submits: None }),
        ],
    };
    assert_eq!(quotas(&format!("{components}{bounds}")), [of_components]);
    let submits = Some(Rate { limit: 600, window: Duration::from_secs(60) });
    let of_keys = QuotaSection {
        holder: HolderKind::Key,
        quotas: vec![(Glob::new("trial-*"), Quota { submits, ..Quota::default() })],
    };
    assert_eq!(quotas("[fairness.quotas.\"trial-*\"]\nsubmits = \"600/1m\"\n"), [of_keys]);
    let none = QuotaSection { holder: HolderKind::Key, quotas: Vec::new() };
    assert_eq!(quotas("[fairness.quotas]\n"), [none], "there are none from now on");
}
