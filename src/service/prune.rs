//! Removing final invocations that are old.

use std::time::{Duration, Instant};

use super::patience::{CHUNK, give_way};
use super::{PruneDocument, Remedy, Service, ServiceError};
use crate::model::Status;
use crate::store::{Batch, Keep, Prune};

/// A prune. If nothing says how old or how many, the configuration does.
#[derive(Debug, Clone, Default)]
pub struct PruneRequest {
    /// Only those with one of these final statuses; empty means all.
    pub statuses: Vec<Status>,
    /// The age since the end from which on invocations are removed.
    pub older_than: Option<Duration>,
    /// The number of each status that is kept: the latest to end.
    pub keep: Option<usize>,
}

impl Service {
    /// Removes invocations, in as many transactions as it takes. If the store went away
    /// meanwhile, those that were removed without an answer are not counted.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Invalid`] if nothing says what is old.
    pub fn prune(&self, request: &PruneRequest) -> Result<PruneDocument, ServiceError> {
        let keep = keep(request, &self.config().retention)?;
        let access = self.existing()?;
        let mut removed = 0;
        let mut after = None;
        loop {
            let began = Instant::now();
            let prune = Prune { keep: keep.clone(), max: CHUNK, after };
            let receipt = access.commit(&Batch { prune: Some(prune), ..Batch::default() })?;
            let Some(pruned) = receipt.pruned else { break };
            removed += pruned.removed;
            after = pruned.next;
            if after.is_none() {
                break;
            }
            give_way(began);
        }
        Ok(PruneDocument { removed })
    }
}

/// Decides what is kept: as the request says, or as it is configured.
fn keep(request: &PruneRequest, configured: &[Keep]) -> Result<Vec<Keep>, ServiceError> {
    let is_meant = |status: Status| request.statuses.is_empty() || request.statuses.contains(&status);
    if request.older_than.is_some() || request.keep.is_some() {
        let statuses = Status::ALL.into_iter().filter(|status| status.is_final() && is_meant(*status));
        let count = request.keep.map(|count| count as u64);
        return Ok(statuses.map(|status| Keep { status, age: request.older_than, count }).collect());
    }
    let keep: Vec<_> = configured.iter().filter(|keep| is_meant(keep.status)).copied().collect();
    if !keep.is_empty() {
        return Ok(keep);
    }
    let message = match configured.is_empty() {
        true => "nothing says what is old: there is no `[retention]` in the configuration",
        false => "nothing says what is old: `[retention]` keeps everything with that status",
    };
    Err(ServiceError::invalid(message).with_remedy(Remedy::SayWhatIsOld))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(statuses: &[Status], older_than: Option<u64>, keep: Option<usize>) -> PruneRequest {
        PruneRequest { statuses: statuses.to_vec(), older_than: older_than.map(Duration::from_secs), keep }
    }

    #[test]
    fn a_request_wins_over_the_configuration() {
        let day = Some(Duration::from_secs(86_400));
        let failed = Keep { status: Status::Failed, age: day, count: None };
        let skipped = Keep { status: Status::Skipped, age: day, count: Some(7) };
        let configured = [failed, skipped];
        assert_eq!(keep(&request(&[], None, None), &configured).unwrap(), configured);
        assert_eq!(keep(&request(&[Status::Skipped], None, None), &configured).unwrap(), [skipped]);
        assert!(keep(&request(&[Status::Succeeded], None, None), &configured).is_err());
        assert!(keep(&request(&[], None, None), &[]).is_err());
        let all = keep(&request(&[], None, Some(3)), &configured).unwrap();
        assert_eq!(all.len(), 4);
        assert!(all.iter().all(|keep| keep.status.is_final() && (keep.age, keep.count) == (None, Some(3))));
        let one = keep(&request(&[Status::Failed], Some(5), None), &configured).unwrap();
        assert_eq!(one, [Keep { status: Status::Failed, age: Some(Duration::from_secs(5)), count: None }]);
    }
}
