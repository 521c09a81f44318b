//! Flags of the commands for whoever writes tasks.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::language::Language;

/// Flags of `tasks`.
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

/// Flags of `new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner new rust hello
  run-wasm-runner new python word-count

Exit codes: 2 if NAME can't be a name or exists.")]
pub struct NewArgs {
    /// Language
    #[arg(value_name = "LANGUAGE")]
    pub language: Language,

    /// Name of the project, its directory and its component: words joined by `-`
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Flags of `build`.
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
    #[arg(long, value_name = "LANGUAGE")]
    pub language: Option<Language>,
}
