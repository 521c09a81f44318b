//! Rust: cargo makes the component by itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::authoring::AuthoringError;
use crate::authoring::build::tool::{self, Tool};
use crate::authoring::language::{Language, files};
use crate::authoring::project::{Host, Project};
use crate::config::in_backticks;

/// Rust.
pub const RUST: Language = Language {
    name: "rust",
    alias: None,
    about: "Rust, with cargo and wit-bindgen",
    marks: &["Cargo.toml"],
    instead_of: None,
    prepare: None,
    reserved: "abstract alloc as async await become box break const continue core crate default do dyn else enum \
        extern false final fn for if impl in let loop macro match mod move mut pub ref return self static std \
        struct super test trait true type use",
    // Cargo would take this one for its own where it stands in `sdk`, as Git would `.gitignore`.
    files: files!(
        "templates/rust": "README.md", "gitignore" => ".gitignore", "Cargo.toml.template" => "Cargo.toml", "src/lib.rs";
    ),
    files_without_wit: Some(files!(
        "templates/rust-no-wit": "README.md", "gitignore" => ".gitignore",
        "Cargo.toml.template" => "Cargo.toml", "src/lib.rs";
        // The crate that its tasks are written with.
        "rust": "Cargo.toml" => "vendor/wasm-runner/Cargo.toml",
        "macros/Cargo.toml" => "vendor/wasm-runner/macros/Cargo.toml",
        "macros/src/expand.rs" => "vendor/wasm-runner/macros/src/expand.rs",
        "macros/src/lib.rs" => "vendor/wasm-runner/macros/src/lib.rs",
        "macros/src/names.rs" => "vendor/wasm-runner/macros/src/names.rs",
        "macros/src/read.rs" => "vendor/wasm-runner/macros/src/read.rs",
        "macros/src/types.rs" => "vendor/wasm-runner/macros/src/types.rs",
        "src/invocation.rs" => "vendor/wasm-runner/src/invocation.rs",
        "src/json.rs" => "vendor/wasm-runner/src/json.rs",
        "src/lib.rs" => "vendor/wasm-runner/src/lib.rs",
        "src/value.rs" => "vendor/wasm-runner/src/value.rs",
        "wit/task.wit" => "vendor/wasm-runner/wit/task.wit";
    )),
    build,
};

const TARGET: &str = "wasm32-wasip2";

const CARGO: Tool = Tool {
    name: "cargo",
    alias: None,
    within: None,
    install: "curl --proto '=https' -sSf https://sh.rustup.rs | sh",
};
const RUSTC: Tool = Tool { name: "rustc", within: None, ..CARGO };

/// A line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds the project; the component gets the name of the cargo target.
fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    let mut cargo = CARGO.command(project)?;
    refuse_missing_target(project)?;
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let messages = tool::read(host, &mut cargo)?;
    let manifest = fs::canonicalize(project.path("Cargo.toml"));
    let manifest = manifest.map_err(AuthoringError::cannot("read", Path::new("Cargo.toml")))?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let ours =
        messages.filter(|message| message.reason == "compiler-artifact" && message.manifest_path == manifest);
    let components = ours.flat_map(|message| message.filenames);
    let components: Vec<_> =
        components.filter(|file| file.extension().is_some_and(|end| end == "wasm")).collect();
    match &*components {
        [component] => {
            let cannot = AuthoringError::cannot("copied", component);
            project.produce(&name(component), |to| fs::copy(component, to).map(drop).map_err(cannot))
        }
        [] => Err(AuthoringError::Build {
            message: "the package made no component".to_owned(),
            hint: Some(
                "`Cargo.toml` needs `crate-type = [\"cdylib\"]` in `[lib]`, or a `src/main.rs`".to_owned(),
            ),
        }),
        _ => {
            let names: Vec<_> = components.iter().map(|path| name(path)).collect();
            let names = in_backticks(names.iter().map(String::as_str));
            Err(AuthoringError::build(format!("the package made several components: {names}")))
        }
    }
}

/// Names the component; cargo's name for a library has underscores.
fn name(component: &Path) -> String {
    component.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-")
}

fn refuse_missing_target(project: &Project) -> Result<(), AuthoringError> {
    let mut rustc = RUSTC.command(project)?;
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let output = rustc.output().map_err(AuthoringError::cannot("started", Path::new("rustc")))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !Path::new(&folder).is_dir() {
        return Err(tool::missing(TARGET, &format!("rustup target add {TARGET}"), project));
    }
    Ok(())
}
