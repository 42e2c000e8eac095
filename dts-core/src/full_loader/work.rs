//! The workers: which chunk is copied next, by whom, and what happens when a connection breaks.
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, ErrorKind, Recovery, Result};
use crate::progress::{Progress, TableState};
use crate::retry::{Attempts, RetryPolicy};
use crate::server::catalog;
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::ledger::{ChunkRow, CopyState, Ledger};
use crate::target::{SessionKind, TargetEndpoint};
use crate::wire::Connection;

use super::chunker::{Chunk, Chunker};
use super::plan::{self, TablePlan};
use super::worker::{Outcome, TableCopy};

/// One table's work, shared by the workers.
pub(super) struct Work<'a> {
    copy: TableCopy<'a>,
    chunker: Mutex<Chunker>,
    active: AtomicUsize,
    by_insert: AtomicBool,
    /// The highest number of a chunk that was begun, in this run or an earlier one.
    begun: AtomicU32,
    /// Its definition was changed meanwhile: it will be created and copied anew.
    abandoned: AtomicBool,
}

impl<'a> Work<'a> {
    pub(super) fn new(copy: TableCopy<'a>, chunker: Chunker, begun: u32, by_insert: bool) -> Self {
        Work {
            copy,
            chunker: Mutex::new(chunker),
            active: AtomicUsize::new(0),
            by_insert: AtomicBool::new(by_insert),
            begun: AtomicU32::new(begun),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(super) fn plan(&self) -> &'a TablePlan {
        self.copy.plan
    }

    pub(super) fn set_state(&self, state: TableState) {
        self.copy.progress.set_state(state);
    }

    /// Returns whether the table was given up for now.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Counts a chunk as done, and shows the table as copied after the last one.
    fn finish(&self, copied: Option<&ChunkRow>) {
        let mut chunker = self.chunker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = copied {
            chunker.learn(row.row_count, row.byte_count);
            if let Some(part) = chunker.key_space(&row.range) {
                self.copy.progress.add_key_space(part, row.row_count);
            }
        }
        if self.active.fetch_sub(1, Ordering::Relaxed) == 1 && chunker.is_finished() {
            self.set_state(TableState::Copied);
        }
    }
}

/// Where the workers' source connections come from.
pub(super) enum RowSource {
    /// New ones, each chunk its own short read. One that breaks is replaced.
    Readers,
    /// Those of one snapshot. The first error ends the work: what is left of the snapshot cannot be opened again.
    Snapshot(Mutex<Vec<Connection>>),
}

/// The threads that copy.
pub(super) struct Crew<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    ledger: &'a Ledger,
    /// Each worker's last session on the target.
    sessions: Vec<Mutex<Option<u32>>>,
    progress: Progress,
}

impl<'a> Crew<'a> {
    pub(super) fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        ledger: &'a Ledger,
        threads: usize,
        progress: Progress,
    ) -> Self {
        let sessions = (0..threads.clamp(1, 64)).map(|_| Mutex::new(None)).collect();
        Crew { source, target, ledger, sessions, progress }
    }

    /// Returns how many copy at once at most.
    pub(super) fn size(&self) -> usize {
        self.sessions.len()
    }

    /// Copies all that there is to do. The largest table comes first.
    pub(super) fn copy_all(&self, work: &mut [Work<'_>], rows: &RowSource, stop: &StopToken) -> Result<()> {
        work.sort_by_key(|work| std::cmp::Reverse(work.copy.plan.schema.data_bytes));
        let work = &*work;
        if work.is_empty() {
            return Ok(());
        }
        let stop = stop.child();
        let first_error: Mutex<Option<Error>> = Mutex::new(None);
        let count = match rows {
            RowSource::Readers => self.size(),
            RowSource::Snapshot(connections) => {
                connections.lock().unwrap_or_else(PoisonError::into_inner).len()
            }
        };
        std::thread::scope(|scope| {
            for number in 0..count.min(self.size()) {
                let (stop, first_error) = (&stop, &first_error);
                scope.spawn(move || {
                    if let Err(error) = self.work_until_done(number, work, rows, stop) {
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        // The others end with "interrupted" because of this one.
                        if first.as_ref().is_none_or(Error::is_interrupted) {
                            *first = Some(error);
                        }
                        stop.stop();
                    }
                });
            }
        });
        first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// One worker: takes chunks until there are none, over its own two connections.
    fn work_until_done(
        &self,
        number: usize,
        work: &[Work<'_>],
        rows: &RowSource,
        stop: &StopToken,
    ) -> Result<()> {
        let mut attempts = Attempts::new(RetryPolicy::default());
        let mut connections: Option<(Connection, Connection)> = None;
        let mut unfinished: Option<(usize, Chunk)> = None;
        loop {
            stop.check()?;
            let step = (|| -> Result<bool> {
                let (source, target) = match &mut connections {
                    Some(open) => open,
                    none => none.insert(self.connect(number, rows, stop)?),
                };
                if unfinished.is_none() {
                    unfinished = take_chunk(work, source)?;
                } else if let Some((position, chunk)) = &unfinished {
                    // The connection broke somewhere in this chunk; its row tells whether the COMMIT arrived.
                    let work = &work[*position];
                    if self.ledger.has_chunk(target, work.copy.plan.id, chunk.sequence)? {
                        work.finish(None);
                        unfinished = None;
                        return Ok(true);
                    }
                }
                let Some((position, chunk)) = &unfinished else { return Ok(false) };
                let work = &work[*position];
                work.set_state(TableState::Copying);
                let by_insert = work.by_insert.load(Ordering::Relaxed);
                let again = work.begun.fetch_max(chunk.sequence, Ordering::Relaxed) >= chunk.sequence;
                match work.copy.copy(source, target, chunk, by_insert, again)? {
                    Outcome::Copied(row) => {
                        unfinished = None;
                        work.finish(Some(&row));
                    }
                    Outcome::NeedsInsert => work.by_insert.store(true, Ordering::Relaxed),
                }
                Ok(true)
            })();
            match step {
                Ok(true) => attempts.succeeded(),
                Ok(false) => return Ok(()),
                Err(error) if matches!(rows, RowSource::Snapshot(_)) => return Err(error),
                Err(error) => {
                    // Whatever it was, an open transaction must not live on: a new connection starts clean.
                    connections = None;
                    if self.abandon(work, &error, stop)? {
                        unfinished = None;
                        continue;
                    }
                    attempts.wait_after(error, stop, &self.progress)?;
                }
            }
        }
    }

    /// Gives a table up for now whose definition was changed while it was copied. The log will tell of that change.
    fn abandon(&self, work: &[Work<'_>], error: &Error, stop: &StopToken) -> Result<bool> {
        let Some(work) = work.iter().find(|work| Some(&work.plan().schema.name) == error.table()) else {
            return Ok(false);
        };
        if work.is_abandoned() {
            return Ok(true);
        }
        if !self.give_up(work.plan(), error, stop)? {
            return Ok(false);
        }
        work.abandoned.store(true, Ordering::Relaxed);
        work.set_state(TableState::Waiting);
        Ok(true)
    }

    /// Marks a table to be created and copied anew when its definition was changed; returns whether it was.
    pub(super) fn give_up(&self, plan: &TablePlan, error: &Error, stop: &StopToken) -> Result<bool> {
        let is_final = error.recovery() == Recovery::Operator && !error.is_interrupted();
        if !is_final || !self.has_changed(plan, error, stop)? {
            return Ok(false);
        }
        log::warn!(
            "{} will be copied anew: its definition was changed while it was copied ({error})",
            plan.schema.name
        );
        let mut control = self.target.control(stop)?;
        self.ledger.set_table_state(&mut control, plan.id, CopyState::Restart)?;
        Ok(true)
    }

    /// Returns whether a table is another one than it was when it was created on the target.
    fn has_changed(&self, plan: &TablePlan, error: &Error, stop: &StopToken) -> Result<bool> {
        // ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR, ER_BAD_FIELD_ERROR, ER_TABLE_DEF_CHANGED
        if error.server_error().is_some_and(|answer| matches!(answer.code, 1146 | 1049 | 1054 | 1412)) {
            return Ok(true);
        }
        let source = catalog::table(&mut self.source.control(stop)?, self.source.facts(), &plan.schema.name);
        let target = catalog::table(&mut self.target.control(stop)?, self.target.facts(), &plan.target);
        let (source, target) = match (source, target) {
            (Ok(source), Ok(target)) => (source, target),
            (Err(error), _) | (_, Err(error)) if matches!(error.kind(), ErrorKind::NotFound { .. }) => {
                return Ok(true);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let now = plan::column_types(&source);
        Ok(now != plan::column_types(&plan.schema) || now != plan::column_types(&target))
    }

    fn connect(&self, number: usize, rows: &RowSource, stop: &StopToken) -> Result<(Connection, Connection)> {
        let source = match rows {
            RowSource::Readers => self.source.reader(stop)?,
            RowSource::Snapshot(connections) => connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop()
                .ok_or_else(|| Error::internal("a snapshot has fewer connections than workers"))?,
        };
        let mut target = self.target.loader(stop)?;
        let mut previous = self.sessions[number].lock().unwrap_or_else(PoisonError::into_inner);
        self.ledger.lock_session(&mut target, SessionKind::Load, number, &mut previous, stop)?;
        Ok((source, target))
    }
}

/// Takes the next chunk of the table that has most left for each worker on it.
fn take_chunk(work: &[Work<'_>], source: &mut Connection) -> Result<Option<(usize, Chunk)>> {
    let mut order: Vec<usize> = (0..work.len()).collect();
    // Cached: other workers change the shares meanwhile, and a sort whose keys change under it panics.
    order.sort_by_cached_key(|&position| {
        let work = &work[position];
        let share = work.copy.plan.schema.data_bytes / (1 + work.active.load(Ordering::Relaxed) as u64);
        std::cmp::Reverse(share)
    });
    for position in order {
        let work = &work[position];
        if work.is_abandoned() {
            continue;
        }
        let mut chunker = work.chunker.lock().unwrap_or_else(PoisonError::into_inner);
        let next = chunker.next(work.copy.plan, source);
        if let Some(chunk) = next.map_err(|error| error.for_table(&work.plan().schema.name))? {
            work.active.fetch_add(1, Ordering::Relaxed);
            return Ok(Some((position, chunk)));
        }
    }
    Ok(None)
}
