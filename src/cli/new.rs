//! `new`: a project of tasks in some language.

mod templates;

use templates::Style;
pub use templates::TASK_WIT;

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::config::in_backticks;

use super::args::NewArgs;
use super::error::CliError;
use super::language::Language;
use super::output::{self, Output};

/// Words that mean something in WIT, in a language that projects can be in, or
/// within the project itself.
const RESERVED: &str = "\
    abstract alloc and app as assert async await become bool borrow box break case char class const \
    constructor continue core crate def default del delete do double dyn else enum export exports \
    extern false final flags float fn for from func future global if impl import imports in include \
    int interface is lambda let list long loop macro match mod move mut namespace new not option or \
    own package pass pub record ref resource result return self static std stream string struct super \
    tasks test trait true tuple type use variant world";

/// The longest name.
const MAX_NAME: usize = 64;

/// `new --json`.
#[derive(Debug, Serialize)]
struct NewDocument<'a> {
    name: &'a str,
    language: &'a str,
    files: Vec<String>,
}

/// Runs the command.
///
/// # Errors
///
/// A usage error for a name that can't be one or that is taken, or
/// [`CliError::System`].
pub fn run(args: &NewArgs, json: bool) -> Result<(), CliError> {
    let (name, language) = (&*args.name, args.language);
    check_name(name)?;
    let style = if args.no_wit { Style::NoWit } else { Style::Wit };
    let files = write(Path::new(name), name, language, style)?;
    let mut output = Output::stdout();
    if json {
        output.json(&NewDocument { name, language: language.name(), files })?;
    } else {
        files.iter().try_for_each(|file| output.line(file))?;
    }
    output.flush()?;
    let prepare = templates::prepare(language).map(|command| format!("{command} && ")).unwrap_or_default();
    output::hint(&format!(
        "`cd {name} && {prepare}run-wasm-runner build`, then `run-wasm-runner call greet '[\"world\"]'`"
    ));
    Ok(())
}

/// Writes the files of a project and returns their paths.
fn write(directory: &Path, name: &str, language: Language, style: Style) -> Result<Vec<String>, CliError> {
    let files = templates::files(language, style).ok_or_else(|| {
        let error = CliError::usage(format!("a project in `{language}` needs WIT"));
        let others = in_backticks(templates::without_wit().map(Language::name));
        error.with_hint(format!("`--no-wit` is for {others}: their types say enough"))
    })?;
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let error = CliError::usage(format!("`{name}` exists already: nothing was changed"));
            return Err(error.with_hint("choose another name, or remove what is there"));
        }
        Err(error) => return Err(cannot_write(directory, &error)),
    }
    let mut written = Vec::new();
    for file in files {
        let path = directory.join(file.path);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(|error| cannot_write(parent, &error))?;
        fs::write(&path, file.text(name)).map_err(|error| cannot_write(&path, &error))?;
        written.push(path.display().to_string());
    }
    written.sort();
    Ok(written)
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::System(format!("`{}` can't be written: {error}", path.display()))
}

/// Whether a project may be called so: its name becomes a part of WIT names, of
/// the component's name and of names in the language itself.
fn check_name(name: &str) -> Result<(), CliError> {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if name.len() > MAX_NAME || !name.split('-').all(is_word) {
        let error = CliError::usage(format!("`{name}` can't be the name of a project"));
        return Err(error.with_hint(format!(
            "a name is lower-case letters and digits in words joined by `-`, each beginning with a letter, \
             at most {MAX_NAME} characters in all, for example `word-count`"
        )));
    }
    if RESERVED.split(' ').any(|word| word == name) {
        let error = CliError::usage(format!("`{name}` has a meaning of its own in WIT or in some language"));
        return Err(error.with_hint(format!("choose another name, for example `{name}-tasks`")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_that_mean_nothing_else() {
        for good in ["a", "hello", "word-count", "a1-b2", "worlds"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(MAX_NAME + 1);
        for bad in
            ["", "Hello", "1a", "a-", "-a", "a--b", "a_b", "a.b", "a/b", "..", "é", "a-1", "world", &long]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_is_never_written_over() {
        let place = tempfile::tempdir().expect("a directory");
        let project = place.path().join("hello");
        write(&project, "hello", Language::Rust, Style::Wit).expect("written");
        let before = fs::read(project.join("README.md")).expect("it is there");
        fs::write(project.join("README.md"), "mine").expect("written");
        assert!(matches!(write(&project, "hello", Language::Rust, Style::Wit), Err(CliError::Usage { .. })));
        assert_eq!(fs::read(project.join("README.md")).expect("it is there"), b"mine");
        assert!(before.starts_with(b"# hello"));
    }
}
