//! The layers of ARCHITECTURE.md, and who may say what.

use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of code under `src`, with where they stand.
fn code() -> Vec<(String, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    assert!(files.len() > 50, "the sources are found");
    let mut lines = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).expect("below it").display().to_string();
        let text = std::fs::read_to_string(&file).expect("a text");
        for (number, line) in text.lines().enumerate() {
            if !line.trim_start().starts_with("//") {
                lines.push((name.clone(), number + 1, line.to_owned()));
            }
        }
    }
    lines
}

#[track_caller]
fn is_said_only_in(word: &str, places: &[&str]) {
    let elsewhere: Vec<_> = code()
        .into_iter()
        .filter(|(file, _, line)| line.contains(word) && !places.iter().any(|place| file.starts_with(place)))
        .map(|(file, number, line)| format!("{file}:{number}: {}", line.trim()))
        .collect();
    assert!(elsewhere.is_empty(), "`{word}` belongs into {places:?} alone:\n{}", elsewhere.join("\n"));
}

#[test]
fn layers_use_only_what_lies_below_them() {
    let upper = ["crate::cli", "crate::config", "crate::runner"];
    for word in upper {
        let own = format!("src/{}", word.trim_start_matches("crate::"));
        let above: &[&str] = match word {
            "crate::cli" => &["src/main.rs"],
            _ => &["src/cli", "src/main.rs"],
        };
        let places: Vec<&str> = above.iter().copied().chain([own.as_str()]).collect();
        is_said_only_in(word, &places);
    }
    is_said_only_in("crate::wasm", &["src/cli", "src/config", "src/runner", "src/wasm"]);
    is_said_only_in("crate::store", &["src/cli", "src/config", "src/runner", "src/store"]);
}

#[test]
fn drivers_and_engines_stay_in_their_folders() {
    is_said_only_in("wasmtime::", &["src/wasm"]);
    is_said_only_in("wasmtime_wasi::", &["src/wasm"]);
    is_said_only_in("rusqlite", &["src/store/sqlite"]);
    is_said_only_in("tokio_postgres", &["src/store/postgres"]);
    is_said_only_in("oci_client", &["src/cli/registry"]);
}

#[test]
fn only_the_command_line_prints_and_exits() {
    for word in ["println!(", "eprintln!(", "process::exit", "anyhow"] {
        is_said_only_in(word, &["src/cli", "src/main.rs"]);
    }
}
