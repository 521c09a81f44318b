//! Pushed components: the providers of their imports, and the answers of runners to pushes.

use std::ops::Range;
use std::sync::Arc;

use crate::model::{ComponentFacts, is_compatible, split_version};
use crate::store::rules::ANSWERS_KEPT;
use crate::store::{NewComponent, PushedComponent, RunnerAnswer};

/// Facts of a component that a push changes: its place among the known ones, and the new facts.
type Bound = (usize, ComponentFacts);

/// Binds imports to providers when a component is pushed. Returns the facts of the new component, and those of
/// the known ones that it provides something for. `known` are all components of the store as it lists them.
///
/// An import that is bound stays bound, whoever pushes another provider: nobody can put a component of
/// his own behind the import of somebody else's. An import for which there are several providers is not bound.
pub fn bind(known: &[PushedComponent], new: &NewComponent) -> (ComponentFacts, Vec<Bound>) {
    let newest = newest(known, &new.name);
    let mut facts = new.facts.clone();
    let before = known.iter().find(|one| one.name == new.name).and_then(|one| one.facts.as_ref());
    for (import, provider) in &mut facts.imports {
        if provider.is_none() {
            *provider = before.and_then(|before| bound_before(before, import));
        }
        if provider.is_none() {
            let exporters = newest.iter().filter(|(_, one)| exports(one.facts.as_ref(), import));
            *provider = only(exporters.map(|(_, one)| &one.name));
        }
    }
    let mut bound = Vec::new();
    for (place, one) in &newest {
        let Some(old) = &one.facts else { continue };
        let mut facts = old.clone();
        for (import, provider) in &mut facts.imports {
            if provider.is_none() && exports(Some(&new.facts), import) {
                let others = newest.iter().filter(|(_, other)| exports(other.facts.as_ref(), import));
                *provider = only(others.map(|(_, other)| &other.name).chain([&new.name]));
            }
        }
        if facts != *old {
            bound.push((*place, facts));
        }
    }
    (facts, bound)
}

/// The newest of each name but one, with their places.
fn newest<'k>(known: &'k [PushedComponent], but: &str) -> Vec<(usize, &'k PushedComponent)> {
    let is_first = |place: usize| place == 0 || known[place - 1].name != known[place].name;
    let all = known.iter().enumerate().filter(|(place, _)| is_first(*place));
    all.filter(|(_, one)| one.removed_at.is_none() && *one.name != *but).collect()
}

/// The provider of an import, or of another version of it, in earlier bytes of the same component.
fn bound_before(before: &ComponentFacts, import: &str) -> Option<Arc<str>> {
    if let Some(provider) = before.imports.get(import) {
        return provider.clone();
    }
    let is_it = |other: &str| split_version(other).0 == split_version(import).0;
    let mut same = before.imports.iter().filter(|(other, _)| is_it(other));
    same.find_map(|(_, provider)| provider.clone())
}

fn exports(facts: Option<&ComponentFacts>, import: &str) -> bool {
    facts.is_some_and(|facts| facts.exports.iter().any(|export| is_compatible(import, export)))
}

fn only<'n>(mut names: impl Iterator<Item = &'n Arc<str>>) -> Option<Arc<str>> {
    let first = names.next()?;
    names.next().is_none().then(|| Arc::clone(first))
}

/// Adds the answer of a runner to the facts of the component that it is about. Of too many those of the runners that
/// began first are dropped: nobody knows which of them are gone.
pub fn add_answer(facts: &mut ComponentFacts, new: &RunnerAnswer) {
    facts.answers.insert(new.runner, new.answer.clone());
    while facts.answers.len() > ANSWERS_KEPT {
        facts.answers.pop_first();
    }
}

/// The range of names that the tasks of a component have.
pub fn task_range(component: &str) -> Range<String> {
    format!("{component}::")..format!("{component}:;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ComponentDigest, UnixMicros};

    fn facts(exports: &[&str], imports: &[(&str, Option<&str>)]) -> ComponentFacts {
        ComponentFacts {
            exports: exports.iter().map(|one| (*one).to_owned()).collect(),
            imports: imports.iter().map(|(one, by)| ((*one).to_owned(), by.map(Arc::from))).collect(),
            ..ComponentFacts::default()
        }
    }

    fn new(name: &str, facts: ComponentFacts) -> NewComponent {
        let digest = ComponentDigest::of(name.as_bytes());
        NewComponent { name: name.into(), digest, bytes: Arc::from([]), labels: Arc::default(), facts }
    }

    fn pushed(name: &str, facts: ComponentFacts) -> PushedComponent {
        PushedComponent {
            name: name.into(),
            digest: ComponentDigest::of(name.as_bytes()),
            size: 0,
            pushed_at: UnixMicros(0),
            labels: Arc::default(),
            facts: Some(facts),
            removed_at: None,
        }
    }

    #[test]
    fn the_first_provider_is_bound_and_a_second_one_changes_nothing() {
        let mut known = vec![pushed("calc", facts(&[], &[("a:b/c@1.0.0", None)]))];
        let one = new("one", facts(&["a:b/c@1.2.0"], &[]));
        let (_, bound) = bind(&known, &one);
        let expected = facts(&[], &[("a:b/c@1.0.0", Some("one"))]);
        assert_eq!(bound, [(0, expected.clone())]);
        known[0].facts = Some(expected);
        known.push(pushed("one", one.facts));
        assert_eq!(bind(&known, &new("two", facts(&["a:b/c@1.2.0"], &[]))).1, []);
        // Nor when the first is gone.
        known[1].removed_at = Some(UnixMicros(1));
        assert_eq!(bind(&known, &new("two", facts(&["a:b/c@1.2.0"], &[]))).1, []);
    }

    #[test]
    fn new_bytes_keep_the_provider_of_the_old_ones() {
        let known = [
            pushed("calc", facts(&[], &[("a:b/c@1.0.0", Some("one"))])),
            pushed("one", facts(&["a:b/c@1.2.0"], &[])),
            pushed("two", facts(&["a:b/c@1.2.0"], &[])),
        ];
        let imports = |import, provider| facts(&[], &[(import, provider)]);
        assert_eq!(
            bind(&known, &new("calc", imports("a:b/c@1.1.0", None))).0,
            imports("a:b/c@1.1.0", Some("one"))
        );
        // A push may say which.
        let chosen = imports("a:b/c@1.1.0", Some("two"));
        assert_eq!(bind(&known, &new("calc", chosen.clone())).0, chosen);
        // Of several nobody knows which is meant.
        assert_eq!(bind(&known, &new("other", imports("a:b/c@1.0.0", None))).0, imports("a:b/c@1.0.0", None));
    }
}
