//! The word count of `guest-tasks/wordcount-mixed`: a Python parent, JavaScript and Go
//! children, and C for the inner loop, against the one in Rust.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::projects::Projects;
use crate::support::cli::Sandbox;
use crate::support::guests::guest;

/// Words of several scripts, digits, and what is neither.
const TEXTS: [(&str, &[u8]); 5] = [
    ("a.txt", "The cat, the dog; THE ÉLAN élan 2nd x2 ²x x² µs Straße ΣΊΣΥΦΟΣ naïve\u{301}".as_bytes()),
    ("below/b.md", "the Привет привет мир 世界 世界 ٣x x٣ Ⅳ Ⅳth café_au-lait it's".as_bytes()),
    ("below/not-utf8.toml", b"the caf\xe9 the \xff\xfe end"),
    ("below/empty.rs", b""),
    ("below/not-a-text.json", b"the the the"),
];

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory is created");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().expect("it has a type").is_dir() {
            // What somebody built where the sources are.
            true if ["build", "deps", "node_modules", ".venv"].iter().any(|made| target.ends_with(made)) => {}
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn the_word_count_over_four_languages_gives_the_value_of_the_one_in_rust() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let projects = Projects(Sandbox::new());
    copy(&root.join("guest-tasks/wordcount-mixed"), projects.0.path());
    // As its README says.
    projects.run(["build", "counting"]).expect(0);
    projects.run(["build", "reading"]).expect(0);
    projects.install_npm("splitting");
    projects.run(["wit", "deps", "splitting"]).expect(0);
    projects.run(["build", "splitting"]).expect(0);
    projects.run(["wit", "deps", "summary"]).expect(0);
    projects.run(["build", "summary"]).expect(0);

    for (name, text) in TEXTS {
        projects.0.write(&format!("text/{name}"), text);
    }
    copy(&root.join("docs/design"), &projects.path("text/design"));
    let configuration = fs::read_to_string(projects.path("wasm-runner.toml")).expect("it is there");
    let rust = format!(
        "{configuration}\n[component.wordcount]\npath = {:?}\n\
         [[component.wordcount.directory]]\nhost = \"text\"\nguest = \"/text\"\naccess = \"read-only\"\n",
        guest("wordcount")
    );
    projects.0.write("wasm-runner.toml", rust);
    projects.run(["check"]).expect(0);

    let count = |task: &str| projects.run(["call", task, r#"["/text", 100000]"#]).expect(0).json();
    let (mixed, rust) =
        (count("mixed:summary/wordcount.word-count"), count("demo:text/wordcount.word-count"));
    assert_eq!(mixed["files"], rust["files"]);
    assert_eq!(mixed, rust);
    let top = rust["top"].as_array().expect("tallies");
    for word in ["élan", "привет", "世界", "straße", "x²", "the"] {
        assert!(top.iter().any(|tally| tally["word"] == word), "{word} is not in {rust}");
    }

    // Each call across a language was an invocation of its own.
    let task = "mixed:summary/wordcount.word-count";
    let id = projects.run(["submit", task, r#"["/text", 3]"#]).expect(0).stdout().trim().to_owned();
    projects.run(["start", "--until-idle"]).expect(0);
    let mut calls: BTreeMap<String, u64> = BTreeMap::new();
    for one in projects.run(["list", "--json", "--limit", "0"]).expect(0).json_lines() {
        assert_eq!((&one["root"], &one["status"]), (&json!(id), &json!("succeeded")), "{one}");
        *calls.entry(one["function"].as_str().expect("a name").to_owned()).or_default() += 1;
    }
    let files = rust["files"].as_u64().expect("a number");
    let expected = [
        ("mixed:counting/words.count", files),
        ("mixed:counting/words.merge", 1),
        ("mixed:reading/files.read", files),
        ("mixed:reading/files.text-files", 1),
        ("mixed:splitting/texts.count-words", files),
        (task, 1),
    ];
    assert_eq!(calls, expected.map(|(task, count)| (task.to_owned(), count)).into());

    // An err of the Go child is the parent's.
    let failed = projects.run(["call", task, r#"["/nowhere", 3]"#, "--json"]).expect(1).json();
    let error = failed["failure"]["error"].as_str().expect("a text");
    assert!(error.starts_with("failed to list `/nowhere`"), "{error}");
}
