//! Invocations that submits collide with.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{IdMap, IdSet, InvocationId, RuleKey};

/// The invocations that have what submits of a batch want: an id, key, place or lane. Submits
/// are told apart by their position in the batch.
#[derive(Default)]
pub struct Collisions {
    /// Numbers for new invocations, in falling order.
    pub numbers: Vec<i64>,
    /// Ids that exist.
    pub ids: IdSet,
    /// Whether all ids were looked up. If not, writing one that exists fails, and the
    /// batch is tried again with all of them.
    pub knows_ids: bool,
    /// The invocation that has the key of a submit, and whether with the same arguments.
    pub by_key: HashMap<usize, (InvocationId, bool)>,
    /// The invocation that has the place, task and arguments of a submit.
    pub by_place: HashMap<usize, InvocationId>,
    /// Which unfinished one has the unique key of a submit, and whether with the same
    /// arguments.
    pub by_unique: HashMap<usize, (InvocationId, bool)>,
    /// By the parent: the invocations above and including it, nearest first.
    pub above: IdMap<Vec<Above>>,
    /// Positions of the submits by which the batch itself takes keys, unique keys and places.
    pub(super) new_keys: HashMap<(i64, Arc<str>), usize>,
    pub(super) new_uniques: HashMap<(i64, RuleKey), usize>,
    pub(super) new_places: HashMap<(InvocationId, u32), usize>,
    /// Further ones at those places: attempts may differ.
    pub(super) more_places: Vec<usize>,
    /// Submits that collide although nobody knows whether their id exists,
    /// which would come first.
    pub(super) unconfirmed: Vec<usize>,
}

impl Collisions {
    /// Nothing yet, perhaps with all ids that exist.
    pub fn new(ids: Option<IdSet>) -> Self {
        Self { knows_ids: ids.is_some(), ids: ids.unwrap_or_default(), ..Self::default() }
    }
}

/// An ancestor of a submitted child.
pub struct Above {
    pub id: InvocationId,
    pub task: i64,
    pub lane: Option<RuleKey>,
    pub is_owned: bool,
}
