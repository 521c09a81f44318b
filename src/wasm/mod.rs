//! Everything that touches WebAssembly: the only layer that says `wasmtime`.

// Until `library` is built from them.
#![allow(dead_code, unused_imports, reason = "the parts are ready before the library that uses them")]

mod cache;
mod discover;
mod library;
mod suggest;
#[cfg(test)]
mod testing;
mod values;

pub use library::{
    ArgumentError, Capability, ComponentSource, DirectoryAccess, DirectoryGrant, Grants, Inspection, Library,
    LibraryOptions, LoadError, NotTask, Parameter, ResolveError, Task,
};
