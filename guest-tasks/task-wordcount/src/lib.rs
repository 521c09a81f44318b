//! Map-reduce over text files.
//!
//! `word-count` lists the files of a directory, submits a `count-words` child
//! for each, awaits them all and merges their tallies. While it awaits, it holds
//! no slot: the children run even on a runner with a single one.
//!
//! The directory has to be granted to this component in the configuration. To
//! the guest, files are ordinary `std::fs` files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use exports::demo::text::wordcount::{Guest, Summary, Tally};
use serde_json::{Value, json};
use wasm_runner::task::log::{Level, log};
use wasm_runner::task::types::SubmitOptions;
use wasm_runner::task::{context, invocations};

wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "demo:text/guest",
    generate_all,
});

const COUNT_WORDS: &str = "demo:text/wordcount.count-words";
const TEXT_EXTENSIONS: [&str; 5] = ["md", "txt", "rs", "toml", "wit"];

struct WordCount;
export!(WordCount);

impl Guest for WordCount {
    fn count_words(path: String) -> Result<Vec<Tally>, String> {
        let bytes = fs::read(&path).map_err(|e| format!("failed to read `{path}`: {e}"))?;
        Ok(count(&String::from_utf8_lossy(&bytes)))
    }

    fn merge(parts: Vec<Vec<Tally>>) -> Vec<Tally> {
        let mut counts = HashMap::new();
        for tally in parts.into_iter().flatten() {
            *counts.entry(tally.word).or_default() += tally.count;
        }
        most_frequent_first(counts)
    }

    fn word_count(directory: String, top: u32) -> Result<Summary, String> {
        let files = text_files(Path::new(&directory))?;
        log(Level::Info, &format!("{} files in {directory}", files.len()));

        // Map: one child per file. Arguments are a JSON array, by position.
        let arguments: Vec<String> = files.iter().map(|path| json!([path]).to_string()).collect();
        let ids = invocations::submit_all(COUNT_WORDS, &arguments, &plain())
            .map_err(|refusal| format!("failed to submit: {refusal:?}"))?;
        let total = ids.len() as u64;
        context::progress(0, total, "counting");
        let outcomes =
            invocations::await_all(&ids).map_err(|refusal| format!("failed to await: {refusal:?}"))?;

        // Reduce. One unreadable file fails the whole count: a partial sum that
        // looks complete would be worse.
        let parts = files
            .iter()
            .zip(outcomes)
            .map(|(path, outcome)| match outcome {
                Ok(value) => tallies(&value),
                Err(failure) => Err(format!("`{}`: {failure:?}", path.display())),
            })
            .collect::<Result<_, _>>()?;
        let mut merged = Self::merge(parts);
        context::progress(total, total, "merged");

        let summary = Summary {
            files: files.len() as u32,
            total_words: merged.iter().map(|tally| tally.count).sum(),
            distinct_words: merged.len() as u64,
            top: {
                merged.truncate(top as usize);
                merged
            },
        };
        log(Level::Info, &format!("{} words", summary.total_words));
        Ok(summary)
    }
}

/// Nothing special about these children.
fn plain() -> SubmitOptions {
    SubmitOptions { delay_ms: None, priority: None, key: None, detached: false, labels: Vec::new() }
}

fn count(text: &str) -> Vec<Tally> {
    let mut counts = HashMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if word.starts_with(char::is_alphabetic) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    most_frequent_first(counts)
}

/// In a fixed order, so that equal inputs give equal results.
fn most_frequent_first(counts: HashMap<String, u64>) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = counts.into_iter().map(|(word, count)| Tally { word, count }).collect();
    tallies.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.word.cmp(&b.word)));
    tallies
}

/// Text files in `directory` and below it, in a fixed order. Hidden entries,
/// build output and symbolic links are left out.
fn text_files(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e| format!("failed to list `{}`: {e}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        let path = entry.path();
        let is_text =
            path.extension().is_some_and(|extension| TEXT_EXTENSIONS.iter().any(|known| extension == *known));
        if kind.is_dir() {
            files.extend(text_files(&path)?);
        } else if kind.is_file() && is_text {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the JSON that `count-words` returned: `[{"word": …, "count": …}, …]`.
fn tallies(json: &str) -> Result<Vec<Tally>, String> {
    let value: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let tally = |entry: &Value| {
        Some(Tally { word: entry["word"].as_str()?.to_owned(), count: entry["count"].as_u64()? })
    };
    value
        .as_array()
        .and_then(|entries| entries.iter().map(tally).collect())
        .ok_or_else(|| format!("expected a list of tallies, found {json}"))
}
