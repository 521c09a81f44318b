//! The answers of runners to pushes: each runner that serves components from the store says which versions it has taken
//! over, and `component push --wait` waits until all have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::TryRecvError;

use super::ServiceError;
use super::wait::{FALLBACK, Waiter};
use crate::model::{ComponentDigest, PushAnswer, RunnerId, UnixMicros, clip};
use crate::store::{Batch, Leases, PushedComponent, RunnerAnswer, Store};
use crate::wasm::LoadError;

/// The last pushes that a runner answers when it starts: somebody may wait for them, and the next who pushes learns that
/// it is there.
const AT_FIRST: usize = 100;

/// The most characters of a reason that are kept.
const REASON: usize = 1_000;

/// A runner answers a push within this time, at first that it prepares the version. One that does not, and has no
/// lease, is gone: a runner without work gives no other sign of life.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

/// The pushes that a runner has answered.
#[derive(Default)]
pub(super) struct Answers {
    /// The id of the runner that has answered, and the version of the components that it has answered all of.
    given: Option<(RunnerId, Option<i64>)>,
    /// The last push of each name, with the answer that it has; none to those that were there long before.
    pushes: BTreeMap<Arc<str>, (ComponentDigest, UnixMicros, Option<PushAnswer>)>,
}

impl Answers {
    /// Whether the runner has answered everything up to a version of the components.
    pub fn are_given(&self, runner: RunnerId, version: i64) -> bool {
        self.given == Some((runner, Some(version)))
    }

    /// Commits the answers that are not in the store yet. `pushed` are the components as the store lists them, at that
    /// version, and `answer` is asked for each.
    pub fn give(
        &mut self,
        store: &dyn Store,
        (runner, version): (RunnerId, i64),
        pushed: &[PushedComponent],
        answer: impl Fn(&PushedComponent) -> PushAnswer,
    ) -> Result<(), ServiceError> {
        let mut newest: Vec<_> = newest(pushed).collect();
        if self.given.is_none_or(|(before, _)| before != runner) {
            newest.sort_by_key(|one| std::cmp::Reverse(one.pushed_at));
            let long_before = newest.iter().skip(AT_FIRST);
            let long_before =
                long_before.map(|one| (Arc::clone(&one.name), (one.digest, one.pushed_at, None)));
            self.pushes = long_before.collect();
        }
        self.given = Some((runner, None));
        let is_open = |one: &&PushedComponent| match self.pushes.get(&one.name) {
            Some((digest, at, answered)) => {
                (*digest, *at) != (one.digest, one.pushed_at) || *answered == Some(PushAnswer::Preparing)
            }
            None => true,
        };
        newest.retain(is_open);
        let mut given = Vec::new();
        let mut is_all = true;
        for one in newest {
            let answer = match answer(one) {
                PushAnswer::Refused(reason) => PushAnswer::Refused(clip(&reason, REASON).into_owned()),
                other => other,
            };
            is_all &= answer != PushAnswer::Preparing;
            let push = (one.digest, one.pushed_at, Some(answer));
            if self.pushes.get(&one.name) != Some(&push) {
                given.push((Arc::clone(&one.name), push));
            }
        }
        let answers = given.iter().filter_map(|(name, (digest, _, answer))| {
            Some(RunnerAnswer { runner, name: Arc::clone(name), digest: *digest, answer: answer.clone()? })
        });
        if !given.is_empty() {
            store.commit(&Batch { answers: answers.collect(), ..Batch::default() })?;
        }
        self.pushes.extend(given);
        self.given = Some((runner, is_all.then_some(version)));
        Ok(())
    }
}

/// The last push of each name that was not removed.
fn newest(pushed: &[PushedComponent]) -> impl Iterator<Item = &PushedComponent> {
    let last = pushed.chunk_by(|one, next| one.name == next.name).map(|of_name| &of_name[0]);
    last.filter(|one| one.removed_at.is_none())
}

/// The end of a wait for the answers of runners to pushes.
#[derive(Debug, PartialEq, Eq)]
pub enum PushWaited {
    /// All runners have answered. Of each component: how many have taken it over.
    Answered(Vec<(Arc<str>, usize)>),
    /// The time was over, or the wait was given up.
    Unanswered(Vec<NotTaken>),
}

/// A component that not all runners have answered the push of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTaken {
    /// The name of the component.
    pub component: Arc<str>,
    /// The runners that have not answered, or still prepare it.
    pub runners: Vec<RunnerId>,
}

/// The pushes that are waited for.
struct Awaited<'p>(&'p [(Arc<str>, ComponentDigest)]);

impl Awaited<'_> {
    /// Looks at the components as the store lists them. `is_early` while runners that are there may not have given their
    /// first answers. Returns what is known by then, and whether the wait is over.
    ///
    /// A runner is waited for if it has answered one of these pushes. One that has answered the push before them is there,
    /// too: unless it has been silent for too long and has no lease. If none had answered that, first answers have to
    /// be waited for.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Load`] if a runner can't use a version, or a later push or a removal has taken its place.
    fn look(
        &self,
        components: &[PushedComponent],
        leases: &Leases,
        is_early: bool,
    ) -> Result<(PushWaited, bool), ServiceError> {
        let mut rows = Vec::new();
        for (component, digest) in self.0 {
            let refused = |message: String| {
                let (component, path) = (component.to_string(), digest.to_string());
                ServiceError::Load(vec![LoadError { component, path, message }])
            };
            let row = newest(components).find(|one| one.name == *component && one.digest == *digest);
            let Some(facts) = row.and_then(|one| one.facts.as_ref()) else {
                return Err(refused("another push or a removal has taken its place meanwhile".to_owned()));
            };
            for (runner, answer) in &facts.answers {
                if let PushAnswer::Refused(reason) = answer {
                    return Err(refused(format!("runner {runner} can't use it: {reason}")));
                }
            }
            rows.push((component, &facts.answers));
        }
        let is_awaited = |one: &&PushedComponent| {
            self.0.iter().any(|(component, digest)| one.name == *component && one.digest == *digest)
        };
        let before = components.iter().filter(|one| !is_awaited(one)).max_by_key(|one| one.pushed_at);
        let before = before.and_then(|one| one.facts.as_ref()).map(|facts| &facts.answers);
        let has_lease =
            |runner: &RunnerId| leases.ends.iter().any(|(other, end)| other == runner && *end > leases.now);
        let known = before.into_iter().flat_map(BTreeMap::keys).filter(|one| is_early || has_lease(one));
        let mut expected: BTreeSet<_> = known.copied().collect();
        let knows_nobody = expected.is_empty();
        expected.extend(rows.iter().flat_map(|(_, answers)| answers.keys().copied()));
        let (mut taken, mut missing) = (Vec::new(), Vec::new());
        for (component, answers) in rows {
            let is_missing =
                |runner: &&RunnerId| matches!(answers.get(runner), None | Some(PushAnswer::Preparing));
            let runners: Vec<_> = expected.iter().filter(is_missing).copied().collect();
            if !runners.is_empty() {
                missing.push(NotTaken { component: Arc::clone(component), runners });
            }
            let takers = answers.values().filter(|answer| **answer == PushAnswer::Taken).count();
            taken.push((Arc::clone(component), takers));
        }
        if missing.is_empty() {
            return Ok((PushWaited::Answered(taken), !(is_early && knows_nobody)));
        }
        Ok((PushWaited::Unanswered(missing), false))
    }
}

impl Waiter {
    /// Waits until every runner that serves components from the store has answered these pushes, or the deadline, or the
    /// guard is dropped.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Load`] if a runner can't use a version, or a later push or a removal has taken its place.
    pub fn wait_for_runners(
        &mut self,
        pushed: &[(Arc<str>, ComponentDigest)],
        deadline: Option<Instant>,
    ) -> Result<PushWaited, ServiceError> {
        let first_answers = Instant::now() + FIRST_ANSWERS;
        loop {
            // Watching began before this look: a change after it is told.
            let leases = self.access.ask(|store| store.leases())?;
            let now = Instant::now();
            let is_early = now < first_answers;
            let components = self.access.ask(|store| store.components())?;
            let (found, is_over) = Awaited(pushed).look(&components, &leases, is_early)?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(now));
            let is_given_up = self.given_up.try_recv() == Err(TryRecvError::Disconnected);
            if is_over || is_given_up || left == Some(Duration::ZERO) {
                return Ok(found);
            }
            let until = if is_early { first_answers - now } else { next_end(&leases).unwrap_or(FALLBACK) };
            let pause = left.map_or(FALLBACK, |left| left.min(FALLBACK)).min(until);
            self.changes.wait_unless(pause, &self.given_up)?;
        }
    }
}

/// The time until the next lease ends.
fn next_end(leases: &Leases) -> Option<Duration> {
    let ends = leases.ends.iter().map(|(_, end)| end.since(leases.now));
    ends.filter(|left| !left.is_zero()).min()
}

#[cfg(test)]
mod tests {
    use super::PushAnswer::{NotServed, Preparing, Taken};
    use super::*;
    use crate::model::ComponentFacts;

    fn pushed(name: &str, at: i64, answers: &[(RunnerId, PushAnswer)]) -> PushedComponent {
        let answers = answers.iter().cloned().collect();
        PushedComponent {
            name: name.into(),
            digest: ComponentDigest::of(name.as_bytes()),
            size: 0,
            pushed_at: UnixMicros(at),
            labels: Arc::default(),
            facts: Some(ComponentFacts { answers, ..ComponentFacts::default() }),
            removed_at: None,
        }
    }

    fn leases(of: &[RunnerId]) -> Leases {
        let now = UnixMicros(1_000_000);
        Leases { now, ends: of.iter().map(|runner| (*runner, now.plus(Duration::from_secs(5)))).collect() }
    }

    fn wanted() -> [(Arc<str>, ComponentDigest); 1] {
        [("new".into(), ComponentDigest::of(b"new"))]
    }

    fn look(
        components: &[PushedComponent],
        with_lease: &[RunnerId],
        is_early: bool,
    ) -> Result<(PushWaited, bool), String> {
        let looked = Awaited(&wanted()).look(components, &leases(with_lease), is_early);
        looked.map_err(|error| error.to_string())
    }

    fn missing(runners: &[RunnerId]) -> Result<(PushWaited, bool), String> {
        let missing = vec![NotTaken { component: "new".into(), runners: runners.to_vec() }];
        Ok((PushWaited::Unanswered(missing), false))
    }

    fn answered(takers: usize, is_over: bool) -> Result<(PushWaited, bool), String> {
        Ok((PushWaited::Answered(vec![("new".into(), takers)]), is_over))
    }

    #[test]
    fn a_push_is_waited_for_until_those_have_answered_that_answered_the_one_before() {
        let [first, second, other] = [(); 3].map(|()| RunnerId::generate());
        let components = |answers: &[(RunnerId, PushAnswer)]| {
            let older = pushed("older", 1, &[(other, Taken)]);
            [pushed("new", 3, answers), pushed("old", 2, &[(first, Taken), (second, NotServed)]), older]
        };
        assert_eq!(look(&components(&[]), &[], true), missing(&[first, second]));
        assert_eq!(look(&components(&[(first, Taken), (second, Preparing)]), &[], true), missing(&[second]));
        let all = components(&[(first, Taken), (second, NotServed)]);
        assert_eq!(look(&all, &[], true), answered(1, true), "nobody else is to be waited for");
        // A runner that has started since then answers, too.
        let three = components(&[(first, Taken), (second, Taken), (other, Preparing)]);
        assert_eq!(look(&three, &[], true), missing(&[other]));
        // A runner that is silent for too long is gone, unless it has a lease.
        let one = components(&[(first, Taken)]);
        assert_eq!(look(&one, &[], false), answered(1, true));
        assert_eq!(look(&one, &[second], false), missing(&[second]));
        assert_eq!(look(&components(&[(first, Preparing)]), &[], false), missing(&[first]));
    }

    #[test]
    fn first_answers_are_waited_for_if_nobody_has_answered_before() {
        let first = RunnerId::generate();
        let new = |answers: &[(RunnerId, PushAnswer)]| [pushed("new", 3, answers), pushed("old", 2, &[])];
        assert_eq!(look(&new(&[]), &[first], true), answered(0, false));
        assert_eq!(look(&new(&[(first, Taken)]), &[], true), answered(1, false), "others may follow");
        assert_eq!(look(&new(&[(first, Taken)]), &[], false), answered(1, true));
        assert_eq!(look(&new(&[]), &[first], false), answered(0, true), "it serves no components");
    }

    #[test]
    fn a_wait_ends_if_a_runner_can_not_use_the_version_or_another_has_taken_its_place() {
        let first = RunnerId::generate();
        let refused = pushed("new", 3, &[(first, PushAnswer::Refused("it lacks `x`".to_owned()))]);
        let error = look(&[refused], &[], true).expect_err("it is refused");
        assert!(error.contains(&format!("runner {first} can't use it: it lacks `x`")), "{error}");
        let later = PushedComponent { digest: ComponentDigest::of(b"later"), ..pushed("new", 4, &[]) };
        let removed = PushedComponent { removed_at: Some(UnixMicros(5)), ..pushed("new", 3, &[]) };
        for components in [vec![later, pushed("new", 3, &[])], vec![removed], Vec::new()] {
            let error = look(&components, &[], true).expect_err("it is not the newest any more");
            assert!(error.contains("has taken its place meanwhile"), "{error}");
        }
    }
}
