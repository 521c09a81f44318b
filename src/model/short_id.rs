//! Short forms of invocation ids, for people.

use std::fmt;
use std::str::FromStr;

use super::InvocationId;
use super::ids::IdError;

/// The digits of the short form of an id: its last ones. They are drawn at random for each id, while the first
/// ones are the time: ids of one moment begin alike, and end differently.
const SHORT_DIGITS: usize = 8;

/// The fewest digits that name an invocation.
const FEWEST_DIGITS: usize = 6;

/// The digits of a whole id.
const ALL_DIGITS: usize = 32;

/// The digits of an id, without hyphens.
fn digits(id: InvocationId) -> String {
    id.to_string().replace('-', "")
}

impl InvocationId {
    /// Returns the short form: the last 8 digits.
    pub fn short(self) -> String {
        digits(self).split_off(ALL_DIGITS - SHORT_DIGITS)
    }
}

/// The first or the last digits of an id, as somebody has typed them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPart {
    /// Lower-case hexadecimal digits, from 6 to 31 of them.
    digits: Box<str>,
}

impl IdPart {
    /// Returns the least and the greatest id that begin with it.
    pub fn range(&self) -> [InvocationId; 2] {
        ['0', 'f'].map(|fill| {
            let whole: String = self.digits.chars().chain(std::iter::repeat(fill)).take(ALL_DIGITS).collect();
            whole.parse().expect("32 hexadecimal digits are an id")
        })
    }

    /// Returns the digits, in lower case.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// Whether an id begins or ends with it.
    pub fn is_of(&self, id: InvocationId) -> bool {
        let digits = digits(id);
        digits.starts_with(&*self.digits) || digits.ends_with(&*self.digits)
    }
}

/// A name of an invocation: its id, or a part of it that no other has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvocationName {
    /// The id.
    Whole(InvocationId),
    /// Its first or last digits.
    Part(IdPart),
}

impl fmt::Display for InvocationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(id) => id.fmt(f),
            Self::Part(part) => f.write_str(&part.digits),
        }
    }
}

impl From<InvocationId> for InvocationName {
    fn from(id: InvocationId) -> Self {
        Self::Whole(id)
    }
}

impl FromStr for InvocationName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = match text.parse() {
            Ok(id) => return Ok(Self::Whole(id)),
            Err(error) => error,
        };
        let is_part = text.chars().all(|one| one.is_ascii_hexdigit() || one == '-');
        let digits = text.replace('-', "").to_ascii_lowercase();
        match is_part && (FEWEST_DIGITS..ALL_DIGITS).contains(&digits.len()) {
            true => Ok(Self::Part(IdPart { digits: digits.into() })),
            false => Err(error.or_a_part(FEWEST_DIGITS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn part(text: &str) -> IdPart {
        match text.parse() {
            Ok(InvocationName::Part(part)) => part,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn ids_of_one_moment_have_different_short_forms() {
        let ids: Vec<_> = (0..1_000).map(|_| InvocationId::generate()).collect();
        let beginnings: HashSet<_> = ids.iter().map(|id| digits(*id)[..SHORT_DIGITS].to_owned()).collect();
        assert!(beginnings.len() < 5, "they are the time");
        let short: HashSet<_> = ids.iter().map(|id| id.short()).collect();
        // Two of a thousand are alike once in ten thousand times; three pairs never are.
        assert!(short.len() >= 998, "{}", short.len());
    }

    #[test]
    fn an_id_is_named_by_its_beginning_or_its_end() {
        let id: InvocationId = "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f".parse().expect("an id");
        assert_eq!(id.short(), "7c8d9e0f");
        for text in ["01939f", "01939f5e-7a2b", "01939F5E7A2B7", "8d9e0f", "5a6b7c8d9e0f", "f-5A6B7c8d9e0f"] {
            let part = part(text);
            assert!(part.is_of(id), "{text}");
            let [least, greatest] = part.range();
            assert_eq!((least..=greatest).contains(&id), text.starts_with('0'), "{text}");
        }
        for other in ["01939e", "8d9e0e", "939f5e"] {
            assert!(!part(other).is_of(id), "{other}");
        }
        assert_eq!(id.to_string().parse(), Ok(InvocationName::Whole(id)));
        for bad in ["", "0193", "01-93-9", "banana", "01939f5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f0", "01939g"] {
            let error = bad.parse::<InvocationName>().expect_err(bad).to_string();
            assert!(error.ends_with("or 6 or more of its first or last digits"), "{error}");
        }
    }
}
