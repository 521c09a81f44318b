//! The usage by hour.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{UnixMicros, UsageSums};
use crate::store::rules::{USAGE_REMOVED_AT_ONCE, first_kept_hour};
use crate::store::usage::Groups;
use crate::store::{UsageQuery, UsageRow};

/// The sums of each hour, component and fairness key.
#[derive(Default)]
pub(super) struct Hours {
    /// The hour of the commit under way.
    pub(super) present: i64,
    sums: BTreeMap<(i64, Arc<str>, Arc<str>), UsageSums>,
}

impl Hours {
    /// The sums of a component and a fairness key in the present hour.
    pub(super) fn of(&mut self, component: Arc<str>, fairness_key: Arc<str>) -> &mut UsageSums {
        self.sums.entry((self.present, component, fairness_key)).or_default()
    }

    /// Sums up the usage of some hours.
    pub(super) fn read(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let [since, until] = query.hours();
        let mut groups = Groups::new(query);
        for ((hour, component, key), sums) in &self.sums {
            if (since..until).contains(hour) {
                groups.add(*hour, component, key, sums);
            }
        }
        groups.end()
    }

    /// Removes the usage of hours that ended so long ago; whether some may be left.
    pub(super) fn prune(&mut self, age: Duration, now: UnixMicros) -> bool {
        let first_kept = first_kept_hour(now, age);
        for _ in 0..USAGE_REMOVED_AT_ONCE {
            match self.sums.first_entry() {
                Some(oldest) if oldest.key().0 < first_kept => drop(oldest.remove()),
                _ => return false,
            }
        }
        true
    }
}
