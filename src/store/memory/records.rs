//! Records by number.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// The number of a record: its place in the order of submits.
pub(super) type Seq = usize;

/// Every record, by its number in the order of submits. Numbers are not used
/// again. What was removed from the front takes no memory; within, a pointer's.
pub(super) struct Records<Record> {
    /// The number of the first place.
    first: Seq,
    places: VecDeque<Option<Box<Record>>>,
}

impl<Record> Default for Records<Record> {
    fn default() -> Self {
        Self { first: 0, places: VecDeque::new() }
    }
}

impl<Record> Records<Record> {
    /// Adds one and says its number.
    pub(super) fn push(&mut self, record: Record) -> Seq {
        self.places.push_back(Some(Box::new(record)));
        self.first + self.places.len() - 1
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<Box<Record>> {
        let removed = self.places.get_mut(seq.checked_sub(self.first)?)?.take();
        while let Some(None) = self.places.front() {
            self.places.pop_front();
            self.first += 1;
        }
        removed
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.places.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// All of them, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.places.iter().filter_map(Option::as_deref)
    }
}

/// A number that is held somewhere is that of a record.
impl<Record> Index<Seq> for Records<Record> {
    type Output = Record;

    fn index(&self, seq: Seq) -> &Record {
        self.places[seq - self.first].as_deref().expect("numbers in use have a record")
    }
}

impl<Record> IndexMut<Seq> for Records<Record> {
    fn index_mut(&mut self, seq: Seq) -> &mut Record {
        self.places[seq - self.first].as_deref_mut().expect("numbers in use have a record")
    }
}
