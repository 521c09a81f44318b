//! Whether a failed attempt is final or retried, within the retry budget of its task. The
//! back-off formula is in `model/retry.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Claim, Outcome, RetryBudget, RetryPolicy, UnixMicros, spread};
use crate::store::EndKind;

/// The retry budgets of all tasks.
#[derive(Default)]
pub(super) struct RetryBudgets {
    /// The retries of each task that has a budget.
    spent: Mutex<HashMap<Arc<str>, Spent>>,
}

impl RetryBudgets {
    /// Decides how an attempt with this outcome ends.
    pub(super) fn decide(
        &self,
        claim: &Claim,
        policy: &RetryPolicy,
        outcome: Outcome,
        now: UnixMicros,
    ) -> EndKind {
        let Outcome::Failure(failure) = outcome else {
            return EndKind::Final(outcome);
        };
        let random = spread(claim.id, claim.attempt);
        let Some(delay) = policy.next(&failure, claim.attempt, claim.max_attempts, random) else {
            return EndKind::Final(Outcome::Failure(failure));
        };
        if let Some(budget) = policy.budget
            && !self.spent.lock().entry(Arc::clone(&claim.task)).or_default().spend(budget, now)
        {
            let mut failure = Arc::unwrap_or_clone(failure);
            failure.message.push_str(&format!(
                " (not retried: its task has used up its budget of {} retries in {:?})",
                budget.retries, budget.window
            ));
            return EndKind::Final(Outcome::Failure(Arc::new(failure)));
        }
        EndKind::Retry(Outcome::Failure(failure), delay)
    }
}

/// When a task was retried, within the window of its budget, oldest first.
#[derive(Default)]
struct Spent(VecDeque<UnixMicros>);

impl Spent {
    /// Spends one retry, if one is left.
    fn spend(&mut self, budget: RetryBudget, now: UnixMicros) -> bool {
        while self.0.front().is_some_and(|at| at.plus(budget.window) <= now) {
            self.0.pop_front();
        }
        let is_left = self.0.len() < budget.retries as usize;
        if is_left {
            self.0.push_back(now);
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_budget_holds_in_every_window() {
        let budget = RetryBudget { retries: 2, window: Duration::from_micros(10) };
        let mut spent = Spent::default();
        let spends: Vec<_> =
            [0, 4, 5, 9, 10, 11, 14, 30].iter().map(|at| spent.spend(budget, UnixMicros(*at))).collect();
        assert_eq!(spends, [true, true, false, false, true, false, true, true]);
        assert_eq!(spent.0.len(), 1, "what is over is forgotten");
        let nothing = RetryBudget { retries: 0, ..budget };
        assert!(!Spent::default().spend(nothing, UnixMicros(0)));
    }
}
