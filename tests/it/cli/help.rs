//! Help, completions and manual pages.

use crate::support::cli::Sandbox;

const COMMANDS: [&str; 28] = [
    "call",
    "submit",
    "start",
    "result",
    "status",
    "list",
    "tree",
    "history",
    "logs",
    "cancel",
    "retry",
    "prune",
    "pause",
    "resume",
    "queues",
    "quotas",
    "usage",
    "component",
    "lock",
    "tasks",
    "wit",
    "new",
    "build",
    "inspect",
    "check",
    "torture",
    "completions",
    "man",
];

#[test]
fn help_of_the_program_is_as_reviewed() {
    insta::assert_snapshot!(Sandbox::new().run(["--help"]).expect(0).stdout());
}

#[test]
fn help_of_every_command_is_as_reviewed() {
    let sandbox = Sandbox::new();
    for command in COMMANDS {
        let output = sandbox.run([command, "--help"]).expect(0);
        insta::assert_snapshot!(format!("help_{command}"), output.stdout());
    }
}

#[test]
fn help_of_component_push_is_as_reviewed() {
    let output = Sandbox::new().run(["component", "push", "--help"]).expect(0);
    insta::assert_snapshot!(output.stdout());
}

#[test]
fn help_of_component_remove_is_as_reviewed() {
    let output = Sandbox::new().run(["component", "remove", "--help"]).expect(0);
    insta::assert_snapshot!(output.stdout());
}

#[test]
fn help_of_component_diff_is_as_reviewed() {
    let output = Sandbox::new().run(["component", "diff", "--help"]).expect(0);
    insta::assert_snapshot!(output.stdout());
}

#[test]
fn help_of_wit_deps_is_as_reviewed() {
    let output = Sandbox::new().run(["wit", "deps", "--help"]).expect(0);
    insta::assert_snapshot!(output.stdout());
}

#[test]
fn help_of_component_pull_is_as_reviewed() {
    let output = Sandbox::new().run(["component", "pull", "--help"]).expect(0);
    insta::assert_snapshot!(output.stdout());
}

#[test]
fn every_command_has_a_reviewed_help() {
    let help = Sandbox::new().run(["--help"]).expect(0);
    let commands = help.stdout().split_once("Commands:\n").expect("commands are listed").1;
    let names = commands.lines().take_while(|line| !line.is_empty());
    let names = names.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..names.len() - 1], COMMANDS, "and `help` last");
}

#[test]
fn without_a_command_there_is_help() {
    let output = Sandbox::new().run::<&str>([]).expect(2);
    assert!(output.stdout.is_empty() && output.stderr.contains("Usage: run-wasm-runner"), "{output:?}");
}

#[test]
fn the_version_is_printed() {
    let output = Sandbox::new().run(["--version"]).expect(0);
    assert_eq!(output.stdout(), format!("run-wasm-runner {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn shells_get_completions() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = sandbox.run(["completions", shell]).expect(0);
        assert!(output.stdout().contains("until-idle"), "{shell}");
    }
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let sandbox = Sandbox::new();
    assert!(sandbox.run(["man"]).expect(0).stdout().contains(".TH run-wasm-runner 1"));
    for command in COMMANDS {
        let page = sandbox.run(["man", command]).expect(0);
        assert!(page.stdout().contains(&format!(".TH run-wasm-runner-{command} 1")), "{}", page.everything());
    }
    sandbox.run(["man", "dance"]).expect(2);
}

#[test]
fn help_works_with_a_broken_configuration() {
    let sandbox = Sandbox::new();
    sandbox.write("wasm-runner.toml", "[[[");
    sandbox.run(["completions", "bash"]).expect(0);
    sandbox.run(["man"]).expect(0);
    sandbox.run(["tasks"]).expect(78);
}
