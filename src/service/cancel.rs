//! Cancelling, of few or of many.

use std::time::Instant;

use super::patience::{Access, CHUNK, give_way};
use super::{CancelDocument, CancelOutcome, Selection, Service, ServiceError};
use crate::model::{InvocationId, Status};
use crate::store::{Batch, Cancel, Cancelled};

/// What to cancel.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// Which invocations; those that are not final, if no status is named. Their attached
    /// descendants are cancelled with them.
    pub selection: Selection,
    /// Why, for people.
    pub message: String,
}

/// A cancel under way: an iterator over its transactions, each made when it is asked for.
/// Between two it pauses, so that runners get at the store.
pub struct Cancelling {
    access: Access,
    ids: Vec<InvocationId>,
    message: String,
    done: usize,
    /// When the last transaction began.
    began: Option<Instant>,
}

impl Service {
    /// Begins to cancel invocations.
    ///
    /// # Errors
    ///
    /// If they can't be looked for.
    pub fn cancel(&self, request: CancelRequest) -> Result<Cancelling, ServiceError> {
        let access = self.existing()?;
        let unfinished = Status::ALL.into_iter().filter(|status| !status.is_final()).collect();
        let ids = self.select(&access, request.selection, unfinished)?;
        Ok(Cancelling { access, ids, message: request.message, done: 0, began: None })
    }
}

impl Cancelling {
    fn chunk(&mut self) -> Result<Vec<CancelDocument>, ServiceError> {
        self.began.take().into_iter().for_each(give_way);
        let began = Instant::now();
        let ids = &self.ids[self.done..self.ids.len().min(self.done + CHUNK)];
        let cancel = |id: &InvocationId| Cancel { id: *id, message: self.message.clone() };
        let batch = Batch { cancels: ids.iter().map(cancel).collect(), ..Batch::default() };
        let receipt = self.access.commit(&batch)?;
        let documents = ids.iter().zip(receipt.cancels).map(|(id, cancelled)| {
            let (outcome, status) = match cancelled {
                Cancelled::Done => (CancelOutcome::Cancelled, Some(Status::Cancelled)),
                Cancelled::AlreadyFinal(status) => (CancelOutcome::AlreadyFinal, Some(status)),
                Cancelled::Unknown => (CancelOutcome::Unknown, None),
            };
            CancelDocument { id: *id, outcome, status }
        });
        let documents: Vec<_> = documents.collect();
        self.done += documents.len();
        self.began = Some(began);
        Ok(documents)
    }
}

impl Iterator for Cancelling {
    type Item = Result<Vec<CancelDocument>, ServiceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done == self.ids.len() {
            return None;
        }
        let chunk = self.chunk();
        if chunk.is_err() {
            self.done = self.ids.len();
        }
        Some(chunk)
    }
}
