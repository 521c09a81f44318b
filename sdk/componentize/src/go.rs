//! The files that Go needs beside the bindings.

use anyhow::{Context, Result, ensure};
use heck::ToSnakeCase;
use wit_bindgen_core::Files;
use wit_parser::{Resolve, WorldId, WorldItem, WorldKey};

/// The packages that the bindings import, as files of a Go module. They are ours, under
/// the path that the generator writes into its imports; a build must not need the network.
pub const RUNTIME: &[(&str, &str)] = &[
    ("go.mod", include_str!("../go/go.mod")),
    ("wit/runtime/handle.go", include_str!("../go/wit/runtime/handle.go")),
    ("wit/runtime/memory.go", include_str!("../go/wit/runtime/memory.go")),
    ("wit/types/option.go", include_str!("../go/wit/types/option.go")),
    ("wit/types/result.go", include_str!("../go/wit/types/result.go")),
    ("wit/types/tuple.go", include_str!("../go/wit/types/tuple.go")),
];

/// Names in bindings that `RUNTIME` does not have, because no task has what they are for.
const ASYNC: [&str; 3] = ["witAsync.", "witTypes.Future", "witTypes.Stream"];

/// Refuses bindings for streams, futures and asynchronous functions.
pub fn refuse_async(files: &Files) -> Result<()> {
    for (_, text) in files.iter().filter(|(name, _)| name.ends_with(".go")) {
        let text = String::from_utf8_lossy(text);
        ensure!(
            !ASYNC.iter().any(|name| text.contains(name)),
            "the WIT has streams, futures or asynchronous functions, which components in Go can't have"
        );
    }
    Ok(())
}

/// The bindings call the functions of packages such as `export_local_hello_tasks`. So
/// that nobody has to name a package so, these are made here, and only say that each
/// function is the one of the same name in the project's package `tasks`.
pub fn bridges(
    resolve: &Resolve,
    world: WorldId,
    module: &str,
    files: &Files,
) -> Result<Vec<(String, String)>> {
    let exports = files.iter().find(|(name, _)| *name == "wit_exports/wit_exports.go");
    let (_, exports) = exports.context("the Go bindings have no exports")?;
    let exports = String::from_utf8_lossy(exports);
    let mut bridges = Vec::new();
    for (key, item) in &resolve.worlds[world].exports {
        let (WorldItem::Interface { id, .. }, WorldKey::Interface(_)) = (item, key) else {
            continue;
        };
        let interface = &resolve.interfaces[*id];
        let name = interface.name.as_deref().context("an exported interface has a name")?.to_snake_case();
        let package = interface.package.map(|id| &resolve.packages[id].name).context("it has a package")?;
        let bridge =
            format!("export_{}_{}_{name}", package.namespace.to_snake_case(), package.name.to_snake_case());
        let functions = called(&exports, &bridge);
        let functions: String = functions.iter().map(|f| format!("\t{f} = {name}.{f}\n")).collect();
        let text = format!(
            "// Made by run-wasm-runner. DO NOT EDIT!\n\npackage {bridge}\n\n\
             import \"{module}/{name}\"\n\nvar (\n{functions})\n"
        );
        bridges.push((format!("{bridge}/bridge.go"), text));
    }
    Ok(bridges)
}

/// The functions of a package that a text calls.
fn called(text: &str, package: &str) -> Vec<String> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = Vec::new();
    for (at, found) in text.match_indices(&format!("{package}.")) {
        let rest = &text[at + found.len()..];
        let name = rest.split(|c| !is_of_a_name(c)).next().unwrap_or_default();
        if !text[..at].ends_with(is_of_a_name) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}
