//! Bindings for the languages whose compilers make core modules, and the step from a module
//! to a component.
//!
//! `run-wasm-runner build` carries this component and runs it in the runner's own sandbox, for
//! two reasons. It shares crates with wasmtime, but not their features or versions: linked
//! into the runner, it would have wasmtime compiled in another way. And it reads files
//! that somebody else wrote.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use exports::run_wasm_runner::componentize::steps::{Guest, Language};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as ADAPTER,
};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

mod flush;
mod go;

wit_bindgen::generate!({ world: "componentize" });

struct Steps;
export!(Steps);

impl Guest for Steps {
    fn bind(language: Language, world: String) -> Result<Vec<String>, String> {
        bind(language, &world).map_err(|error| format!("{error:#}"))
    }

    fn assemble(module: String, world: String, component: String) -> Result<(), String> {
        assemble(&module, &world, &component).map_err(|error| format!("{error:#}"))
    }
}

fn parse(world: &str) -> Result<(Resolve, WorldId)> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path("/wit")?;
    let world = resolve.select_world(&[package], Some(world))?;
    Ok((resolve, world))
}

fn bind(language: Language, world: &str) -> Result<Vec<String>> {
    let (mut resolve, world) = parse(world)?;
    let mut generator: Box<dyn WorldGenerator> = match &language {
        Language::C => wit_bindgen_c::Opts::default().build(),
        Language::Cpp => wit_bindgen_cpp::Opts::default().build(None),
        Language::Go(module) => wit_bindgen_go::Opts {
            format: wit_bindgen_go::Format::False,
            pkg_name: Some(format!("{module}/build/bindings")),
            ..Default::default()
        }
        .build(),
    };
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files)?;
    match &language {
        Language::C => files.push("flush.c", flush::source().as_bytes()),
        Language::Cpp => files.push("flush.cpp", flush::source().as_bytes()),
        // Go's own output is not kept back.
        Language::Go(_) => {}
    }
    if let Language::Go(module) = &language {
        go::refuse_async(&files)?;
        for (name, text) in go::bridges(&resolve, world, module, &files)? {
            files.push(&name, text.as_bytes());
        }
        for (name, text) in go::RUNTIME {
            files.push(&format!("runtime/{name}"), text.as_bytes());
        }
    }
    let mut written = Vec::new();
    for (name, bytes) in files.iter() {
        write(name, bytes)?;
        written.push(name.to_owned());
    }
    Ok(written)
}

fn write(name: &str, bytes: &[u8]) -> Result<()> {
    let path = Path::new("/build/bindings").join(name);
    let folder = path.parent().context("a file has a folder")?;
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes));
    written.with_context(|| format!("`{}` can't be written", path.display()))
}

fn assemble(module: &str, world: &str, component: &str) -> Result<()> {
    let (resolve, world) = parse(world)?;
    let build = Path::new("/build");
    let bytes = fs::read(build.join(module)).with_context(|| format!("`{module}` can't be read"))?;
    let mut bytes = flush::before_returns(&bytes)?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)?;
    let bytes = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)?
        .adapter(ADAPTER_NAME, ADAPTER)?
        .encode()?;
    fs::write(build.join(component), bytes).with_context(|| format!("`{component}` can't be written"))
}
