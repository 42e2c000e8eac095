//! Changes on their way to the target: several statements in one packet, several source transactions in one commit.
//!
//! The statements of a batch travel in one packet, the checkpoint row and the COMMIT in a second one once the answers were
//! found right, so that a batch costs two round trips. A source transaction that is larger than a packet should be is sent in parts inside the same target transaction, so
//! that memory stays bounded.
use std::sync::Arc;

use crate::data::{Gtid, GtidSet, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::write::InsertForm;
use crate::target::ledger::Ledger;
use crate::wire::{Connection, Done};

use super::tables::TargetTable;

/// Rows that one statement takes at most.
const STATEMENT_ROWS_MAX: u64 = 500;
/// Bytes that one statement grows to, apart from its last row.
const STATEMENT_BYTES_MAX: usize = 256 << 10;

/// What the answer to a statement must be.
struct Expectation {
    table: Arc<TargetTable>,
    gtid: Option<Gtid>,
    kind: StatementKind,
    rows: u64,
    warnings: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StatementKind {
    Insert(InsertForm),
    Update,
    /// Must hit every row, or (idempotent) may.
    Delete {
        strict: bool,
    },
    /// A setting of the session.
    Setting,
}

/// Statements that were not sent yet.
#[derive(Default)]
pub(super) struct Batch {
    sql: Vec<u8>,
    expectations: Vec<Expectation>,
    /// The last statement may take more rows; where it starts.
    open: Option<usize>,
    /// The session's foreign key checks, after the last statement so far.
    cascades: bool,
    /// Something was sent already and its transaction is open.
    begun: bool,
    /// Source transactions that end in this batch.
    done: GtidSet,
    transactions: u64,
    row_events: u64,
}

/// What a commit carried.
#[derive(Default, Debug, PartialEq)]
pub(super) struct Committed {
    pub(super) done: GtidSet,
    pub(super) transactions: u64,
    pub(super) row_events: u64,
}

impl Batch {
    /// Returns how many bytes wait to be sent.
    pub(super) fn byte_count(&self) -> usize {
        self.sql.len()
    }

    /// Returns whether there is nothing to send and nothing to record.
    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty() && !self.begun && self.done.is_empty()
    }

    /// Returns whether there is anything that changes data.
    pub(super) fn has_changes(&self) -> bool {
        !self.sql.is_empty() || self.begun
    }

    /// Returns how many source transactions wait.
    pub(super) fn transaction_count(&self) -> u64 {
        self.transactions
    }

    /// Ends a source transaction.
    pub(super) fn end_transaction(&mut self, gtid: &Gtid) {
        self.done.insert(gtid);
        self.transactions += 1;
    }

    /// Counts a row event.
    pub(super) fn count_row(&mut self) {
        self.row_events += 1;
    }

    /// Makes the next statements change what the target's foreign keys tell them to change, or not. `table`: whose.
    pub(super) fn set_cascades(&mut self, table: &Arc<TargetTable>, on: bool) {
        if self.cascades != on {
            self.begin(table, None, StatementKind::Setting);
            self.sql.extend_from_slice(if on {
                b"SET foreign_key_checks=1"
            } else {
                b"SET foreign_key_checks=0"
            });
            self.cascades = on;
        }
    }

    pub(super) fn insert(
        &mut self,
        table: &Arc<TargetTable>,
        gtid: Option<&Gtid>,
        after: &[Value],
        form: InsertForm,
    ) -> Result<()> {
        let kind = StatementKind::Insert(form);
        if self.continues(table, kind) {
            self.sql.push(b',');
        } else {
            self.begin(table, gtid, kind);
            table.writer.begin_insert(&mut self.sql);
        }
        let warnings = table.writer.push_row(&mut self.sql, after)?;
        self.count(warnings);
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        table: &Arc<TargetTable>,
        gtid: Option<&Gtid>,
        before: &[Value],
        strict: bool,
    ) -> Result<()> {
        let kind = StatementKind::Delete { strict };
        // Without a key, one statement takes one of several equal rows. With cascades, a row that an earlier row's cascade has
        // taken along is not in the log; one statement of several rows could take them in another order.
        let first = table.writer.is_keyless() || self.cascades || !self.continues(table, kind);
        if first {
            self.begin(table, gtid, kind);
            table.writer.begin_delete(&mut self.sql);
        }
        table.writer.push_deleted(&mut self.sql, before, first)?;
        self.count(0);
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        table: &Arc<TargetTable>,
        gtid: Option<&Gtid>,
        before: &[Value],
        after: &[Value],
    ) -> Result<()> {
        self.begin(table, gtid, StatementKind::Update);
        let warnings = table.writer.push_update(&mut self.sql, before, after)?;
        self.count(warnings);
        self.open = None;
        Ok(())
    }

    fn continues(&self, table: &Arc<TargetTable>, kind: StatementKind) -> bool {
        let Some(start) = self.open else { return false };
        self.expectations.last().is_some_and(|last| {
            last.kind == kind
                && Arc::ptr_eq(&last.table, table)
                && last.rows < STATEMENT_ROWS_MAX
                && self.sql.len() - start < STATEMENT_BYTES_MAX
        })
    }

    fn begin(&mut self, table: &Arc<TargetTable>, gtid: Option<&Gtid>, kind: StatementKind) {
        self.end_statement();
        self.open = Some(self.sql.len());
        self.expectations.push(Expectation {
            table: table.clone(),
            gtid: gtid.cloned(),
            kind,
            rows: 0,
            warnings: 0,
        });
    }

    fn count(&mut self, warnings: u64) {
        if let Some(last) = self.expectations.last_mut() {
            last.rows += 1;
            last.warnings += warnings;
        }
    }

    fn end_statement(&mut self) {
        if self.open.take().is_some()
            && let Some(last) = self.expectations.last()
        {
            match last.kind {
                StatementKind::Insert(form) => last.table.writer.end_insert(&mut self.sql, form),
                StatementKind::Delete { .. } => last.table.writer.end_delete(&mut self.sql),
                StatementKind::Update | StatementKind::Setting => {}
            }
        }
        if !self.sql.is_empty() && self.sql.last() != Some(&b';') {
            self.sql.push(b';');
        }
    }

    /// Sends what there is without committing: the source transaction under way is larger than a batch.
    pub(super) fn send_part(&mut self, target: &mut Connection) -> Result<()> {
        self.end_statement();
        self.send(target)
    }

    /// Sends what there is, verifies it, records it, and commits. On an error nothing is known of the batch: read the
    /// checkpoint.
    ///
    /// The COMMIT travels apart from the changes: a change that does not fit its row is no error to the server, so the
    /// answers must be looked at before anything is made durable.
    pub(super) fn commit(
        &mut self,
        target: &mut Connection,
        ledger: &Ledger,
        known: &GtidSet,
    ) -> Result<Committed> {
        self.end_statement();
        if !self.sql.is_empty() {
            self.send(target)?;
        }
        let checkpoint = ledger.checkpoint_statement(0, &known.union(&self.done));
        let end = if self.begun { format!("{checkpoint};COMMIT") } else { checkpoint };
        target.execute(end, "recording what was applied")?;
        self.begun = false;
        Ok(Committed {
            done: std::mem::take(&mut self.done),
            transactions: std::mem::take(&mut self.transactions),
            row_events: std::mem::take(&mut self.row_events),
        })
    }

    /// Sends the statements inside a transaction and compares each answer with what the change must have done.
    fn send(&mut self, target: &mut Connection) -> Result<()> {
        let mut packet = Vec::with_capacity(self.sql.len() + 8);
        let before = usize::from(!self.begun);
        if !self.begun {
            packet.extend_from_slice(b"BEGIN;");
        }
        packet.extend_from_slice(&self.sql);
        if packet.last() == Some(&b';') {
            packet.pop();
        }
        let mut answers = Vec::with_capacity(self.expectations.len() + 1);
        let sent = target.execute_all(&packet, "applying changes", &mut answers);
        let expectations = std::mem::take(&mut self.expectations);
        for (expectation, answer) in expectations.iter().zip(answers.iter().skip(before)) {
            expectation.verify(answer)?;
        }
        if let Err(error) = sent {
            let failed = answers.len().checked_sub(before).and_then(|position| expectations.get(position));
            return Err(explain(error, failed));
        }
        self.sql.clear();
        self.sql.shrink_to(4 << 20);
        self.begun = true;
        Ok(())
    }
}

impl Expectation {
    /// Compares a statement's answer with what the changes must have done.
    fn verify(&self, answer: &Done) -> Result<()> {
        let what = match self.kind {
            StatementKind::Insert(InsertForm::Plain) if answer.affected_rows != self.rows => {
                format!("an insert of {} rows stored {}", self.rows, answer.affected_rows)
            }
            StatementKind::Update if answer.affected_rows != self.rows => {
                format!("an update of {} row found {}", self.rows, answer.affected_rows)
            }
            StatementKind::Delete { strict: true } if answer.affected_rows != self.rows => {
                format!("a delete of {} rows found {}", self.rows, answer.affected_rows)
            }
            StatementKind::Insert(_) | StatementKind::Update
                if u64::from(answer.warnings) > self.warnings =>
            {
                let error = ErrorKind::RowCount {
                    expected: self.rows,
                    actual: answer.affected_rows,
                    warnings: u64::from(answer.warnings),
                    detail: String::new(),
                };
                return Err(self.locate(error.into()));
            }
            _ => return Ok(()),
        };
        Err(self.locate(ErrorKind::Divergence { what }.into()))
    }

    fn locate(&self, error: Error) -> Error {
        let error = error.for_table(&self.table.source);
        match &self.gtid {
            Some(gtid) => error.at(gtid),
            None => error,
        }
    }
}

/// Adds what the failed statement was about. A duplicate key on a plain insert is a divergence (1062).
fn explain(error: Error, failed: Option<&Expectation>) -> Error {
    let Some(failed) = failed else { return error };
    let duplicate = error.server_error().is_some_and(|server| server.code == 1062);
    if duplicate && failed.kind == StatementKind::Insert(InsertForm::Plain) {
        let what = "an insert found a row with the same key".to_owned();
        return failed.locate(ErrorKind::Divergence { what }.into());
    }
    failed.locate(error)
}
