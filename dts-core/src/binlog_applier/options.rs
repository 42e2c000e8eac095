//! How changes are applied.
use std::path::PathBuf;

use crate::data::Gtid;

/// What is done with a change that does not fit the target's row, after the converge point.
///
/// It means that somebody else writes on the target, or that a row was lost: never a normal state. Whatever is chosen, it is
/// counted and reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnDivergence {
    /// The task stops before the transaction, and nothing of it is applied.
    #[default]
    Stop,
    /// The rows that the change is about are made what the change says: rows that are in the way, by the row key or another UNIQUE
    /// key, are removed, a missing row is inserted. Other rows stay as they are.
    Repair,
    /// The change is left out: the row stays as it is on the target.
    Log,
}

impl OnDivergence {
    /// Returns the name used in the task file.
    pub fn name(self) -> &'static str {
        match self {
            OnDivergence::Stop => "stop",
            OnDivergence::Repair => "repair",
            OnDivergence::Log => "log",
        }
    }
}

/// How changes are applied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BinlogApplyOptions {
    /// Connections that write on the target. 1 to 64, default 4.
    pub workers: usize,
    /// What is done with a change that does not fit. Default: stop.
    pub on_divergence: OnDivergence,
    /// Bytes that the spool may hold. Default 50 GiB. Smaller risks that the source purges its log first.
    pub spool_bytes_max: u64,
    /// Folder for the spool; without one nothing is spooled and the source's log must last for the copy.
    pub spool_folder: Option<PathBuf>,
    /// Schema changes of the source that an operator has carried out on the target by hand, by their GTIDs: they are left out and
    /// recorded as such. Default: none.
    pub skip_ddl: Vec<Gtid>,
    /// Which engine applies.
    pub engine: EngineChoice,
}

/// Which engine applies changes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum EngineChoice {
    /// Windows while far behind, transactions near the head.
    #[default]
    Automatic,
    /// Always windows: stretches of log in which each row is written once.
    Windows,
    /// Always transaction by transaction.
    Transactions,
}

impl Default for BinlogApplyOptions {
    fn default() -> Self {
        BinlogApplyOptions {
            workers: 4,
            on_divergence: OnDivergence::Stop,
            spool_bytes_max: 50 << 30,
            spool_folder: None,
            skip_ddl: Vec::new(),
            engine: EngineChoice::Automatic,
        }
    }
}
