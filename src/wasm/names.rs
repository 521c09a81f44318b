//! The names of tasks: full ids, shorter forms and patterns.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::suggest::{list, nearest, unknown_near};
use crate::model::Glob;
use crate::model::{FunctionName, TaskId, clip, is_on_track};

/// The exactness with which a name says which tasks it means, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exactness {
    /// A pattern with so many characters that are not `*`.
    Pattern(usize),
    /// A function, of whatever component and version.
    Function,
    /// A function on one track.
    Track,
    /// A function of one component.
    Component,
    /// A full id.
    Full,
}

/// Known tasks, by all of their names.
#[derive(Debug, Default)]
pub struct Names {
    /// By full id, or the id that an earlier program stored.
    tasks: BTreeMap<Arc<str>, Known>,
    /// The shorter forms without versions, with the tasks that each may mean.
    short: HashMap<Box<str>, Vec<Meaning>>,
    /// The components that the configuration names, where others have pushed components besides.
    named: Option<HashSet<Arc<str>>>,
}

/// The tasks that a section of a configuration is for.
pub(super) struct Matching<'n> {
    pub(super) ids: Vec<&'n Arc<str>>,
    pub(super) exactness: Exactness,
    /// The warning that its name may stand for several functions of components that the configuration does not name:
    /// it is for all of them.
    pub(super) warning: Option<String>,
}

#[derive(Debug)]
struct Known {
    /// The version of its interface: in full, or its track.
    version: Option<Box<str>>,
    /// The ids that patterns are compared with.
    spellings: Vec<Box<str>>,
}

#[derive(Debug)]
struct Meaning {
    id: Arc<str>,
    names_component: bool,
}

impl Names {
    /// Takes the ids of all tasks, each with the version of its interface as it is exported. An id without a
    /// component, from the store of an earlier program, is known by itself and its ends.
    pub fn new<'a>(tasks: impl IntoIterator<Item = (Arc<str>, Option<&'a str>)>) -> Self {
        let mut names = Self::default();
        tasks.into_iter().for_each(|(id, version)| names.add(&id, version));
        names
    }

    /// Says which components the configuration names: a push of another one changes the meaning of no name that fits
    /// one of theirs.
    pub fn with_named(self, components: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { named: Some(components.into_iter().collect()), ..self }
    }

    fn add(&mut self, id: &Arc<str>, version: Option<&str>) {
        let function = FunctionName::parse(TaskId::split(id).1);
        let plain = function.without_track().to_string();
        let mut spellings = BTreeSet::from([id.to_string(), function.to_string(), plain.clone()]);
        let mut add = |form: String, names_component| {
            let meanings = self.short.entry(form.into()).or_default();
            // The forms of one task are added one after the other.
            match meanings.last_mut().filter(|known| known.id == *id) {
                Some(known) => known.names_component |= names_component,
                None => meanings.push(Meaning { id: Arc::clone(id), names_component }),
            }
        };
        ends(&plain).for_each(|form| add(form.to_owned(), false));
        if let Some(parsed) = TaskId::parse(id) {
            let component = parsed.component;
            ends(&plain).for_each(|form| add(format!("{component}::{form}"), true));
            add(format!("{component}.{}", function.name), true);
            let former = parsed.former();
            spellings.insert(former.clone());
            add(former, parsed.former_names_component());
        }
        let version = version.or(function.track).map(Into::into);
        let spellings = spellings.into_iter().map(Into::into).collect();
        self.tasks.insert(Arc::clone(id), Known { version, spellings });
    }

    /// Finds the one task that a name means: by its full id, or by a shorter form with or without a version
    /// of its interface. If several are called so, those of components that the configuration names are meant, and of
    /// these that of the component `own`.
    ///
    /// # Errors
    ///
    /// The tasks that the name may mean, or those that are known. To a guest of the component `own` it names none of
    /// components that others have pushed: these are not its business.
    pub fn resolve(&self, name: &str, own: Option<&str>) -> Result<&Arc<str>, String> {
        // A full id is never ambiguous, even if it looks like a short form.
        if let Some((id, _)) = self.tasks.get_key_value(name) {
            return Ok(id);
        }
        let meant = self.meant(name, self.meanings(name, own)?, own);
        let of_own = |one: &&&Meaning| own.is_some() && TaskId::split(&one.id).0 == own;
        match *meant {
            [] => Err(self.unknown(name, own)),
            [one] => Ok(&one.id),
            ref several => match *several.iter().filter(of_own).collect::<Vec<_>>() {
                [one] => Ok(&one.id),
                _ => {
                    let shown: Vec<_> =
                        several.iter().copied().filter(|one| self.is_shown(&one.id, own)).collect();
                    Err(match shown.is_empty() {
                        true => format!("task `{}` is ambiguous: write its id in full", clip(name, 80)),
                        false => ambiguous(name, &shown),
                    })
                }
            },
        }
    }

    /// Of the tasks that a name may mean, finds those that nobody can change by pushing another component: of the
    /// components that the configuration names, and of `own`. The task whose former id it is comes first of these. If the
    /// name may mean none of them, it may mean all.
    fn meant<'n>(&self, name: &str, meanings: Vec<&'n Meaning>, own: Option<&str>) -> Vec<&'n Meaning> {
        if meanings.len() < 2 {
            return meanings;
        }
        let is_fixed =
            |one: &&Meaning| self.is_named(&one.id) || (own.is_some() && TaskId::split(&one.id).0 == own);
        let fixed: Vec<_> = meanings.iter().copied().filter(is_fixed).collect();
        // The former id of a task, if it named its component, is not an end of another's.
        let is_former = |one: &&Meaning| {
            TaskId::parse(&one.id).is_some_and(|id| id.former_names_component() && id.former() == name)
        };
        match fixed.iter().copied().find(is_former) {
            Some(one) => vec![one],
            None if fixed.is_empty() => meanings,
            None => fixed,
        }
    }

    /// Whether the configuration names the component of a task, or nobody can have pushed any.
    fn is_named(&self, id: &str) -> bool {
        self.named
            .as_ref()
            .is_none_or(|named| TaskId::split(id).0.is_some_and(|component| named.contains(component)))
    }

    /// Finds the tasks that a section of a configuration is for, and the exactness of its name: the tasks of
    /// a pattern, one task, or one function of several components. If a name may stand for several functions, those
    /// of components that the configuration names are meant; if it names none of them, all.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve); also if a pattern fits no task.
    pub(super) fn matching(&self, name: &str) -> Result<Matching<'_>, String> {
        let matching = |ids, exactness| Ok(Matching { ids, exactness, warning: None });
        if let Some((id, _)) = self.tasks.get_key_value(name) {
            return matching(vec![id], Exactness::Full);
        }
        if name.contains('*') {
            let glob = Glob::new(name);
            let found: Vec<_> = self.tasks.keys().filter(|id| self.fits(&glob, id)).collect();
            if found.is_empty() {
                return Err(format!("no task fits the pattern `{name}`"));
            }
            return matching(found, Exactness::Pattern(name.len() - name.matches('*').count()));
        }
        let meanings = self.meanings(name, None)?;
        let function =
            |one: &Meaning| FunctionName::parse(TaskId::split(&one.id).1).without_track().to_string();
        let are_one = |all: &[&Meaning]| all.iter().all(|one| function(one) == function(all[0]));
        if meanings.is_empty() {
            return Err(self.unknown(name, None));
        }
        let (mut meanings, mut warning) = (meanings, None);
        if !are_one(&meanings) {
            meanings = self.meant(name, meanings, None);
            if !are_one(&meanings) {
                if meanings.iter().any(|one| self.is_named(&one.id)) {
                    return Err(ambiguous(name, &meanings));
                }
                warning = Some(ambiguous(name, &meanings));
            }
        }
        let exactness = match (meanings.iter().all(|one| one.names_component), name.contains('@')) {
            (true, _) => Exactness::Component,
            (false, true) => Exactness::Track,
            (false, false) => Exactness::Function,
        };
        Ok(Matching { ids: meanings.into_iter().map(|one| &one.id).collect(), exactness, warning })
    }

    /// Whether a name means one task or several.
    pub fn knows(&self, name: &str) -> bool {
        self.tasks.contains_key(name) || self.meanings(name, None).is_ok_and(|meanings| !meanings.is_empty())
    }

    /// The ids of all tasks, sorted.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tasks.keys()
    }

    /// Whether a pattern stands for a task: by its full id, its function with or without a track, or the id
    /// that it had before ids named components.
    pub(super) fn fits(&self, pattern: &Glob, id: &str) -> bool {
        let known = self.tasks.get(id);
        known.is_some_and(|known| known.spellings.iter().any(|spelling| pattern.matches(spelling)))
    }

    /// The tasks that a shorter form may mean; none if nothing is called so.
    fn meanings(&self, name: &str, own: Option<&str>) -> Result<Vec<&Meaning>, String> {
        let of = |form: &str| self.short.get(form).map(Vec::as_slice).unwrap_or_default();
        let versioned = name.split_once('@').and_then(|(interface, rest)| {
            let (version, function) = rest.rsplit_once('.')?;
            Some((format!("{interface}.{function}"), version))
        });
        if let Some((form, version)) = versioned {
            let fits = |one: &&Meaning| {
                let offered = self.tasks.get(&one.id).and_then(|known| known.version.as_deref());
                offered.is_some_and(|offered| is_on_track(version, offered))
            };
            let all = of(&form);
            let found: Vec<_> = all.iter().filter(fits).collect();
            if found.is_empty() && !all.is_empty() {
                let shown = all.iter().map(|one| &*one.id).filter(|id| self.is_shown(id, own));
                let (name, ids) = (clip(name, 80), list(shown));
                let ids = if ids.is_empty() { ids } else { format!(" ({ids})") };
                return Err(format!("unknown task `{name}`: no known version of the interface fits{ids}"));
            }
            return Ok(found);
        }
        Ok(of(name).iter().collect())
    }

    /// Whether messages to whoever asks name a task: an operator, or a guest of the component `own`.
    fn is_shown(&self, id: &str, own: Option<&str>) -> bool {
        own.is_none() || TaskId::split(id).0 == own || self.is_named(id)
    }

    fn unknown(&self, name: &str, own: Option<&str>) -> String {
        let ids = || self.tasks.keys().map(|id| &**id).filter(|id| self.is_shown(id, own));
        let meant = |near: &str| {
            self.short.get(near).and_then(|all| all.iter().find(|one| self.is_shown(&one.id, own)))
        };
        let short = self.short.keys().map(|short| &**short).filter(|short| meant(short).is_some());
        // A short form that looks like it is shown as the full id that it means.
        let near = nearest(name, ids().chain(short));
        unknown_near("task", name, near.map(|near| meant(near).map_or(near, |one| &*one.id)), ids())
    }
}

fn ambiguous(name: &str, meanings: &[&Meaning]) -> String {
    let ids = list(meanings.iter().map(|one| &*one.id));
    format!("task `{name}` is ambiguous: it may be {ids}; write one of them in full")
}

/// The ends of `acme:demo/tasks.greet`: itself, `demo/tasks.greet`, `tasks.greet` and `greet`.
fn ends(function: &str) -> impl Iterator<Item = &str> {
    let after = |mark: char| function.split_once(mark).map(|(_, rest)| rest);
    let name = function.rsplit_once('.').map(|(_, name)| name);
    [Some(function), after(':'), after('/'), name].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::track;

    /// Names of full ids whose interfaces have whole versions in place of tracks.
    fn names(ids: &[&str]) -> Names {
        let parsed = ids.iter().map(|id| {
            let Some(TaskId { component, function }) = TaskId::parse(id) else {
                return (Arc::from(*id), None);
            };
            let on_track = FunctionName { track: function.track.map(track), ..function };
            (Arc::from(TaskId { component, function: on_track }.to_string()), function.track)
        });
        Names::new(parsed)
    }

    #[test]
    fn tasks_are_found_by_every_form_that_means_only_one() {
        let names = names(&[
            "py::acme:demo/tasks@1.2.0.greet",
            "py::hello",
            "py::tasks.say",
            "calc::acme:other/tasks.add",
            "sum::acme:sums/tasks@0.2.5.add",
        ]);
        let resolve = |name| names.resolve(name, None).map(|id| &**id);
        for name in [
            "py::acme:demo/tasks@1.greet",
            "py::acme:demo/tasks@1.2.0.greet",
            "py::acme:demo/tasks@1.0.0.greet",
            "py::acme:demo/tasks.greet",
            "py::tasks.greet",
            "py::greet",
            "py.greet",
            "acme:demo/tasks@1.greet",
            "acme:demo/tasks@1.2.0.greet",
            "acme:demo/tasks.greet",
            "demo/tasks@1.greet",
            "demo/tasks.greet",
            "tasks.greet",
            "greet",
        ] {
            assert_eq!(resolve(name), Ok("py::acme:demo/tasks@1.greet"), "{name}");
        }
        for name in ["hello", "py.hello", "py::hello"] {
            assert_eq!(resolve(name), Ok("py::hello"), "{name}");
        }
        for name in ["say", "tasks.say", "py/tasks.say", "py::tasks.say", "py::say"] {
            assert_eq!(resolve(name), Ok("py::tasks.say"), "{name}");
        }
        for name in ["other/tasks.add", "calc.add", "calc::add"] {
            assert_eq!(resolve(name), Ok("calc::acme:other/tasks.add"), "{name}");
        }
        assert_eq!(
            resolve("tasks.add"),
            Err("task `tasks.add` is ambiguous: it may be `calc::acme:other/tasks.add`, \
                 `sum::acme:sums/tasks@0.2.add`; write one of them in full"
                .into())
        );
        assert_eq!(resolve("tasks@0.2.add"), Ok("sum::acme:sums/tasks@0.2.add"));
        assert_eq!(
            resolve("greeet"),
            Err("unknown task `greeet` (did you mean `py::acme:demo/tasks@1.greet`? known tasks: \
                 `calc::acme:other/tasks.add`, `py::acme:demo/tasks@1.greet`, `py::hello`, `py::tasks.say`, \
                 `sum::acme:sums/tasks@0.2.add`)"
                .into())
        );
        for wrong in ["acme:demo/tasks@2.0.0.greet", "acme:demo/tasks@1.3.0.greet", "acme:demo/tasks@2.greet"]
        {
            assert_eq!(
                resolve(wrong),
                Err(format!(
                    "unknown task `{wrong}`: no known version of the interface fits (`py::acme:demo/tasks@1.greet`)"
                ))
            );
        }
        assert!(resolve("").is_err());
    }

    #[test]
    fn two_components_may_export_one_function() {
        let names =
            names(&["scale::acme:plugins/filter@1.4.2.apply", "blur::acme:plugins/filter@1.0.0.apply"]);
        let resolve = |name| names.resolve(name, None).map(|id| &**id);
        for name in
            ["scale::apply", "scale.apply", "scale::filter.apply", "scale::acme:plugins/filter@1.apply"]
        {
            assert_eq!(resolve(name), Ok("scale::acme:plugins/filter@1.apply"), "{name}");
        }
        for name in ["apply", "filter.apply", "acme:plugins/filter.apply", "acme:plugins/filter@1.apply"] {
            assert_eq!(
                resolve(name),
                Err(format!(
                    "task `{name}` is ambiguous: it may be `scale::acme:plugins/filter@1.apply`, \
                     `blur::acme:plugins/filter@1.apply`; write one of them in full"
                ))
            );
        }
        // Only one is new enough.
        assert_eq!(resolve("acme:plugins/filter@1.2.0.apply"), Ok("scale::acme:plugins/filter@1.apply"));
        // A component means itself first.
        let own = names.resolve("apply", Some("blur")).map(|id| &**id);
        assert_eq!(own, Ok("blur::acme:plugins/filter@1.apply"));
        assert!(names.resolve("apply", Some("other")).is_err());
    }

    #[test]
    fn one_component_may_export_incompatible_versions() {
        let names = names(&["ops::acme:math/ops@0.1.3.add", "ops::acme:math/ops@0.2.0.add"]);
        let resolve = |name| names.resolve(name, None).map(|id| &**id);
        assert_eq!(resolve("acme:math/ops@0.1.add"), Ok("ops::acme:math/ops@0.1.add"));
        assert_eq!(resolve("ops@0.1.0.add"), Ok("ops::acme:math/ops@0.1.add"));
        assert_eq!(resolve("ops::ops@0.2.add"), Ok("ops::acme:math/ops@0.2.add"));
        assert!(resolve("ops::add").unwrap_err().contains("ambiguous"));
    }

    #[test]
    fn a_former_id_that_names_its_component_wins_over_ends_of_others() {
        let names = names(&["tasks::greet", "py::acme:demo/tasks.greet"]);
        let resolve = |name| names.resolve(name, None).map(|id| &**id);
        assert_eq!(resolve("tasks.greet"), Ok("tasks::greet"));
        assert!(resolve("greet").unwrap_err().contains("ambiguous"));
        assert_eq!(Names::default().resolve("x", None).unwrap_err(), "unknown task `x` (there are no tasks)");
    }

    #[test]
    fn a_guest_is_told_of_no_component_that_others_have_pushed() {
        let ids = ["boss::c.run", "anna::x:y/z@1.0.0.go", "bob::x:y/z@1.0.0.go", "eve::x:y/z@1.0.0.go"];
        let names = names(&ids).with_named([Arc::from("boss")]);
        for (name, expected) in [
            ("annna::go", "unknown task `annna::go` (known tasks: `boss::c.run`, `eve::x:y/z@1.go`)"),
            ("boss::c.rum", "did you mean `boss::c.run`? known tasks: `boss::c.run`, `eve::x:y/z@1.go`)"),
            ("x:y/z@2.go", "no known version of the interface fits (`eve::x:y/z@1.go`)"),
        ] {
            let told = names.resolve(name, Some("eve")).unwrap_err();
            assert!(told.contains(expected) && !told.contains("bob"), "{name}: {told}");
        }
        let told = names.resolve("go", Some("mallory")).unwrap_err();
        assert_eq!(told, "task `go` is ambiguous: write its id in full");
        assert!(
            names.resolve("go", None).unwrap_err().contains("`anna::x:y/z@1.go`"),
            "an operator sees all"
        );
    }

    #[test]
    fn what_others_push_changes_the_meaning_of_no_name_of_a_configured_component() {
        let all = ["mailer::acme:mail/notify@1.1.0.fresh", "boss::a:b/c.run"];
        let eve = "eve::acme:mail/notify@1.4.0.fresh";
        let find = |named: &[&str], pushed: &[&str], name: &str, own| {
            let names = names(&[&all, pushed].concat()).with_named(named.iter().map(|name| Arc::from(*name)));
            let sections = names.matching(name).map(|found| {
                found.ids.iter().map(|id| TaskId::component_of(id).to_owned()).collect::<Vec<_>>().join(" ")
            });
            (names.resolve(name, own).map(|id| TaskId::component_of(id).to_owned()), sections)
        };
        let configured = |name, own| {
            let before = find(&["mailer", "boss"], &[], name, own);
            for pushed in [&["notify::fresh"][..], &["notify::fresh", "c::run"]] {
                assert_eq!(find(&["mailer", "boss"], pushed, name, own), before, "{name}");
            }
            // A section for a function is for all that export it.
            assert_eq!(find(&["mailer", "boss"], &[eve], name, own).0, before.0, "{name}");
            before.0
        };
        for own in [None, Some("mailer"), Some("boss")] {
            for name in ["fresh", "notify.fresh", "notify@1.fresh", "acme:mail/notify.fresh", "mailer.fresh"]
            {
                assert_eq!(configured(name, own), Ok("mailer".to_owned()), "{name}");
            }
            assert_eq!(configured("c.run", own), Ok("boss".to_owned()));
        }
        // A guest of what was pushed means its own component, and then those of the configuration.
        let pushed = ["notify::fresh", eve];
        let of_guest = |own| find(&["mailer", "boss"], &pushed, "fresh", Some(own)).0;
        assert_eq!(of_guest("eve"), Ok("eve".to_owned()));
        assert_eq!(of_guest("notify"), Ok("notify".to_owned()));
        assert_eq!(of_guest("other"), Ok("mailer".to_owned()));
        // Among those that were pushed no push makes a name mean something else; it can make it ambiguous.
        let without = |pushed: &[&str], name: &str, own| find(&["boss"], pushed, name, own).0;
        assert_eq!(without(&[], "notify.fresh", None), Ok("mailer".to_owned()));
        assert!(without(&["notify::fresh"], "notify.fresh", None).unwrap_err().contains("ambiguous"));
        assert_eq!(without(&["notify::fresh"], "notify.fresh", Some("mailer")), Ok("mailer".to_owned()));
        for id in ["notify::fresh", "mailer::acme:mail/notify@1.fresh"] {
            assert_eq!(without(&pushed, id, None), Ok(TaskId::component_of(id).to_owned()));
        }
        assert_eq!(without(&pushed, "mailer::fresh", None), Ok("mailer".to_owned()));
    }

    #[test]
    fn ids_of_earlier_programs_are_names_of_their_own() {
        let names = names(&["acme:demo/tasks.greet", "py.hello", "py::acme:math/ops@1.add"]);
        let resolve = |name| names.resolve(name, None).map(|id| &**id);
        assert_eq!(resolve("acme:demo/tasks.greet"), Ok("acme:demo/tasks.greet"));
        assert_eq!(resolve("greet"), Ok("acme:demo/tasks.greet"));
        assert_eq!(resolve("py.hello"), Ok("py.hello"));
        // Of a stored id only the track is known.
        assert_eq!(resolve("ops@1.7.3.add"), Ok("py::acme:math/ops@1.add"));
    }

    #[test]
    fn sections_say_how_exactly_they_name_tasks() {
        let names = names(&[
            "scale::acme:plugins/filter@1.4.2.apply",
            "scale::acme:plugins/filter@2.0.0.apply",
            "blur::acme:plugins/filter@1.0.0.apply",
            "blur::run",
            "sharpen::run",
        ]);
        let matching = |name| {
            let Matching { ids, exactness, .. } = names.matching(name).map_err(drop).expect(name);
            let mut components: Vec<_> =
                ids.iter().map(|id| TaskId::split(id).0.expect("it has one")).collect();
            components.sort_unstable();
            (components.join(" "), exactness)
        };
        for (name, components, exactness) in [
            ("*", "blur blur scale scale sharpen", Exactness::Pattern(0)),
            ("acme:plugins/*", "blur scale scale", Exactness::Pattern(13)),
            ("blur::*", "blur blur", Exactness::Pattern(6)),
            ("*@1.apply", "blur scale", Exactness::Pattern(8)),
            ("apply", "blur scale scale", Exactness::Function),
            ("acme:plugins/filter.apply", "blur scale scale", Exactness::Function),
            ("run", "blur sharpen", Exactness::Function),
            ("filter@1.apply", "blur scale", Exactness::Track),
            ("acme:plugins/filter@1.apply", "blur scale", Exactness::Track),
            ("scale::apply", "scale scale", Exactness::Component),
            ("scale.apply", "scale scale", Exactness::Component),
            ("blur::run", "blur", Exactness::Full),
            ("scale::acme:plugins/filter@1.apply", "scale", Exactness::Full),
        ] {
            assert_eq!(matching(name), (components.to_owned(), exactness), "{name}");
        }
        assert!(Exactness::Pattern(100) < Exactness::Function);
        assert!(Exactness::Track < Exactness::Component && Exactness::Component < Exactness::Full);
        let wrong = |name| names.matching(name).err().expect("it is wrong");
        assert_eq!(wrong("nothing*"), "no task fits the pattern `nothing*`");
        assert!(wrong("aply").contains("did you mean"));
    }

    #[test]
    fn what_others_push_does_not_change_the_meaning_of_a_section() {
        let all = ["own::a:b/c.run", "pushed::x:y/z.run", "more::x:y/z.run"];
        let matching = |named: &[&str]| {
            let names = names(&all).with_named(named.iter().map(|name| Arc::from(*name)));
            let found = names.matching("run")?;
            let ids: Vec<String> = found.ids.iter().map(|id| id.to_string()).collect();
            Ok::<_, String>((ids.join(" "), found.warning.is_some()))
        };
        assert_eq!(matching(&["own"]), Ok(("own::a:b/c.run".to_owned(), false)));
        assert_eq!(
            matching(&["pushed", "more"]),
            Ok(("pushed::x:y/z.run more::x:y/z.run".to_owned(), false))
        );
        assert!(matching(&["own", "pushed"]).unwrap_err().contains("ambiguous"));
        assert_eq!(matching(&[]), Ok((all.join(" "), true)));
        assert!(names(&all).matching("run").is_err(), "where nobody can have pushed anything");
    }
}
