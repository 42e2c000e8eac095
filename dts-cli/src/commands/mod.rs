//! What each command does. One file each; they return how the program ends, and print through the console only.
mod accounts;
mod ask;
pub(crate) mod check;
mod completions;
pub(crate) mod cutover;
mod demo;
mod end;
mod init;
mod list;
mod pause;
mod prompt;
mod queue;
mod report;
mod run;
mod set;
mod status;
mod validate;
mod worker;

use dts_core::error::Result;

use crate::args::{Args, Command};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::Console;

/// Carries out what was typed.
///
/// # Errors
/// What the command could not do; the caller prints it.
pub(crate) fn execute(args: Args, console: &Console) -> Result<ExitStatus> {
    let home = || Home::choose(args.global.home.clone());
    match args.command {
        Command::Demo(demo) => demo::execute(&demo, &home()?, console),
        Command::Init(init) => init::execute(&init, console),
        Command::Validate(file) => validate::execute(&file, &home()?, console),
        Command::Run(run) => run::execute(&run, &home()?, console),
        Command::Submit(submit) => queue::submit(&submit, &home()?, console),
        Command::Worker(args) => worker::execute(&args, &home()?, console),
        Command::Pause(name) => pause::pause(&name, &home()?, console),
        Command::Resume(name) => pause::resume(&name, &home()?, console),
        Command::Stop(name) => end::stop(&name, &home()?, console),
        Command::Set(set) => set::execute(&set, &home()?, console),
        Command::Complete(complete) => end::complete(&complete, &home()?, console),
        Command::Cutover(args) => cutover::execute(&args.try_into()?, &home()?, console),
        Command::Rollback(args) => cutover::execute(&args.into(), &home()?, console),
        Command::Accounts(args) => accounts::execute(&args, &home()?, console),
        Command::Clean(clean) => end::clean(&clean, &home()?, console),
        Command::List => list::execute(&home()?, console),
        Command::Status(status) => status::execute(&status, &home()?, console),
        Command::Report(report) => report::execute(&report, &home()?, console),
        Command::Check(check) => check::execute(check, &home()?, console),
        Command::Completions(completions) => completions::execute(&completions, console),
    }
}
