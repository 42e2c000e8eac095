//! Sessions of applications: what they are, how they are ended, and what may be left of them.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::wire::Connection;

/// What a server calls the user of a session that has not logged in yet.
const LOGGING_IN: &str = "unauthenticated user";
/// For how long a session that was ended must have run nothing to be taken for a remnant.
const REMNANT: Duration = Duration::from_secs(1);

/// A session that may be an application's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSession {
    /// Its number, for KILL.
    pub id: u64,
    /// Its user.
    pub user: String,
    /// Where it comes from.
    pub host: String,
    /// Its database.
    pub database: Option<String>,
    /// What it does: `Sleep`, `Query`, …
    pub command: String,
    /// For how long, in seconds.
    pub seconds: u64,
    /// It was told to end, and runs nothing any more.
    pub is_ended: bool,
}

impl AppSession {
    /// Returns whether nobody knows yet whose it is.
    pub fn is_logging_in(&self) -> bool {
        self.user == LOGGING_IN
    }
}

impl std::fmt::Display for AppSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}' from {}", self.id, self.user, self.host)?;
        if let Some(database) = &self.database {
            write!(f, " in {database}")?;
        }
        write!(f, ", {} for {} s", self.command, self.seconds)
    }
}

/// Sessions that were told to end and do not go.
///
/// On 5.6.24 a session that was ended while it logged in was seen to stay in the list for more than a minute. Its socket is closed,
/// so that nothing reaches it any more. One that has just read its last command looks the same for a moment.
#[derive(Debug, Default)]
pub(crate) struct Remnants(BTreeMap<u64, Instant>);

impl Remnants {
    /// Removes sessions that have been ended and idle at every look for a while.
    pub(crate) fn take_from(&mut self, sessions: &mut Vec<AppSession>) {
        self.0.retain(|id, _| sessions.iter().any(|session| session.id == *id && session.is_ended));
        sessions.retain(|session| {
            !session.is_ended || self.0.entry(session.id).or_insert_with(Instant::now).elapsed() < REMNANT
        });
    }
}

/// Ends sessions. One that is gone meanwhile is as good; one that is still logging in may be ours and is left alone.
///
/// # Errors
/// What the server answered; a hint when the account may not.
pub(crate) fn end_sessions(connection: &mut Connection, sessions: &[AppSession]) -> Result<()> {
    for session in sessions.iter().filter(|session| !session.is_logging_in()) {
        match connection.execute(format!("KILL {}", session.id), "ending a session") {
            // 1094: no such session.
            Err(error) if error.server_error().is_some_and(|server| server.code == 1094) => {}
            Err(error) => {
                return Err(error.with_hint(
                    "Ending other accounts' sessions needs SUPER, or CONNECTION_ADMIN from 8.0 on. Stop the application, or \
                     end its sessions in the console, and run the cut-over again.",
                ));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: u64, is_ended: bool) -> AppSession {
        AppSession {
            id,
            user: "app".into(),
            host: "10.0.0.1".into(),
            database: None,
            command: if is_ended { "Killed" } else { "Query" }.into(),
            seconds: 0,
            is_ended,
        }
    }

    #[test]
    fn only_what_has_long_been_ended_is_a_remnant() {
        let mut remnants = Remnants::default();
        let mut look = |sessions: &[(u64, bool)], later: bool| {
            if later {
                remnants.0.values_mut().for_each(|since| *since -= REMNANT);
            }
            let mut sessions: Vec<AppSession> =
                sessions.iter().map(|(id, is_ended)| session(*id, *is_ended)).collect();
            remnants.take_from(&mut sessions);
            sessions.into_iter().map(|session| session.id).collect::<Vec<_>>()
        };
        assert_eq!(look(&[(1, true), (2, false), (3, true)], false), [1, 2, 3]);
        // It ran something between two looks.
        assert_eq!(look(&[(1, true), (2, false), (3, false)], true), [2, 3]);
        assert_eq!(look(&[(1, true), (2, true), (3, true)], false), [2, 3]);
        assert_eq!(look(&[(2, true), (3, true)], true), [] as [u64; 0]);
    }
}
