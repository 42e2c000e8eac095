//! The source and its sessions.
use std::time::Duration;

use crate::error::{Result, Side};
use crate::server::{ServerFacts, session};
use crate::stop::StopToken;
use crate::wire::{Connection, ConnectionOptions};

/// Where the source is and how it is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SourceOptions {
    /// Address, account, TLS, timeouts.
    pub connection: ConnectionOptions,
    /// The id under which we ask for the binary log; must differ from the source's and from those of its replicas.
    /// 0 (the default) takes a random one from the upper half.
    pub server_id: u32,
    /// How often an idle source tells that it is alive. Default 5 s; 2 s is the least that 5.6 bears without flooding.
    pub heartbeat: Duration,
}

impl SourceOptions {
    /// Starts from a connection; everything else has its default.
    pub fn new(connection: ConnectionOptions) -> Self {
        SourceOptions { connection, server_id: 0, heartbeat: Duration::from_secs(5) }
    }
}

/// A server that is read from.
#[derive(Clone, Debug)]
pub struct SourceEndpoint {
    options: SourceOptions,
    facts: ServerFacts,
}

/// What every session on the source must have.
const REQUIRED: [&str; 3] =
    ["SET SESSION time_zone = '+00:00'", "SET SESSION sql_mode = ''", "SET SESSION autocommit = 1"];

/// What helps. RDS sets `net_write_timeout` to 60 s, less than a slow target may make us pause; statement limits would cut
/// a long chunk; statistics must be fresh on 8.0; a generated invisible primary key must be seen.
const WISHED: [&str; 11] = [
    "SET SESSION net_write_timeout = 3600",
    "SET SESSION net_read_timeout = 3600",
    "SET SESSION wait_timeout = 86400",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION sql_quote_show_create = 1",
    "SET SESSION sql_select_limit = DEFAULT",
    "SET SESSION information_schema_stats_expiry = 0",
    "SET SESSION max_execution_time = 0",
    "SET SESSION show_gipk_in_create_table_and_information_schema = 1",
    "SET SESSION max_statement_time = 0",
    "SET SESSION lock_wait_timeout = 60",
];

impl SourceEndpoint {
    /// Connects once and asks the server about itself.
    ///
    /// # Errors
    /// What [`Connection::open`] returns; [`Unsupported`](crate::error::ErrorKind::Unsupported) before 5.6.
    pub fn connect(options: SourceOptions, stop: &StopToken) -> Result<Self> {
        let mut connection = Connection::open(&options.connection, Side::Source, stop)?;
        let facts = ServerFacts::read(&mut connection).map_err(|error| error.on(Side::Source))?;
        Ok(SourceEndpoint { options, facts })
    }

    /// Returns what the server said of itself when we connected.
    pub fn facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// Returns how the endpoint was configured.
    pub fn options(&self) -> &SourceOptions {
        &self.options
    }

    /// Opens a connection for names and definitions: text comes and goes as utf8mb4.
    ///
    /// # Errors
    /// What [`Connection::open`] returns, or a refused setting.
    pub fn control(&self, stop: &StopToken) -> Result<Connection> {
        self.open("SET NAMES utf8mb4", stop)
    }

    /// Opens a connection for rows: no byte of a value is converted on the way.
    ///
    /// # Errors
    /// What [`Connection::open`] returns, or a refused setting.
    pub fn reader(&self, stop: &StopToken) -> Result<Connection> {
        let mut connection = self.open("SET NAMES binary", stop)?;
        connection.withhold_texts();
        Ok(connection)
    }

    fn open(&self, names: &str, stop: &StopToken) -> Result<Connection> {
        let mut connection = Connection::open(&self.options.connection, Side::Source, stop)?;
        session::require(&mut connection, &[&[names], &REQUIRED[..]].concat())?;
        let refused = session::wish(&mut connection, &WISHED)?;
        log::debug!("source session without: {refused:?}");
        Ok(connection)
    }
}
