//! The layers of ARCHITECTURE.md, and the names that only some of them may use.

mod imports;

use std::path::{Path, PathBuf};

use run_wasm_runner::model::{FailureKind, LIMITS, LogStream, Reason, Status};

/// Finds all files below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files(&path, found),
            false => found.push(path),
        }
    }
}

fn has_extension(path: &Path, known: &[&str]) -> bool {
    path.extension().is_some_and(|extension| known.iter().any(|known| extension == *known))
}

/// The lines of code under `src`, with where they stand.
fn code() -> Vec<(String, usize, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    files(&root.join("src"), &mut sources);
    sources.retain(|path| has_extension(path, &["rs"]));
    assert!(sources.len() > 50, "the sources are found");
    let mut lines = Vec::new();
    for file in sources {
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
    // Each with what may use it, besides itself.
    let layers: [(&str, &[&str]); 9] = [
        ("cli", &["src/main.rs"]),
        // The command line starts it.
        ("server", &["src/cli"]),
        ("authoring", &["src/cli"]),
        ("torture", &["src/cli"]),
        ("service", &["src/cli", "src/server"]),
        ("config", &["src/cli", "src/server", "src/authoring", "src/torture", "src/service"]),
        ("runner", &["src/cli", "src/torture", "src/service"]),
        // A runner runs whatever implements `Executor`.
        ("wasm", &["src/cli", "src/authoring", "src/torture", "src/service", "src/config"]),
        // A build asks its host for everything that runs.
        ("store", &["src/cli", "src/torture", "src/service", "src/config", "src/runner"]),
    ];
    for (layer, above) in layers {
        let own = format!("src/{layer}");
        let places: Vec<&str> = above.iter().copied().chain([own.as_str()]).collect();
        is_said_only_in(&format!("crate::{layer}"), &places);
    }
}

#[test]
fn drivers_and_engines_stay_in_their_folders() {
    is_said_only_in("wasmtime::", &["src/wasm"]);
    is_said_only_in("wasmtime_wasi::", &["src/wasm"]);
    is_said_only_in("rusqlite", &["src/store/sqlite"]);
    is_said_only_in("tokio_postgres", &["src/store/postgres"]);
    is_said_only_in("oci_client", &["src/service/registry"]);
}

#[test]
fn the_sources_are_rust_and_sql_alone() {
    let mut all = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    all.retain(|path| !has_extension(path, &["rs", "sql", "snap"]));
    assert!(all.is_empty(), "what guests are written with belongs into `sdk`: {all:?}");
}

#[test]
fn only_the_command_line_prints_and_exits() {
    for word in ["println!(", "eprintln!(", "process::exit", "anyhow"] {
        is_said_only_in(word, &["src/cli", "src/main.rs"]);
    }
}

#[test]
fn no_circle_of_imports_is_larger_than_two_files() {
    let sources = imports::Crate::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let circles: Vec<_> = sources
        .circles_larger_than(2)
        .into_iter()
        .map(|circle| format!("{} files:\n{}", circle.len(), sources.explain(&circle)))
        .collect();
    assert!(circles.is_empty(), "circles of imports: {}", circles.join("\n"));
}

/// A word that a constraint of the schema does not know can't be stored: a new one needs a migration of both stores.
#[test]
fn the_constraints_of_the_newest_schema_know_every_word_of_the_model() {
    let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
    let streams: Vec<_> = LogStream::ALL.iter().map(|stream| stream.as_str()).collect();
    for store in ["sqlite", "postgres"] {
        let mut migrations = Vec::new();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(store).join("migrations");
        files(&folder, &mut migrations);
        migrations.sort();
        let texts: Vec<_> =
            migrations.iter().map(|path| std::fs::read_to_string(path).expect("SQL")).collect();
        for (name, words) in
            [("invocation_status", &statuses[..]), ("history_status", &statuses), ("log_stream", &streams)]
        {
            let start = format!("ADD CONSTRAINT {name} CHECK (");
            let newest = texts.iter().rev().find_map(|text| text.split_once(&start));
            let (_, rest) = newest.unwrap_or_else(|| panic!("{store} has the constraint {name}"));
            let constraint = rest.split_once(';').map_or(rest, |(constraint, _)| constraint);
            for word in words {
                assert!(
                    constraint.contains(&format!("'{word}'")),
                    "{name} of {store} does not know `{word}`"
                );
            }
        }
    }
}

/// An older program can't read a word that it does not know, and takes it for damage unless the schema has a newer
/// version: a new word needs a migration of both stores, which may change nothing. The name of the snapshot has
/// the versions, so accept a snapshot only under a new name.
#[test]
fn words_that_are_stored_belong_to_a_version_of_the_schemas() {
    let version = |store: &str| {
        let mut migrations = Vec::new();
        files(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store").join(store).join("migrations"),
            &mut migrations,
        );
        migrations.len()
    };
    let name = format!("words_sqlite_{}_postgres_{}", version("sqlite"), version("postgres"));
    let line = |what: &str, words: &[&str]| format!("{what}: {}\n", words.join(" "));
    let words = [
        line("statuses", &Status::ALL.map(Status::as_str)),
        line("reasons", &Reason::ALL.map(Reason::as_str)),
        line("failures", &FailureKind::ALL.map(FailureKind::as_str)),
        line("limits", &LIMITS.map(|limit| limit.key)),
        line("streams", &LogStream::ALL.map(LogStream::as_str)),
    ];
    insta::assert_snapshot!(name, words.concat());
}
