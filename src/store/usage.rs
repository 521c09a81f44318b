//! Usage by hour: which is asked for, and how it is grouped.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Glob, UnixMicros, UsageSums};

/// Asks for the usage of some hours, in groups.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// The first hour: its beginning.
    pub since: UnixMicros,
    /// The beginning of the first hour after them; `None` if there is no last one.
    pub until: Option<UnixMicros>,
    /// Only that of components whose name fits one of these; empty means of all.
    pub components: Vec<Glob>,
    /// Only that of fairness keys that fit one of these; empty means of all.
    pub fairness_keys: Vec<Glob>,
    /// The marks by which groups are told apart.
    pub by: UsageBy,
    /// The most groups. If there are more, the answer has one more than so many, and they are not whole.
    pub max: usize,
}

/// The marks by which groups of usage are told apart. Without any there is one group, or none if nothing was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsageBy {
    /// The component.
    pub component: bool,
    /// The fairness key.
    pub fairness_key: bool,
    /// The hour.
    pub hour: bool,
}

/// The sums of a group; `None` for what does not distinguish groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The beginning of the hour.
    pub hour: Option<UnixMicros>,
    /// The name of the component; empty for ids of earlier programs that name none.
    pub component: Option<Arc<str>>,
    /// The fairness key.
    pub fairness_key: Option<Arc<str>>,
    /// The sums.
    pub sums: UsageSums,
}

impl UsageQuery {
    /// The first hour, and the first after the last one.
    pub(super) fn hours(&self) -> [i64; 2] {
        [self.since.hour(), self.until.map_or(i64::MAX, UnixMicros::hour)]
    }

    /// Whether it asks for the rows of a component and a fairness key.
    pub(super) fn fits(&self, component: &str, fairness_key: &str) -> bool {
        let fits = |patterns: &[Glob], name: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
        };
        fits(&self.components, component) && fits(&self.fairness_keys, fairness_key)
    }
}

/// A pattern as SQL's `LIKE` takes it, with `\` before what is meant as it is.
pub(super) fn like(pattern: &Glob) -> String {
    let mut like = String::with_capacity(pattern.as_str().len());
    for c in pattern.as_str().chars() {
        match c {
            '*' => like.push('%'),
            '%' | '_' | '\\' => like.extend(['\\', c]),
            _ => like.push(c),
        }
    }
    like
}

/// Hour, component and fairness key, as far as they are told apart.
type Group = (Option<i64>, Option<Arc<str>>, Option<Arc<str>>);

/// Groups under way.
pub(super) struct Groups<'q> {
    query: &'q UsageQuery,
    groups: BTreeMap<Group, UsageSums>,
}

impl<'q> Groups<'q> {
    pub(super) fn new(query: &'q UsageQuery) -> Self {
        Self { query, groups: BTreeMap::new() }
    }

    /// Adds a row of an hour that is asked for.
    pub(super) fn add(&mut self, hour: i64, component: &str, fairness_key: &str, sums: &UsageSums) {
        if self.groups.len() > self.query.max || !self.query.fits(component, fairness_key) {
            return;
        }
        let UsageBy { component: by_component, fairness_key: by_key, hour: by_hour } = self.query.by;
        let group = (
            by_hour.then_some(hour),
            by_component.then(|| component.into()),
            by_key.then(|| fairness_key.into()),
        );
        self.groups.entry(group).or_default().add(sums);
    }

    /// Returns the groups, by hour, component and fairness key.
    pub(super) fn end(self) -> Vec<UsageRow> {
        let row = |((hour, component, fairness_key), sums): (Group, _)| UsageRow {
            hour: hour.map(UnixMicros::of_hour),
            component,
            fairness_key,
            sums,
        };
        self.groups.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_same_to_sql() {
        assert_eq!(like(&Glob::new("a*b")), "a%b");
        assert_eq!(like(&Glob::new("100%_\\*")), "100\\%\\_\\\\%");
    }
}
