//! The engine that applies whole transactions by several workers: near the head of the log, and wherever changes must not be
//! merged.
use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{Error, Result};

use super::super::change::TransactionPart;
use super::super::coordinator::Coordinator;
use super::super::engine::Engine;
use super::super::rules::Rules;
use super::graph::{Graph, Touched};
use super::job;

/// Bytes of changes that wait or are under way at most.
const GRAPH_BYTES_MAX: usize = 48 << 20;
/// A transaction of more bytes goes alone, in parts.
const TRANSACTION_BYTES_MAX: usize = 8 << 20;
/// Bytes of changes that share a target commit.
const COMMIT_BYTES: usize = 4 << 20;
/// Source transactions that share a target commit at most.
const COMMIT_TRANSACTIONS: usize = 4000;
/// Ready transactions that are worth a commit, when nobody waits for more.
const COMMIT_WORTH: usize = 200;
/// Commits that are with a worker or on their way to it: the next one is there when one ends.
const COMMITS_UNDER_WAY: usize = 2;
/// How long one wait for a worker lasts before the stop token is looked at.
const PATIENCE: Duration = Duration::from_millis(100);

/// Applies whole transactions in any order that gives the log's result.
pub(in super::super) struct DagEngine {
    rules: Rules,
    graph: Graph<TransactionPart>,
    /// A transaction whose last part is still to come.
    inside: Option<Inside>,
    /// What each worker has, commit by commit: numbers in the graph.
    under_way: Vec<VecDeque<Vec<u64>>>,
    buffer: Vec<u8>,
}

enum Inside {
    /// Its parts so far.
    Kept(TransactionPart),
    /// They are with worker 0, in an open target transaction.
    Sent,
}

impl DagEngine {
    pub(in super::super) fn new(rules: Rules, workers: usize) -> Self {
        DagEngine {
            rules,
            graph: Graph::default(),
            inside: None,
            under_way: (0..workers.max(1)).map(|_| VecDeque::new()).collect(),
            buffer: Vec::new(),
        }
    }

    /// Learns which commits the workers have ended.
    fn reap(&mut self, coordinator: &mut Coordinator<'_>) {
        for (worker, commits) in self.under_way.iter_mut().enumerate() {
            while commits.len() > coordinator.pool().waiting(worker) {
                for number in commits.pop_front().into_iter().flatten() {
                    self.graph.committed(number);
                }
            }
        }
    }

    /// Gives ready transactions to workers that have room.
    fn dispatch(&mut self, coordinator: &mut Coordinator<'_>) {
        loop {
            let worker = (0..self.under_way.len()).min_by_key(|worker| self.under_way[*worker].len());
            let Some(worker) = worker.filter(|worker| self.under_way[*worker].len() < COMMITS_UNDER_WAY)
            else {
                return;
            };
            let idle = self.under_way.iter().filter(|commits| commits.is_empty()).count();
            let share = self.graph.ready_count().div_ceil(idle.max(1));
            let Some(taken) = self.graph.take(share, COMMIT_TRANSACTIONS, COMMIT_BYTES) else { return };
            let (numbers, transactions): (Vec<u64>, Vec<TransactionPart>) =
                taken.transactions.into_iter().unzip();
            self.under_way[worker].push_back(numbers);
            let rules = self.rules;
            coordinator.submit(worker, Box::new(move |worker| job::apply(worker, &transactions, rules)));
        }
    }

    fn push(&mut self, transaction: TransactionPart) {
        let mut touched: Vec<Touched> = Vec::new();
        for change in &transaction.changes {
            change.table.keys.touch(&change.before, &change.after, &mut self.buffer, &mut touched);
        }
        let bytes = transaction.bytes + touched.len() * size_of::<Touched>();
        self.graph.push(transaction, touched, bytes);
    }

    /// Waits until there is room for more.
    fn make_room(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        loop {
            self.reap(coordinator);
            let is_full = self.graph.byte_count() >= GRAPH_BYTES_MAX;
            if is_full || self.graph.ready_count() >= COMMIT_WORTH {
                self.dispatch(coordinator);
            }
            if !is_full {
                return Ok(());
            }
            coordinator.settle(PATIENCE)?;
            coordinator.check_stop()?;
        }
    }

    /// Sends a part of a large transaction; it has the target to itself.
    fn send_part(&mut self, coordinator: &mut Coordinator<'_>, part: TransactionPart) -> Result<()> {
        let last = part.last;
        while coordinator.pool().waiting(0) >= COMMITS_UNDER_WAY {
            coordinator.settle(PATIENCE)?;
            coordinator.check_stop()?;
        }
        let rules = self.rules;
        coordinator.submit(0, Box::new(move |worker| job::apply_part(worker, &part, rules)));
        if last { coordinator.settle_all() } else { Ok(()) }
    }
}

impl Engine for DagEngine {
    fn take(&mut self, coordinator: &mut Coordinator<'_>, part: TransactionPart) -> Result<()> {
        let last = part.last;
        match self.inside.take() {
            Some(Inside::Sent) => {
                self.send_part(coordinator, part)?;
                self.inside = (!last).then_some(Inside::Sent);
                return Ok(());
            }
            Some(Inside::Kept(mut transaction)) => {
                transaction.append(part);
                self.inside = Some(Inside::Kept(transaction));
            }
            None if part.first => self.inside = Some(Inside::Kept(part)),
            None => return Err(Error::internal("a transaction begins with its second part")),
        }
        let Some(Inside::Kept(transaction)) = self.inside.take() else { return Ok(()) };
        if last {
            self.push(transaction);
            return self.make_room(coordinator);
        }
        if transaction.bytes < TRANSACTION_BYTES_MAX {
            self.inside = Some(Inside::Kept(transaction));
            return Ok(());
        }
        // Too large to wait for its end: everything before it first, then it alone.
        self.drain(coordinator)?;
        self.send_part(coordinator, transaction)?;
        self.inside = Some(Inside::Sent);
        Ok(())
    }

    fn flush(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        self.reap(coordinator);
        self.dispatch(coordinator);
        Ok(())
    }

    fn drain(&mut self, coordinator: &mut Coordinator<'_>) -> Result<()> {
        loop {
            self.flush(coordinator)?;
            if self.graph.is_empty() {
                return coordinator.settle_all();
            }
            coordinator.settle(PATIENCE)?;
            coordinator.check_stop()?;
        }
    }

    fn is_waiting(&self) -> bool {
        self.graph.ready_count() > 0
    }
}
