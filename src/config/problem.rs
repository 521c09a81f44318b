//! Problems of a configuration.

use std::fmt;

/// Where a setting came from: it decides what kind of error a wrong one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A flag on the command line.
    Flag,
    /// A `WASM_RUNNER_*` variable, which stands in for a flag.
    Environment,
    /// The configuration file.
    File,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the setting came from.
    pub origin: Origin,
    /// File and line, or the flag or variable.
    pub place: Option<String>,
    /// A lower-case sentence.
    pub message: String,
    /// Advice how to mend it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem with a message alone.
    pub fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self { origin, place: None, message: message.into(), hint: None }
    }

    /// Says where it is.
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }

    /// Says what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration, at least one thing.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

impl ConfigError {
    /// Whether only flags and variables are wrong, and no file.
    pub fn is_usage(&self) -> bool {
        self.0.iter().all(|problem| problem.origin != Origin::File)
    }

    /// Tells whoever goes on without a configuration the consequence, and the first of what is wrong.
    pub fn ignored(&self, consequence: &str) -> String {
        let first = self.0.first().map(ToString::to_string).unwrap_or_default();
        format!("the configuration is wrong, so {consequence}: {first}")
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// The known word that is nearest to a wrong one, if any is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // `max_live` for `max-live` is the likeliest slip and no distance at all.
    let word = word.replace('_', "-").to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase()), candidate)
        })
        .filter(|(similarity, _)| *similarity >= 0.5)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Words as a list in backticks.
pub fn in_backticks<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The first words of a list in backticks, at most so many, and how many more there are.
pub fn first_in_backticks<T: AsRef<str>>(words: &[T], most: usize) -> String {
    let shown = in_backticks(words.iter().take(most).map(AsRef::as_ref));
    match words.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_across_slips() {
        let known = ["store", "slots", "grace", "max-live"];
        assert_eq!(nearest("slot", known), Some("slots"));
        assert_eq!(nearest("max_live", known), Some("max-live"));
        assert_eq!(nearest("Stroe", known), Some("store"));
        assert_eq!(nearest("zebra", known), None);
    }
}
