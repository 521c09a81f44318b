//! `start`: the runner loop until a signal.

use std::time::Duration;

use clap::Args;

use crate::config::parse_flag_duration;
use crate::model::Status;
use crate::runner::Gauge;
use crate::service::{QueueDocument, Queues, RunnerDocument, Service, ServiceError};

use super::context::{Context, show_counts};
use super::error::CliError;
use super::flags::count;
use super::logging::LogFormat;
use super::output;
use super::render::thousands;
use super::signals::Registered;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner start
  run-wasm-runner start --slots 4 --grace 1m
  run-wasm-runner start --queue default --queue bulk
  run-wasm-runner start --until-idle --json

Exit codes: 0 after a clean stop, whatever became of the invocations.")]
pub struct StartArgs {
    /// Guests that may run at once, each on a thread of its own [default: number of processors]
    #[arg(long, value_name = "N", value_parser = count)]
    pub slots: Option<usize>,

    /// Stop when nothing is left that this runner could run: it waits for what is due later, too
    #[arg(long)]
    pub until_idle: bool,

    /// Run only tasks of this queue; repeatable [default: all queues]
    #[arg(long = "queue", value_name = "NAME")]
    pub queues: Vec<String>,

    /// How log lines and notes on standard error are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log: LogFormat,

    /// How long guests may finish after the first signal; a bare number is seconds [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub grace: Option<Duration>,
}

/// Runs `start`. Failed invocations are no error.
pub fn run(args: &StartArgs, context: &Context) -> Result<(), CliError> {
    let mut output = context.output();
    let library = context.loading(Service::prepare_runner)?;
    let signals = Registered::new()?;
    let runner = context.service.start_runner(None, &args.queues, [])?;
    let (first, second, handle) = (runner.handle(), runner.handle(), runner.handle());
    // In force to the very end: also what waits for a reader of the output can be ended.
    let _stages = signals.act(
        move || {
            let gauge = first.gauge();
            output::note(&match gauge.live {
                0 => "stopping".to_owned(),
                live => format!("draining: {live} running, press Ctrl-C again to give them back"),
            });
            first.drain();
        },
        move || {
            output::note("killing what runs and giving it back");
            second.kill();
        },
    )?;
    tracing::info!(
        event = "started",
        runner = handle.id().map(tracing::field::display),
        store = context.service.store()?.url(),
        slots = context.config().slots,
        memory_budget_mib = context.config().runner.memory_budget >> 20,
        tasks = library.tasks().len(),
        "the runner has started"
    );
    let progress = show_counts(&context.service, None);
    if args.until_idle {
        runner.wait_idle();
    } else {
        runner.wait_stopping();
    }
    let gauge = runner.stop();
    drop(progress);

    let document = RunnerDocument::new(&gauge, context.config().slots);
    output::note_with(&summary(&gauge, context.config().slots), "summary", &document);
    if args.until_idle && handle.fault().is_none() {
        tell_what_is_left(context);
    }
    if context.json {
        output.json(&document)?;
    }
    output.flush()?;
    handle.fault().map_or(Ok(()), |fault| Err(ServiceError::from(fault).into()))
}

/// Says what a runner that stopped because it was idle has left in the store, and why.
fn tell_what_is_left(context: &Context) {
    // The runner has done its work: a store that is away now is no failure of it.
    let Ok(Queues { documents: queues, .. }) = context.service.queues(false) else { return };
    let sum = |count: fn(&QueueDocument) -> u64| queues.iter().map(count).sum::<u64>();
    let counts = [
        (sum(|queue| queue.delayed), "delayed"),
        (sum(|queue| if queue.paused { queue.queued - queue.delayed } else { 0 }), "paused"),
        (sum(|queue| if queue.paused { 0 } else { queue.blocked_by_rule }), "blocked by a rule"),
    ];
    let unfinished = sum(|queue| queue.unfinished);
    let others = unfinished.saturating_sub(counts.iter().map(|(count, _)| count).sum());
    let parts = counts.into_iter().chain([(others, "of other runners, or without one that could run them")]);
    let parts: Vec<_> = parts
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", thousands(count)))
        .collect();
    if !parts.is_empty() {
        output::note(&format!("left in the store: {} (`queues` lists them by task)", parts.join(", ")));
    }
}

fn summary(gauge: &Gauge, slots: usize) -> String {
    let mut text =
        format!("{} {}, {} {}", thousands(gauge.succeeded), Status::Succeeded, gauge.failed, Status::Failed);
    let others = [
        (gauge.cancelled, "cancelled"),
        (gauge.skipped, "skipped"),
        (gauge.retried, "retried"),
        (gauge.released, "given back"),
        (gauge.taken, "taken over by another runner"),
    ];
    for (count, what) in others {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text.push_str(&format!("; peak {} of {slots} slots", gauge.peak_running));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_what_was_done() {
        let gauge = Gauge { succeeded: 1040, failed: 1, peak_running: 2, ..Gauge::default() };
        assert_eq!(summary(&gauge, 2), "1,040 succeeded, 1 failed; peak 2 of 2 slots");
        let gauge = Gauge { retried: 2, released: 3, ..gauge };
        assert_eq!(
            summary(&gauge, 4),
            "1,040 succeeded, 1 failed, 2 retried, 3 given back; peak 2 of 4 slots"
        );
        let gauge = Gauge { cancelled: 4, skipped: 5, taken: 6, ..gauge };
        let others = "4 cancelled, 5 skipped, 2 retried, 3 given back, 6 taken over by another runner";
        assert!(summary(&gauge, 4).contains(others));
    }
}
