//! The tables of a configuration file: their values by type, with everything that is wrong with them.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::elsewhere;
use crate::config::component::SubmitPattern;
use crate::config::problem::{Origin, Problem, in_backticks, nearest};
use crate::config::units::{parse_duration, parse_size};

/// The upper end of a range without one.
pub(super) const MANY: i128 = i64::MAX as i128;

/// A value with its place.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// A configuration file that is being read, and everything that was found wrong with it.
pub(super) struct Source<'a> {
    text: &'a str,
    pub(super) directory: &'a Path,
    shown_as: &'a str,
    /// The problems so far, with their offsets in the text.
    problems: RefCell<Vec<(usize, Problem)>>,
    /// The patterns in `may-submit` of all components.
    pub(super) submits: RefCell<Vec<SubmitPattern>>,
    /// Sections of components that may not mean what they say.
    pub(super) warnings: RefCell<Vec<Problem>>,
}

impl<'a> Source<'a> {
    /// Begins to read `text`. Relative paths in it are meant from `directory`; messages call it `shown_as`.
    pub(super) fn new(text: &'a str, directory: &'a Path, shown_as: &'a str) -> Self {
        let (problems, submits, warnings) = Default::default();
        Self { text, directory, shown_as, problems, submits, warnings }
    }

    /// Returns the file and line of an offset.
    pub(super) fn place(&self, offset: usize) -> String {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.shown_as)
    }

    /// Adds a problem at an offset.
    pub(super) fn push(&self, offset: usize, problem: Problem) {
        self.problems.borrow_mut().push((offset, problem.at(self.place(offset))));
    }

    /// Returns `read`, or all that is wrong in the order of the text.
    pub(super) fn finish<T>(self, read: T) -> Result<T, Vec<Problem>> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(offset, _)| *offset);
        if problems.is_empty() { Ok(read) } else { Err(problems.into_iter().map(|one| one.1).collect()) }
    }
}

/// A table of the file.
pub(super) struct Section<'t> {
    pub(super) source: &'t Source<'t>,
    pub(super) table: &'t DeTable<'t>,
    /// Its name for messages; empty at the top.
    pub(super) name: String,
}

impl<'t> Section<'t> {
    /// Returns the name of a key for messages.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// Whether a key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&'t DeValue<'t>> {
        self.table.get(key).map(Spanned::get_ref)
    }

    /// Returns the offset of the value of a key.
    pub(super) fn start_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(0, |value| value.span().start)
    }

    /// Adds a problem at an offset, perhaps with what to do about it.
    pub(super) fn complain(&self, offset: usize, message: String, hint: Option<String>) {
        self.source.push(offset, Problem { hint, ..Problem::new(Origin::File, message) });
    }

    /// Adds a problem at an offset.
    pub(super) fn problem(&self, offset: usize, message: String) {
        self.complain(offset, message, None);
    }

    /// Adds a problem at an offset, with what to do about it.
    pub(super) fn problem_with_hint(&self, offset: usize, message: String, hint: impl Into<String>) {
        self.complain(offset, message, Some(hint.into()));
    }

    /// Adds a problem with the value of a key: "`KEY` is …".
    pub(super) fn wrong(&self, key: &str, is_what: &str) {
        self.problem(self.start_of(key), format!("`{}` {is_what}", self.key(key)));
    }

    /// Adds a problem with the value of a key, with what to do about it.
    pub(super) fn wrong_with_hint(&self, key: &str, is_what: &str, hint: impl Into<String>) {
        self.problem_with_hint(self.start_of(key), format!("`{}` {is_what}", self.key(key)), hint);
    }

    /// Adds an error about the value of a key, if it is one: "`KEY`: error".
    pub(super) fn accept<T>(&self, key: &str, parsed: Result<T, String>) -> Option<T> {
        let refuse = |error| self.problem(self.start_of(key), format!("`{}`: {error}", self.key(key)));
        parsed.map_err(refuse).ok()
    }

    /// Reads the value of a key, which must be what is `expected`.
    pub(super) fn read<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(key, &format!("must be {expected}, found {}", describe(value)));
        }
        read
    }

    pub(super) fn string(&self, key: &str) -> Option<&'t str> {
        self.read(key, "a string", DeValue::as_str)
    }

    pub(super) fn boolean(&self, key: &str) -> Option<bool> {
        self.read(key, "`true` or `false`", DeValue::as_bool)
    }

    pub(super) fn integer<T: TryFrom<i128>>(&self, key: &str, range: RangeInclusive<i128>) -> Option<T> {
        let (min, max) = range.clone().into_inner();
        let expected = match max {
            MANY => format!("an integer, {min} or more"),
            max => format!("an integer from {min} to {max}"),
        };
        self.read(key, &expected, |value| {
            let integer = value.as_integer()?;
            let integer = i128::from_str_radix(integer.as_str(), integer.radix()).ok()?;
            T::try_from(Some(integer).filter(|integer| range.contains(integer))?).ok()
        })
    }

    pub(super) fn number(&self, key: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.read(key, &expected, |value| {
            let number: Option<f64> = match value {
                DeValue::Float(float) => float.as_str().parse().ok(),
                DeValue::Integer(integer) => integer.as_str().parse().ok(),
                _ => None,
            };
            number.filter(|number| range.contains(number))
        })
    }

    /// Whether the value of a key is the word `unlimited`.
    pub(super) fn is_unlimited(&self, key: &str) -> bool {
        self.get(key).and_then(DeValue::as_str) == Some("unlimited")
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.with_units(key, "a duration such as `\"30s\"`", parse_duration)
    }

    pub(super) fn size<T: TryFrom<u64>>(&self, key: &str) -> Option<T> {
        T::try_from(self.with_units(key, "a size such as `\"256MiB\"`", parse_size)?).ok()
    }

    pub(super) fn with_units<T>(
        &self,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let Some(text) = value.as_str() else {
            let is_what = format!("must be {expected}, found {}", describe(value));
            self.wrong_with_hint(key, &is_what, "put the number and its unit between quotes");
            return None;
        };
        self.accept(key, parse(text))
    }

    /// Reads a path, which is relative to the file's directory.
    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.string(key)?;
        if text.is_empty() {
            self.wrong(key, "is empty");
            return None;
        }
        Some(self.source.directory.join(text))
    }

    /// Reads one of a few words.
    pub(super) fn one_of<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = known.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words = in_backticks(known.iter().map(|(word, _)| *word));
            self.wrong(key, &format!("can't be `{text}` (known: {words})"));
        }
        found.map(|(_, value)| *value)
    }

    /// Reads a list of strings, each with its offset.
    pub(super) fn strings(&self, key: &str) -> Option<Vec<(&'t str, usize)>> {
        let expected = "a list of strings";
        let list = self.read(key, expected, DeValue::as_array)?;
        let read = |value: &'t Value<'t>| {
            let (start, value) = (value.span().start, value.get_ref());
            if value.as_str().is_none() {
                let message = format!("`{}` must be {expected}, found {}", self.key(key), describe(value));
                self.problem(start, message);
            }
            Some((value.as_str()?, start))
        };
        Some(list.iter().filter_map(read).collect())
    }

    /// Reads the table under a key, which may have the `known` keys.
    pub(super) fn table(&self, key: &str, known: &[&str]) -> Option<Section<'t>> {
        let table = self.open_table(key)?;
        table.refuse_unknown_keys(known);
        Some(table)
    }

    /// Reads the table under a key, which may have any keys.
    pub(super) fn open_table(&self, key: &str) -> Option<Section<'t>> {
        self.table_of(self.table.get(key)?, self.key(key))
    }

    /// Reads a value as the table `name`.
    pub(super) fn table_of(&self, value: &'t Value<'t>, name: String) -> Option<Section<'t>> {
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section { source: self.source, table, name });
        }
        let message = format!("`{name}` must be a table, found {}", describe(value.get_ref()));
        self.problem_with_hint(value.span().start, message, format!("write `[{name}]` on a line of its own"));
        None
    }

    pub(super) fn refuse_unknown_keys(&self, known: &[&str]) {
        for key in self.table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref();
            let within = if self.name.is_empty() { String::new() } else { format!(" in `[{}]`", self.name) };
            let known = known.iter().copied();
            let message = format!("unknown key `{word}`{within} (known: {})", in_backticks(known.clone()));
            let belongs = || elsewhere(word).map(|section| format!("`{word}` belongs into `[{section}]`"));
            self.complain(key.span().start, message, did_you_mean(word, known).or_else(belongs));
        }
    }
}

/// Makes the hint to a wrong word that is near to a known one.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

/// Shows a value in a message: short ones themselves, long ones by their type.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("the string `{text}`"),
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(integer) => format!("`{integer}`"),
        DeValue::Float(float) => format!("`{float}`"),
        DeValue::Boolean(boolean) => format!("`{boolean}`"),
        DeValue::Datetime(datetime) => format!("`{datetime}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
