//! The tables that changes go to: which are selected, what they are on the target, and how their rows are decoded.
//!
//! A table is taken as the *target* has it: schema changes are carried in order, so the target's definition is the one that
//! the source had at the position applied, however far the source itself has moved on. For tables in the making that is
//! argued in [`super::schema_change`].
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::binlog::{ColumnHint, RowDecoder, TableMap, WireColumn};
use crate::data::{ColumnKind, TableName};
use crate::error::{Error, ErrorKind, Result};
use crate::server::catalog;
use crate::sql::write::TableWriter;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::transform::Transform;
use crate::wire::Connection;

use super::cascade::Cascades;
use super::change::Span;
use super::dag::TableKeys;
use super::schema_change::{KnownTables, Standing};

/// How long a connection may rest and is still good for another look.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A table that changes go to.
#[derive(Debug)]
pub(super) struct TargetTable {
    /// Its name on the source.
    pub(super) source: TableName,
    /// Its statements.
    pub(super) writer: TableWriter,
    /// Its rows came from an exact snapshot.
    pub(super) has_snapshot: bool,
    /// It has a UNIQUE index besides its row key: an upsert could overwrite the wrong row.
    pub(super) has_other_unique: bool,
    /// What an UPDATE or DELETE here changes elsewhere, by a foreign key, without a trace in the log.
    pub(super) cascades: Option<Cascades>,
    /// What its changes touch.
    pub(super) keys: TableKeys,
    /// The columns of those indexes; `None` when some value in them is computed by the server.
    pub(super) unique_columns: Option<Vec<usize>>,
    /// A change applied twice counts twice: all of them go in the order of the log.
    pub(super) in_order: bool,
}

impl TargetTable {
    /// Returns whether its rows are those of the source at the position that is applied, at any time.
    pub(super) fn is_exact(&self) -> bool {
        self.writer.is_keyless() || self.has_snapshot
    }
}

/// A table map's table, if it is selected.
#[derive(Clone)]
pub(super) struct MappedTable {
    pub(super) table: Arc<TargetTable>,
    pub(super) decoder: Arc<RowDecoder>,
}

/// All tables seen so far.
pub(super) struct Tables<'a> {
    target: &'a TargetEndpoint,
    transform: &'a Transform,
    known: KnownTables,
    /// The log holds what foreign keys change, row by row: the target must not do it a second time.
    cascades_are_logged: bool,
    by_name: HashMap<TableName, Option<Arc<TargetTable>>>,
    /// What the last table was looked up with: where many come one after the other, connecting would cost most.
    control: Option<(Connection, Instant)>,
    /// By the number that the table map gives.
    by_id: HashMap<u64, Mapped>,
}

/// A table map, and what is made of it when the first row comes: a map whose rows are left out may be one of a definition
/// that is not the table's.
struct Mapped {
    /// The bytes of the event.
    body: Box<[u8]>,
    map: TableMap,
    name: TableName,
    is_selected: bool,
    resolved: Option<Option<MappedTable>>,
}

impl<'a> Tables<'a> {
    /// `known`: how the tables stand. `cascades_are_logged`: the source logs what its foreign keys change.
    pub(super) fn new(
        target: &'a TargetEndpoint,
        transform: &'a Transform,
        known: KnownTables,
        cascades_are_logged: bool,
    ) -> Self {
        let (by_name, by_id) = (HashMap::new(), HashMap::new());
        Tables { target, transform, known, cascades_are_logged, by_name, control: None, by_id }
    }

    /// Takes the body of a table map's event.
    ///
    /// # Errors
    /// As [`TableMap::parse`].
    pub(super) fn map(&mut self, body: &[u8]) -> Result<()> {
        // The same table is mapped again before every statement; only a new one costs more than this comparison.
        let is_known = |known: &Mapped| *known.body == *body;
        if TableMap::table_id_of(body).and_then(|id| self.by_id.get(&id)).is_some_and(is_known) {
            return Ok(());
        }
        let map = TableMap::parse(body)?;
        let name = TableName::new(&map.database, &map.table);
        let is_selected = self.transform.selection.selects_table(&name);
        self.by_id.insert(map.table_id, Mapped { body: body.into(), map, name, is_selected, resolved: None });
        Ok(())
    }

    /// Returns the table of a row event; `None` when its changes are left out: it is not selected, or they are in its rows
    /// already, or will be.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogDamaged`] when no table map came before; [`ErrorKind::BinlogEvent`] when the table on the target is
    /// another one; what the target answered.
    pub(super) fn mapped(
        &mut self,
        table_id: u64,
        span: &Span,
        stop: &StopToken,
    ) -> Result<Option<MappedTable>> {
        let Some(mapped) = self.by_id.get(&table_id) else {
            return Err(ErrorKind::BinlogDamaged {
                what: format!("row event for table number {table_id} without a table map"),
            }
            .into());
        };
        if !mapped.is_selected {
            return Ok(None);
        }
        if self.known.leaves_out(&mapped.name, Some(span)) {
            return Ok(None);
        }
        if let Some(resolved) = &mapped.resolved {
            return Ok(resolved.clone());
        }
        let name = mapped.name.clone();
        let table = self.table(&name, stop)?;
        let Some(mapped) = self.by_id.get_mut(&table_id) else { return Ok(None) };
        let resolved = match table {
            Some(table) => {
                let decoder = decoder(&mapped.map, &table).map_err(|error| error.for_table(&name))?;
                Some(MappedTable { table, decoder: Arc::new(decoder) })
            }
            None => None,
        };
        mapped.resolved = Some(resolved.clone());
        Ok(resolved)
    }

    /// Forgets what is known of all tables: a schema change was applied.
    pub(super) fn forget(&mut self) {
        self.by_name.clear();
        self.by_id.clear();
    }

    /// Forgets the numbers of tables: another log file begins, and a server that was restarted gives them anew.
    pub(super) fn forget_numbers(&mut self) {
        self.by_id.clear();
    }

    /// Looks a table up. `None`: it was dropped before the copy began.
    fn table(&mut self, name: &TableName, stop: &StopToken) -> Result<Option<Arc<TargetTable>>> {
        if let Some(table) = self.by_name.get(name) {
            return Ok(table.clone());
        }
        let mut connection = match self.control.take() {
            Some((connection, used)) if used.elapsed() < KEPT_FOR => connection,
            _ => self.target.control(stop)?,
        };
        let target_name = self.transform.route.target_of(name);
        let schema = match catalog::table(&mut connection, self.target.facts(), &target_name) {
            Ok(schema) => schema,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound { .. })
                    && !self.known.is_strict()
                    && self.known.standing(name, None) == Standing::Unknown =>
            {
                log::info!("{name}: it was dropped before the copy began, its changes are left out");
                self.by_name.insert(name.clone(), None);
                return Ok(None);
            }
            Err(error) => return Err(error.for_table(name)),
        };
        let key = schema.row_key().map(|key| key.index).unwrap_or_default();
        let others = || schema.indexes.iter().filter(|index| index.unique && index.name != key);
        let has_other_unique = others().next().is_some();
        let unique_columns = others()
            .flat_map(|index| &index.parts)
            .map(|part| part.column.filter(|&column| !schema.columns[column].generated))
            .collect();
        let referred = catalog::referred_columns(&mut connection, &target_name)?;
        let row_alias = self.target.facts().is_mysql_at_least(8, 0, 20);
        // The target's own keys tell: before the index build only those are there that may already act.
        let cascades = if self.cascades_are_logged {
            None
        } else {
            Cascades::read(&mut connection, self.target.facts(), &target_name)?
        };
        self.control = Some((connection, Instant::now()));
        let has_snapshot = self.known.has_snapshot(name);
        // Nobody knows which rows are changed with one: all tables that are tied are one.
        let is_child = schema.foreign_keys.iter().any(|key| key.cascades);
        let is_tied = !self.cascades_are_logged && (is_child || cascades.is_some());
        let keys = TableKeys::new(&schema, &referred, is_tied);
        let writer = TableWriter::new(schema, row_alias);
        let in_order = writer.is_keyless() || has_snapshot || is_tied;
        let table = Arc::new(TargetTable {
            source: name.clone(),
            writer,
            has_snapshot,
            has_other_unique,
            unique_columns,
            in_order,
            cascades,
            keys,
        });
        self.by_name.insert(name.clone(), Some(table.clone()));
        Ok(Some(table))
    }
}

/// Puts the log's view of a table and its definition together.
fn decoder(map: &TableMap, table: &TargetTable) -> Result<RowDecoder> {
    let schema = table.writer.schema();
    // RDS adds a row id of its own to a table without a key: the last column in the log, hidden everywhere else. It is
    // decoded and left out.
    let hidden = usize::from(
        table.writer.is_keyless()
            && map.columns.len() == schema.columns.len() + 1
            && map.columns.last().is_some_and(is_row_id),
    );
    if map.columns.len() != schema.columns.len() + hidden {
        return Err(Error::from(ErrorKind::BinlogEvent {
            what: format!(
                "a row event has {} columns, the table on the target has {}",
                map.columns.len(),
                schema.columns.len()
            ),
        })
        .with_hint(
            "The table's definition differs between the log and the target: a schema change was not carried.",
        ));
    }
    let hints: Vec<ColumnHint> = schema
        .columns
        .iter()
        .map(|column| ColumnHint::new(column.unsigned, matches!(column.kind, ColumnKind::Binary(_))))
        .collect();
    RowDecoder::new(map, &hints)
}

/// The column that RDS for MySQL adds to a table without a key.
const RDS_ROW_ID: &str = "__#alibaba_rds_row_id#__";

/// Returns whether a column can be RDS's row id: a BIGINT, and of that name where the log has names.
fn is_row_id(column: &WireColumn) -> bool {
    column.is_bigint() && column.name.as_ref().is_none_or(|name| name == RDS_ROW_ID)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::TableSchema;

    /// A table without columns.
    pub(in super::super) fn table(engine: &str) -> Arc<TargetTable> {
        of(TableSchema { engine: engine.into(), ..TableSchema::example("t", Vec::new()) })
    }

    pub(in super::super) fn of(schema: TableSchema) -> Arc<TargetTable> {
        Arc::new(TargetTable {
            source: schema.name.clone(),
            keys: TableKeys::new(&schema, &[], false),
            writer: TableWriter::new(schema, true),
            has_snapshot: false,
            has_other_unique: false,
            unique_columns: None,
            in_order: false,
            cascades: None,
        })
    }
}
