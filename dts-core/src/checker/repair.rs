//! Making rows of the target what the source has.
//!
//! # The danger
//! Changes are being applied meanwhile. Written too early, a row of the source would meet changes that it already holds, and
//! a strict applier would find that they do not fit; written too late, it would undo a newer one.
//!
//! # The method
//! For some rows that are confirmed to differ: read them on the source (`S`); read the source's position and wait until all
//! of it is applied; in one transaction on the target lock the rows, and the gaps where missing ones would be, so that no
//! change of them is applied from now on; read the rows again on the source (`S'`), hashes and values from one snapshot.
//! A row is written only if `S = S'`, which is also what was confirmed, and if the target still has exactly the wrong
//! version that was confirmed. Then
//!
//! - everything that led to `S` is applied, because it was visible before the position was read: nothing older follows;
//! - what changed after `S` and is not applied yet waits for our lock, and finds the row that it expects. (If it changed and
//!   changed back, both changes are still to come, and fit as well.)
//!
//! Rows of a batch are first all deleted and then inserted, so that two that exchange a UNIQUE value do not collide. A row
//! that does not fulfil the condition is left as it is; the next check finds it.
//!
//! The transaction writes a row into `__dts__.repair`: whoever reads the target's binary log knows it as ours.
//!
//! What was written counts for nothing by itself: the chunk is compared again, and what is equal then is repaired.
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::alignment::Alignment;
use super::plan::TablePlan;
use super::sessions::{Seen, Sessions};
use super::settle::Confirmed;
use crate::data::Column;
use crate::error::{Error, ErrorKind, Recovery, Result, Side};
use crate::server::ServerFacts;
use crate::sql::digest::Rows;
use crate::sql::load::{self, CellCoding};
use crate::sql::row_identity::Identity;
use crate::stop::StopToken;
use crate::target::repair_mark;

/// Rows that are repaired in one transaction.
const BATCH_ROWS: usize = 100;
/// How often a batch is tried that collides with other work.
const ATTEMPTS: u32 = 4;

/// Repairs the rows of one table.
pub(super) struct Repairer<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) alignment: &'a Alignment<'a>,
    pub(super) source_facts: &'a ServerFacts,
    pub(super) stop: &'a StopToken,
}

/// Whole rows as `(…)` of an INSERT, by their identity.
type Values = HashMap<Vec<Vec<u8>>, Vec<u8>>;

impl Repairer<'_> {
    /// Writes the rows that may be written. Returns why some were not.
    pub(super) fn repair(&self, sessions: &mut Sessions<'_>, rows: &[Confirmed]) -> Result<Option<String>> {
        if !sessions.servers_hash() {
            return Ok(Some("not repaired: rows are only repaired where both servers can hash".into()));
        }
        let mut reason = None;
        // Rows without a key are written one by one: of each there is a number of copies.
        let size = if self.plan.source.has_key() { BATCH_ROWS } else { 1 };
        for batch in rows.chunks(size) {
            let mut attempts_left = ATTEMPTS;
            loop {
                self.stop.check()?;
                attempts_left -= 1;
                let outcome = self.repair_batch(sessions, batch);
                let Err(error) = outcome else { break };
                for side in [Side::Target, Side::Source] {
                    if !sessions.on(side)?.is_broken() {
                        sessions.on(side)?.execute("ROLLBACK", "taking a repair back")?;
                    }
                }
                match error.server_error() {
                    // A lock that others hold.
                    Some(_) if error.recovery() == Recovery::Retry && attempts_left > 0 => {}
                    Some(_) => {
                        reason = Some(format!("not repaired: {error}"));
                        break;
                    }
                    None => return Err(error),
                }
            }
        }
        Ok(reason)
    }

    fn repair_batch(&self, sessions: &mut Sessions<'_>, batch: &[Confirmed]) -> Result<()> {
        let identities: Vec<Identity> = batch.iter().map(|row| row.identity.clone()).collect();
        let rows = Rows::Identities(&identities);
        let plan = self.plan;
        let before = sessions.rows(Side::Source, &plan.source, rows)?;
        let high =
            self.alignment.visible_position(self.source_facts, sessions.on(Side::Source)?, self.stop)?;
        if !self.alignment.wait(high.as_ref(), self.stop)? {
            return Ok(());
        }
        sessions
            .on(Side::Target)?
            .execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; BEGIN", "beginning a repair")?;
        let there = sessions.lock_rows(&plan.target, &identities)?;
        sessions
            .on(Side::Source)?
            .execute("START TRANSACTION WITH CONSISTENT SNAPSHOT", "opening a snapshot for a repair")?;
        let after = sessions.rows(Side::Source, &plan.source, rows)?;
        let values = self.values(sessions, &identities)?;
        sessions.on(Side::Source)?.execute("COMMIT", "closing a snapshot")?;

        let may_be_written = |row: &&Confirmed| {
            let cells = &row.identity.cells;
            let seen = |rows: &super::sessions::SeenRows| rows.get(cells).copied();
            let is_read = row.source.is_none() || values.contains_key(cells);
            is_read && seen(&before) == row.source && seen(&after) == row.source && seen(&there) == row.target
        };
        let batch: Vec<&Confirmed> = batch.iter().filter(may_be_written).collect();
        if batch.is_empty() {
            return sessions.on(Side::Target)?.execute("ROLLBACK", "ending a repair").map(drop);
        }
        for (statement, affected) in statements(plan, &batch, &values)? {
            let done = sessions.on(Side::Target)?.execute(statement, "repairing rows")?;
            if done.affected_rows != affected {
                return Err(ErrorKind::RowCount {
                    expected: affected,
                    actual: done.affected_rows,
                    warnings: u64::from(done.warnings),
                    detail: " in a repair".into(),
                }
                .into());
            }
        }
        let mark = repair_mark::statement(plan.target.table(), batch.len() as u64);
        sessions.on(Side::Target)?.execute(format!("{mark}; COMMIT"), "ending a repair").map(drop)
    }

    /// Reads whole rows of the source, as they are inserted.
    fn values(&self, sessions: &mut Sessions<'_>, identities: &[Identity]) -> Result<Values> {
        read_values(self.plan, sessions, identities)
    }
}

fn read_values(plan: &TablePlan, sessions: &mut Sessions<'_>, identities: &[Identity]) -> Result<Values> {
    let columns: Vec<&Column> = plan.written.0.iter().collect();
    let codings: Vec<CellCoding> = columns.iter().map(|column| CellCoding::of(column)).collect();
    let identity_length = plan.source.key_columns().len().max(1);
    let sql = plan.source.values(&columns, identities)?;
    let mut values = Values::new();
    let mut stream = sessions.on(Side::Source)?.stream(sql, "reading rows for a repair")?;
    while let Some(mut cells) = stream.next_row()? {
        let mut identity = Vec::with_capacity(identity_length);
        for _ in 0..identity_length {
            identity.push(cells.next_cell()?.unwrap_or_default().to_vec());
        }
        let mut row = Vec::new();
        load::append_values(&mut row, cells, &codings)?;
        values.insert(identity, row);
    }
    Ok(values)
}

/// Builds the statements that make rows equal, each with the number of rows that it changes.
fn statements(plan: &TablePlan, rows: &[&Confirmed], values: &Values) -> Result<Vec<(Vec<u8>, u64)>> {
    let copies = |seen: Option<Seen>| seen.map_or(0, |seen| seen.copies());
    let columns: Vec<&Column> = plan.written.1.iter().collect();
    let head = load::insert_head(plan.target.table(), &columns);
    let mut deletes = Vec::new();
    let mut inserts = Vec::new();
    for row in rows {
        let (from, to) = (copies(row.source), copies(row.target));
        // With a key a row that differs goes and comes again; without one only the number of copies is wrong.
        let (deleted, inserted) = if plan.source.has_key() {
            (to, from)
        } else {
            (to.saturating_sub(from), from.saturating_sub(to))
        };
        if deleted > 0 {
            let identity = std::slice::from_ref(&row.identity);
            deletes.push((plan.target.delete(identity, deleted)?, deleted));
        }
        if inserted > 0 {
            let value = values
                .get(&row.identity.cells)
                .ok_or_else(|| Error::internal("a row to be repaired is gone from its own snapshot"))?;
            let mut statement = head.clone();
            for copy in 0..inserted {
                if copy > 0 {
                    statement.push(b',');
                }
                statement.extend_from_slice(value);
            }
            inserts.push((statement, inserted));
        }
    }
    deletes.extend(inserts);
    Ok(deletes)
}

/// The file for statements that a person may run.
pub(super) struct RepairFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// What stands before the statements. The bytes of values are the columns' own.
const HEAD: &str = "-- Makes the rows of the target that dts found different what the source had when this was written.\n\
    -- Run it on the target while nothing writes these rows: mysql --binary-mode --default-character-set=binary < FILE\n\
    SET NAMES binary;\nSET SESSION time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0;\n";

impl RepairFile {
    /// Makes the file; one that is there is replaced.
    pub(super) fn create(path: &Path) -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |source| ErrorKind::File { action: "write", path: path.display().to_string(), source };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        file.write_all(HEAD.as_bytes()).map_err(failed)?;
        Ok(RepairFile { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Appends the statements for some rows.
    pub(super) fn add(
        &self,
        plan: &TablePlan,
        sessions: &mut Sessions<'_>,
        rows: &[Confirmed],
    ) -> Result<()> {
        for batch in rows.chunks(BATCH_ROWS) {
            let identities: Vec<Identity> = batch.iter().map(|row| row.identity.clone()).collect();
            let values = read_values(plan, sessions, &identities)?;
            // A row that was deleted on the source meanwhile is right to be missing.
            let batch: Vec<&Confirmed> = batch
                .iter()
                .filter(|row| row.source.is_none() || values.contains_key(&row.identity.cells))
                .collect();
            let mut text = b"BEGIN;\n".to_vec();
            for (statement, _) in statements(plan, &batch, &values)? {
                text.extend_from_slice(&statement);
                text.extend_from_slice(b";\n");
            }
            text.extend_from_slice(b"COMMIT;\n");
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&text).map_err(|source| ErrorKind::File {
                action: "write",
                path: self.path.display().to_string(),
                source,
            })?;
        }
        Ok(())
    }
}
