//! New projects: their names and their files.

use std::fs;
use std::io;
use std::path::Path;

use super::AuthoringError;
use super::language::{Language, Style};
use super::languages::LANGUAGES;
use crate::config::in_backticks;

/// Words that mean something in WIT, or within the project itself.
const RESERVED: &str = "\
    app as async bool borrow char constructor enum export exports flags from func future import imports include \
    interface list option own package record resource result static stream string tasks test tuple type use \
    variant world";

/// The longest name.
const MAX_NAME: usize = 64;

/// Writes a new project into the directory `name`, and returns the paths of its files.
/// A usage error for a name that can't be one or that is taken, or
/// [`AuthoringError::System`].
pub fn create(name: &str, language: &Language, style: Style) -> Result<Vec<String>, AuthoringError> {
    check_name(name)?;
    write(Path::new(name), name, language, style)
}

/// Writes the files of a project and returns their paths.
fn write(
    directory: &Path,
    name: &str,
    language: &Language,
    style: Style,
) -> Result<Vec<String>, AuthoringError> {
    let files = language.files(style).ok_or_else(|| {
        let others = LANGUAGES.iter().filter(|other| other.files_without_wit.is_some());
        let others = in_backticks(others.map(|other| other.name));
        AuthoringError::usage(
            format!("a project in `{}` needs WIT", language.name),
            format!("`--no-wit` is for {others}: their types say enough"),
        )
    })?;
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(AuthoringError::usage(
                format!("`{name}` exists already: nothing was changed"),
                "choose another name, or remove what is there",
            ));
        }
        Err(error) => return Err(AuthoringError::unwritable(directory)(error)),
    }
    let mut written = Vec::new();
    for file in files {
        let path = directory.join(file.path);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).map_err(AuthoringError::unwritable(parent))?;
        fs::write(&path, file.text(name)).map_err(AuthoringError::unwritable(&path))?;
        written.push(path.display().to_string());
    }
    written.sort();
    Ok(written)
}

/// Refuses a name that a project can't have: it becomes a part of WIT names, of
/// the component's name and of names in the language itself.
fn check_name(name: &str) -> Result<(), AuthoringError> {
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if name.len() > MAX_NAME || !name.split('-').all(is_word) {
        return Err(AuthoringError::usage(
            format!("`{name}` can't be the name of a project"),
            format!(
                "a name is lower-case letters and digits in words joined by `-`, each beginning with a letter, \
                 at most {MAX_NAME} characters in all, for example `word-count`"
            ),
        ));
    }
    let words = LANGUAGES.iter().map(|language| language.reserved).chain([RESERVED]);
    if words.flat_map(|words| words.split(' ')).any(|word| word == name) {
        return Err(AuthoringError::usage(
            format!("`{name}` has a meaning of its own in WIT or in some language"),
            format!("choose another name, for example `{name}-tasks`"),
        ));
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
        write(&project, "hello", LANGUAGES[0], Style::Wit).expect("written");
        let before = fs::read(project.join("README.md")).expect("it is there");
        fs::write(project.join("README.md"), "mine").expect("written");
        assert!(matches!(
            write(&project, "hello", LANGUAGES[0], Style::Wit),
            Err(AuthoringError::Usage { .. })
        ));
        assert_eq!(fs::read(project.join("README.md")).expect("it is there"), b"mine");
        assert!(before.starts_with(b"# hello"));
    }
}
