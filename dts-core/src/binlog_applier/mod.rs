//! Stage 3: the changes since.
//!
//! [`BinlogApplier`] reads the source's binary log from a position and makes the target follow, transaction by transaction.
//!
//! # Exactly once
//! The set of applied transactions is written in the same target transaction as their changes. Whatever goes wrong, the
//! applier forgets what it has in memory, reads that set, and asks the source for everything else. Nothing is skipped by
//! counting, and no answer is guessed. Before that set is read, the session of an earlier life must have ended on the target,
//! because it goes on with what it was sent when its client is gone: a lock that lives as long as a session tells.
//!
//! # Two disciplines
//! Until the converge point rows may be newer than the changes that arrive, so changes are applied idempotently
//! ([`ApplyMode::Idempotent`]): what a row is after a change is written, whatever it was. From the converge point on every
//! change must fit exactly ([`ApplyMode::Strict`]): an update or delete that finds no row, or an insert that finds one, means
//! that somebody else writes on the target or that a row was lost, and is reported.
//!
//! Tables that were copied from an exact snapshot are strict from the start: the changes in it are left out, and each of the
//! others must fit. Without a key it changes exactly one row, found by all its bytes.
//!
//! # Foreign keys
//! The source has checked its keys, so changes are applied with checks off. What a key changes by itself (CASCADE, SET NULL) is
//! not in the log before MySQL 9.6: there a parent's UPDATE and DELETE are applied with checks on, so that the target's own key
//! does the same, unless the event says that checks were off on the source.
//!
//! A transaction counts as applied only at its real end (XID, COMMIT, or a statement that commits by itself), never in the
//! middle of it (spirit#1042, #1065).
mod batch;
mod options;
mod queue;
mod schema_change;
mod tables;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use options::BinlogApplyOptions;

use crate::binlog::{Event, EventType, GtidEvent, QueryEvent, RawEvent, RowsEvent, TransactionPayload};
use crate::data::{Gtid, GtidSet, Position, RowImage, TableName};
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::progress::Progress;
use crate::retry::{Attempts, RetryPolicy};
use crate::server;
use crate::source::SourceEndpoint;
use crate::sql::statement::StatementKind;
use crate::sql::write::InsertForm;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::transform::Transform;
use crate::wire::Connection;

use batch::Batch;
use queue::{EventBatch, EventQueue, Received};
use schema_change::{SchemaChange, Verdict};
use tables::{MappedTable, Tables};

/// Bytes of statements that are sent at once.
const BATCH_BYTES: usize = 1 << 20;
/// Source transactions that share a target commit at most.
const BATCH_TRANSACTIONS: u64 = 1000;
/// How long a change waits for company when no more events are there.
const LINGER: Duration = Duration::from_millis(5);
/// How often the source is asked for its position while the stream is idle or the target behind.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// How long to wait for another session that applies for the same task.
const OTHER_APPLIER_PATIENCE: Duration = Duration::from_secs(60);
/// Largest content of a compressed transaction that is accepted: the server's limit of one event.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// How changes are applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApplyMode {
    /// Rows may be newer than the changes: what a row is after a change is written, whatever it was.
    Idempotent,
    /// Every change must fit the row that it finds.
    Strict,
}

/// When to end.
#[derive(Clone, Debug, PartialEq)]
pub enum ApplyUntil {
    /// As soon as all these transactions are durable on the target.
    Applied(GtidSet),
    /// Only when asked to.
    Stopped,
}

/// Makes the target follow the source's binary log.
pub struct BinlogApplier<'a> {
    source: &'a SourceEndpoint,
    target: &'a TargetEndpoint,
    ledger: &'a Ledger,
    transform: &'a Transform,
    mode: ApplyMode,
}

impl<'a> BinlogApplier<'a> {
    /// Joins the two ends, the ledger that holds the position, and the selection.
    pub fn new(
        source: &'a SourceEndpoint,
        target: &'a TargetEndpoint,
        ledger: &'a Ledger,
        transform: &'a Transform,
        mode: ApplyMode,
    ) -> Self {
        BinlogApplier { source, target, ledger, transform, mode }
    }

    /// Applies until `until`, from where the ledger says. Reconnects when a connection breaks. Returns what is applied.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when asked to stop: everything received whole is durable then, or is read again by the next
    /// run. [`ErrorKind::Divergence`] in strict mode; [`ErrorKind::BinlogEvent`] and [`ErrorKind::SchemaChange`] with the
    /// position for what cannot be carried; [`ErrorKind::BinlogPurged`], [`ErrorKind::SourceDiverged`].
    pub fn run(&self, until: &ApplyUntil, stop: &StopToken, progress: &Progress) -> Result<GtidSet> {
        let mut attempts = Attempts::new(RetryPolicy::default());
        let mut previous = None;
        loop {
            let mut applied_any = false;
            match self.run_once(until, stop, progress, &mut applied_any, &mut previous) {
                Ok(applied) => return Ok(applied),
                Err(error) => {
                    if applied_any {
                        attempts.succeeded();
                    }
                    attempts.wait_after(error.in_stage(Stage::Apply), stop, progress)?;
                }
            }
        }
    }

    /// Waits until no other session applies for this task. One that lost its client may still be at work on what it was sent;
    /// what it commits must be in the checkpoint that is read next. `previous`: our own last one, which may be ended.
    fn become_only(&self, target: &mut Connection, previous: Option<u64>, stop: &StopToken) -> Result<()> {
        let begun = Instant::now();
        while !self.ledger.lock_apply(target, 1)? {
            stop.check()?;
            let Some(holder) = self.ledger.apply_lock_holder(target)? else { continue };
            if previous == Some(holder) {
                // It may be idle, behind a broken network, and would stay so for hours. Gone meanwhile is as good.
                match target.execute(format!("KILL {holder}"), "ending our last session") {
                    Err(error) if error.server_error().is_none() => return Err(error),
                    _ => {}
                }
            } else if begun.elapsed() > OTHER_APPLIER_PATIENCE {
                return Err(Error::from(ErrorKind::IllegalState {
                    action: "apply".into(),
                    state: format!("applied by another session, number {holder} on the target"),
                    allowed: "waiting until it ends".into(),
                })
                .on(Side::Target)
                .with_hint(format!(
                    "Another process runs this task, or the network to one broke: end that process, then KILL {holder} on \
                     the target."
                )));
            }
        }
        Ok(())
    }

    /// One life of the two connections.
    fn run_once(
        &self,
        until: &ApplyUntil,
        stop: &StopToken,
        progress: &Progress,
        applied_any: &mut bool,
        previous: &mut Option<u64>,
    ) -> Result<GtidSet> {
        let mut target = self.target.writer(stop)?;
        self.become_only(&mut target, *previous, stop)?;
        *previous = Some(u64::from(target.connection_id()));
        let applied = self.ledger.checkpoint(&mut target)?.applied;
        progress.set_applied_position(Position::Gtid(applied.clone()));
        // The receiving thread ends with this life.
        let life = stop.child();
        std::thread::scope(|scope| {
            let run = || -> Result<GtidSet> {
                let position = Position::Gtid(applied.clone());
                let queue = EventQueue::start(scope, self.source, &position, life.clone(), progress.clone())?;
                let mut session = Session::new(self, target, applied.clone(), stop, progress)?;
                let ended = session.follow(&queue, until);
                *applied_any = session.commits > 0;
                ended.map(|()| session.applied)
            };
            let ended = run();
            life.stop();
            ended
        })
    }
}

/// One life of the applier: what is known between two reconnects.
struct Session<'a> {
    applier: &'a BinlogApplier<'a>,
    stop: &'a StopToken,
    progress: &'a Progress,
    target: Connection,
    source: Connection,
    tables: Tables<'a>,
    batch: Batch,
    /// Durable on the target.
    applied: GtidSet,
    commits: u64,
    /// The source transaction under way.
    group: Option<Group>,
    /// When the oldest change of the batch came.
    batch_since: Option<Instant>,
    lag_asked: Option<Instant>,
    /// Tables whose copy is not consistent yet.
    copied: HashSet<TableName>,
    before: RowImage,
    after: RowImage,
}

/// A source transaction under way.
struct Group {
    gtid: Gtid,
    /// Between BEGIN and its end.
    open: bool,
    committed_at: SystemTime,
}

impl<'a> Session<'a> {
    fn new(
        applier: &'a BinlogApplier<'a>,
        target: Connection,
        applied: GtidSet,
        stop: &'a StopToken,
        progress: &'a Progress,
    ) -> Result<Self> {
        let rows = applier.ledger.tables(&mut applier.target.control(stop)?)?;
        let snapshots: HashMap<TableName, GtidSet> = rows
            .iter()
            .filter_map(|row| Some((row.source.clone(), row.snapshot_position.as_ref()?.gtid_set()?.clone())))
            .collect();
        let copied = match applier.mode {
            ApplyMode::Strict => HashSet::new(),
            ApplyMode::Idempotent => rows.into_iter().map(|row| row.source).collect(),
        };
        Ok(Session {
            copied,
            applier,
            stop,
            progress,
            target,
            source: applier.source.control(stop)?,
            tables: Tables::new(
                applier.target,
                applier.transform,
                snapshots,
                applier.source.facts().logs_cascades(),
            ),
            batch: Batch::default(),
            applied,
            commits: 0,
            group: None,
            batch_since: None,
            lag_asked: None,
            before: RowImage::new(),
            after: RowImage::new(),
        })
    }

    fn follow(&mut self, queue: &EventQueue, until: &ApplyUntil) -> Result<()> {
        loop {
            if let ApplyUntil::Applied(wanted) = until
                && self.applied.contains_set(wanted)
            {
                return Ok(());
            }
            self.stop.check()?;
            let patience = if self.batch.is_empty() { LAG_INTERVAL / 4 } else { LINGER };
            match queue.receive(patience)? {
                Received::Batch(batch) => self.take_all(&batch)?,
                Received::Nothing => self.commit_whole()?,
            }
            self.watch_lag()?;
        }
    }

    fn take_all(&mut self, batch: &EventBatch) -> Result<()> {
        for event in batch.events() {
            self.take(&event).map_err(|error| match &self.group {
                Some(group) => error.at(&group.gtid),
                None => error,
            })?;
            // Under a steady trickle the queue is never idle: time alone must send the batch, too.
            if self.batch_since.is_some_and(|since| since.elapsed() >= Duration::from_millis(100)) {
                self.commit_whole()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, raw: &RawEvent<'_>) -> Result<()> {
        match Event::parse(raw)? {
            Event::Gtid(event) => self.begin_group(&event, raw.header.timestamp),
            Event::Query(query) => self.query(&query, raw),
            Event::TableMap(map) => self.tables.map(map, self.stop),
            Event::Rows(rows) => self.rows(&rows),
            Event::Xid(_) => self.end_group(),
            Event::TransactionPayload(payload) => self.payload(&payload),
            Event::Rotate(_) => {
                // Table numbers are given anew by a server that starts a new file.
                self.tables.forget();
                Ok(())
            }
            Event::XaPrepare(_) => Err(ErrorKind::BinlogEvent { what: "an XA transaction".into() }.into()),
            Event::MariadbGtid(_) => Err(ErrorKind::BinlogEvent {
                what: "a transaction of MariaDB, which dts does not read yet".into(),
            }
            .into()),
            Event::FormatDescription(_)
            | Event::Heartbeat(_)
            | Event::RowsQuery(_)
            | Event::PreviousGtids(_) => Ok(()),
            Event::Other(event_type) => other_event(event_type, raw),
        }
    }

    fn payload(&mut self, payload: &TransactionPayload<'_>) -> Result<()> {
        let mut events = payload.events(PAYLOAD_BYTES_MAX)?;
        while let Some(event) = events.next_event()? {
            self.take(&event)?;
        }
        Ok(())
    }

    fn begin_group(&mut self, event: &GtidEvent, timestamp: u32) -> Result<()> {
        if event.is_anonymous() {
            return Err(ErrorKind::BinlogEvent {
                what: "a transaction without a GTID (gtid_mode was not ON)".into(),
            }
            .into());
        }
        if self.group.as_ref().is_some_and(|group| group.open) {
            return Err(
                ErrorKind::BinlogDamaged { what: "a transaction begins inside another".into() }.into()
            );
        }
        let committed_at = match event.original_commit_timestamp {
            Some(microseconds) => UNIX_EPOCH + Duration::from_micros(microseconds),
            None => UNIX_EPOCH + Duration::from_secs(u64::from(timestamp)),
        };
        let gtid = Gtid { uuid: event.source_id, tag: event.tag.as_deref().map(Into::into), gno: event.gno };
        self.group = Some(Group { gtid, open: false, committed_at });
        Ok(())
    }

    fn query(&mut self, query: &QueryEvent<'_>, raw: &RawEvent<'_>) -> Result<()> {
        let change = SchemaChange::read(query)?;
        match &change.statement.kind {
            StatementKind::Begin => {
                if let Some(group) = &mut self.group {
                    group.open = true;
                }
                Ok(())
            }
            StatementKind::Commit => self.end_group(),
            StatementKind::Savepoint { .. }
            | StatementKind::ReleaseSavepoint { .. }
            | StatementKind::Empty => Ok(()),
            StatementKind::Rollback
            | StatementKind::RollbackTo { .. }
            | StatementKind::XaStart { .. }
            | StatementKind::XaEnd { .. }
            | StatementKind::XaPrepare { .. }
            | StatementKind::XaCommit { .. }
            | StatementKind::XaRollback { .. } => Err(ErrorKind::BinlogEvent {
                what: "a rollback inside a transaction, or an XA transaction".into(),
            }
            .into()),
            _ => self.schema_change(&change, query, raw),
        }
    }

    fn schema_change(
        &mut self,
        change: &SchemaChange,
        query: &QueryEvent<'_>,
        raw: &RawEvent<'_>,
    ) -> Result<()> {
        if let Verdict::Run { sql, database } = change.decide(self.applier.transform, &self.copied)? {
            if self.group.as_ref().is_some_and(|group| group.open) {
                return Err(change.refused("it stands inside a transaction with changes of rows"));
            }
            // A barrier: everything before is durable, nothing after has begun.
            self.commit()?;
            schema_change::run(self.applier.target, query, raw.header.timestamp, &sql, &database, self.stop)?;
            self.tables.forget();
            if !self.group.as_ref().is_some_and(|group| group.open) {
                self.end_group()?;
            }
            return self.commit();
        }
        // A statement outside of BEGIN commits by itself.
        if self.group.as_ref().is_some_and(|group| !group.open) { self.end_group() } else { Ok(()) }
    }

    fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<()> {
        let Some(MappedTable { table, decoder }) = self.tables.mapped(rows.table_id)? else { return Ok(()) };
        let (mut before, mut after) = (std::mem::take(&mut self.before), std::mem::take(&mut self.after));
        let mut images = rows.rows(&decoder).map_err(|error| error.for_table(&table.source))?;
        let cascades = table.cascades && rows.flags & RowsEvent::NO_FOREIGN_KEY_CHECKS == 0;
        while images.read_into(&mut before, &mut after).map_err(|error| error.for_table(&table.source))? {
            self.batch.set_cascades(&table, cascades && !before.is_empty());
            self.row(&table, &before, &after).map_err(|error| error.for_table(&table.source))?;
        }
        (self.before, self.after) = (before, after);
        Ok(())
    }

    fn row(
        &mut self,
        table: &std::sync::Arc<tables::TargetTable>,
        before: &RowImage,
        after: &RowImage,
    ) -> Result<()> {
        let gtid = self.group.as_ref().map(|group| &group.gtid);
        if gtid.zip(table.snapshot.as_ref()).is_some_and(|(gtid, snapshot)| snapshot.contains(gtid)) {
            return Ok(());
        }
        // Without a key nothing is idempotent, and with a snapshot nothing needs to be: the rows are exactly of its position.
        let is_exact = table.writer.is_keyless() || table.snapshot.is_some();
        let mode = if is_exact { ApplyMode::Strict } else { self.applier.mode };
        let batch = &mut self.batch;
        match (mode, before.is_empty(), after.is_empty()) {
            (ApplyMode::Strict, true, _) => batch.insert(table, gtid, after, InsertForm::Plain)?,
            (ApplyMode::Strict, false, false) => batch.update(table, gtid, before, after)?,
            (ApplyMode::Strict, false, true) => batch.delete(table, gtid, before, true)?,
            (ApplyMode::Idempotent, false, true) => batch.delete(table, gtid, before, false)?,
            (ApplyMode::Idempotent, no_before, false) => {
                if !no_before && table.writer.changes_key(before, after) {
                    batch.delete(table, gtid, before, false)?;
                }
                if table.has_other_unique {
                    // An upsert could overwrite the row that the other index finds: make place by key alone.
                    batch.delete(table, gtid, after, false)?;
                    batch.insert(table, gtid, after, InsertForm::Plain)?;
                } else {
                    batch.insert(table, gtid, after, InsertForm::Upsert)?;
                }
            }
            (ApplyMode::Idempotent, true, true) => {}
        }
        batch.count_row();
        self.batch_since.get_or_insert_with(Instant::now);
        if self.batch.byte_count() >= BATCH_BYTES {
            self.batch.send_part(&mut self.target)?;
        }
        Ok(())
    }

    /// The source transaction under way is complete.
    fn end_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else {
            return Err(
                ErrorKind::BinlogDamaged { what: "a transaction ends that did not begin".into() }.into()
            );
        };
        self.batch.end_transaction(&group.gtid);
        self.batch_since.get_or_insert_with(Instant::now);
        if self.batch.has_changes() && self.batch.transaction_count() >= BATCH_TRANSACTIONS
            || self.batch.byte_count() >= BATCH_BYTES / 2
        {
            self.commit()?;
        }
        self.progress.set_lag(Some(SystemTime::now().duration_since(group.committed_at).unwrap_or_default()));
        Ok(())
    }

    /// Commits, unless a source transaction is under way.
    fn commit_whole(&mut self) -> Result<()> {
        if self.group.is_none() { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let committed = self.batch.commit(&mut self.target, self.applier.ledger, &self.applied)?;
        self.applied.merge(&committed.done);
        self.commits += 1;
        self.batch_since = None;
        self.progress.add_applied(committed.transactions, committed.row_events);
        self.progress.set_applied_position(Position::Gtid(self.applied.clone()));
        Ok(())
    }

    /// Asks the source now and then where it is: an idle stream must show no lag, and a busy one the true distance.
    fn watch_lag(&mut self) -> Result<()> {
        if self.lag_asked.is_some_and(|asked| asked.elapsed() < LAG_INTERVAL) {
            return Ok(());
        }
        self.lag_asked = Some(Instant::now());
        let executed = server::gtid_executed(&mut self.source)?;
        let in_sync = self.applied.contains_set(&executed);
        self.progress.set_source_position(Position::Gtid(executed));
        self.progress.set_in_sync(in_sync && self.applier.mode == ApplyMode::Strict);
        if in_sync {
            self.progress.set_lag(Some(Duration::ZERO));
        }
        Ok(())
    }
}

/// Decides about an event that holds nothing for us: one that nobody knows may hold changes.
fn other_event(event_type: EventType, raw: &RawEvent<'_>) -> Result<()> {
    match event_type {
        EventType::Stop
        | EventType::Intvar
        | EventType::Rand
        | EventType::UserVar
        | EventType::TransactionContext
        | EventType::ViewChange => Ok(()),
        _ if raw.header.is_ignorable() => Ok(()),
        EventType::Incident => Err(ErrorKind::BinlogEvent {
            what: "the source reports that changes are missing from its binary log (incident event)".into(),
        }
        .into()),
        other => {
            Err(ErrorKind::BinlogEvent { what: format!("an event of type {} ({other:?})", other.code()) }
                .into())
        }
    }
}
