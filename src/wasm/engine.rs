//! The engine: settings of the compiler, pools of instances, and the clock that interrupts guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::process::{Resource, getrlimit};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

use super::shortage::shortage_of;

/// The interval at which running guests check whether they must end: the grain of time limits and kills.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// Stack that a guest's own frames may use. Beyond it the guest traps.
pub(super) const WASM_STACK: usize = 512 << 10;

/// A memory whose contents take no more than this has an image of them, however sparse they are.
const DENSE_IMAGE: u64 = 4 << 20;

/// The whole stack of a fiber: the guest's share and room for host calls.
const FIBER_STACK: usize = 2 << 20;

/// Bytes that stay resident in a memory and a table that go back to the pool, so that the next small guest
/// does not ask the kernel for them.
const KEEP_RESIDENT: usize = 1 << 20;
const KEEP_TABLE_RESIDENT: usize = 64 << 10;

/// Elements of one table. Interpreters compiled to components need thousands.
const TABLE_ELEMENTS: usize = 50_000;

/// The most memories and tables that one component may have.
pub(super) const MAX_MEMORIES: u32 = 16;
pub(super) const MAX_TABLES: u32 = 64;

/// The most core instances that one component may have, with those of the components in it.
pub(super) const MAX_CORE_INSTANCES: u32 = 200;

/// Tables that a live instance may have for each unit of its weight.
pub(super) const TABLES_PER_WEIGHT: u32 = 4;

/// Core instances that a live instance may have for each unit of its weight.
pub(super) const CORE_INSTANCES_PER_WEIGHT: u32 = 32;

/// Units of weight beyond the live instances: for those being dropped, and because each slot may start a heavy one
/// when there is room for one unit.
const SPARE: u32 = 64;

/// Memory maps that a live guest takes (measured): 2 for its stack, 4 for its memory once it runs.
const MAPS_PER_GUEST: usize = 6;

/// Memory maps left to everything else: compiled code, threads, libraries, files.
const MAPS_RESERVED: usize = 5_000;

/// The live instances that a system with so many memory maps per process (`vm.max_map_count`) can carry: a
/// process that runs out of maps aborts.
pub fn live_for_maps(maps: usize) -> usize {
    (maps.saturating_sub(MAPS_RESERVED) / MAPS_PER_GUEST).max(1)
}

/// The memory maps that so many live instances need.
pub fn maps_for_live(live: usize) -> usize {
    live.saturating_mul(MAPS_PER_GUEST).saturating_add(MAPS_RESERVED)
}

/// File descriptors left to everything else: stores, threads, compilers, files and sockets that guests open.
const DESCRIPTORS_RESERVED: u64 = 64;

/// The room that the live instances of a runner share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// The most live instances.
    pub(super) max_live: usize,
    /// The most open file descriptors; `None` is no limit.
    pub(super) descriptors: Option<u64>,
}

impl Room {
    /// The room in this process, whose runner raises its limit as far as it may.
    pub(super) fn of_process(max_live: usize) -> Self {
        Self { max_live, descriptors: getrlimit(Resource::Nofile).maximum }
    }

    /// The number of live instances that one counts for that holds so many descriptors: if it counted for fewer,
    /// so many could live that there are no descriptors for the next.
    pub(super) fn weight_of(&self, descriptors: usize) -> usize {
        let Some(limit) = self.descriptors else { return 1 };
        // Where there are very few, half of them.
        let shared = limit.saturating_sub(DESCRIPTORS_RESERVED).max(limit / 2).max(1);
        let wanted = (descriptors as u64).saturating_mul(self.max_live as u64);
        usize::try_from(wanted.div_ceil(shared)).unwrap_or(usize::MAX).clamp(1, self.max_live.max(1))
    }
}

/// Makes an engine whose pools hold `max_live` instances.
///
/// # Errors
///
/// The reason, as a sentence.
pub(super) fn new_engine(max_live: usize, fuel: bool) -> Result<Engine, String> {
    let live = u32::try_from(max_live).unwrap_or(u32::MAX / 16);
    let mut pool = PoolingAllocationConfig::new();
    // A guest with several memories, or with many tables or core instances, counts as several live ones. If they
    // are used up all the same, a start waits like one that is short of anything else.
    let units = live.saturating_add(SPARE);
    pool.total_component_instances(units)
        .total_core_instances(units.saturating_mul(CORE_INSTANCES_PER_WEIGHT))
        .total_memories(units)
        .total_tables(units.saturating_mul(TABLES_PER_WEIGHT))
        .total_stacks(units)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(16 << 20)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_TABLE_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    let mut config = code_config(fuel);
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBER_STACK);
    Engine::new(&config).map_err(|error| {
        let short = shortage_of(&*error).map(|shortage| format!(" (this host is short of {shortage})"));
        format!("the WebAssembly engine can't be made: {error:#}{}", short.unwrap_or_default())
    })
}

/// Makes an engine that only compiles, for engines of [`new_engine`].
pub(super) fn compiling_engine(fuel: bool) -> wasmtime::Result<Engine> {
    Engine::new(&code_config(fuel))
}

/// Makes the settings that compiled code depends on.
fn code_config(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(true)
        .consume_fuel(fuel)
        // Above it a memory has an image of its contents only if half of it is data: two bytes far apart must not take
        // megabytes of compiled code.
        .memory_guaranteed_dense_image_size(DENSE_IMAGE)
        .wasm_component_model(true);
    config
}

/// A thread that advances the epoch of its engines while guests run, and sleeps while none does. Joined on
/// drop.
pub(super) struct EpochTicker {
    shared: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    engines: Vec<Engine>,
    /// Guests that hold a slot now.
    running: AtomicUsize,
    stopping: AtomicBool,
    /// Whether the thread sleeps until somebody runs.
    asleep: Mutex<bool>,
    wake: Condvar,
}

impl EpochTicker {
    /// Starts the thread.
    pub(super) fn start(engines: Vec<Engine>) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState { engines, ..TickerState::default() });
        let state = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || state.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes that a guest gets a slot, or gives it back.
    pub(super) fn guest_runs(&self, runs: bool) {
        if !runs {
            self.shared.running.fetch_sub(1, Ordering::AcqRel);
        } else if self.shared.running.fetch_add(1, Ordering::AcqRel) == 0 {
            // The thread looks at the count, under this lock, before it sleeps.
            let mut asleep = self.shared.asleep.lock();
            if *asleep {
                *asleep = false;
                self.shared.wake.notify_one();
            }
        }
    }
}

impl TickerState {
    fn run(&self) {
        let mut asleep = self.asleep.lock();
        while !self.stopping.load(Ordering::Acquire) {
            if self.running.load(Ordering::Acquire) == 0 {
                *asleep = true;
                while *asleep {
                    self.wake.wait(&mut asleep);
                }
                continue;
            }
            self.wake.wait_for(&mut asleep, TICK);
            for engine in &self.engines {
                engine.increment_epoch();
            }
        }
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        *self.shared.asleep.lock() = false;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_far_apart_takes_no_code_for_what_lies_between() {
        use wasm_encoder::{ConstExpr, DataSection, MemorySection, MemoryType, Module};

        let (mut memories, mut data) = (MemorySection::new(), DataSection::new());
        let pages =
            MemoryType { minimum: 300, maximum: None, memory64: false, shared: false, page_size_log2: None };
        memories.memory(pages);
        for place in [0, 16 << 20] {
            data.active(0, &ConstExpr::i32_const(place), [1]);
        }
        let mut module = Module::new();
        module.section(&memories).section(&data);
        let code = compiling_engine(false).unwrap().precompile_module(&module.finish()).unwrap();
        assert!(code.len() < 1 << 20, "{}", code.len());
    }

    #[test]
    fn guests_that_hold_descriptors_count_so_that_all_that_live_can_have_them() {
        for descriptors in [20, 80, 1024, 20_000, 1 << 20] {
            for max_live in [1, 64, 4096, 100_000] {
                let room = Room { max_live, descriptors: Some(descriptors) };
                for held in 1..20 {
                    let live = (max_live / room.weight_of(held)) as u64;
                    assert!(live == 1 || live * held as u64 <= descriptors, "{room:?} {held}");
                }
            }
        }
        let plenty = Room { max_live: 4096, descriptors: Some(1 << 20) };
        assert_eq!((plenty.weight_of(0), plenty.weight_of(1), plenty.weight_of(20)), (1, 1, 1));
        assert_eq!(Room { descriptors: None, ..plenty }.weight_of(1000), 1);
        assert_eq!(Room { descriptors: Some(1024), ..plenty }.weight_of(1), 5);
    }
}
