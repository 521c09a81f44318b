//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

mod bounded;
mod budget;
mod cache;
mod code;
mod compile;
mod contents;
mod control;
mod cpu_clock;
mod denials;
mod discover;
mod docs;
mod engine;
mod execute;
mod file_refusals;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod handles;
mod host;
mod host_memory;
mod inspect;
mod interfaces;
#[cfg(test)]
mod lag_tests;
mod library;
mod link;
mod linked;
mod loaded;
mod memory_limit;
mod meter;
mod names;
mod network;
mod output;
mod rights;
mod rules;
mod scratch;
mod scrub;
mod sealed;
mod sections;
mod shortage;
mod source;
mod submits;
mod suggest;
mod task;
#[cfg(test)]
mod testing;
mod trusted;
mod turns;
mod values;
mod versions;

pub use crate::model::Glob;
pub use bounded::{MAX_BYTES, tidy, touch};
pub use code::Shelf;
pub use compile::{CompileLimits, Compiler, JobError, compile};
pub use control::GuestControl;
pub use docs::DOCS_SECTION;
pub use engine::{live_for_maps, maps_for_live};
pub use grants::{
    DirectoryAccess, DirectoryGrant, GRANT_KEYS, GRANTS, GrantKind, Grants, RightKind, SecretGrant,
    SecretSource, grant_section,
};
pub use inspect::{Capability, Inspection};
pub use interfaces::{Interface, Interfaces, identifier};
pub use library::{Library, LibraryOptions};
pub use loaded::check_lock;
pub use names::Names;
pub use network::{HostPattern, HttpGrant, NetworkGrant, Ports, Scheme};
pub use rights::{Extent, Right, rights};
pub use scratch::ScratchGrant;
pub use sections::{append_custom_section, core_modules, custom_sections};
pub use source::{ComponentSource, ImportChoices, Layer, LoadError, TaskSection, VersionPolicy};
pub use task::{ArgumentError, NotTask, Parameter, ResolveError, Task, TaskSchema};
pub use trusted::check_trusted;
