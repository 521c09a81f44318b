//! `run-wasm-runner`: a task runner whose tasks are WebAssembly components.
//!
//! The layers, each using only those to its right:
//! `main → cli → service → { runner, config } → { store, wasm } → model`.
//! ARCHITECTURE.md is the map.

mod authoring;
pub mod cli;
pub mod config;
pub mod model;
mod regular_file;
pub mod runner;
pub mod service;
pub mod store;
mod torture;
pub mod wasm;
