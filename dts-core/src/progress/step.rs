//! The steps of a run.
use std::time::SystemTime;

/// A step of a running migration, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Step {
    /// Databases and tables are created on the target.
    Structure,
    /// Existing rows are copied.
    FullLoad,
    /// Changes since the start are applied until the copy is consistent.
    CatchUp,
    /// Secondary indexes and foreign keys are built.
    IndexBuild,
    /// Changes are applied as they come.
    InSync,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Step; 5] =
        [Step::Structure, Step::FullLoad, Step::CatchUp, Step::IndexBuild, Step::InSync];

    /// Returns the name used in outputs, for example `full_load`.
    pub fn name(self) -> &'static str {
        match self {
            Step::Structure => "structure",
            Step::FullLoad => "full_load",
            Step::CatchUp => "catch_up",
            Step::IndexBuild => "index_build",
            Step::InSync => "in_sync",
        }
    }
}

/// How far a step is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Under way.
    Running,
    /// Finished.
    Done,
    /// Ended by an error.
    Failed,
    /// Not part of this task.
    Skipped,
}

impl StepState {
    /// Returns the name used in outputs.
    pub fn name(self) -> &'static str {
        match self {
            StepState::Waiting => "waiting",
            StepState::Running => "running",
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Skipped => "skipped",
        }
    }
}

/// One step with its times.
#[derive(Clone, Debug)]
pub struct StepProgress {
    /// Which.
    pub step: Step,
    /// How far.
    pub state: StepState,
    /// When it began, in this run.
    pub started_at: Option<SystemTime>,
    /// When it ended, in this run.
    pub finished_at: Option<SystemTime>,
}
