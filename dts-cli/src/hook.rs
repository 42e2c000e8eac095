//! The gate of a cut-over that is a command of the operator's.
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::GateHook;
use dts_core::stop::StopToken;
use rustix::process::{Pid, Signal, kill_process_group};

const POLL: Duration = Duration::from_millis(10);
/// How long a command that is told to end may take for it.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How much of what a command printed is looked at, in bytes.
const SAID_MAX: u64 = 64 << 10;

/// Runs `sh -c COMMAND close` and `sh -c COMMAND open`; the word is the command's `$1`, and `$DTS_GATE`.
pub(crate) struct CommandHook<'c> {
    pub(crate) command: &'c str,
    /// How long it may take. Then it is ended, with all that it has started.
    pub(crate) patience: Duration,
    /// Ends a `close`. What was closed must be opened whatever somebody asks for, so an `open` has its patience alone.
    pub(crate) stop: &'c StopToken,
}

impl CommandHook<'_> {
    fn call(&self, word: &str, stop: Option<&StopToken>) -> Result<Vec<String>> {
        let failed =
            |source| Error::from(ErrorKind::File { action: "run", path: self.command.to_owned(), source });
        // Files, because nobody has to read along, and what outlives the command may keep them open.
        let (mut out, mut err) =
            (tempfile::tempfile().map_err(failed)?, tempfile::tempfile().map_err(failed)?);
        let mut child = Command::new("sh")
            .args(["-c", &format!("{} {word}", self.command)])
            .env("DTS_GATE", word)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(err.try_clone().map_err(failed)?)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let ended = self.wait(&mut child, stop);
        if ended.as_ref().map_or(true, Option::is_none) {
            end(&mut child);
        }
        let Some(status) = ended? else {
            let (command, seconds) = (self.command, self.patience.as_secs_f64());
            let why = format!(
                "the gate's command '{command}' did not end within {seconds:.0} s (--patience) at '{word}'"
            );
            return Err(ErrorKind::CutOver { why }.into());
        };
        if !status.success() {
            let said = tail(&mut err).map_err(failed)?;
            let last = said.lines().last().unwrap_or_default();
            return Err(Error::from(ErrorKind::CutOver {
                why: format!("the gate's command ended with {status} at '{word}'; it said: {last}"),
            }));
        }
        Ok(tail(&mut out).map_err(failed)?.lines().map(str::to_owned).collect())
    }

    /// Waits until it has ended; `None` when it has not in time.
    fn wait(&self, child: &mut Child, stop: Option<&StopToken>) -> Result<Option<ExitStatus>> {
        let begun = Instant::now();
        loop {
            let ended = child.try_wait().map_err(|source| {
                Error::from(ErrorKind::File { action: "wait for", path: self.command.to_owned(), source })
            })?;
            if ended.is_some() || begun.elapsed() > self.patience {
                return Ok(ended);
            }
            match stop {
                Some(stop) => stop.sleep(POLL)?,
                None => std::thread::sleep(POLL),
            }
        }
    }
}

/// Ends a command and what it has started, which is in its group.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let tell = |signal| {
        if let Some(Err(error)) = group.map(|group| kill_process_group(group, signal)) {
            log::warn!("the gate's command cannot be ended: {error}");
        }
    };
    tell(Signal::TERM);
    let begun = Instant::now();
    while begun.elapsed() < END_PATIENCE {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(POLL);
    }
    tell(Signal::KILL);
    if let Err(error) = child.wait() {
        log::warn!("the gate's command cannot be waited for: {error}");
    }
}

/// Reads the end of what was printed.
fn tail(file: &mut File) -> std::io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(SAID_MAX)))?;
    let mut said = Vec::new();
    file.take(SAID_MAX).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

impl GateHook for CommandHook<'_> {
    fn close(&self) -> Result<Vec<String>> {
        self.call("close", Some(self.stop))
    }

    fn open(&self) -> Result<Vec<String>> {
        self.call("open", None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook<'c>(command: &'c str, patience: Duration, stop: &'c StopToken) -> CommandHook<'c> {
        CommandHook { command, patience, stop }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_command_gets_its_word_and_says_what_it_did() {
        let stop = StopToken::new();
        assert_eq!(hook("echo $DTS_GATE; echo", MINUTE, &stop).close().unwrap(), ["close", "close"]);
        stop.stop();
        // It is opened all the same.
        assert_eq!(hook("echo", MINUTE, &stop).open().unwrap(), ["open"]);
        let error = hook("echo no >&2; exit 3 #", MINUTE, &stop).open().unwrap_err();
        assert!(error.to_string().contains("exit status: 3 at 'open'; it said: no"), "{error}");
        // What it leaves behind is not waited for.
        assert_eq!(hook("sleep 60 & echo", MINUTE, &stop).open().unwrap(), ["open"]);
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        for is_stopped in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let pid = folder.path().join("pid");
            // In the middle of a list the shell stays and waits for it.
            let command = format!("sh -c 'echo $$ > {}; exec sleep 600'; echo", pid.display());
            let stop = StopToken::new();
            let patience = if is_stopped { MINUTE } else { Duration::from_millis(500) };
            let error = std::thread::scope(|scope| {
                let running = scope.spawn(|| hook(&command, patience, &stop).close().unwrap_err());
                while is_stopped && std::fs::read_to_string(&pid).unwrap_or_default().trim().is_empty() {
                    std::thread::sleep(POLL);
                }
                if is_stopped {
                    stop.stop();
                }
                running.join().unwrap()
            });
            assert_eq!(error.is_interrupted(), is_stopped, "{error}");
            assert!(is_stopped || error.to_string().contains("did not end within"), "{error}");
            let pid = std::fs::read_to_string(&pid).unwrap();
            let is_there = || {
                // One that ended and that nobody has asked for is a zombie.
                let status =
                    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
                !status.is_empty() && !status.contains(") Z ")
            };
            let begun = Instant::now();
            while is_there() {
                assert!(begun.elapsed() < MINUTE, "it is still there");
                std::thread::sleep(POLL);
            }
        }
    }
}
