//! DDL in the stream: which statements are carried, and under which session.
use std::collections::HashSet;

use crate::binlog::QueryEvent;
use crate::data::TableName;
use crate::error::{Error, ErrorKind, Result};
use crate::sql::Dialect;
use crate::sql::quote;
use crate::sql::statement::{self, Statement, StatementKind};
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::transform::Transform;
use crate::wire::Connection;

/// What is to be done with a statement.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is about nothing that is selected.
    Skip,
    /// It is run on the target, as this text, with this default database.
    Run { sql: String, database: String },
}

/// Parsed statement with its text.
pub(super) struct SchemaChange {
    pub(super) statement: Statement,
    pub(super) text: String,
    pub(super) database: String,
}

impl SchemaChange {
    /// Reads the statement of a Query event.
    ///
    /// # Errors
    /// [`ErrorKind::SchemaChange`] when the text is not UTF-8.
    pub(super) fn read(query: &QueryEvent<'_>) -> Result<Self> {
        let text = std::str::from_utf8(query.statement).map_err(|_| ErrorKind::SchemaChange {
            why: "its text is not UTF-8".into(),
            statement: String::from_utf8_lossy(query.statement).into_owned(),
        })?;
        let dialect = Dialect::of_sql_mode(query.status.sql_mode.unwrap_or(0));
        let statement = statement::classify_in(text, &query.database, dialect);
        Ok(SchemaChange { statement, text: text.to_owned(), database: query.database.clone() })
    }

    /// Decides what to do.
    ///
    /// `copied`: the tables whose copy is not consistent yet. A change of one of them cannot be replayed: rows read so far
    /// may be of the definition after it. Its creation is skipped: the table was seen, created and is being copied.
    ///
    /// # Errors
    /// [`ErrorKind::BinlogEvent`] for a change of rows logged as a statement; [`ErrorKind::SchemaChange`] for one that cannot
    /// be carried.
    pub(super) fn decide(&self, transform: &Transform, copied: &HashSet<TableName>) -> Result<Verdict> {
        let selection = &transform.selection;
        let tables: Vec<_> = self.statement.changed_tables().collect();
        let selected = tables.iter().filter(|table| selection.selects_table(table)).count();
        let run = || Verdict::Run {
            sql: self.statement.rewrite(&self.text, &transform.route),
            database: transform.route.target_database(&self.database),
        };
        match &self.statement.kind {
            StatementKind::CreateTable { temporary: true, .. }
            | StatementKind::DropTable { temporary: true, .. } => Ok(Verdict::Skip),
            _ if self.statement.kind.is_table_ddl() => {
                if selected == 0 {
                    return Ok(Verdict::Skip);
                }
                if selected < tables.len() {
                    return Err(self.refused("it changes tables that are selected and others that are not"));
                }
                if matches!(self.statement.kind, StatementKind::CreateTable { select: true, .. }) {
                    return Err(self.refused("CREATE TABLE ... SELECT is not carried yet"));
                }
                if tables.iter().any(|table| copied.contains(table)) {
                    if matches!(self.statement.kind, StatementKind::CreateTable { .. }) {
                        return Ok(Verdict::Skip);
                    }
                    return Err(
                        self.refused("the table's definition was changed while its rows were being copied")
                    );
                }
                Ok(run())
            }
            StatementKind::CreateDatabase | StatementKind::AlterDatabase | StatementKind::DropDatabase => {
                let selected =
                    self.statement.databases().any(|database| selection.is_whole_database(database))
                        || (self.statement.databases().next().is_none()
                            && selection.is_whole_database(&self.database));
                Ok(if selected { run() } else { Verdict::Skip })
            }
            StatementKind::Dml => {
                if self.touches_selected(transform) {
                    let what = "a change of rows was logged as a statement (binlog_format is not ROW in some session)";
                    return Err(ErrorKind::BinlogEvent { what: what.into() }.into());
                }
                Ok(Verdict::Skip)
            }
            StatementKind::Unknown => {
                if self.touches_selected(transform) || selection.selects_database(&self.database) {
                    return Err(self.refused("dts does not know this statement"));
                }
                Ok(Verdict::Skip)
            }
            // Views, stored programs and accounts are carried when the task is completed.
            _ => {
                if selection.selects_database(&self.database) {
                    log::info!("not carried from the binary log: {}", self.shown());
                }
                Ok(Verdict::Skip)
            }
        }
    }

    fn touches_selected(&self, transform: &Transform) -> bool {
        let mut any = false;
        for (_, table) in self.statement.tables() {
            any = true;
            if transform.selection.selects_table(&table) {
                return true;
            }
        }
        !any && transform.selection.selects_database(&self.database)
    }

    /// Makes the error that stops the task at this statement.
    pub(super) fn refused(&self, why: &str) -> Error {
        ErrorKind::SchemaChange { why: why.into(), statement: self.shown() }.into()
    }

    fn shown(&self) -> String {
        self.text.chars().take(300).collect()
    }
}

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

/// Runs a schema change on the target as the source ran it.
pub(super) fn run(
    target: &TargetEndpoint,
    query: &QueryEvent<'_>,
    timestamp: u32,
    sql: &str,
    database: &str,
    stop: &StopToken,
) -> Result<()> {
    let mut connection = target.control(stop)?;
    // A rebuild of a large table answers nothing for hours.
    connection.set_answer_timeout(std::time::Duration::from_secs(7 * 24 * 3600));
    set_session(&mut connection, query, timestamp)?;
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
    connection.execute(sql, "carrying a schema change").map(drop)
}

fn set_session(connection: &mut Connection, query: &QueryEvent<'_>, timestamp: u32) -> Result<()> {
    let mode = query.status.sql_mode.unwrap_or(0) & SQL_MODE_KNOWN;
    connection.execute(
        format!("SET SESSION sql_mode = {mode}, timestamp = {timestamp}"),
        "setting up the session of a schema change",
    )?;
    let explicit = query.status.explicit_defaults_for_timestamp.unwrap_or(false);
    let wished = [
        format!("SET SESSION explicit_defaults_for_timestamp = {}", u8::from(explicit)),
        // Before 8.0 this was what utf8mb4 alone meant.
        "SET SESSION default_collation_for_utf8mb4 = utf8mb4_general_ci".to_owned(),
    ];
    let wanted =
        if query.status.default_collation_for_utf8mb4.is_some() { &wished[..1] } else { &wished[..] };
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let refused = crate::server::session::wish(connection, &wanted)?;
    log::debug!("schema change without: {refused:?}");
    Ok(())
}
