//! What one check found.

use serde::Serialize;

/// More violations than this of one kind are counted, not told.
const TOLD: usize = 100;

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Its name.
    pub check: &'static str,
    /// What must hold.
    pub claim: &'static str,
    /// How often it was looked at.
    pub checked: u64,
    /// How often it did not hold.
    pub violated: u64,
    /// Where it did not hold.
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
