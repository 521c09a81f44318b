//! `cancel`, `retry`, `prune`, `pause` and `resume`: commands that change many invocations.

use std::time::Duration;

use clap::Args;

use crate::config::parse_age;
use crate::model::{InvocationId, Status, size};
use crate::service::{
    CancelOutcome, CancelRequest, Copied, PauseDocument, PauseRequest, PruneRequest, Retried, RetryPlan,
    RetryRequest, SelectedDocument,
};

use super::choice::{Chosen, EndArgs};
use super::context::Context;
use super::error::CliError;
use super::flags::{ComponentFlag, component_pattern, count, final_status, unfinished_status};
use super::output::{self, Output};
use super::render::plural;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner cancel 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner cancel --status queued --task fib
  run-wasm-runner cancel --task fib --limit 10
  run-wasm-runner cancel --task fib --until 1h --dry-run
  run-wasm-runner cancel --queue bulk --label customer=acme --since 1h

Exit codes: 0 if all are final now, cancelled or not; 2 if one is unknown (the others are cancelled).")]
pub struct CancelArgs {
    /// All with one of these statuses instead; repeatable [default with another filter: all that are not final]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = unfinished_status)]
    pub statuses: Vec<Status>,

    #[command(flatten)]
    pub chosen: Chosen,

    /// Cancel nothing: print the ids that the filters select, and how many there are
    #[arg(long, conflicts_with = "ids")]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner retry 01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  run-wasm-runner retry --status failed
  run-wasm-runner retry --task fib --limit 100 --json
  run-wasm-runner retry --component math --since 24h
  run-wasm-runner retry --kind timed-out --ended-since 8h --not-retried --dry-run

Exit codes: 2 if one is unknown or not final (then none is submitted).")]
pub struct RetryArgs {
    /// All with one of these final statuses instead; repeatable [default with another filter: failed]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = final_status)]
    pub statuses: Vec<Status>,

    #[command(flatten)]
    pub chosen: Chosen,

    #[command(flatten)]
    pub ends: EndArgs,

    /// Run also those IDs again that succeeded
    #[arg(long)]
    pub even_succeeded: bool,

    /// Leave out those that were retried before: otherwise the ids of their copies are printed as well
    #[arg(long)]
    pub not_retried: bool,

    /// Submit nothing: print the ids of those that would be submitted again, and how many there are
    #[arg(long, conflicts_with = "ids")]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner prune
  run-wasm-runner prune --status succeeded --older-than 7d
  run-wasm-runner prune --status failed,cancelled --keep 1000
  run-wasm-runner prune --older-than 30d --keep 100 --dry-run
  run-wasm-runner prune --component customer-7 --older-than 0s")]
pub struct PruneArgs {
    /// Only those with one of these final statuses; repeatable [default: all of them]
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',', value_parser = final_status)]
    pub statuses: Vec<Status>,

    /// Remove what ended longer ago than this, whatever is configured: `12h`, `30d`
    #[arg(long, value_name = "DURATION", value_parser = parse_age)]
    pub older_than: Option<Duration>,

    /// Keep this many of each status, the latest to end, whatever is configured
    ///
    /// With --older-than they are kept however old they are; without it all others are removed.
    #[arg(long, value_name = "N", value_parser = count)]
    pub keep: Option<usize>,

    /// Only those of components whose names fit this pattern; repeatable [`NAME=PATH` adds a component, as everywhere]
    // It stands in the place of the global one, which has the same id.
    #[arg(id = "components", long = "component", value_name = "GLOB", value_parser = component_pattern)]
    pub components: Vec<ComponentFlag>,

    /// Remove nothing: only say how many would be removed, by status
    #[arg(long)]
    pub dry_run: bool,

    /// Then write the store's file anew, without what is free in it [SQLite; while no runner works]
    ///
    /// It takes as much space again as the file will have, and nobody can write meanwhile. From then on every prune
    /// gives space back to the disk.
    #[arg(long, conflicts_with = "dry_run")]
    pub vacuum: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner pause --queue bulk
  run-wasm-runner resume --queue bulk --task acme:text/count.words")]
pub struct PauseArgs {
    /// Every task of this queue; repeatable
    #[arg(long = "queue", value_name = "NAME", required_unless_present = "tasks")]
    pub queues: Vec<String>,

    /// This task; repeatable
    #[arg(long = "task", value_name = "TASK")]
    pub tasks: Vec<String>,
}

/// Says that filters select nothing.
pub const NOTHING: &str = "no invocation is selected by these filters";

/// Prints the invocations that a command would change, and their number. `unchanged` goes on with those that were
/// selected as well, if there are any.
fn tell_selected(
    verb: &str,
    ids: &[InvocationId],
    unchanged: &str,
    mut output: Output,
) -> Result<(), CliError> {
    for id in ids {
        output.document(&SelectedDocument { id: *id }, || id.to_string())?;
    }
    output.flush()?;
    output::note(&match ids.len() {
        0 if unchanged.is_empty() => NOTHING.to_owned(),
        count => format!("would {verb} {}{unchanged}", plural(count, "invocation")),
    });
    Ok(())
}

/// Runs `cancel`. A usage error if an id is unknown, after the others are cancelled.
pub fn cancel(args: &CancelArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let selection = args.chosen.selection(&args.statuses, &EndArgs::default(), context)?;
    if args.dry_run {
        let ids = context.loading(|service| service.would_cancel(selection))?;
        return tell_selected("cancel", &ids, "", output);
    }
    let request = CancelRequest { selection, message: "cancelled from the command line".to_owned() };
    let mut first_unknown = None;
    let (mut count, mut found) = (0, false);
    for chunk in context.loading(|service| service.cancel(request))? {
        for document in chunk? {
            found = true;
            // The children of those that were cancelled count as well.
            count += usize::from(document.status == Some(Status::Cancelled));
            if context.json {
                output.json(&document)?;
            }
            match (document.outcome, document.status) {
                (CancelOutcome::Unknown, _) => _ = first_unknown.get_or_insert(document.id),
                (outcome, Some(status)) if !context.json => {
                    let already = if outcome == CancelOutcome::AlreadyFinal { "already " } else { "" };
                    output.line(&format!("{} {already}{status}", document.id))?;
                }
                _ => {}
            }
        }
        // The durable part is printed before anything else can fail.
        output.flush()?;
    }
    if args.chosen.ids.is_empty() {
        output::note(&match found {
            true => format!("cancelled {}", plural(count, "invocation")),
            false => NOTHING.to_owned(),
        });
        return Ok(());
    }
    first_unknown.map_or(Ok(()), |id| Err(context.service.unknown(id).into()))
}

/// Says how many of the selected invocations have a copy.
fn retried_before(count: usize) -> String {
    let verb = if count == 1 { "was" } else { "were" };
    format!("{} {verb} retried before", plural(count, "invocation"))
}

/// Runs `retry`. A usage error if an id is unknown or not to be retried: nothing is submitted
/// then.
pub fn retry(args: &RetryArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let selection = args.chosen.selection(&args.statuses, &args.ends, context)?;
    if args.dry_run {
        let RetryPlan { ids, before, refused } =
            context.loading(|service| service.would_retry(selection, args.not_retried))?;
        let refused = (refused > 0).then(|| {
            format!(", and would refuse {} of components that were removed", plural(refused, "invocation"))
        });
        let before = (before > 0).then(|| format!("; {}", retried_before(before)));
        let unchanged: Vec<_> = refused.into_iter().chain(before).collect();
        return tell_selected("retry", &ids, &unchanged.concat(), output);
    }
    let (even_succeeded, only_new) = (args.even_succeeded, args.not_retried);
    let request = RetryRequest { selection, even_succeeded, only_new };
    let (mut count, mut found) = (0, false);
    let mut before = Vec::new();
    for chunk in context.loading(|service| service.retry(request))? {
        for retried in chunk? {
            found = true;
            let document = match retried {
                Retried::Gone(id) => {
                    output::note(&format!("`{id}` is gone from the store"));
                    continue;
                }
                Retried::Copied(document) => document,
            };
            let (id, original) = (document.id, document.retry_of);
            match document.copied {
                Copied::Now => count += 1,
                Copied::Before => before.push((original, id)),
                Copied::Same => output::note(&format!(
                    "`{original}` need not run again: `{id}` is unfinished and the same"
                )),
            }
            output.document(&document, || id.to_string())?;
        }
        output.flush()?;
    }
    match *before {
        [] => {}
        [(original, id)] => output::note(&format!("`{original}` was retried before, as `{id}`")),
        _ => output::note(&format!(
            "{}: the ids of their copies are printed as well, and `--json` has both",
            retried_before(before.len())
        )),
    }
    if args.chosen.ids.is_empty() {
        output::note(&match found {
            true => format!("submitted {} again", plural(count, "invocation")),
            false => NOTHING.to_owned(),
        });
    }
    Ok(())
}

/// So many free bytes in the store's file are worth telling of.
const WORTH_TELLING: u64 = 1 << 20;

/// Runs `prune`. A usage error if nothing says what is old.
pub fn prune(args: &PruneArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let patterns = args.components.iter().filter(|flag| flag.path.is_none());
    let document = context.service.prune(&PruneRequest {
        statuses: args.statuses.clone(),
        older_than: args.older_than,
        keep: args.keep,
        components: patterns.map(|flag| flag.name.clone()).collect(),
        only_counts: args.dry_run,
        vacuums: args.vacuum,
    })?;
    output.document(&document, || match document.would_remove {
        Some(count) => {
            let by_status = document.would_remove_by_status.iter().flatten();
            let parts: Vec<_> = by_status.map(|(status, count)| format!("{count} {status}")).collect();
            let of = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
            format!("would remove {}{of}", plural(count, "invocation"))
        }
        None => format!("removed {}", plural(document.removed, "invocation")),
    })?;
    output.flush()?;
    if document.removed > 0 && document.free_bytes >= WORTH_TELLING {
        let free = size(document.free_bytes);
        output::note(&format!("{free} of the store's file are free for new invocations, and stay in it"));
        output::hint(
            "`prune --vacuum`, while no runner works, gives them back to the disk, and lets every prune do so from then on",
        );
    }
    if args.vacuum && !context.json {
        output::note(&format!("the store's file is smaller by {}", size(document.freed_bytes)));
    }
    Ok(())
}

/// Runs `pause` and `resume`.
pub fn pause(args: &PauseArgs, paused: bool, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let request = PauseRequest { queues: args.queues.clone(), tasks: args.tasks.clone(), paused };
    for document in context.loading(|service| service.pause(&request))? {
        let (name, was_paused) = match &document {
            PauseDocument::Queue { queue, was_paused, .. } => (format!("queue {queue}"), *was_paused),
            PauseDocument::Task { task, was_paused, .. } => (format!("task {task}"), *was_paused),
        };
        let end = match (paused, was_paused) {
            (true, false) => "paused",
            (true, true) => "was paused already",
            (false, true) => "resumed",
            (false, false) => "was not paused",
        };
        output.document(&document, || format!("{name} {end}"))?;
    }
    output.flush()
}
