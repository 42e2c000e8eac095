//! What can go wrong before a server answers.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use crate::Version;

/// Why a server could not be obtained or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// The server's programs are neither in the cache nor could they be fetched.
    #[error("cannot obtain {version}: {reason}; {remedy}")]
    Obtain {
        /// Which server.
        version: Version,
        /// What failed.
        reason: String,
        /// What to install or which variable to set.
        remedy: String,
    },
    /// The folder that an environment variable names holds no server.
    #[error("{variable} is '{}', but there is no {version} in it: {reason}", folder.display())]
    NoServerInFolder {
        /// Which server.
        version: Version,
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        folder: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// No browser is installed and none could be fetched.
    #[error(
        "cannot obtain a headless Chromium: {0}; install the package chromium, use a Debian system with access to its archive, \
         or set DTS_TESTBED_CHROMIUM to the program"
    )]
    Chromium(String),
    /// The server could not make its data folder.
    #[error("{version} could not initialise a data folder ({status}):\n{output}")]
    Initialise {
        /// Which server.
        version: Version,
        /// How the server ended.
        status: ExitStatus,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended, or did not answer in time, after it was started.
    #[error("{version} did not start: {reason}; the end of its error log:\n{log}")]
    Start {
        /// Which server.
        version: Version,
        /// Whether it ended or was too slow.
        reason: String,
        /// The last lines of its error log.
        log: String,
    },
    /// Another process has the port that was asked for.
    #[error("port {0} is in use")]
    PortInUse(u16),
    /// All ports that test servers use are taken.
    #[error("no port between {0} and {1} is free")]
    NoFreePort(u16, u16),
    /// The temporary folder has so long a name that no Unix socket can be made in it.
    #[error("'{}' is too long for a socket; set TMPDIR to a shorter folder", .0.display())]
    SocketPathTooLong(PathBuf),
    /// The operating system refused something.
    #[error("{action} '{}' failed", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or program.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl TestbedError {
    /// Returns a closure for `map_err` that says what was tried on which path.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Returns the last `count` lines of `text`.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
