//! The target and its sessions.
use crate::error::{Result, Side};
use crate::server::{ServerFacts, session};
use crate::stop::StopToken;
use crate::wire::{Connection, ConnectionOptions};

/// Where the target is and how it is written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetOptions {
    /// Address, account, TLS, timeouts.
    pub connection: ConnectionOptions,
    /// Whether the full load is written to the target's own binary log. Off saves about a third of the target's work, and
    /// is refused while a replica hangs on the target. Apply is always written.
    pub load_binlog: bool,
}

impl TargetOptions {
    /// Starts from a connection; everything else has its default.
    pub fn new(connection: ConnectionOptions) -> Self {
        TargetOptions { connection, load_binlog: true }
    }
}

/// A server that is written to.
#[derive(Clone, Debug)]
pub struct TargetEndpoint {
    options: TargetOptions,
    facts: ServerFacts,
}

/// What every session on the target must have. Without NO_AUTO_VALUE_ON_ZERO an id 0 would get a new number; with a
/// NO_ZERO mode zero dates would be refused; foreign keys are checked by the source.
const REQUIRED: [&str; 4] = [
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
    "SET SESSION autocommit = 1",
    "SET SESSION foreign_key_checks = 0",
];

/// What helps, or keeps the target from adding something of its own to a table.
const WISHED: [&str; 12] = [
    "SET SESSION net_write_timeout = 3600",
    "SET SESSION net_read_timeout = 3600",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION explicit_defaults_for_timestamp = 1",
    "SET SESSION restrict_fk_on_non_standard_key = 0",
    "SET SESSION information_schema_stats_expiry = 0",
    "SET SESSION show_gipk_in_create_table_and_information_schema = 1",
    "SET SESSION max_execution_time = 0",
];

impl TargetEndpoint {
    /// Connects once and asks the server about itself.
    ///
    /// # Errors
    /// What [`Connection::open`] returns; [`Unsupported`](crate::error::ErrorKind::Unsupported) before 5.6.
    pub fn connect(options: TargetOptions, stop: &StopToken) -> Result<Self> {
        let mut connection = Connection::open(&options.connection, Side::Target, stop)?;
        let facts = ServerFacts::read(&mut connection).map_err(|error| error.on(Side::Target))?;
        Ok(TargetEndpoint { options, facts })
    }

    /// Returns what the server said of itself when we connected.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Returns how the endpoint was configured.
    pub fn options(&self) -> &TargetOptions {
        &self.options
    }

    /// Opens a connection for names and definitions: text comes and goes as utf8mb4.
    ///
    /// # Errors
    /// What [`Connection::open`] returns, or a refused setting.
    pub fn control(&self, stop: &StopToken) -> Result<Connection> {
        self.open("SET NAMES utf8mb4", stop)
    }

    /// Opens a connection for rows: literals are bytes, no byte of a value is converted on the way.
    ///
    /// # Errors
    /// What [`Connection::open`] returns, or a refused setting.
    pub fn writer(&self, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.open("SET NAMES binary", stop)?;
        connection.withhold_texts();
        Ok(connection)
    }

    /// Opens a connection for the full load: as [`writer`](Self::writer), and without the target's binary log where that
    /// was asked for.
    ///
    /// # Errors
    /// As [`writer`](Self::writer); a missing privilege when the binary log cannot be left out.
    pub fn loader(&self, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.writer(stop)?;
        self.leave_out_binlog(&mut connection)?;
        Ok(connection)
    }

    /// Opens a connection for definitions that belong to the full load, such as indexes: as [`control`](Self::control), and
    /// without the target's binary log where that was asked for.
    ///
    /// # Errors
    /// As [`loader`](Self::loader).
    pub fn loader_control(&self, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.control(stop)?;
        self.leave_out_binlog(&mut connection)?;
        Ok(connection)
    }

    fn leave_out_binlog(&self, connection: &mut Connection) -> Result<()> {
        if !self.options.load_binlog {
            connection
                .execute("SET SESSION sql_log_bin = 0", "leaving the target's binary log out of the load")?;
        }
        Ok(())
    }

    fn open(&self, names: &str, stop: &StopToken) -> Result<Connection> {
        let mut connection = Connection::open(&self.options.connection, Side::Target, stop)?;
        session::require(&mut connection, &[&[names], &REQUIRED[..]].concat())?;
        let refused = session::wish(&mut connection, &WISHED)?;
        log::debug!("target session without: {refused:?}");
        Ok(connection)
    }
}
