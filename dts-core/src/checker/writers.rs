//! Who else writes on the target?
//!
//! Every transaction of dts on the target holds a row of the schema `__dts__`: the applier's its checkpoint, the load's its
//! chunk, a repair its mark. The target's own binary log shows them, so a transaction that changes rows in a database of the
//! task without such a row is somebody else's.
//!
//! # What is not seen
//! - Sessions with `sql_log_bin = 0`, and a target without a binary log or without GTIDs.
//! - Schema changes: the log does not tell those that the applier carried from others. The comparison of the structure finds
//!   what they did.
//! - What was purged from the log before anybody looked; the report says so.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::binlog::{Event, GtidEvent, RawEvent};
use crate::data::{Gtid, GtidSet, Position, TableName};
use crate::error::{ErrorKind, Result, Side, Stage};
use crate::server;
use crate::source::binlog_stream::BinlogStream;
use crate::source::{SourceEndpoint, SourceOptions};
use crate::sql::statement::{self, StatementKind};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::SCHEMA;

/// Transactions that are listed; the rest is counted.
const LISTED_MAX: usize = 100;
/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long a log is silent that has nothing more; heartbeats come every five seconds.
const IDLE: Duration = Duration::from_secs(4);
/// Largest content of a compressed transaction that is read.
const PAYLOAD_BYTES_MAX: u64 = 4 << 30;

/// What the target's binary log says of writes of others.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct WritersReport {
    /// Why the log, or a part of it, could not be searched.
    pub incomplete: Option<String>,
    /// The transactions that were searched, as a GTID set.
    pub searched: String,
    /// How many of them are somebody else's.
    pub transactions: u64,
    /// The first of these.
    pub writes: Vec<ForeignWrite>,
}

/// A transaction on the target that is not ours.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ForeignWrite {
    /// Its GTID.
    pub gtid: String,
    /// When it was executed, in RFC 3339.
    pub time: String,
    /// The tables of the task that it changed, by their names on the target.
    pub tables: Vec<String>,
}

/// Searches the target's binary log.
pub struct WritersSearch<'a> {
    /// The target.
    pub target: &'a TargetEndpoint,
    /// The databases of the task on the target.
    pub databases: &'a BTreeSet<String>,
    /// What was searched before.
    pub since: &'a GtidSet,
}

/// A transaction under way.
struct Group {
    gtid: Gtid,
    timestamp: u32,
    is_ours: bool,
    tables: BTreeSet<TableName>,
}

/// What a search has seen.
#[derive(Default)]
struct Seen {
    done: GtidSet,
    group: Option<Group>,
    report: WritersReport,
}

impl WritersSearch<'_> {
    /// Searches up to what the target has executed now. Returns the report and what is searched from now on.
    ///
    /// # Errors
    /// [`Interrupted`](ErrorKind::Interrupted), a connection that breaks. What the account may not do, and what the target
    /// no longer has, is in the report.
    pub fn run(&self, stop: &StopToken) -> Result<(WritersReport, GtidSet)> {
        self.run_staged(stop).map_err(|error| error.in_stage(Stage::Check).on(Side::Target))
    }

    fn run_staged(&self, stop: &StopToken) -> Result<(WritersReport, GtidSet)> {
        if !self.target.facts().has_gtids() {
            let incomplete = "the target has no GTIDs: writes of others cannot be told from ours".to_owned();
            return Ok((
                WritersReport { incomplete: Some(incomplete), ..Default::default() },
                GtidSet::new(),
            ));
        }
        let goal = server::gtid_executed(&mut self.target.control(stop)?)?;
        let mut seen = Seen::default();
        if !self.since.contains_set(&goal)
            && let Err(error) = self.read(&goal, &mut seen, stop)
        {
            let why = match (error.kind(), error.server_error()) {
                (_, Some(answer)) if answer.is_privilege() => {
                    "the account on the target may not read its binary log: grant REPLICATION SLAVE on *.*"
                        .into()
                }
                (_, Some(answer)) => format!("the target's binary log could not be read: {answer}"),
                (ErrorKind::BinlogPurged { .. }, _) => {
                    "the target has purged a part of its binary log that was not searched yet".into()
                }
                (ErrorKind::SourceDiverged { .. }, _) => {
                    "the target no longer knows transactions that it had: was it restored?".into()
                }
                _ => return Err(error),
            };
            seen.report.incomplete = Some(why);
        }
        seen.report.searched = seen.done.to_string();
        Ok((seen.report, goal))
    }

    fn read(&self, goal: &GtidSet, seen: &mut Seen, stop: &StopToken) -> Result<()> {
        // The target's log is read as a source's is.
        let options = SourceOptions::new(self.target.options().connection.clone());
        let endpoint = SourceEndpoint::connect(options, stop)?;
        let mut stream = BinlogStream::open(&endpoint, &Position::Gtid(self.since.clone()), stop)?;
        let begun = Instant::now();
        let wanted = goal.subtract(self.since);
        while !seen.done.contains_set(&wanted) {
            stop.check()?;
            if begun.elapsed() > PATIENCE {
                seen.report.incomplete =
                    Some(format!("the search of the target's binary log was ended after {PATIENCE:?}"));
                break;
            }
            let asked = Instant::now();
            let event = stream.next_packet()?;
            // While it passes over what we know the server sends heartbeats one after another; after a pause it has sent all.
            if let Event::Heartbeat(_) = self.take(&event, seen)?
                && asked.elapsed() >= IDLE
            {
                break;
            }
        }
        seen.end_group();
        Ok(())
    }

    fn take<'e>(&self, raw: &RawEvent<'e>, seen: &mut Seen) -> Result<Event<'e>> {
        let event = Event::parse(raw)?;
        match &event {
            Event::Gtid(event) => seen.begin_group(event, raw.header.timestamp),
            Event::TableMap(map) => {
                self.touch(seen, TableName::new(map.database.as_str(), map.table.as_str()));
            }
            Event::Xid(_) | Event::XaPrepare(_) => seen.end_group(),
            Event::Query(query) => {
                let text = String::from_utf8_lossy(query.statement);
                let statement = statement::classify(&text, &query.database);
                match statement.kind {
                    StatementKind::Begin => {}
                    StatementKind::Dml => {
                        for (_, table) in statement.tables() {
                            self.touch(seen, table);
                        }
                    }
                    StatementKind::Savepoint { .. } | StatementKind::ReleaseSavepoint { .. } => {}
                    _ => seen.end_group(),
                }
            }
            Event::TransactionPayload(payload) => {
                let mut events = payload.events(PAYLOAD_BYTES_MAX)?;
                while let Some(event) = events.next_event()? {
                    self.take(&event, seen)?;
                }
                seen.end_group();
            }
            _ => {}
        }
        Ok(event)
    }

    fn touch(&self, seen: &mut Seen, table: TableName) {
        let Some(group) = &mut seen.group else { return };
        if table.database == SCHEMA {
            group.is_ours = true;
        } else if self.databases.contains(&table.database) {
            group.tables.insert(table);
        }
    }
}

impl Seen {
    fn begin_group(&mut self, event: &GtidEvent, timestamp: u32) {
        self.end_group();
        let gtid = Gtid { uuid: event.source_id, tag: event.tag.as_deref().map(Into::into), gno: event.gno };
        self.group = Some(Group { gtid, timestamp, is_ours: false, tables: BTreeSet::new() });
    }

    fn end_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        self.done.insert(&group.gtid);
        if group.is_ours || group.tables.is_empty() {
            return;
        }
        self.report.transactions += 1;
        if self.report.writes.len() < LISTED_MAX {
            let time = jiff::Timestamp::from_second(i64::from(group.timestamp)).unwrap_or_default();
            self.report.writes.push(ForeignWrite {
                gtid: group.gtid.to_string(),
                time: time.to_string(),
                tables: group.tables.iter().map(ToString::to_string).collect(),
            });
        }
    }
}
