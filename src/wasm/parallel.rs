//! Independent work on all processors.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Does something with every item, on as many threads as there are processors,
/// and returns the results in the order of the items.
///
/// Compiling one component uses several threads only some of the time.
pub(super) fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let take = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            let result = work(item);
            results.lock().push((index, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread this one does it all.
            if std::thread::Builder::new().name("load".to_owned()).spawn_scoped(scope, take).is_err() {
                break;
            }
        }
        take();
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_work_is_done_once_and_comes_back_in_order() {
        let items: Vec<usize> = (0..100).collect();
        let calls = AtomicUsize::new(0);
        let doubled = in_parallel(&items, |item| {
            calls.fetch_add(1, Ordering::Relaxed);
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(calls.into_inner(), items.len());
        assert_eq!(in_parallel(&[], |item: &u8| *item), Vec::<u8>::new());
    }
}
