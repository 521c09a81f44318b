//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

mod library;

pub use library::{
    ArgumentError, Capability, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Inspection, Library,
    LibraryOptions, LoadError, NotTask, Parameter, ResolveError, Task,
};
