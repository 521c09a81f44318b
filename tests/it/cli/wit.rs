//! `wit` and `wit deps`.

use std::fs;
use std::path::Path;

use crate::guests::setup::Setup;
use crate::support::guests::guest;

const ADD: &str = "\
interface add {
    record vector {
        x: f64,
        y: f64,
    }

    add: func(a: u32, b: u32) -> result<u32, string>;

    add-all: func(numbers: list<u32>) -> result<u32, string>;

    add-vectors: func(a: vector, b: vector) -> vector;
}
";

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_wit_of_a_component_or_of_a_task_is_printed() {
    let setup = Setup::new(&["adder", "echo", "fib"]);
    let add = format!("package demo:calc@0.1.0;\n\n{ADD}");
    assert_eq!(setup.run(["wit", "adder"]).expect(0).stdout(), add);
    assert_eq!(setup.run(["wit", "add-all"]).expect(0).stdout(), add);
    let fib = setup.run(["wit", "fib", "--json"]).expect(0).json_lines();
    let imports: Vec<_> = fib.iter().map(|one| &one["import"]).collect();
    assert_eq!(imports, ["demo:math/fib-parallel@0.1.0", "demo:math/fibonacci@0.1.0"]);
    assert_eq!(fib[1]["wit"], "interface fibonacci {\n    fib: func(n: u32) -> u64;\n}\n");
    let all = setup.run(["wit"]).expect(0);
    says(all.stdout(), &["package demo:calc@0.1.0 {\n    interface add {", "\n\npackage demo:types@0.1.0 {"]);

    let unknown = setup.run(["wit", "nobody"]).expect(2);
    says(&unknown.stderr, &["unknown task `nobody`", "hint: give the name of a component"]);
    // A function at the root is in no interface.
    says(&setup.run(["wit", "hello"]).expect(2).stderr, &["`hello` can't be imported", "hint: tasks at"]);
    says(&setup.run(["wit", "--component", "x=nowhere.wasm", "x"]).expect(78).stderr, &["nowhere.wasm"]);
}

#[test]
fn wit_is_written_where_tools_look_for_it() {
    let setup = Setup::new(&["adder", "fib"]);
    let written = setup.run(["wit", "--output", "wit/deps"]).expect(0);
    let files = ["demo-calc/add.wit", "demo-math/fib-parallel.wit", "demo-math/fibonacci.wit"];
    assert_eq!(written.stdout(), files.map(|file| format!("wit/deps/{file}\n")).concat());
    let add = read(&setup.path().join("wit/deps/demo-calc/add.wit"));
    let mark = "// Written by `run-wasm-runner wit` from the component `adder`.\n\n";
    assert_eq!(add, format!("{mark}package demo:calc@0.1.0;\n\n{ADD}"));
}

#[test]
fn a_project_gets_what_it_imports() {
    let setup = Setup::new(&["adder", "fib"]);
    // What the project itself makes is not there yet.
    setup.configure(&["adder", "fib"], "[component.mine]\npath = \"mine.wasm\"\n");
    let world = "package local:mine;\ninterface own {}\nworld mine {\n\
        import own; import demo:calc/add@0.1.0; import demo:math/fibonacci; import wasi:cli/stdout@0.2.0;\n\
        import wasm-runner:task/log@0.1.0;\n}\n";
    setup.sandbox.write("mine/wit/world.wit", world);
    let fetch = || setup.run(["wit", "deps", "mine"]).expect(0).stdout().to_owned();
    let files = "mine/wit/deps/demo-calc/add.wit\nmine/wit/deps/demo-math/fibonacci.wit\n";
    assert_eq!(fetch(), files);
    let path = |file: &str| setup.path().join("mine/wit/deps").join(file);
    // Under the version that was asked for.
    says(&read(&path("demo-math/fibonacci.wit")), &["\npackage demo:math;\n"]);
    assert!(path("wasm-runner-task/task.wit").is_file());

    // Again, nothing changes; what is old is replaced, and what nobody imports any more goes.
    let time = |file: &str| fs::metadata(path(file)).and_then(|data| data.modified()).expect("a time");
    let before = time("demo-calc/add.wit");
    let old = read(&path("demo-math/fibonacci.wit"));
    fs::write(path("demo-math/fibonacci.wit"), old.replace("u64", "u32")).expect("written");
    fs::write(path("demo-math/gone.wit"), &old).expect("written");
    assert_eq!(fetch(), files);
    assert_eq!(time("demo-calc/add.wit"), before);
    assert_eq!(read(&path("demo-math/fibonacci.wit")), old);
    assert!(!path("demo-math/gone.wit").exists());

    // What somebody else put there stays.
    fs::remove_dir_all(path("demo-math")).expect("removed");
    let theirs = "package demo:math;\ninterface fibonacci { fib: func(n: u32) -> u64; }\n";
    setup.sandbox.write("mine/wit/deps/theirs.wit", theirs);
    let output = setup.run(["wit", "deps", "mine"]).expect(0);
    assert_eq!(output.stdout(), "mine/wit/deps/demo-calc/add.wit\n");
    says(&output.stderr, &["`demo:math/fibonacci` is in `mine/wit/deps/theirs.wit`", "it stays"]);
    assert!(!path("demo-math").exists());
}

/// The bytes of `adder` with another name of a function, so that it exports the same interface with other contents.
fn other_adder() -> Vec<u8> {
    let mut bytes = fs::read(guest("adder")).expect("the guest is there");
    let (old, new) = (b"add-vectors", b"sub-vectors");
    let mut places = (0..bytes.len() - old.len()).collect::<Vec<_>>();
    places.retain(|at| bytes[*at..].starts_with(old));
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

#[test]
fn a_push_changes_nothing_of_the_wit_of_a_configured_component() {
    let setup = Setup::with(&["adder"], "[component.\"customer-*\"]\n");
    setup.sandbox.write("eve.wasm", other_adder());
    setup.run(["component", "push", "customer-eve", "eve.wasm"]).expect(0);
    let output = setup.run(["wit", "--output", "out"]).expect(0);
    assert_eq!(output.stdout(), "out/demo-calc/add.wit\n");
    says(&output.stderr, &["`demo:calc/add@0.1.0` of `customer-eve` is left out"]);
    says(&read(&setup.path().join("out/demo-calc/add.wit")), &["add-vectors"]);
    setup
        .sandbox
        .write("mine/wit/world.wit", "package local:mine;\nworld mine { import demo:calc/add@0.1.0; }\n");
    setup.run(["wit", "deps", "mine"]).expect(0);
    says(&read(&setup.path().join("mine/wit/deps/demo-calc/add.wit")), &["add-vectors"]);
    // It is there for those who ask for it.
    let asked = setup.run(["wit", "customer-eve", "--output", "other"]).expect(0);
    assert!(asked.stderr.is_empty(), "{asked:?}");
    says(&read(&setup.path().join("other/demo-calc/add.wit")), &["sub-vectors"]);
    // Of two that were pushed nobody knows which is meant.
    setup.run(["component", "push", "customer-anna", &guest("adder").display().to_string()]).expect(0);
    setup.configure(&[], "[component.\"customer-*\"]\n");
    let refused = setup.run(["wit", "--output", "third"]).expect(78);
    says(
        &refused.stderr,
        &["`third/demo-calc/add.wit` would be of two components", "`customer-anna`", "`customer-eve`"],
    );
    assert!(!setup.path().join("third").exists());
}

#[test]
fn a_provider_that_is_missing_or_not_the_only_one_is_told() {
    let setup = Setup::new(&["adder"]);
    setup.sandbox.write("wit/world.wit", "package a:b;\nworld c { import demo:math/fibonacci; }\n");
    let missing = setup.run(["wit", "deps"]).expect(78);
    says(
        &missing.stderr,
        &["no component exports `demo:math/fibonacci` (exported are `demo:calc/add@0.1.0`)"],
    );
    let unread = setup.run(["wit", "deps", "--component", "fib=fib.wasm"]).expect(78);
    says(&unread.stderr, &["no component exports `demo:math/fibonacci`", "these can't be read", "fib.wasm"]);

    setup.sandbox.write("wit/world.wit", "package a:b;\nworld c { import demo:calc/add@0.2.0; }\n");
    let other = setup.run(["wit", "deps"]).expect(78);
    says(&other.stderr, &["other versions do not fit: `demo:calc/add@0.1.0` of `adder`"]);

    setup.sandbox.write("wit/world.wit", "package a:b;\nworld c { use demo:calc/add@0.1.0.{vector}; }\n");
    let bytes = std::fs::read(guest("adder")).expect("the adder can be read");
    let (from, to) = (b"add-vectors", b"add-victors");
    let mut other = bytes.clone();
    let places = (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from));
    places.for_each(|at| other[at..at + to.len()].copy_from_slice(to));
    setup.sandbox.write("other.wasm", other);
    let several = setup.run(["wit", "deps", "--component", "other=other.wasm"]).expect(78);
    says(&several.stderr, &["several components export `demo:calc/add@0.1.0`", "of `adder`", "of `other`"]);
    assert!(!setup.path().join("wit/deps").exists(), "nothing was written");
    // Of several that say the same any will do.
    let twice = format!("twice={}", guest("adder").display());
    setup.run(["wit", "deps", "--component", &twice]).expect(0);

    says(&setup.run(["wit", "deps", "nowhere"]).expect(2).stderr, &["there is no directory `nowhere/wit`"]);
}
