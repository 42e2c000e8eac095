//! A source, a target and several workers, simulated: whatever the order of events, the target is what the log says.
use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The same everywhere; seeds are printed by the assertions.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

/// A row: its UNIQUE value, if any; its parent, if any; a counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    unique: Option<u64>,
    parent: Option<u64>,
    count: u64,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Row {
        key: u64,
        before: Option<Row>,
        after: Option<Row>,
    },
    Parent {
        key: u64,
        exists: bool,
    },
    /// Not idempotent: a row of a table without a key.
    Line(u64),
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Database {
    rows: BTreeMap<u64, Row>,
    parents: BTreeSet<u64>,
    lines: Vec<u64>,
}

impl Database {
    /// Does what a strict target does; tells what does not fit.
    fn apply(&mut self, change: Change) -> Result<(), String> {
        match change {
            Change::Line(line) => self.lines.push(line),
            Change::Parent { key, exists: true } => {
                if !self.parents.insert(key) {
                    return Err(format!("parent {key} twice"));
                }
            }
            Change::Parent { key, exists: false } => {
                if self.rows.values().any(|row| row.parent == Some(key)) || !self.parents.remove(&key) {
                    return Err(format!("parent {key} goes before its children"));
                }
            }
            Change::Row { key, before, after } => {
                if self.rows.get(&key).copied() != before {
                    return Err(format!("row {key} is not as it was"));
                }
                self.rows.remove(&key);
                if let Some(row) = after {
                    let twice = |other: &Row| other.unique.is_some() && other.unique == row.unique;
                    if self.rows.values().any(twice) {
                        return Err(format!("the UNIQUE value of row {key} is taken"));
                    }
                    if row.parent.is_some_and(|parent| !self.parents.contains(&parent)) {
                        return Err(format!("row {key} comes before its parent"));
                    }
                    self.rows.insert(key, row);
                }
            }
        }
        Ok(())
    }

    /// Lines have no order on the target.
    fn sorted(mut self) -> Self {
        self.lines.sort_unstable();
        self
    }
}

/// What a broken write set leaves out.
#[derive(Clone, Copy, PartialEq)]
enum Without {
    Nothing,
    Uniques,
    Parents,
}

/// Every tenth UNIQUE value is one whose equality is not known.
fn unique(value: u64) -> Touched {
    if value.is_multiple_of(10) {
        Touched::All { space: 2 }
    } else {
        Touched::Write { space: 2, key: 2000 + value }
    }
}

fn touched(change: Change, without: Without) -> Vec<Touched> {
    let mut touched = Vec::new();
    match change {
        Change::Line(_) => touched.push(Touched::All { space: 4 }),
        Change::Parent { key, .. } => touched.push(Touched::Write { space: 3, key: 3000 + key }),
        Change::Row { key, before, after } => {
            touched.push(Touched::Write { space: 1, key: 1000 + key });
            for row in [before, after].into_iter().flatten() {
                touched.extend(row.unique.filter(|_| without != Without::Uniques).map(unique));
                let parent = row.parent.filter(|_| without != Without::Parents);
                touched.extend(parent.map(|parent| Touched::Read { space: 3, key: 3000 + parent }));
            }
        }
    }
    touched
}

/// Makes a log of transactions by running them.
fn log(dice: &mut Dice, length: usize) -> (Vec<Vec<Change>>, Database) {
    let mut source = Database::default();
    let mut log = Vec::new();
    let mut line = 0;
    while log.len() < length {
        let mut transaction = Vec::new();
        for _ in 0..=dice.roll(4) {
            let key = dice.roll(12);
            let before = source.rows.get(&key).copied();
            let random = Row {
                unique: (dice.roll(4) > 0).then(|| dice.roll(15)),
                parent: (dice.roll(3) == 0).then(|| dice.roll(4)),
                count: dice.roll(1 << 30),
            };
            let change = match dice.roll(10) {
                0 => Change::Parent { key: dice.roll(4), exists: dice.roll(2) == 0 },
                1 => {
                    line += 1;
                    Change::Line(line)
                }
                2 | 3 => Change::Row { key, before, after: None },
                4 | 5 => {
                    Change::Row { key, before, after: before.map(|row| Row { count: random.count, ..row }) }
                }
                _ => Change::Row { key, before, after: Some(random) },
            };
            let mut tried = source.clone();
            let is_nothing = matches!(change, Change::Row { before: None, after: None, .. });
            if !is_nothing && tried.apply(change).is_ok() {
                source = tried;
                transaction.push(change);
            }
        }
        log.push(transaction);
    }
    (log, source.sorted())
}

/// Applies a log by several workers in a random order of events, with crashes. Returns how many transactions a commit had at
/// most.
fn simulate(seed: u64, without: Without) -> Result<usize, String> {
    let mut dice = Dice(seed);
    let (log, expected) = log(&mut dice, 60);
    let workers = usize::try_from(1 + dice.roll(6)).unwrap();
    let bytes_max = usize::try_from(100 + dice.roll(2000)).unwrap();
    let mut target = Database::default();
    // What the checkpoint rows say.
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut largest = 0;
    'life: loop {
        let mut graph: Graph<usize> = Graph::default();
        let mut busy: Vec<Option<Vec<(u64, usize)>>> = vec![None; workers];
        let mut next = 0;
        loop {
            let worker = usize::try_from(dice.roll(workers as u64)).unwrap();
            match dice.roll(40) {
                0 if dice.roll(4) == 0 => {
                    // A crash: what was under way is committed, or it is not.
                    for batch in busy.into_iter().flatten() {
                        if dice.roll(2) == 0 {
                            commit(&mut target, &mut done, &log, &batch)?;
                        }
                    }
                    continue 'life;
                }
                0..=15 => {
                    while done.contains(&next) {
                        next += 1;
                    }
                    if next < log.len() && graph.byte_count() < 1000 {
                        let keys = log[next].iter().flat_map(|change| touched(*change, without)).collect();
                        graph.push(next, keys, 10 + 50 * log[next].len());
                        next += 1;
                    }
                }
                16..=27 => {
                    if busy[worker].is_none() {
                        let share = graph.ready_count().div_ceil(workers);
                        busy[worker] = graph.take(share, 20, bytes_max).map(|taken| taken.transactions);
                    }
                }
                _ => {
                    if let Some(batch) = busy[worker].take() {
                        largest = largest.max(batch.len());
                        assert!(batch.is_sorted(), "a commit keeps the order of the log");
                        commit(&mut target, &mut done, &log, &batch)?;
                        for (number, _) in batch {
                            graph.committed(number);
                        }
                    }
                }
            }
            if next >= log.len() && graph.is_empty() {
                assert_eq!(graph.byte_count(), 0);
                assert!(graph.keys.is_empty() && graph.spaces.is_empty(), "the graph forgets what is done");
                break 'life;
            }
        }
    }
    if done.len() != log.len() {
        return Err("transactions are missing".into());
    }
    if target.sorted() == expected { Ok(largest) } else { Err("the target is another".into()) }
}

fn commit(
    target: &mut Database,
    done: &mut BTreeSet<usize>,
    log: &[Vec<Change>],
    batch: &[(u64, usize)],
) -> Result<(), String> {
    for (_, transaction) in batch {
        for change in &log[*transaction] {
            target.apply(*change)?;
        }
        assert!(done.insert(*transaction), "applied twice");
    }
    Ok(())
}

#[test]
fn any_schedule_gives_the_serial_result() {
    let mut largest = 0;
    for seed in 1..=2000 {
        largest =
            largest.max(simulate(seed, Without::Nothing).unwrap_or_else(|why| panic!("seed {seed}: {why}")));
    }
    assert!(largest > 5, "transactions shared commits");
}

/// The simulation sees what a write set that forgets something leads to.
#[test]
fn a_forgotten_key_is_noticed() {
    for without in [Without::Uniques, Without::Parents] {
        let wrong = (1..=300).filter(|&seed| simulate(seed, without).is_err()).count();
        assert!(wrong > 10, "{wrong} of 300");
    }
}

fn write(key: u64) -> Touched {
    Touched::Write { space: 0, key }
}

#[test]
fn a_hot_row_costs_one_commit_for_many_transactions() {
    let mut graph = Graph::default();
    for number in 0..10 {
        graph.push(number, vec![write(1)], 10);
    }
    assert_eq!(graph.ready_count(), 1);
    let taken = graph.take(1, 100, 65).unwrap().transactions;
    assert_eq!(taken.len(), 6, "until the bytes are reached");
    assert!(graph.take(1, 100, 65).is_none(), "the others wait for what is under way");
    for (number, _) in taken {
        graph.committed(number);
    }
    assert_eq!(graph.take(1, 3, 65).unwrap().transactions.len(), 3);
}

#[test]
fn one_that_is_too_large_goes_alone() {
    let mut graph = Graph::default();
    graph.push('a', vec![write(1)], 10_000);
    graph.push('b', vec![write(2)], 1);
    assert_eq!(graph.take(9, 9, 100).unwrap().transactions, [(0, 'a')]);
    assert_eq!(graph.take(9, 9, 100).unwrap().transactions, [(1, 'b')]);
}

#[test]
fn readers_do_not_wait_for_each_other() {
    let mut graph = Graph::default();
    let read = Touched::Read { space: 0, key: 1 };
    graph.push(0, vec![write(1)], 1);
    graph.push(1, vec![read], 1);
    graph.push(2, vec![read], 1);
    graph.push(3, vec![write(1)], 1);
    assert_eq!(graph.take(1, 1, 100).unwrap().transactions[0].0, 0);
    graph.committed(0);
    assert_eq!(graph.ready_count(), 2);
    graph.committed(1);
    assert!(!graph.ready.contains(&3));
    graph.committed(2);
    assert!(graph.ready.contains(&3));
}
