//! Which rows were touched since a position: read from the log, not from whoever applies.
//!
//! So a change that an applier had lost is looked at all the same. The stream is opened once and stays open: a server needs
//! its time to find a position in its log, and the last piece is read while nobody may write.
//!
//! Keys are kept up to a bound; the caller compares what there is and goes on. Of a table whose rows cannot be told by a key of
//! the log, or whose definition changed, it is only known *that* it was touched.
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::binlog::{ColumnHint, Event, GtidEvent, RawEvent, RowDecoder, RowsEvent, TableMap};
use crate::data::{Column, ColumnKind, GtidSet, Position, RowImage, Span, TableName, TableSchema, Value};
use crate::error::Result;
use crate::source::SourceEndpoint;
use crate::source::binlog_stream::BinlogStream;
use crate::sql::statement::{self, StatementKind};
use crate::stop::StopToken;

/// Keys that are kept.
const KEYS_MAX: usize = 50_000;
/// Bytes of them.
const KEY_BYTES_MAX: usize = 16 << 20;
/// Largest content of a compressed transaction that is read.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// The cells of a key.
type Key = Vec<Vec<u8>>;

/// A table that is looked for.
struct Watched {
    hints: Vec<ColumnHint>,
    columns: Vec<Column>,
    /// The key's columns; none when its rows cannot be told.
    key: Vec<usize>,
}

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
    watched: HashMap<TableName, Watched>,
    by_id: HashMap<u64, (TableName, Option<RowDecoder>)>,
    group: Option<Span>,
    /// Transactions that were read.
    seen: GtidSet,
    keys: BTreeMap<TableName, HashSet<Key>>,
    count: usize,
    bytes: usize,
    /// Tables that were touched, and why nobody can say in which rows.
    untold: BTreeMap<TableName, &'static str>,
}

impl TouchedRows {
    /// Begins after `since`, which may be long ago.
    pub(crate) fn open(
        source: &SourceEndpoint,
        tables: &[TableSchema],
        since: &GtidSet,
        stop: &StopToken,
    ) -> Result<Self> {
        let stream = BinlogStream::open(source, &Position::Gtid(since.clone()), stop)?;
        let watched = tables.iter().map(|table| (table.name.clone(), Watched::new(table))).collect();
        Ok(TouchedRows {
            stream,
            watched,
            by_id: HashMap::new(),
            group: None,
            seen: since.clone(),
            keys: BTreeMap::new(),
            count: 0,
            bytes: 0,
            untold: BTreeMap::new(),
        })
    }

    /// Reads until all of `wanted` was seen, or there are as many keys as may be kept; returns whether it was the former.
    pub(crate) fn read(&mut self, wanted: &GtidSet, stop: &StopToken) -> Result<bool> {
        while !self.seen.contains_set(wanted) {
            if self.count >= KEYS_MAX || self.bytes >= KEY_BYTES_MAX {
                return Ok(false);
            }
            stop.check()?;
            // What was received is taken apart after it was read: the packet lives in the stream.
            let packet = self.stream.next_packet()?;
            let mut taker = Taker {
                watched: &self.watched,
                by_id: &mut self.by_id,
                group: &mut self.group,
                seen: &mut self.seen,
                keys: &mut self.keys,
                count: &mut self.count,
                bytes: &mut self.bytes,
                untold: &mut self.untold,
            };
            taker.take(&packet)?;
        }
        Ok(true)
    }

    /// Returns how many keys are there.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Gives the keys away.
    pub(crate) fn take_keys(&mut self) -> Vec<TouchedTable> {
        (self.count, self.bytes) = (0, 0);
        std::mem::take(&mut self.keys)
            .into_iter()
            .map(|(table, keys)| {
                let columns = self.watched.get(&table).map(Watched::key_names).unwrap_or_default();
                TouchedTable { table, columns, keys: keys.into_iter().collect() }
            })
            .collect()
    }

    /// Gives away which tables were touched in rows that nobody can name.
    pub(crate) fn take_untold(&mut self) -> BTreeMap<TableName, &'static str> {
        std::mem::take(&mut self.untold)
    }
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

/// All of [`TouchedRows`] but the stream, whose packet is looked at.
struct Taker<'t> {
    watched: &'t HashMap<TableName, Watched>,
    by_id: &'t mut HashMap<u64, (TableName, Option<RowDecoder>)>,
    group: &'t mut Option<Span>,
    seen: &'t mut GtidSet,
    keys: &'t mut BTreeMap<TableName, HashSet<Key>>,
    count: &'t mut usize,
    bytes: &'t mut usize,
    untold: &'t mut BTreeMap<TableName, &'static str>,
}

impl Taker<'_> {
    fn take(&mut self, raw: &RawEvent<'_>) -> Result<()> {
        match Event::parse(raw)? {
            Event::Gtid(event) => self.begin_group(&event),
            Event::TableMap(map) => self.map(map)?,
            Event::Rows(rows) => self.rows(&rows)?,
            Event::Xid(_) | Event::XaPrepare(_) => self.end_group(),
            Event::Query(query) => {
                let text = String::from_utf8_lossy(query.statement);
                let statement = statement::classify(&text, &query.database);
                match &statement.kind {
                    StatementKind::Begin
                    | StatementKind::Savepoint { .. }
                    | StatementKind::ReleaseSavepoint { .. }
                    | StatementKind::RollbackTo { .. }
                    | StatementKind::XaStart { .. }
                    | StatementKind::XaEnd { .. } => {}
                    _ => {
                        if statement.kind.is_table_ddl() || statement.kind == StatementKind::Dml {
                            for (_, table) in statement.tables() {
                                if self.watched.contains_key(&table) {
                                    self.untold.insert(table, "its definition changed");
                                }
                            }
                        }
                        self.end_group();
                    }
                }
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

    fn begin_group(&mut self, event: &GtidEvent) {
        self.end_group();
        *self.group = Some(event.span());
    }

    fn end_group(&mut self) {
        if let Some(span) = self.group.take() {
            span.add_to(self.seen);
        }
    }

    fn map(&mut self, map: TableMap) -> Result<()> {
        let name = TableName::new(&map.database, &map.table);
        let Some(watched) = self.watched.get(&name) else {
            self.by_id.remove(&map.table_id);
            return Ok(());
        };
        let fits = map.columns.len() == watched.hints.len();
        let decoder =
            if fits && !watched.key.is_empty() { Some(RowDecoder::new(&map, &watched.hints)?) } else { None };
        self.by_id.insert(map.table_id, (name, decoder));
        Ok(())
    }

    fn rows(&mut self, rows: &RowsEvent<'_>) -> Result<()> {
        let Some((name, decoder)) = self.by_id.get(&rows.table_id) else { return Ok(()) };
        let Some(watched) = self.watched.get(name) else { return Ok(()) };
        let Some(decoder) = decoder else {
            let why = if watched.key.is_empty() {
                "it has no key that the log tells"
            } else {
                "its definition changed"
            };
            self.untold.insert(name.clone(), why);
            return Ok(());
        };
        let mut images = rows.rows(decoder)?;
        let (mut before, mut after) = (RowImage::new(), RowImage::new());
        while images.read_into(&mut before, &mut after)? {
            for image in [&before, &after] {
                if image.is_empty() {
                    continue;
                }
                let Some(key) = watched.key_of(image) else {
                    self.untold.insert(name.clone(), "the log does not hold the whole key");
                    continue;
                };
                let size: usize = key.iter().map(|cell| cell.len() + 24).sum();
                if self.keys.entry(name.clone()).or_default().insert(key) {
                    *self.count += 1;
                    *self.bytes += size;
                }
            }
        }
        Ok(())
    }
}
