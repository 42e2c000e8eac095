//! One running server.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql::prelude::{FromRow, Queryable};
use mysql::{Conn, OptsBuilder};

use crate::error::last_lines;
use crate::port::PortClaim;
use crate::{Installation, ServerOptions, TestbedError, Version, data_folder, obtain, spawner};

/// How long a server may take to answer its first connection; generous for machines that build at the same time.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// What fits into a socket address, with the closing zero.
const SOCKET_PATH_MAX: usize = 107;
/// How long a clean stop may take before the server is killed.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A server of its own port, server id and data folder, which lives as long as this value.
///
/// When it is dropped the server is killed (its data folder goes too, so a clean stop would only cost time), and when
/// the process that holds it dies in any way the system kills the server.
#[derive(Debug)]
pub struct Server {
    options: ServerOptions,
    installation: Arc<Installation>,
    child: Option<Child>,
    claim: PortClaim,
    datadir: PathBuf,
    socket: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts a server on a fresh data folder and returns when it answers.
    ///
    /// The first call for a version on a machine fetches the programs and initialises a data folder, which takes up
    /// to a minute or two; later ones take about a second.
    ///
    /// # Errors
    /// The server cannot be obtained, or does not start; then the error has the end of its log.
    pub fn start(options: ServerOptions) -> Result<Self, TestbedError> {
        let installation = obtain::obtain(options.version())?;
        let claim = PortClaim::take(options.wanted_port())?;
        let folder = claim.folder().to_owned();
        let datadir = folder.join("data");
        let socket = folder.join("s.sock");
        if socket.as_os_str().len() > SOCKET_PATH_MAX {
            return Err(TestbedError::SocketPathTooLong(socket));
        }
        data_folder::create(&installation, &options, &datadir)?;
        let mut server = Self {
            options,
            installation,
            child: None,
            claim,
            datadir,
            socket,
            log: folder.join("error.log"),
        };
        server.launch()?;
        Ok(server)
    }

    fn launch(&mut self) -> Result<(), TestbedError> {
        let mut command = data_folder::server_command(&self.installation, &self.datadir);
        command.arg(format!("--port={}", self.port()));
        command.arg(format!("--server-id={}", self.port()));
        command.arg(data_folder::option("--socket=", &self.socket));
        command.arg(data_folder::option("--pid-file=", &self.claim.folder().join("server.pid")));
        // A server that starts removes all temporary tables from its folder, those of other servers included.
        command.arg(data_folder::option("--tmpdir=", self.claim.folder()));
        command.args(self.options.server_args());
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(TestbedError::io("opening", &self.log))?;
        let stdout = log.try_clone().map_err(TestbedError::io("opening", &self.log))?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(log).current_dir(&self.datadir);
        let program = PathBuf::from(command.get_program());
        let child = spawner::spawn(command, self.claim.lock().as_raw_fd());
        self.child = Some(child.map_err(TestbedError::io("running", &program))?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), TestbedError> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = self.exit_status() {
                self.child = None;
                return Err(self.start_error(format!("it ended ({status})")));
            }
            // A socket that exists can still refuse; only an authenticated connection shows that it is ready.
            let refused = match Conn::new(self.root_opts()) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                self.kill();
                return Err(self.start_error(format!("no answer within {READY_WITHIN:?} ({refused})")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn start_error(&self, reason: String) -> TestbedError {
        TestbedError::Start { version: self.version(), reason, log: last_lines(&self.error_log(), 60) }
    }

    fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.claim.port()
    }

    /// Returns the TCP address, for a [`Proxy`](crate::Proxy) for example.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// Returns the path of the Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the server's process id.
    ///
    /// # Panics
    /// If the server is stopped.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// Returns whether the server was started and not stopped or killed since.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Returns the data folder.
    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// Returns the version that was asked for.
    pub fn version(&self) -> Version {
        self.options.version()
    }

    /// Returns the installation that the server runs from, to run its client programs.
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// Returns all that the server has logged so far.
    pub fn error_log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Returns the certificate authority that signed the server's certificate, on servers that make themselves one
    /// (MySQL 9.7).
    ///
    /// # Panics
    /// If there is none.
    pub fn tls_ca_path(&self) -> PathBuf {
        let path = self.datadir.join("ca.pem");
        assert!(path.is_file(), "{} has no certificate authority of its own", self.version());
        path
    }

    fn root_opts(&self) -> OptsBuilder {
        OptsBuilder::new()
            .user(Some("root"))
            .socket(self.socket.to_str())
            .tcp_connect_timeout(Some(Duration::from_secs(10)))
    }

    /// Returns a new connection as root over the socket.
    ///
    /// # Panics
    /// With the server's error log, if it cannot be had.
    pub fn root(&self) -> Conn {
        self.connect(self.root_opts(), "root")
    }

    /// Returns a new connection over TCP without TLS.
    ///
    /// # Panics
    /// With the server's error log, if it cannot be had.
    pub fn conn(&self, user: &str, password: &str) -> Conn {
        self.connect(self.tcp_opts(user, password), user)
    }

    /// Tries to log in over TCP without TLS.
    ///
    /// # Errors
    /// What the server answered.
    pub fn try_conn(&self, user: &str, password: &str) -> Result<Conn, mysql::Error> {
        Conn::new(self.tcp_opts(user, password))
    }

    fn tcp_opts(&self, user: &str, password: &str) -> OptsBuilder {
        OptsBuilder::new()
            .user(Some(user))
            .pass(Some(password).filter(|password| !password.is_empty()))
            .ip_or_hostname(Some("127.0.0.1"))
            .tcp_port(self.port())
            .prefer_socket(false)
    }

    fn connect(&self, opts: OptsBuilder, user: &str) -> Conn {
        Conn::new(opts).unwrap_or_else(|error| {
            panic!(
                "{} refuses '{user}': {error}; the end of its error log:\n{}",
                self.version(),
                last_lines(&self.error_log(), 60)
            )
        })
    }

    /// Runs one or several statements separated by `;` as root on a connection of their own.
    ///
    /// # Panics
    /// With the statements, if one of them fails.
    pub fn exec(&self, sql: &str) {
        exec_on(&mut self.root(), sql);
    }

    /// Runs one query as root and returns all rows.
    ///
    /// # Panics
    /// With the query, if it fails.
    pub fn query<T: FromRow>(&self, sql: &str) -> Vec<T> {
        self.root().query(sql).unwrap_or_else(|error| panic!("{error}, in: {sql}"))
    }

    /// Runs one query as root and returns its first row.
    ///
    /// # Panics
    /// With the query, if it fails or finds nothing.
    pub fn query_one<T: FromRow>(&self, sql: &str) -> T {
        self.query(sql).into_iter().next().unwrap_or_else(|| panic!("no row, from: {sql}"))
    }

    /// Returns a connection with an open transaction that has read every table of a database: until it is dropped, an ALTER
    /// TABLE can do all its work and not end.
    ///
    /// # Panics
    /// When the server refuses a statement.
    pub fn reading(&self, database: &str) -> Conn {
        let mut connection = self.root();
        let mut run =
            |sql: String| connection.query_drop(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        run("BEGIN".to_owned());
        for table in crate::dump::tables(self, database) {
            run(format!("SELECT 1 FROM `{database}`.`{}` LIMIT 1", table.replace('`', "``")));
        }
        connection
    }

    /// Creates the account `user@'%'` with the version's own default authentication and grants it each of `grants`,
    /// such as `SELECT ON shop.*`.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn create_account(&self, user: &str, password: &str, grants: &[&str]) {
        let quote = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"));
        let user = quote(user);
        let mut conn = self.root();
        exec_on(&mut conn, &format!("CREATE USER {user}@'%' IDENTIFIED BY {}", quote(password)));
        for grant in grants {
            exec_on(&mut conn, &format!("GRANT {grant} TO {user}@'%'"));
        }
    }

    /// Stops the server cleanly and waits until it is gone.
    pub fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        signal(child, libc::SIGTERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline {
            if matches!(child.try_wait(), Ok(Some(_))) {
                self.child = None;
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// Kills the server as a crash would and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts the server again on its data folder and port; stops it cleanly first if it runs.
    ///
    /// # Panics
    /// With the server's error log, if it does not come up.
    pub fn restart(&mut self) {
        self.stop();
        self.launch().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops a running server, replaces its options and starts it again on its data folder and port.
    ///
    /// # Panics
    /// With the server's error log, if it does not come up.
    pub fn restart_with(&mut self, options: ServerOptions) {
        assert_eq!(options.version(), self.version(), "a data folder belongs to one version");
        self.options = options;
        self.restart();
    }

    /// Freezes the server: its connections stay open and nothing answers, until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.child.iter().for_each(|child| signal(child, libc::SIGSTOP));
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.child.iter().for_each(|child| signal(child, libc::SIGCONT));
    }

    /// Returns the processor time that the server has used since it was started, in seconds.
    ///
    /// # Panics
    /// If the server is not running.
    pub fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        // The second field is the program's name in brackets and may hold blanks; user and system time are the
        // 14th and 15th field.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u32 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u32>().ok())
            .sum();
        // SAFETY: sysconf takes a number and returns a number.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        f64::from(ticks) / f64::from(i32::try_from(per_second).unwrap_or(100))
    }

    /// Returns the memory that the server occupies, in KiB.
    ///
    /// # Panics
    /// If the server is not running.
    pub fn rss_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("{path} has no VmRSS"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a child that has not been waited for, so that its process id cannot be somebody else's.
fn signal(child: &Child, number: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: kill takes two numbers; the process is our own child and not yet reaped.
        unsafe { libc::kill(pid, number) };
    }
}

/// Runs all statements of `sql` and looks at the outcome of each.
pub(crate) fn exec_on(conn: &mut Conn, sql: &str) {
    let fail = |error: mysql::Error| -> ! { panic!("{error}, in: {sql}") };
    let mut result = conn.query_iter(sql).unwrap_or_else(|error| fail(error));
    // Dropping the result would run the rest too, but would hide errors of all statements but the first.
    while let Some(rows) = result.iter() {
        for row in rows {
            if let Err(error) = row {
                fail(error);
            }
        }
    }
}
