//! The observer that writes log lines.

use super::observer::{Observation, Observer};
use crate::model::{Outcome, clip};
use crate::store::EndKind;

/// The most characters of a guest's message in a log line.
const MESSAGE_CHARS: usize = 200;

/// Logs ends of attempts at `debug`, commits and claims at `trace`. The runner warns of the rest itself.
#[derive(Debug, Clone, Copy)]
pub struct LogObserver;

impl LogObserver {
    /// Whether any of its lines would be written: otherwise there is no use for it.
    pub fn is_enabled() -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }
}

impl Observer for LogObserver {
    fn observe(&self, observation: &Observation<'_>) {
        match observation {
            Observation::Committed { took, submits, reports, claims, removed } => {
                tracing::trace!(?took, submits, reports, claims, removed, "a batch was committed");
            }
            Observation::Claimed { claim } => {
                tracing::trace!(id = %claim.id, task = &*claim.task, attempt = claim.attempt, "claimed");
            }
            Observation::Ended { id, attempt, task, end } => match &end.how {
                EndKind::Final(Outcome::Value(_)) => tracing::debug!(%id, task, attempt, "succeeded"),
                EndKind::Final(Outcome::Failure(failure)) => {
                    // Quoted: what a guest says may try to look like more lines.
                    let said = clip(&failure.message, MESSAGE_CHARS);
                    tracing::debug!(%id, task, attempt, kind = failure.kind.as_str(), ?said, "failed");
                }
                EndKind::Retry(_, pause) => {
                    tracing::debug!(%id, task, attempt, ?pause, "failed, and is tried again");
                }
                EndKind::Release => tracing::debug!(%id, task, attempt, "given back"),
            },
            Observation::CommitFailed { .. } | Observation::LeaseLost { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::model::{Failure, FailureKind, InvocationId, UnixMicros};
    use crate::store::AttemptEnd;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_failure_is_one_line_whatever_the_guest_says() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let failure = Failure::new(FailureKind::Trapped, format!("one\ntwo{}", "x".repeat(1000)));
            let how = EndKind::Final(Outcome::Failure(Arc::new(failure)));
            let end = AttemptEnd::unstarted(UnixMicros(0), how);
            let id = InvocationId::generate();
            LogObserver.observe(&Observation::Ended { id, attempt: 2, task: "a.task", end: &end });
            let end = AttemptEnd::unstarted(UnixMicros(0), EndKind::Release);
            LogObserver.observe(&Observation::Ended { id, attempt: 3, task: "a.task", end: &end });
        });
        let text = String::from_utf8(lines.0.lock().clone()).expect("a text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        for part in ["failed", "task=\"a.task\"", "attempt=2", "kind=\"trapped\"", r#"said="one\ntwoxx"#] {
            assert!(lines[0].contains(part), "{part}: {text}");
        }
        assert!(lines[0].len() < 500 && lines[1].contains("given back"), "{text}");
    }
}
