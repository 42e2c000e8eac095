//! The program `dts`: the documented migration flow on the command line.
//!
//! This is the thin program over `dts_core`: it parses, renders and passes signals. What was typed is in [`args`], the task
//! file in [`config`], what each command does in [`commands`], everything that is printed in [`output`].
mod args;
mod commands;
mod config;
mod engine;
mod exit;
mod failpoint;
mod home;
mod hook;
mod logging;
mod metrics;
mod notify;
mod output;
mod runner;
mod signals;
mod store;

use std::process::ExitCode;

use clap::Parser as _;

use crate::exit::ExitStatus;
use crate::output::Console;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return output::usage(&error).into(),
    };
    let console = Console::new(&args.global);
    let result = logging::start(&args.global, console.has_color_on_stderr(), console.bars().clone())
        .and_then(|()| commands::execute(args, &console));
    let status = result.unwrap_or_else(|error| {
        console.failure(&error);
        ExitStatus::from(&error)
    });
    status.into()
}
