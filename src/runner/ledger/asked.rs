//! The questions of one turn, while the store answers them.

use tokio::sync::oneshot;

use crate::model::{InvocationId, Refusal, Status};
use crate::runner::inbox::{CancelMessage, Messages, SubmitMessage, SubmitReply};
use crate::store::{Batch, NewInvocation};

/// A submit with children in the batch: the next so many answers are its.
pub(super) struct PendingSubmit {
    pub(super) children: usize,
    /// Children that are left for later turns.
    pub(super) later: Vec<NewInvocation>,
    /// The children of earlier turns.
    pub(super) submitted: Vec<InvocationId>,
    /// The first child's id; `None` if there is no child.
    pub(super) first: Option<InvocationId>,
    pub(super) reply: SubmitReply,
}

/// The questions of a plan, in the order of its batch.
#[derive(Default)]
pub(in crate::runner) struct Asked {
    pub(super) submits: Vec<PendingSubmit>,
    pub(super) cancels: Vec<oneshot::Sender<Result<bool, Refusal>>>,
    /// Answered after the commit, by a read.
    pub(in crate::runner) statuses: Vec<(InvocationId, oneshot::Sender<Result<Status, Refusal>>)>,
}

impl Asked {
    /// Makes messages of the questions again, with what their batch had of them.
    pub(super) fn into_messages(self, batch: Batch) -> Messages {
        let mut children = batch.submits.into_iter();
        let submits = self.submits.into_iter().map(|one| SubmitMessage {
            children: children.by_ref().take(one.children).chain(one.later).collect(),
            reply: one.reply,
            submitted: one.submitted,
        });
        let cancels = batch.cancels.into_iter().zip(self.cancels);
        Messages {
            submits: submits.collect(),
            cancels: cancels.map(|(cancel, reply)| CancelMessage { cancel, reply }).collect(),
            statuses: self.statuses,
            ..Messages::default()
        }
    }
}
