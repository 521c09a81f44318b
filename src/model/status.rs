//! The states of an invocation and the one function that says how they change.

use std::str::FromStr;

use super::words::words;

/// The part of its life in which an invocation is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// No runner owns it.
    Free,
    /// A runner owns it; its guest has not started.
    Taken,
    /// A runner owns it, and its guest has started.
    Started,
    /// Nothing will ever change again.
    Final,
}

/// Makes [`Status`] of the rows.
macro_rules! statuses {
    ($($(#[$doc:meta])* $status:ident = $word:literal, $part:ident;)+) => {
        words! {
            /// Where an invocation stands.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
            pub enum Status {
                $($(#[$doc])* $status = $word,)+
            }
        }

        impl Status {
            fn part(self) -> Part {
                match self {
                    $(Self::$status => Part::$part,)+
                }
            }
        }
    };
}

// A status is one row here, the events that `apply` lets lead to it, and its case in `wit/task.wit`.
statuses! {
    /// Waits to be claimed. If it is delayed or retried, its `available_at` is in the future.
    Queued = "queued", Free;
    /// A runner owns it; its guest has not started.
    Claimed = "claimed", Taken;
    /// Its guest holds a slot. An observation: a crash may lose the latest.
    Running = "running", Started;
    /// Its guest awaits results and holds no slot. An observation, as above.
    Waiting = "waiting", Started;
    /// Final: there is a value.
    Succeeded = "succeeded", Final;
    /// Final: there is a failure, and nothing is tried again.
    Failed = "failed", Final;
    /// Final: somebody no longer wanted it.
    Cancelled = "cancelled", Final;
    /// Final: a concurrency rule said that it must never run.
    Skipped = "skipped", Final;
}

impl Status {
    /// Whether nothing will ever change again.
    pub fn is_final(self) -> bool {
        self.part() == Part::Final
    }

    /// Whether a runner owns the invocation: exactly then it has a lease.
    pub fn is_owned(self) -> bool {
        matches!(self.part(), Part::Taken | Part::Started)
    }

    /// Whether a runner owns the invocation and its guest has started.
    pub fn has_guest(self) -> bool {
        self.part() == Part::Started
    }

    /// Lists the statuses that are not final.
    pub fn unfinished() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|status| !status.is_final())
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

/// How an event comes about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The store decides it.
    Decision,
    /// The owner reports the end of its attempt.
    Report,
    /// It only tells where a guest stands: a crash may lose it.
    Observation,
    /// It ends the invocation, whoever owns it: an attempt under way is billed later.
    Outside,
}

/// Makes [`Event`] and [`Reason`] of the rows.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident => $reason:ident = $word:literal, $kind:ident;)+) => {
        /// The events in the life of an invocation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Event {
            $($(#[$doc])* $event,)+
        }

        impl Event {
            /// Every event, in the order of the declaration.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$event),+];

            /// The reason that the history records for this event.
            pub fn reason(self) -> Reason {
                match self {
                    $(Self::$event => Reason::$reason,)+
                }
            }
        }

        words! {
            /// Why an invocation moved, as its history tells it: its submit, or an [`Event`].
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
            pub enum Reason {
                /// Somebody submitted it.
                Submitted = "submitted",
                $($(#[$doc])* $reason = $word,)+
            }
        }

        impl Reason {
            fn kind(self) -> Kind {
                match self {
                    Self::Submitted => Kind::Decision,
                    $(Self::$reason => Kind::$kind,)+
                }
            }
        }
    };
}

// An event is one row here, with its reason in histories and its kind, an arm in `Status::apply`, and the code that reports it.
events! {
    /// A runner took it; the attempt is counted.
    Claim => Claimed = "claimed", Decision;
    /// Its guest was given a slot.
    Start => Started = "started", Observation;
    /// Its guest gave the slot back to await results.
    Await => Awaiting = "awaiting", Observation;
    /// The results that it awaited are there; its guest has a slot again.
    Resume => Resumed = "resumed", Observation;
    /// The attempt produced a value.
    Succeed => Succeeded = "succeeded", Report;
    /// The attempt failed and was the last one.
    Fail => Failed = "failed", Report;
    /// The attempt failed and another one follows.
    Retry => Retry = "retry", Report;
    /// Its runner gave it back unfinished; the attempt is not counted.
    Release => Released = "released", Report;
    /// Its runner's lease ran out; if it has attempts left, another one follows.
    ExpireLease => LeaseExpired = "lease-expired", Decision;
    /// Somebody no longer wants it, or its parent is final.
    Cancel => Cancelled = "cancelled", Outside;
    /// A concurrency rule forbids it.
    Skip => Skipped = "skipped", Decision;
    /// Its deadline passed before it was final: nobody wants it any more.
    Expire => Expired = "expired", Outside;
}

impl Event {
    /// Whether it only tells where a guest stands: a crash may lose it, and it comes before the end of an attempt.
    pub fn is_observation(self) -> bool {
        self.reason().kind() == Kind::Observation
    }
}

impl Reason {
    /// Whether the owner itself told it. A failure of an invocation that was lost is the exception.
    pub fn is_told_by_owner(self) -> bool {
        matches!(self.kind(), Kind::Observation | Kind::Report)
    }

    /// Whether it ended the invocation whoever owned it, so that the bill of the attempt under way comes later.
    pub fn is_end_from_outside(self) -> bool {
        self.kind() == Kind::Outside
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
