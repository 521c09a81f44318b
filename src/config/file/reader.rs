//! The values of a configuration file by their types, with everything that is wrong with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::elsewhere;
use crate::config::component::SubmitPattern;
use crate::config::problem::{Origin, Problem, in_backticks, nearest};
use crate::config::units::{parse_duration, parse_size};

/// A value with its place.
pub(super) type Value<'i> = Spanned<DeValue<'i>>;

/// A configuration file that is being read, and everything that was found wrong with it.
pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) directory: &'a Path,
    shown_as: &'a str,
    /// The problems so far, with their offsets in the text.
    problems: Vec<(usize, Problem)>,
    /// The patterns in `may-submit` of all components.
    pub(super) submits: Vec<SubmitPattern>,
}

impl<'a> Reader<'a> {
    /// Reads `text`, of which nothing is wrong so far.
    pub(super) fn new(text: &'a str, directory: &'a Path, shown_as: &'a str) -> Self {
        Self { text, directory, shown_as, problems: Vec::new(), submits: Vec::new() }
    }

    pub(super) fn place(&self, offset: usize) -> String {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.shown_as)
    }

    pub(super) fn problem(&mut self, offset: usize, message: impl Into<String>) -> &mut Problem {
        self.push(offset, Problem::new(Origin::File, message))
    }

    pub(super) fn push(&mut self, offset: usize, problem: Problem) -> &mut Problem {
        let problem = problem.at(self.place(offset));
        self.problems.push((offset, problem));
        &mut self.problems.last_mut().expect("one was pushed just now").1
    }

    /// Gives what was read, or all that is wrong in the order of the text.
    pub(super) fn finish<T>(mut self, read: T) -> Result<T, Vec<Problem>> {
        if self.problems.is_empty() {
            return Ok(read);
        }
        self.problems.sort_by_key(|(offset, _)| *offset);
        Err(self.problems.into_iter().map(|(_, problem)| problem).collect())
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        known: &[(&str, T)],
    ) -> Option<T> {
        let (text, offset) = self.string(table, section, key)?;
        let found = known.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let words: Vec<_> = known.iter().map(|(word, _)| format!("`{word}`")).collect();
            let message = format!("`{section}.{key}` can't be `{text}` (known: {})", words.join(", "));
            self.problem(offset, message);
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn positive<T: TryFrom<u64>>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
    ) -> Option<T> {
        self.integer(table, section, key, 1, i64::MAX as u64)
    }

    pub(super) fn integer<T: TryFrom<u64>>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        min: u64,
        max: u64,
    ) -> Option<T> {
        let value = table.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(integer) => u64::from_str_radix(integer.as_str(), integer.radix()).ok(),
            _ => None,
        };
        let number =
            number.filter(|number| (min..=max).contains(number)).and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let (key, found) = (dotted(section, key), describe(value.get_ref()));
            let range = match (min, max) {
                (0, max) if max >= i64::MAX as u64 => "an integer, 0 or more".to_owned(),
                (1, max) if max >= i64::MAX as u64 => "an integer, 1 or more".to_owned(),
                (min, max) => format!("an integer from {min} to {max}"),
            };
            self.problem(value.span().start, format!("`{key}` must be {range}, found {found}"));
        }
        number
    }

    pub(super) fn duration(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<Duration> {
        self.with_units(table, section, key, "a duration such as `\"30s\"`", parse_duration)
    }

    pub(super) fn size<T: TryFrom<u64>>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
    ) -> Option<T> {
        let bytes = self.with_units(table, section, key, "a size such as `\"256MiB\"`", parse_size)?;
        T::try_from(bytes).ok()
    }

    pub(super) fn with_units<T>(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        expected: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = table.get(key)?;
        let name = dotted(section, key);
        let DeValue::String(text) = value.get_ref() else {
            let found = describe(value.get_ref());
            self.problem(value.span().start, format!("`{name}` must be {expected}, found {found}")).hint =
                Some("put the number and its unit between quotes".to_owned());
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.problem(value.span().start, format!("`{name}`: {message}"));
                None
            }
        }
    }

    pub(super) fn path(&mut self, table: &DeTable<'_>, section: &str, key: &str) -> Option<PathBuf> {
        let (text, offset) = self.string(table, section, key)?;
        if text.is_empty() {
            self.problem(offset, format!("`{}` is empty", dotted(section, key)));
            return None;
        }
        Some(self.directory.join(text))
    }

    pub(super) fn string(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
    ) -> Option<(String, usize)> {
        let value = table.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some((text.to_string(), value.span().start)),
            other => {
                let (key, found) = (dotted(section, key), describe(other));
                self.problem(value.span().start, format!("`{key}` must be a string, found {found}"));
                None
            }
        }
    }

    pub(super) fn table<'t, 'i>(
        &mut self,
        table: &'t DeTable<'i>,
        section: &str,
        key: &str,
    ) -> Option<&'t DeTable<'i>> {
        let value = table.get(key)?;
        self.expect_table(value, &dotted(section, key))
    }

    pub(super) fn expect_table<'t, 'i>(
        &mut self,
        value: &'t Value<'i>,
        name: &str,
    ) -> Option<&'t DeTable<'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                let found = describe(other);
                self.problem(value.span().start, format!("`{name}` must be a table, found {found}")).hint =
                    Some(format!("write `[{name}]` on a line of its own"));
                None
            }
        }
    }

    pub(super) fn refuse_unknown_keys(&mut self, table: &DeTable<'_>, section: &str, known: &[&str]) {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref();
            let within = if section.is_empty() { String::new() } else { format!(" in `[{section}]`") };
            let message =
                format!("unknown key `{word}`{within} (known: {})", in_backticks(known.iter().copied()));
            let hint = match nearest(word, known.iter().copied()) {
                Some(nearest) => Some(format!("did you mean `{nearest}`?")),
                None => elsewhere(word).map(|section| format!("`{word}` belongs into `[{section}]`")),
            };
            self.problem(key.span().start, message).hint = hint;
        }
    }

    pub(super) fn number(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
        min: f64,
        max: f64,
    ) -> Option<f64> {
        let value = table.get(key)?;
        let number: Option<f64> = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let (key, found) = (dotted(section, key), describe(value.get_ref()));
            let message = format!("`{key}` must be a number from {min} to {max}, found {found}");
            self.problem(value.span().start, message);
        }
        number
    }

    /// A list of strings, each with its place.
    pub(super) fn strings(
        &mut self,
        table: &DeTable<'_>,
        section: &str,
        key: &str,
    ) -> Option<Vec<(String, usize)>> {
        let value = table.get(key)?;
        let wrong = |reader: &mut Self, value: &Value<'_>| {
            let (key, found) = (dotted(section, key), describe(value.get_ref()));
            let message = format!("`{key}` must be a list of strings, found {found}");
            reader.problem(value.span().start, message);
        };
        let DeValue::Array(list) = value.get_ref() else {
            wrong(self, value);
            return None;
        };
        let mut strings = Vec::new();
        for value in list.iter() {
            match value.get_ref() {
                DeValue::String(text) => strings.push((text.to_string(), value.span().start)),
                _ => wrong(self, value),
            }
        }
        Some(strings)
    }
}

/// Whether a key says that there is no limit.
pub(super) fn is_unlimited(table: &DeTable<'_>, key: &str) -> bool {
    matches!(table.get(key).map(Spanned::get_ref), Some(DeValue::String(text)) if text == "unlimited")
}

pub(super) fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A value for a message: short ones themselves, long ones by their type.
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
