//! Which server, and with which settings.

use std::fmt;

/// The servers that the testbed knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MySQL 5.6.24, the generation that old managed services still run.
    Mysql56,
    /// MySQL 9.7 LTS.
    Mysql97,
    /// MariaDB 10.11.
    Mariadb1011,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Mysql56, Self::Mysql97, Self::Mariadb1011];

    /// Returns the name used on the command line and for folders: `mysql56`, `mysql97`, `mariadb`.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Mysql56 => "mysql56",
            Self::Mysql97 => "mysql97",
            Self::Mariadb1011 => "mariadb",
        }
    }

    /// Returns the environment variable that names a folder with this server, instead of the cache.
    pub fn folder_variable(self) -> &'static str {
        match self {
            Self::Mysql56 => "DTS_MYSQL56_DIR",
            Self::Mysql97 => "DTS_MYSQL97_DIR",
            Self::Mariadb1011 => "DTS_MARIADB_DIR",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mysql56 => "MySQL 5.6",
            Self::Mysql97 => "MySQL 9.7",
            Self::Mariadb1011 => "MariaDB 10.11",
        })
    }
}

/// What a [`Server`](crate::Server) is started with.
///
/// Without further calls: row-based binary log with full images, a server id of its own, `local_infile`, no name
/// resolution, only on 127.0.0.1, and on MySQL 9.7 GTIDs. Durability is relaxed for fast tests: nothing is flushed to
/// the device, so data survives the death of the server but not that of the machine; see
/// [`durable`](Self::durable).
#[derive(Clone, Debug)]
pub struct ServerOptions {
    version: Version,
    port: Option<u16>,
    rds_like: bool,
    durable: bool,
    buffer_pool_mib: u32,
    args: Vec<String>,
}

impl ServerOptions {
    /// Returns the default settings for a version.
    pub fn new(version: Version) -> Self {
        Self { version, port: None, rds_like: false, durable: false, buffer_pool_mib: 128, args: Vec::new() }
    }

    /// Adds a server option such as `--binlog-row-image=MINIMAL`; it wins over the defaults and over earlier ones.
    ///
    /// Options that name folders, the port or the server id belong to the testbed and must not be given here.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several server options, see [`arg`](Self::arg).
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Makes MySQL 5.6 look like an instance of a managed service: GTIDs, version 1 row events, lower-case table
    /// names, utf8, READ-COMMITTED. Other versions are left as they are.
    #[must_use]
    pub fn rds_like(mut self) -> Self {
        self.rds_like = true;
        self
    }

    /// Makes commits durable as in production (`sync_binlog=1`, `innodb_flush_log_at_trx_commit=1`) with a redo log
    /// large enough for measurements.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Sets the size of InnoDB's buffer pool; 128 MiB without this call.
    #[must_use]
    pub fn buffer_pool_mib(mut self, mib: u32) -> Self {
        self.buffer_pool_mib = mib;
        self
    }

    /// Asks for a certain port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Returns the version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the port that was asked for.
    pub(crate) fn wanted_port(&self) -> Option<u16> {
        self.port
    }

    /// Returns the arguments that MySQL 8 and later accept only if the data folder was initialised with them.
    pub(crate) fn initialisation_args(&self) -> Vec<String> {
        if self.version != Version::Mysql97 {
            return Vec::new();
        }
        let fixed = |arg: &&String| arg.replace('_', "-").starts_with("--lower-case-table-names=");
        self.args.iter().rfind(fixed).cloned().into_iter().collect()
    }

    /// Returns all server options but those that name folders, port and server id.
    pub(crate) fn server_args(&self) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
        add(&[
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--local-infile=ON",
            "--max-connections=500",
            "--max-allowed-packet=64M",
            "--innodb-buffer-pool-load-at-startup=OFF",
            "--innodb-buffer-pool-dump-at-shutdown=OFF",
        ]);
        if self.durable {
            add(&["--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"]);
            add(match self.version {
                Version::Mysql97 => &["--innodb-redo-log-capacity=1G"],
                Version::Mysql56 | Version::Mariadb1011 => &["--innodb-log-file-size=512M"],
            });
        } else {
            // The double-write buffer stays on: a SIGKILL can tear a page that is being written, and tests kill
            // servers. Without flushes it costs next to nothing.
            add(&["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync"]);
            add(match self.version {
                Version::Mysql97 => &["--innodb-redo-log-capacity=64M"],
                Version::Mysql56 | Version::Mariadb1011 => &["--innodb-log-file-size=32M"],
            });
        }
        match self.version {
            Version::Mysql97 => add(&[
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--secure-file-priv=",
                "--mysqlx=OFF",
            ]),
            Version::Mysql56 if self.rds_like => add(&[
                "--gtid-mode=ON",
                "--log-slave-updates",
                "--enforce-gtid-consistency",
                "--lower-case-table-names=1",
                "--log-bin-use-v1-row-events=1",
                "--character-set-server=utf8",
                "--transaction-isolation=READ-COMMITTED",
                "--innodb-autoinc-lock-mode=2",
                "--net-write-timeout=60",
            ]),
            Version::Mysql56 => {}
            Version::Mariadb1011 => add(&["--log-slave-updates"]),
        }
        args.push(format!("--innodb-buffer-pool-size={}M", self.buffer_pool_mib));
        args.extend(self.args.iter().cloned());
        args
    }
}
