//! The languages that `new` and `build` know: a file has a language, or two that are alike.

mod c;
mod go;
mod javascript;
mod python;
mod rust;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::language::Language;

/// All languages.
pub const LANGUAGES: &[&Language] = &[
    &rust::RUST,
    &python::PYTHON,
    &javascript::JAVASCRIPT,
    &javascript::TYPESCRIPT,
    &go::GO,
    &c::C,
    &c::CPP,
];

impl ValueEnum for &'static Language {
    fn value_variants<'a>() -> &'a [Self] {
        LANGUAGES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name).aliases(self.alias).help(self.about))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::authoring::language::{COMMON, File, Style, WIT};

    /// Lists the files that new projects are made of.
    fn embedded() -> impl Iterator<Item = &'static File> {
        let own = |language: &'static Language| {
            language.files.iter().chain(language.files_without_wit.unwrap_or_default())
        };
        COMMON.iter().chain(WIT).chain(LANGUAGES.iter().copied().flat_map(own))
    }

    #[test]
    fn every_file_of_a_template_and_of_the_crate_for_rust_is_part_of_a_project() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk");
        let mut on_disk = BTreeSet::new();
        let mut folders = vec![sdk.join("templates"), sdk.join("rust")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        _ = on_disk.insert(path.strip_prefix(&sdk).expect("below it").display().to_string())
                    }
                }
            }
        }
        on_disk.insert("../wit/task.wit".to_owned());
        assert_eq!(on_disk, embedded().map(|file| file.source.to_owned()).collect());
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let styles = [Style::Wit, Style::NoWit];
        let projects = LANGUAGES.iter().flat_map(|language| styles.map(|style| language.files(style)));
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

    #[test]
    fn every_language_has_tests_of_its_own() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/languages");
        for language in LANGUAGES {
            let own = tests.join(language.name);
            assert!(own.is_dir() || own.with_extension("rs").is_file(), "{}", own.display());
        }
    }
}
