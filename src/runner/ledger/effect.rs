//! Effects: the actions that the rest of the runner takes after a commit.

use std::sync::Arc;

use crate::model::{Claim, InvocationId, Outcome, Refusal, RunnerId, Usage};
use crate::runner::fiber::Fiber;
use crate::runner::inbox::{Reply, SubmitMessage};
use crate::runner::wait::Wait;
use crate::store::AttemptEnd;

/// One thing to do. Effects are performed in the order in which they were found.
pub(crate) enum Effect {
    /// Answers a guest that waits for the ids of its children.
    AnswerSubmit(Reply<Vec<InvocationId>>, Result<Vec<InvocationId>, Refusal>),
    /// Submits the rest of a large submit with the next turn.
    SubmitRest(SubmitMessage),
    /// Submits with the next turn, before all others, what this one had no room for.
    SubmitDeferred(Vec<SubmitMessage>),
    /// Tells the registry that an awaited child is in the store now.
    MarkSubmitted(InvocationId),
    /// Turns a wait to the invocation of which the child is a duplicate.
    Redirect(Arc<Wait>, InvocationId),
    /// Ends a wait without an answer.
    RefuseWait(Arc<Wait>, Refusal),
    /// Answers a guest that has cancelled something.
    AnswerCancel(Reply<bool>, Result<bool, Refusal>),
    /// Counts the end of an attempt, which the store has, and answers the waiters if it was the last.
    End { id: InvocationId, attempt: u32, task: Arc<str>, end: AttemptEnd },
    /// An invocation is final by the store's decision: answers its waiters and ends its guest. It is counted and told
    /// here, unless another runner owned it, which does that.
    Finish { id: InvocationId, outcome: Outcome, is_counted: bool },
    /// Gives up an invocation that is another's now, or final, with its guest.
    GiveUp(InvocationId),
    /// Forgets that this runner owns an invocation.
    Disown(InvocationId),
    /// Kills a guest whose attempt is not this runner's any more.
    Kill(Arc<Fiber>),
    /// Bills an attempt that another process had ended.
    Bill(InvocationId, RunnerId, u32, Usage),
    /// Tells the registry which invocations a rule blocks no longer.
    MarkUnblocked(Vec<InvocationId>),
    /// Tells the registry which of the awaited can't be claimed now.
    MarkUnclaimable(Vec<InvocationId>),
    /// Takes another turn, to claim.
    ClaimAgain,
    /// Goes on under another id: the lease was lost, and with it everything owned.
    ChangeRunner,
    /// Gives claims back that came too late to be trusted.
    GiveBack(Vec<Claim>),
    /// Hands claims to the slots.
    Start(Vec<Claim>),
}
