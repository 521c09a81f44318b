//! Denials of what a guest tried: the guest gets an error value, and the log names the missing grant.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::control::GuestControl;
use super::output::{GuestOutput, harmless};
use crate::model::{InvocationId, LimitKind, LineBudget};

/// The most different denials of one attempt that are logged: a guest that probes everything must not fill
/// logs.
const MOST: usize = 20;

/// The most bytes of a denial.
const TEXT_BYTES: usize = 500;

/// Logs the denials of one attempt, each once, in the log of the invocation and in that of the process.
pub(super) struct Denials {
    /// The component whose grants are asked for.
    pub(super) component: Arc<str>,
    /// Says which settings its section has to repeat of another.
    section_note: Option<Arc<str>>,
    invocation: InvocationId,
    output: GuestOutput,
    control: Arc<GuestControl>,
    said: Mutex<Vec<String>>,
    /// The lines about all attempts of the component in the log of the process.
    lines: Arc<Mutex<LineBudget>>,
}

impl Denials {
    pub(super) fn new(
        component: Arc<str>,
        section_note: Option<Arc<str>>,
        invocation: InvocationId,
        output: GuestOutput,
        control: Arc<GuestControl>,
        lines: Arc<Mutex<LineBudget>>,
    ) -> Arc<Self> {
        Arc::new(Self { component, section_note, invocation, output, control, said: Mutex::default(), lines })
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
        let (left_out, is_told) = {
            let (mut lines, now) = (self.lines.lock(), Instant::now());
            (lines.end(now), lines.take(now))
        };
        if let Some(lines) = left_out {
            tracing::warn!(
                event = "denials-left-out",
                component = &*self.component,
                lines,
                "more denials of one component in a minute than are logged"
            );
        }
        if !is_told {
            return tracing::debug!(component = %self.component, invocation = %self.invocation, "{text}");
        }
        tracing::warn!(component = %self.component, invocation = %self.invocation, "{text}");
    }

    /// Logs one denial for want of a grant: the thing that was `tried`, and the grant in the component's section that
    /// would allow it.
    pub(super) fn say_ungranted(&self, tried: &str, missing: &str) {
        match &self.section_note {
            Some(note) => self.say(tried, &format!("{missing} ({note})")),
            None => self.say(tried, missing),
        }
    }

    /// Logs that a limit denied something; the failure names it if the guest ends after that.
    pub(super) fn say_limit(&self, limit: LimitKind, tried: &str, why: &str) {
        self.control.refuse(limit, format!("the guest was denied {tried} ({why})"));
        self.say(tried, why);
    }
}
