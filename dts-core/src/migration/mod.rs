//! The documented flow, joined: validate, structure, full load, catch up, build indexes, stay in sync.
//!
//! [`Migration`] owns the order of the stages, the hand-over of positions between them and the resume logic; each stage
//! does its own work and knows nothing of the others. Where a migration stands is read from the target's ledger at every
//! start, so a run can end anywhere and be continued by any process that can reach both servers.
mod accounts;
mod beside;
mod check;
mod cutover;
mod ending;
mod handover;
mod journaled_gate;
mod options;
mod receiver;
mod reverse;
mod rollback;
mod run;
mod state;
mod verify;
mod way;

pub use crate::transform::ObjectKinds;
pub use ending::{CleanReport, CompletionReport, RemainingTable, Remains};
pub use handover::{GateHook, Hooks};
pub use options::MigrationOptions;
pub use run::{RunReport, Until};
pub use state::{Action, State};

use crate::error::{Error, Result, Side};
use crate::full_loader::LoadMethod;
use crate::server::ServerFacts;
use crate::source::SourceEndpoint;
use crate::stop::StopToken;
use crate::target::TargetEndpoint;
use crate::target::ledger::Ledger;
use crate::transform::Transform;
use crate::validator::{ValidationReport, Validator, ValidatorOptions};

use beside::{applier, beside};
use check::table_pairs;

/// One task, from its first validation to its end.
pub struct Migration {
    options: MigrationOptions,
}

/// Both ends, connected.
struct Ends {
    source: SourceEndpoint,
    target: TargetEndpoint,
    transform: Transform,
    ledger: Ledger,
}

impl Migration {
    /// Takes what is to be done. Nothing is connected yet.
    pub fn new(options: MigrationOptions) -> Self {
        Migration { options }
    }

    /// Returns what is to be done.
    pub fn options(&self) -> &MigrationOptions {
        &self.options
    }

    /// Looks whether the task may start. Changes nothing but the scratch databases of [`Validator`] on the target.
    ///
    /// # Errors
    /// As [`Validator::run`]; what is wrong with the servers is an item of the report, not an error.
    pub fn validate(&self, stop: &StopToken) -> Result<ValidationReport> {
        Validator::new(self.validator_options()).run(stop)
    }

    /// Returns what [`validate`](Self::validate) looks at, to look at a part of it only.
    pub fn validator_options(&self) -> ValidatorOptions {
        let from = &self.options;
        let mut options = ValidatorOptions::new(
            from.name.clone(),
            from.source.clone(),
            from.target.clone(),
            from.transform.clone(),
        );
        options.source_kind = from.source_kind;
        options.target_kind = from.target_kind;
        options.task_type = from.task_type;
        options.views = from.objects.views;
        options.routines = from.objects.routines;
        options.triggers = from.objects.triggers;
        options.events = from.objects.events;
        options.accounts = from.objects.accounts;
        options.ignore.clone_from(&from.validate_ignore);
        options.try_structure = from.try_structure;
        options.load_by_insert = from.load.method == LoadMethod::Insert;
        options
    }

    fn connect(&self, stop: &StopToken) -> Result<Ends> {
        let source = SourceEndpoint::connect(self.options.source.clone(), stop)?;
        let target = TargetEndpoint::connect(self.options.target.clone(), stop)?;
        refuse_same_server(source.facts(), target.facts())?;
        let mut transform = self.options.transform.clone();
        if source.facts().lower_case_table_names() != 0 {
            transform = transform.ignoring_case();
        }
        Ok(Ends { source, target, transform, ledger: Ledger::new(self.options.name.clone()) })
    }
}

/// The last guard: the validator says it better, but nothing may ever be copied onto itself.
fn refuse_same_server(source: &ServerFacts, target: &ServerFacts) -> Result<()> {
    match (source.server_uuid(), target.server_uuid()) {
        (Some(source), Some(target)) if source == target => Err(Error::invalid(
            "target",
            format!("the same server as the source ({source})"),
            "another server",
        )
        .on(Side::Target)),
        _ => Ok(()),
    }
}
