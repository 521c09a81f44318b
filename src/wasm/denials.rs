//! What a guest tried and may not: it gets an error value, and whoever looks into
//! the log learns which grant is missing.

use std::sync::Arc;

use parking_lot::Mutex;

use super::control::GuestControl;
use super::output::{GuestOutput, harmless};
use crate::model::{InvocationId, LimitKind};

/// Different denials of one attempt that are written down. A guest that probes
/// everything must not fill logs with it.
const MOST: usize = 20;

/// The most bytes of one.
const TEXT_BYTES: usize = 500;

/// Writes down what one attempt is denied: each thing once, in the invocation's log
/// and in that of the process.
#[derive(Clone)]
pub(super) struct Denials {
    inner: Arc<Inner>,
}

struct Inner {
    component: Arc<str>,
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
    ) -> Self {
        let said = Mutex::new(Vec::new());
        Self { inner: Arc::new(Inner { component, invocation, output, control, said }) }
    }

    /// The component whose grants are asked for.
    pub(super) fn component(&self) -> &str {
        &self.inner.component
    }

    /// Writes down one denial: what was tried, and what would allow it.
    pub(super) fn say(&self, tried: &str, why: &str) {
        // Whole secrets are found, halves of them are not: so before it is cut.
        let tried = self.inner.output.scrub(tried);
        let tried = &tried[..tried.floor_char_boundary(tried.len().min(TEXT_BYTES))];
        let text = format!("denied: {}: {why}", harmless(tried).replace('\n', " "));
        let is_last = {
            let mut said = self.inner.said.lock();
            if said.len() > MOST || said.contains(&text) {
                return;
            }
            said.push(text.clone());
            said.len() > MOST
        };
        let text =
            if is_last { "denied: more than that, which is not listed any more".to_owned() } else { text };
        let inner = &*self.inner;
        let text = inner.output.note(text);
        tracing::warn!(component = %inner.component, invocation = %inner.invocation, "{text}");
    }

    /// Logs that a limit denied something; the failure names it if the guest ends after that.
    pub(super) fn say_limit(&self, limit: LimitKind, tried: &str, why: &str) {
        self.inner.control.refuse(limit, format!("the guest was denied {tried} ({why})"));
        self.say(tried, why);
    }
}
