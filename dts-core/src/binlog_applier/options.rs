//! How changes are applied.
use std::path::PathBuf;

/// How changes are applied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BinlogApplyOptions {
    /// Connections that write on the target. 1 to 64, default 4.
    pub workers: usize,
    /// Bytes that the spool may hold. Default 50 GiB. Smaller risks that the source purges its log first.
    pub spool_bytes_max: u64,
    /// Folder for the spool; without one nothing is spooled and the source's log must last for the copy.
    pub spool_folder: Option<PathBuf>,
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
            spool_bytes_max: 50 << 30,
            spool_folder: None,
            engine: EngineChoice::Automatic,
        }
    }
}
