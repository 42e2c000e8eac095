//! Asks for a password on the terminal, without showing it.
//!
//! It is read from `/dev/tty`, so that it works with a redirected stdin, too. Ctrl-C ends the question: the wait is a poll with a
//! deadline, because a signal alone does not end a read.
use std::fs::File;
use std::io::{Read as _, Write as _};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::stop::StopToken;
use dts_core::wire::Secret;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// How often the wish to stop is looked at.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// No password is longer: a server takes 256 bytes at most.
const LENGTH_MAX: usize = 4096;

/// The terminal of this process.
pub(super) struct Prompt {
    terminal: File,
}

/// Shows what is typed again, however the question ends.
struct Silence<'t> {
    terminal: &'t File,
    before: Termios,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

impl Prompt {
    /// Opens the terminal; `None` when this process has none.
    pub(super) fn open() -> Option<Prompt> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        tcgetattr(&terminal).ok()?;
        Some(Prompt { terminal })
    }

    /// Asks; `None` for an empty line.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] after Ctrl-C; [`ErrorKind::File`] when the terminal cannot be used.
    pub(super) fn ask(&mut self, question: &str, stop: &StopToken) -> Result<Option<Secret>> {
        let failed = |source: std::io::Error| -> Error {
            ErrorKind::File { action: "ask on the terminal", path: "/dev/tty".into(), source }.into()
        };
        let before = tcgetattr(&self.terminal).map_err(|error| failed(error.into()))?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
        tcsetattr(&self.terminal, OptionalActions::Flush, &silent).map_err(|error| failed(error.into()))?;
        let _silence = Silence { terminal: &self.terminal, before };
        (&self.terminal).write_all(question.as_bytes()).map_err(failed)?;
        let mut line = Vec::new();
        while !line.ends_with(b"\n") && line.len() < LENGTH_MAX {
            stop.check()?;
            let mut wanted = [PollFd::new(&self.terminal, PollFlags::IN)];
            match poll(&mut wanted, Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let mut bytes = [0; 512];
            match (&self.terminal).read(&mut bytes).map_err(failed)? {
                // Ctrl-D.
                0 => break,
                length => line.extend_from_slice(&bytes[..length]),
            }
        }
        let text = String::from_utf8(line)
            .map_err(|_| Error::invalid("the password", "something that is not UTF-8", "UTF-8"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    }
}
