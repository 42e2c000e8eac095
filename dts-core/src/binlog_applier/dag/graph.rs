//! Which transactions must wait for which.
//!
//! # The rule
//! Two transactions keep the order of the log when they touch the same key, unless both only read it. Everything else may
//! be applied in any order, and by anybody. A key belongs to a *space*, the values of one index; a transaction may also
//! touch all keys of a space, when it is not known which.
//!
//! # Several transactions for one commit
//! What one worker applies in one target transaction, in the order of the log, needs no commit in between. So
//! [`Graph::take`] gives out ready transactions together with those that wait for nothing else than them: a row that every
//! transaction changes costs one commit for many transactions, not one for each.
//!
//! # Why any order gives the serial result
//! Take any two transactions that touch a key in common (one of them writing). The later one depends on the earlier one,
//! directly or over others between them: each writer of a key depends on the writer before it and on the readers since, each
//! reader on the writer before it, and whoever touches the whole space depends on all who touched it since the last
//! who did, and they on him. A dependent is given out only when everything it waits for is committed, or stands before it
//! in the same commit. So the two are applied in the order of the log. Transactions without a common key commute.
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A key that a transaction touches. Hashes: two keys that collide only make somebody wait in vain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(in super::super) enum Touched {
    /// One key is changed, freed or taken.
    Write { space: u64, key: u64 },
    /// One key must stay as it is: the parent's of a foreign key.
    Read { space: u64, key: u64 },
    /// It is not known which keys of the space.
    All { space: u64 },
}

/// The transactions that are not committed yet. `T` is what a worker needs to apply one.
#[derive(Debug)]
pub(in super::super) struct Graph<T> {
    nodes: HashMap<u64, Node<T>>,
    next: u64,
    /// Not given out, and waiting for nothing.
    ready: BTreeSet<u64>,
    keys: HashMap<u64, KeyState>,
    spaces: HashMap<u64, SpaceState>,
    byte_count: usize,
}

#[derive(Debug)]
struct Node<T> {
    /// Taken out with the transaction.
    payload: Option<T>,
    touched: Vec<Touched>,
    /// How many transactions that are not committed it waits for.
    waits_for: usize,
    dependents: Vec<u64>,
    byte_count: usize,
}

/// Who touched a key last, of those that are not committed.
#[derive(Default, Debug)]
struct KeyState {
    writer: Option<u64>,
    /// Since that writer.
    readers: Vec<u64>,
}

#[derive(Default, Debug)]
struct SpaceState {
    /// The last that touched all keys.
    all: Option<u64>,
    /// Who touched any key since.
    since: HashSet<u64>,
}

/// What a worker applies in one target transaction, in this order.
#[derive(Debug)]
pub(in super::super) struct Taken<T> {
    pub(in super::super) transactions: Vec<(u64, T)>,
}

impl<T> Default for Graph<T> {
    fn default() -> Self {
        Graph {
            nodes: HashMap::new(),
            next: 0,
            ready: BTreeSet::new(),
            keys: HashMap::new(),
            spaces: HashMap::new(),
            byte_count: 0,
        }
    }
}

impl<T> Graph<T> {
    /// Adds the next transaction of the log. Returns its number.
    pub(in super::super) fn push(&mut self, payload: T, mut touched: Vec<Touched>, byte_count: usize) -> u64 {
        let number = self.next;
        self.next += 1;
        touched.sort_unstable();
        touched.dedup();
        let mut before = Vec::new();
        for &one in &touched {
            self.touch(number, one, &mut before);
        }
        before.sort_unstable();
        before.dedup();
        // It may touch a key in two ways.
        before.retain(|other| *other != number);
        for other in &before {
            if let Some(node) = self.nodes.get_mut(other) {
                node.dependents.push(number);
            }
        }
        if before.is_empty() {
            self.ready.insert(number);
        }
        self.byte_count += byte_count;
        let waits_for = before.len();
        self.nodes.insert(
            number,
            Node { payload: Some(payload), touched, waits_for, dependents: Vec::new(), byte_count },
        );
        number
    }

    /// Records that a transaction touches something, and adds whom it must wait for.
    fn touch(&mut self, number: u64, touched: Touched, before: &mut Vec<u64>) {
        let (space, key, writes) = match touched {
            Touched::Write { space, key } => (space, key, true),
            Touched::Read { space, key } => (space, key, false),
            Touched::All { space } => {
                let state = self.spaces.entry(space).or_default();
                before.extend(state.all);
                before.extend(state.since.drain());
                state.all = Some(number);
                return;
            }
        };
        let state = self.spaces.entry(space).or_default();
        before.extend(state.all);
        state.since.insert(number);
        let state = self.keys.entry(key).or_default();
        before.extend(state.writer);
        if writes {
            before.append(&mut state.readers);
            state.writer = Some(number);
        } else {
            state.readers.push(number);
        }
    }

    /// Takes transactions for one target commit: the oldest that are ready, at most `share` of them, and those that wait for
    /// nothing but these, until `bytes_max` is reached. `None`: nothing is ready.
    pub(in super::super) fn take(
        &mut self,
        share: usize,
        transactions_max: usize,
        bytes_max: usize,
    ) -> Option<Taken<T>> {
        let mut candidates: BTreeSet<u64> = self.ready.iter().take(share.max(1)).copied().collect();
        // How many of those that somebody waits for stand in this commit.
        let mut satisfied: HashMap<u64, usize> = HashMap::new();
        let mut transactions = Vec::new();
        let mut byte_count = 0;
        while let Some(&number) = candidates.first() {
            let Some(node) = self.nodes.get_mut(&number) else { break };
            let is_room = transactions.len() < transactions_max
                && (transactions.is_empty() || byte_count + node.byte_count <= bytes_max);
            if !is_room {
                break;
            }
            candidates.pop_first();
            self.ready.remove(&number);
            byte_count += node.byte_count;
            if let Some(payload) = node.payload.take() {
                transactions.push((number, payload));
            }
            let dependents = node.dependents.clone();
            for dependent in dependents {
                let count = satisfied.entry(dependent).or_default();
                *count += 1;
                if self.nodes.get(&dependent).is_some_and(|node| node.waits_for == *count) {
                    candidates.insert(dependent);
                }
            }
        }
        (!transactions.is_empty()).then_some(Taken { transactions })
    }

    /// A transaction that was taken is durable.
    pub(in super::super) fn committed(&mut self, number: u64) {
        let Some(node) = self.nodes.remove(&number) else { return };
        self.byte_count -= node.byte_count;
        for touched in node.touched {
            self.untouch(number, touched);
        }
        for dependent in node.dependents {
            if let Some(node) = self.nodes.get_mut(&dependent) {
                node.waits_for -= 1;
                // One that was given out together with what it waited for is not ready: it is under way.
                if node.waits_for == 0 && node.payload.is_some() {
                    self.ready.insert(dependent);
                }
            }
        }
    }

    fn untouch(&mut self, number: u64, touched: Touched) {
        let (space, key) = match touched {
            Touched::Write { space, key } | Touched::Read { space, key } => (space, Some(key)),
            Touched::All { space } => (space, None),
        };
        if let Some(state) = self.spaces.get_mut(&space) {
            state.since.remove(&number);
            state.all = state.all.filter(|other| *other != number);
            if state.all.is_none() && state.since.is_empty() {
                self.spaces.remove(&space);
            }
        }
        if let Some(key) = key
            && let Entry::Occupied(mut entry) = self.keys.entry(key)
        {
            let state = entry.get_mut();
            state.writer = state.writer.filter(|other| *other != number);
            state.readers.retain(|other| *other != number);
            if state.writer.is_none() && state.readers.is_empty() {
                entry.remove();
            }
        }
    }

    /// Returns whether every transaction that was pushed is committed.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns how many transactions could be given out at once.
    pub(in super::super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// Returns how many bytes the transactions have that are not committed, as they were given to [`push`](Self::push).
    pub(in super::super) fn byte_count(&self) -> usize {
        self.byte_count
    }
}

#[cfg(test)]
mod tests;
