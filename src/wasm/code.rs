//! The compiled code of components. Code that nobody has used for a while is let go of, and loaded again when it is
//! wanted: a runner may have thousands of components, of which few are called.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wasmtime::Engine;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::cache::Cache;
use super::compile::CompileError;
use super::host::HostState;
use crate::model::{ComponentDigest, Interrupt, MemoryBudget, Shortage};

/// Code that was not used for so long is let go of.
const IDLE: Duration = Duration::from_secs(5 * 60);

/// All code is let go of no more often than this: each shortage may be told many times.
const LET_GO_EVERY: Duration = Duration::from_secs(1);

/// A source of components by digest.
pub trait Shelf: Send + Sync {
    /// Fetches the bytes with a digest; `None` if nobody has them.
    ///
    /// # Errors
    ///
    /// The reason why they can't be fetched now.
    fn fetch(&self, digest: ComponentDigest) -> Result<Option<Vec<u8>>, String>;
}

/// The means to load code again: the cache of compiled code, or else the bytes.
pub(super) struct Reload {
    pub(super) cache: Cache,
    /// The source of bytes.
    pub(super) shelf: OnceLock<Box<dyn Shelf>>,
    /// All code that can be loaded again.
    codes: Mutex<Vec<Weak<Code>>>,
    /// The most bytes of it that stay in memory.
    most: u64,
    /// When all of it was let go of last.
    let_go_at: Mutex<Option<Instant>>,
}

impl Reload {
    pub(super) fn new(cache: Cache, most: u64) -> Self {
        Self { cache, shelf: OnceLock::new(), codes: Mutex::default(), most, let_go_at: Mutex::default() }
    }

    /// Finds the code that is in memory, the longest unused first: when it was used last, and its bytes.
    fn warm(&self) -> Vec<(Instant, u64, Arc<Code>)> {
        let mut codes = self.codes.lock();
        codes.retain(|code| code.strong_count() > 0);
        let mut warm: Vec<_> = codes
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|code| {
                let (used, bytes) = code.state.lock().warmth()?;
                Some((used, bytes, code))
            })
            .collect();
        drop(codes);
        warm.sort_unstable_by_key(|(used, ..)| *used);
        warm
    }

    /// Lets go of all code that can be loaded again: it has memory, and a descriptor for each memory with data, and
    /// the host is short of something. What guests run stays until they end. Does nothing if it did so just now.
    pub(super) fn let_go_of_all(&self) {
        {
            let (mut last, now) = (self.let_go_at.lock(), Instant::now());
            if last.is_some_and(|last| now.duration_since(last) < LET_GO_EVERY) {
                return;
            }
            *last = Some(now);
        }
        self.warm().into_iter().for_each(|(.., code)| code.let_go());
    }

    /// Lets go of code that is cold, and of what was used longest ago if it is too much together. Returns the time
    /// after which the next will be cold.
    pub(super) fn let_go(&self) -> Option<Duration> {
        let now = Instant::now();
        let warm = self.warm();
        let mut total: u64 = warm.iter().map(|(_, bytes, _)| bytes).sum();
        for (used, bytes, code) in warm {
            let age = now.saturating_duration_since(used);
            if age < IDLE && total <= self.most {
                return Some(IDLE - age);
            }
            code.let_go();
            total -= bytes;
        }
        None
    }

    fn load(&self, code: &Code, interrupt: &Interrupt) -> Result<Component, CompileError> {
        if let Some(component) = self.cache.find(&code.engine, &code.digest)? {
            return Ok(component);
        }
        let fetched = self.shelf.get().map_or(Ok(None), |shelf| shelf.fetch(code.digest));
        // A store that is away comes back.
        let fetched = fetched.map_err(|error| CompileError::Short(Shortage(error)))?;
        let Some(bytes) = fetched.filter(|bytes| ComponentDigest::of(bytes) == code.digest) else {
            return Err(CompileError::Failed("its bytes are not in the store any more".to_owned()));
        };
        self.cache.load(&code.engine, code.fuel, &code.digest, &bytes, interrupt)
    }
}

/// The code of a component, in memory or not.
pub(super) struct Code {
    pub(super) engine: Engine,
    digest: ComponentDigest,
    /// Whether its engine counts fuel.
    fuel: bool,
    state: Mutex<State>,
    /// Set if it may be let go of.
    reload: OnceLock<Arc<Reload>>,
}

/// Code that is in memory. Guests keep it, also if it is let go of.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) bytes: u64,
    in_use: Mutex<Weak<InUse>>,
}

/// The use of code by guests: it is on their budget once, until the last of them drops this.
#[derive(Debug)]
pub(super) struct InUse {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl Image {
    fn of(component: &Component) -> Self {
        let range = component.image_range();
        let bytes = (range.end.addr() - range.start.addr()) as u64;
        Self { bytes, in_use: Mutex::default() }
    }

    /// Counts it on a budget for one more guest. It is there already: nobody waits for room.
    pub(super) fn use_on(&self, budget: &Arc<MemoryBudget>) -> Arc<InUse> {
        let mut in_use = self.in_use.lock();
        in_use.upgrade().unwrap_or_else(|| {
            budget.overdraw(self.bytes);
            let new = Arc::new(InUse { budget: Arc::clone(budget), bytes: self.bytes });
            *in_use = Arc::downgrade(&new);
            new
        })
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

struct State {
    component: Option<(Component, Arc<Image>)>,
    used: Instant,
    /// The components that are linked with it.
    links: Vec<Weak<Link>>,
}

impl State {
    /// When it was used last, and its bytes; `None` if it is not in memory.
    fn warmth(&self) -> Option<(Instant, u64)> {
        let (_, image) = self.component.as_ref()?;
        Some((self.used, image.bytes))
    }
}

impl Code {
    /// Takes code that was loaded. It stays in memory.
    pub(super) fn new(component: Component, digest: ComponentDigest, fuel: bool) -> Self {
        let engine = component.engine().clone();
        let image = Arc::new(Image::of(&component));
        let state = State { component: Some((component, image)), used: Instant::now(), links: Vec::new() };
        Self { engine, digest, fuel, state: Mutex::new(state), reload: OnceLock::new() }
    }

    /// Lets it be let go of.
    pub(super) fn may_go(self: &Arc<Self>, reload: &Arc<Reload>) {
        if self.reload.set(Arc::clone(reload)).is_ok() {
            reload.codes.lock().push(Arc::downgrade(self));
            reload.let_go();
        }
    }

    /// Returns the code, and loads it if need be. `interrupt` ends the wait for a compiler.
    ///
    /// # Errors
    ///
    /// [`CompileError`] if it can't be loaded again.
    pub(super) fn component(&self, interrupt: &Interrupt) -> Result<Component, CompileError> {
        self.loaded(interrupt).map(|(component, _)| component)
    }

    fn loaded(&self, interrupt: &Interrupt) -> Result<(Component, Arc<Image>), CompileError> {
        {
            let mut state = self.state.lock();
            state.used = Instant::now();
            if let Some(loaded) = &state.component {
                return Ok(loaded.clone());
            }
        }
        let Some(reload) = self.reload.get() else { unreachable!("what can't be loaded again stays") };
        // Without the lock: two slots may do the same work once.
        let component = reload.load(self, interrupt)?;
        let loaded = (component.clone(), Arc::new(Image::of(&component)));
        self.state.lock().component = Some(loaded.clone());
        reload.let_go();
        Ok(loaded)
    }

    fn let_go(&self) {
        let mut state = self.state.lock();
        state.component = None;
        for link in state.links.iter().filter_map(Weak::upgrade) {
            *link.ready.lock() = None;
        }
    }
}

/// Code that can be instantiated.
pub(super) struct Ready {
    pub(super) pre: InstancePre<HostState>,
    /// The functions of the tasks, in the order of the component's exports.
    pub(super) functions: Vec<ComponentExportIndex>,
    pub(super) image: Arc<Image>,
}

/// Links code with its imports.
type LinkCode = Box<dyn Fn(&Component) -> wasmtime::Result<InstancePre<HostState>> + Send + Sync>;

/// Code, and how it is linked.
pub(super) struct Link {
    code: Arc<Code>,
    link: LinkCode,
    /// The interfaces and names of the functions.
    functions: Vec<(Option<Box<str>>, Box<str>)>,
    ready: Mutex<Option<Arc<Ready>>>,
}

impl Link {
    /// Links code with its imports.
    ///
    /// # Errors
    ///
    /// [`CompileError`] if the code can't be loaded, or does not fit its imports.
    pub(super) fn new(
        code: &Arc<Code>,
        functions: Vec<(Option<Box<str>>, Box<str>)>,
        link: LinkCode,
    ) -> Result<Arc<Self>, CompileError> {
        let link = Arc::new(Self { code: Arc::clone(code), link, functions, ready: Mutex::default() });
        {
            let mut state = code.state.lock();
            state.links.retain(|link| link.strong_count() > 0);
            state.links.push(Arc::downgrade(&link));
        }
        link.ready(&Interrupt::default())?;
        Ok(link)
    }

    /// Returns what can be instantiated, and makes it if need be.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(super) fn ready(&self, interrupt: &Interrupt) -> Result<Arc<Ready>, CompileError> {
        // One lock after the other: whoever lets go takes them in the other order.
        let ready = self.ready.lock().clone();
        if let Some(ready) = ready {
            self.code.state.lock().used = Instant::now();
            return Ok(ready);
        }
        let (component, image) = self.code.loaded(interrupt)?;
        let pre = (self.link)(&component).map_err(|error| CompileError::Refused(format!("{error:#}")))?;
        let find = |(interface, function): &(Option<Box<str>>, Box<str>)| {
            let instance = match interface {
                Some(interface) => Some(component.get_export_index(None, &**interface)?),
                None => None,
            };
            component.get_export_index(instance.as_ref(), &**function)
        };
        let functions = self.functions.iter().map(find).collect::<Option<Vec<_>>>();
        let functions =
            functions.ok_or_else(|| CompileError::Failed("an export is not there any more".to_owned()))?;
        let ready = Arc::new(Ready { pre, functions, image });
        *self.ready.lock() = Some(Arc::clone(&ready));
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::wasm::compile::Compiler;
    use crate::wasm::engine::new_engine;
    use crate::wasm::testing::{component, function};

    /// Has one component, and counts how often it is fetched.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl Shelf for Counted {
        fn fetch(&self, _: ComponentDigest) -> Result<Option<Vec<u8>>, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(Some(self.0.clone()))
        }
    }

    fn link(code: &Arc<Code>) -> Arc<Link> {
        let link = |component: &Component| {
            wasmtime::component::Linker::new(component.engine()).instantiate_pre(component)
        };
        let functions = vec![(Some("acme:demo/tasks".into()), "one".into())];
        let link = Link::new(code, functions, Box::new(link));
        link.unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn code_that_was_let_go_of_is_loaded_again() {
        let bytes = component(&[], &[], &[("acme:demo/tasks", vec![function("one", [], None)])]);
        let digest = ComponentDigest::of(&bytes);
        let engine = new_engine(2, false).expect("an engine");
        let cache = Cache::new(None, Compiler::InProcess);
        let never = Interrupt::default();
        let compiled = cache.load(&engine, false, &digest, &bytes, &never).expect("it compiles");
        let code = Arc::new(Code::new(compiled, digest, false));
        let link = link(&code);
        let is_warm = || code.state.lock().component.is_some();
        let fetched = Arc::new(AtomicUsize::new(0));
        // Nothing may stay.
        let reload = Arc::new(Reload::new(cache, 0));
        assert!(reload.shelf.set(Box::new(Counted(bytes, Arc::clone(&fetched)))).is_ok());
        assert!(is_warm() && link.ready.lock().is_some());
        code.may_go(&reload);
        assert!(!is_warm() && link.ready.lock().is_none(), "neither the code nor what is linked with it");
        let ready = link.ready(&never).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((ready.functions.len(), fetched.load(Ordering::Relaxed)), (1, 1));
        let budget = Arc::new(MemoryBudget::new(1));
        let [one, other] = [(); 2].map(|()| ready.image.use_on(&budget));
        assert!(one.bytes > 1 && budget.used() == one.bytes, "once for both");
        drop(one);
        assert_eq!(budget.used(), other.bytes);
        drop(other);
        assert_eq!(budget.used(), 0);
        // Code that somebody has is kept.
        assert_eq!(reload.let_go(), None, "nothing is warm");
        assert!(!is_warm());
        assert_eq!(ready.functions.len(), 1);
    }

    #[test]
    fn warm_code_stays_until_it_is_cold() {
        let bytes = component(&[], &[function("one", [], None)], &[]);
        let digest = ComponentDigest::of(&bytes);
        let engine = new_engine(2, false).expect("an engine");
        let cache = Cache::new(None, Compiler::InProcess);
        let compiled =
            cache.load(&engine, false, &digest, &bytes, &Interrupt::default()).expect("it compiles");
        let code = Arc::new(Code::new(compiled, digest, false));
        let reload = Arc::new(Reload::new(cache, u64::MAX));
        assert!(reload.shelf.set(Box::new(Counted(bytes, Arc::default()))).is_ok());
        assert_eq!(reload.let_go(), None, "there is none");
        code.may_go(&reload);
        assert!(code.state.lock().component.is_some());
        assert!(reload.let_go().is_some_and(|left| left <= IDLE));
        reload.let_go_of_all();
        assert!(code.state.lock().component.is_none(), "the host is short of something");
        code.component(&Interrupt::default()).expect("it is loaded again");
        let long_ago = Instant::now().checked_sub(IDLE);
        if let Some(long_ago) = long_ago {
            code.state.lock().used = long_ago;
            assert_eq!(reload.let_go(), None);
            assert!(code.state.lock().component.is_none());
        }
    }
}
