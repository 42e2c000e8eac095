//! The session in which a schema change is run: as it was on the source.
use std::time::Duration;

use crate::binlog::QueryEvent;
use crate::data::ObjectKind;
use crate::error::{Error, ErrorKind, Recovery, Result, ServerError};
use crate::server::session;
use crate::source::SourceEndpoint;
use crate::sql::mend;
use crate::sql::quote;
use crate::sql::stored;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::wire::Connection;

use super::SchemaChange;
use super::plan::{Run, Sort};

/// A rebuild of a large table answers nothing for hours.
pub(super) const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The bits of `sql_mode` that every version still knows; the removed ones (DB2, MSSQL, NO_AUTO_CREATE_USER, ...) change
/// nothing in a table's definition and would be refused.
const SQL_MODE_KNOWN: u64 = 0x1
    | 0x2
    | 0x4
    | 0x8
    | 0x20
    | 0x40
    | 0x80
    | 0x8_0000
    | 0x10_0000
    | 0x20_0000
    | 0x40_0000
    | 0x80_0000
    | 0x100_0000
    | 0x200_0000
    | 0x400_0000
    | 0x2000_0000
    | 0x4000_0000
    | 0x8000_0000;

/// `utf8mb4_general_ci`: what `utf8mb4` alone meant before 8.0.
const UTF8MB4_GENERAL_CI: u16 = 45;

/// A session that runs one schema change. Nobody else changes the schema for the task while it lives.
pub(super) struct ChangeSession<'a> {
    connection: Connection,
    change: &'a SchemaChange,
}

impl<'a> ChangeSession<'a> {
    /// Opens it. Waits until a session of an earlier life has ended what it was sent.
    pub(super) fn open(
        target: &TargetEndpoint,
        ledger: &Ledger,
        change: &'a SchemaChange,
        stop: &StopToken,
    ) -> Result<Self> {
        let mut connection = target.control(stop)?;
        connection.set_answer_timeout(PATIENCE);
        let mut was_said = false;
        while let Some(holder) = ledger.lock_schema(&mut connection, 1)? {
            stop.check()?;
            if !std::mem::replace(&mut was_said, true) {
                log::info!(
                    "session {holder} on the target is still changing the schema for this task: waiting for it"
                );
            }
            let sql = format!("SELECT COMMAND FROM information_schema.PROCESSLIST WHERE ID = {holder}");
            let doing = connection.query_row(sql, "looking at another session")?.map(|row| row.string(0));
            if doing.as_deref() == Some("Sleep") {
                // It has ended its work and nobody is at its other end. Gone meanwhile is as good.
                match connection.execute(format!("KILL {holder}"), "ending an idle session") {
                    Err(error) if error.server_error().is_none() => return Err(error),
                    _ => stop.sleep(Duration::from_millis(50))?,
                }
            }
        }
        Ok(ChangeSession { connection, change })
    }

    /// Sets the session up as the source's was.
    pub(super) fn prepare(
        &mut self,
        source: &SourceEndpoint,
        target: &TargetEndpoint,
        query: &QueryEvent<'_>,
        timestamp: u32,
        database: &str,
        stop: &StopToken,
    ) -> Result<()> {
        let status = &query.status;
        let connection = &mut self.connection;
        let mode = status.sql_mode.unwrap_or(0) & SQL_MODE_KNOWN;
        let microseconds = status.microseconds.unwrap_or(0);
        let mut sql = format!(
            "SET SESSION timestamp = {timestamp}.{microseconds:06}, auto_increment_increment = {}, auto_increment_offset = {}",
            status.auto_increment_increment.unwrap_or(1),
            status.auto_increment_offset.unwrap_or(1),
        );
        // 5.6 does not log it for the default of a TIMESTAMP column, which depends on it all the same.
        let zone = status.time_zone.as_deref().or(source.facts().variable("time_zone")).unwrap_or("SYSTEM");
        let zone = if zone == "SYSTEM" { system_offset(source, timestamp, stop)? } else { zone.to_owned() };
        sql.push_str(&format!(", time_zone = {}", quote::string_literal(&zone)));
        connection.execute(sql, "setting up the session of a schema change")?;
        if let Some(collation) = status.collation_connection {
            // A literal is converted from the client's character set to this one, so that only this one has a meaning.
            connection.execute(
                format!("SET SESSION collation_connection = {collation}"),
                "setting up the session of a schema change",
            )?;
        }
        if let Some(client) = status.character_set_client.filter(|_| self.change.is_as_sent) {
            // Views and programs keep it with their text.
            let sql = format!("SET SESSION character_set_client = {client}");
            session::wish(connection, &[sql.as_str()])?;
        }
        let explicit = status
            .explicit_defaults_for_timestamp
            .or_else(|| source.facts().is_on("explicit_defaults_for_timestamp"));
        let explicit =
            format!("SET SESSION explicit_defaults_for_timestamp = {}", u8::from(explicit.unwrap_or(false)));
        let server = status.collation_server.map(|id| format!("SET SESSION collation_server = {id}"));
        let utf8mb4 = match utf8mb4_collation(query, target) {
            Some(name) => format!("SET SESSION default_collation_for_utf8mb4 = {name}"),
            None => String::new(),
        };
        let wanted: Vec<&str> = [Some(explicit.as_str()), server.as_deref(), Some(utf8mb4.as_str())]
            .into_iter()
            .flatten()
            .filter(|sql| !sql.is_empty())
            .collect();
        let refused = session::wish(connection, &wanted)?;
        if refused.contains(&explicit.as_str())
            && explicit.ends_with('0')
            && mend::row_effects(&self.change.text, self.change.dialect).names_timestamp
            && target.facts().is_on("explicit_defaults_for_timestamp") == Some(true)
        {
            return Err(self.change.refused(
                "it names TIMESTAMP columns under explicit_defaults_for_timestamp = OFF, and the target does not let the task's account \
                 switch that off (grant SYSTEM_VARIABLES_ADMIN or SESSION_VARIABLES_ADMIN)",
            ));
        }
        if !database.is_empty() {
            // The default database may have been dropped since; a statement that names its own does not need it.
            let chosen =
                connection.execute(format!("USE {}", quote::identifier(database)), "choosing the database");
            if let Err(error) = chosen
                && error.server_error().is_none()
            {
                return Err(error);
            }
        }
        // The last: literals of our own are for a session with backslash escapes.
        connection
            .execute(format!("SET SESSION sql_mode = {mode}"), "setting up the session of a schema change")
            .map(drop)
    }

    /// Runs a statement. Returns the number of a warning that tells of a changed value, if there is one.
    pub(super) fn run(&mut self, run: &Run) -> Result<Option<u16>> {
        let table = run.tables.first();
        let outcome = match run.sort {
            Sort::Object(kind) => self.run_object(&run.sql, kind),
            Sort::Once | Sort::Swap | Sort::Again => {
                self.connection.execute(&run.sql, "carrying a schema change")
            }
        };
        let done = outcome.map_err(|error| match error.server_error() {
            Some(answer) if error.recovery() == Recovery::Operator => {
                let error = self.change.refused_by_target(answer);
                if let Some(table) = table { error.for_table(table) } else { error }
            }
            _ => error,
        })?;
        if done.warnings == 0 || run.tables.is_empty() {
            return Ok(None);
        }
        let warnings = self.connection.query("SHOW WARNINGS", "reading warnings")?;
        Ok(warnings
            .iter()
            .filter_map(|row| row.u64(1).and_then(|code| u16::try_from(code).ok()))
            .find(|code| changes_values(*code)))
    }

    /// Where the target does not let us name the definer, whoever uses the object becomes it, as in
    /// [`structure`](crate::structure).
    fn run_object(&mut self, sql: &str, kind: ObjectKind) -> Result<crate::wire::Done> {
        let error = match self.connection.execute(sql, "carrying a schema change") {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        // ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_NO_SUCH_USER
        let is_refusal = error.server_error().is_some_and(|answer| matches!(answer.code, 1227 | 1449));
        let Some(text) = stored::with_current_user(sql, self.change.dialect).filter(|_| is_refusal) else {
            return Err(error);
        };
        log::warn!(
            "the target does not let the task's account name the definer: {kind} gets the task's account"
        );
        self.connection.execute(text, "carrying a schema change")
    }
}

impl SchemaChange {
    fn refused_by_target(&self, answer: &ServerError) -> Error {
        let why = match answer.code {
            // Their texts hold values of rows.
            1062 => "the target has a value twice that must be there once (server error 1062): the change was not made".into(),
            1264 | 1265 | 1292 | 1366 | 1406 | 1411 | 1525 => format!(
                "a value of the target does not fit the new definition (server error {}): the change was not made",
                answer.code
            ),
            _ => format!("the target answered: {answer}"),
        };
        self.refused(&why)
    }
}

/// Warnings by which the server says that it changed a value: out of range, truncated, incorrect, too long.
fn changes_values(code: u16) -> bool {
    matches!(code, 1264 | 1265 | 1292 | 1366 | 1406 | 1411)
}

/// Returns the collation that `utf8mb4` alone means to the session, when that is not what it means to the target.
pub(super) fn utf8mb4_collation(query: &QueryEvent<'_>, target: &TargetEndpoint) -> Option<&'static str> {
    let is_general = query.status.default_collation_for_utf8mb4.is_none_or(|id| id == UTF8MB4_GENERAL_CI);
    (is_general && target.facts().is_mysql_at_least(8, 0, 0)).then_some("utf8mb4_general_ci")
}

/// Returns how far the source's own clock was from UTC at a moment, as `+08:00`.
fn system_offset(source: &SourceEndpoint, timestamp: u32, stop: &StopToken) -> Result<String> {
    let mut connection = source.control(stop)?;
    connection.execute("SET SESSION time_zone = 'SYSTEM'", "asking for the source's time zone")?;
    let sql = format!(
        "SELECT TIMESTAMPDIFF(MINUTE, '1970-01-01' + INTERVAL {timestamp} SECOND, FROM_UNIXTIME({timestamp}))"
    );
    let minutes: Option<i64> = connection
        .query_row(sql, "asking for the source's time zone")?
        .and_then(|row| row.string(0).parse().ok());
    let minutes = minutes.ok_or_else(|| {
        Error::from(ErrorKind::Protocol { what: "the source does not tell its time zone's offset".into() })
    })?;
    let sign = if minutes < 0 { '-' } else { '+' };
    Ok(format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60))
}
