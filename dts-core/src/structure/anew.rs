//! Tables that are created and copied anew because their definition was changed in the log while they were in the making; why that
//! is right is argued in `binlog_applier/schema_change`.
use std::collections::BTreeSet;

use crate::data::{GtidSet, Position, TableName};
use crate::error::{Error, ErrorKind, Result, Stage};
use crate::full_loader::TablePlan;
use crate::server::catalog;
use crate::source::start_position;
use crate::sql::quote;
use crate::stop::StopToken;
use crate::structure::{Structure, definition};
use crate::target::SessionKind;
use crate::target::ledger::{CopyState, Deferred, TableRow};
use crate::wire::Connection;

/// A table that was created anew so often is copied from one exact snapshot, during which its definition cannot change.
const PLAIN_RESTARTS_MAX: u32 = 2;

impl Structure<'_> {
    /// Creates the tables anew that the ledger marks, and returns all tables whose rows are still to be copied or, when the
    /// task is in sync, whose indexes are still to be built.
    ///
    /// `in_sync`: changes are applied strictly, so that the rows must be those of one exact position.
    ///
    /// A table that the source no longer has is dropped; the log tells where its content went.
    ///
    /// # Errors
    /// What a server answered.
    pub fn restart_tables(&self, in_sync: bool, stop: &StopToken) -> Result<Vec<TablePlan>> {
        self.restart_staged(in_sync, stop).map_err(|error| error.in_stage(Stage::Structure))
    }

    fn restart_staged(&self, in_sync: bool, stop: &StopToken) -> Result<Vec<TablePlan>> {
        let mut target = self.target.control(stop)?;
        let unfinished = |row: &TableRow| match row.state {
            CopyState::Restart | CopyState::Created => true,
            CopyState::Copied | CopyState::Converged => in_sync,
            CopyState::Indexed => false,
        };
        if !self.ledger.tables(&mut target)?.iter().any(unfinished) {
            return Ok(Vec::new());
        }
        // What an earlier run sent may still reach a table that is created anew now.
        for kind in [SessionKind::Load, SessionKind::Build] {
            self.ledger.wait_for_sessions(&mut target, kind, stop)?;
        }
        let applied = self.ledger.checkpoint(&mut target)?.applied;
        let mut source = self.source.control(stop)?;
        self.take_tied_along(&mut source, &mut target)?;
        let rows: Vec<TableRow> = self.ledger.tables(&mut target)?.into_iter().filter(unfinished).collect();
        // Before any definition is read: what is in it is in the definitions.
        let at = start_position::take(self.source, &mut source, stop)?;
        let mut plans = Vec::new();
        for row in rows {
            stop.check()?;
            match catalog::table(&mut source, self.source.facts(), &row.source) {
                Ok(schema) if row.state == CopyState::Restart => {
                    let plan = TablePlan { id: row.id, schema, target: row.target.clone(), is_exact: false };
                    match self.create_anew(&mut source, &mut target, plan, row, &at, in_sync) {
                        Ok(plan) => plans.push(plan),
                        // Dropped in between; the next time it is found missing.
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(schema) => {
                    plans.push(TablePlan { id: row.id, schema, target: row.target, is_exact: row.is_exact })
                }
                Err(error) if is_gone(&error) && row.state <= CopyState::Created => {
                    self.leave(&mut target, row, &at, &applied)?;
                }
                // The rows are all there, and the log will tell what became of the table.
                Err(error) if is_gone(&error) => {
                    let mut schema = catalog::table(&mut target, self.target.facts(), &row.target)?;
                    schema.name = row.source;
                    plans.push(TablePlan { id: row.id, schema, target: row.target, is_exact: row.is_exact });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(plans)
    }

    /// Marks the tables too that are tied to a marked one by foreign keys that change rows by themselves: only of one position do their
    /// rows fit together (see [`full_loader`](crate::full_loader)).
    fn take_tied_along(&self, source: &mut Connection, target: &mut Connection) -> Result<()> {
        if self.source.facts().logs_cascades() {
            return Ok(());
        }
        let rows = self.ledger.tables(target)?;
        let mut marked: BTreeSet<TableName> =
            rows.iter().filter(|row| row.wants_copy()).map(|row| row.source.clone()).collect();
        let mut ties = Vec::new();
        for database in rows.iter().map(|row| row.source.database.clone()).collect::<BTreeSet<_>>() {
            for table in catalog::tables(source, self.source.facts(), &database, |_| true)? {
                let parents = table.foreign_keys.into_iter().filter(|key| key.cascades);
                ties.extend(parents.map(|key| (table.name.clone(), key.referenced_table)));
            }
        }
        loop {
            let reached: Vec<&TableName> = ties
                .iter()
                .filter_map(|(child, parent)| match (marked.contains(child), marked.contains(parent)) {
                    (true, false) => Some(parent),
                    (false, true) => Some(child),
                    _ => None,
                })
                .collect();
            if reached.is_empty() {
                break;
            }
            marked.extend(reached.into_iter().cloned());
        }
        for mut row in rows.into_iter().filter(|row| marked.contains(&row.source) && !row.wants_copy()) {
            log::warn!("{}: copied anew with a table that it is tied to by a foreign key", row.source);
            row.state = CopyState::Restart;
            row.snapshot_position = None;
            target.execute(self.ledger.table_statement(&row)?, "recording that a table is copied anew")?;
        }
        Ok(())
    }

    /// Until the row says that it was created, another run begins here again.
    fn create_anew(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        mut plan: TablePlan,
        mut row: TableRow,
        at: &Position,
        in_sync: bool,
    ) -> Result<TablePlan> {
        let shown = catalog::show_create_table(source, &row.source)?;
        self.create_database_of(source, target, &row.source, &row.target)?;
        self.drop_table(target, &row.target)?;
        let (deferred, _) = definition(&shown, &plan, self.target.facts())
            .map_err(|error| error.for_table(&plan.schema.name))?;
        target
            .execute(&deferred.create_sql, "creating a table")
            .map_err(|error| error.for_table(&plan.target))?;
        row.deferred = Deferred { indexes: deferred.indexes, foreign_keys: deferred.foreign_keys };
        row.state = CopyState::Created;
        row.start_position = Some(at.clone());
        row.snapshot_position = None;
        row.snapshot_rung = None;
        row.chunks_begun = 0;
        row.restarts += 1;
        row.is_exact = in_sync || row.restarts > PLAIN_RESTARTS_MAX;
        plan.is_exact = row.is_exact;
        self.ledger.restart_table(target, &row)?;
        log::info!("{}: created anew, time {}", row.source, row.restarts);
        Ok(plan)
    }

    /// The source has no such table. What happened to it is in the log up to now; after that its name is free.
    fn leave(
        &self,
        target: &mut Connection,
        mut row: TableRow,
        at: &Position,
        applied: &GtidSet,
    ) -> Result<()> {
        self.drop_table(target, &row.target)?;
        let seen = row.snapshot_position.as_ref().and_then(Position::gtid_set);
        if row.state == CopyState::Restart && seen.is_some_and(|seen| applied.contains_set(seen)) {
            let sql = format!("BEGIN; {}; COMMIT", self.ledger.forget_table_statements(row.id).join("; "));
            return target.execute(sql, "forgetting a table").map(drop);
        }
        if row.snapshot_position.is_none() || row.state != CopyState::Restart {
            row.state = CopyState::Restart;
            row.snapshot_position = Some(at.clone());
            self.ledger.restart_table(target, &row)?;
        }
        Ok(())
    }

    fn drop_table(&self, target: &mut Connection, name: &TableName) -> Result<()> {
        let sql = format!("DROP TABLE IF EXISTS {}", quote::table(name));
        target.execute(sql, "dropping a table that is copied anew").map(drop)
    }

    fn create_database_of(
        &self,
        source: &mut Connection,
        target: &mut Connection,
        from: &TableName,
        to: &TableName,
    ) -> Result<()> {
        let names = self.target.facts().charset_names();
        let database = catalog::databases(source)?.into_iter().find(|found| found.name == from.database);
        let Some(database) = database else { return Ok(()) };
        let sql = format!(
            "CREATE DATABASE IF NOT EXISTS {} DEFAULT CHARACTER SET {} COLLATE {}",
            quote::identifier(&to.database),
            names.charset(&database.charset),
            names.collation(&database.collation)
        );
        target.execute(sql, "creating a database").map(drop)
    }
}

/// The table is not there: by our own answer, or by the server's (ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR).
fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound { .. })
        || error.server_error().is_some_and(|answer| matches!(answer.code, 1146 | 1049))
}
