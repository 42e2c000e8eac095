//! `dts check`: are both sides the same?
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dts_core::checker::{CheckMethod, CheckMode, CheckOptions, CheckProgress, CheckReport};
use dts_core::data::TableName;
use dts_core::error::{Error, ErrorKind, Result};
use dts_core::migration::{Action, Migration, State};
use dts_core::stop::StopToken;
use dts_core::validator::TaskType;
use serde::{Deserialize, Serialize};

use super::ask::{self, Asked, Question, ask_or_take};
use super::validate::read_task_file;
use crate::args::{CheckArgs, MethodChoice, ModeChoice};
use crate::config::{CHECK_MODES, TaskFile};
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::{CheckDocument, check_mode};
use crate::output::progress::{self, Display};
use crate::output::{Console, check};
use crate::runner::{Call, Service};
use crate::signals;
use crate::store::{Answer, Lease, Store};

/// How often the asking shell is told how far a comparison is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Compares both sides: the process that runs the task does it beside its work; without one it is done here, with changes being
/// applied meanwhile.
pub(super) fn execute(args: CheckArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let file = find(&args.task, &mut store, home, console)?;
    let name = file.options.name.as_str();
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let wish = Wish::new(&args, home, name, console)?;
    let options = wish.options(&file.check)?;

    let payload = serde_json::to_value(&wish).map_err(|error| Error::internal(error.to_string()))?;
    let question = Question { task: name, kind: CheckService.kind(), payload: &payload, ends_work: false };
    let lease = match ask_or_take(&question, &mut store, console, &stop)? {
        Asked::Answered(answer) => return Ok(ask::print(&answer, console)),
        Asked::Ours(lease) => lease,
    };
    let apply_here = file.options.task_type == TaskType::FullAndIncremental;
    let migration = Migration::new(file.options.clone());
    let progress = CheckProgress::new();
    let ended = StopToken::new();
    let report = std::thread::scope(|scope| {
        scope.spawn(|| watch(name, lease, &progress, &ended, &stop, console));
        let report = migration.check(options.clone(), apply_here, &stop, &progress);
        ended.stop();
        report
    })?;
    let answer = concluded(name, &report, &options, wish.color, &mut store)?;
    Ok(ask::print(&answer, console))
}

/// `dts check` in the process that runs the task.
pub(crate) struct CheckService;

impl Service for CheckService {
    fn kind(&self) -> &'static str {
        "check"
    }

    fn allow(&self, state: State) -> Result<()> {
        state.allow(Action::Check)
    }

    fn serve(&self, call: &mut Call<'_>) -> Result<Answer> {
        let wish: Wish = serde_json::from_value(call.payload.clone())
            .map_err(|error| Error::internal(format!("what is to be checked cannot be read: {error}")))?;
        let options = wish.options(call.check)?;
        let (progress, ended) = (CheckProgress::new(), StopToken::new());
        let (engine, stop, task) = (call.engine, call.stop, call.task);
        call.say(&format!("{task}: the process that runs it compares"));
        let report = std::thread::scope(|scope| {
            let (ended, progress, asked) = (&ended, &progress, options.clone());
            let checking = scope.spawn(move || {
                let report = engine.check(asked, false, stop, progress);
                ended.stop();
                report
            });
            while ended.sleep(TELL_EVERY).is_ok() {
                call.progress(&progress::check_line(task, &progress.counts()));
            }
            checking.join().unwrap_or_else(|_| Err(Error::internal("the check panicked")))
        })?;
        concluded(call.task, &report, &options, wish.color, &mut call.store)
    }
}

/// What is to be compared, as it was typed.
#[derive(Debug, Serialize, Deserialize)]
struct Wish {
    mode: Option<String>,
    ratio: Option<f64>,
    seed: Option<u64>,
    tables: Vec<String>,
    method: Option<CheckMethod>,
    threads: Option<u64>,
    show_values: bool,
    repair_sql: Option<PathBuf>,
    repair: bool,
    /// Where verified chunks are noted.
    journal: PathBuf,
    color: bool,
}

impl Wish {
    fn new(args: &CheckArgs, home: &Home, task: &str, console: &Console) -> Result<Self> {
        for table in &args.tables {
            table_name(table)?;
        }
        let journal = home.path().join("checks").join(format!("{task}.journal"));
        if args.fresh {
            // What is not there need not go.
            drop(std::fs::remove_file(&journal));
        }
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let method = args.method.map(|method| match method {
            MethodChoice::Digest => CheckMethod::Digest,
            MethodChoice::Stream => CheckMethod::Stream,
        });
        let mode = args.mode.map(|mode| match mode {
            ModeChoice::Full => CheckMode::Full,
            ModeChoice::Partial => CheckMode::Partial,
            ModeChoice::RowsCount => CheckMode::RowsCount,
            ModeChoice::None => CheckMode::None,
        });
        Ok(Wish {
            mode: mode.map(|mode| check_mode(mode).to_owned()),
            ratio: args.ratio,
            seed: args.seed,
            tables: args.tables.clone(),
            method,
            threads: args.threads,
            show_values: args.show_values,
            // Another process, in another folder, may write it.
            repair_sql: args.repair_sql.as_ref().map(absolute),
            repair: args.repair,
            journal,
            color: console.has_color(),
        })
    }

    /// Returns the options; what was not typed is as the task file says.
    fn options(&self, file: &CheckOptions) -> Result<CheckOptions> {
        let mut options = file.clone();
        if let Some(mode) = &self.mode {
            let known = CHECK_MODES.iter().find(|(name, _)| name == mode);
            options.mode = known.map_or(options.mode, |(_, mode)| *mode);
        }
        options.ratio = self.ratio.unwrap_or(options.ratio);
        options.seed = self.seed.or(options.seed);
        options.method = self.method.unwrap_or(options.method);
        if let Some(threads) = self.threads {
            options.threads = usize::try_from(threads).unwrap_or(usize::MAX);
        }
        options.show_values = self.show_values;
        options.repair_sql.clone_from(&self.repair_sql);
        options.repair = self.repair;
        // A check that repairs compares all again: what it finds equal is what it says.
        options.journal = (!self.repair).then(|| self.journal.clone());
        if !self.tables.is_empty() {
            options.tables = Some(self.tables.iter().map(|name| table_name(name)).collect::<Result<_>>()?);
        }
        Ok(options)
    }
}

/// Keeps what a comparison found and returns it for printing.
fn concluded(
    task: &str,
    report: &CheckReport,
    options: &CheckOptions,
    color: bool,
    store: &mut Store,
) -> Result<Answer> {
    for table in options.tables.iter().flatten() {
        if !report.tables.iter().any(|found| found.source == *table) {
            let hint = "Write names as on the source, and only tables that the task selects.";
            return Err(
                Error::from(ErrorKind::NotFound { what: "table", name: table.to_string() }).with_hint(hint)
            );
        }
    }
    let document = CheckDocument::from(report);
    let value = serde_json::to_value(&document).map_err(|error| Error::internal(error.to_string()))?;
    store.add_comparison(task, document.conclusion, &value.to_string())?;
    let exit = if report.has_findings() { ExitStatus::Findings } else { ExitStatus::Done };
    Ok(Answer { exit: exit.number(), ..Answer::done(value, check::full(report, color)) })
}

/// Shows how far it is, and that this process lives.
fn watch(
    name: &str,
    mut lease: Lease,
    progress: &CheckProgress,
    ended: &StopToken,
    stop: &StopToken,
    console: &Console,
) {
    let mut display = Display::new(console);
    let mut beat_at = Instant::now();
    while ended.sleep(Duration::from_millis(200)).is_ok() {
        display.show_check(name, &progress.counts());
        if Instant::now() >= beat_at {
            beat_at = Instant::now() + Duration::from_secs(1);
            if let Err(error) = lease.beat() {
                log::error!("{error}");
                stop.stop();
            }
        }
    }
    display.clear();
}

/// Reads the task file that was named, or that of the task that was named.
fn find(task: &str, store: &mut Store, home: &Home, console: &Console) -> Result<TaskFile> {
    let path = Path::new(task);
    // A task's name has neither dots nor slashes.
    let is_path = task.contains(['/', '.']) || (store.find(task)?.is_none() && path.is_file());
    if !is_path {
        let known = store.get(task)?.file;
        return read_task_file(&known, home, console);
    }
    let file = read_task_file(path, home, console)?;
    store.enter(&file)?;
    Ok(file)
}

/// Reads `database.table`; a name with a dot is written in backticks.
fn table_name(text: &str) -> Result<TableName> {
    let wrong = || Error::invalid("--tables", text, "database.table; write a name with a dot in backticks");
    let (database, rest) = name_part(text).ok_or_else(wrong)?;
    let (table, rest) = rest.strip_prefix('.').and_then(name_part).ok_or_else(wrong)?;
    if rest.is_empty() { Ok(TableName::new(database, table)) } else { Err(wrong()) }
}

fn name_part(text: &str) -> Option<(String, &str)> {
    let (name, rest) = match text.strip_prefix('`') {
        Some(quoted) => quoted.split_once('`')?,
        None => text.split_at(text.find('.').unwrap_or(text.len())),
    };
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_with_their_database() {
        assert_eq!(table_name("shop.orders").unwrap(), TableName::new("shop", "orders"));
        assert_eq!(table_name("`a.b`.`c.d`").unwrap(), TableName::new("a.b", "c.d"));
        for wrong in ["orders", "", ".", "shop.", ".orders", "a.b.c", "`a.b"] {
            assert!(table_name(wrong).is_err(), "{wrong}");
        }
    }
}
