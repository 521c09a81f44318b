//! The files of new projects. They are real files below `sdk/templates`, in which
//! `{{name}}` stands for the project's name and `{{snake}}` for the same in
//! snake_case.

use clap::ValueEnum;

use super::language::Language;

/// The package that guests import, as this program provides it.
pub const TASK_WIT: &str = include_str!("../../wit/task.wit");

/// A file of a project.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path in the project.
    pub path: &'static str,
    template: &'static str,
}

impl File {
    /// Returns its text in the project `name`.
    pub fn text(&self, name: &str) -> String {
        self.template.replace("{{name}}", name).replace("{{snake}}", &name.replace('-', "_"))
    }
}

macro_rules! files {
    (project $folder:literal: $($more:tt)*) => {
        files!($folder: "README.md", "gitignore" => ".gitignore", $($more)*)
    };
    ($folder:literal: $($source:literal $(=> $path:literal)?),* $(,)?) => {
        &[$(File {
            path: files!(@path $source $($path)?),
            template: include_str!(concat!("../../sdk/", $folder, "/", $source)),
        }),*]
    };
    (@path $source:literal) => { $source };
    (@path $source:literal $path:literal) => { $path };
}

/// The way in which a project declares its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In WIT.
    Wit,
    /// By the types of its functions.
    NoWit,
}

/// The files of every project.
const COMMON: &[File] = files!("templates/common": "wasm-runner.toml");

/// The files of every project with WIT.
const WIT: &[File] = files!("templates/common": "wit/world.wit");

/// The crate that Rust projects without WIT are written with.
const SDK_RUST: &[File] = files!(
    "rust": "Cargo.toml" => "vendor/wasm-runner/Cargo.toml",
    "macros/Cargo.toml" => "vendor/wasm-runner/macros/Cargo.toml",
    "macros/src/expand.rs" => "vendor/wasm-runner/macros/src/expand.rs",
    "macros/src/lib.rs" => "vendor/wasm-runner/macros/src/lib.rs",
    "macros/src/names.rs" => "vendor/wasm-runner/macros/src/names.rs",
    "macros/src/read.rs" => "vendor/wasm-runner/macros/src/read.rs",
    "macros/src/types.rs" => "vendor/wasm-runner/macros/src/types.rs",
    "src/invocation.rs" => "vendor/wasm-runner/src/invocation.rs",
    "src/json.rs" => "vendor/wasm-runner/src/json.rs",
    "src/lib.rs" => "vendor/wasm-runner/src/lib.rs",
    "src/value.rs" => "vendor/wasm-runner/src/value.rs",
);

/// The files of a project with WIT that no other has.
fn own(language: Language) -> &'static [File] {
    match language {
        // Cargo would take this one for its own where it stands in `sdk`, as Git would `.gitignore`.
        Language::Rust => files!(
            project "templates/rust": "Cargo.toml.template" => "Cargo.toml", "src/lib.rs",
        ),
        Language::Python => files!(
            project "templates/python": "requirements.txt", "src/app.py",
            "src/geometry.py", "tests/test_geometry.py",
        ),
        Language::JavaScript => files!(
            project "templates/javascript": "package.json", "src/app.js",
            "src/geometry.js", "test/geometry.test.js",
        ),
        Language::TypeScript => files!(
            project "templates/typescript": "package.json", "src/app.ts",
            "src/geometry.ts", "src/wasm-runner-task.d.ts", "test/geometry.test.ts", "tsconfig.json",
        ),
        Language::Go => files!(
            project "templates/go": "go.mod", "main.go", "tasks/tasks.go",
            "tasks/tasks_test.go",
        ),
        Language::C => files!(
            project "templates/c": "src/geometry.c", "src/geometry.h",
            "src/tasks.c", "test/geometry.c",
        ),
        Language::Cpp => files!(
            project "templates/cpp": "src/geometry.hpp", "src/tasks.cpp",
            "test/geometry.cpp",
        ),
    }
}

/// The files of a project without WIT that no other has; `None` if the language has no such
/// project.
fn own_without_wit(language: Language) -> Option<&'static [File]> {
    match language {
        Language::Rust => Some(files!(
            project "templates/rust-no-wit": "Cargo.toml.template" => "Cargo.toml", "src/lib.rs",
        )),
        Language::Python => Some(files!(
            project "templates/python-no-wit": "src/app.py",
            "tests/test_app.py",
        )),
        Language::TypeScript => Some(files!(
            project "templates/typescript-no-wit": "package.json",
            "src/app.ts", "test/app.test.ts", "tsconfig.json",
        )),
        Language::JavaScript | Language::Go | Language::C | Language::Cpp => None,
    }
}

/// Lists the languages whose projects need no WIT.
pub fn without_wit() -> impl Iterator<Item = Language> {
    Language::value_variants().iter().copied().filter(|language| own_without_wit(*language).is_some())
}

/// Lists all files of a new project; `None` if there is no project of that style.
pub fn files(language: Language, style: Style) -> Option<Vec<File>> {
    let mut files = COMMON.to_vec();
    match style {
        Style::Wit => {
            files.extend(WIT.iter().chain(own(language)));
            files.push(File { path: "wit/deps/wasm-runner-task/task.wit", template: TASK_WIT });
        }
        Style::NoWit => {
            files.extend(own_without_wit(language)?);
            files.extend(own(language).iter().filter(|file| file.path == "requirements.txt"));
            if language == Language::Rust {
                files.extend(SDK_RUST);
                files.push(File { path: "vendor/wasm-runner/wit/task.wit", template: TASK_WIT });
            }
        }
    }
    Some(files)
}

/// Returns the command that installs the tools of a new project into it, if they go there.
pub fn prepare(language: Language) -> Option<&'static str> {
    match language {
        Language::Rust => None,
        Language::Python => Some("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
        Language::JavaScript | Language::TypeScript => Some("npm install"),
        // Many have it, and it need not be the project's own.
        Language::Go => None,
        Language::C | Language::Cpp => Some("python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_below_templates_is_part_of_a_project() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/templates");
        let mut on_disk = Vec::new();
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => on_disk.push(std::fs::read_to_string(path).expect("a text")),
                }
            }
        }
        let mut embedded: Vec<_> = COMMON.iter().chain(WIT).map(|file| file.template).collect();
        for language in Language::value_variants().iter().copied() {
            let without = own_without_wit(language).unwrap_or_default();
            embedded.extend(own(language).iter().chain(without).map(|file| file.template));
        }
        on_disk.sort_unstable();
        embedded.sort_unstable();
        assert_eq!(on_disk, embedded);
    }

    #[test]
    fn every_file_of_the_crate_for_rust_is_part_of_a_project() {
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/rust");
        let mut known: Vec<_> = SDK_RUST.iter().map(|file| file.path.to_owned()).collect();
        known.push("vendor/wasm-runner/wit/task.wit".to_owned());
        known.sort_unstable();
        let mut on_disk = Vec::new();
        let mut folders = vec![crate_folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let name = path.strip_prefix(&crate_folder).expect("it is below it").display();
                        on_disk.push(format!("vendor/wasm-runner/{name}"));
                    }
                }
            }
        }
        on_disk.sort_unstable();
        assert_eq!(on_disk, known);
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let styles = [Style::Wit, Style::NoWit];
        let projects = Language::value_variants()
            .iter()
            .flat_map(|language| styles.map(|style| files(*language, style)));
        for file in projects.flatten().flatten() {
            let text = file.text("word-count");
            assert!(!text.contains("{{name") && !text.contains("{{snake"), "{}", file.path);
            assert!(
                text.ends_with('\n')
                    && (file.path.ends_with(".go") || !text.contains('\t'))
                    && !text.contains(" \n"),
                "{}",
                file.path
            );
        }
    }
}
