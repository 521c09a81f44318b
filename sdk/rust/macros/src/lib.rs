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
/// For each task there is a module of its name with `submit`, `submit_all` and `submit_with`. A struct with `#[flags]`, whose
/// fields are all `bool`, is the `flags` of WIT.
#[proc_macro_attribute]
pub fn tasks(package: TokenStream, module: TokenStream) -> TokenStream {
    let package = parse_macro_input!(package as LitStr);
    let module = parse_macro_input!(module as ItemMod);
    let read = read::read(&package, module);
    read.map(|tasks| expand::expand(&tasks)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Declares a task of another component, with the types that it has there:
/// `#[wasm_runner::remote("local:other/tasks.add")] fn add(a: u32, b: u32) -> u32;`
///
/// Where several components export the function, the id chooses one: `"COMPONENT::add"`, or in full
/// `"COMPONENT::local:other/tasks.add"`. The declaration becomes a module with `submit`, `submit_all` and `submit_with`.
/// Structs and enums in it are those of the same module of tasks.
#[proc_macro_attribute]
pub fn remote(task: TokenStream, stub: TokenStream) -> TokenStream {
    let task = parse_macro_input!(task as LitStr);
    let stub = parse_macro_input!(stub as read::Stub);
    let text = task.value();
    let is_task = match text.split_once("::") {
        Some((component, function)) => !component.is_empty() && !function.is_empty(),
        None => text
            .split_once(':')
            .and_then(|(_, rest)| rest.split_once('/'))
            .is_some_and(|(_, name)| name.contains('.')),
    };
    let made = match is_task {
        true => expand::remote(&text, &stub),
        false => Err(syn::Error::new_spanned(
            &task,
            "write a function, `namespace:name/interface.function`, or that of one component, `COMPONENT::function`",
        )),
    };
    made.unwrap_or_else(syn::Error::into_compile_error).into()
}
