//! `dts completions`: a completion script for a shell.
use clap::CommandFactory as _;
use dts_core::error::Result;

use crate::args::{Args, CompletionsArgs};
use crate::exit::ExitStatus;
use crate::output::Console;

/// Prints the script.
pub(super) fn execute(args: &CompletionsArgs, console: &Console) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "dts", &mut script);
    console.raw(&String::from_utf8_lossy(&script));
    Ok(ExitStatus::Done)
}
