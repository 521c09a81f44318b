//! The attribute `tasks`: from a module of plain functions to an exported interface.

use proc_macro::TokenStream;
use syn::{ItemMod, LitStr, parse_macro_input};

mod expand;
mod names;
mod read;
mod types;

/// Makes a task of each `pub fn` of a module, in the interface `tasks` of a package:
/// `#[wasm_runner::tasks("namespace:name@0.1.0")]`; the version may be left out.
///
/// For each task there is a module of its name with `submit`, `submit_all` and `submit_with`.
#[proc_macro_attribute]
pub fn tasks(package: TokenStream, module: TokenStream) -> TokenStream {
    let package = parse_macro_input!(package as LitStr);
    let module = parse_macro_input!(module as ItemMod);
    let read = read::read(&package, module);
    read.map(|tasks| expand::expand(&tasks)).unwrap_or_else(syn::Error::into_compile_error).into()
}
