//! Which sessions of a task are still at work on the target.
//!
//! A session whose client is gone goes on with what it was sent: a chunk's last packet still commits, an ALTER TABLE still builds
//! its index. Whoever reads the ledger to learn what is done must first know that no such session is left. So each session
//! that moves data or builds takes a lock that the server gives away only when the session has ended, and a new run waits
//! until all of them are free. (5.6 lets a session have one such lock; one is enough.)
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result, Side};
use crate::stop::StopToken;
use crate::wire::Connection;

use super::ledger::Ledger;

/// Most sessions of one kind: the most threads that may be asked for.
const SESSIONS_MAX: usize = 64;
/// How long a session that does nothing may keep its lock: its client is gone and the network has not said so.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);
/// How often a lock is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// What a session does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionKind {
    /// Writes rows of the full load.
    Load,
    /// Builds indexes and foreign keys.
    Build,
}

impl SessionKind {
    fn name(self) -> &'static str {
        match self {
            SessionKind::Load => "load",
            SessionKind::Build => "build",
        }
    }
}

impl Ledger {
    /// Makes a session the `number`-th of its kind (below 64), for as long as it lives. Waits until an earlier one has ended.
    ///
    /// `previous`: this caller's last session, which is ended if it is still there: it may be idle, behind a broken network.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`]; [`ErrorKind::IllegalState`] when another session keeps the lock and does nothing; else what the
    /// target answered.
    pub fn lock_session(
        &self,
        connection: &mut Connection,
        kind: SessionKind,
        number: usize,
        previous: &mut Option<u32>,
        stop: &StopToken,
    ) -> Result<()> {
        let name = self.session_name(kind, number);
        let mut holders = Holders::default();
        let sql = format!("SELECT GET_LOCK({name}, 0)");
        while connection.query_row(&sql, "naming a session")?.and_then(|row| row.u64(0)) != Some(1) {
            holders.wait(self, connection, kind, previous.as_ref().copied(), stop)?;
        }
        *previous = Some(connection.connection_id());
        Ok(())
    }

    /// Waits until no session of a kind is left: what an earlier run sent is done or gone.
    ///
    /// # Errors
    /// As [`lock_session`](Self::lock_session).
    pub fn wait_for_sessions(
        &self,
        connection: &mut Connection,
        kind: SessionKind,
        stop: &StopToken,
    ) -> Result<()> {
        let mut holders = Holders::default();
        while !self.sessions(connection, kind)?.is_empty() {
            holders.wait(self, connection, kind, None, stop)?;
        }
        Ok(())
    }

    /// Returns the connection numbers of all sessions of a kind.
    fn sessions(&self, connection: &mut Connection, kind: SessionKind) -> Result<Vec<u64>> {
        let locks: Vec<String> = (0..SESSIONS_MAX)
            .map(|number| format!("IS_USED_LOCK({})", self.session_name(kind, number)))
            .collect();
        let row =
            connection.query_row(format!("SELECT {}", locks.join(", ")), "looking for earlier sessions")?;
        Ok(row.map(|row| (0..SESSIONS_MAX).filter_map(|n| row.u64(n)).collect()).unwrap_or_default())
    }

    fn session_name(&self, kind: SessionKind, number: usize) -> String {
        self.lock_name(format_args!(":{}:{number}", kind.name()))
    }
}

/// Those who are waited for, and since when they do nothing.
#[derive(Default)]
struct Holders {
    idle_since: Option<Instant>,
    was_logged: bool,
}

impl Holders {
    /// Waits for a moment. A session at work is waited for as long as it takes, one that does nothing is not.
    fn wait(
        &mut self,
        ledger: &Ledger,
        connection: &mut Connection,
        kind: SessionKind,
        ours: Option<u32>,
        stop: &StopToken,
    ) -> Result<()> {
        stop.check()?;
        let holders = ledger.sessions(connection, kind)?;
        if let Some(ours) = ours.map(u64::from).filter(|ours| holders.contains(ours)) {
            // Gone meanwhile is as good.
            match connection.execute(format!("KILL {ours}"), "ending our last session") {
                Err(error) if error.server_error().is_none() => return Err(error),
                _ => {}
            }
        }
        let list = holders.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let mut idle = Vec::new();
        if !list.is_empty() {
            // An account sees its own sessions without any privilege.
            let sql = format!(
                "SELECT ID FROM information_schema.PROCESSLIST WHERE ID IN ({list}) AND COMMAND = 'Sleep'"
            );
            match connection.query(sql, "looking what earlier sessions do") {
                Ok(rows) => idle.extend(rows.iter().filter_map(|row| row.u64(0))),
                // The list holds other sessions' statements, too, which may be of bytes that the server cannot show (3854).
                Err(error) if error.server_error().is_some() => idle.clone_from(&holders),
                Err(error) => return Err(error),
            }
        }
        if !self.was_logged && idle.len() < holders.len() {
            log::info!("waiting for what an earlier run sent to the target (sessions {list})");
            self.was_logged = true;
        }
        if idle.is_empty() {
            self.idle_since = None;
        } else if self.idle_since.get_or_insert_with(Instant::now).elapsed() > IDLE_PATIENCE {
            let holder = idle[0];
            return Err(Error::from(ErrorKind::IllegalState {
                action: kind.name().into(),
                state: format!("in the hands of another session, number {holder} on the target"),
                allowed: "waiting until it ends".into(),
            })
            .on(Side::Target)
            .with_hint(format!(
                "Another process runs this task, or the network to one broke: end that process, then KILL {holder} on the \
                 target."
            )));
        }
        stop.sleep(INTERVAL)
    }
}
