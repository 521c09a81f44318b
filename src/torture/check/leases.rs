//! Leases: each attempt has one owner at a time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Finding;
use crate::model::{InvocationId, Reason, RunnerId, UnixMicros};
use crate::torture::evidence::Evidence;
use crate::torture::kind::Kind;
use crate::torture::witness::Told;

/// No claim is taken away while its runner's lease is good, and a runner that has
/// lost its lease claims nothing under the same id.
///
/// Histories do not tell of heartbeats, but each claim extends the lease of its
/// runner: the lease is good for at least that long.
pub fn none_is_broken(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new(
        "leases",
        "no claim is taken away under a valid lease, and a lost runner claims nothing more",
    );
    let mut claims: HashMap<RunnerId, Vec<UnixMicros>> = HashMap::new();
    let mut losses: Vec<(RunnerId, UnixMicros, InvocationId)> = Vec::new();
    for (id, life) in &evidence.lives {
        for (index, step) in life.history.iter().enumerate() {
            let Some(runner) = step.runner else { continue };
            let is_last = index + 1 == life.history.len();
            match step.reason {
                Reason::Claimed => claims.entry(runner).or_default().push(step.at),
                Reason::LeaseExpired => losses.push((runner, step.at, *id)),
                Reason::Failed if life.is_lost() && is_last => losses.push((runner, step.at, *id)),
                _ => {}
            }
        }
    }
    for times in claims.values_mut() {
        times.sort_unstable();
    }
    for (runner, lost_at, id) in losses {
        let last = claims.get(&runner).and_then(|times| times.last()).copied();
        let holds = last.is_some_and(|last| last.plus(evidence.lease) <= lost_at.plus(evidence.margin()));
        finding.expect(holds, || match last {
            None => format!("{id} was taken from {runner}, which never claimed anything"),
            Some(last) if last > lost_at => {
                format!("{runner} lost {id} and claimed something {:?} later", last.since(lost_at))
            }
            Some(last) => {
                format!("{id} was taken from {runner} only {:?} after a claim of it", lost_at.since(last))
            }
        });
    }
    finding
}

/// One guest's stay in a runner process, as it told it.
#[derive(Debug)]
struct Stay {
    process: usize,
    attempt: u32,
    began: UnixMicros,
    last: UnixMicros,
}

/// The stays of each invocation's guests, in the order in which they began.
fn stays(evidence: &Evidence) -> BTreeMap<InvocationId, Vec<Stay>> {
    let mut stays: BTreeMap<InvocationId, Vec<Stay>> = BTreeMap::new();
    for line in &evidence.lines {
        let of_this = stays.entry(line.id).or_default();
        if matches!(line.told, Told::Start(_)) {
            of_this.push(Stay {
                process: line.process,
                attempt: line.attempt,
                began: line.at,
                last: line.at,
            });
        } else if let Some(stay) =
            of_this.iter_mut().rev().find(|stay| (stay.process, stay.attempt) == (line.process, line.attempt))
        {
            stay.last = stay.last.max(line.at);
        }
    }
    for of_this in stays.values_mut() {
        of_this.sort_by_key(|stay| stay.began);
    }
    stays
}

/// A guest and how long it went on when it should have been dead.
struct Overlap<'s, K> {
    /// The task and key of which only one may run at a time.
    of: K,
    stay: &'s Stay,
    next: &'s Stay,
    too_long: Duration,
}

/// Each guest beside the next attempt of its invocation.
///
/// A process that was stopped can't know that its lease has run out before it
/// goes on: its time counts from there, and further stops do not count.
fn overlaps<'s, K: Copy>(
    evidence: &Evidence,
    stays: &'s BTreeMap<K, Vec<Stay>>,
) -> impl Iterator<Item = Overlap<'s, K>> {
    let stops: HashMap<usize, Vec<(UnixMicros, UnixMicros)>> =
        evidence.runners.iter().map(|record| (record.process, record.stops.clone())).collect();
    let pairs =
        stays.iter().flat_map(|(of, stays)| stays.windows(2).map(move |pair| (*of, &pair[0], &pair[1])));
    pairs.map(move |(of, stay, next)| {
        let stops = stops.get(&stay.process).map_or(&[][..], Vec::as_slice);
        let ends = stops.iter().filter(|(from, until)| (*from..=*until).contains(&next.began));
        let could_know = ends.map(|(_, until)| *until).max().unwrap_or(next.began);
        let stopped: Duration =
            stops.iter().map(|(from, until)| stay.last.min(*until).since(could_know.max(*from))).sum();
        Overlap { of, stay, next, too_long: stay.last.since(could_know).saturating_sub(stopped) }
    })
}

/// No guest goes on when the next attempt of its invocation has started, or when
/// its runner could know of that, but for a moment: the outcome of such an attempt is
/// refused, a line more in a file is not.
pub fn no_two_attempts_overlap(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("overlaps", "no guest goes on beside the next attempt of its invocation");
    for overlap in overlaps(evidence, &stays(evidence)) {
        let Overlap { of, stay, next, too_long } = overlap;
        finding.expect(too_long <= evidence.margin(), || {
            format!(
                "{of}: attempt {} in process {} went on for {too_long:?} after attempt {} in process {}",
                stay.attempt, stay.process, next.attempt, next.process
            )
        });
    }
    finding
}

/// No two guests run at once of which a rule lets only one run.
pub fn no_lane_is_full_twice(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("lanes", "no two guests run at once of which a rule lets only one run");
    let mut lanes: BTreeMap<u64, Vec<Stay>> = BTreeMap::new();
    for (id, stays) in stays(evidence) {
        let Some(life) = evidence.lives.get(&id).filter(|life| life.kind == Kind::Lane) else { continue };
        lanes.entry(life.arguments.first().copied().unwrap_or(0)).or_default().extend(stays);
    }
    for stays in lanes.values_mut() {
        stays.sort_by_key(|stay| stay.began);
    }
    for overlap in overlaps(evidence, &lanes) {
        let Overlap { of, stay, next, too_long } = overlap;
        finding.expect(too_long <= evidence.margin(), || {
            format!(
                "key {of}: a guest in process {} went on for {too_long:?} after another had started in process {}",
                stay.process, next.process
            )
        });
    }
    finding
}

/// The longest that a guest went on when it should have been dead, for the report.
pub fn longest_overlap(evidence: &Evidence) -> Duration {
    overlaps(evidence, &stays(evidence)).map(|overlap| overlap.too_long).max().unwrap_or_default()
}

/// As many guests start an attempt as runners have claimed it: more than one only
/// if it was given back in between.
pub fn each_start_has_a_claim(evidence: &Evidence) -> Finding {
    let mut finding = Finding::new("starts", "each guest that starts has a claim of its own");
    let mut starts: BTreeMap<(InvocationId, u32), usize> = BTreeMap::new();
    for line in &evidence.lines {
        let Told::Start(function) = &line.told else { continue };
        *starts.entry((line.id, line.attempt)).or_default() += 1;
        let kind = evidence.lives.get(&line.id).map(|life| life.kind.name());
        finding.expect(kind == Some(&**function), || {
            format!("{} ran `{function}`, and is of the task `{}`", line.id, kind.unwrap_or("?"))
        });
    }
    for ((id, attempt), starts) in starts {
        let history = evidence.lives.get(&id).map_or(&[][..], |life| &life.history);
        let claims = history.iter().filter(|step| step.reason == Reason::Claimed && step.attempt == attempt);
        let claims = claims.count();
        finding.expect(starts <= claims, || {
            format!("{id}: attempt {attempt} was started {starts} times and claimed {claims} times")
        });
    }
    finding
}
