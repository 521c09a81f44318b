//! The states of an invocation and the one function that says how they change.

use std::str::FromStr;

use super::words::words;

words! {
    /// Where an invocation stands.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Status {
        /// Waits to be claimed. If it is delayed or retried, its `available_at` is in the future.
        Queued = "queued",
        /// A runner owns it; its guest has not started.
        Claimed = "claimed",
        /// Its guest holds a slot. An observation: a crash may lose the latest.
        Running = "running",
        /// Its guest awaits results and holds no slot. An observation, as above.
        Waiting = "waiting",
        /// Final: there is a value.
        Succeeded = "succeeded",
        /// Final: there is a failure, and nothing is tried again.
        Failed = "failed",
        /// Final: somebody no longer wanted it.
        Cancelled = "cancelled",
        /// Final: a concurrency rule said that it must never run.
        Skipped = "skipped",
    }
}

impl Status {
    /// Whether nothing will ever change again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped => true,
            Self::Queued | Self::Claimed | Self::Running | Self::Waiting => false,
        }
    }

    /// Lists the statuses that are not final.
    pub fn unfinished() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|status| !status.is_final())
    }

    /// Whether a runner owns the invocation: exactly then it has a lease.
    pub fn is_owned(self) -> bool {
        match self {
            Self::Claimed | Self::Running | Self::Waiting => true,
            Self::Queued | Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped => false,
        }
    }

    /// Decides what `event` makes of an invocation in this status: the only place that does.
    ///
    /// # Errors
    ///
    /// [`IllegalTransition`] if the event can't happen in this status; in a final one none can.
    pub fn apply(self, event: Event) -> Result<Self, IllegalTransition> {
        use Event as E;
        use Status as S;
        // Each arm writes every status out: a new one must decide what each event does to it.
        match (self, event) {
            (S::Queued, E::Claim) => Ok(S::Claimed),
            (S::Claimed, E::Start) => Ok(S::Running),
            (S::Running, E::Await) => Ok(S::Waiting),
            (S::Waiting, E::Resume) => Ok(S::Running),
            (S::Running, E::Succeed) => Ok(S::Succeeded),
            // A guest can fail before it starts (no component) and while it waits (a child failed, a kill).
            (S::Claimed | S::Running | S::Waiting, E::Fail) => Ok(S::Failed),
            (S::Claimed | S::Running | S::Waiting, E::Retry | E::Release | E::ExpireLease) => Ok(S::Queued),
            (S::Queued | S::Claimed | S::Running | S::Waiting, E::Cancel) => Ok(S::Cancelled),
            (S::Queued | S::Claimed | S::Running | S::Waiting, E::Expire) => Ok(S::Failed),
            (S::Queued, E::Skip) => Ok(S::Skipped),
            (
                S::Queued
                | S::Claimed
                | S::Running
                | S::Waiting
                | S::Succeeded
                | S::Failed
                | S::Cancelled
                | S::Skipped,
                event,
            ) => Err(IllegalTransition { from: self, event }),
        }
    }
}

impl FromStr for Status {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|status| format!("`{status}`")).collect();
            format!("unknown status `{text}` (known: {})", known.join(", "))
        })
    }
}

words! {
    /// The events in the life of an invocation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Event {
        /// A runner took it; the attempt is counted.
        Claim = "claim",
        /// Its guest was given a slot.
        Start = "start",
        /// Its guest gave the slot back to await results.
        Await = "await",
        /// Its guest has a slot again.
        Resume = "resume",
        /// The attempt produced a value.
        Succeed = "succeed",
        /// The attempt failed and was the last one.
        Fail = "fail",
        /// The attempt failed and another one follows.
        Retry = "retry",
        /// Its runner gave it back unfinished; the attempt is not counted.
        Release = "release",
        /// Its runner's lease ran out; another attempt follows.
        ExpireLease = "expire-lease",
        /// Somebody no longer wants it.
        Cancel = "cancel",
        /// A concurrency rule forbids it.
        Skip = "skip",
        /// Its deadline has passed: nobody wants it any more.
        Expire = "expire",
    }
}

impl Event {
    /// Whether it only tells where a guest stands: a crash may lose it, and it comes before the end of an attempt.
    pub fn is_observation(self) -> bool {
        match self {
            Self::Start | Self::Await | Self::Resume => true,
            Self::Claim
            | Self::Succeed
            | Self::Fail
            | Self::Retry
            | Self::Release
            | Self::ExpireLease
            | Self::Cancel
            | Self::Skip
            | Self::Expire => false,
        }
    }

    /// The reason that the history records for this event.
    pub fn reason(self) -> Reason {
        match self {
            Self::Claim => Reason::Claimed,
            Self::Start => Reason::Started,
            Self::Await => Reason::Awaiting,
            Self::Resume => Reason::Resumed,
            Self::Succeed => Reason::Succeeded,
            Self::Fail => Reason::Failed,
            Self::Retry => Reason::Retry,
            Self::Release => Reason::Released,
            Self::ExpireLease => Reason::LeaseExpired,
            Self::Cancel => Reason::Cancelled,
            Self::Skip => Reason::Skipped,
            Self::Expire => Reason::Expired,
        }
    }
}

words! {
    /// Why an invocation moved, as its history tells it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Reason {
        /// Somebody submitted it.
        Submitted = "submitted",
        /// A runner claimed it.
        Claimed = "claimed",
        /// Its guest got a slot.
        Started = "started",
        /// Its guest awaits results and gave its slot back.
        Awaiting = "awaiting",
        /// The results that it awaited are there; its guest has a slot again.
        Resumed = "resumed",
        /// There is a value.
        Succeeded = "succeeded",
        /// There is a failure, for good.
        Failed = "failed",
        /// The attempt failed; another one follows.
        Retry = "retry",
        /// Its runner gave it back, without using up the attempt.
        Released = "released",
        /// Its runner's lease ran out.
        LeaseExpired = "lease-expired",
        /// Somebody cancelled it, or its parent is final.
        Cancelled = "cancelled",
        /// A concurrency rule forbids it.
        Skipped = "skipped",
        /// Its deadline passed before it was final.
        Expired = "expired",
    }
}

/// An event that cannot happen to an invocation in its present status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot happen to an invocation that is {from}")]
pub struct IllegalTransition {
    /// The status that refused.
    pub from: Status,
    /// The event that was refused.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(result: Result<Status, IllegalTransition>) -> char {
        match result {
            Ok(Status::Queued) => 'Q',
            Ok(Status::Claimed) => 'C',
            Ok(Status::Running) => 'R',
            Ok(Status::Waiting) => 'W',
            Ok(Status::Succeeded) => 'S',
            Ok(Status::Failed) => 'F',
            Ok(Status::Cancelled) => 'X',
            Ok(Status::Skipped) => 'K',
            Err(_) => '.',
        }
    }

    /// The whole matrix as a picture that a reviewer can check.
    #[test]
    fn every_status_and_event_does_what_the_table_says() {
        let mut table = String::from("\n");
        for status in Status::ALL {
            let row: String = Event::ALL.into_iter().map(|event| letter(status.apply(event))).collect();
            table.push_str(&format!("{status:<10}{row}\n"));
        }
        // Claim Start Await Resume Succeed Fail Retry Release ExpireLease Cancel Skip Expire
        let expected = "
queued    C........XKF
claimed   .R...FQQQX.F
running   ..W.SFQQQX.F
waiting   ...R.FQQQX.F
succeeded ............
failed    ............
cancelled ............
skipped   ............
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_refused_transition_names_both_sides() {
        let error = Status::Failed.apply(Event::Claim).unwrap_err();
        assert_eq!(error.to_string(), "Claim cannot happen to an invocation that is failed");
    }

    #[test]
    fn only_owned_statuses_can_be_given_back() {
        for status in Status::ALL {
            assert_eq!(status.apply(Event::Release).is_ok(), status.is_owned(), "{status}");
            assert_eq!(status.apply(Event::ExpireLease).is_ok(), status.is_owned(), "{status}");
        }
    }

    #[test]
    fn words_match_their_json() {
        for status in Status::ALL {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        assert!("done".parse::<Status>().unwrap_err().contains("`waiting`"));
    }
}
