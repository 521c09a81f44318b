//! `torture`: kills runners at random and checks that nothing is lost.
//!
//! ```text
//!   load ──submits, cancels──► store ◄──claims, outcomes── runner processes
//!     │                          │                           ▲      │ guests
//!     └──► book ◄──first seen── reader      chaos ──signals──┘      ▼
//!            │                   │                              witness files
//!            └───────────────────┴──────► evidence ◄────────────────┘
//!                                            │
//!                                          check ──► report
//! ```
//!
//! `docs/design/torture.md` says what is checked and why that is what it is.

mod book;
mod chaos;
mod check;
mod evidence;
mod inside;
mod kind;
mod load;
mod random;
mod report;
mod runners;
mod site;
mod witness;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::bounded;

use crate::config::{Config, Flags, MAX_SLOTS, StoreUrl, Surroundings};
use crate::model::{Clock, SystemClock};
use crate::store::{Batch, Cancel, Filter, Store, StoreError};

use super::args::{Cli, TortureArgs};
use super::context::Context;
use super::error::CliError;
use super::output;
use super::progress::{self, Progress};
use super::signals::Registered;
use book::Book;
use chaos::{Chaos, Ended, Ordeal, Roughness};
use evidence::Evidence;
use inside::{Inside, Told};
use kind::Kind;
use load::{Load, Reader};
use random::Random;
use report::{Report, Setting};
use runners::Runners;
use site::{Settings, Site};
use witness::Tail;

/// The component names, and so the task ids, of all runs begin with this.
const PREFIX: &str = "torture-";

/// The part of the working directory that is this process's own.
const OWN: &str = "torture";

/// When the chaos is over, what is left gets this long to come to its end.
const PATIENCE: Duration = Duration::from_secs(120);

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
    let mut site = Site::create(component, settings).map_err(system)?;
    site.is_kept = args.keep;
    let tortured = torture(args, cli, &setting, &site);
    if matches!(tortured, Err(CliError::Violated { .. })) {
        site.is_kept = true;
    }
    if site.is_kept {
        output::note(&format!("the working directory is kept: `{}`", site.directory().display()));
    }
    tortured
}

fn torture(args: &TortureArgs, cli: &Cli, setting: &Setting, site: &Site) -> Result<(), CliError> {
    let context = context(cli, site)?;
    let is_inside = context.config.store.url == StoreUrl::Memory;
    let setting = &Setting { runners: if is_inside { 1 } else { setting.runners }, ..setting.clone() };
    let store = if is_inside { context.memory_store() } else { context.store()? };
    let library = context.library()?;
    let mut tasks = HashMap::new();
    for kind in Kind::ALL {
        tasks.insert(kind, context.task(&library, &site.task(kind))?.clone());
    }
    if args.clean {
        let count = clean(&*store)?;
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

    let book = Arc::new(Book::default());
    let random = Random::new(setting.seed, 1);
    let told = Told::default();
    // What is given back uses up no attempt and begins again at its old place, so that two
    // tasks that need much longer than a runner has would keep out all others.
    let stop_every = setting.kill_every * 4;
    let long_sleep = match u64::try_from(stop_every.as_millis()) {
        Ok(pause) if is_inside => pause / 2..=pause.saturating_mul(2),
        _ => 500..=2_500,
    };
    let load = Load {
        store: Arc::clone(&store),
        tasks,
        book: Arc::clone(&book),
        random: Random::new(setting.seed, 2),
        seed: setting.seed,
        most_pending: (setting.runners * setting.slots * 8).max(32),
        committed: {
            let told = Arc::clone(&told);
            Box::new(move || {
                if let Some(runner) = &*told.lock() {
                    runner.look_again();
                }
            })
        },
        has_poison: !is_inside,
        long_sleep,
    };
    let (is_settled, done, lines, records) = if is_inside {
        let mut inside = Inside {
            context: &context,
            store: Arc::clone(&store),
            library,
            random,
            stop_every,
            interrupted: &interrupted,
            told,
            done: Default::default(),
            records: Vec::new(),
        };
        let is_settled = unleash(setting, load, &mut inside)?;
        let mut tail = Tail::new(0, &site.directory().join(OWN).join("witness"));
        let lines = runners::sort_lines(tail.read().map_err(system)?);
        (is_settled, inside.done(), lines, inside.records)
    } else {
        let url = context.config.store.url.with_secrets();
        let mut runners = Runners::new(site, &*context.clock, url).map_err(system)?;
        let roughness =
            Roughness { runners: setting.runners, kill_every: setting.kill_every, lease: setting.lease };
        let mut chaos = Chaos::new(&mut runners, random, roughness, &interrupted);
        let is_settled = unleash(setting, load, &mut chaos)?;
        let done = chaos.done();
        (is_settled, done, runners.lines().map_err(system)?, runners.end())
    };
    drop(signals);
    let lives = evidence::lives(&*store, Kind::ALL.map(|kind| (kind, site.task(kind))))?;
    let pages = book.close();
    let store_errors = pages.store_errors.clone();
    let evidence = Evidence::new(setting.lease, setting.slots, pages, lives, lines, records);
    let report = Report::new(setting, store.url(), &done, &evidence, is_settled, store_errors);
    report.print(context.json)?;
    report.verdict()
}

/// Submits, kills and lets it all come to its end. Whether it did.
fn unleash(setting: &Setting, load: Load, ordeal: &mut dyn Ordeal) -> Result<bool, CliError> {
    let (store, book) = (Arc::clone(&load.store), Arc::clone(&load.book));
    let progress = {
        let store = Arc::clone(&store);
        Progress::start(move || Some(progress::facts(&store.counts(None).ok()?)))
    };
    let reader = Reader { store, book: Arc::clone(&book) };
    let settled = std::thread::scope(|scope| {
        // Dropped, also when this unwinds, they end the threads.
        let (stop_load, load_stops) = bounded::<()>(0);
        let (stop_reader, reader_stops) = bounded::<()>(0);
        spawn(scope, "load", move || load.run(&load_stops))?;
        let reader = &reader;
        spawn(scope, "reader", move || reader.run(&reader_stops))?;
        ordeal.run(setting.duration).map_err(system)?;
        drop(stop_load);
        let settled = ordeal.settle(PATIENCE + 10 * setting.lease).map_err(system);
        drop(stop_reader);
        settled
    });
    drop(progress);
    match settled? {
        (Ended::Interrupted, _) => {
            let left = book.with(|pages| pages.pending.len());
            let error = CliError::NotFinal {
                message: format!("interrupted before anything was checked: {left} submitted are not final"),
                hint: Some("`--clean` of a later run cancels them".to_owned()),
            };
            Err(error)
        }
        (Ended::Regularly, is_settled) => {
            // Whatever ended last.
            reader.look()?;
            Ok(is_settled)
        }
    }
}

fn spawn<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() + Send + 'scope,
) -> Result<(), CliError> {
    std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).map(|_| ()).map_err(system)
}

/// What the command works with. The user's configuration is left alone, except
/// for the store that the command line names.
fn context(cli: &Cli, site: &Site) -> Result<Context, CliError> {
    let own = site.place(OWN).map_err(system)?;
    let store = match &cli.global.store {
        Some(url) => url.clone(),
        None => StoreUrl::Sqlite(site.store()).to_string(),
    };
    let flags = Flags { config: Some(own.config), store: Some(store), ..Flags::default() };
    let around = Surroundings { variables: Vec::new(), ..Surroundings::of_process()? };
    let config = Config::resolve(&flags, &around)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    Ok(Context { config, clock, json: cli.global.json })
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

/// Cancels what earlier runs left unfinished, because they were killed
/// themselves. Returns how many.
fn clean(store: &dyn Store) -> Result<usize, StoreError> {
    const AT_ONCE: usize = 1_000;
    let mut count = 0;
    for (task, _) in store.unfinished_by_task()? {
        if !task.starts_with(PREFIX) {
            continue;
        }
        let filter = Filter { statuses: Vec::new(), task: Some(task), limit: usize::MAX };
        let left: Vec<_> =
            store.list(&filter)?.into_iter().filter(|invocation| !invocation.status.is_final()).collect();
        for chunk in left.chunks(AT_ONCE) {
            let message = "left over from an earlier run of torture".to_owned();
            let cancels = chunk.iter().map(|one| Cancel { id: one.id, message: message.clone() }).collect();
            store.commit(&Batch { cancels, ..Batch::default() })?;
            count += chunk.len();
        }
    }
    Ok(count)
}

/// Short enough to be typed.
fn any_seed() -> u64 {
    RandomState::new().hash_one(()) >> 32
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn system(error: io::Error) -> CliError {
    CliError::System(format!("the operating system refused something that torture needs: {error}"))
}
