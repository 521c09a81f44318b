//! The prefetch: the claims that a runner makes before a slot is free, and when it gives them back.

use std::time::{Duration, Instant};

use crate::runner::scheduler::Load;

/// A runner claims ahead what its slots get through in this time, so that little is late for it.
const PREFETCH_TIME: Duration = Duration::from_millis(20);

/// Or in so many commits, if those take longer: what is claimed comes with the end of a commit, and the next claim
/// only with the end of the next one.
const PREFETCH_COMMITS: u32 = 2;

/// However long commits take, it claims ahead no more than what its slots get through in this time.
const PREFETCH_TIME_MAX: Duration = Duration::from_millis(200);

/// A runner never claims ahead more than this many for each slot.
const PREFETCH_MAX: usize = 512;

/// A runner claims of what guests await at most this many for each slot, however deep it is.
pub(super) const AWAITED_PER_SLOT: usize = 2;

/// If no slot takes anything of what was claimed for this long, or something that nobody awaits waits for so long (or
/// twice that), all of it is given back: guests run longer than was guessed, and others of the queue may be due now.
pub(crate) const STALE_PREFETCH: Duration = Duration::from_millis(500);

/// Returns the number to claim ahead for each slot, if a guest holds its slot for `slice`, and a commit takes
/// `commit`.
pub(super) fn prefetch(slice: Option<Duration>, commit: Duration) -> usize {
    let time = (commit * PREFETCH_COMMITS).clamp(PREFETCH_TIME, PREFETCH_TIME_MAX);
    let fits = slice.map_or(0, |slice| time.as_nanos() / slice.as_nanos().max(1));
    usize::try_from(fits).unwrap_or(usize::MAX).min(PREFETCH_MAX)
}

/// Whether slots take what was claimed ahead, and how long it takes to claim more.
#[derive(Default)]
pub(crate) struct Prefetch {
    /// The average time of the last commits.
    commit: Duration,
    /// Since when slots have started none of what was claimed, and how much they had started before.
    untaken_since: Option<(Instant, usize)>,
    /// Since when something has waited in the queue of what nobody awaits, and the number that had ever come into it
    /// by then: it has waited until so many have left.
    queued_since: Option<(Instant, usize)>,
}

impl Prefetch {
    /// Returns the number to claim ahead for each slot, if a guest holds its slot for `slice`.
    pub(super) fn ahead(&self, slice: Option<Duration>) -> usize {
        prefetch(slice, self.commit)
    }

    /// Notes that a commit took so long.
    pub(super) fn note_commit(&mut self, took: Duration) {
        self.commit = self.commit - self.commit / 8 + took.min(PREFETCH_TIME_MAX) / 8;
    }

    /// Whether claimed work has waited too long. If so, it is given back.
    pub(crate) fn is_stale(&mut self, load: &Load, now: Instant) -> bool {
        if load.ready == 0 || !load.may_start_unawaited {
            (self.untaken_since, self.queued_since) = (None, None);
            return false;
        }
        if self.untaken_since.is_none_or(|(_, taken)| taken != load.taken) {
            self.untaken_since = Some((now, load.taken));
        }
        let waiting = load.ready - load.awaited;
        let left = load.queued - waiting;
        if self.queued_since.is_none_or(|(_, queued)| left >= queued) {
            self.queued_since = (waiting > 0).then_some((now, load.queued));
        }
        let is_stale = self.stale_at().is_some_and(|at| now >= at);
        if is_stale {
            (self.untaken_since, self.queued_since) = (None, None);
        }
        is_stale
    }

    /// When claimed work becomes stale, if no slot takes it.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        let waits = self.untaken_since.into_iter().chain(self.queued_since);
        waits.map(|(since, _)| since + STALE_PREFETCH).min()
    }
}
