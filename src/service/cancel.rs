//! Cancelling, of few or of many.

use std::time::Instant;

use super::patience::{CHUNK, Transactions, give_way};
use super::{CancelDocument, CancelOutcome, Selection, Service, ServiceError};
use crate::model::{InvocationId, Status};
use crate::store::{Batch, Cancel, Cancelled};

/// A cancel of invocations.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// The invocations; those that are not final, if no status is named. Their attached
    /// descendants are cancelled with them.
    pub selection: Selection,
    /// The reason, for people.
    pub message: String,
}

impl Service {
    /// Finds the invocations that a cancel of this selection would be about, in its order.
    pub fn would_cancel(&self, selection: Selection) -> Result<Vec<InvocationId>, ServiceError> {
        self.select(&self.existing()?, selection, Status::unfinished().collect())
    }

    /// Begins to cancel invocations. Between two transactions it pauses, so that runners get at
    /// the store. Of large trees it cancels a part in each transaction; if it is given up in
    /// between, runners go on.
    pub fn cancel(&self, request: CancelRequest) -> Result<Transactions<Vec<CancelDocument>>, ServiceError> {
        let access = self.existing()?;
        let ids = self.select(&access, request.selection, Status::unfinished().collect())?;
        let message = request.message;
        let (mut done, mut last_began) = (0, None);
        Ok(Transactions::new(move || {
            let ids = &ids[done..ids.len().min(done + CHUNK)];
            if ids.is_empty() {
                return Ok(None);
            }
            last_began.take().into_iter().for_each(give_way);
            last_began = Some(Instant::now());
            let cancel = |id: &InvocationId| Cancel { id: *id, by: None, message: message.clone() };
            let batch = Batch { cancels: ids.iter().map(cancel).collect(), ..Batch::default() };
            let receipt = access.commit(&batch)?;
            let mut has_cascade = receipt.has_cascade;
            while has_cascade {
                last_began.replace(Instant::now()).into_iter().for_each(give_way);
                has_cascade = access.commit(&Batch { recover: true, ..Batch::default() })?.has_cascade;
            }
            done += ids.len();
            let documents = ids.iter().zip(receipt.cancels).map(|(id, cancelled)| {
                let (outcome, status) = match cancelled {
                    Cancelled::Done => (CancelOutcome::Cancelled, Some(Status::Cancelled)),
                    Cancelled::AlreadyFinal(status) => (CancelOutcome::AlreadyFinal, Some(status)),
                    // Nobody outside is denied anything.
                    Cancelled::Unknown | Cancelled::Denied => (CancelOutcome::Unknown, None),
                };
                CancelDocument { id: *id, outcome, status }
            });
            Ok(Some(documents.collect()))
        }))
    }
}
