//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

mod allowance;
mod cache;
mod classify;
mod compile;
mod control;
mod denials;
mod discover;
mod docs;
mod engine;
mod execute;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod glob;
mod host;
mod inspect;
mod interfaces;
mod interrupt;
mod library;
mod limits;
mod link;
mod linked;
mod meter;
mod names;
mod network;
mod output;
mod parallel;
mod rights;
mod rules;
mod scratch;
mod scrub;
mod secrets;
mod sections;
mod submits;
mod suggest;
#[cfg(test)]
mod testing;
mod values;
mod versions;

pub use compile::{CompileLimits, Compiler, JobError, compile};
pub use control::GuestControl;
pub use docs::DOCS_SECTION;
pub use engine::{live_for_maps, maps_for_live};
pub use glob::Glob;
pub use inspect::{Capability, Inspection};
pub use interfaces::{Interface, Interfaces};
pub use interrupt::Interrupt;
pub use library::{
    ArgumentError, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Library, LibraryOptions,
    LoadError, NotTask, Parameter, ResolveError, StartedGuest, Task, TaskSchema, Version, check_lock,
};
pub use network::{HostPattern, HttpGrant, NetworkGrant, Ports, Scheme};
pub use rights::{Extent, Right, RightKind, rights};
pub use scratch::ScratchGrant;
pub use secrets::{SecretGrant, SecretSource};
pub use sections::{append_custom_section, core_modules, custom_sections};
pub use versions::Shelf;
