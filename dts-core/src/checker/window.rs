//! The comparison of several chunks at once.
//!
//! While changes are applied, the target is read only when it has what the source had: each comparison waits for the
//! applier's lag. So a worker lets the source digest chunk after chunk for some multiple of that lag, and then waits once
//! for all of them; the rows of those that differ are settled together, too.
use super::plan::{Chunk, TablePlan};
use super::run::Run;
use super::sessions::Sessions;
use super::settle::{Settled, Settler};
use crate::error::{Result, Side};
use crate::sql::digest::Digest;
use crate::stop::StopToken;

/// Chunks of one window at most.
pub(super) const WINDOW_CHUNKS: usize = 256;

/// A chunk that was digested on the source.
pub(super) struct Piece {
    pub(super) chunk: Chunk,
    pub(super) source: Digest,
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

impl Run<'_> {
    /// Compares chunks. `None` for one: the numbers of rows differ, and the table must be cut into chunks to see where.
    pub(super) fn compare(
        &self,
        plan: &TablePlan,
        pieces: &[Piece],
        sessions: &mut Sessions,
        stop: &StopToken,
    ) -> Result<Vec<Option<ChunkOutcome>>> {
        let options = &self.checker.options;
        let source_facts = self.checker.source.facts();
        let high = self.alignment.source_position(source_facts, sessions.on(Side::Source))?;
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
        };
        let ranges: Vec<_> = differing.iter().map(|(_, range, rows)| (*range, *rows)).collect();
        let settled = settler.settle(sessions, &ranges, &mut |_, _| ())?;
        for ((position, ..), settled) in differing.into_iter().zip(settled) {
            if let Some(outcome) = &mut outcomes[position] {
                outcome.settled = settled;
            }
        }
        Ok(outcomes)
    }
}
