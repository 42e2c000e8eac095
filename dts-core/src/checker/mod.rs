//! Comparing both sides: are the rows of the target the rows of the source?
//!
//! The [`Checker`] looks at *data* that was copied and applied, at any time, also while the source is being written and an
//! applier keeps applying. (What looks at the *servers* before a task starts is the validator; PingCAP DM calls that one
//! "checker", AWS DMS "premigration assessment".) It takes no lock on the source and writes nothing, unless it is
//! asked to repair.
//!
//! - Each chunk of a table is digested inside both servers, with the same formula (see [`crate::sql::digest`]); one row
//!   comes back from each. So a check costs two reads of the data and no transfer. A side that cannot hash is streamed, and
//!   hashed here. While changes are applied, several chunks share one wait (`window.rs`).
//! - Where digests differ, rows are compared by key and hash, and each key that differs is settled on its own: see
//!   `settle.rs` for why a live check neither reports a difference that is none, nor misses one.
//! - Tables without a key are compared as multisets of row hashes.
//! - What was not compared is said, with the reason, and the conclusion is then not [`Conclusion::Same`].
//! - Verified chunks may be noted in a file, so that a check that is killed goes on (`journal.rs`).
//! - Differing rows may be repaired (`repair.rs`).
//!
//! [`StructureChecker`] compares everything that is no row, [`WritersSearch`] finds who else writes on the target.
//!
//! Not compared: generated columns that are generated on both sides (the server computes them from the others, and
//! their definition belongs to the structure); the names of columns beyond their case; the order of rows.
//!
//! Text is compared as bytes: the same text in another character set is different.
mod alignment;
mod describe;
mod journal;
mod keys;
mod options;
mod plan;
mod progress;
mod repair;
mod report;
mod run;
mod sessions;
mod settle;
mod structure;
mod throttle;
mod window;
mod writers;

pub use alignment::{AppliedPosition, CheckpointPosition, NothingApplies};
pub use keys::{CountReport, KeyCheck, RowKeys};
pub use options::{CheckMethod, CheckMode, CheckOptions, TablePair};
pub use progress::{CheckCounts, CheckProgress};
pub use report::{CheckReport, ColumnValues, Conclusion, Difference, DifferenceKind, TableCheck};
pub use run::Checker;
pub use structure::{StructureChecker, StructureDifference, StructureReport};
pub use writers::{ForeignWrite, WritersReport, WritersSearch};
