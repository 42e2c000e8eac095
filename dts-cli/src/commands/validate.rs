//! `dts validate`: may this task start?
use dts_core::error::Result;
use dts_core::migration::{Migration, State};
use dts_core::stop::StopToken;
use dts_core::validator::{ItemResult, ValidationReport, Validator};

use crate::args::ValidateArgs;
use crate::config::TaskFile;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::output::json::ValidationDocument;
use crate::output::next_action::shell_word;
use crate::output::{Console, validation};
use crate::runner::{Job, Runner};
use crate::signals;
use crate::store::Store;

/// Validates and prints every item. Nothing is changed on the source; on the target the structure is tried in scratch databases, which
/// are dropped again.
pub(super) fn execute(args: &ValidateArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let file = read_task_file(&args.file, home, console)?;
    let mut store = Store::open(home)?;
    store.enter(&file)?;
    let stop = StopToken::new();
    signals::stop_on_signals(&stop, console, "stopping…")?;
    let name = file.options.name.as_str();
    let migration = Migration::new(file.options.clone());
    let state = store.get(name)?.state;
    let report = if !args.items.is_empty() {
        let mut options = migration.validator_options();
        options.only = Some(args.items.clone());
        Validator::new(options).run(&stop)?
    } else if matches!(state, State::Created | State::Validated | State::ValidationFailed) {
        let lease = store.take_lease(name, "validate", &stop)?;
        Runner::new(Job::new(&file, &migration), store, lease, console, &stop)?.validate()?
    } else {
        // The task has begun: looking does not change where it stands.
        let report = migration.validate(&stop)?;
        let text = serde_json::to_string(&ValidationDocument::from(&report)).unwrap_or_default();
        store.add_validation(name, report.result().as_str(), &text)?;
        report
    };
    console.text(&validation::full(&report, console.has_color()));
    console.document(&ValidationDocument::from(&report));
    let next = match report.result() {
        ItemResult::Fail => format!("next: mend what failed, then: dts validate {}", shell_word(&args.file)),
        _ => format!("next: dts run {0}, or for a worker: dts submit {0}", shell_word(&args.file)),
    };
    console.text(&next);
    Ok(exit_status(&report))
}

/// Returns how the program ends after a validation.
pub(super) fn exit_status(report: &ValidationReport) -> ExitStatus {
    if report.result() == ItemResult::Fail { ExitStatus::Findings } else { ExitStatus::Done }
}

/// Reads a task file and says what is unwise in it.
pub(super) fn read_task_file(path: &std::path::Path, home: &Home, console: &Console) -> Result<TaskFile> {
    let file = TaskFile::read(path, home.path())?;
    for warning in &file.warnings {
        console.note(&format!("warning: {warning}"));
    }
    Ok(file)
}
