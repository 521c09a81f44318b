//! Builds: from a project to a component, with the language's own tools.

mod docs;
pub(super) mod steps;
pub(super) mod tool;

use std::path::{Path, PathBuf};

use super::AuthoringError;
use super::language::Language;
use super::languages::LANGUAGES;
pub use super::project::{Host, Project};
use crate::config::in_backticks;
pub use steps::componentize;

/// Builds the component of a project, and returns its path.
/// An error says which tool is missing or failed.
pub fn build(project: &Project, host: &dyn Host) -> Result<PathBuf, AuthoringError> {
    let path = (project.language.build)(project, host)?;
    docs::attach(project, &path)?;
    Ok(path)
}

/// Looks for a project in a directory. `language` says what it is in, if it isn't obvious.
/// A usage error if there is none, or if it could be in several languages.
pub fn find(directory: &Path, language: Option<&'static Language>) -> Result<Project, AuthoringError> {
    if !directory.is_dir() {
        let message = format!("there is no directory `{}`", directory.display());
        return Err(AuthoringError::Usage { message, hint: None });
    }
    let language = language.map_or_else(|| detect(directory), Ok)?;
    Ok(Project { directory: directory.to_owned(), language })
}

fn detect(directory: &Path) -> Result<&'static Language, AuthoringError> {
    let is_in = |language: &Language| language.marks.iter().any(|file| directory.join(file).is_file());
    let marked: Vec<&Language> = LANGUAGES.iter().copied().filter(|language| is_in(language)).collect();
    let is_meant = |one: &&&Language| !marked.iter().any(|other| other.instead_of == Some(one.name));
    let found: Vec<_> = marked.iter().filter(is_meant).copied().collect();
    let shown = directory.display();
    match *found {
        [language] => Ok(language),
        [] => {
            let known = in_backticks(LANGUAGES.iter().flat_map(|language| language.marks).copied());
            Err(AuthoringError::usage(
                format!("there is no project in `{shown}`: no {known}"),
                "`run-wasm-runner new LANGUAGE NAME` makes one",
            ))
        }
        [first, ..] => {
            let names = in_backticks(found.iter().map(|language| language.name));
            Err(AuthoringError::usage(
                format!("the project in `{shown}` could be in several languages: {names}"),
                format!("say which with `--language {}`", first.name),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn detected(files: &[&str]) -> Result<&'static str, String> {
        let place = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().expect("there is one")).expect("created");
            fs::write(path, "").expect("written");
        }
        find(place.path(), None).map(|project| project.language.name).map_err(|error| error.to_string())
    }

    #[test]
    fn a_language_is_known_by_its_files() {
        assert_eq!(detected(&["Cargo.toml"]), Ok("rust"));
        assert_eq!(detected(&["requirements.txt"]), Ok("python"));
        assert_eq!(detected(&["package.json"]), Ok("javascript"));
        assert_eq!(detected(&["package.json", "tsconfig.json"]), Ok("typescript"));
        assert_eq!(detected(&["go.mod"]), Ok("go"));
        assert_eq!(detected(&["src/tasks.c"]), Ok("c"));
        assert_eq!(detected(&["src/tasks.cpp"]), Ok("cpp"));
    }

    #[test]
    fn what_is_not_obvious_is_asked_for() {
        assert!(detected(&[]).expect_err("nothing is there").contains("there is no project"));
        let several = detected(&["Cargo.toml", "package.json"]).expect_err("it could be either");
        assert!(several.contains("`rust`, `javascript`"), "{several}");
    }
}
