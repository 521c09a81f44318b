//! How long guests hold their slots, by component, and how far awaited invocations may run ahead of the queue for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::store::Leads;

/// The awaited invocations of a call go before everything else until their slots have been held for about this long.
const LEAD_TIME: Duration = Duration::from_secs(1);

/// Guests that hold their slots for less have the longest lead.
const SHORTEST: Duration = Duration::from_millis(1);

/// If times of so many components are known, all are forgotten, and learned again.
const MOST_COMPONENTS: usize = 10_000;

/// The times of components whose guests hold their slots for long, and the leads that follow from them.
#[derive(Debug, Default)]
pub(super) struct SlotTimes {
    averages: HashMap<Arc<str>, Duration>,
    leads: Arc<Leads>,
}

impl SlotTimes {
    /// Notes that a guest of a component leaves its slot, after so long on slots in all.
    pub(super) fn note(&mut self, component: &str, time: Duration) {
        let known = self.averages.get_mut(component);
        if known.is_none() && time < SHORTEST {
            return;
        }
        let average = match known {
            Some(average) => {
                // Up at once, down slowly: one that computes for long among many short ones is to be expected again.
                *average =
                    if time > *average { (*average + time) / 2 } else { *average - (*average - time) / 16 };
                *average
            }
            None => {
                if self.averages.len() >= MOST_COMPONENTS {
                    *self = Self::default();
                }
                self.averages.insert(component.into(), time);
                time
            }
        };
        if average < SHORTEST {
            self.averages.remove(component);
        }
        let lead = lead(average);
        if self.leads.turns(component) != lead {
            Arc::make_mut(&mut self.leads).set(component, lead);
        }
    }

    /// The leads of all components.
    pub(super) fn leads(&self) -> Arc<Leads> {
        Arc::clone(&self.leads)
    }
}

/// The lead of a component whose guests hold their slots for so long on average. It is a power of two, so that it
/// changes rarely.
fn lead(average: Duration) -> u32 {
    if average <= SHORTEST {
        return Leads::MOST;
    }
    let turns = u32::try_from(LEAD_TIME.as_nanos() / average.as_nanos()).unwrap_or(Leads::MOST);
    turns.checked_ilog2().map_or(1, |power| 1 << power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slow_components_have_a_short_lead() {
        assert_eq!(
            [0, 1, 2, 10, 250, 1_000, 9_000].map(|time| lead(ms(time))),
            [1_000, 1_000, 256, 64, 4, 1, 1]
        );
    }

    #[test]
    fn a_lead_falls_at_once_and_grows_slowly() {
        let mut times = SlotTimes::default();
        times.note("fast", ms(0));
        assert!(times.averages.is_empty());
        times.note("mixed", ms(4));
        assert_eq!(times.leads().turns("mixed"), 128);
        times.note("mixed", ms(2_000));
        assert_eq!((times.leads().turns("mixed"), times.leads().turns("fast")), (1, Leads::MOST));
        for _ in 0..16 {
            times.note("mixed", ms(0));
        }
        assert!((2..8).contains(&times.leads().turns("mixed")), "{times:?}");
        for _ in 0..200 {
            times.note("mixed", ms(0));
        }
        assert_eq!(times.leads().turns("mixed"), Leads::MOST);
        assert!(times.averages.is_empty());
    }
}
