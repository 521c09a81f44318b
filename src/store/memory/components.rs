//! Components that travel with the store.

use std::sync::Arc;

use super::State;
use crate::model::{ComponentFacts, TaskId, UnixMicros, is_compatible, split_version};
use crate::store::{Batch, NewComponent, PushedComponent, RunnerAnswer, rules};

impl State {
    /// Pushes, removes, and forgets what was removed and is not needed any more. Returns which of the removals
    /// found something.
    pub(super) fn change_components(&mut self, batch: &Batch, now: UnixMicros) -> Vec<bool> {
        for push in &batch.pushes {
            self.push(push, now);
        }
        let mut removed = Vec::new();
        for name in &batch.removals {
            let there = self.pushed.iter_mut().filter(|one| one.name == *name && one.removed_at.is_none());
            removed.push(there.map(|one| one.removed_at = Some(now)).count() > 0);
        }
        for answer in &batch.answers {
            self.answer(answer);
        }
        let unfinished: Vec<_> = self.tasks.iter().filter(|task| task.counts.unfinished() > 0).collect();
        let is_needed = |name: &str| unfinished.iter().any(|task| TaskId::split(&task.name).0 == Some(name));
        let before = self.pushed.len();
        self.pushed.retain(|one| one.removed_at.is_none() || is_needed(&one.name));
        let has_forgotten = self.pushed.len() < before;
        if has_forgotten {
            let pushed = &self.pushed;
            self.component_bytes.retain(|digest, _| pushed.iter().any(|one| one.digest == *digest));
        }
        if has_forgotten || !batch.pushes.is_empty() || removed.contains(&true) {
            self.components_version += 1;
        }
        removed
    }

    /// Keeps the answer of a runner to a push, and those of the runners that began last.
    fn answer(&mut self, new: &RunnerAnswer) {
        let is_it = |one: &&mut PushedComponent| one.name == new.name && one.digest == new.digest;
        let Some(facts) = self.pushed.iter_mut().find(is_it).and_then(|one| one.facts.as_mut()) else {
            return;
        };
        facts.answers.insert(new.runner, new.answer.clone());
        let surplus = facts.answers.len().saturating_sub(rules::ANSWERS_KEPT);
        let last = facts.answers.keys().nth(surplus).copied();
        facts.answers.retain(|runner, _| last.is_none_or(|last| *runner >= last));
    }

    fn push(&mut self, new: &NewComponent, now: UnixMicros) {
        self.component_bytes.entry(new.digest).or_insert_with(|| Arc::clone(&new.bytes));
        let facts = self.bound_facts(new);
        self.bind_others(new);
        self.pushed.retain(|known| (&known.name, known.digest) != (&new.name, new.digest));
        self.pushed.push(PushedComponent {
            name: Arc::clone(&new.name),
            digest: new.digest,
            size: new.bytes.len() as u64,
            pushed_at: now,
            labels: Arc::clone(&new.labels),
            facts: Some(facts),
            removed_at: None,
        });
    }

    /// The last push of a name: of those that were not removed, if there are any.
    fn last_push(&self, name: &str) -> Option<usize> {
        let of_name = |one: &&PushedComponent| *one.name == *name;
        let live = |one: &PushedComponent| *one.name == *name && one.removed_at.is_none();
        let newest = self.pushed.iter().rposition(live);
        newest.or_else(|| self.pushed.iter().rposition(|one| of_name(&one)))
    }

    /// The names that export an interface, other than `but`.
    fn exporters(&self, import: &str, but: &str) -> Vec<Arc<str>> {
        let names: std::collections::BTreeSet<_> =
            self.pushed.iter().map(|one| Arc::clone(&one.name)).collect();
        let exports = |name: &Arc<str>| {
            let one = self.last_push(name).map(|place| &self.pushed[place]);
            one.filter(|one| one.removed_at.is_none())
                .and_then(|one| one.facts.as_ref())
                .is_some_and(|facts| offers(facts, import))
        };
        names.into_iter().filter(|name| **name != *but && exports(name)).collect()
    }

    fn bound_facts(&self, new: &NewComponent) -> ComponentFacts {
        let before = self.last_push(&new.name).and_then(|place| self.pushed[place].facts.as_ref());
        let mut facts = new.facts.clone();
        for (import, provider) in facts.imports.iter_mut().filter(|(_, provider)| provider.is_none()) {
            let same = |(other, _): &(&String, _)| split_version(other).0 == split_version(import).0;
            let inherited = before.and_then(|before| match before.imports.get(import) {
                Some(exactly) => exactly.clone(),
                None => before.imports.iter().filter(same).find_map(|(_, provider)| provider.clone()),
            });
            let exporters = self.exporters(import, &new.name);
            *provider = inherited.or_else(|| match &*exporters {
                [only] => Some(Arc::clone(only)),
                _ => None,
            });
        }
        facts
    }

    fn bind_others(&mut self, new: &NewComponent) {
        for place in 0..self.pushed.len() {
            let one = &self.pushed[place];
            let is_meant = self.last_push(&one.name) == Some(place) && one.removed_at.is_none();
            if !is_meant || one.name == new.name {
                continue;
            }
            let Some(mut facts) = one.facts.clone() else { continue };
            for (import, provider) in &mut facts.imports {
                let is_first = provider.is_none() && self.exporters(import, &new.name).is_empty();
                if is_first && offers(&new.facts, import) {
                    *provider = Some(Arc::clone(&new.name));
                }
            }
            self.pushed[place].facts = Some(facts);
        }
    }
}

fn offers(facts: &ComponentFacts, import: &str) -> bool {
    facts.exports.iter().any(|export| is_compatible(import, export))
}
