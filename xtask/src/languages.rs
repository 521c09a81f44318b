//! The table of languages, from what their tests measure.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::guests;
use crate::process::{cargo, root, run};

/// The languages in the order of the table, and how people write them: with WIT, and what
/// can be written without it.
pub const LANGUAGES: [(&str, &str); 10] = [
    ("rust", "Rust"),
    ("rust-no-wit", "Rust, without WIT"),
    ("c", "C"),
    ("cpp", "C++"),
    ("go", "Go"),
    ("javascript", "JavaScript"),
    ("typescript", "TypeScript"),
    ("typescript-no-wit", "TypeScript, without WIT"),
    ("python", "Python"),
    ("python-no-wit", "Python, without WIT"),
];

/// The table stands between these lines.
const BEGIN: &str = "<!-- begin: written by `cargo xtask languages` -->";
const END: &str = "<!-- end -->";

/// Runs the test of each language, one after another, and writes what they
/// measured into the documents.
pub fn measure() -> Result<()> {
    guests::ensure_target()?;
    let measured = root().join("target/languages");
    if measured.exists() {
        fs::remove_dir_all(&measured)?;
    }
    let mut test = cargo();
    test.args(["test", "--test", "it", "--", "--test-threads=1", "works_from_new_to_call"]);
    run(&mut test)?;
    let rows = LANGUAGES.iter().map(|(language, name)| {
        let path = measured.join(format!("{language}.json"));
        let text =
            fs::read_to_string(&path).with_context(|| format!("`{}` was not measured", path.display()))?;
        row(name, &serde_json::from_str(&text)?)
    });
    let table = table(&rows.collect::<Result<Vec<_>>>()?);
    for document in ["README.md", "docs/languages.md"] {
        let path = root().join(document);
        put_table(&path, &table).with_context(|| format!("failed to write the table into `{document}`"))?;
    }
    print!("{table}");
    Ok(())
}

fn table(rows: &[String]) -> String {
    let head = "\
        | language | component | build | first load | later loads | an invocation |\n\
        |---|---|---|---|---|---|\n";
    head.to_owned() + &rows.concat()
}

fn row(name: &str, measured: &Value) -> Result<String> {
    let number = |key: &str| measured[key].as_f64().with_context(|| format!("no `{key}` in {measured}"));
    let seconds = |key| Ok::<_, anyhow::Error>(rounded(number(key)?));
    let kibibytes = number("bytes")? / 1024.0;
    let size = match kibibytes < 1000.0 {
        true => format!("{kibibytes:.0} KiB"),
        false => format!("{:.1} MiB", kibibytes / 1024.0),
    };
    Ok(format!(
        "| {name} | {size} | {} | {} | {} | {} |\n",
        seconds("build_seconds")?,
        seconds("first_load_seconds")?,
        seconds("load_seconds")?,
        seconds("invocation_seconds")?,
    ))
}

/// Two digits: the rest differs from run to run.
fn rounded(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 10.0 => format!("{seconds:.0} s"),
        _ if seconds >= 1.0 => format!("{seconds:.1} s"),
        _ if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        _ if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} µs", seconds * 1e6),
    }
}

fn put_table(path: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(path)?;
    fs::write(path, with_table(&text, table)?)?;
    Ok(())
}

fn with_table(text: &str, table: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("there is no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("there is no line `{END}`"))?;
    ensure!(!after.contains(BEGIN), "there are two tables");
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_measurement_becomes_a_row() {
        let measured = json!({
            "bytes": 1_613_265, "build_seconds": 7.05, "first_load_seconds": 12.4, "load_seconds": 0.023,
            "invocation_seconds": 0.00042,
        });
        assert_eq!(row("C", &measured).unwrap(), "| C | 1.5 MiB | 7.0 s | 12 s | 23 ms | 420 µs |\n");
        assert!(row("C", &json!({"bytes": 1})).is_err());
    }

    #[test]
    fn a_table_replaces_the_one_before() {
        let text = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = with_table(&text, "| new |\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\n| new |\n{END}\nb\n"));
        assert!(with_table("nothing", "").is_err());
    }

    #[test]
    fn every_template_has_a_row() {
        let templates = fs::read_dir(root().join("sdk/templates")).unwrap();
        let templates = templates.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut templates: Vec<_> = templates.filter(|name| name != "common").collect();
        templates.sort_unstable();
        let mut rows = LANGUAGES.map(|(language, _)| language);
        rows.sort_unstable();
        assert_eq!(templates, rows);
    }

    #[test]
    fn every_language_has_a_row() {
        for document in ["README.md", "docs/languages.md"] {
            let text = fs::read_to_string(root().join(document)).unwrap();
            for (_, name) in LANGUAGES {
                assert!(text.contains(&format!("\n| {name} | ")), "{name} is not in {document}");
            }
        }
    }
}
