//! Hot deployment: a runner learns of components that are pushed, replaced and removed while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::model::{ComponentDigest, Interrupt, NoGuest, PushAnswer, RunnerId};
use crate::runner::{NewRules, Observation, Observer, Runner};
use crate::store::{Batch, Changes, PushedComponent, TaskSet};
use crate::wasm::{ComponentSource, Library, LoadError};

use super::answers::Answers;
use super::executor::Live;
use super::patience::Access;
use super::versions::Told;
use super::{Service, ServiceError};

/// The least time from one look at the store to the next, however often it changes.
const BEAT: Duration = Duration::from_millis(200);

/// The time after which a look that failed is repeated.
const AGAIN: Duration = Duration::from_secs(1);

/// Longer than anybody waits: something always tells of changes.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps the library of one runner up to date.
pub(super) struct Deployment {
    service: Service,
    store: Access,
    live: Arc<Live>,
    /// The queues that the runner is for; all if there are none.
    queues: Vec<String>,
    /// The version of the components in the store that the library has.
    version: Option<i64>,
    /// The components that were left out last, or kept their earlier versions: each is told once.
    told: BTreeMap<String, Told>,
    /// The components that can't be compiled, with the reason, by the names of their files.
    refused: BTreeMap<String, LoadError>,
    /// The files that are compiled ahead of their take-over.
    ahead: BTreeSet<String>,
    /// The components that wait for that.
    unready: BTreeSet<Arc<str>>,
    /// The pushes that the runner has answered.
    answers: Answers,
    /// Thrown when the runner is gone: nobody waits for a compiler any more.
    interrupt: Arc<Interrupt>,
}

/// Tells the deployment that something may have changed.
type Notify = Arc<dyn Fn() + Send + Sync>;

/// Told of the ends of attempts: a retired component may not be needed any more.
#[derive(Default)]
pub(super) struct Bell(Mutex<Option<Weak<dyn Fn() + Send + Sync>>>);

impl Bell {
    fn ring(&self) {
        if let Some(notify) = self.0.lock().as_ref().and_then(Weak::upgrade) {
            notify();
        }
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Bell")
    }
}

/// Rings when an attempt of a retired component ends.
pub(super) struct Ends {
    live: Arc<Live>,
    bell: Arc<Bell>,
}

impl fmt::Debug for Ends {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ends")
    }
}

impl Observer for Ends {
    fn observe(&self, observation: &Observation<'_>) {
        if let Observation::Ended { task, .. } = observation
            && self.live.library().is_retired(task)
        {
            self.bell.ring();
        }
    }
}

impl Deployment {
    /// Prepares to keep a library up to date.
    pub(super) fn new(service: Service, store: Access, live: Arc<Live>, queues: &[String]) -> Self {
        let library = live.library();
        let told = library.left_out().iter().map(|one| (one.component.clone(), Told::left_out(one)));
        Self {
            told: told.collect(),
            queues: queues.to_vec(),
            version: None,
            refused: BTreeMap::new(),
            ahead: BTreeSet::new(),
            unready: BTreeSet::new(),
            answers: Answers::default(),
            interrupt: Arc::default(),
            service,
            store,
            live,
        }
    }

    /// Makes the observer that the runner needs, and what it rings.
    pub(super) fn observer(&self) -> (Arc<Bell>, Arc<Ends>) {
        let bell = Arc::new(Bell::default());
        (Arc::clone(&bell), Arc::new(Ends { live: Arc::clone(&self.live), bell }))
    }

    /// Takes over what the store has. Returns the new rules, if anything has changed.
    pub(super) fn refresh(&mut self) -> Result<Option<NewRules>, ServiceError> {
        // Read first: what changes after that is found by the next look.
        let version = self.store.store().components_version()?;
        self.forget_retired()?;
        let is_same = self.version == Some(version);
        if is_same && self.unready.is_empty() && self.store.store().components_version()? == version {
            return Ok(None);
        }
        let (mut sources, errors) = self.service.sources_of_runner(&self.store, self.version.is_some())?;
        let mut told: BTreeMap<_, _> =
            errors.iter().map(|one| (one.component.clone(), Told::left_out(one))).collect();
        let old = self.live.library();
        if !is_same {
            self.refused.clear();
        }
        // At first nothing else runs that a compiler could keep waiting.
        if self.version.is_some() && old.keeps_code() {
            sources = self.only_ready(&old, sources, &mut told);
        }
        let new = loop {
            let new = old.updated(&sources, &self.interrupt).map_err(ServiceError::Load)?;
            if self.interrupt.is_thrown() {
                return Ok(None);
            }
            // The components that were linked to one that is put back may be there again, too.
            if !put_back(&old, &mut sources, new.left_out(), &mut told) {
                break Arc::new(new);
            }
        };
        told.extend(new.left_out().iter().map(|one| (one.component.clone(), Told::left_out(one))));
        for (component, Told { sentence, .. }) in &told {
            if self.told.get(component).is_none_or(|before| before.sentence != *sentence) {
                tracing::warn!("{sentence}");
            }
        }
        self.told = told;
        self.version = Some(version);
        self.service.replace_library(&new);
        let rules = self.live.replace(Arc::clone(&new));
        log_changes(&old, &new);
        Ok(Some(rules))
    }

    /// Leaves out the components that have to be compiled first, and has that done. The bytes that they replace stay
    /// meanwhile, and for good if they can't be compiled.
    fn only_ready(
        &mut self,
        old: &Arc<Library>,
        sources: Vec<ComponentSource>,
        told: &mut BTreeMap<String, Told>,
    ) -> Vec<ComponentSource> {
        self.unready.clear();
        let mut ready = Vec::with_capacity(sources.len());
        for source in sources {
            let file = source.path.display().to_string();
            if let Some(error) = self.refused.get(&file) {
                leave_out(old, &source, error, &mut ready, told);
                continue;
            }
            if old.has_code(&source) {
                self.ahead.remove(&file);
                ready.push(source);
                continue;
            }
            match self.live.compiling().take_failure(|| (Arc::clone(&source.name), file.clone())) {
                Some(NoGuest::Failed(failure)) => {
                    let (component, path) = (source.name.to_string(), file.clone());
                    let error = LoadError { component, path, message: failure.message };
                    leave_out(old, &source, &error, &mut ready, told);
                    self.ahead.remove(&file);
                    self.refused.insert(file, error);
                    continue;
                }
                Some(NoGuest::Short(_) | NoGuest::Unready) | None => {}
            }
            let compiling = self.live.compiling();
            if !compiling.is_making(&source.name) && self.ahead.remove(&file) {
                // It was compiled, and could not be kept: whoever loads it compiles it again.
                ready.push(source);
                continue;
            }
            self.unready.insert(Arc::clone(&source.name));
            if !source.is_retired {
                ready.extend(old.source(&source.name).cloned());
            }
            let (name, library) = (Arc::clone(&source.name), Arc::clone(old));
            let make = move |interrupt: &Interrupt| {
                library.compile(&source, interrupt).map_err(|error| NoGuest::trapped(error.message))
            };
            match compiling.begin(&name, file.clone(), false, make) {
                Ok(true) => drop(self.ahead.insert(file)),
                Ok(false) => {}
                Err(shortage) => {
                    tracing::warn!("component `{name}` is compiled later: this host is short of {shortage}");
                }
            }
        }
        ready
    }

    /// Answers the pushes that the library is made of, for runners that are waited for by those who push.
    fn answer(&mut self, runner: RunnerId) -> Result<(), ServiceError> {
        let Some(version) = self.version else { return Ok(()) };
        if self.answers.are_given(runner, version) {
            return Ok(());
        }
        let store = self.store.store();
        let pushed = store.components()?;
        // A push after the last look is answered after the next one.
        if store.components_version()? != version {
            return Ok(());
        }
        let library = self.live.library();
        let has: BTreeMap<_, _> = library.components().collect();
        let served = self.service.served_from_store(&pushed);
        let answer = |one: &PushedComponent| match has.get(&one.name) {
            Some(digest) if *digest == one.digest => PushAnswer::Taken,
            _ if !served.contains(&one.name) => PushAnswer::NotServed,
            _ if self.unready.contains(&one.name) => PushAnswer::Preparing,
            has => PushAnswer::Refused(match (self.told.get(&*one.name), has) {
                (Some(told), _) => told.reason.clone(),
                (None, Some(digest)) => format!("its configuration asks for the version {digest}"),
                (None, None) => "it was left out".to_owned(),
            }),
        };
        self.answers.give(&**store, (runner, version), &pushed, answer)
    }

    /// Has the store forget removed components of which nothing is unfinished any more.
    fn forget_retired(&self) -> Result<(), ServiceError> {
        let library = self.live.library();
        let mut retired = library.retired().peekable();
        if retired.peek().is_none() {
            return Ok(());
        }
        let unfinished = self.store.store().unfinished_by_task()?;
        let is_needed = |task: &Arc<str>| unfinished.iter().any(|(other, count)| other == task && *count > 0);
        if !retired.all(is_needed) {
            self.store.store().commit(&Batch { forgets_removed: true, ..Batch::default() })?;
        }
        Ok(())
    }

    /// The tasks that the runner is to claim.
    fn tasks(&self) -> Result<Arc<TaskSet>, ServiceError> {
        let library = self.live.library();
        Ok(self.service.tasks_of(&library, &self.queues)?.unwrap_or_else(|| library.task_set()))
    }

    /// Keeps the runner's library up to date until the returned guard is dropped.
    pub(super) fn start(mut self, runner: &Runner, bell: Arc<Bell>) -> Result<Deploying, ServiceError> {
        let (replace, runner_id) = (runner.handle().task_replacer(), runner.handle().id_reader());
        let interrupt = Arc::clone(&self.interrupt);
        let (give_up, given_up) = bounded::<()>(0);
        let store = Arc::clone(self.store.store());
        let neighbours = Arc::clone(&self.store.neighbours);
        let compiling = Arc::clone(self.live.compiling());
        let begin = Box::new(move |notify: Notify| {
            let weak = Arc::downgrade(&notify);
            let compiled = weak.clone();
            compiling.tell(Arc::new(move || drop(compiled.upgrade().inspect(|notify| notify()))));
            *bell.0.lock() = Some(weak.clone());
            neighbours.runners.add(move || weak.upgrade().inspect(|notify| notify()).is_some());
            store.watch(notify)
        });
        let mut changes = Changes::new(begin)?;
        let work = move || {
            let (mut pause, mut looked_at) = (Duration::ZERO, Instant::now());
            loop {
                let _ = given_up.recv_timeout(pause.saturating_sub(looked_at.elapsed()));
                looked_at = Instant::now();
                match self.refresh() {
                    Ok(None) => pause = BEAT,
                    Ok(Some(rules)) => {
                        pause = BEAT;
                        match self.tasks().map(|tasks| replace(tasks, rules)) {
                            Ok(true) => {}
                            // The runner is gone.
                            Ok(false) => return,
                            Err(error) => tracing::warn!("components were not taken over: {error}"),
                        }
                    }
                    Err(error) => {
                        tracing::warn!(
                            "components that were pushed or removed can't be taken over now: {error}"
                        );
                        pause = AGAIN;
                    }
                }
                if let Some(runner) = runner_id()
                    && let Err(error) = self.answer(runner)
                {
                    tracing::warn!(
                        "the store does not learn now that pushed components were taken over: {error}"
                    );
                    pause = AGAIN;
                }
                if is_over(&given_up) {
                    return;
                }
                let cold = self.live.library().let_go_of_cold_code().unwrap_or(FOR_EVER);
                // A thread may have been missing for what is unready.
                let at_most = if pause == AGAIN || !self.unready.is_empty() { AGAIN } else { cold };
                if let Err(error) = changes.wait_unless(at_most, &given_up) {
                    tracing::warn!("the store does not tell of pushed components: {error}");
                    let _ = given_up.recv_timeout(AGAIN);
                }
                if is_over(&given_up) {
                    // Its last invocation may have been finished just now.
                    let _ = self.forget_retired();
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("deploy".to_owned()).spawn(work);
        let thread =
            thread.map_err(|error| ServiceError::System(format!("no thread for deployments: {error}")))?;
        Ok(Deploying { give_up: Some(give_up), interrupt, thread: Some(thread) })
    }
}

fn is_over(given_up: &Receiver<()>) -> bool {
    matches!(given_up.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
}

/// Leaves out a component that can't be compiled: the version that the library has stays.
fn leave_out(
    old: &Library,
    source: &ComponentSource,
    error: &LoadError,
    ready: &mut Vec<ComponentSource>,
    told: &mut BTreeMap<String, Told>,
) {
    let known = old.source(&source.name).filter(|_| !source.is_retired);
    let one = known.map_or_else(|| Told::left_out(error), |known| Told::stays(error, source, known));
    told.insert(error.component.clone(), one);
    ready.extend(known.cloned());
}

/// Puts back the versions that a library has of components whose newer ones can't be linked. Whether there are any.
fn put_back(
    old: &Library,
    sources: &mut Vec<ComponentSource>,
    errors: &[LoadError],
    told: &mut BTreeMap<String, Told>,
) -> bool {
    let mut again = Vec::new();
    for source in sources.iter_mut().filter(|source| !source.is_retired) {
        let Some(error) = errors.iter().find(|error| *error.component == *source.name) else { continue };
        let Some(known) = old.source(&source.name).filter(|known| known.path != source.path) else {
            continue;
        };
        told.insert(error.component.clone(), Told::stays(error, source, known));
        *source = known.clone();
        again.push((Arc::clone(&source.name), source.path.clone()));
    }
    // It may be there already, to finish what was submitted for it.
    let is_again =
        |one: &ComponentSource| again.iter().any(|(name, path)| *name == one.name && *path == one.path);
    sources.retain(|source| !(source.is_retired && is_again(source)));
    !again.is_empty()
}

/// Says which components have come, changed and gone.
fn log_changes(old: &Library, new: &Library) {
    let of = |library: &Library| -> BTreeMap<Arc<str>, ComponentDigest> {
        library.components().map(|(name, digest)| (Arc::clone(name), digest)).collect()
    };
    let (before, after) = (of(old), of(new));
    for (component, digest) in &after {
        match before.get(component) {
            None => tracing::info!(%component, %digest, "a component was added"),
            Some(known) if known != digest => tracing::info!(%component, %digest, "a component was replaced"),
            Some(_) => {}
        }
    }
    for (component, _) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        tracing::info!(%component, "a component was removed");
    }
}

/// The thread that keeps a library up to date. Ends, and is waited for, when dropped.
pub(super) struct Deploying {
    give_up: Option<Sender<()>>,
    interrupt: Arc<Interrupt>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Deploying {
    fn drop(&mut self) {
        drop(self.give_up.take());
        self.interrupt.throw();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the deploy thread panicked");
        }
    }
}
