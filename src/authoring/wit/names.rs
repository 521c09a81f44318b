//! The names in a project's WIT. The language's tools read it in full, and complain of it;
//! the program needs names alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::authoring::AuthoringError;
use crate::config::in_backticks;

/// The package that guests import, as this program provides it.
const TASK_WIT: &str = include_str!("../../../wit/task.wit");

/// The name of that package.
pub const TASK_PACKAGE: &str = "wasm-runner:task";

/// Writes the package `wasm-runner:task` below `folder`, if something there
/// mentions it and nothing there is it.
pub fn provide_task_package(folder: &Path) -> Result<(), AuthoringError> {
    if !folder.is_dir() {
        return Ok(());
    }
    let texts = texts(folder, true)?;
    let is_wanted = texts.iter().any(|text| text.contains(TASK_PACKAGE));
    if !is_wanted || texts.iter().flat_map(|text| packages(text)).any(|name| name == TASK_PACKAGE) {
        return Ok(());
    }
    let place = folder.join("deps/wasm-runner-task");
    let path = place.join("task.wit");
    let written = fs::create_dir_all(&place).and_then(|()| fs::write(&path, TASK_WIT));
    written.map_err(AuthoringError::cannot("written", &path))
}

/// Finds the only world that the files directly in `folder` declare.
/// [`AuthoringError::Build`] if there is none, or there are several.
pub fn only_world(folder: &Path) -> Result<String, AuthoringError> {
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(AuthoringError::build(format!(
            "there is no directory `{shown}`, which declares the tasks"
        )));
    }
    let texts = texts(folder, false)?;
    let worlds: Vec<String> = texts.iter().flat_map(|text| worlds(text)).collect();
    match &*worlds {
        [world] => Ok(world.clone()),
        [] => Err(AuthoringError::build(format!("no file in `{shown}` declares a world"))),
        _ => {
            let names = in_backticks(worlds.iter().map(String::as_str));
            Err(AuthoringError::build(format!("the files in `{shown}` declare several worlds: {names}")))
        }
    }
}

/// Lists the namespaces of all packages in and below `folder`.
pub fn namespaces(folder: &Path) -> Result<BTreeSet<String>, AuthoringError> {
    let texts = texts(folder, true)?;
    let names = texts.iter().flat_map(|text| packages(text));
    Ok(names.filter_map(|name| Some(name.split_once(':')?.0.to_owned())).collect())
}

/// Tells whether a directory itself has WIT in it.
pub fn has_files(folder: &Path) -> Result<bool, AuthoringError> {
    Ok(!texts(folder, false)?.is_empty())
}

/// Chooses a version 0.2 of a package that nothing in and below `folder` has.
pub fn free_version(folder: &Path, package: &str) -> Result<String, AuthoringError> {
    let texts = texts(folder, true)?;
    let declared: BTreeSet<&str> = texts.iter().flat_map(|text| declared(text)).collect();
    let mut patch = 0;
    while declared.contains(&*format!("{package}@0.2.{patch}")) {
        patch += 1;
    }
    Ok(format!("0.2.{patch}"))
}

/// Lists the packages that are declared in a directory itself, or by a file.
pub fn packages_in(path: &Path) -> Result<Vec<String>, AuthoringError> {
    let texts = match path.is_dir() {
        true => texts(path, false)?,
        false if is_wit(path) => vec![text(path)?],
        false => Vec::new(),
    };
    Ok(texts.iter().flat_map(|text| packages(text)).collect())
}

/// Lists the interfaces of other packages that the files directly in `folder` import or use,
/// each once, with its version.
pub fn imports(folder: &Path) -> Result<BTreeSet<String>, AuthoringError> {
    Ok(texts(folder, false)?.iter().flat_map(|text| imports_of(text)).collect())
}

/// Reads the `.wit` files directly in `folder`, comments included.
pub fn full_texts(folder: &Path) -> Result<Vec<String>, AuthoringError> {
    files(folder, false)?.iter().map(|path| read(path)).collect()
}

/// Reads the `.wit` files in `folder`, without their comments.
fn texts(folder: &Path, below: bool) -> Result<Vec<String>, AuthoringError> {
    files(folder, below)?.iter().map(|path| text(path)).collect()
}

/// Finds the `.wit` files in `folder`.
fn files(folder: &Path, below: bool) -> Result<Vec<PathBuf>, AuthoringError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(AuthoringError::cannot("read", &folder))?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() && below {
                folders.push(path);
            } else if is_wit(&path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn text(path: &Path) -> Result<String, AuthoringError> {
    Ok(without_comments(&read(path)?))
}

fn read(path: &Path) -> Result<String, AuthoringError> {
    fs::read_to_string(path).map_err(AuthoringError::cannot("read", path))
}

fn is_wit(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wit")
}

/// Leaves comments out: those to the end of the line, and those that may contain others.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("/*") {
            let mut depth = 0;
            loop {
                if rest.starts_with("/*") {
                    depth += 1;
                    rest = &rest[2..];
                } else if rest.starts_with("*/") {
                    depth -= 1;
                    rest = &rest[2..];
                } else {
                    rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]);
                }
                if depth == 0 || rest.is_empty() {
                    break;
                }
            }
            kept.push(' ');
        } else {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    kept
}

/// Splits a text without comments into words and marks.
fn words(text: &str) -> Vec<&str> {
    let is_mark = |c: char| matches!(c, '{' | '}' | ';' | ',' | '(' | ')');
    let parts = text.split_whitespace().flat_map(|part| part.split_inclusive(is_mark));
    let split = parts.flat_map(|part| match part.strip_suffix(is_mark) {
        Some(word) => [word, &part[word.len()..]],
        None => [part, ""],
    });
    split.filter(|word| !word.is_empty()).collect()
}

/// Lists the worlds that a text declares.
fn worlds(text: &str) -> Vec<String> {
    let words = words(text);
    let declared = words.windows(3).filter(|three| three[0] == "world" && three[2] == "{");
    declared.map(|three| three[1].trim_start_matches('%').to_owned()).collect()
}

/// Lists the packages that a text declares, without their versions.
fn packages(text: &str) -> Vec<String> {
    declared(text).iter().map(|name| name.split('@').next().unwrap_or_default().to_owned()).collect()
}

/// Lists the packages that a text declares.
fn declared(text: &str) -> Vec<&str> {
    let words = words(text);
    let declared = words.windows(3).filter(|three| three[0] == "package" && matches!(three[2], ";" | "{"));
    declared.map(|three| three[1]).collect()
}

/// Lists the interfaces of other packages that a text imports or uses types of.
fn imports_of(text: &str) -> Vec<String> {
    let words = words(text);
    let named = words.windows(2).filter(|two| matches!(two[0], "import" | "use"));
    // `use local:a/types.{point}`
    let named = named.map(|two| two[1].trim_end_matches('.'));
    let is_elsewhere = |name: &&str| name.contains(':') && name.contains('/');
    named.filter(is_elsewhere).map(|name| name.replace('%', "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
        package local:hello@1.0.0;\n// world one {\n/* world /* two */ { world three { */\n\
        interface world-wide { world-one: func(world: string); }\n\
        world four{import wasm-runner:task/invocations@0.1.0;}\nworld %five /* x */ {}\n";

    #[test]
    fn worlds_are_found_where_they_are_declared() {
        assert_eq!(worlds(&without_comments(TEXT)), ["four", "five"]);
        assert_eq!(packages(&without_comments(TEXT)), ["local:hello"]);
        assert_eq!(worlds(&without_comments("/* world a {")), Vec::<String>::new());
        assert_eq!(worlds(&without_comments(TASK_WIT)), ["task"]);
        assert_eq!(packages(&without_comments(TASK_WIT)), [TASK_PACKAGE]);
    }

    #[test]
    fn a_version_that_no_package_has_is_free() {
        let place = tempfile::tempdir().expect("a directory");
        let put = |text: &str| fs::write(place.path().join("world.wit"), text).expect("written");
        let free = || free_version(place.path(), "wasi:random").expect("read");
        put("package a:b; world c { import wasi:random/random@0.2.0; }");
        assert_eq!(free(), "0.2.0");
        put("package a:b; package wasi:random@0.2.0 {} package wasi:random@0.2.12 {}");
        assert_eq!(free(), "0.2.1");
    }

    #[test]
    fn imports_of_other_packages_are_found() {
        let text = "package a:b;\ninterface c { use types.{x}; use d:e/types@1.0.0.{y, z}; }\n\
            world w { import c; import f:g/%use; /* import h:i/j; */ import k: func(); import d:e/f@1.0.0;\n\
            include wasi:cli/imports@0.2.0; use l:m/n.{o as p}; export q:r/s; }";
        assert_eq!(
            imports_of(&without_comments(text)),
            ["d:e/types@1.0.0", "f:g/use", "d:e/f@1.0.0", "l:m/n"]
        );
    }

    #[test]
    fn the_package_of_tasks_is_written_where_it_is_wanted_and_missing() {
        let place = tempfile::tempdir().expect("a directory");
        let task = place.path().join("deps/wasm-runner-task/task.wit");
        fs::write(place.path().join("world.wit"), "package a:b; world c {}").expect("written");
        provide_task_package(place.path()).expect("nothing to do");
        assert!(!task.exists(), "nothing imports it");
        assert_eq!(only_world(place.path()).expect("there is one"), "c");

        fs::write(place.path().join("world.wit"), TEXT).expect("written");
        provide_task_package(place.path()).expect("written");
        assert_eq!(fs::read_to_string(&task).expect("it is there"), TASK_WIT);
        assert!(only_world(place.path()).is_err(), "there are two");
        assert_eq!(
            namespaces(place.path()).expect("read"),
            ["local", "wasm-runner"].map(str::to_owned).into()
        );

        let own = format!("{TASK_WIT}\n// Theirs.\n");
        fs::write(&task, &own).expect("written");
        provide_task_package(place.path()).expect("nothing to do");
        assert_eq!(fs::read_to_string(&task).expect("it is there"), own, "what is there stays");
    }
}
