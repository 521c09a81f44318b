//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

mod cache;
mod control;
mod discover;
mod engine;
mod execute;
mod files;
mod host;
mod library;
mod limits;
mod link;
mod meter;
mod output;
mod parallel;
mod rules;
mod suggest;
#[cfg(test)]
mod testing;
mod values;
mod versions;

pub use control::GuestControl;
pub use engine::{live_for_maps, maps_for_live};
pub use library::{
    ArgumentError, Capability, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Inspection, Library,
    LibraryOptions, LoadError, NotTask, Parameter, ResolveError, StartedGuest, Task, Version,
};
pub use versions::Shelf;
