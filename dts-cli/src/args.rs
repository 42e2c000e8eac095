//! What was typed.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use dts_core::data::{GateKind, Gtid};
use log::LevelFilter;

const AFTER_HELP: &str = "\
Exit status:
  0    done and clean
  1    done, but a validation failed or differences were found
  2    wrong usage or configuration
  3    an operator must act
  4    transient: run again and it resumes
  130  interrupted: run again and it resumes

Begin with `dts demo` to see it work, or with `dts init task.toml` for your own servers.";

/// Moves live MySQL databases to another MySQL server and proves the result equal.
#[derive(Debug, Parser)]
#[command(name = "dts", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Args {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Folder for the task store, the spool and reports [default: dts in the XDG state folder]
    #[arg(long, global = true, env = "DTS_HOME", value_name = "DIR", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON document on stdout and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What is logged: off, error, warn, info, debug or trace [default: warn; info with --log-file]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<LevelFilter>,
    /// Log to this file (appended) instead of stderr
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// No progress bars or status lines on stderr
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Colours in people's output: auto (on a terminal, unless $NO_COLOR is set), always or never
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN", hide_possible_values = true)]
    pub(crate) color: ColorChoice,
}

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start two throw-away servers, move a live shop between them and prove it equal
    Demo(DemoArgs),
    /// Write a commented task file
    Init(InitArgs),
    /// Check whether a task may start: pass, warn or fail per item
    Validate(ValidateArgs),
    /// Validate, copy, catch up and stay in sync; Ctrl-C pauses, running it again resumes
    Run(RunArgs),
    /// Put a task into the queue, at once or for its start_at
    Submit(SubmitArgs),
    /// Run queued tasks, one after another
    Worker(WorkerArgs),
    /// List the tasks
    List,
    /// Show one task: its steps, progress, lag and what to do next
    Status(StatusArgs),
    /// Let a task rest; resume or run goes on
    Pause(NameArgs),
    /// Put a paused or failed task back into the queue
    Resume(ResumeArgs),
    /// Revoke a task: end it for good and say what is left on the target
    Stop(NameArgs),
    /// Change limits of a task while it runs
    Set(SetArgs),
    /// Compare both sides
    Check(CheckArgs),
    /// End a task as planned, at lag 0: triggers and events are created, positions recorded
    Complete(CompleteArgs),
    /// Move the application's writes to the target: gate, drain, open; it can be run again at any point
    Cutover(CutoverArgs),
    /// Move the application's writes back to the source, while the reverse channel runs
    Rollback(RollbackArgs),
    /// Show what became of the source's accounts on the target, or try to log in there with each
    Accounts(AccountsArgs),
    /// Say what happened to a task: as text, as JSON, or as one page to be kept
    Report(ReportArgs),
    /// Remove what dts keeps of a task that has ended
    Clean(CleanArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// `dts demo`
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Rows that the shop begins with, over all its tables
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=20_000_000))]
    pub(crate) rows: u64,
    /// Seed of the shop's content and of the writer, to repeat a run [default: random]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Leave both servers running at the end, until Enter or Ctrl-C
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `dts init`
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Where to write it; a file that exists is never overwritten
    #[arg(default_value = "task.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `dts validate`
#[derive(Debug, clap::Args)]
pub(crate) struct ValidateArgs {
    /// The task file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Look at this item only; may be given several times. Such a look does not make the task validated
    #[arg(long = "item", value_name = "ID")]
    pub(crate) items: Vec<String>,
}

/// `dts run`
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The task file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// End there with exit status 0 instead of staying in sync
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) until: Option<UntilChoice>,
    /// Leave out this schema change of the source, which you have carried out on the target by hand; may be given several times
    #[arg(long, value_name = "GTID")]
    pub(crate) skip_ddl: Vec<Gtid>,
    /// Serve metrics for Prometheus at this address, for example 127.0.0.1:9105
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// `dts submit`
#[derive(Debug, clap::Args)]
pub(crate) struct SubmitArgs {
    /// The task file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `dts worker`
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArgs {
    /// How many tasks are copied at the same time; one that is in sync goes on beside the next ones and does not count
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) concurrency: u32,
    /// End when the queue is empty and every task of this worker has ended or is in sync
    #[arg(long)]
    pub(crate) drain: bool,
    /// Serve metrics for Prometheus at this address, for example 127.0.0.1:9105
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
}

/// `dts pause`, `dts stop`
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `dts resume`
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Leave out this schema change of the source, which you have carried out on the target by hand; may be given several times
    #[arg(long, value_name = "GTID")]
    pub(crate) skip_ddl: Vec<Gtid>,
}

/// `dts set`
#[derive(Debug, clap::Args)]
pub(crate) struct SetArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// What to change: load.rows_per_second_max=N (0 = no limit)
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub(crate) settings: Vec<String>,
}

/// `dts complete`
#[derive(Debug, clap::Args)]
pub(crate) struct CompleteArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Do not wait for lag 0: what is not applied yet never is
    #[arg(long)]
    pub(crate) immediately: bool,
}

/// What a cut-over and a rollback have in common.
#[derive(Debug, clap::Args)]
pub(crate) struct HandoverFlags {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How applications are kept from writing on the side that they leave: read-only (SET GLOBAL read_only), lock-accounts (lock every
    /// account but the servers' own, and end their sessions), hook=CMD (a command that is called with `close` or `open`), or none (you
    /// have done it). A rollback without it takes the kind of the cut-over
    #[arg(long, value_name = "GATE", value_parser = gate)]
    pub(crate) gate: Option<(GateKind, Option<String>)>,
    /// Only look: what would be done, and what would stop it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not begin while the other side needs longer than this to follow
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) max_lag: u64,
    /// Open the gate again when sessions or changes are still left after this time
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) patience: u64,
    /// Users that are no applications: neither locked nor waited for; separated by commas
    #[arg(long, value_name = "USER", value_delimiter = ',')]
    pub(crate) keep: Vec<String>,
    /// The command that had closed the side which is opened now, at the way before; it is called with `open`
    #[arg(long, value_name = "CMD")]
    pub(crate) open_hook: Option<String>,
    /// Take back what was cut short: applications write again where they did before. A gate that was a command must be given once more
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) abort: bool,
}

/// `dts cutover`
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("how").args(["gate", "dry_run", "abort"]).required(true).multiple(true))]
pub(crate) struct CutoverArgs {
    /// What it has in common with a rollback.
    #[command(flatten)]
    pub(crate) flags: HandoverFlags,
    /// Passwords of accounts, as for `dts accounts NAME verify`: each of these must be able to log in on the target before the gate is
    /// closed
    #[arg(long, value_name = "FILE")]
    pub(crate) passwords: Option<PathBuf>,
    /// Go on although accounts of applications cannot log in on the target
    #[arg(long)]
    pub(crate) ignore_accounts: bool,
    /// Let what is written on the target afterwards go to the source, so that `dts rollback` can bring the application back; runs
    /// until rollback or complete
    #[arg(long, conflicts_with = "abort")]
    pub(crate) reverse: bool,
}

/// `dts rollback`
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// What it has in common with a cut-over.
    #[command(flatten)]
    pub(crate) flags: HandoverFlags,
}

/// The kind of a gate, with its command.
fn gate(text: &str) -> Result<(GateKind, Option<String>), String> {
    let plain = [GateKind::ReadOnly, GateKind::LockAccounts, GateKind::None];
    if let Some(kind) = plain.into_iter().find(|kind| kind.name() == text) {
        return Ok((kind, None));
    }
    match text.strip_prefix("hook=").map(str::trim) {
        Some(command) if !command.is_empty() => Ok((GateKind::Hook, Some(command.to_owned()))),
        _ => Err("expected read-only, lock-accounts, hook=CMD or none".to_owned()),
    }
}

/// `dts accounts`
#[derive(Debug, clap::Args)]
pub(crate) struct AccountsArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// verify: try to log in on the target with each account, with passwords that you type (not shown) or keep in a file
    #[arg(value_enum, value_name = "verify", hide_possible_values = true)]
    pub(crate) action: Option<AccountsAction>,
    /// TOML file with lines such as "app@%" = "secret" (one account) or "app" = "secret" (all its hosts)
    #[arg(long, value_name = "FILE", requires = "action")]
    pub(crate) passwords: Option<PathBuf>,
}

/// What is done with the accounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum AccountsAction {
    /// Try to log in
    Verify,
}

/// `dts clean`
#[derive(Debug, clap::Args)]
pub(crate) struct CleanArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Also drop the tables and other objects that a stopped task has created on the target
    #[arg(long)]
    pub(crate) drop_data: bool,
    /// Also forget the task's history on this machine, so that its name is free
    #[arg(long)]
    pub(crate) forget: bool,
    /// Do not ask before data are dropped
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `dts report`
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Write one HTML page, which needs no network [default: reports/NAME.html in the home]
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub(crate) html: Option<Option<PathBuf>>,
}

/// How far `dts run` goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum UntilChoice {
    /// All rows are copied
    Loaded,
    /// Also all indexes are built, and the target has what the source had when that was asked
    Synced,
}

/// `dts status`
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The task's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Show it anew every second until Ctrl-C or the end of the task
    #[arg(long, conflicts_with = "json")]
    pub(crate) watch: bool,
}

/// `dts check`
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// A task's name or a task file
    #[arg(value_name = "NAME|FILE")]
    pub(crate) task: String,
    /// What is compared [default: the task file's check.mode]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) mode: Option<ModeChoice>,
    /// Percent of the chunks whose content is compared, with --mode partial [default: the task file's check.ratio]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) ratio: Option<f64>,
    /// Only these tables, by their names on the source, separated by commas
    #[arg(long, value_name = "DB.TABLE", value_delimiter = ',')]
    pub(crate) tables: Vec<String>,
    /// Seed of the choice of chunks, to repeat a partial check
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Who hashes the rows: both servers, or this program from all their cells [default: the task file's check.method]
    #[arg(long, value_enum, value_name = "METHOD")]
    pub(crate) method: Option<MethodChoice>,
    /// Chunks compared at the same time [default: the task file's check.threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) threads: Option<u64>,
    /// Show the values of differing columns, not only their names
    #[arg(long)]
    pub(crate) show_values: bool,
    /// Write statements into this file that would make the target's differing rows equal to the source's
    #[arg(long, value_name = "FILE")]
    pub(crate) repair_sql: Option<PathBuf>,
    /// Repair differing rows on the target, and compare them again
    #[arg(long)]
    pub(crate) repair: bool,
    /// Compare everything, also what a check that was killed had found equal
    #[arg(long)]
    pub(crate) fresh: bool,
}

/// Who hashes the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum MethodChoice {
    /// The servers
    Digest,
    /// This program
    Stream,
}

/// What a check compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum ModeChoice {
    /// The content of every row
    Full,
    /// The content of some chunks and the number of rows
    Partial,
    /// The number of rows
    RowsCount,
    /// Nothing
    None,
}

/// `dts completions`
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}

fn percent(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "expected a percentage above 0, up to 100".to_owned())
}

/// Checks that every command which an output shows can be typed; GATE stands for one that the operator chooses.
#[cfg(test)]
#[track_caller]
pub(crate) fn assert_can_be_typed(text: &str) {
    for rest in text.split("dts ").skip(1) {
        let end = [";", ",", "\n", ". ", " or ", " here", " for ", " removes ", " drops ", ")"];
        let line = end.into_iter().fold(rest, |line, end| line.split(end).next().unwrap_or_default());
        let line = line.replace("GATE", "none");
        let parsed = Args::try_parse_from(std::iter::once("dts").chain(line.split_whitespace()));
        assert!(parsed.is_ok(), "'dts {line}' in '{text}': {}", parsed.unwrap_err());
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use dts_core::migration::Action;

    use super::*;

    #[test]
    fn every_action_is_a_command() {
        for action in Action::ALL {
            assert!(Args::command().find_subcommand(action.name()).is_some(), "{action}");
        }
    }

    #[test]
    fn a_look_and_a_rollback_need_no_gate() {
        assert_can_be_typed(
            "dts rollback shop; dts cutover shop --dry-run; dts cutover shop --abort; dts cutover shop --gate hook=x",
        );
        let refused = Args::try_parse_from(["dts", "cutover", "shop"]).unwrap_err().to_string();
        assert!(refused.contains("--gate"), "{refused}");
        assert!(Args::try_parse_from(["dts", "rollback", "shop", "--gate", "hook= "]).is_err());
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }
}
