//! Which code ran: counters that the compiler puts into what is fuzzed, one for each
//! edge between basic blocks (`-C passes=sancov-module`, see `xtask/src/fuzz.rs`).
//! Without them there is nothing to see, and inputs are made up blindly.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// The counters of each object, as addresses.
static REGIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Called by every instrumented object when the program starts.
///
/// # Safety
///
/// Only the compiler calls it, with the bounds of counters that live as long as the
/// program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let region = (start as usize, stop as usize);
    let mut regions = REGIONS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if region.0 < region.1 && !regions.contains(&region) {
        regions.push(region);
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// For each counter the magnitudes that it has had, a bit each.
    magnitudes: Vec<u8>,
}

impl Seen {
    /// Sets all counters to zero.
    pub fn reset(&self) {
        counters(|_, counter| counter.store(0, Ordering::Relaxed));
    }

    /// Notes what ran since the last reset, and says whether any of it is new.
    pub fn note(&mut self) -> bool {
        let mut is_new = false;
        counters(|index, counter| {
            let count = counter.load(Ordering::Relaxed);
            // 1, 2, 3, 4-7, 8-15, 16-31, 32-127, more.
            let magnitude = match count {
                1..=3 => 1 << (count - 1),
                4..=7 => 1 << 3,
                8..=15 => 1 << 4,
                16..=31 => 1 << 5,
                32..=127 => 1 << 6,
                _ => 1 << 7,
            };
            if index >= self.magnitudes.len() {
                self.magnitudes.resize(index + 1, 0);
            }
            is_new |= self.magnitudes[index] & magnitude == 0;
            self.magnitudes[index] |= magnitude;
        });
        is_new
    }

    /// How many edges were seen.
    pub fn edges(&self) -> usize {
        self.magnitudes.iter().filter(|magnitudes| **magnitudes != 0).count()
    }
}

/// Whether anything is instrumented.
pub fn is_there() -> bool {
    !REGIONS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty()
}

/// Calls `each` with every counter that is not zero.
fn counters(mut each: impl FnMut(usize, &AtomicU8)) {
    let regions = REGIONS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut index = 0;
    for (start, stop) in &*regions {
        // SAFETY: the compiler said that bytes are there for as long as the program
        // runs. Instrumented code counts in them without any care; a count that is lost
        // to that does not matter.
        let region =
            unsafe { std::slice::from_raw_parts(*start as *const AtomicU8, stop.saturating_sub(*start)) };
        // Nearly all of them are zero each time.
        for (block, counters) in region.chunks(64).enumerate() {
            if counters.iter().fold(0, |any, counter| any | counter.load(Ordering::Relaxed)) == 0 {
                continue;
            }
            for (place, counter) in counters.iter().enumerate() {
                if counter.load(Ordering::Relaxed) != 0 {
                    each(index + 64 * block + place, counter);
                }
            }
        }
        index += region.len();
    }
}
