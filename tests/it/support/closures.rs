//! Guests that are closures, for situations that components could provoke only slowly or
//! not at all.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use run_wasm_runner::model::{
    AwaitMode, Caller, ChildRequest, Claim, ComponentDigest, Failure, FailureKind, Guest, Interrupt,
    InvocationId, NoGuest, Outcome, PreparedCall, Refusal, RetryPolicy, SubmitOptions, TaskClient,
};
use run_wasm_runner::runner::Executor;
use run_wasm_runner::store::{NewInvocation, TaskSet};
use run_wasm_runner::wasm::GuestControl;

type Body = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;

/// So many that no test uses them up.
pub const MAX_ATTEMPTS: u32 = 30;

/// The tools of a guest.
#[derive(Clone)]
pub struct Hands {
    pub claim: Claim,
    pub client: Arc<dyn TaskClient>,
}

fn said(refusal: Refusal) -> String {
    refusal.to_string()
}

impl Hands {
    pub fn argument(&self, place: usize) -> u64 {
        let arguments: Vec<u64> = serde_json::from_str(&self.claim.arguments).expect("numbers");
        arguments[place]
    }

    pub fn caller(&self) -> Caller {
        let Claim { id, attempt, root, depth, .. } = self.claim;
        Caller { id, attempt, root, depth }
    }

    pub async fn submit(&self, children: Vec<ChildRequest>) -> Result<Vec<InvocationId>, String> {
        self.client.submit(&self.caller(), children).await.map_err(said)
    }

    pub async fn call(&self, child: ChildRequest) -> Result<u64, String> {
        number(&self.client.call(&self.caller(), child).await.map_err(said)?.1)
    }

    pub async fn wait_all(&self, ids: Vec<InvocationId>) -> Result<Vec<u64>, String> {
        let outcomes = self.client.await_outcomes(&self.caller(), ids, AwaitMode::All).await.map_err(said)?;
        outcomes.iter().map(|(_, outcome)| number(outcome)).collect()
    }

    /// The place of the first that is final, and what became of it.
    pub async fn wait_any(&self, ids: Vec<InvocationId>) -> Result<(usize, Result<u64, String>), String> {
        let outcomes = self.client.await_outcomes(&self.caller(), ids, AwaitMode::Any).await.map_err(said)?;
        let (place, outcome) = outcomes.first().ok_or("any of some is one")?;
        Ok((*place, number(outcome)))
    }

    pub async fn cancel(&self, id: InvocationId) -> Result<bool, String> {
        self.client.cancel(&self.caller(), id).await.map_err(said)
    }
}

/// The number that an outcome is.
pub fn number(outcome: &Outcome) -> Result<u64, String> {
    match outcome {
        Outcome::Value(json) => json.parse().map_err(|error| format!("{json}: {error}")),
        Outcome::Failure(failure) => Err(failure.message.clone()),
    }
}

fn json(arguments: &[u64]) -> Arc<str> {
    serde_json::to_string(arguments).expect("numbers").into()
}

pub fn child(task: &str, arguments: &[u64]) -> ChildRequest {
    ChildRequest { task: task.into(), arguments: json(arguments), options: SubmitOptions::default() }
}

pub fn root(task: &str, arguments: &[u64]) -> NewInvocation {
    NewInvocation {
        max_attempts: MAX_ATTEMPTS,
        ..NewInvocation::new(task, ComponentDigest::from_bytes([0; 32]), json(arguments))
    }
}

/// Runs closures as guests. Every failure is retried after a millisecond.
#[derive(Default)]
pub struct Closures {
    guests: HashMap<Arc<str>, Box<dyn Fn(Hands) -> Body + Send + Sync>>,
}

impl Closures {
    pub fn with<F: Future<Output = Result<u64, String>> + Send + 'static>(
        mut self,
        task: &str,
        guest: impl Fn(Hands) -> F + Send + Sync + 'static,
    ) -> Self {
        self.guests.insert(task.into(), Box::new(move |hands| Box::pin(guest(hands))));
        self
    }
}

impl Executor for Closures {
    fn tasks(&self) -> Arc<TaskSet> {
        Arc::new(self.guests.keys().cloned().collect())
    }

    fn start(&self, claim: &Claim, client: &Arc<dyn TaskClient>, _: &Interrupt) -> Result<Guest, NoGuest> {
        let body = self.guests[&claim.task](Hands { claim: claim.clone(), client: Arc::clone(client) });
        let future = Box::pin(async move {
            Ok(match body.await {
                Ok(value) => Outcome::Value(value.to_string().into()),
                Err(message) => Outcome::Failure(Arc::new(Failure::new(FailureKind::Trapped, message))),
            })
        });
        let retry = RetryPolicy {
            on: vec![FailureKind::Trapped],
            first_delay: Duration::from_millis(1),
            factor: 1.0,
            ..RetryPolicy::default()
        };
        Ok(Guest {
            future,
            control: Arc::new(GuestControl::new(Duration::from_secs(3600))),
            digest: claim.component_digest,
            weight: 1,
            retry: Arc::new(retry),
        })
    }

    fn prepare(&self, task: &str, arguments: &str) -> Result<PreparedCall, Refusal> {
        Ok(PreparedCall {
            task: task.into(),
            digest: ComponentDigest::from_bytes([0; 32]),
            arguments: arguments.into(),
            max_attempts: MAX_ATTEMPTS,
            priority: 0,
            deadline: None,
            lane: None,
            unique: None,
        })
    }

    fn guest_runs(&self, _: bool) {}
}
