//! The lookups of names that run at once, shared by the components.
//!
//! Each takes a thread until the system's resolver gives up, whether or not anybody still waits for it. So they are
//! few; and a component whose names never resolve must not take them all.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The lookups that may run at once in the whole process.
const AT_ONCE: usize = 32;

/// The look-ups of one component.
const OF_COMPONENT: usize = 8;

/// The lookups of this process.
pub(super) static LOOKUPS: LazyLock<Lookups> = LazyLock::new(Lookups::new);

/// The places of lookups.
pub(super) struct Lookups {
    all: Arc<Semaphore>,
    /// The places of each component that has lookups, by its name.
    shares: Mutex<BTreeMap<Arc<str>, Weak<Semaphore>>>,
}

/// The place of one lookup, until it is dropped.
pub(super) struct LookupPlace {
    _of_component: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Lookups {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(AT_ONCE)), shares: Mutex::default() }
    }

    /// Waits for a place: first for one of its component, so that one that waits for its own keeps nobody else out.
    pub(super) async fn place(&self, component: &Arc<str>) -> io::Result<LookupPlace> {
        let of_component = self.share_of(component).acquire_owned().await.map_err(io::Error::other)?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.map_err(io::Error::other)?;
        Ok(LookupPlace { _of_component: of_component, _of_all: of_all })
    }

    fn share_of(&self, component: &Arc<str>) -> Arc<Semaphore> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(component).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(OF_COMPONENT));
        shares.insert(Arc::clone(component), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use wasmtime_wasi::runtime::poll_noop;

    use super::*;

    /// A place, if there is one now.
    fn place(lookups: &Lookups, component: &Arc<str>) -> Option<LookupPlace> {
        poll_noop(pin!(lookups.place(component))).map(|place| place.expect("places are never closed"))
    }

    #[test]
    fn a_component_whose_names_never_resolve_leaves_places_to_others() {
        let lookups = Lookups::new();
        let (hostile, good): (Arc<str>, Arc<str>) = ("hostile".into(), "good".into());
        let mut held: Vec<_> = std::iter::from_fn(|| place(&lookups, &hostile)).take(AT_ONCE).collect();
        assert_eq!(held.len(), OF_COMPONENT);
        let mut waiting = pin!(lookups.place(&hostile));
        assert!(poll_noop(waiting.as_mut()).is_none());
        let of_good: Vec<_> = std::iter::from_fn(|| place(&lookups, &good)).take(AT_ONCE).collect();
        assert_eq!(of_good.len(), OF_COMPONENT, "those that wait hold nothing");
        held.pop();
        assert!(poll_noop(waiting.as_mut()).is_some(), "a place is free again");
    }

    #[test]
    fn all_components_together_have_a_bound_and_leave_nothing_behind() {
        let lookups = Lookups::new();
        let names: Vec<Arc<str>> = (0..9).map(|n| format!("component-{n}").into()).collect();
        let held: Vec<_> =
            names.iter().flat_map(|name| (0..9).filter_map(|_| place(&lookups, name))).collect();
        assert_eq!(held.len(), AT_ONCE);
        drop(held);
        assert!(place(&lookups, &"another".into()).is_some());
        assert_eq!(lookups.shares.lock().len(), 1);
    }
}
