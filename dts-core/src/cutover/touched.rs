//! Which rows were touched since a position: read from the log, not from whoever applies.
//!
//! So a change that an applier had lost is looked at all the same. The stream is opened once and stays open: a server needs
//! its time to find a position in its log, and the last piece is read while nobody may write.
//!
//! Keys are kept up to a bound; the caller compares what there is and goes on. Of a table whose rows cannot be told by a key of
//! the log, or whose definition changed, it is only known *that* it was touched. So it is of the children of a foreign key that acts,
//! where the source does not log what it changes: they are told as *tied* when a change of a parent may have acted.
//!
//! # XA
//! The rows of an XA transaction are in the log where it was prepared, and are seen from its XA COMMIT on. So they count as touched by
//! that. Of one that was prepared before the position nobody knows the rows: then every table may have been touched.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::binlog::{ColumnHint, Event, GtidEvent, RawEvent, RowDecoder, RowsEvent, RowsKind, TableMap};
use crate::data::{Column, ColumnKind, GtidSet, Position, RowImage, Span, TableName, TableSchema, Value};
use crate::error::Result;
use crate::source::SourceEndpoint;
use crate::source::binlog_stream::BinlogStream;
use crate::sql::statement::{self, Statement, StatementKind};
use crate::stop::StopToken;
use crate::transform::ObjectSelection;

use super::acting_key::{self, ActingKey};

/// Keys that are kept.
const KEYS_MAX: usize = 50_000;
/// Bytes of them, and bytes of those of XA transactions that are prepared.
const KEY_BYTES_MAX: usize = 16 << 20;
/// Largest content of a compressed transaction that is read.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// The cells of a key.
type Key = Vec<Vec<u8>>;

/// Keys of one table that were touched.
pub(crate) struct TouchedTable {
    pub(crate) table: TableName,
    /// The names of the key's columns.
    pub(crate) columns: Vec<String>,
    pub(crate) keys: Vec<Key>,
}

/// Reads the log for touched rows.
pub(crate) struct TouchedRows {
    stream: BinlogStream,
    taker: Taker,
}

impl TouchedRows {
    /// Begins after `since`, which may be long ago. `tables`: those of the source that are selected.
    pub(crate) fn open(
        source: &SourceEndpoint,
        tables: &[TableSchema],
        selection: &ObjectSelection,
        since: &GtidSet,
        stop: &StopToken,
    ) -> Result<Self> {
        let stream = BinlogStream::open(source, &Position::Gtid(since.clone()), stop)?;
        let facts = source.facts();
        let taker = Taker {
            watched: tables.iter().map(|table| (table.name.clone(), Watched::new(table))).collect(),
            acting: if facts.logs_cascades() { HashMap::new() } else { acting_key::of(tables) },
            selection: selection.clone(),
            folds: facts.lower_case_table_names() == 1,
            by_id: HashMap::new(),
            group: None,
            seen: since.clone(),
            found: Found::default(),
            xa: None,
            prepared: HashMap::new(),
            unwatched: BTreeSet::new(),
        };
        Ok(TouchedRows { stream, taker })
    }

    /// Reads until all of `wanted` was seen, or there are as many keys as may be kept; returns whether it was the former.
    pub(crate) fn read(&mut self, wanted: &GtidSet, stop: &StopToken) -> Result<bool> {
        while !self.taker.seen.contains_set(wanted) {
            if self.taker.found.count >= KEYS_MAX || self.taker.found.bytes >= KEY_BYTES_MAX {
                return Ok(false);
            }
            stop.check()?;
            self.taker.take(&self.stream.next_packet()?)?;
        }
        Ok(true)
    }

    /// Returns how many keys are there.
    pub(crate) fn count(&self) -> usize {
        self.taker.found.count
    }

    /// Gives the keys away.
    pub(crate) fn take_keys(&mut self) -> Vec<TouchedTable> {
        let Taker { found, watched, .. } = &mut self.taker;
        (found.count, found.bytes) = (0, 0);
        std::mem::take(&mut found.keys)
            .into_iter()
            .map(|(table, keys)| {
                let columns = watched.get(&table).map(Watched::key_names).unwrap_or_default();
                TouchedTable { table, columns, keys: keys.into_iter().collect() }
            })
            .collect()
    }

    /// Gives away which tables were touched in rows that nobody can name, and why.
    pub(crate) fn take_untold(&mut self) -> BTreeMap<TableName, &'static str> {
        std::mem::take(&mut self.taker.found.untold)
    }

    /// Gives away in which tables a foreign key may have changed rows that are not in the log.
    pub(crate) fn take_tied(&mut self) -> BTreeSet<TableName> {
        std::mem::take(&mut self.taker.found.tied)
    }

    /// Returns the selected tables that came since this was opened.
    pub(crate) fn unwatched(&self) -> &BTreeSet<TableName> {
        &self.taker.unwatched
    }
}

/// A table that is looked for.
struct Watched {
    hints: Vec<ColumnHint>,
    columns: Vec<Column>,
    /// The key's columns; none when its rows cannot be told.
    key: Vec<usize>,
}

impl Watched {
    fn new(table: &TableSchema) -> Self {
        let hints = table
            .columns
            .iter()
            .map(|column| ColumnHint::new(column.unsigned, matches!(column.kind, ColumnKind::Binary(_))))
            .collect();
        let key = table.row_key().map(|key| key.columns).unwrap_or_default();
        let is_told = key.iter().all(|&column| has_plain_text(&table.columns[column]));
        Watched { hints, columns: table.columns.clone(), key: if is_told { key } else { Vec::new() } }
    }

    fn key_names(&self) -> Vec<String> {
        self.key.iter().map(|&column| self.columns[column].name.clone()).collect()
    }

    fn key_of(&self, image: &RowImage) -> Option<Key> {
        self.key.iter().map(|&column| cell(image.get(column)?)).collect()
    }
}

/// Returns whether the log's value of a column is, as text, what a query sends.
fn has_plain_text(column: &Column) -> bool {
    !matches!(
        column.kind,
        ColumnKind::Float
            | ColumnKind::Double
            | ColumnKind::Year
            | ColumnKind::Json
            | ColumnKind::Geometry
            | ColumnKind::Vector
            | ColumnKind::Other(_)
    ) && !column.generated
}

fn cell(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::Int(number) => Some(number.to_string().into_bytes()),
        Value::UInt(number) => Some(number.to_string().into_bytes()),
        Value::Ascii(text) => Some(text.as_bytes().to_vec()),
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::Absent
        | Value::Null
        | Value::Float(_)
        | Value::Double(_)
        | Value::Json(_)
        | Value::JsonDiff(_) => None,
    }
}

/// What was touched.
#[derive(Default)]
struct Found {
    keys: BTreeMap<TableName, HashSet<Key>>,
    count: usize,
    bytes: usize,
    /// Tables that were touched, and why nobody can say in which rows.
    untold: BTreeMap<TableName, &'static str>,
    /// Tables in which a foreign key may have changed rows.
    tied: BTreeSet<TableName>,
}

impl Found {
    fn add(&mut self, table: &TableName, key: Key) {
        let size: usize = key.iter().map(|cell| cell.len() + 24).sum();
        if !self.keys.contains_key(table) {
            self.keys.insert(table.clone(), HashSet::new());
        }
        if self.keys.get_mut(table).is_some_and(|keys| keys.insert(key)) {
            self.count += 1;
            self.bytes += size;
        }
    }

    fn merge(&mut self, other: Found) {
        for (table, keys) in other.keys {
            keys.into_iter().for_each(|key| self.add(&table, key));
        }
        self.untold.extend(other.untold);
        self.tied.extend(other.tied);
    }

    /// Lets the keys go.
    fn forget_keys(&mut self, why: &'static str) {
        (self.count, self.bytes) = (0, 0);
        self.untold.extend(std::mem::take(&mut self.keys).into_keys().map(|table| (table, why)));
    }
}

/// Takes the log apart.
struct Taker {
    watched: HashMap<TableName, Watched>,
    /// The keys that act without a trace in the log, by their parent.
    acting: HashMap<TableName, Vec<ActingKey>>,
    selection: ObjectSelection,
    /// Names are stored in lower case, whatever a statement says.
    folds: bool,
    by_id: HashMap<u64, (TableName, Option<RowDecoder>)>,
    group: Option<Span>,
    /// Transactions that were read.
    seen: GtidSet,
    found: Found,
    /// The XA transaction under way, and what it touches.
    xa: Option<(String, Found)>,
    /// Those that are prepared.
    prepared: HashMap<String, Found>,
    /// Selected tables that came later.
    unwatched: BTreeSet<TableName>,
}

impl Taker {
    fn take(&mut self, raw: &RawEvent<'_>) -> Result<()> {
        match Event::parse(raw)? {
            Event::Gtid(event) => self.begin_group(&event),
            Event::TableMap(map) => self.map(&map)?,
            Event::Rows(rows) => self.rows(&rows)?,
            Event::Xid(_) => self.end_group(),
            Event::XaPrepare(event) => {
                if let Some((xid, touched)) = self.xa.take() {
                    if event.one_phase {
                        self.found.merge(touched);
                    } else {
                        self.prepared.insert(xid, touched);
                    }
                }
                self.end_group();
            }
            Event::Query(query) => {
                let text = String::from_utf8_lossy(query.statement);
                let statement = statement::classify(&text, &query.database);
                if matches!(statement.kind, StatementKind::AlterTable { .. })
                    && statement::sets_counter_alone(&text)
                {
                    // A way back does it, and no row changes.
                    self.end_group();
                    return Ok(());
                }
                self.statement(if self.folds { statement.lowering() } else { statement });
            }
            Event::TransactionPayload(payload) => {
                let mut events = payload.events(PAYLOAD_BYTES_MAX)?;
                while let Some(event) = events.next_event()? {
                    self.take(&event)?;
                }
                self.end_group();
            }
            Event::Rotate(_) => self.by_id.clear(),
            Event::FormatDescription(_)
            | Event::Heartbeat(_)
            | Event::RowsQuery(_)
            | Event::PreviousGtids(_)
            | Event::MariadbGtid(_)
            | Event::Other(_) => {}
        }
        Ok(())
    }

    fn statement(&mut self, statement: Statement) {
        match &statement.kind {
            StatementKind::Begin
            | StatementKind::Savepoint { .. }
            | StatementKind::ReleaseSavepoint { .. }
            | StatementKind::RollbackTo { .. }
            | StatementKind::XaEnd { .. } => return,
            StatementKind::XaStart { xid } => {
                self.xa = Some((xid.clone(), Found::default()));
                return;
            }
            StatementKind::XaCommit { xid, .. } => match self.prepared.remove(xid) {
                Some(touched) => self.found.merge(touched),
                None => {
                    let why = "the rows of an XA transaction that was prepared before that are not known";
                    self.found.untold.extend(self.watched.keys().map(|table| (table.clone(), why)));
                }
            },
            StatementKind::XaRollback { xid } => drop(self.prepared.remove(xid)),
            kind if kind.is_table_ddl() || *kind == StatementKind::Dml => self.schema_change(&statement),
            _ => {}
        }
        self.end_group();
    }

    fn schema_change(&mut self, statement: &Statement) {
        for (_, table) in statement.tables() {
            if let Some(keys) = self.acting.get(&table) {
                self.found.tied.extend(keys.iter().flat_map(|key| &key.tied).cloned());
            }
            if self.watched.contains_key(&table) {
                self.found.untold.insert(table, "its definition changed");
            }
        }
        let goes = matches!(statement.kind, StatementKind::DropTable { .. });
        let gone: Vec<TableName> = statement.renames().into_iter().map(|(old, _)| old).collect();
        for table in statement.changed_tables() {
            if goes || gone.contains(&table) {
                self.unwatched.remove(&table);
            } else if !self.watched.contains_key(&table) && self.selection.selects_table(&table) {
                self.unwatched.insert(table);
            }
        }
        if statement.kind == StatementKind::DropDatabase {
            self.unwatched.retain(|table| statement.databases().all(|database| table.database != database));
        }
    }

    fn begin_group(&mut self, event: &GtidEvent) {
        self.end_group();
        self.xa = None;
        self.group = Some(event.span());
    }

    fn end_group(&mut self) {
        if let Some(span) = self.group.take() {
            span.add_to(&mut self.seen);
        }
    }

    fn map(&mut self, map: &TableMap) -> Result<()> {
        let name = TableName::new(&map.database, &map.table);
        let decoder = match self.watched.get(&name) {
            Some(watched) if map.columns.len() == watched.hints.len() && !watched.key.is_empty() => {
                Some(RowDecoder::new(map, &watched.hints)?)
            }
            None if !self.acting.contains_key(&name) => {
                self.by_id.remove(&map.table_id);
                return Ok(());
            }
            _ => None,
        };
        self.by_id.insert(map.table_id, (name, decoder));
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<()> {
        let Some((name, decoder)) = self.by_id.get(&rows.table_id) else { return Ok(()) };
        let prepared_bytes: usize = self.prepared.values().map(|touched| touched.bytes).sum();
        let (found, is_xa) = match &mut self.xa {
            Some((_, touched)) => (touched, true),
            None => (&mut self.found, false),
        };
        let acts = rows.kind != RowsKind::Insert && rows.flags & RowsEvent::NO_FOREIGN_KEY_CHECKS == 0;
        let acting = self.acting.get(name).filter(|_| acts).map_or(&[][..], Vec::as_slice);
        let (Some(decoder), Some(watched)) = (decoder, self.watched.get(name)) else {
            found.tied.extend(acting.iter().flat_map(|key| &key.tied).cloned());
            if let Some(watched) = self.watched.get(name) {
                let why = if watched.key.is_empty() {
                    "it has no key that the log tells"
                } else {
                    "its definition changed"
                };
                found.untold.insert(name.clone(), why);
            }
            return Ok(());
        };
        let mut images = rows.rows(decoder)?;
        let (mut before, mut after) = (RowImage::new(), RowImage::new());
        while images.read_into(&mut before, &mut after)? {
            for key in acting.iter().filter(|key| after.is_empty() || key.minds(&before, &after)) {
                found.tied.extend(key.tied.iter().cloned());
            }
            for image in [&before, &after] {
                if image.is_empty() {
                    continue;
                }
                match watched.key_of(image) {
                    Some(key) => found.add(name, key),
                    None => drop(found.untold.insert(name.clone(), "the log does not hold the whole key")),
                }
            }
        }
        if is_xa && found.bytes + prepared_bytes > KEY_BYTES_MAX {
            found.forget_keys("XA transactions changed more of it than can be kept");
        }
        Ok(())
    }
}
