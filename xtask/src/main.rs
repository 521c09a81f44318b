//! The tasks of a developer of the runner besides `cargo build`: builds the guests,
//! runs the tests and checks, shows the demo.

mod adversary;
mod checks;
mod compare;
mod componentize;
mod demo;
mod fairness;
mod fixtures;
mod fuzz;
mod guests;
mod languages;
mod platform;
mod plugins;
mod process;
mod site;
mod suite;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  guests                         build guest-tasks/ into target/guests/NAME.wasm
  torture-guest                  the same, and put the component that the program contains beside its source
  test [FILTER]…                 build the guests, run the tests, count them; without a filter also fuzz for a minute
  test --quick                   only the unit tests, the store contract, the runner and the command line's texts
  test --profile [--quick|FILTER…]
                                 run them and print the time of each module and of the slowest tests
  componentize                   build sdk/componentize, which the program contains, and put it into sdk/
  languages                      test `new` and `build` in every language, and write the table of their costs
  fuzz [--seconds N] [--seed N] [TARGET]
                                 run the fuzz targets in tests/fuzz (default: for 60 seconds in all)
  fuzz TARGET FILE…              run a fuzz target on these inputs only
  adversary [--minutes N] [--seed N] [--rounds N] [--memory SIZE] [--cgroup SIZE]
                                 run generated guests beside a neighbour, and watch the runner (default: a minute)
  compare BEFORE [--rounds N] [--postgres URL]
                                 time an earlier program and a release build of this one in turn, on each store
  plugins [--components N] [--invocations N] [--memory SIZE] [--store URL] [--templates]
                                 push a thousand components, and call, replace and remove them while two runners run
  fairness [--flood N] [--seconds N] [--store URL]
                                 measure what a flood of one fairness key costs the others, and how weights share
  fixtures                       write databases of the current schemas into tests/fixtures, before you add a migration
  ci                             format, clippy, docs, the demo, then all tests; as root, the quick ones as `nobody`, too
  demo [--profile dev|release]   build everything and show what the runner does
                                 (default: release)
";

fn main() -> ExitCode {
    match fuzz::wrapped().unwrap_or_else(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    match (command.as_str(), rest) {
        ("guests", []) => guests::build().map(|()| ExitCode::SUCCESS),
        ("torture-guest", []) => guests::put_torture_guest().map(|()| ExitCode::SUCCESS),
        ("test", filters) => checks::test(filters),
        ("componentize", []) => componentize::put().map(|()| ExitCode::SUCCESS),
        ("languages", []) => languages::measure().map(|()| ExitCode::SUCCESS),
        ("fixtures", []) => fixtures::write().map(|()| ExitCode::SUCCESS),
        ("fuzz", arguments) => fuzz::command(arguments),
        ("adversary", arguments) => adversary::command(arguments),
        ("compare", arguments) => compare::command(arguments),
        ("fairness", arguments) => fairness::command(arguments),
        ("plugins", arguments) => plugins::command(arguments),
        ("ci", []) => checks::ci(),
        ("demo", []) => demo::run(demo::Profile::Release),
        ("demo", [flag, profile]) if flag == "--profile" => demo::run(profile.parse()?),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        (
            command
            @ ("guests" | "componentize" | "languages" | "torture-guest" | "fixtures" | "ci" | "demo"),
            rest,
        ) => {
            bail!("`{command}` does not take `{}`\n\n{USAGE}", rest.join(" "))
        }
        (unknown, _) => bail!("unknown command `{unknown}`\n\n{USAGE}"),
    }
}
