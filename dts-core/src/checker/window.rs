//! The comparison of several chunks at once.
//!
//! While changes are applied, the target is read only when it has what the source had: each comparison waits for the
//! applier's lag. So a worker lets the source digest chunk after chunk for some multiple of that lag, and then waits once
//! for all of them; the rows of those that differ are settled together, too.
use super::plan::{Chunk, TablePlan};
use super::repair::Repairer;
use super::report::Difference;
use super::run::Run;
use super::sessions::Sessions;
use super::settle::{Confirmed, Settled, Settler};
use crate::data::Position;
use crate::error::{Result, Side};
use crate::sql::row_reader::Digest;
use crate::stop::StopToken;

/// Chunks of one window at most.
pub(super) const WINDOW_CHUNKS: usize = 256;

/// A chunk that was digested on the source.
pub(super) struct Piece {
    pub(super) chunk: Chunk,
    pub(super) source: Digest,
}

/// Chunks that were digested on the source one after another.
pub(super) struct Window {
    pub(super) pieces: Vec<Piece>,
    /// All that the digests saw is before this position of the source; `None` when nothing applies.
    pub(super) high: Option<Position>,
}

/// What came out of a chunk.
pub(super) struct ChunkOutcome {
    pub(super) rows_source: u64,
    pub(super) rows_target: u64,
    pub(super) settled: Settled,
}

impl ChunkOutcome {
    /// An equal chunk.
    pub(super) fn same(rows: u64) -> Self {
        ChunkOutcome { rows_source: rows, rows_target: rows, settled: Settled::default() }
    }
}

/// Differing rows of a range that are repaired in one run, or written into the file.
const REPAIR_ROWS_MAX: usize = 100_000;

impl Run<'_> {
    /// Compares chunks, and repairs their rows where that is asked for. `None` for one: the numbers of rows differ, and the
    /// table must be cut into chunks to see where.
    pub(super) fn compare(
        &self,
        plan: &TablePlan,
        window: &Window,
        sessions: &mut Sessions<'_>,
        stop: &StopToken,
    ) -> Result<Vec<Option<ChunkOutcome>>> {
        let options = &self.checker.options;
        let is_wanted = plan.source.hashes_values() && (options.repair || self.repair_file.is_some());
        let pieces = &window.pieces;
        let mut confirmed: Vec<Vec<Confirmed>> = pieces.iter().map(|_| Vec::new()).collect();
        let mut outcomes = self.compare_once(plan, window, sessions, stop, &mut |position, row| {
            if is_wanted && confirmed[position].len() < REPAIR_ROWS_MAX {
                confirmed[position].push(row.clone());
            }
        })?;
        for (position, rows) in confirmed.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            if let Some(file) = self.repair_file {
                file.add(plan, sessions, rows)?;
            }
            if options.repair
                && let Some(outcome) = &mut outcomes[position]
            {
                self.repair(plan, &pieces[position], sessions, stop, rows, outcome)?;
            }
        }
        Ok(outcomes)
    }

    /// Repairs rows of a chunk and compares it again.
    fn repair(
        &self,
        plan: &TablePlan,
        piece: &Piece,
        sessions: &mut Sessions<'_>,
        stop: &StopToken,
        rows: &[Confirmed],
        outcome: &mut ChunkOutcome,
    ) -> Result<()> {
        let source_facts = self.checker.source.facts();
        let reason =
            Repairer { plan, alignment: &self.alignment, source_facts, stop }.repair(sessions, rows)?;
        let source = sessions.digest(Side::Source, &plan.source, &piece.chunk.range)?;
        let pieces = vec![Piece { chunk: piece.chunk.clone(), source }];
        let high = self.alignment.source_position(source_facts, sessions.on(Side::Source)?)?;
        let again = self.compare_once(plan, &Window { pieces, high }, sessions, stop, &mut |_, _| ())?;
        let Some(mut again) = again.into_iter().flatten().next() else { return Ok(()) };
        let found = std::mem::take(&mut outcome.settled);
        again.settled.rows_repaired = found.differences_count.saturating_sub(again.settled.differences_count);
        let still: Vec<_> = again.settled.differences.iter().map(|found| found.key.clone()).collect();
        let mut repaired: Vec<Difference> =
            found.differences.into_iter().filter(|difference| !still.contains(&difference.key)).collect();
        for difference in &mut repaired {
            difference.repaired = true;
        }
        again.settled.differences.extend(repaired);
        if again.settled.differences_count > 0 && reason.is_some() {
            again.settled.reason = reason;
        }
        *outcome = again;
        Ok(())
    }

    fn compare_once(
        &self,
        plan: &TablePlan,
        window: &Window,
        sessions: &mut Sessions<'_>,
        stop: &StopToken,
        confirmed: &mut dyn FnMut(usize, &Confirmed),
    ) -> Result<Vec<Option<ChunkOutcome>>> {
        let options = &self.checker.options;
        let source_facts = self.checker.source.facts();
        let Window { pieces, high } = window;
        self.alignment.wait_measured(high.as_ref(), stop)?;
        let mut outcomes = Vec::with_capacity(pieces.len());
        let mut differing = Vec::new();
        for (position, Piece { chunk, source }) in pieces.iter().enumerate() {
            stop.check()?;
            let target = sessions.digest(Side::Target, &plan.target, &chunk.range)?;
            let rows = source.rows.max(target.rows);
            if *source != target {
                if chunk.whole_count && rows > options.chunk_rows {
                    outcomes.push(None);
                    continue;
                }
                differing.push((position, &chunk.range, rows));
            }
            outcomes.push(Some(ChunkOutcome {
                rows_source: source.rows,
                rows_target: target.rows,
                settled: Settled::default(),
            }));
        }
        if differing.is_empty() {
            return Ok(outcomes);
        }
        let kept = self.table(plan.position).differences.len();
        let settler = Settler {
            plan,
            alignment: &self.alignment,
            source_facts,
            stop,
            differences_max: options.differences_max.saturating_sub(kept),
            show_values: options.show_values,
        };
        let ranges: Vec<_> = differing.iter().map(|(_, range, rows)| (*range, *rows)).collect();
        let positions: Vec<usize> = differing.iter().map(|(position, ..)| *position).collect();
        let settled =
            settler.settle(sessions, &ranges, &mut |range, row| confirmed(positions[range], row))?;
        for ((position, ..), settled) in differing.into_iter().zip(settled) {
            if let Some(outcome) = &mut outcomes[position] {
                outcome.settled = settled;
            }
        }
        Ok(outcomes)
    }
}
