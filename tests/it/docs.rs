//! The documents name only tests, files and keys that exist.

use std::path::{Path, PathBuf};

use run_wasm_runner::model::{Combined, FailureKind, LIMITS, Limit, LimitUnit, Status, USAGE};
use run_wasm_runner::wasm::GRANTS;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

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

/// The files below a directory as modules, each with its text.
fn modules(directory: &str) -> Vec<(String, String)> {
    let directory = root().join(directory);
    let mut files = Vec::new();
    sources(&directory, &mut files);
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a text");
            let name = file.strip_prefix(&directory).expect("below it").with_extension("");
            let name = name.to_str().expect("a name").replace('/', "::");
            (name.trim_end_matches("::mod").to_owned(), text)
        })
        .collect()
}

/// Tells whether `text` has a function of that name, or a macro that makes one of it.
fn has_function(text: &str, name: &str) -> bool {
    text.lines().map(str::trim).any(|line| {
        let line = line.trim_start_matches("#[test]").trim_start().trim_start_matches("pub ");
        line.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{name}(")))
            || line.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(": "))
    })
}

/// Whether `name`, a path, leads to a function, a module, or into the modules of
/// a macro.
fn is_there(modules: &[(String, String)], name: &str) -> bool {
    let is_module = modules.iter().any(|(module, _)| module == name);
    let Some((path, function)) = name.rsplit_once("::") else {
        return is_module;
    };
    // A file may have modules within it, and a module be more than one file.
    let is_of_path = |module: &str| {
        module == path
            || module.strip_prefix(path).is_some_and(|rest| rest.starts_with("::"))
            || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
    };
    is_module || modules.iter().any(|(module, text)| is_of_path(module) && has_function(text, function))
}

/// The tests that a document names: paths in backticks, of the integration tests
/// or, after `unit: `, of the source.
fn named(document: &str) -> Vec<(bool, String)> {
    let text = std::fs::read_to_string(root().join(document)).expect("a document");
    let is_path = |name: &str| {
        name.contains("::")
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':')
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(|quoted| match quoted.strip_prefix("unit: ") {
            Some(name) => (true, name.trim_end_matches("::")),
            None => (false, quoted.trim_end_matches("::")),
        })
        .filter(|(is_unit, name)| *is_unit || is_path(name))
        .map(|(is_unit, name)| (is_unit, name.to_owned()))
        .collect()
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let (units, integration) = (modules("src"), modules("tests/it"));
    assert!(is_there(&integration, "docs::every_test_that_a_document_names_is_there"));
    assert!(!is_there(&integration, "docs::no_such_test") && !is_there(&integration, "no_such_module"));
    let mut missing = Vec::new();
    for document in ["docs/acceptance.md", "docs/guarantees.md", "docs/hostile-corpus.md"] {
        let named = named(document);
        assert!(named.len() > 20, "{document} names tests");
        for (is_unit, name) in named {
            if !is_there(if is_unit { &units } else { &integration }, &name) {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The documents, each with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut files =
        vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CHANGELOG.md")];
    for directory in ["docs", "docs/design"] {
        let entries = std::fs::read_dir(root().join(directory)).expect("a directory");
        files.extend(entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()));
    }
    assert!(files.len() > 15);
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).expect("a text");
            (file, text)
        })
        .collect()
}

/// A blank line within a table makes text of its end.
#[test]
fn every_table_is_whole() {
    let is_row = |line: &&str| line.starts_with('|');
    let is_rule = |line: &str| line.starts_with("|-") && line.chars().all(|c| "|-: ".contains(c));
    for (file, text) in documents() {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| is_row(line)) {
            let is_first = number == 0 || !is_row(&lines[number - 1]);
            let has_rule = lines.get(number + 1).is_some_and(|next| is_rule(next));
            assert!(!is_first || has_rule, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let mut links = 0;
    for (file, text) in documents() {
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            links += 1;
            let path = file.parent().expect("a directory").join(target);
            assert!(path.exists(), "{}: {target}", file.display());
        }
    }
    assert!(links > 50, "{links}");
}

/// The cells of the table that has this heading, a row each, without the heading itself.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join(document)).expect("a document");
    let rows =
        text.lines().skip_while(|line| *line != heading).skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

/// A limit as it is written in a configuration.
fn written(limit: &Limit) -> String {
    match (limit.unit, limit.default) {
        (LimitUnit::OfGrant, _) => "64MiB`, `10000".to_owned(),
        (_, None) => "unlimited".to_owned(),
        (LimitUnit::Time, Some(nanos)) if nanos % (24 * 3_600_000_000_000) == 0 => {
            format!("{}d", nanos / (24 * 3_600_000_000_000))
        }
        (LimitUnit::Time, Some(nanos)) => format!("{}s", nanos / 1_000_000_000),
        (LimitUnit::Bytes, Some(bytes)) if bytes % (1 << 30) == 0 => format!("{}GiB", bytes >> 30),
        (LimitUnit::Bytes, Some(bytes)) => format!("{}MiB", bytes >> 20),
        (LimitUnit::Count | LimitUnit::Positive, Some(count)) => count.to_string(),
    }
}

#[test]
fn the_table_of_limits_is_the_one_of_the_source() {
    let rows = LIMITS.map(|limit| {
        let key = format!("`{}`", limit.key);
        vec![key, limit.bounds.to_owned(), format!("`{}`", written(&limit)), limit.at_limit.to_owned()]
    });
    assert_eq!(table("docs/configuration.md", "| limit | bounds | default | at the limit |"), rows);
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).expect("a document");
    for limit in LIMITS.iter().filter(|limit| limit.unit != LimitUnit::OfGrant) {
        let quote = if limit.unit == LimitUnit::Count { "" } else { "\"" };
        let line = format!("{} = {quote}{}{quote}", limit.key, written(limit));
        assert!(page.lines().any(|found| found.starts_with(&line)), "`{line}` is in the example");
    }
}

#[test]
fn the_table_of_grants_is_the_one_of_the_source() {
    let rows = GRANTS
        .map(|grant| vec![format!("`{}`", grant.key), grant.allows.to_owned(), format!("`{}`", grant.right)]);
    assert_eq!(table("docs/configuration.md", "| key | allows | a part of the right |"), rows);
    let keys = run_wasm_runner::config::fuzzing::keys();
    assert!(GRANTS.iter().all(|grant| keys.contains(&grant.key)));
}

/// The places that no compiler compares with the enums of the source.
#[test]
fn guests_and_sdks_know_every_status_and_every_kind_of_failure() {
    let text = |path: &str| std::fs::read_to_string(root().join(path)).expect("a file");
    let wit = text("wit/task.wit");
    let [rust, typescript, template, python] = [
        "sdk/rust/src/invocation.rs",
        "sdk/typescript/wasm-runner.ts",
        "sdk/templates/typescript/src/wasm-runner-task.d.ts",
        "sdk/python/wasm_runner/__init__.py",
    ]
    .map(text);
    for kind in FailureKind::ALL {
        assert!(wit.contains(&format!("        {kind}(")), "`{kind}` is a case of `failure`");
        assert!(rust.contains(&format!("(\"{kind}\", message)")), "`{kind}` in Rust");
        assert!(typescript.contains(&format!("| \"{kind}\"")), "`{kind}` in TypeScript");
        assert!(template.contains(&format!("| \"{kind}\"")), "`{kind}` in projects in TypeScript");
        assert!(python.contains(&format!("`{kind}`")), "`{kind}` in Python");
    }
    for status in Status::ALL {
        assert!(wit.contains(&format!("        {status},")), "`{status}` is a case of `status`");
        assert!(template.contains(&format!("| \"{status}\"")), "`{status}` in projects in TypeScript");
    }
}

#[test]
fn the_bill_is_the_one_of_the_source() {
    let rows =
        table("docs/design/sandbox.md", "| field | counts | over several attempts | limit of one attempt |");
    for entry in USAGE {
        let field = format!("`{}`", entry.field.replace("cpu_micros", "cpu_ms"));
        let row =
            rows.iter().find(|row| row[0].contains(&field)).unwrap_or_else(|| panic!("{field} is there"));
        let combined = match entry.combined {
            Combined::Sum => "sum",
            Combined::Largest => "largest",
        };
        assert!(row[2].starts_with(combined), "{row:?}");
        assert_eq!(row[3], format!("`{}`", entry.limit), "{row:?}");
    }
    let fields: usize = rows.iter().map(|row| row[0].split(", ").count()).sum();
    assert_eq!(fields, USAGE.len() + 1, "and `fuel`");
}
