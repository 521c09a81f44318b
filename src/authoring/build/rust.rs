//! Rust: cargo makes the component by itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Host;
use super::project::Project;
use super::tool::{self, Tool};
use crate::authoring::AuthoringError;
use crate::config::in_backticks;

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
pub fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
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
