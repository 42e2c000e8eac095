//! Indexes and foreign keys that were held back while rows were copied.
//!
//! # When
//! A table that was copied from an exact snapshot is finished before its first change is applied
//! ([`Structure::finish_snapshot_tables`]): it holds the rows of one moment, so no UNIQUE index can find a value twice, changes of
//! a table without a key find their row by an index, and a foreign key that changes rows by itself must be there to do so. All
//! others wait until the copy is consistent ([`Structure::build_indexes`]).
//!
//! # Resuming
//! The server goes on with an ALTER TABLE whose client is gone. Each session that builds has a lock that lives as long as it does,
//! so a new run waits for what is under way, then reads what is there, and adds only what is missing. InnoDB's ALTER TABLE is
//! atomic from 8.0 on, and leaves the old table before.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::data::TableName;
use crate::error::{Error, ErrorKind, Result, Side, Stage};
use crate::full_loader::TablePlan;
use crate::progress::{Progress, TableState};
use crate::server::catalog;
use crate::sql::create_table::{self, CreateTable, DefinitionKind};
use crate::stop::StopToken;
use crate::structure::Structure;
use crate::target::SessionKind;
use crate::target::ledger::{CopyState, TableRow};
use crate::wire::Connection;

/// An index build may take hours without a byte on the connection.
const BUILD_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Structure<'_> {
    /// Finishes the tables that were copied from exact snapshots: all their indexes, and the foreign keys between them that
    /// change rows by themselves. To be called before changes are applied; what is there already stays.
    ///
    /// # Errors
    /// As [`build_indexes`](Self::build_indexes).
    pub fn finish_snapshot_tables(
        &self,
        tables: &[TablePlan],
        at_once: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        self.build_staged(tables, Part::OfSnapshots, at_once, stop, progress)
            .map_err(|error| error.in_stage(Stage::Structure))
    }

    /// Builds the deferred indexes of all tables, largest first, at most `at_once` tables at a time, then the foreign keys.
    ///
    /// Changes of the tables must not be applied meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Divergence`] when a UNIQUE index finds a value twice; else what the target answered.
    pub fn build_indexes(
        &self,
        tables: &[TablePlan],
        at_once: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        self.build_staged(tables, Part::All, at_once, stop, progress)
            .map_err(|error| error.in_stage(Stage::Structure))
    }

    fn build_staged(
        &self,
        tables: &[TablePlan],
        part: Part,
        at_once: usize,
        stop: &StopToken,
        progress: &Progress,
    ) -> Result<()> {
        let mut control = self.target.control(stop)?;
        control.set_answer_timeout(BUILD_PATIENCE);
        self.ledger.wait_for_sessions(&mut control, SessionKind::Build, stop)?;
        let rows: BTreeMap<u32, TableRow> =
            self.ledger.tables(&mut control)?.into_iter().map(|row| (row.id, row)).collect();
        let mut waiting: Vec<(&TablePlan, &TableRow)> = tables
            .iter()
            .filter_map(|plan| rows.get(&plan.id).map(|row| (plan, row)))
            .filter(|(_, row)| row.state != CopyState::Indexed && part.takes(row))
            .collect();
        waiting.sort_by_key(|(plan, _)| std::cmp::Reverse(plan.schema.data_bytes));
        let next = AtomicUsize::new(0);
        let first_error: Mutex<Option<Error>> = Mutex::new(None);
        let stop = stop.child();
        std::thread::scope(|scope| {
            for number in 0..at_once.clamp(1, 63).min(waiting.len()) {
                let (stop, waiting, next, first_error) = (&stop, &waiting, &next, &first_error);
                scope.spawn(move || {
                    let result = (|| -> Result<()> {
                        let mut connection = self.builder(number, stop)?;
                        while let Some((plan, row)) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                            stop.check()?;
                            self.build_table(&mut connection, plan, row, progress)?;
                        }
                        Ok(())
                    })();
                    if let Err(error) = result {
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        if first.as_ref().is_none_or(Error::is_interrupted) {
                            *first = Some(error);
                        }
                        stop.stop();
                    }
                });
            }
        });
        if let Some(error) = first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        self.add_foreign_keys(tables, part, &rows, &stop)
    }

    /// Opens a session whose end a later run waits for.
    fn builder(&self, number: usize, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.target.loader_control(stop)?;
        connection.set_answer_timeout(BUILD_PATIENCE);
        self.ledger.lock_session(&mut connection, SessionKind::Build, number, &mut None, stop)?;
        Ok(connection)
    }

    fn build_table(
        &self,
        connection: &mut Connection,
        plan: &TablePlan,
        row: &TableRow,
        progress: &Progress,
    ) -> Result<()> {
        if let Some(counters) = progress.table(&plan.schema.name) {
            counters.set_state(TableState::Indexing);
        }
        let there = catalog::table(connection, self.target.facts(), &plan.target)?;
        let missing: Vec<&String> = row
            .deferred
            .indexes
            .iter()
            .filter(|clause| {
                let name = clause_name(clause);
                !there
                    .indexes
                    .iter()
                    .any(|index| name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&index.name)))
            })
            .collect();
        for statement in create_table::build_indexes_statements(&plan.target, &missing) {
            connection
                .execute(statement, "building indexes")
                .map_err(|error| duplicate(error, &plan.target))?;
        }
        self.ledger.set_table_state(connection, plan.id, CopyState::Indexed)?;
        if let Some(counters) = progress.table(&plan.schema.name) {
            counters.set_state(TableState::Done);
        }
        Ok(())
    }

    fn add_foreign_keys(
        &self,
        tables: &[TablePlan],
        part: Part,
        rows: &BTreeMap<u32, TableRow>,
        stop: &StopToken,
    ) -> Result<()> {
        let of_snapshots: Vec<&TableName> =
            rows.values().filter(|row| Part::OfSnapshots.takes(row)).map(|row| &row.source).collect();
        let mut connection = None;
        for plan in tables {
            let Some(row) = rows.get(&plan.id).filter(|row| part.takes(row)) else { continue };
            let mut wanted: Vec<&String> = row.deferred.foreign_keys.iter().collect();
            if part == Part::OfSnapshots {
                wanted.retain(|clause| {
                    create_table::cascading_parent(clause, &plan.schema.name.database)
                        .is_some_and(|parent| of_snapshots.contains(&&parent))
                });
            }
            if wanted.is_empty() {
                continue;
            }
            stop.check()?;
            let connection = match &mut connection {
                Some(open) => open,
                none => none.insert(self.builder(63, stop)?),
            };
            let there = catalog::table(connection, self.target.facts(), &plan.target)?;
            wanted.retain(|clause| {
                let name = clause_name(clause);
                !there
                    .foreign_keys
                    .iter()
                    .any(|key| name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(&key.name)))
            });
            let sql = create_table::add_foreign_keys_sql(
                &plan.target,
                &wanted,
                &plan.schema.name.database,
                &self.transform.route,
            )?;
            if let Some(sql) = sql {
                connection
                    .execute(sql, "adding foreign keys")
                    .map_err(|error| error.for_table(&plan.target))?;
            }
        }
        Ok(())
    }
}

/// Which tables are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Those copied from an exact snapshot.
    OfSnapshots,
    All,
}

impl Part {
    fn takes(self, row: &TableRow) -> bool {
        self == Part::All || row.snapshot_position.is_some()
    }
}

/// A duplicate found by a UNIQUE index after the converge point cannot come from the copy.
fn duplicate(error: Error, table: &TableName) -> Error {
    if error.server_error().is_some_and(|server| server.code == 1062) {
        let what = "a UNIQUE index could not be built, because a value is there twice".to_owned();
        return Error::from(ErrorKind::Divergence { what }).on(Side::Target).for_table(table);
    }
    error.for_table(table)
}

/// Returns the name of an index or a foreign key from its clause.
fn clause_name(clause: &str) -> Option<String> {
    let table = CreateTable::parse(&format!("CREATE TABLE `t` (\n  {clause}\n) ENGINE=InnoDB")).ok()?;
    match &table.definitions().first()?.kind {
        DefinitionKind::Index { name, .. } => Some(name.clone()),
        DefinitionKind::ForeignKey { name, .. } => name.clone(),
        DefinitionKind::Column { .. }
        | DefinitionKind::PrimaryKey { .. }
        | DefinitionKind::Check
        | DefinitionKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::clause_name;

    #[test]
    fn names_of_all_sorts_of_clauses() {
        for (clause, name) in [
            ("KEY `a``b` (`x`)", "a`b"),
            ("UNIQUE KEY `u` (`x`,`y`(10))", "u"),
            ("FULLTEXT KEY `f` (`t`) /*!50100 WITH PARSER `ngram` */", "f"),
            ("KEY `e` ((lower(`x`)))", "e"),
            ("CONSTRAINT `c``f` FOREIGN KEY (`x`) REFERENCES `p` (`id`) ON DELETE CASCADE", "c`f"),
        ] {
            assert_eq!(clause_name(clause).as_deref(), Some(name), "{clause}");
        }
    }
}
