//! Builds `guest-tasks/` into `target/guests/NAME.wasm`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::process::{guest_cargo, root, run, show};

pub const TARGET: &str = "wasm32-wasip2";

/// The directory in which the tests and the demo find the components, whatever
/// `CARGO_TARGET_DIR` says.
pub fn directory() -> PathBuf {
    root().join("target/guests")
}

/// Builds every guest and prints its name, size and path.
pub fn build() -> Result<()> {
    ensure_target()?;
    let mut components = compile()?;
    for (name, bytes) in assemble()? {
        ensure!(components.insert(name.clone(), bytes).is_none(), "two guests are named `{name}`");
    }
    ensure!(!components.is_empty(), "guest-tasks/ has no component in it");

    let directory = directory();
    fs::create_dir_all(&directory).with_context(|| format!("failed to create `{}`", directory.display()))?;
    remove_strangers(&directory, &components)?;
    println!("{:>10}  component", "bytes");
    for (name, bytes) in &components {
        let path = directory.join(format!("{name}.wasm"));
        write(&path, bytes).with_context(|| format!("failed to write `{}`", path.display()))?;
        println!("{:>10}  {name} ({})", bytes.len(), path.display());
    }
    Ok(())
}

/// The component that `run-wasm-runner torture` carries inside itself, for users
/// who have no source tree: built and put where the program includes it.
pub fn put_torture_guest() -> Result<()> {
    build()?;
    let bytes = fs::read(directory().join("torture.wasm")).context("failed to read the guest of torture")?;
    let path = root().join("guest-tasks/task-torture/torture.wasm");
    write(&path, &bytes).with_context(|| format!("failed to write `{}`", path.display()))
}

/// Installs the compilation target unless it is there.
pub fn ensure_target() -> Result<()> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(root())
        .output()
        .context("failed to start `rustc`")?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", TARGET]).current_dir(root());
    run(&mut rustup).with_context(|| {
        format!("the guests need Rust's `{TARGET}` target; install it for the toolchain in `{sysroot}`")
    })
}

/// The components that cargo makes, by name.
fn compile() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut cargo = guest_cargo();
    cargo
        .args(["build", "--release", "--workspace", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let shown = show(&cargo);
    let output = cargo.output().with_context(|| format!("failed to start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` in guest-tasks/ failed: {}", output.status);
    }
    let mut components = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line)
            .with_context(|| format!("cargo printed something that is not JSON: `{line}`"))?;
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        let files = message["filenames"].as_array().map(Vec::as_slice).unwrap_or_default();
        for file in files.iter().filter_map(Value::as_str) {
            if !file.ends_with(".wasm") {
                continue;
            }
            // Cargo's name for a library has underscores.
            let name = message["target"]["name"]
                .as_str()
                .context("a cargo message without a target name")?
                .replace('_', "-");
            let bytes = fs::read(file).with_context(|| format!("failed to read `{file}`"))?;
            ensure!(components.insert(name.clone(), bytes).is_none(), "two guests are named `{name}`");
        }
    }
    Ok(components)
}

/// The components that are written as text, `NAME.wat` in any of the folders.
fn assemble() -> Result<Vec<(String, Vec<u8>)>> {
    let mut components = assemble_folder("guest-tasks/faults-as-text")?;
    components.append(&mut assemble_folder("guest-tasks/tasks-as-text")?);
    components.append(&mut assemble_folder("guest-tasks/platform")?);
    Ok(components)
}

fn assemble_folder(folder: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = root().join(folder);
    let failed = || format!("failed to read `{}`", folder.display());
    let mut components = Vec::new();
    for entry in fs::read_dir(&folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.extension().is_none_or(|extension| extension != "wat") {
            continue;
        }
        let name = path.file_stem().context("a file without a name")?.to_string_lossy();
        let bytes = wat::parse_file(&path)?;
        components.push((name.into_owned(), bytes));
    }
    Ok(components)
}

/// Removes the components of guests that are gone: a test that still uses one
/// must fail here as it would in a fresh clone.
fn remove_strangers(directory: &Path, known: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_component = path.extension().is_some_and(|extension| extension == "wasm");
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if is_component && !known.contains_key(name.as_ref()) {
            fs::remove_file(&path).with_context(|| format!("failed to remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// Replaces the file in one step, and only if it changes: something may be
/// reading it.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{assemble, root};

    /// A fault that nobody runs proves nothing: each must be named by a test of
    /// the runner, as `faults.NAME` or, if it is a component, as `NAME`.
    #[test]
    fn every_fault_has_a_test() {
        let mut tests = String::new();
        for path in files_below(&root().join("tests/it")) {
            tests.push_str(&fs::read_to_string(path).unwrap());
        }
        let wit = root().join("guest-tasks/fault-functions/wit/world.wit");
        let wit = fs::read_to_string(wit).unwrap();
        let functions = wit
            .lines()
            .filter_map(|line| line.split_once(": func("))
            .map(|(name, _)| name.trim())
            // No fault: what the floods submit.
            .filter(|name| *name != "nothing")
            .map(|name| format!("faults.{name}"));
        let components = assemble().unwrap().into_iter().map(|(name, _)| name);
        let untested: Vec<String> = functions.chain(components).filter(|name| !names(&tests, name)).collect();
        assert!(untested.is_empty(), "no test in tests/it names these faults: {untested:?}");
    }

    /// Tells whether `text` has `name` in it, as a whole name.
    fn names(text: &str, name: &str) -> bool {
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        text.match_indices(name).any(|(start, _)| {
            !text[..start].ends_with(of_a_name) && !text[start + name.len()..].starts_with(of_a_name)
        })
    }

    fn files_below(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
            .collect()
    }

    #[test]
    fn names_are_compared_as_a_whole() {
        assert!(names(r#"call("faults.spin", [])"#, "faults.spin"));
        assert!(!names(r#"call("faults.spin-ms", [5])"#, "faults.spin"));
        assert!(names("demo:faults/faults.spin", "faults.spin"));
    }
}
