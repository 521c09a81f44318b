//! Flags of the commands for whoever writes tasks.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use crate::authoring::Language;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner tasks
  run-wasm-runner tasks fib --schema | jq .arguments
  run-wasm-runner --component math=math.wasm tasks --json | jq -r .task")]
pub struct TasksArgs {
    /// Only these tasks [default: all]
    #[arg(value_name = "TASK")]
    pub tasks: Vec<String>,

    /// Print JSON Schemas of the arguments, of the value and of the error that may be returned
    ///
    /// One document a line: `task`, `component`, `arguments`, `result` and `returned`, each of the
    /// last three a schema of its own (2020-12) or, for `returned`, null. They describe what this
    /// program writes; it reads names in snake_case too.
    #[arg(long)]
    pub schema: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner new rust hello
  run-wasm-runner new python word-count --no-wit

Exit codes: 2 if NAME can't be a name or exists.")]
pub struct NewArgs {
    /// Language
    pub language: &'static Language,

    /// Name of the project, its directory and its component: words joined by `-`
    pub name: String,

    /// Take the types of the tasks from the code: no WIT is to be written
    ///
    /// For `python`, `typescript` and `rust`. The build makes the WIT; the tasks are the same as with it.
    #[arg(long)]
    pub no_wit: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner build
  run-wasm-runner build hello --json | jq -r .path

Exit codes: 78 if a tool is missing or fails, or the component can't be used.")]
pub struct BuildArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,

    /// Language, where its files do not say it
    #[arg(long)]
    pub language: Option<&'static Language>,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  run-wasm-runner wit math
  run-wasm-runner wit acme:math/ops.add --output wit/deps
  run-wasm-runner wit deps parent

Exit codes: 2 if a name is unknown or has nothing that can be imported."
)]
pub struct WitArgs {
    /// Components, or tasks: of those the interface [default: all components]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Write files below this directory, for example `wit/deps`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Option<WitCommand>,
}

/// The commands of `wit`.
#[derive(Debug, Subcommand)]
pub enum WitCommand {
    /// Fetch what a project imports from the components that export it
    ///
    /// Looks for imports of other packages in DIR/wit, and writes each interface to
    /// `DIR/wit/deps/NAMESPACE-PACKAGE`. Components that can't be read are no error unless
    /// one of them is needed: what DIR itself makes need not be there yet. What somebody
    /// else put into `wit/deps` stays.
    Deps(WitDepsArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner wit deps parent
  run-wasm-runner --component child=../child/build/child.wasm wit deps

Exit codes: 78 if an import has no provider, or several.")]
pub struct WitDepsArgs {
    /// The project's directory
    #[arg(value_name = "DIR", default_value = ".", value_hint = ValueHint::DirPath)]
    pub directory: PathBuf,
}
