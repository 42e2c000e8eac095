//! Everything that says what a migration is to do.
use crate::binlog_applier::BinlogApplyOptions;
use crate::checker::CheckOptions;
use crate::error::{Error, Result};
use crate::full_loader::FullLoadOptions;
use crate::source::SourceOptions;
use crate::target::TargetOptions;
use crate::transform::{ObjectKinds, Transform};
use crate::validator::{EndpointKind, TaskType};

/// Everything that says what a migration is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrationOptions {
    /// The task's name: letters, digits, `-` and `_`, at most 64. Progress on the target is kept under it.
    pub name: String,
    /// What the task carries.
    pub task_type: TaskType,
    /// Where rows come from.
    pub source: SourceOptions,
    /// What kind of server the source is.
    pub source_kind: EndpointKind,
    /// Where rows go.
    pub target: TargetOptions,
    /// What kind of server the target is.
    pub target_kind: EndpointKind,
    /// Which tables take part, and their names on the target.
    pub transform: Transform,
    /// Which other objects are carried.
    pub objects: ObjectKinds,
    /// How rows are copied.
    pub load: FullLoadOptions,
    /// How changes are applied.
    pub apply: BinlogApplyOptions,
    /// How data are compared when the task gets in sync.
    pub check: CheckOptions,
    /// Validation items whose failure the operator takes on.
    pub validate_ignore: Vec<String>,
    /// Whether the validation creates the structure in scratch databases on the target and removes them again. Default true.
    pub try_structure: bool,
}

impl MigrationOptions {
    /// Starts from a name, the two ends and the selection; everything else has its default.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::error::ErrorKind::InvalidInput) when the name holds other characters or is too long.
    pub fn new(
        name: impl Into<String>,
        source: SourceOptions,
        target: TargetOptions,
        transform: Transform,
    ) -> Result<Self> {
        let name = name.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
            return Err(Error::invalid("task.name", name, "1 to 64 letters, digits, '-' and '_'"));
        }
        Ok(MigrationOptions {
            name,
            task_type: TaskType::FullAndIncremental,
            source,
            source_kind: EndpointKind::MySql,
            target,
            target_kind: EndpointKind::MySql,
            transform,
            objects: ObjectKinds::default(),
            load: FullLoadOptions::default(),
            apply: BinlogApplyOptions::default(),
            check: CheckOptions::default(),
            validate_ignore: Vec::new(),
            try_structure: true,
        })
    }
}
