//! From events to transactions: what belongs together, what is selected, what is decoded.
//!
//! A transaction counts as ended only at its real end (XID, COMMIT, or a statement that commits by itself), never in the
//! middle of it (spirit#1042, #1065). A large one is handed over in parts, so that memory stays bounded.
//!
//! # XA
//! XA PREPARE is logged under a GTID of its own, with the row changes; XA COMMIT or XA ROLLBACK follow later under another one,
//! perhaps of another session, after a restart or in another file. The source shows the changes only then, and so do we: the
//! events of a prepared transaction are held back, and decoded and handed over in the place of their XA COMMIT. Both GTIDs
//! become applied together. So the checkpoint of a run that ends in between does not hold the prepared one's, and the source
//! sends it again. An exact snapshot that was taken in between does not show the changes either: what counts is whether it
//! includes the XA COMMIT.
mod circle;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::binlog::{Event, EventType, GtidEvent, QueryEvent, RawEvent, RowsEvent, TransactionPayload};
use crate::data::{GtidSet, RowImage};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::sql::statement::StatementKind;
use crate::stop::StopToken;

use self::circle::Deleted;
use super::change::{Change, Span, TransactionPart};
use super::loop_guard::LoopGuard;
use super::prepared::{HeldBack, Prepared};
use super::schema_change::{LoggedChange, SchemaChange};
use super::tables::{MappedTable, Tables, TargetTable};

/// Bytes of decoded changes that are handed over at once.
const PART_BYTES: usize = 1 << 20;
/// Largest content of a compressed transaction that is accepted: the server's limit of one event.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// What was done with a statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It was left out.
    Skipped,
    /// It was run and recorded: definitions of tables may have changed.
    Run,
    /// It was run, and the changes of its transaction follow.
    RunInside,
}

/// Takes what comes out of the log.
pub(super) trait Outlet {
    fn part(&mut self, part: TransactionPart) -> Result<()>;
    /// `committed_at`: when the source committed it.
    fn statement(&mut self, statement: &LoggedChange<'_>, committed_at: SystemTime) -> Result<Taken>;
}

/// Puts transactions together.
pub(super) struct Intake<'a> {
    tables: Tables<'a>,
    stop: &'a StopToken,
    guard: LoopGuard,
    group: Option<Group>,
    /// XA transactions that are prepared and not ended.
    prepared: Prepared,
    /// The log file of the source and how far it was taken.
    file: String,
    offset: u64,
    before: RowImage,
    after: RowImage,
}

/// A source transaction under way.
struct Group {
    span: Arc<Span>,
    /// Between BEGIN and its end.
    open: bool,
    committed_at: SystemTime,
    changes: Vec<Change>,
    bytes: usize,
    /// How many changes were handed over in parts.
    handed_over: usize,
    /// A part was handed over.
    begun: bool,
    /// It was made by our own channel in the opposite direction: it is left out.
    is_ours: bool,
    /// Savepoints with the number of changes before them.
    savepoints: Vec<(String, usize)>,
    deleted: Deleted,
    /// The events so far of an XA transaction.
    held_back: Option<HeldBack>,
    /// What the transaction was prepared as.
    prepared: Option<Arc<Span>>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(tables: Tables<'a>, guard: LoopGuard, stop: &'a StopToken) -> Self {
        Intake {
            tables,
            stop,
            guard,
            group: None,
            prepared: Prepared::default(),
            file: String::new(),
            offset: 0,
            before: RowImage::new(),
            after: RowImage::new(),
        }
    }

    /// Returns how many bytes of these log files were not taken yet; `None` before the first event.
    pub(super) fn bytes_behind(&self, files: &[(String, u64)]) -> Option<u64> {
        let place = files.iter().position(|(file, _)| *file == self.file)?;
        let all: u64 = files[place..].iter().map(|(_, size)| size).sum();
        Some(all.saturating_sub(self.offset))
    }

    /// Takes an event and hands over what is complete by it.
    ///
    /// # Errors
    /// What cannot be carried, with the transaction's position; what the outlet returned.
    pub(super) fn take(&mut self, raw: &RawEvent<'_>, out: &mut dyn Outlet) -> Result<()> {
        if raw.header.log_pos > 0 {
            self.offset = offset_after(self.offset, raw.header.log_pos);
        }
        self.event(raw, out).map_err(|error| match &self.group {
            // What the target answered is about changes that were handed over earlier.
            Some(group) if error.position().is_none() && error.side() != Some(Side::Target) => {
                error.at(&group.span)
            }
            _ => error,
        })
    }

    /// Returns the transactions that are prepared and neither committed nor rolled back: nothing of them is to be seen.
    pub(super) fn prepared(&self) -> GtidSet {
        self.prepared.spans()
    }

    fn event(&mut self, raw: &RawEvent<'_>, out: &mut dyn Outlet) -> Result<()> {
        if let Some(group) = &mut self.group
            && let Some(held_back) = &mut group.held_back
            && held_back.takes(raw)?
        {
            return self.prepared.hold(held_back, raw);
        }
        // Before every statement there is one: it is not taken apart again when it is known.
        if raw.header.event_type == EventType::TableMap {
            self.guard.map(raw.body)?;
            return self.tables.map(raw.body);
        }
        match Event::parse(raw)? {
            Event::Gtid(event) => self.begin_group(&event, raw.header.timestamp),
            Event::Query(query) => self.query(&query, raw, out),
            Event::Rows(rows) => self.rows(&rows, out),
            Event::Xid(_) => self.end_group(out),
            Event::TransactionPayload(payload) => self.payload(&payload, out),
            Event::Rotate(rotate) => {
                self.tables.forget_numbers();
                self.guard.forget_numbers();
                (self.file, self.offset) = (rotate.file, rotate.position);
                Ok(())
            }
            Event::XaPrepare(event) => self.xa_prepare(event.one_phase, out),
            Event::MariadbGtid(_) => Err(ErrorKind::BinlogEvent {
                what: "a transaction of MariaDB, which dts does not read yet".into(),
            }
            .into()),
            Event::FormatDescription(_)
            | Event::Heartbeat(_)
            | Event::RowsQuery(_)
            | Event::TableMap(_)
            | Event::PreviousGtids(_) => Ok(()),
            Event::Other(event_type) => other_event(event_type, raw),
        }
    }

    fn payload(&mut self, payload: &TransactionPayload<'_>, out: &mut dyn Outlet) -> Result<()> {
        let mut events = payload.events(PAYLOAD_BYTES_MAX)?;
        while let Some(event) = events.next_event()? {
            self.event(&event, out)?;
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
        if self.group.is_some() {
            return Err(
                ErrorKind::BinlogDamaged { what: "a transaction begins inside another".into() }.into()
            );
        }
        let committed_at = match event.original_commit_timestamp {
            Some(microseconds) => UNIX_EPOCH + Duration::from_micros(microseconds),
            None => UNIX_EPOCH + Duration::from_secs(u64::from(timestamp)),
        };
        self.group = Some(Group {
            span: Arc::new(event.span()),
            open: false,
            committed_at,
            changes: Vec::new(),
            bytes: 0,
            handed_over: 0,
            begun: false,
            is_ours: false,
            savepoints: Vec::new(),
            deleted: Deleted::default(),
            held_back: None,
            prepared: None,
        });
        Ok(())
    }

    fn query(&mut self, query: &QueryEvent<'_>, raw: &RawEvent<'_>, out: &mut dyn Outlet) -> Result<()> {
        let change = SchemaChange::read(query);
        match &change.statement.kind {
            StatementKind::Begin => {
                if let Some(group) = &mut self.group {
                    group.open = true;
                }
                Ok(())
            }
            StatementKind::Commit => self.end_group(out),
            // A comment alone commits by itself, as every statement outside of BEGIN.
            StatementKind::Empty if self.group.as_ref().is_some_and(|group| !group.open) => {
                self.end_group(out)
            }
            StatementKind::Empty | StatementKind::XaEnd { .. } => Ok(()),
            StatementKind::Savepoint { name } => {
                self.group_under_way()?.set_savepoint(name);
                Ok(())
            }
            StatementKind::ReleaseSavepoint { name } => {
                self.group_under_way()?.savepoints.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
                Ok(())
            }
            StatementKind::RollbackTo { name } => self.group_under_way()?.roll_back_to(name),
            StatementKind::Rollback => {
                self.group_under_way()?.truncate(0)?;
                self.end_group(out)
            }
            StatementKind::XaStart { xid } => {
                let group = self.group_under_way()?;
                group.open = true;
                group.held_back = Some(HeldBack::new(xid));
                Ok(())
            }
            StatementKind::XaCommit { xid, .. } => {
                let held_back = self.prepared.end(xid);
                let Some((span, held_back)) = held_back else {
                    return Err(Error::from(ErrorKind::BinlogEvent {
                        what: "the commit of an XA transaction that was prepared before the task began".into(),
                    })
                    .with_hint(
                        "Its changes cannot be had any more: start a new task when XA RECOVER lists nothing on the source.",
                    ));
                };
                self.group_under_way()?.prepared = Some(span);
                self.replay(&held_back, out)
            }
            StatementKind::XaRollback { xid } => {
                // One that is not known has left no trace on the target either.
                let held_back = self.prepared.end(xid);
                self.group_under_way()?.prepared = held_back.map(|(span, _)| span);
                self.end_group(out)
            }
            StatementKind::XaPrepare { .. } => {
                Err(ErrorKind::BinlogEvent { what: "an XA PREPARE in an unknown form".into() }.into())
            }
            _ => self.statement(&change, query, raw.header.timestamp, out),
        }
    }

    fn group_under_way(&mut self) -> Result<&mut Group> {
        self.group.as_mut().ok_or_else(|| {
            ErrorKind::BinlogDamaged { what: "a part of a transaction outside of any".into() }.into()
        })
    }

    /// An XA transaction is prepared: it is held back until it ends, or it ends here.
    fn xa_prepare(&mut self, one_phase: bool, out: &mut dyn Outlet) -> Result<()> {
        let group = self.group_under_way()?;
        let Some(held_back) = group.held_back.take() else {
            return Err(
                ErrorKind::BinlogDamaged { what: "an XA transaction that did not begin".into() }.into()
            );
        };
        if one_phase {
            self.prepared.forget_bytes(&held_back);
            return self.replay(&held_back, out);
        }
        let span = group.span.clone();
        self.group = None;
        self.prepared.add(span, held_back)
    }

    /// Takes the events of an XA transaction that is committed by the group under way.
    fn replay(&mut self, held_back: &HeldBack, out: &mut dyn Outlet) -> Result<()> {
        self.group_under_way()?.open = true;
        for event in held_back.events() {
            self.event(&event, out)?;
        }
        self.end_group(out)
    }

    fn statement(
        &mut self,
        change: &SchemaChange,
        query: &QueryEvent<'_>,
        timestamp: u32,
        out: &mut dyn Outlet,
    ) -> Result<()> {
        let group = self.group.as_ref();
        let is_inside = group.is_some_and(|group| group.open);
        let statement =
            LoggedChange { change, query, timestamp, span: group.map(|group| &*group.span), is_inside };
        let committed_at = group.map_or(UNIX_EPOCH, |group| group.committed_at);
        match out.statement(&statement, committed_at)? {
            Taken::Run => {
                self.tables.forget();
                self.group = None;
                Ok(())
            }
            Taken::RunInside => {
                self.tables.forget();
                Ok(())
            }
            // A statement outside of BEGIN commits by itself.
            Taken::Skipped if group.is_some() && !is_inside => self.end_group(out),
            Taken::Skipped => Ok(()),
        }
    }

    fn rows(&mut self, rows: &RowsEvent<'_>, out: &mut dyn Outlet) -> Result<()> {
        let Some(group) = &mut self.group else {
            return Err(
                ErrorKind::BinlogDamaged { what: "row changes outside of a transaction".into() }.into()
            );
        };
        if !group.is_ours && self.guard.marks(rows)? {
            group.leave_out()?;
        }
        if group.is_ours {
            return Ok(());
        }
        let Some(MappedTable { table, decoder }) =
            self.tables.mapped(rows.table_id, &group.span, self.stop)?
        else {
            return Ok(());
        };
        let mut images = rows.rows(&decoder).map_err(|error| error.for_table(&table.source))?;
        let acts = table.cascades.is_some() && rows.flags & RowsEvent::NO_FOREIGN_KEY_CHECKS == 0;
        let (before, after) = (&mut self.before, &mut self.after);
        while images.read_into(before, after).map_err(|error| error.for_table(&table.source))? {
            if group.deleted.has(rows.flags, &table, (before, after), &group.changes) {
                continue;
            }
            let change = Change {
                table: table.clone(),
                cascades: acts && !before.is_empty(),
                before: std::mem::take(before),
                after: std::mem::take(after),
            };
            group.bytes += change.byte_count();
            group.changes.push(change);
            if group.bytes >= PART_BYTES {
                out.part(group.part(false))?;
            }
        }
        if rows.flags & RowsEvent::STATEMENT_END != 0 {
            group.deleted.forget();
        }
        Ok(())
    }

    /// The source transaction under way is complete.
    fn end_group(&mut self, out: &mut dyn Outlet) -> Result<()> {
        let Some(group) = &mut self.group else {
            return Err(
                ErrorKind::BinlogDamaged { what: "a transaction ends that did not begin".into() }.into()
            );
        };
        out.part(group.part(true))?;
        self.group = None;
        Ok(())
    }
}

impl Group {
    /// It is one of ours: nothing of it is carried back.
    fn leave_out(&mut self) -> Result<()> {
        if self.begun {
            return Err(Error::from(ErrorKind::BinlogEvent {
                what: "a transaction that dts itself had made, so large that its beginning was taken for an application's".into(),
            })
            .with_hint("Nothing of it was carried back. It must not be in this stretch of the log at all: report it."));
        }
        self.is_ours = true;
        self.changes.clear();
        self.bytes = 0;
        Ok(())
    }

    fn set_savepoint(&mut self, name: &str) {
        self.savepoints.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.savepoints.push((name.to_owned(), self.handed_over + self.changes.len()));
    }

    fn roll_back_to(&mut self, name: &str) -> Result<()> {
        let place = self.savepoints.iter().position(|(other, _)| other.eq_ignore_ascii_case(name));
        let Some(place) = place else {
            return Err(ErrorKind::BinlogDamaged {
                what: "a rollback to a savepoint that was not set".into(),
            }
            .into());
        };
        self.savepoints.truncate(place + 1);
        self.truncate(self.savepoints[place].1)
    }

    /// Takes back all changes but the first `kept`. The log holds them only when other changes, which cannot be taken back,
    /// were made with them.
    fn truncate(&mut self, kept: usize) -> Result<()> {
        let refused = |why: &str| {
            Err(ErrorKind::BinlogEvent { what: format!("a rollback inside a transaction {why}") }.into())
        };
        let Some(kept) = kept.checked_sub(self.handed_over) else {
            return refused("that is so large that its beginning was applied already");
        };
        let Some(taken_back) = self.changes.get(kept..) else { return Ok(()) };
        if taken_back.iter().any(|change| change.table.writer.schema().engine != "InnoDB") {
            return refused("with changes of tables that take part in no transaction");
        }
        self.deleted.forget();
        self.bytes -= taken_back.iter().map(Change::byte_count).sum::<usize>().min(self.bytes);
        self.changes.truncate(kept);
        Ok(())
    }

    fn part(&mut self, last: bool) -> TransactionPart {
        self.handed_over += self.changes.len();
        self.deleted.forget();
        TransactionPart {
            span: self.span.clone(),
            prepared: self.prepared.clone(),
            committed_at: self.committed_at,
            changes: std::mem::take(&mut self.changes),
            bytes: std::mem::take(&mut self.bytes),
            first: !std::mem::replace(&mut self.begun, true),
            last,
        }
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
        EventType::Incident => Err(Error::from(ErrorKind::BinlogEvent {
            what: "the source reports that changes are missing from its binary log (incident event)".into(),
        })),
        other => {
            Err(ErrorKind::BinlogEvent { what: format!("an event of type {} ({other:?})", other.code()) }
                .into())
        }
    }
}

/// Returns the offset in the file that the low 32 bits in an event's header stand for (gh-ost#1367: they wrap at 4 GiB).
///
/// No event is longer than 1 GiB, so one that seems to go back by more than 3 GiB has wrapped. One that goes back by less does
/// so: a stream that broke off begins its transaction anew.
fn offset_after(before: u64, log_pos: u32) -> u64 {
    const WRAP: u64 = 1 << 32;
    let near = (before & !(WRAP - 1)) | u64::from(log_pos);
    if near + (3 << 30) < before { near + WRAP } else { near }
}

#[cfg(test)]
mod tests;
