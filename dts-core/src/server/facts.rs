//! Flavor, version and settings of a server.
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::data::{BinlogCoordinates, GtidSet, LogOffsets};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::create_table::CharsetNames;
use crate::stop::StopToken;
use crate::wire::Connection;

/// MySQL (and what is compatible with it: Percona, RDS, TencentDB) or MariaDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavor {
    /// MySQL and compatible servers.
    MySql,
    /// MariaDB.
    MariaDb,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flavor::MySql => "MySQL",
            Flavor::MariaDb => "MariaDB",
        })
    }
}

/// Major, minor and patch number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct ServerVersion(pub u16, pub u16, pub u16);

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl ServerVersion {
    /// Reads the leading numbers of a version text such as `5.6.24-log` or `10.11.19-MariaDB`.
    pub fn parse(text: &str) -> Option<Self> {
        // MariaDB before 11 puts `5.5.5-` in front, for old replicas.
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit() && c != '.')
            .next()?
            .split('.')
            .map(|part| part.parse::<u16>().ok());
        Some(ServerVersion(numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

/// What a server says of itself at the time of connecting.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// MySQL or MariaDB.
    pub flavor: Flavor,
    /// The numbers of the version.
    pub version: ServerVersion,
    /// The version's whole text.
    pub version_text: String,
    /// The account as the server sees it: `CURRENT_USER()`.
    pub current_user: String,
    /// The host that the server sees us come from: the second half of `USER()`.
    pub seen_from: String,
    variables: HashMap<String, String>,
}

impl ServerFacts {
    /// Asks the server.
    ///
    /// # Errors
    /// What the server answered; [`ErrorKind::Unsupported`] when it is older than 5.6 or its version cannot be read.
    pub fn read(connection: &mut Connection) -> Result<ServerFacts> {
        let row = connection
            .query_row(
                "SELECT VERSION(), CURRENT_USER(), USER(), @@version_comment",
                "asking for the version",
            )?
            .ok_or_else(|| Error::internal("no version"))?;
        let version_text = row.string(0);
        let comment = row.string(3);
        let flavor = if version_text.contains("MariaDB") || comment.contains("MariaDB") {
            Flavor::MariaDb
        } else {
            Flavor::MySql
        };
        let version = ServerVersion::parse(&version_text).ok_or_else(|| ErrorKind::Unsupported {
            what: format!("version '{version_text}' cannot be read"),
        })?;
        if version < ServerVersion(5, 6, 0) {
            return Err(
                ErrorKind::Unsupported { what: format!("version {version} is older than 5.6") }.into()
            );
        }
        let mut variables = HashMap::new();
        // Values are cut at 1024 bytes here: nothing that can be longer (GTID sets) may be read from this map.
        for row in connection.query("SHOW GLOBAL VARIABLES", "reading the server's settings")? {
            variables.insert(row.string(0).to_ascii_lowercase(), row.string(1));
        }
        let seen_from = row.string(2).rsplit_once('@').map(|(_, host)| host.to_owned()).unwrap_or_default();
        Ok(ServerFacts { flavor, version, version_text, current_user: row.string(1), seen_from, variables })
    }

    /// Returns a global setting; `None` when this server does not have it or hides it.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns a global setting that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.variable(name)?.parse().ok()
    }

    /// Returns whether a global switch is on; `None` when this server does not have it or hides it.
    pub fn is_on(&self, name: &str) -> Option<bool> {
        self.variable(name).map(|value| value.eq_ignore_ascii_case("ON") || value == "1")
    }

    /// Returns the server's identity. 5.6 and later have one; MariaDB has none.
    pub fn server_uuid(&self) -> Option<&str> {
        self.variable("server_uuid").filter(|uuid| !uuid.is_empty())
    }

    /// Returns whether every transaction has a GTID of MySQL's kind.
    pub fn has_gtids(&self) -> bool {
        self.flavor == Flavor::MySql
            && self.variable("gtid_mode").is_some_and(|mode| mode.eq_ignore_ascii_case("ON"))
    }

    /// Returns what the files of the server's binary log are called without their number: `mysql-bin`.
    pub fn log_name(&self) -> Option<&str> {
        self.variable("log_bin_basename")?.rsplit(['/', '\\']).next().filter(|name| !name.is_empty())
    }

    /// Returns `max_allowed_packet` in bytes; 4 MiB, the smallest default of all versions, when it is hidden.
    pub fn max_allowed_packet(&self) -> u64 {
        self.number("max_allowed_packet").unwrap_or(4 << 20)
    }

    /// Returns whether the version is MySQL's and at least this one.
    pub fn is_mysql_at_least(&self, major: u16, minor: u16, patch: u16) -> bool {
        self.flavor == Flavor::MySql && self.version >= ServerVersion(major, minor, patch)
    }

    /// Returns how this server calls the three-byte UTF-8.
    pub fn charset_names(&self) -> CharsetNames {
        let (major, minor, patch) = (self.version.0, self.version.1, self.version.2);
        let number = u32::from(major) * 1_00_00 + u32::from(minor) * 1_00 + u32::from(patch);
        match self.flavor {
            Flavor::MySql => CharsetNames::of_mysql(number),
            Flavor::MariaDb => CharsetNames::of_mariadb(number),
        }
    }

    /// Returns whether what a foreign key changes by itself (CASCADE, SET NULL) is in the binary log, row by row: from MySQL 9.6
    /// on, unless the old way inside InnoDB was asked for at the start of the server.
    pub fn logs_cascades(&self) -> bool {
        self.flavor == Flavor::MySql && self.is_on("innodb_native_foreign_keys") == Some(false)
    }

    /// Returns `lower_case_table_names`: 0 names are case-sensitive, 1 stored in lower case, 2 compared so.
    pub fn lower_case_table_names(&self) -> u64 {
        self.number("lower_case_table_names").unwrap_or(0)
    }
}

/// How far a server's log has come.
enum Executed {
    Gtids(GtidSet),
    /// Without GTIDs: the end of the log.
    Log(LogOffsets),
}

/// Reads `@@GLOBAL.gtid_executed`, whole. Of a server whose `gtid_mode` is not ON, the end of its binary log, as a set of
/// [`LogOffsets`].
///
/// Never through SHOW VARIABLES, which cuts at 1024 bytes (loongcollector#1644).
///
/// # Errors
/// What the server answered, or a set that cannot be read; [`ErrorKind::SystemVariable`] when there is no binary log.
pub fn gtid_executed(connection: &mut Connection) -> Result<GtidSet> {
    Ok(match executed(connection)? {
        Executed::Gtids(set) => set,
        Executed::Log(end) => end.all_before(),
    })
}

fn executed(connection: &mut Connection) -> Result<Executed> {
    match gtid_variable(connection, "SELECT @@GLOBAL.gtid_mode, @@GLOBAL.gtid_executed")? {
        Some(set) => Ok(Executed::Gtids(set)),
        None => {
            let end = log_end(connection)?;
            log_offsets(&end).map(Executed::Log)
        }
    }
}

/// Reads where a server's binary log ends. That runs ahead of what is visible: a transaction is in the log before the engine
/// commits it.
///
/// # Errors
/// What the server answered; [`ErrorKind::SystemVariable`] when there is no binary log.
pub fn log_end(connection: &mut Connection) -> Result<BinlogCoordinates> {
    // The old words are gone from 8.4 on; MariaDB has only them.
    let version = connection.server_version();
    let is_new = !version.contains("MariaDB")
        && ServerVersion::parse(version).is_some_and(|version| version >= ServerVersion(8, 2, 0));
    let sql = if is_new { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    match connection.query_row(sql, "asking for the binary log's position")? {
        Some(row) => BinlogCoordinates::parse(&format!("{}:{}", row.string(0), row.string(1))),
        None => Err(no_log()),
    }
}

/// Reads where the oldest log file that a server still has begins.
///
/// # Errors
/// As [`log_end`].
pub fn log_start(connection: &mut Connection) -> Result<BinlogCoordinates> {
    let rows = connection.query("SHOW BINARY LOGS", "asking for the binary log's files")?;
    rows.first().map(|row| BinlogCoordinates::start_of(row.string(0))).ok_or_else(no_log)
}

#[cold]
fn no_log() -> Error {
    ErrorKind::SystemVariable { name: "log_bin", expected: "ON".into(), actual: "OFF".into() }.into()
}

fn log_offsets(coordinates: &BinlogCoordinates) -> Result<LogOffsets> {
    LogOffsets::of(coordinates).ok_or_else(|| {
        let what = format!("to follow a binary log whose file has no number below 16 million: {coordinates}");
        ErrorKind::Unsupported { what }.into()
    })
}

/// Reads `@@GLOBAL.gtid_owned`: the transactions that are on their way into the log or into the engine at this moment.
///
/// # Errors
/// As [`gtid_executed`].
pub fn gtid_owned(connection: &mut Connection) -> Result<GtidSet> {
    let row = connection.query_row("SELECT @@GLOBAL.gtid_owned", "reading the GTIDs under way")?;
    GtidSet::parse(&without_owners(&row.map(|row| row.string(0)).unwrap_or_default()))
}

/// Reads transactions of which every one is committed in the engine: visible to any read that begins after this.
///
/// `gtid_executed` alone does not promise that. 5.6 adds a GTID when it flushes the binary log, before the engine commits:
/// with `sync_binlog=1` and 16 writers, three of four reads of it were ahead of what a SELECT saw (later versions: none).
/// But a session owns its GTID until its engine commit is done. So what is in `gtid_executed` and is, *afterwards*, not
/// in `gtid_owned` is committed. (Read the other way round, a transaction could slip in between.)
///
/// Without GTIDs: everything before the present log file. The end of the log is ahead of the engine, too, but a server begins a
/// new file only when all that is in the one before is committed in the engine.
///
/// # Errors
/// As [`gtid_executed`].
pub fn gtid_committed(connection: &mut Connection) -> Result<GtidSet> {
    match executed(connection)? {
        Executed::Gtids(set) => Ok(set.subtract(&gtid_owned(connection)?)),
        Executed::Log(end) => {
            let start = LogOffsets { offset: BinlogCoordinates::FIRST_EVENT, ..end };
            Ok(start.all_before())
        }
    }
}

/// Reads a set that holds every transaction that was visible to a read before this.
///
/// From 5.7 on a transaction is visible for a moment before `gtid_executed` has it, but it is owned then: so this waits until
/// what is owned now no longer is. What stays owned for longer than `patience` is not in the middle of a commit (a session
/// with a GTID given by hand, or one whose log waits for a replica's answer) and is not visible.
///
/// # Errors
/// As [`gtid_executed`], or somebody asked to stop.
pub fn gtid_visible(connection: &mut Connection, patience: Duration, stop: &StopToken) -> Result<GtidSet> {
    if let Executed::Log(end) = executed(connection)? {
        // What is visible is in the log.
        return Ok(end.all_before());
    }
    let end = Instant::now() + patience;
    let mut under_way = gtid_owned(connection)?;
    while !under_way.is_empty() && Instant::now() < end {
        stop.sleep(Duration::from_millis(2))?;
        under_way = under_way.intersection(&gtid_owned(connection)?);
    }
    gtid_executed(connection)
}

/// Takes the `#thread` out of `uuid:5#12:6#13,uuid:1#14`.
fn without_owners(text: &str) -> String {
    let mut in_owner = false;
    text.chars()
        .filter(|character| {
            in_owner = *character == '#' || (in_owner && character.is_ascii_digit());
            !in_owner
        })
        .collect()
}

/// Reads `@@GLOBAL.gtid_purged`, whole; without GTIDs, everything before the oldest log file.
///
/// # Errors
/// As [`gtid_executed`].
pub fn gtid_purged(connection: &mut Connection) -> Result<GtidSet> {
    match gtid_variable(connection, "SELECT @@GLOBAL.gtid_mode, @@GLOBAL.gtid_purged")? {
        Some(set) => Ok(set),
        None => {
            let start = log_start(connection)?;
            Ok(log_offsets(&start)?.all_before())
        }
    }
}

/// Reads where the server's own binary log stands, as it prints it: a GTID set, or `file:offset` without GTIDs. `None` when it
/// writes none, or the account may not ask.
///
/// # Errors
/// A broken connection.
pub fn binlog_position(connection: &mut Connection, facts: &ServerFacts) -> Result<Option<String>> {
    if facts.has_gtids() {
        return Ok(Some(gtid_executed(connection)?.to_string()));
    }
    match log_end(connection) {
        Ok(end) => Ok(Some(end.to_string())),
        Err(error)
            if error.server_error().is_some() || matches!(error.kind(), ErrorKind::SystemVariable { .. }) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns the names and sizes of the server's binary log files, in order; `None` when the account may not ask.
///
/// # Errors
/// A broken connection.
pub fn binlog_files(connection: &mut Connection) -> Result<Option<Vec<(String, u64)>>> {
    match connection.query("SHOW BINARY LOGS", "asking for the sizes of the binary log") {
        Ok(rows) => Ok(Some(rows.iter().map(|row| (row.string(0), row.u64(1).unwrap_or(0))).collect())),
        Err(error) if error.server_error().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// `ER_UNKNOWN_SYSTEM_VARIABLE`: what MariaDB answers.
const UNKNOWN_VARIABLE: u16 = 1193;

/// Reads the second column when the first, `gtid_mode`, is ON.
fn gtid_variable(connection: &mut Connection, sql: &'static str) -> Result<Option<GtidSet>> {
    let row = match connection.query_row(sql, "reading a GTID set") {
        Ok(row) => row.ok_or_else(|| Error::internal("no GTID set"))?,
        Err(error) if error.server_error().is_some_and(|server| server.code == UNKNOWN_VARIABLE) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if row.string(0).eq_ignore_ascii_case("ON") { GtidSet::parse(&row.string(1)).map(Some) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::{ServerVersion, without_owners};

    #[test]
    fn owned_gtids_without_their_owners() {
        assert_eq!(without_owners("u:5#12:6#13,\nv:tag:1#14#15"), "u:5:6,\nv:tag:1");
        assert_eq!(without_owners(""), "");
    }

    #[test]
    fn versions_of_real_servers() {
        for (text, version) in [
            ("5.6.24-log", ServerVersion(5, 6, 24)),
            ("9.7.0", ServerVersion(9, 7, 0)),
            ("10.11.19-MariaDB-0+deb12u1", ServerVersion(10, 11, 19)),
            ("5.5.5-10.4.8-MariaDB", ServerVersion(10, 4, 8)),
            ("8.0.30-txsql", ServerVersion(8, 0, 30)),
            ("5.7.18-20170830-log", ServerVersion(5, 7, 18)),
        ] {
            assert_eq!(ServerVersion::parse(text), Some(version), "{text}");
        }
        assert_eq!(ServerVersion::parse("what"), None);
    }
}
