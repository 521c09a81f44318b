//! `torture`: kills runners at random and checks that nothing is lost.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::bounded;

use super::args::{Cli, TortureArgs};
use super::context::{Context, show_counts};
use super::error::CliError;
use super::exit_code;
use super::output::{self, Output};
use super::render::{Columns, cell, duration, plural, thousands};
use super::signals::Registered;
use crate::config::{Config, Flags, MAX_SLOTS, StoreUrl, Surroundings};
use crate::torture::{
    self, Kind, Means, OWN, PREFIX, Report, Setting, Settings, Site, StartRunner, TortureError,
};

/// The shortest lease that a runner accepts.
const MIN_LEASE: Duration = Duration::from_secs(1);

/// Runs the command.
///
/// # Errors
///
/// [`CliError::Violated`] if something did not hold; others if it could not be
/// found out.
pub fn run(args: &TortureArgs, cli: &Cli) -> Result<(), CliError> {
    let setting = Setting {
        seed: args.seed.unwrap_or_else(any_seed),
        duration: args.duration.unwrap_or(Duration::from_secs(30)),
        runners: args.runners.unwrap_or(3),
        slots: args.slots.unwrap_or(2),
        lease: args.lease.unwrap_or(Duration::from_secs(2)),
        kill_every: args.kill_every.unwrap_or(Duration::from_millis(400)),
    };
    refuse_nonsense(&setting)?;
    // First of all: whatever happens, it can be done again.
    output::note(&format!("seed {} (`--seed {}` makes the same choices again)", setting.seed, setting.seed));
    let component = format!("{PREFIX}{:x}-{:x}", setting.seed, seconds_now());
    let settings = Settings { slots: setting.slots, lease: setting.lease };
    let mut site = Site::create(component, settings).map_err(TortureError::System)?;
    site.is_kept = args.keep;
    let tortured = run_in(args, cli, &setting, &site);
    if matches!(tortured, Err(CliError::Violated { .. })) {
        site.is_kept = true;
    }
    if site.is_kept {
        output::note(&format!("the working directory is kept: `{}`", site.directory().display()));
    }
    tortured
}

fn run_in(args: &TortureArgs, cli: &Cli, setting: &Setting, site: &Site) -> Result<(), CliError> {
    let mut context = context(cli, site)?;
    let is_inside = context.config().store.url == StoreUrl::Memory;
    if is_inside {
        context.service = context.service.in_memory();
    }
    let setting = &Setting { runners: if is_inside { 1 } else { setting.runners }, ..setting.clone() };
    let store = context.service.store()?;
    let mut tasks = HashMap::new();
    for kind in Kind::ALL {
        tasks.insert(kind, context.loading(|service| service.task(&site.task(kind)))?);
    }
    if args.clean {
        let count = torture::clean(&*store)?;
        output::note(&format!("{count} left over from earlier runs cancelled"));
    }
    let interrupts = Registered::new()?;
    let (interrupt, interrupted) = bounded(2);
    let again = interrupt.clone();
    let signals = interrupts.act(
        move || {
            output::note(
                "the chaos ends early; what is left is finished and checked (Ctrl-C again: neither)",
            );
            let _ = interrupt.try_send(());
        },
        move || {
            let _ = again.try_send(());
        },
    )?;
    let start: &StartRunner<'_> = &|| {
        let started = context.service.start_runner(None, &[]);
        started.map_err(|error| io::Error::other(error.to_string()))
    };
    let means = Means {
        store: Arc::clone(&store),
        url: context.config().store.url.with_secrets(),
        no_store: i32::from(exit_code::STORE),
        tasks,
        clock: &**context.service.clock(),
        start_inside: is_inside.then_some(start),
        interrupted: &interrupted,
    };
    let progress = show_counts(&context.service, None);
    let tortured = torture::torture(setting, site, &means);
    drop(progress);
    drop(signals);
    let report = tortured?.judge(setting, site, &*store)?;
    if report.did.store_errors > 0 {
        let times = plural(usize::try_from(report.did.store_errors).unwrap_or(usize::MAX), "time");
        let message = format!("torture itself could not use the store {times}: {}", report.last_store_error);
        output::warn(&message, None);
    }
    print(&report, context.json)?;
    let hint = "please report it with the seed, the table above and the working directory";
    match report.violation() {
        None => Ok(()),
        Some(message) => Err(CliError::Violated { message, hint: hint.to_owned() }),
    }
}

/// Makes the configuration that the command works with. The user's configuration is left alone, except
/// for the store that the command line names.
fn context(cli: &Cli, site: &Site) -> Result<Context, CliError> {
    let own = site.place(OWN).map_err(TortureError::System)?;
    let store = match &cli.global.store {
        Some(url) => url.clone(),
        None => StoreUrl::Sqlite(site.store()).to_string(),
    };
    let flags = Flags { config: Some(own.config), store: Some(store), ..Flags::default() };
    let around = Surroundings { variables: Vec::new(), ..Surroundings::of_process()? };
    let config = Config::resolve(&flags, &around)?;
    Ok(Context::of(config, cli))
}

fn refuse_nonsense(setting: &Setting) -> Result<(), CliError> {
    let usage = |message: String, hint: &str| Err(CliError::usage(message).with_hint(hint));
    if setting.lease < MIN_LEASE {
        return usage(
            format!("a lease of `{:?}` is too short", setting.lease),
            "heartbeats come several times within it: make it at least `1s`",
        );
    }
    if !(1..=MAX_SLOTS).contains(&setting.slots) {
        return usage(format!("`--slots` can't be `{}`", setting.slots), "from 1 to 1024");
    }
    if !(1..=64).contains(&setting.runners) {
        return usage(
            format!("`--runners` can't be `{}`", setting.runners),
            "from 1 to 64: each is a process of its own",
        );
    }
    if setting.kill_every < Duration::from_millis(10) {
        return usage(
            format!("`--kill-every` can't be `{:?}`", setting.kill_every),
            "at least `10ms`: a runner has to start before it can be killed at work",
        );
    }
    Ok(())
}

/// Prints a report.
fn print(report: &Report, as_json: bool) -> Result<(), CliError> {
    let mut output = Output::stdout();
    if as_json {
        output.json(report)?;
    } else {
        print_tables(report, &mut output)?;
    }
    output.flush()
}

fn print_tables(report: &Report, output: &mut Output) -> Result<(), CliError> {
    let colours = output.has_colours();
    let did = &report.did;
    let number = |number: usize| thousands(number as u64);
    let mut columns = Columns::new(&["DID", ""], colours);
    let mut row = |name: &str, text: String| columns.row(vec![cell(name), cell(&text)]);
    row("seed", report.seed.to_string());
    row("store", report.store.clone());
    row(
        "runners",
        format!(
            "{} at a time with {} each and a lease of {}, for {}",
            report.runners,
            plural(report.slots, "slot"),
            duration(Duration::from_secs_f64(report.lease_seconds)),
            duration(Duration::from_secs_f64(report.duration_seconds))
        ),
    );
    row(
        "chaos",
        format!(
            "{} runners; {} killed ({} for poison), {} stopped ({} past their lease), {} told to finish, {} to \
             give back at once",
            thousands(did.runner_processes),
            thousands(did.kills),
            thousands(did.kills_for_poison),
            thousands(did.long_stops + did.short_stops),
            thousands(did.long_stops),
            thousands(did.drains),
            thousands(did.given_back)
        ),
    );
    row(
        "load",
        format!(
            "{} submitted, {} unsure, {} cancelled",
            number(did.submitted),
            number(did.unsure),
            number(did.cancelled)
        ),
    );
    row(
        "invocations",
        format!(
            "{}: {} succeeded, {} failed ({} lost), {} cancelled",
            number(did.invocations),
            number(did.succeeded),
            number(did.failed),
            number(did.lost),
            number(did.cancelled_in_the_end)
        ),
    );
    row(
        "attempts",
        format!(
            "{}: {} ended by a dead runner, {} retried, {} given back",
            number(did.attempts),
            number(did.attempts_lost),
            number(did.attempts_retried),
            number(did.attempts_released)
        ),
    );
    row(
        "witness",
        format!(
            "{} lines; a guest went on beside its successor for at most {:.1} ms",
            number(did.witness_lines),
            did.longest_overlap_ms
        ),
    );
    output.line(&columns.lines())?;
    output.line("")?;
    let mut columns = Columns::new(&["CHECK", "LOOKED AT", "VIOLATED", "WHAT MUST HOLD"], colours);
    for finding in &report.held {
        columns.row(vec![
            cell(finding.check),
            cell(&thousands(finding.checked)),
            cell(&thousands(finding.violated)),
            cell(finding.claim),
        ]);
    }
    output.line(&columns.lines())?;
    for finding in &report.held {
        for violation in &finding.violations {
            output.line(&format!("{}: {}", finding.check, output::harmless_line(violation)))?;
        }
    }
    Ok(())
}

/// Short enough to be typed.
fn any_seed() -> u64 {
    RandomState::new().hash_one(()) >> 32
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl From<TortureError> for CliError {
    fn from(error: TortureError) -> Self {
        match error {
            TortureError::Store(error) => Self::Store(error),
            TortureError::System(_) => Self::System(error.to_string()),
            TortureError::Interrupted(_) => Self::NotFinal {
                message: error.to_string(),
                hint: Some("`--clean` of a later run cancels them".to_owned()),
            },
        }
    }
}
