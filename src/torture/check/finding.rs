//! The finding of one check.

use serde::Serialize;

/// More violations than this of one kind are counted, not told.
const TOLD: usize = 100;

/// The finding of one check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    pub check: &'static str,
    /// The claim that must hold.
    pub claim: &'static str,
    /// The number of times that it was looked at.
    pub checked: u64,
    /// The number of times that it did not hold.
    pub violated: u64,
    /// The places where it did not hold.
    pub violations: Vec<String>,
}

impl Finding {
    pub(super) fn new(check: &'static str, claim: &'static str) -> Self {
        Self { check, claim, checked: 0, violated: 0, violations: Vec::new() }
    }

    /// Looks once whether it holds.
    pub(super) fn expect(&mut self, holds: bool, told: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.violated += 1;
            if self.violations.len() < TOLD {
                self.violations.push(told());
            }
        }
    }
}
