//! Denials of what a guest tried: the guest gets an error value, and the log names the missing grant.

use std::sync::Arc;

use parking_lot::Mutex;

use super::control::GuestControl;
use super::output::{GuestOutput, harmless};
use crate::model::{InvocationId, LimitKind};

/// The most different denials of one attempt that are logged: a guest that probes everything must not fill
/// logs.
const MOST: usize = 20;

/// The most bytes of a denial.
const TEXT_BYTES: usize = 500;

/// Logs the denials of one attempt, each once, in the log of the invocation and in that of the process.
pub(super) struct Denials {
    /// The component whose grants are asked for.
    pub(super) component: Arc<str>,
    invocation: InvocationId,
    output: GuestOutput,
    control: Arc<GuestControl>,
    said: Mutex<Vec<String>>,
}

impl Denials {
    pub(super) fn new(
        component: Arc<str>,
        invocation: InvocationId,
        output: GuestOutput,
        control: Arc<GuestControl>,
    ) -> Arc<Self> {
        Arc::new(Self { component, invocation, output, control, said: Mutex::default() })
    }

    /// Logs one denial: the thing that was `tried`, and `why` it is denied.
    pub(super) fn say(&self, tried: &str, why: &str) {
        // Before it is cut: only whole secrets are found.
        let tried = self.output.scrub(tried);
        let tried = &tried[..tried.floor_char_boundary(tried.len().min(TEXT_BYTES))];
        let text = format!("denied: {}: {why}", harmless(tried).replace('\n', " "));
        let is_last = {
            let mut said = self.said.lock();
            if said.len() > MOST || said.contains(&text) {
                return;
            }
            said.push(text.clone());
            said.len() > MOST
        };
        let text =
            if is_last { "denied: more than that, which is not listed any more".to_owned() } else { text };
        let text = self.output.note(text);
        tracing::warn!(component = %self.component, invocation = %self.invocation, "{text}");
    }

    /// Logs that a limit denied something; the failure names it if the guest ends after that.
    pub(super) fn say_limit(&self, limit: LimitKind, tried: &str, why: &str) {
        self.control.refuse(limit, format!("the guest was denied {tried} ({why})"));
        self.say(tried, why);
    }
}
