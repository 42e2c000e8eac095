//! Cuts a table into chunks along its key, one after the other, without a gap.
//!
//! # Why the chunks partition the table
//! Every chunk is `(lower, upper]` in the server's own order of the key; each starts where the one before ended, the first is
//! open below and the last open above. Bounds are values that the source sent (or integers counted on from one), compared
//! by the server alone, never by us: what two collations think of two strings cannot matter (flink-cdc#2964).
//!
//! # Resuming
//! Chunks are numbered in key order and recorded on the target when they are durable. A number that is missing between two
//! recorded ones was under way when a run ended; its range is the gap between its neighbours. What comes after the last
//! recorded one is cut anew.
//!
//! # Where the cuts fall
//! A single integer column whose values are dense is cut by counting: a range of `n` numbers holds at most `n` rows, and no
//! query is needed. Everything else asks the server for the key `n` rows further on, which reads only the index.
use crate::data::{ColumnKind, RowKey};
use crate::error::Result;
use crate::sql::select::{self, Bound, KeyColumns, KeyRange};
use crate::target::ledger::ChunkRow;
use crate::wire::Connection;

use super::plan::TablePlan;

/// Rows of a chunk while nothing is known of the table.
const ROWS_INITIAL: u64 = 10_000;
/// Most rows of a chunk, whatever their size.
const ROWS_MAX: u64 = 100_000;
/// The least part of the wanted rows that a chunk is cut down to: each costs two commits, and a small table is one chunk.
const PART_OF_ROWS_MIN: u64 = 4;
/// Fewer bytes than any row has in InnoDB: the two statistics may be of different moments.
const ROW_BYTES_MIN: u64 = 24;

/// A chunk to copy.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chunk {
    pub(super) sequence: u32,
    pub(super) range: KeyRange,
}

/// Hands out the chunks of one table.
pub(super) struct Chunker {
    key: Option<RowKey>,
    /// Gaps that an earlier run left.
    gaps: Vec<Chunk>,
    lower: Option<Bound>,
    next_sequence: u32,
    finished: bool,
    rows: u64,
    chunk_bytes: u64,
    /// How many copy at the same time.
    workers: usize,
    counting: Option<Counting>,
}

/// Cutting by counting: the largest value seen at the start.
struct Counting {
    first: i128,
    last: i128,
    next: i128,
}

impl Counting {
    /// Returns how many numbers the next chunk takes, of `rows` wanted: so many that several workers end at about the same time.
    /// (1 M sysbench rows, four workers: with chunks of 16 MiB each, two of them idled for a whole chunk at the end.)
    fn chunk(&self, rows: u64, workers: usize) -> i128 {
        if workers < 2 {
            return i128::from(rows);
        }
        let part_of_rest = (self.last - self.next + 1) / (2 * workers as i128);
        part_of_rest.clamp(i128::from(rows.div_ceil(PART_OF_ROWS_MIN)), i128::from(rows))
    }
}

impl Chunker {
    /// Starts where the recorded chunks end.
    pub(super) fn new(plan: &TablePlan, recorded: &[ChunkRow], chunk_bytes: u64, workers: usize) -> Chunker {
        let mut gaps = Vec::new();
        let mut lower: Option<Bound> = None;
        let mut expected = 1;
        let mut finished = false;
        for chunk in recorded {
            if chunk.sequence > expected {
                gaps.push(Chunk {
                    sequence: expected,
                    range: KeyRange { lower: lower.clone(), upper: chunk.range.lower.clone() },
                });
            }
            expected = chunk.sequence + 1;
            finished = chunk.range.upper.is_none();
            lower.clone_from(&chunk.range.upper);
        }
        let (rows, bytes) =
            recorded.iter().fold((0, 0), |(rows, bytes), c| (rows + c.row_count, bytes + c.byte_count));
        let mut chunker = Chunker {
            key: plan.chunk_key(),
            gaps,
            lower,
            next_sequence: expected,
            finished,
            rows: 0,
            chunk_bytes,
            workers,
            counting: None,
        };
        chunker.rows = if rows > 0 {
            chunker.rows_for(rows, bytes)
        } else if plan.schema.rows_estimated > 0 {
            let rows = plan.schema.rows_estimated;
            chunker.rows_for(rows, plan.schema.data_bytes.max(rows.saturating_mul(ROW_BYTES_MIN)))
        } else {
            ROWS_INITIAL
        };
        chunker
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished && self.gaps.is_empty()
    }

    /// Takes what a finished chunk has shown of the size of rows. Grows by half at most, shrinks at once.
    pub(super) fn learn(&mut self, rows: u64, bytes: u64) {
        if rows > 0 {
            self.rows = self.rows_for(rows, bytes).min(self.rows + self.rows / 2).max(1);
        }
    }

    /// Returns which part of the table's key space a chunk is, 0 to 1; `None` when the key is not cut by counting.
    pub(super) fn key_space(&self, range: &KeyRange) -> Option<f64> {
        let Counting { first, last, .. } = *self.counting.as_ref()?;
        let number = |bound: &Bound| std::str::from_utf8(bound.first()?).ok()?.parse::<i128>().ok();
        let above = match &range.lower {
            None => first - 1,
            Some(bound) => number(bound)?,
        };
        let upto = match &range.upper {
            None => last,
            Some(bound) => number(bound)?,
        };
        #[allow(clippy::cast_precision_loss, reason = "a part, to be shown")]
        Some((upto - above) as f64 / (last - first + 1) as f64)
    }

    fn rows_for(&self, rows: u64, bytes: u64) -> u64 {
        let row_bytes = (bytes / rows.max(1)).max(1);
        (self.chunk_bytes / row_bytes).clamp(1, ROWS_MAX)
    }

    /// Returns the next chunk, asking the source where it ends.
    pub(super) fn next(&mut self, plan: &TablePlan, connection: &mut Connection) -> Result<Option<Chunk>> {
        if let Some(gap) = self.gaps.pop() {
            return Ok(Some(gap));
        }
        if self.finished {
            return Ok(None);
        }
        let upper = match self.key.clone() {
            Some(key) => self.next_bound(plan, &key, connection)?,
            None => None,
        };
        let chunk = Chunk {
            sequence: self.next_sequence,
            range: KeyRange { lower: self.lower.take(), upper: upper.clone() },
        };
        self.next_sequence += 1;
        self.finished = upper.is_none();
        self.lower = upper;
        Ok(Some(chunk))
    }

    fn next_bound(
        &mut self,
        plan: &TablePlan,
        key: &RowKey,
        connection: &mut Connection,
    ) -> Result<Option<Bound>> {
        let columns = KeyColumns::of(&plan.schema, &key.index, &key.columns);
        if self.counting.is_none() && self.lower.is_none() {
            self.counting = counting(plan, &columns, connection)?;
        }
        if let Some(counting) = &mut self.counting {
            let bound = counting.next + counting.chunk(self.rows, self.workers) - 1;
            counting.next = bound + 1;
            return Ok((bound < counting.last).then(|| vec![bound.to_string().into_bytes()]));
        }
        let sql = select::boundary(&plan.schema.name, &columns, self.lower.as_ref(), self.rows)?;
        let row = connection.query_row(sql, "looking for the end of a chunk")?;
        Ok(row
            .map(|row| (0..row.len()).map(|column| row.bytes(column).unwrap_or_default().to_vec()).collect()))
    }
}

/// Decides whether a table can be cut by counting: one integer column, and at least half of the numbers are in use, as far
/// as the statistics know. (When they are wrong the chunks only become smaller.)
fn counting(plan: &TablePlan, key: &KeyColumns<'_>, connection: &mut Connection) -> Result<Option<Counting>> {
    let [column] = key.columns[..] else { return Ok(None) };
    if !matches!(column.kind, ColumnKind::Integer(_)) {
        return Ok(None);
    }
    let sql = select::extremes(&plan.schema.name, key);
    let row = connection.query_row(sql, "looking for the ends of a key")?;
    let number = |column: usize| row.as_ref()?.text(column)?.parse::<i128>().ok();
    let (Some(first), Some(last)) = (number(0), number(1)) else { return Ok(None) };
    let is_dense = i128::from(plan.schema.rows_estimated) * 2 >= last - first;
    Ok(is_dense.then_some(Counting { first, last, next: first }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{TableName, TableSchema};

    fn plan() -> TablePlan {
        TablePlan {
            id: 1,
            schema: TableSchema {
                rows_estimated: 1000,
                data_bytes: 1_000_000,
                ..TableSchema::example("t", Vec::new())
            },
            target: TableName::new("d", "t"),
            is_exact: false,
        }
    }

    fn bound(text: &str) -> Option<Bound> {
        Some(vec![text.as_bytes().to_vec()])
    }

    fn recorded(sequence: u32, lower: Option<Bound>, upper: Option<Bound>) -> ChunkRow {
        ChunkRow { sequence, range: KeyRange { lower, upper }, row_count: 100, byte_count: 10_000 }
    }

    #[test]
    fn what_an_earlier_run_left_is_the_gap_between_its_neighbours() {
        let done = [recorded(2, bound("10"), bound("20")), recorded(5, bound("40"), bound("50"))];
        let chunker = Chunker::new(&plan(), &done, 16 << 20, 4);
        let gaps: Vec<_> = chunker.gaps.iter().map(|c| (c.sequence, c.range.clone())).collect();
        assert_eq!(
            gaps,
            [
                (1, KeyRange { lower: None, upper: bound("10") }),
                (3, KeyRange { lower: bound("20"), upper: bound("40") }),
            ]
        );
        assert_eq!((chunker.lower.clone(), chunker.next_sequence, chunker.finished), (bound("50"), 6, false));
    }

    #[test]
    fn a_record_that_ends_open_is_finished_apart_from_its_gaps() {
        let done = [recorded(1, None, bound("10")), recorded(3, bound("30"), None)];
        let mut chunker = Chunker::new(&plan(), &done, 16 << 20, 4);
        assert!(!chunker.is_finished());
        assert_eq!(chunker.gaps.pop().unwrap().range, KeyRange { lower: bound("10"), upper: bound("30") });
        assert!(chunker.is_finished());
    }

    #[test]
    fn chunks_cut_by_counting_share_the_key_space() {
        let mut chunker = Chunker::new(&plan(), &[], 16 << 20, 4);
        let range = |lower, upper| KeyRange { lower, upper };
        assert_eq!(chunker.key_space(&range(None, None)), None);
        chunker.counting = Some(Counting { first: -10, last: 29, next: -10 });
        let parts = [
            (range(None, bound("-1")), 0.25),
            (range(bound("-1"), bound("19")), 0.5),
            (range(bound("19"), None), 0.25),
            (range(None, None), 1.0),
        ];
        for (range, part) in parts {
            assert!((chunker.key_space(&range).unwrap() - part).abs() < 1e-9, "{range:?}");
        }
    }

    #[test]
    fn chunks_become_smaller_towards_the_end() {
        let mut counting = Counting { first: 1, last: 1_000_000, next: 1 };
        let mut sizes = Vec::new();
        while counting.next <= counting.last {
            let size = counting.chunk(80_000, 4);
            sizes.push(size);
            counting.next += size;
        }
        assert_eq!(sizes[..3], [80_000; 3]);
        assert!(sizes.is_sorted_by(|one, next| one >= next), "{sizes:?}");
        assert!(sizes[sizes.len() - 2] == 20_000, "{sizes:?}");
        assert!(sizes.len() < 40, "{sizes:?}");
        assert_eq!(Counting { first: 1, last: 10, next: 1 }.chunk(1, 4), 1);
        assert_eq!(Counting { first: 1, last: 10, next: 1 }.chunk(80, 1), 80);
    }

    #[test]
    fn the_size_grows_by_half_and_shrinks_at_once() {
        let mut chunker = Chunker::new(&plan(), &[], 1 << 20, 4);
        assert_eq!(chunker.rows, 1048);
        chunker.learn(1000, 10_000);
        assert_eq!(chunker.rows, 1572);
        chunker.learn(10, 10 << 20);
        assert_eq!(chunker.rows, 1);
    }
}
