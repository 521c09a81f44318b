//! A transaction under way.

use const_format::formatcp;

use super::fault::Fault;
use super::link::{Ask, Link};
use super::names::Names;
use super::sql::{Candidate, read_heads, uuids};
use crate::model::InvocationId;
use crate::store::columns::HEAD_COLUMNS;
use crate::store::decide::{Head, LaneId, State};
use crate::store::round::Round;
use crate::store::{Heartbeat, TaskSet};

/// A transaction under way.
pub(super) struct Work<'a> {
    pub(super) link: &'a Link,
    pub(super) names: &'a mut Names,
    pub(super) round: &'a mut Round,
    /// The locked rows as they are now, and what is to be written. Its time may be the
    /// server's.
    pub(super) state: State<'a>,
    /// Whether that goes on while the transaction waits.
    pub(super) has_server_time: bool,
    /// The lanes that are due, once a claim has asked.
    pub(super) due: Option<Due>,
    /// The lease of a runner that has claimed something.
    pub(super) extends: Option<Heartbeat>,
    /// Candidates that were admitted to their lanes since the queue was read.
    pub(super) admitted: Vec<Candidate>,
    /// Whether an operator holds anything back.
    pub(super) has_pauses: bool,
    /// The tasks that are held back, once a claim has asked.
    pub(super) paused: TaskSet,
    /// Whether the claim has left something that it could have had.
    pub(super) has_left: bool,
    /// The tasks that a claim looks at, if it does not look at all of its own.
    pub(super) looked_at: Option<LookedAt>,
}

/// Some of the tasks that have claimable invocations.
pub(super) struct LookedAt {
    /// The tasks among them that the claim may have.
    pub(super) names: Vec<String>,
    /// The last of all, if there may be more.
    pub(super) last: Option<i64>,
}

/// The lanes that a claim finds due.
#[derive(Default)]
pub(super) struct Due {
    pub(super) opened: Vec<LaneId>,
    /// The delayed invocations whose time has come.
    pub(super) delayed: Vec<InvocationId>,
    /// Whether more is due.
    pub(super) is_full: bool,
}

impl Work<'_> {
    /// Takes locked rows in; the ids of those that were not known.
    pub(super) fn load(&mut self, heads: Vec<Head>) -> Vec<InvocationId> {
        let new = heads.into_iter().filter_map(|head| {
            let id = head.id;
            self.state.load(head).then_some(id)
        });
        new.collect()
    }

    /// Locks the attached descendants of `parents` that are not final, level by level, as far as there is
    /// room for them. Returns whether they are all.
    pub(super) async fn lock_descendants(&mut self, mut parents: Vec<InvocationId>) -> Result<bool, Fault> {
        let mut is_all = true;
        // Once more when some were found: a child may have been submitted while
        // its parent was waited for. Each is followed once, however many of its ancestors
        // are asked about.
        while !parents.is_empty() {
            let room = self.state.cascade_room();
            let ask = Ask::new(formatcp!(
                "WITH RECURSIVE doomed(seq, id) AS ( \
                     SELECT c.seq, c.id FROM unnest($1) AS p(id) CROSS JOIN LATERAL ( \
                         SELECT seq, id FROM @invocation \
                         WHERE parent = p.id AND place IS NOT NULL AND NOT detached OFFSET 0) c UNION \
                     SELECT c.seq, c.id FROM doomed d CROSS JOIN LATERAL ( \
                         SELECT seq, id FROM @invocation \
                         WHERE parent = d.id AND place IS NOT NULL AND NOT detached OFFSET 0) c) \
                 SELECT {HEAD_COLUMNS} FROM (SELECT seq FROM doomed LIMIT $2) d \
                 JOIN @invocation i ON i.seq = ANY(ARRAY[d.seq]) \
                 WHERE i.place IS NOT NULL ORDER BY d.seq FOR UPDATE OF i"
            ));
            let rows = self.link.ask_one(ask.with(uuids(&parents)).with(room as i64)).await?;
            let is_full = rows.len() >= room;
            is_all &= !is_full;
            let found = self.load(read_heads(&rows)?);
            self.state.count_cascade(parents, &found, is_full);
            parents = if is_full { Vec::new() } else { found };
        }
        Ok(is_all)
    }
}
