//! The gate of a cut-over that is a command of the operator's.
use std::process::{Command, Stdio};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::GateHook;

/// Runs `sh -c COMMAND close` and `sh -c COMMAND open`; the word is the command's `$1`, and `$DTS_GATE`.
pub(crate) struct CommandHook<'c> {
    pub(crate) command: &'c str,
}

impl CommandHook<'_> {
    fn call(&self, word: &str) -> Result<Vec<String>> {
        let failed =
            |source| Error::from(ErrorKind::File { action: "run", path: self.command.to_owned(), source });
        let output = Command::new("sh")
            .args(["-c", &format!("{} {word}", self.command)])
            .env("DTS_GATE", word)
            .stdin(Stdio::null())
            .output()
            .map_err(failed)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default().to_owned();
            return Err(Error::from(ErrorKind::CutOver {
                why: format!("the gate's command ended with {} at '{word}'; it said: {last}", output.status),
            }));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

impl GateHook for CommandHook<'_> {
    fn close(&self) -> Result<Vec<String>> {
        self.call("close")
    }

    fn open(&self) -> Result<Vec<String>> {
        self.call("open")
    }
}
