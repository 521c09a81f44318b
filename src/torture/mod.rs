//! Runners killed at random, and the check that nothing is lost.
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
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use crate::model::{Clock, Status};
use crate::runner::Runner;
use crate::store::{Batch, Cancel, Filter, Store, StoreError};
use crate::wasm::Task;
use book::Book;
use chaos::{Chaos, Done, Ended, Ordeal};
use evidence::Evidence;
use inside::{Inside, Told};
use load::{Load, Reader};
use random::Random;
use runners::{Record, Runners};
use witness::{Line, Tail};

pub use kind::Kind;
pub use report::Report;
pub use site::{Setting, Site};

/// The component names, and so the task ids, of all runs begin with this.
pub const PREFIX: &str = "torture-";

/// The part of the working directory that is this process's own.
pub const OWN: &str = "torture";

/// The time that is left for everything to come to its end when the chaos is over.
const PATIENCE: Duration = Duration::from_secs(120);

/// Starts a runner in this process.
pub type StartRunner<'a> = dyn Fn() -> io::Result<Runner> + 'a;

/// The store, its tasks and its runners.
pub struct Means<'a> {
    pub store: Arc<dyn Store>,
    /// The store's URL for other processes, with its password.
    pub url: String,
    /// The task of each kind.
    pub tasks: HashMap<Kind, Task>,
    /// The clock that the store has its times from.
    pub clock: &'a dyn Clock,
    /// The exit code of a runner that finds no store.
    pub no_store: i32,
    /// For a store that no other process sees: starts a runner in this one.
    pub start_inside: Option<&'a StartRunner<'a>>,
    /// Receives the user's interrupts: the first ends the chaos, the second everything.
    pub interrupted: &'a Receiver<()>,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// The operating system refused something.
    #[error("the operating system refused something that torture needs: {0}")]
    System(#[from] io::Error),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user interrupted it twice.
    #[error("interrupted before anything was checked: {0} submitted are not final")]
    Interrupted(usize),
}

/// The traces of a run, before anybody has looked at them.
pub struct Tortured {
    is_settled: bool,
    done: Done,
    book: Arc<Book>,
    lines: (Vec<Line>, Vec<String>),
    records: Vec<Record>,
}

/// Loads the store, kills and stops its runners for a while, and waits for the end of everything.
pub fn torture(setting: &Setting, site: &Site, means: &Means<'_>) -> Result<Tortured, TortureError> {
    let store = &means.store;
    let is_inside = means.start_inside.is_some();
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
        store: Arc::clone(store),
        tasks: means.tasks.clone(),
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
    let (is_settled, done, lines, records) = if let Some(start) = means.start_inside {
        let mut inside = Inside {
            start,
            store: Arc::clone(store),
            random,
            stop_every,
            interrupted: means.interrupted,
            told,
            done: Default::default(),
            records: Vec::new(),
        };
        let is_settled = unleash(setting, load, &mut inside)?;
        let mut tail = Tail::new(0, &site.directory().join(OWN).join("witness"));
        let lines = runners::sort_lines(tail.read()?);
        (is_settled, inside.done(), lines, inside.records)
    } else {
        let mut runners = Runners::new(site, means.clock, means.url.clone(), means.no_store)?;
        let mut chaos = Chaos::new(&mut runners, random, setting, means.interrupted);
        let is_settled = unleash(setting, load, &mut chaos)?;
        let done = chaos.done();
        (is_settled, done, runners.lines()?, runners.end())
    };
    Ok(Tortured { is_settled, done, book, lines, records })
}

impl Tortured {
    /// Checks the traces against the store.
    pub fn judge(self, setting: &Setting, site: &Site, store: &dyn Store) -> Result<Report, TortureError> {
        let lives = evidence::lives(store, Kind::ALL.map(|kind| (kind, site.task(kind))))?;
        let pages = self.book.close();
        let (lines, unreadable) = self.lines;
        let evidence = Evidence {
            lease: setting.lease,
            slots: setting.slots,
            submits: pages.submits,
            cancels: pages.cancels,
            seen: pages.seen,
            contradictions: pages.contradictions,
            lives,
            lines,
            unreadable,
            runners: self.records,
        };
        Ok(Report::new(setting, store.url(), &self.done, &evidence, self.is_settled, pages.store_errors))
    }
}

/// Submits, kills and lets it all come to its end; returns whether it did.
fn unleash(setting: &Setting, load: Load, ordeal: &mut dyn Ordeal) -> Result<bool, TortureError> {
    let (store, book) = (Arc::clone(&load.store), Arc::clone(&load.book));
    let reader = Reader { store, book: Arc::clone(&book) };
    let settled = std::thread::scope(|scope| {
        // Dropped, also when this unwinds, they end the threads.
        let (stop_load, load_stops) = bounded::<()>(0);
        let (stop_reader, reader_stops) = bounded::<()>(0);
        spawn(scope, "load", move || load.run(&load_stops))?;
        let reader = &reader;
        spawn(scope, "reader", move || reader.run(&reader_stops))?;
        ordeal.run(setting.duration)?;
        drop(stop_load);
        let settled = ordeal.settle(PATIENCE + 10 * setting.lease);
        drop(stop_reader);
        Ok::<_, TortureError>(settled?)
    });
    match settled? {
        (Ended::Interrupted, _) => Err(TortureError::Interrupted(book.with(|pages| pages.pending.len()))),
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
) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, run).map(drop)
}

/// Cancels what earlier runs left unfinished, because they were killed
/// themselves. Returns how many.
pub fn clean(store: &dyn Store) -> Result<usize, StoreError> {
    const AT_ONCE: usize = 1_000;
    let tasks = store.unfinished_by_task()?.into_iter().map(|(task, _)| task);
    let filter = Filter {
        statuses: Status::unfinished().collect(),
        tasks: Some(tasks.filter(|task| task.starts_with(PREFIX)).collect()),
        ..Filter::default()
    };
    let left = store.ids(&filter)?;
    for ids in left.chunks(AT_ONCE) {
        let message = "left over from an earlier run of torture".to_owned();
        let cancels = ids.iter().map(|id| Cancel { id: *id, by: None, message: message.clone() }).collect();
        store.commit(&Batch { cancels, ..Batch::default() })?;
    }
    Ok(left.len())
}
