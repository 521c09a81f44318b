//! The settings of a runner: one row for each, from which everything else that must know them follows.

use std::time::Duration;

use super::LimitUnit;

/// A setting of a runner, as the table has it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the section `[runner]` of the configuration. The variable `WASM_RUNNER_` and this in capitals,
    /// with `_` for `-`, is put over it.
    pub key: &'static str,
    /// The unit in which it is written, and in which [`RunnerSettings::set`] takes it.
    pub unit: LimitUnit,
}

/// A value of a setting, made of a number in its unit.
trait Value {
    fn of(number: u64) -> Self;
}

impl Value for usize {
    fn of(number: u64) -> Self {
        usize::try_from(number).unwrap_or(usize::MAX)
    }
}

impl Value for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Value for Duration {
    fn of(number: u64) -> Self {
        Duration::from_nanos(number)
    }
}

/// Makes [`RunnerSettings`] and [`SETTINGS`] of the rows.
macro_rules! settings {
    ($($field:ident: $type:ty, $key:literal $unit:ident $default:expr, $docs:literal;)*) => {
        /// The settings of a runner.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct RunnerSettings {
            $(#[doc = $docs] pub $field: $type,)*
        }

        impl Default for RunnerSettings {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        /// Every setting.
        pub const SETTINGS: [Setting; [$($key),*].len()] =
            [$(Setting { key: $key, unit: LimitUnit::$unit }),*];

        /// The keys of the settings.
        pub const SETTING_KEYS: [&str; SETTINGS.len()] = [$($key),*];

        impl RunnerSettings {
            /// Sets the setting with a key to a number in its unit; a key that is none is ignored.
            pub fn set(&mut self, key: &str, number: u64) {
                match key {
                    $($key => self.$field = Value::of(number),)*
                    _ => {}
                }
            }
        }
    };
}

// A setting is one row here, and the code that asks for it: file, variables and the fuzzer's dictionary
// follow, and tests compare `docs/configuration.md` with it.
settings! {
    max_live: usize, "max-live" Positive 4_096,
        "Instances that may live at once, running and parked, at least as many as slots.";
    memory_budget: u64, "memory-budget" Bytes u64::MAX,
        "Bytes that all guests may take together, running and parked.";
    lease: Duration, "lease" Time Duration::from_secs(10),
        "The time for which a claim is good without a heartbeat.";
    final_cache_entries: usize, "final-cache-entries" Count 10_000,
        "Entries of the final cache.";
    final_cache_bytes: usize, "final-cache-size" Bytes 64 << 20,
        "Bytes of the final cache.";
}
