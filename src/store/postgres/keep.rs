//! Deadlines, and what is removed at last.

use std::collections::{HashMap, HashSet};

use super::fault::Fault;
use super::link::Ask;
use super::settle::head;
use super::sql::{column, optional, present, server_time, uuids};
use super::write::Work;
use crate::model::{Event, InvocationId, Status, UnixMicros};
use crate::store::{Keep, Prune, PrunePosition, Pruned, rules};

/// Something final that may be removed.
struct Candidate {
    seq: i64,
    finished_at: UnixMicros,
    id: InvocationId,
    parent: Option<InvocationId>,
}

/// Asks whether anything is past its deadline, by the clock `now` or the server's:
/// a row if so.
pub(super) fn look_for_overdue(now: Option<i64>) -> Ask<'static> {
    Ask::new(concat!(
        "SELECT 1 FROM @invocation WHERE deadline IS NOT NULL AND place IS NOT NULL AND deadline <= ",
        present!(),
        " LIMIT 1"
    ))
    .with(now)
}

impl Work<'_> {
    /// Ends what is past its deadline, oldest deadline first; whether some may be
    /// left.
    pub(super) async fn expire(&mut self) -> Result<bool, Fault> {
        if !self.may_expire {
            return Ok(false);
        }
        let mut expired = 0;
        loop {
            let mut asks = self.write_all()?;
            // What is locked, its owner is about to end, perhaps; if not, the next
            // commit finds it. No claim takes it meanwhile.
            asks.push(
                Ask::new(concat!(
                    "SELECT ",
                    head!(),
                    " FROM @invocation i WHERE i.deadline IS NOT NULL AND i.place IS NOT NULL \
                     AND i.deadline <= $1 ORDER BY i.deadline, i.seq LIMIT $2 FOR UPDATE SKIP LOCKED"
                ))
                .with(self.now.0)
                .with(rules::EXPIRED_AT_ONCE as i64),
            );
            let rows = self.link.ask(asks).await?.pop().unwrap_or_default();
            self.load(&rows)?;
            let overdue = rows.iter().map(|row| column(row, 1)).collect::<Result<Vec<InvocationId>, _>>()?;
            if overdue.is_empty() {
                return Ok(false);
            }
            let parents =
                overdue.iter().filter(|id| self.heads.get(id).is_some_and(|head| head.has_children));
            self.lock_descendants(parents.copied().collect()).await?;
            for id in overdue {
                let Some(head) = self.heads.get(&id).filter(|head| !head.status.is_final()) else {
                    // Its parent has taken it along.
                    continue;
                };
                let deadline = head.deadline.unwrap_or(self.now);
                self.end(id, Event::Expire, rules::expired(deadline))?;
                self.end_children(id, Status::Failed)?;
                expired += 1;
                if expired == rules::EXPIRED_AT_ONCE {
                    return Ok(true);
                }
            }
        }
    }

    /// Removes what is final and old.
    pub(super) async fn prune(&mut self, prune: &Prune) -> Result<Pruned, Fault> {
        let asks = self.write_all()?;
        self.link.ask(asks).await?;
        let mut removed = 0;
        let mut looked_at = 0;
        let start = prune.after.unwrap_or(PrunePosition { keep: 0, last: None, passed: 0 });
        for (index, keep) in prune.keep.iter().enumerate().skip(start.keep) {
            let mut position = match index == start.keep {
                true => start,
                false => PrunePosition { keep: index, last: None, passed: 0 },
            };
            let mut surplus = self.surplus(keep, position.passed).await?;
            // One more than may be looked at tells whether that was all.
            let limit = (prune.max - looked_at).saturating_add(1);
            let mut candidates = self.candidates(keep.status, position.last, limit).await?;
            let first_to_keep = candidates.iter().position(|candidate| {
                let goes = rules::is_surplus(keep, candidate.finished_at, surplus, self.now);
                surplus = surplus.saturating_sub(1);
                !goes
            });
            candidates.truncate(first_to_keep.unwrap_or(candidates.len()));
            let is_all = candidates.len() < limit;
            candidates.truncate(limit - 1);
            looked_at += candidates.len();
            let needed = self.needed(&candidates).await?;
            if let Some(last) = candidates.last() {
                position.last = Some((last.finished_at, last.seq));
            }
            position.passed += needed.len() as u64;
            let gone = candidates.iter().map(|candidate| candidate.seq).filter(|seq| !needed.contains(seq));
            removed += self.remove(gone.collect(), keep.status).await?;
            if !is_all {
                return Ok(Pruned { removed, next: Some(position) });
            }
        }
        Ok(Pruned { removed, next: None })
    }

    /// How many more of a status there are than its rule keeps, without those that
    /// were passed by.
    async fn surplus(&self, keep: &Keep, passed: u64) -> Result<u64, Fault> {
        let Some(count) = keep.count else {
            return Ok(0);
        };
        let ask = Ask::new("SELECT coalesce(sum(n), 0)::bigint FROM @tally WHERE status = $1");
        let rows = self.link.ask_one(ask.with(keep.status.as_str())).await?;
        let before: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let of_status = self.moves.tally.iter().filter(|((_, status), _)| *status == keep.status);
        let now = before + of_status.map(|(_, change)| change).sum::<i64>();
        Ok(u64::try_from(now).unwrap_or(0).saturating_sub(count).saturating_sub(passed))
    }

    /// The first of a status to become final after `last` did.
    async fn candidates(
        &self,
        status: Status,
        last: Option<(UnixMicros, i64)>,
        limit: usize,
    ) -> Result<Vec<Candidate>, Fault> {
        let (at, seq) = last.unwrap_or((UnixMicros(i64::MIN), 0));
        let ask = Ask::new(
            "SELECT seq, finished_at, id, parent FROM @invocation \
             WHERE place IS NULL AND status = $1 AND (finished_at, seq) > ($2, $3) \
             ORDER BY finished_at, seq LIMIT $4",
        );
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.link.ask_one(ask.with(status.as_str()).with(at.0).with(seq).with(limit)).await?;
        rows.iter()
            .map(|row| {
                Ok(Candidate {
                    seq: column(row, 0)?,
                    finished_at: column(row, 1)?,
                    id: column(row, 2)?,
                    parent: optional(row, 3)?,
                })
            })
            .collect()
    }

    /// The numbers of those that something unfinished may still look for: an
    /// ancestor, or a detached child.
    async fn needed(&self, candidates: &[Candidate]) -> Result<HashSet<i64>, Fault> {
        if candidates.is_empty() {
            return Ok(HashSet::new());
        }
        let children = Ask::new(
            "SELECT DISTINCT parent FROM @invocation \
             WHERE parent = ANY($1) AND detached AND place IS NOT NULL",
        );
        // Every ancestor once, however many candidates it has. What was removed had
        // no unfinished ancestor, and nothing final becomes unfinished again.
        let ancestors = Ask::new(
            "WITH RECURSIVE above(id) AS ( \
                 SELECT unnest($1) \
                 UNION \
                 SELECT i.parent FROM above a JOIN @invocation i ON i.id = a.id WHERE i.parent IS NOT NULL) \
             SELECT i.id, i.parent, i.place IS NOT NULL FROM above a JOIN @invocation i ON i.id = a.id",
        );
        let mut parents: Vec<_> = candidates.iter().filter_map(|candidate| candidate.parent).collect();
        parents.sort_unstable();
        parents.dedup();
        let ids = uuids(candidates.iter().map(|candidate| &candidate.id));
        let mut answers =
            self.link.ask(vec![children.with(ids), ancestors.with(uuids(&parents))]).await?.into_iter();
        let mut next = || answers.next().unwrap_or_default();
        let with_children =
            next().iter().map(|row| column(row, 0)).collect::<Result<HashSet<InvocationId>, Fault>>()?;
        let mut above = HashMap::new();
        for row in next() {
            let (id, parent, is_unfinished): (InvocationId, Option<InvocationId>, bool) =
                (column(&row, 0)?, optional(&row, 1)?, column(&row, 2)?);
            above.insert(id, (parent, is_unfinished));
        }
        // Those with nothing unfinished above them, itself included.
        let mut clear: HashSet<InvocationId> = HashSet::new();
        let mut needed = HashSet::new();
        for candidate in candidates {
            let mut path = Vec::new();
            let mut next = candidate.parent;
            let mut is_needed = with_children.contains(&candidate.id);
            while let Some(id) = next.filter(|id| !is_needed && !clear.contains(id)) {
                let (parent, is_unfinished) = above.get(&id).copied().unwrap_or((None, false));
                is_needed = is_unfinished;
                next = parent;
                path.push(id);
            }
            if is_needed {
                needed.insert(candidate.seq);
            } else {
                clear.extend(path);
            }
        }
        Ok(needed)
    }

    /// Removes what nobody else is removing; how many that were.
    async fn remove(&mut self, seqs: Vec<i64>, status: Status) -> Result<usize, Fault> {
        if seqs.is_empty() {
            return Ok(0);
        }
        let ask = Ask::new(
            "DELETE FROM @invocation WHERE seq = ANY(ARRAY( \
                 SELECT seq FROM @invocation WHERE seq = ANY($1) AND place IS NULL \
                 ORDER BY seq FOR UPDATE SKIP LOCKED)) RETURNING seq, task",
        );
        let rows = self.link.ask_one(ask.with(seqs)).await?;
        let mut gone = Vec::with_capacity(rows.len());
        for row in &rows {
            gone.push(column::<i64>(row, 0)?);
            self.moves.count(column(row, 1)?, status, -1);
        }
        let deletes = [
            "DELETE FROM @arguments WHERE seq = ANY($1)",
            "DELETE FROM @outcome WHERE seq = ANY($1)",
            "DELETE FROM @history WHERE seq = ANY($1)",
            "DELETE FROM @log WHERE seq = ANY($1)",
        ];
        self.link.ask(deletes.map(|delete| Ask::new(delete).with(gone.clone())).into()).await?;
        Ok(gone.len())
    }
}
