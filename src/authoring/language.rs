//! The description of a language: everything that `new` and `build` know of it. Each file in `languages`
//! has one, or two that are alike.

use std::path::PathBuf;

use super::AuthoringError;
use super::project::{Host, Project};

/// A language that tasks are written in.
#[derive(Debug)]
pub struct Language {
    /// Its name on the command line.
    pub name: &'static str,
    /// Another name for it there.
    pub alias: Option<&'static str>,
    /// Its name, and the tools that make its components.
    pub about: &'static str,
    /// The files that a project in it is known by: one of them is enough.
    pub marks: &'static [&'static str],
    /// The name of the language whose marks its projects have as well.
    pub instead_of: Option<&'static str>,
    /// The command that installs the tools of a new project into it, if they go there.
    pub prepare: Option<&'static str>,
    /// Words that can't name a project, because they mean something in the language.
    pub reserved: &'static str,
    /// The files of a new project with WIT, besides those of every language.
    pub files: &'static [File],
    /// The files of a new project without WIT, likewise; `None` if there are no such projects.
    pub files_without_wit: Option<&'static [File]>,
    /// Builds the component of a project, and returns its path.
    pub build: fn(&Project, &dyn Host) -> Result<PathBuf, AuthoringError>,
}

/// The way in which a project declares its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In WIT.
    Wit,
    /// By the types of its functions.
    NoWit,
}

/// A file of a project.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Its path in the project.
    pub path: &'static str,
    /// Its text, in which `{{name}}` stands for the project's name and `{{snake}}` for the same in
    /// snake_case.
    pub template: &'static str,
    /// Its path in `sdk`.
    #[cfg(test)]
    pub source: &'static str,
}

/// The files of some folders of `sdk`: `FOLDER: SOURCE, SOURCE => PATH IN THE PROJECT, …; …`.
macro_rules! files {
    ($($folder:literal: $($source:literal $(=> $path:literal)?),* $(,)?);* $(;)?) => {
        &[$($($crate::authoring::language::File {
            path: $crate::authoring::language::files!(@path $source $($path)?),
            template: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/", $folder, "/", $source)),
            #[cfg(test)]
            source: concat!($folder, "/", $source),
        }),*),*]
    };
    (@path $source:literal) => { $source };
    (@path $source:literal $path:literal) => { $path };
}
pub(super) use files;

/// The files of every project.
pub const COMMON: &[File] = files!("templates/common": "wasm-runner.toml");

/// The files of every project with WIT.
pub const WIT: &[File] = files!(
    "templates/common": "wit/world.wit";
    "../wit": "task.wit" => "wit/deps/wasm-runner-task/task.wit";
);

impl Language {
    /// Lists all files of a new project; `None` if there is no project of that style.
    pub fn files(&self, style: Style) -> Option<impl Iterator<Item = File>> {
        let (common, own) = match style {
            Style::Wit => (WIT, self.files),
            Style::NoWit => (&[][..], self.files_without_wit?),
        };
        Some([COMMON, common, own].concat().into_iter())
    }
}

impl File {
    /// Returns its text in the project `name`.
    pub fn text(&self, name: &str) -> String {
        self.template.replace("{{name}}", name).replace("{{snake}}", &name.replace('-', "_"))
    }
}
