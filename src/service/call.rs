//! Calling: one invocation, submitted and run here and now.

use std::sync::Arc;

use super::submit::{answer, check_limits};
use super::{Found, InvocationDocument, Remedy, Service, ServiceError};
use crate::model::{InvocationId, SubmitLimits, SubmitOptions, Submitter};
use crate::runner::{Runner, RunnerHandle};
use crate::store::{Batch, NewInvocation};
use crate::wasm::Task;

/// An invocation that a runner of its own runs. Dropping it stops the runner.
pub struct Call {
    service: Service,
    runner: Runner,
    id: InvocationId,
}

impl Service {
    /// Submits one invocation, with checked arguments and limits of its own, and starts a runner for its tree
    /// alone.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]: also if there is one like it that the task's rules leave no room
    /// beside.
    pub fn call(&self, task: &Task, arguments: Arc<str>, limits: SubmitLimits) -> Result<Call, ServiceError> {
        check_limits(task, &limits)?;
        let access = self.access()?;
        let options = SubmitOptions { limits, ..SubmitOptions::default() };
        let new = NewInvocation::of(task.prepared(arguments), options, Submitter::Outside)?;
        let id = new.id;
        let adoptions = self.adoptions_of(task)?;
        let batch = Batch { adoptions, submits: vec![new], ..Batch::default() };
        let receipt = access.commit(&batch)?;
        for (new, submitted) in batch.submits.iter().zip(receipt.submits) {
            let document = answer(&access, task, new, submitted)?;
            if let Some(Found::SameByRule { differences }) = document.found {
                let other = document.id;
                let but = if differences.is_empty() { "" } else { ", with other arguments: " };
                return Err(ServiceError::Conflict {
                    id: other,
                    message: format!(
                        "nothing to run: the unfinished `{other}` is the same by the task's uniqueness \
                         rule{but}{differences}"
                    ),
                    remedy: Some(Remedy::Wait(other)),
                });
            }
        }
        let runner = self.start_runner(Some(id), &[], [])?;
        Ok(Call { service: self.clone(), runner, id })
    }
}

impl Call {
    /// The invocation.
    pub fn id(&self) -> InvocationId {
        self.id
    }

    /// A handle for other threads, which may cancel the invocation or kill its guests.
    pub fn handle(&self) -> RunnerHandle {
        self.runner.handle()
    }

    /// Waits until the invocation is final, or its runner was stopped; what it is then.
    pub fn wait(self) -> Result<InvocationDocument, ServiceError> {
        let store = self.service.store()?;
        let outcome = self.runner.wait_final(self.id, None);
        let handle = self.runner.handle();
        self.runner.stop();
        outcome.map_err(|refusal| ServiceError::refused(refusal, &*store))?;
        if let Some(fault) = handle.fault() {
            return Err(fault.into());
        }
        // A kill ends the runner before the cancelled invocation's outcome has come
        // round to it; the store has it.
        self.service.status(self.id)
    }
}
