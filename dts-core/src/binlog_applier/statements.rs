//! Changes as statements: several rows in one statement, several statements in one packet, and what each must answer.
use std::sync::Arc;

use crate::data::Value;
use crate::error::{Error, ErrorKind, Result, Side};
use crate::sql::write::InsertForm;
use crate::wire::{Connection, Done};

use super::ApplyMode;
use super::change::{Change, Span};
use super::tables::TargetTable;

/// Rows that one statement takes at most.
const STATEMENT_ROWS_MAX: u64 = 500;
/// Bytes that one statement grows to, apart from its last row, which is no larger. A row of more has a statement of its own, so
/// that whatever fits into the target's `max_allowed_packet` (1 MiB and up) by itself can be sent (spirit PR 1036).
const STATEMENT_BYTES_MAX: usize = 256 << 10;
/// Bytes of statements from which on they are sent.
pub(super) const PACKET_BYTES: usize = 1 << 20;
/// What a packet holds besides the statements.
const PACKET_EXTRA: usize = 64;

/// What the answer to a statement must be.
struct Expectation {
    table: Arc<TargetTable>,
    /// The transaction of the statement's first change.
    span: Arc<Span>,
    kind: StatementKind,
    rows: u64,
    warnings: u64,
    /// Where its text ends.
    end: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StatementKind {
    Insert(InsertForm),
    /// An upsert of rows that are all there, and all become something else.
    Overwrite,
    Update,
    Delete(Hits),
}

/// How many of its rows a DELETE must find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hits {
    /// Each of them.
    Every,
    /// None: they are about to be inserted.
    None,
    /// As many as there are.
    Any,
}

/// Statements that were not sent yet.
#[derive(Default)]
pub(super) struct Statements {
    sql: Vec<u8>,
    expectations: Vec<Expectation>,
    /// The last statement may take more rows; where it starts.
    open: Option<usize>,
}

impl Statements {
    /// Returns how many bytes wait to be sent.
    pub(super) fn byte_count(&self) -> usize {
        self.sql.len()
    }

    /// Returns whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    /// Adds a row as it is after a change; `before` is empty for an insert.
    pub(super) fn insert(
        &mut self,
        table: &Arc<TargetTable>,
        span: &Arc<Span>,
        before: &[Value],
        after: &[Value],
        form: InsertForm,
    ) -> Result<()> {
        self.insert_as(table, span, (before, after), StatementKind::Insert(form))
    }

    /// Adds a row that is there and becomes something else; for tables without another UNIQUE index.
    pub(super) fn overwrite(
        &mut self,
        table: &Arc<TargetTable>,
        span: &Arc<Span>,
        before: &[Value],
        after: &[Value],
    ) -> Result<()> {
        self.insert_as(table, span, (before, after), StatementKind::Overwrite)
    }

    fn insert_as(
        &mut self,
        table: &Arc<TargetTable>,
        span: &Arc<Span>,
        (before, after): (&[Value], &[Value]),
        kind: StatementKind,
    ) -> Result<()> {
        if self.continues(table, kind, after) {
            self.sql.push(b',');
        } else {
            self.begin(table, span, kind);
            table.writer.begin_insert(&mut self.sql);
        }
        let warnings = table.writer.push_row(&mut self.sql, before, after)?;
        self.count(warnings);
        Ok(())
    }

    pub(super) fn delete(
        &mut self,
        table: &Arc<TargetTable>,
        span: &Arc<Span>,
        before: &[Value],
        hits: Hits,
    ) -> Result<()> {
        let kind = StatementKind::Delete(hits);
        // Without a key, one statement takes one of several equal rows.
        let first = table.writer.is_keyless() || !self.continues(table, kind, before);
        if first {
            self.begin(table, span, kind);
            table.writer.begin_delete(&mut self.sql);
        }
        table.writer.push_deleted(&mut self.sql, before, first)?;
        self.count(0);
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        table: &Arc<TargetTable>,
        span: &Arc<Span>,
        before: &[Value],
        after: &[Value],
    ) -> Result<()> {
        self.begin(table, span, StatementKind::Update);
        let warnings = table.writer.push_update(&mut self.sql, before, after)?;
        self.count(warnings);
        self.open = None;
        Ok(())
    }

    fn continues(&self, table: &Arc<TargetTable>, kind: StatementKind, row: &[Value]) -> bool {
        let Some(start) = self.open else { return false };
        // Written in hexadecimal at worst.
        let row_bytes = 2 * row.iter().map(Value::heap_bytes).sum::<usize>();
        row_bytes < STATEMENT_BYTES_MAX
            && self.expectations.last().is_some_and(|last| {
                last.kind == kind
                    && Arc::ptr_eq(&last.table, table)
                    && last.rows < STATEMENT_ROWS_MAX
                    && self.sql.len() - start < STATEMENT_BYTES_MAX
            })
    }

    fn begin(&mut self, table: &Arc<TargetTable>, span: &Arc<Span>, kind: StatementKind) {
        self.end_statement();
        self.open = Some(self.sql.len());
        self.expectations.push(Expectation {
            table: table.clone(),
            span: span.clone(),
            kind,
            rows: 0,
            warnings: 0,
            end: 0,
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
                StatementKind::Overwrite => {
                    last.table.writer.end_insert(&mut self.sql, InsertForm::Upsert);
                }
                StatementKind::Delete(_) => last.table.writer.end_delete(&mut self.sql),
                StatementKind::Update => {}
            }
        }
        if !self.sql.is_empty() && self.sql.last() != Some(&b';') {
            self.sql.push(b';');
        }
        if let Some(last) = self.expectations.last_mut() {
            last.end = self.sql.len();
        }
    }

    /// Sends the statements, after a BEGIN unless the transaction is open, in packets of at most `packet_max` bytes where a statement
    /// is not larger by itself, and compares each answer with what the change must have done. On an error the transaction must
    /// be rolled back.
    pub(super) fn send(mut self, target: &mut Connection, is_begun: bool, packet_max: usize) -> Result<()> {
        self.end_statement();
        let room = packet_max.saturating_sub(PACKET_EXTRA);
        let (mut sent, mut begins) = (0, if is_begun { &b""[..] } else { &b"BEGIN;"[..] });
        let mut rest = &self.expectations[..];
        while !rest.is_empty() {
            let count = rest.partition_point(|statement| statement.end - sent <= room).max(1);
            let (now, later) = rest.split_at(count);
            let end = now[count - 1].end;
            let packet = [begins, &self.sql[sent..end - 1]].concat();
            send_packet(target, &packet, now, usize::from(!begins.is_empty()))?;
            (sent, begins, rest) = (end, b"", later);
        }
        Ok(())
    }
}

/// Sends one packet, whose statements but the first `before` have these expectations.
fn send_packet(
    target: &mut Connection,
    packet: &[u8],
    expectations: &[Expectation],
    before: usize,
) -> Result<()> {
    let mut answers = Vec::with_capacity(expectations.len() + before);
    let sent = target.execute_all(packet, "applying changes", &mut answers);
    for (expectation, answer) in expectations.iter().zip(answers.iter().skip(before)) {
        expectation.verify(answer)?;
    }
    match sent {
        Ok(()) => all_answered(answers.len(), expectations.len() + before),
        Err(error) => {
            let failed = answers.len().checked_sub(before).and_then(|position| expectations.get(position));
            Err(explain(error, failed))
        }
    }
}

/// A statement that nobody answered is one that nobody verified.
fn all_answered(answers: usize, statements: usize) -> Result<()> {
    if answers == statements {
        return Ok(());
    }
    Err(Error::internal(format!(
        "{statements} statements were sent in a packet, and {answers} were answered"
    ))
    .on(Side::Target))
}

/// Appends one change such that it is right after everything before it.
///
/// Without a key nothing is idempotent, and with a snapshot nothing needs to be: the rows are exactly of its position.
///
/// # Errors
/// [`ErrorKind::Value`](crate::error::ErrorKind::Value) with table and position.
pub(super) fn push_in_order(
    statements: &mut Statements,
    change: &Change,
    span: &Arc<Span>,
    mode: ApplyMode,
) -> Result<()> {
    let Change { table, before, after, .. } = change;
    let mode = if table.is_exact() { ApplyMode::Strict } else { mode };
    let pushed = match (mode, before.is_empty(), after.is_empty()) {
        (ApplyMode::Strict, true, _) => statements.insert(table, span, before, after, InsertForm::Plain),
        (ApplyMode::Strict, false, false) => statements.update(table, span, before, after),
        (ApplyMode::Strict, false, true) => statements.delete(table, span, before, Hits::Every),
        (ApplyMode::Idempotent, false, true) => statements.delete(table, span, before, Hits::Any),
        (ApplyMode::Idempotent, true, true) => Ok(()),
        (ApplyMode::Idempotent, no_before, false) => {
            let moves = !no_before && table.writer.changes_key(before, after);
            let freed = if moves { statements.delete(table, span, before, Hits::Any) } else { Ok(()) };
            freed.and_then(|()| {
                if table.has_other_unique {
                    // An upsert could overwrite the row that the other index finds: make place by key alone.
                    statements.delete(table, span, after, Hits::Any)?;
                    statements.insert(table, span, before, after, InsertForm::Plain)
                } else {
                    statements.insert(table, span, before, after, InsertForm::Upsert)
                }
            })
        }
    };
    pushed.map_err(|error| error.for_table(&table.source).at(span))
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
            // The server counts a row that it changes twice, one that it inserts or finds unchanged once.
            StatementKind::Overwrite if answer.affected_rows != 2 * self.rows => {
                let missed = (2 * self.rows).saturating_sub(answer.affected_rows);
                format!("an update of {} rows did not find, or did not change, {missed}", self.rows)
            }
            StatementKind::Delete(Hits::Every) if answer.affected_rows != self.rows => {
                format!("a delete of {} rows found {}", self.rows, answer.affected_rows)
            }
            StatementKind::Delete(Hits::None) if answer.affected_rows != 0 => {
                format!("an insert of {} rows found {} of them", self.rows, answer.affected_rows)
            }
            StatementKind::Insert(_) | StatementKind::Overwrite | StatementKind::Update
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
        error.for_table(&self.table.source).at(&self.span)
    }
}

/// Adds what the failed statement was about. A duplicate key is a divergence (1062).
fn explain(error: Error, failed: Option<&Expectation>) -> Error {
    let Some(failed) = failed else { return error };
    if error.server_error().is_some_and(|server| server.code == 1062) {
        let what = match failed.kind {
            StatementKind::Insert(_) => "an insert found a row with the same key",
            StatementKind::Update | StatementKind::Overwrite | StatementKind::Delete(_) => {
                "an update found another row with the same UNIQUE key"
            }
        };
        return failed.locate(ErrorKind::Divergence { what: what.into() }.into());
    }
    failed.locate(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_must_be_answered() {
        assert!(all_answered(3, 3).is_ok());
        for answers in [2, 4] {
            let error = all_answered(answers, 3).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Internal { .. }), "{error}");
        }
    }
}
