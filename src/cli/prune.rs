//! `prune`: final invocations that are old, removed.

use std::time::Instant;

use crate::model::Status;
use crate::store::{Batch, Keep, Prune};

use super::args::PruneArgs;
use super::context::Context;
use super::error::CliError;
use super::output::Output;
use super::render::plural;
use crate::service::patience::{CHUNK, give_way};

/// Runs the command.
///
/// # Errors
///
/// [`CliError`]; a usage error if nothing says what is old.
pub fn run(args: &PruneArgs, context: &Context) -> Result<(), CliError> {
    let mut output = Output::stdout();
    let keep = keep(args, &context.config.retention)?;
    let existing = context.existing_store()?;
    let mut removed = 0;
    let mut after = None;
    loop {
        let began = Instant::now();
        let prune = Prune { keep: keep.clone(), max: CHUNK, after };
        let receipt = existing.store.commit(&Batch { prune: Some(prune), ..Batch::default() })?;
        let Some(pruned) = receipt.pruned else { break };
        removed += pruned.removed;
        after = pruned.next;
        if after.is_none() {
            break;
        }
        give_way(began);
    }
    if context.json {
        output.json(&serde_json::json!({ "removed": removed }))?;
    } else {
        output.line(&format!("removed {}", plural(removed, "invocation")))?;
    }
    output.flush()
}

/// What is to be kept: as the flags say, or as it is configured.
fn keep(args: &PruneArgs, configured: &[Keep]) -> Result<Vec<Keep>, CliError> {
    let is_meant = |status: Status| args.statuses.is_empty() || args.statuses.contains(&status);
    if args.older_than.is_some() || args.keep.is_some() {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_final() && is_meant(*status));
        let count = args.keep.map(|count| count as u64);
        return Ok(statuses.map(|status| Keep { status, age: args.older_than, count }).collect());
    }
    let keep: Vec<_> = configured.iter().filter(|keep| is_meant(keep.status)).copied().collect();
    if !keep.is_empty() {
        return Ok(keep);
    }
    let message = match configured.is_empty() {
        true => "nothing says what is old: there is no `[retention]` in the configuration",
        false => "nothing says what is old: `[retention]` keeps everything with that status",
    };
    Err(CliError::usage(message).with_hint("give `--older-than DURATION` or `--keep N`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn args(statuses: &[Status], older_than: Option<u64>, keep: Option<usize>) -> PruneArgs {
        PruneArgs { statuses: statuses.to_vec(), older_than: older_than.map(Duration::from_secs), keep }
    }

    #[test]
    fn flags_win_over_the_configuration() {
        let day = Some(Duration::from_secs(86_400));
        let failed = Keep { status: Status::Failed, age: day, count: None };
        let skipped = Keep { status: Status::Skipped, age: day, count: Some(7) };
        let configured = [failed, skipped];
        assert_eq!(keep(&args(&[], None, None), &configured).unwrap(), configured);
        assert_eq!(keep(&args(&[Status::Skipped], None, None), &configured).unwrap(), [skipped]);
        assert!(keep(&args(&[Status::Succeeded], None, None), &configured).is_err());
        assert!(keep(&args(&[], None, None), &[]).is_err());
        let all = keep(&args(&[], None, Some(3)), &configured).unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|keep| keep.status.is_final() && (keep.age, keep.count) == (None, Some(3))));
        let one = keep(&args(&[Status::Failed], Some(5), None), &configured).unwrap();
        assert_eq!(one, [Keep { status: Status::Failed, age: Some(Duration::from_secs(5)), count: None }]);
    }
}
