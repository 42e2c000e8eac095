//! What is in the binary logs of a server, read from its files.
use dts_core::binlog::{
    BinlogFile, ColumnHint, Event, EventType, FormatDescription, GtidEvent, PreviousGtids, RawEvent,
    RowChange, RowDecoder, RowsEvent, TableMap, XaPrepare,
};
use dts_testbed::Server;

/// Chooses the hints for a table.
pub(super) type Hints<'h> = &'h dyn Fn(&TableMap) -> Vec<ColumnHint>;

/// All that was decoded, in order.
#[derive(Default)]
pub(super) struct Log {
    pub(super) formats: Vec<FormatDescription>,
    pub(super) types: Vec<EventType>,
    pub(super) gtids: Vec<GtidEvent>,
    pub(super) previous_gtids: Vec<PreviousGtids>,
    /// Database and text.
    pub(super) statements: Vec<(String, String)>,
    pub(super) rows_queries: Vec<String>,
    /// One phase, and the global part of the name.
    pub(super) prepared: Vec<(bool, String)>,
    /// Table, version of the event, and change.
    pub(super) changes: Vec<(String, EventType, RowChange)>,
    pub(super) maps: Vec<TableMap>,
    /// Whether any image left columns out.
    pub(super) has_partial_images: bool,
}

impl Log {
    pub(super) fn read(server: &Server, hints: Hints<'_>) -> Self {
        let mut log = Log::default();
        let files: Vec<mysql::Row> = server.query("SHOW BINARY LOGS");
        for file in files {
            let name: String = file.get(0).expect("a file has a name");
            let bytes = std::fs::read(server.datadir().join(name)).expect("the file is in the data folder");
            for event in BinlogFile::new(&bytes).expect("the file begins as one") {
                log.add(&event.expect("the event is intact"), hints);
            }
        }
        log
    }

    fn add(&mut self, raw: &RawEvent<'_>, hints: Hints<'_>) {
        self.types.push(raw.header.event_type);
        match Event::parse(raw).expect("the event can be read") {
            Event::FormatDescription(format) => self.formats.push(format),
            Event::Gtid(gtid) => self.gtids.push(gtid),
            Event::PreviousGtids(gtids) => self.previous_gtids.push(gtids),
            Event::Query(query) => {
                assert_eq!(query.status.unknown, None, "all status variables are known");
                self.statements.push((query.database, String::from_utf8_lossy(query.statement).into_owned()));
            }
            Event::RowsQuery(text) => self.rows_queries.push(String::from_utf8_lossy(text).into_owned()),
            Event::XaPrepare(XaPrepare { one_phase, gtrid, .. }) => {
                self.prepared.push((one_phase, String::from_utf8_lossy(gtrid).into_owned()));
            }
            Event::TableMap(map) => self.maps.push(map),
            Event::Rows(rows) => self.add_rows(&rows, raw.header.event_type, hints),
            Event::TransactionPayload(payload) => {
                let mut events = payload.events(1 << 30).expect("it is small");
                while let Some(inner) = events.next_event().expect("it can be decompressed") {
                    self.add(&inner, hints);
                }
            }
            _ => {}
        }
    }

    fn add_rows(&mut self, rows: &RowsEvent<'_>, event_type: EventType, hints: Hints<'_>) {
        let map =
            self.maps.iter().rev().find(|map| map.table_id == rows.table_id).expect("a map came before");
        let decoder = RowDecoder::new(map, &hints(map)).expect("all columns can be carried");
        let changes: Vec<RowChange> = rows
            .rows(&decoder)
            .expect("it is the same table")
            .map(|change| change.expect("the row is intact"))
            .collect();
        assert_eq!(
            rows.row_count(&decoder).expect("rows can be skipped"),
            u64::try_from(changes.len()).unwrap()
        );
        self.has_partial_images |= !rows.is_full();
        let table = map.table.clone();
        self.changes.extend(changes.into_iter().map(|change| (table.clone(), event_type, change)));
    }

    /// Returns the changes of one table.
    pub(super) fn of(&self, table: &str) -> Vec<&RowChange> {
        self.changes.iter().filter(|(name, ..)| name == table).map(|(_, _, change)| change).collect()
    }

    pub(super) fn count(&self, event_type: EventType) -> usize {
        self.types.iter().filter(|other| **other == event_type).count()
    }

    pub(super) fn last_map(&self, table: &str) -> &TableMap {
        self.maps.iter().rev().find(|map| map.table == table).expect("the table has a map")
    }
}
