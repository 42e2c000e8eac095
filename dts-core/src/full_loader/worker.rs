//! One chunk: read, encode, write and record in one transaction of the target.
use std::sync::Arc;

use crate::data::{Column, Position};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::TableProgress;
use crate::source::{SourceEndpoint, exact_snapshot};
use crate::sql::load::{self, CellCoding, RowOutcome};
use crate::sql::select::{self, KeyColumns};
use crate::stop::StopToken;
use crate::target::ledger::{ChunkRow, Ledger};
use crate::wire::{Cells, Connection};

use super::chunker::Chunk;
use super::plan::TablePlan;
use super::throttle::Throttle;

/// Largest statement of the INSERT method; larger ones gain nothing (measured: 16 KiB to 1 MiB are equal).
const INSERT_BYTES: usize = 1 << 20;
/// Rows between two looks at progress and rate limit.
const ROWS_PER_REPORT: u64 = 1000;

/// How a chunk was written, or why not.
pub(super) enum Outcome {
    /// It is durable.
    Copied(ChunkRow),
    /// It holds a JSON document that LOAD DATA would change; nothing was written.
    NeedsInsert,
}

/// How a table's rows are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Each chunk of its own moment.
    LockFree,
    /// All from an exact snapshot that the table takes for itself.
    OwnSnapshot,
    /// All from an exact snapshot that is shared with other tables; its connection is given.
    LentSnapshot,
}

/// What does not change while a table is copied.
pub(super) struct TableCopy<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) ledger: &'a Ledger,
    pub(super) progress: Arc<TableProgress>,
    pub(super) throttle: &'a Throttle,
    endpoint: &'a SourceEndpoint,
    stop: StopToken,
    columns: Vec<&'a Column>,
    codings: Vec<CellCoding>,
    load_statement: Vec<u8>,
    insert_head: Vec<u8>,
    insert_bytes_max: usize,
    reads: Reads,
}

/// Rows and bytes of a chunk so far, and what of them was reported.
#[derive(Default)]
struct Count {
    rows: u64,
    bytes: u64,
    warnings: u64,
    reported: (u64, u64),
}

impl<'a> TableCopy<'a> {
    #[allow(clippy::too_many_arguments, reason = "a constructor of what a table's workers share")]
    pub(super) fn new(
        plan: &'a TablePlan,
        ledger: &'a Ledger,
        progress: Arc<TableProgress>,
        throttle: &'a Throttle,
        endpoint: &'a SourceEndpoint,
        stop: &StopToken,
        packet_max: u64,
        reads: Reads,
    ) -> Self {
        let columns = plan.columns();
        TableCopy {
            plan,
            ledger,
            progress,
            throttle,
            endpoint,
            stop: stop.clone(),
            codings: columns.iter().map(|column| CellCoding::of(column)).collect(),
            load_statement: load::load_data_statement(&plan.target, &columns),
            insert_head: load::insert_head(&plan.target, &columns),
            columns,
            // Half of the limit: a row may be appended before the length is looked at.
            insert_bytes_max: usize::try_from(packet_max / 2).unwrap_or(usize::MAX).min(INSERT_BYTES),
            reads,
        }
    }

    /// Copies a chunk; `again`: it was begun before. On an error nothing of it is durable, except that a lost answer to the COMMIT leaves it open:
    /// [`Ledger::has_chunk`] tells.
    pub(super) fn copy(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        chunk: &Chunk,
        by_insert: bool,
        again: bool,
    ) -> Result<Outcome> {
        let mut count = Count::default();
        let begun = self.ledger.chunk_begun_statement(self.plan.id, chunk.sequence, again);
        target.execute(begun, "recording that a chunk is begun")?;
        let outcome = match self.reads {
            Reads::OwnSnapshot => self.copy_snapshot(target, chunk, by_insert, &mut count),
            Reads::LockFree | Reads::LentSnapshot => {
                self.copy_counting(source, target, chunk, by_insert, &mut count, &[])
            }
        };
        if !matches!(outcome, Ok(Outcome::Copied(_))) {
            self.progress.take_back(count.reported.0, count.reported.1);
        }
        outcome.map_err(|error| error.for_table(&self.plan.schema.name))
    }

    /// Copies a whole table from an exact snapshot of its own, and records the snapshot's position with the rows.
    fn copy_snapshot(
        &self,
        target: &mut Connection,
        chunk: &Chunk,
        by_insert: bool,
        count: &mut Count,
    ) -> Result<Outcome> {
        let schema = &self.plan.schema;
        if !schema.engine.eq_ignore_ascii_case("InnoDB") {
            return Err(Error::from(ErrorKind::Unsupported {
                what: format!("an exact snapshot of a table of engine {}", schema.engine),
            })
            .with_hint("Give the table a primary key, convert it to InnoDB, or exclude it."));
        }
        let mut snapshot = exact_snapshot::take(self.endpoint, &[&schema.name], 1, &self.stop)?;
        log::info!("{}: exact snapshot by {}", schema.name, snapshot.rung.name());
        let position = Position::Gtid(snapshot.position);
        let also = self.ledger.snapshot_statement(self.plan.id, &position, snapshot.rung);
        self.copy_counting(&mut snapshot.connections[0], target, chunk, by_insert, count, also.as_bytes())
    }

    /// `also` is run in the transaction that records the chunk.
    fn copy_counting(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        chunk: &Chunk,
        by_insert: bool,
        count: &mut Count,
        also: &[u8],
    ) -> Result<Outcome> {
        let key = self.plan.chunk_key();
        let key = key.as_ref().map(|key| KeyColumns::of(&self.plan.schema, &key.index, &key.columns));
        let query = select::rows_in_range(&self.plan.schema.name, &self.columns, key.as_ref(), &chunk.range)?;
        target.execute("BEGIN", "starting a chunk")?;
        let written = if by_insert {
            self.insert_rows(source, target, &query, count)?;
            true
        } else {
            self.load_rows(source, target, &query, count)?
        };
        if !written {
            target.execute("ROLLBACK", "taking a chunk back")?;
            return Ok(Outcome::NeedsInsert);
        }
        let row = ChunkRow {
            sequence: chunk.sequence,
            range: chunk.range.clone(),
            row_count: count.rows,
            byte_count: count.bytes,
        };
        let mut end = self.ledger.chunk_statement(self.plan.id, &row);
        if !also.is_empty() {
            end.extend_from_slice(b"; ");
            end.extend_from_slice(also);
        }
        end.extend_from_slice(b"; COMMIT");
        target.execute(end, "recording a chunk")?;
        self.report(count)?;
        Ok(Outcome::Copied(row))
    }

    /// Streams the rows into LOAD DATA; `false` when a row must be inserted instead.
    fn load_rows(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        query: &[u8],
        count: &mut Count,
    ) -> Result<bool> {
        let mut rows = source.stream(query, "reading rows")?;
        let mut needs_insert = false;
        let done = target.load_data(&self.load_statement, "loading rows", |sink| {
            while let Some(cells) = rows.next_row()? {
                if needs_insert {
                    continue; // The answer must be read to its end; the chunk is taken back.
                }
                let bytes = cells.byte_count();
                match load::append_line(sink.buffer(), cells, &self.codings)? {
                    RowOutcome::Appended { warnings } => self.count(count, bytes, warnings)?,
                    RowOutcome::NeedsInsert => needs_insert = true,
                }
                sink.end_row()?;
            }
            Ok(())
        })?;
        if needs_insert {
            return Ok(false);
        }
        self.verify(target, count, done.affected_rows, u64::from(done.warnings))?;
        Ok(true)
    }

    /// Writes the rows as multi-row INSERTs.
    fn insert_rows(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        query: &[u8],
        count: &mut Count,
    ) -> Result<()> {
        let mut rows = source.stream(query, "reading rows")?;
        let mut statement = self.insert_head.clone();
        let (mut affected, mut warnings) = (0, 0);
        let mut flush = |statement: &mut Vec<u8>, target: &mut Connection| -> Result<()> {
            if statement.len() > self.insert_head.len() {
                let done = target.execute(&statement, "inserting rows")?;
                affected += done.affected_rows;
                warnings += u64::from(done.warnings);
                statement.truncate(self.insert_head.len());
                statement.shrink_to(INSERT_BYTES * 2);
            }
            Ok(())
        };
        while let Some(cells) = rows.next_row()? {
            self.append_row(&mut statement, cells, count)?;
            if statement.len() >= self.insert_bytes_max {
                flush(&mut statement, target)?;
            }
        }
        flush(&mut statement, target)?;
        self.verify(target, count, affected, warnings)
    }

    fn append_row(&self, statement: &mut Vec<u8>, cells: Cells<'_>, count: &mut Count) -> Result<()> {
        if statement.len() > self.insert_head.len() {
            statement.push(b',');
        }
        let bytes = cells.byte_count();
        let warnings = load::append_values(statement, cells, &self.codings)?;
        self.count(count, bytes, warnings)
    }

    fn count(&self, count: &mut Count, bytes: usize, warnings: u64) -> Result<()> {
        count.rows += 1;
        count.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        count.warnings += warnings;
        if count.rows - count.reported.0 >= ROWS_PER_REPORT { self.report(count) } else { Ok(()) }
    }

    /// Reports what was read since the last time, and pauses as the rate limit asks.
    fn report(&self, count: &mut Count) -> Result<()> {
        let rows = count.rows - count.reported.0;
        self.progress.add(rows, count.bytes - count.reported.1);
        count.reported = (count.rows, count.bytes);
        self.throttle.take(rows)
    }

    /// LOCAL turns errors of rows into warnings, so both numbers must be right.
    fn verify(&self, target: &mut Connection, count: &Count, affected: u64, warnings: u64) -> Result<()> {
        // The protocol counts warnings in 16 bits.
        let expected_warnings = count.warnings.min(u64::from(u16::MAX));
        if affected == count.rows && warnings.min(u64::from(u16::MAX)) == expected_warnings {
            return Ok(());
        }
        let mut codes: Vec<String> = target
            .query("SHOW WARNINGS LIMIT 20", "reading warnings")?
            .iter()
            .map(|row| row.string(1))
            .collect();
        codes.dedup();
        Err(ErrorKind::RowCount {
            expected: count.rows,
            actual: affected,
            warnings,
            detail: if codes.is_empty() {
                String::new()
            } else {
                format!(" (server codes {})", codes.join(", "))
            },
        }
        .into())
    }
}
