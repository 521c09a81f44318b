//! The way out for a runner that is nearly full of parked parents, while nothing runs.

use super::state::Ledger;
use super::view::View;
use crate::runner::stage::Stage;

/// The way out of a standstill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standstill {
    /// Claim something that is awaited: it may start.
    Claim,
    /// Let the most urgent of the claimed start, although it is not deep enough.
    MakeException,
    /// End the youngest wait with an error: nothing else can ever move.
    GiveUpAtCap,
    /// Give a parked guest back: there is no memory for anything else.
    MakeRoom,
}

impl Ledger {
    /// Finds the way out, if the runner stands still. To be asked after a turn, with a view
    /// of that moment; `is_called` says that a message waits, and so the next turn.
    pub(crate) fn break_standstill(&mut self, view: &View<'_>, is_called: bool) -> Option<Standstill> {
        let load = &view.load;
        if load.may_start_unawaited
            || load.busy > 0
            || load.resumed > 0
            || view.stage != Stage::Working
            // Time, or the end of a guest, lets something start.
            || load.is_short
            || !self.is_through()
            || is_called
        {
            return None;
        }
        let can_claim = |above| !view.registry.wanted(1, above).is_empty();
        if load.live >= view.options.settings.max_live {
            return match load.awaited {
                0 => can_claim(None).then_some(Standstill::Claim),
                _ => Some(Standstill::GiveUpAtCap),
            };
        }
        if load.is_out_of_memory {
            return match load.awaited {
                0 => can_claim(None).then_some(Standstill::Claim),
                _ => Some(Standstill::MakeRoom),
            };
        }
        if load.startable > 0 {
            // A slot is on its way to it.
            return None;
        }
        if can_claim(load.deepest) {
            return Some(Standstill::Claim);
        }
        if view.registry.awaits_events() {
            // Time, or another runner, will wake somebody.
            return None;
        }
        if load.awaited > 0 {
            return Some(Standstill::MakeException);
        }
        can_claim(None).then(|| {
            self.claims.takes_any_depth = true;
            Standstill::Claim
        })
    }
}
