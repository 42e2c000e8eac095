//! The document for programs: what the store has of a task.
use dts_core::error::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::output::json::StatusDocument;
use crate::output::status;
use crate::store::{Kept, KeptSample, Store, Transition};

/// Everything that this machine knows of a task.
#[derive(Debug, Serialize)]
pub(crate) struct ReportDocument {
    pub(crate) task: String,
    pub(crate) generated_at: String,
    /// The version of dts that made the report.
    pub(crate) version: String,
    /// The task file.
    pub(crate) file: String,
    /// What `dts set` changed, in words; empty when nothing.
    pub(crate) settings: String,
    pub(crate) status: StatusDocument,
    /// Every change of state, first to last.
    pub(crate) history: Vec<Transition>,
    /// All validations, first to last; `document` is that of `dts validate`.
    pub(crate) validations: Vec<Kept>,
    /// All comparisons, first to last; `document` is that of `dts check`.
    pub(crate) checks: Vec<Kept>,
    /// What actions did, first to last: `cutover`, `completion`, `stop` and others.
    pub(crate) records: Vec<Kept>,
    /// Progress over time; counters begin anew with each run.
    pub(crate) samples: Vec<KeptSample>,
}

impl ReportDocument {
    /// Reads what the store has.
    ///
    /// # Errors
    /// [`NotFound`](dts_core::error::ErrorKind::NotFound) without a task of this name; what the store returns.
    pub(crate) fn read(store: &mut Store, name: &str) -> Result<Self> {
        let task = store.get(name)?;
        let conclusion = store.last_conclusion(name)?;
        Ok(ReportDocument {
            task: name.to_owned(),
            generated_at: format!("{:.3}", Timestamp::now()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            file: task.file.display().to_string(),
            settings: task.settings.in_words(),
            status: status::document(&task, conclusion.as_deref()),
            history: store.transitions(name)?,
            validations: store.validations(name)?,
            checks: store.comparisons(name)?,
            records: store.records(name)?,
            samples: store.samples(name)?,
        })
    }
}
