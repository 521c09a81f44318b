//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

mod control;
mod library;
mod suggest;
#[cfg(test)]
mod testing;
mod values;

pub use control::GuestControl;
pub use library::{
    ArgumentError, Capability, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Inspection, Library,
    LibraryOptions, LoadError, NotTask, Parameter, ResolveError, Task,
};
