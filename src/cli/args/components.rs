//! Flags of the commands about components.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// The commands of `component`.
#[derive(Debug, Subcommand)]
pub enum ComponentCommand {
    /// Put configured components into the store
    ///
    /// Prints name and digest of each. The last that is pushed under a name is what
    /// runners get; earlier ones are kept for invocations that are pinned to them.
    #[command(after_help = "\
Examples:
  run-wasm-runner component push wordcount
  run-wasm-runner --component fib=fib.wasm component push fib")]
    Push {
        /// Their names in the configuration
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// List the components in the store, of each name the newest first
    List,
    /// Show which rights and tasks an upgrade adds, removes and changes
    ///
    /// Of tasks it compares the types. `+` is only in NEW, `-` only in OLD, `~` in both
    /// and different. What a component asks for is not what it gets: `inspect NAME`
    /// shows that.
    Diff(ComponentDiffArgs),
    /// Fetch configured components from their registries
    ///
    /// Prints name and digest of each. What was fetched is kept in the cache
    /// directory and never asked for again: other commands need no network then.
    #[command(after_help = "\
Examples:
  run-wasm-runner component pull
  WASM_RUNNER_REGISTRY_AUTH=ghcr.io=me:$TOKEN run-wasm-runner component pull math

Credentials: WASM_RUNNER_REGISTRY_AUTH (HOST=USER:PASSWORD), or docker's config.json.")]
    Pull {
        /// Their names in the configuration [default: all that come from a registry]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner lock
  run-wasm-runner lock --update wordcount

Exit codes: 78 if a component changed and is not updated; then nothing is written.")]
pub struct LockArgs {
    /// Take what this component is now; repeatable
    #[arg(long, value_name = "NAME")]
    pub update: Vec<String>,

    /// Take what every component is now
    #[arg(long, conflicts_with = "update")]
    pub update_all: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner component diff wordcount build/wordcount.wasm
  run-wasm-runner component diff --deny-new-rights old.wasm new.wasm

Exit codes: 1 with --deny-new-rights if NEW asks for more than OLD.")]
pub struct ComponentDiffArgs {
    /// Component file, or the name of a configured component
    #[arg(value_hint = ValueHint::FilePath)]
    pub old: PathBuf,

    /// Component file, or the name of a configured component
    #[arg(value_hint = ValueHint::FilePath)]
    pub new: PathBuf,

    /// Fail if NEW asks for a right that OLD does not ask for
    #[arg(long)]
    pub deny_new_rights: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner inspect math.wasm
  run-wasm-runner inspect wordcount
  run-wasm-runner inspect wordcount --json | jq '.rights[] | select(.extent == \"denied\")'
  run-wasm-runner inspect math.wasm --json | jq .imports")]
pub struct InspectArgs {
    /// Component file, or the name of a configured component
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}
