//! `torture`: kills runners at random and checks that nothing is lost.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use crossbeam_channel::bounded;

use super::context::{Context, show_counts};
use super::error::CliError;
use super::exit_code;
use super::flags::count;
use super::harmless::harmless_line;
use super::output::{self, Output};
use super::render::{cell, duration, plural, thousands};
use super::signals::Registered;
use crate::config::{
    Config, ConfigError, Flags, MAX_SLOTS, Origin, Surroundings, check_lease, parse_flag_duration,
};
use crate::service::ServiceError;
use crate::store::StoreUrl;
use crate::torture::{self, Kind, Means, OWN, PREFIX, Report, Setting, Site, StartRunner, TortureError};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run-wasm-runner torture
  run-wasm-runner torture --duration 10m --runners 5 --json
  run-wasm-runner torture --store sqlite:.wasm-runner/state.db --seed 42 --keep

Exit codes: 1 if something did not hold; 75 if interrupted twice, before anything was checked.")]
pub struct TortureArgs {
    /// How long runners are killed; a bare number is seconds [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub duration: Option<Duration>,

    /// Runner processes at a time [default: 3]
    #[arg(long, value_name = "N", value_parser = count)]
    pub runners: Option<usize>,

    /// Guests that each may run at once [default: 2]
    #[arg(long, value_name = "N", value_parser = count)]
    pub slots: Option<usize>,

    /// Make the choices of an earlier run: what is submitted, who is killed and when [default: any]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// How long a claim outlives its runner's last sign of life, at least 1s [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub lease: Option<Duration>,

    /// The mean pause between two kills [default: 400ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_flag_duration)]
    pub kill_every: Option<Duration>,

    /// First cancel what interrupted runs of torture left in the store
    #[arg(long)]
    pub clean: bool,

    /// Keep the working directory: what runners said and guests wrote
    #[arg(long)]
    pub keep: bool,
}

/// Runs `torture`.
/// [`CliError::Violated`] if something did not hold; others if it could not be
/// found out.
pub fn run(args: &TortureArgs, flags: &Flags, json: bool) -> Result<(), CliError> {
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
    let mut site = Site::create(component, &setting).map_err(TortureError::System)?;
    site.is_kept = args.keep;
    let tortured = run_in(args, context(flags, json, &site)?, &setting, &site);
    if matches!(tortured, Err(CliError::Violated { .. })) {
        site.is_kept = true;
    }
    if site.is_kept {
        output::note(&format!("the working directory is kept: `{}`", site.directory().display()));
    }
    tortured
}

fn run_in(args: &TortureArgs, mut context: Context, setting: &Setting, site: &Site) -> Result<(), CliError> {
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
        let count = torture::clean(&*store).map_err(TortureError::Store)?;
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
        let started = context.service.start_runner(None, &[], []);
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
    let mut output = context.output();
    match context.json {
        true => output.json(&report)?,
        false => print_tables(&report, &mut output)?,
    }
    output.flush()?;
    let hint = "please report it with the seed, the table above and the working directory";
    match report.violation() {
        None => Ok(()),
        Some(message) => Err(CliError::Violated { message, hint: hint.to_owned() }),
    }
}

/// Makes the configuration that the command works with. The user's configuration is left alone, except
/// for the store that the command line names.
fn context(flags: &Flags, json: bool, site: &Site) -> Result<Context, CliError> {
    let own = site.place(OWN).map_err(TortureError::System)?;
    let store = match &flags.store {
        Some(url) => url.clone(),
        None => StoreUrl::Sqlite(site.store()).to_string(),
    };
    let flags = Flags { config: Some(own.config), store: Some(store), ..Flags::default() };
    let around = Surroundings { variables: Vec::new(), ..Surroundings::of_process()? };
    let config = Config::resolve(&flags, &around)?;
    Ok(Context::of(config, json))
}

fn refuse_nonsense(setting: &Setting) -> Result<(), CliError> {
    let Setting { slots, runners, lease, kill_every, .. } = setting;
    check_lease(*lease, Origin::Flag).map_err(ConfigError::from)?;
    let (message, hint) = if !(1..=MAX_SLOTS).contains(slots) {
        (format!("`--slots` can't be `{slots}`"), "from 1 to 1024")
    } else if !(1..=64).contains(runners) {
        (format!("`--runners` can't be `{runners}`"), "from 1 to 64: each is a process of its own")
    } else if *kill_every < Duration::from_millis(10) {
        let hint = "at least `10ms`: a runner has to start before it can be killed at work";
        (format!("`--kill-every` can't be `{kill_every:?}`"), hint)
    } else {
        return Ok(());
    };
    Err(CliError::usage(message).with_hint(hint))
}

fn print_tables(report: &Report, output: &mut Output) -> Result<(), CliError> {
    let (did, done) = (&report.did, &report.did.done);
    let number = |number: usize| thousands(number as u64);
    let seconds = |seconds: f64| duration(Duration::from_secs_f64(seconds));
    let (runners, slots) = (report.runners, plural(report.slots, "slot"));
    let (lease, time) = (seconds(report.lease_seconds), seconds(report.duration_seconds));
    let [started, killed, poisoned] =
        [done.runner_processes, done.kills, done.kills_for_poison].map(thousands);
    let [stopped, long, drained, given_back] =
        [done.long_stops + done.short_stops, done.long_stops, done.drains, done.given_back].map(thousands);
    let [submitted, unsure, cancelled] = [did.submitted, did.unsure, did.cancelled].map(number);
    let [all, succeeded, failed, lost, cancelled_too] =
        [did.invocations, did.succeeded, did.failed, did.lost, did.cancelled_in_the_end].map(number);
    let [attempts, ended, retried, released] =
        [did.attempts, did.attempts_lost, did.attempts_retried, did.attempts_released].map(number);
    let (lines, overlap) = (number(did.witness_lines), did.longest_overlap_ms);
    let rows = [
        ("seed", report.seed.to_string()),
        ("store", report.store.clone()),
        ("runners", format!("{runners} at a time with {slots} each and a lease of {lease}, for {time}")),
        (
            "chaos",
            format!(
                "{started} runners; {killed} killed ({poisoned} for poison), {stopped} stopped ({long} past their \
                 lease), {drained} told to finish, {given_back} to give back at once"
            ),
        ),
        ("load", format!("{submitted} submitted, {unsure} unsure, {cancelled} cancelled")),
        (
            "invocations",
            format!("{all}: {succeeded} succeeded, {failed} failed ({lost} lost), {cancelled_too} cancelled"),
        ),
        (
            "attempts",
            format!("{attempts}: {ended} ended by a dead runner, {retried} retried, {released} given back"),
        ),
        (
            "witness",
            format!("{lines} lines; a guest went on beside its successor for at most {overlap:.1} ms"),
        ),
    ];
    output.rows(&["DID", ""], rows.map(|(name, text)| vec![cell(name), cell(&text)]))?;
    output.line("")?;
    let rows = report.held.iter().map(|finding| {
        let counts = [finding.checked, finding.violated].map(|count| cell(&thousands(count)));
        [vec![cell(finding.check)], counts.to_vec(), vec![cell(finding.claim)]].concat()
    });
    output.rows(&["CHECK", "LOOKED AT", "VIOLATED", "WHAT MUST HOLD"], rows)?;
    for finding in &report.held {
        for violation in &finding.violations {
            output.line(&format!("{}: {}", finding.check, harmless_line(violation)))?;
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
            TortureError::Store(error) => ServiceError::Store(error).into(),
            TortureError::System(_) => Self::system(error.to_string()),
            TortureError::Interrupted(_) => Self::NotFinal {
                message: error.to_string(),
                hint: Some("`--clean` of a later run cancels them".to_owned()),
            },
        }
    }
}
