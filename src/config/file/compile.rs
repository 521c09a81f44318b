//! `[compile]`: what compiling one component may take.

use std::time::Duration;

use toml::de::DeTable;

use super::keys::COMPILE_KEYS;
use super::reader::Reader;
use crate::wasm::CompileLimits;

/// Less than this is not enough for the smallest component.
const MIN_MEMORY: u64 = 64 << 20;

impl Reader<'_> {
    pub(super) fn compile(&mut self, top: &DeTable<'_>) -> CompileLimits {
        let defaults = CompileLimits::default();
        let section = "compile";
        let Some(table) = self.table(top, "", section) else { return defaults };
        self.refuse_unknown_keys(table, section, &COMPILE_KEYS);
        let limits = CompileLimits {
            time: self.duration(table, section, "time").unwrap_or(defaults.time),
            cpu: self.duration(table, section, "cpu").unwrap_or(defaults.cpu),
            memory_bytes: self.size(table, section, "memory").unwrap_or(defaults.memory_bytes),
            code_bytes: self.size(table, section, "code").unwrap_or(defaults.code_bytes),
            component_bytes: self.size(table, section, "component").unwrap_or(defaults.component_bytes),
        };
        let mut refuse = |key: &str, message: &str| {
            let offset = table.get(key).map_or(0, |value| value.span().start);
            self.problem(offset, message.to_owned());
        };
        for (key, is_zero) in [
            ("time", limits.time == Duration::ZERO),
            ("cpu", limits.cpu == Duration::ZERO),
            ("code", limits.code_bytes == 0),
            ("component", limits.component_bytes == 0),
        ] {
            if is_zero {
                refuse(key, &format!("`compile.{key}` is zero: nothing could ever be compiled"));
            }
        }
        if limits.memory_bytes < MIN_MEMORY {
            refuse("memory", "`compile.memory` is too small to compile anything: make it at least `64MiB`");
        }
        limits
    }
}
