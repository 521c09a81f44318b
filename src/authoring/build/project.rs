//! The project in a directory: its language, where its component goes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::authoring::AuthoringError;
use crate::authoring::Language;
use crate::authoring::wit::names;
use crate::config::in_backticks;

/// The files that a language is known by, the more exact one first: the first line of
/// which a file is there decides.
const MARKS: &[(Language, &[&str])] = &[
    (Language::Rust, &["Cargo.toml"]),
    (Language::Python, &["pyproject.toml", "requirements.txt"]),
    (Language::TypeScript, &["tsconfig.json"]),
    (Language::JavaScript, &["package.json"]),
    (Language::Go, &["go.mod"]),
    (Language::C, &["src/tasks.c"]),
    (Language::Cpp, &["src/tasks.cpp"]),
];

/// A project that can be built.
#[derive(Debug)]
pub struct Project {
    /// Its directory.
    pub directory: PathBuf,
    /// Its language.
    pub language: Language,
}

impl Project {
    /// Looks for a project in a directory. `language` says what it is in, if it
    /// isn't obvious.
    /// A usage error if there is none, or if it could be in several languages.
    pub fn find(directory: &Path, language: Option<Language>) -> Result<Self, AuthoringError> {
        let shown = directory.display();
        if !directory.is_dir() {
            return Err(AuthoringError::Usage {
                message: format!("there is no directory `{shown}`"),
                hint: None,
            });
        }
        let language = language.map_or_else(|| detect(directory), Ok)?;
        Ok(Self { directory: directory.to_owned(), language })
    }

    /// Joins a path to its directory.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Cuts a path in it down to what tools see that are run there.
    pub fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.directory).unwrap_or(path)
    }

    /// Puts the package `wasm-runner:task` where the language's tools look for it,
    /// if the project imports it and does not have it.
    pub fn provide_task_wit(&self) -> Result<(), AuthoringError> {
        names::provide_task_package(&self.path("wit"))
    }

    /// Tells whether the project says in `wit` which tasks it has; `wit/deps` is of others.
    pub fn has_wit(&self) -> Result<bool, AuthoringError> {
        let wit = self.path("wit");
        Ok(wit.is_dir() && names::has_files(&wit)?)
    }

    /// Reads the world that the project's component is made for: the only one that its
    /// WIT declares.
    /// [`AuthoringError::Build`] if there is none, or there are several.
    pub fn world(&self) -> Result<String, AuthoringError> {
        names::only_world(&self.path("wit"))
    }

    /// Makes the file of the component `name`, and returns its path. `make` writes a draft
    /// first: a build that fails leaves the previous component as it was.
    pub fn produce(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), AuthoringError>,
    ) -> Result<PathBuf, AuthoringError> {
        let folder = self.path("build");
        let path = folder.join(format!("{name}.wasm"));
        let draft = folder.join(format!("{name}.draft.wasm"));
        let failed = AuthoringError::cannot("written", &path);
        fs::create_dir_all(&folder).map_err(&failed)?;
        let made = make(&draft).and_then(|()| fs::rename(&draft, &path).map_err(&failed));
        if made.is_err() {
            // What is left of it is of no use; if it can't be removed, so be it.
            let _ = fs::remove_file(&draft);
        }
        made.map(|()| path.clone())
    }
}

fn detect(directory: &Path) -> Result<Language, AuthoringError> {
    let has = |files: &[&str]| files.iter().any(|file| directory.join(file).is_file());
    let mut found: Vec<Language> =
        MARKS.iter().filter(|(_, files)| has(files)).map(|(language, _)| *language).collect();
    if found.contains(&Language::TypeScript) {
        found.retain(|language| *language != Language::JavaScript);
    }
    let shown = directory.display();
    match *found {
        [language] => Ok(language),
        [] => {
            let known = in_backticks(MARKS.iter().flat_map(|(_, files)| *files).copied());
            Err(AuthoringError::usage(
                format!("there is no project in `{shown}`: no {known}"),
                "`run-wasm-runner new LANGUAGE NAME` makes one",
            ))
        }
        _ => {
            let names = in_backticks(found.iter().map(|language| language.name()));
            Err(AuthoringError::usage(
                format!("the project in `{shown}` could be in several languages: {names}"),
                format!("say which with `--language {}`", found[0]),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(files: &[&str]) -> Result<Language, String> {
        let place = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = place.path().join(file);
            fs::create_dir_all(path.parent().expect("there is one")).expect("created");
            fs::write(path, "").expect("written");
        }
        Project::find(place.path(), None).map(|project| project.language).map_err(|error| error.to_string())
    }

    #[test]
    fn a_language_is_known_by_its_files() {
        assert_eq!(detected(&["Cargo.toml"]), Ok(Language::Rust));
        assert_eq!(detected(&["requirements.txt"]), Ok(Language::Python));
        assert_eq!(detected(&["package.json"]), Ok(Language::JavaScript));
        assert_eq!(detected(&["package.json", "tsconfig.json"]), Ok(Language::TypeScript));
        assert_eq!(detected(&["go.mod"]), Ok(Language::Go));
        assert_eq!(detected(&["src/tasks.c"]), Ok(Language::C));
        assert_eq!(detected(&["src/tasks.cpp"]), Ok(Language::Cpp));
    }

    #[test]
    fn what_is_not_obvious_is_asked_for() {
        assert!(detected(&[]).expect_err("nothing is there").contains("there is no project"));
        let several = detected(&["Cargo.toml", "package.json"]).expect_err("it could be either");
        assert!(several.contains("`rust`, `javascript`"), "{several}");
    }

    #[test]
    fn a_build_that_fails_leaves_the_previous_component() {
        let place = tempfile::tempdir().expect("a directory");
        let project = Project { directory: place.path().to_owned(), language: Language::Rust };
        let write = |text: &'static str| {
            move |path: &Path| fs::write(path, text).map_err(|error| AuthoringError::build(error.to_string()))
        };
        let path = project.produce("hello", write("first")).expect("produced");
        assert_eq!(path, place.path().join("build/hello.wasm"));
        let failing = |path: &Path| write("half")(path).and_then(|()| Err(AuthoringError::build("no")));
        project.produce("hello", failing).expect_err("it failed");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "first");
        assert_eq!(fs::read_dir(place.path().join("build")).expect("a folder").count(), 1);
    }
}
