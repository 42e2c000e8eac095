//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
//!
//! # The story
//! [`Migration`](migration::Migration) is the whole flow: validate, structure, full load, catch up, build indexes, stay in sync,
//! check. Its stages are types of their own and can be used alone:
//!
//! - [`SourceEndpoint`](source::SourceEndpoint), [`TargetEndpoint`](target::TargetEndpoint): the two ends;
//! - [`Validator`](validator::Validator): looks at both servers *before* the start (it does not compare rows);
//! - [`Structure`](structure::Structure): databases, tables, indexes, foreign keys;
//! - [`FullLoader`](full_loader::FullLoader): the rows that exist;
//! - [`BinlogApplier`](binlog_applier::BinlogApplier): the changes since;
//! - [`Checker`](checker::Checker): compares the rows of both sides (it does not look at settings);
//! - [`Accounts`](accounts::Accounts): the accounts and what they may do;
//! - [`cutover`]: how a cut-over is done and what it saw (the flow is [`Migration::cutover`](migration::Migration::cutover));
//! - [`BinlogStream`](source::binlog_stream::BinlogStream) with the room [`binlog`]: the binary log by itself.
//!
//! Everything blocks, in the caller's thread and in threads that end with the call. A [`StopToken`](stop::StopToken) is the only
//! way to end a run early, [`Progress`](progress::Progress) the only way to watch it. Nothing here prints, reads the
//! environment, or exits.
//!
//! # Example
//! ```no_run
//! use dts_core::migration::{Migration, MigrationOptions, Until};
//! use dts_core::progress::Progress;
//! use dts_core::source::SourceOptions;
//! use dts_core::stop::StopToken;
//! use dts_core::target::TargetOptions;
//! use dts_core::transform::{ObjectSelection, Route, Transform};
//! use dts_core::wire::{Address, ConnectionOptions, Secret};
//!
//! # fn main() -> dts_core::error::Result<()> {
//! let at = |host: &str| {
//!     let address = Address::Tcp { host: host.into(), port: 3306 };
//!     ConnectionOptions::new(address, "dts", Secret::new("secret"))
//! };
//! let transform = Transform::new(ObjectSelection::new(&["shop"], &[], &[])?, Route::identity())?;
//! let options = MigrationOptions::new(
//!     "shop",
//!     SourceOptions::new(at("old.example")),
//!     TargetOptions::new(at("new.example")),
//!     transform,
//! )?;
//! let migration = Migration::new(options);
//! let (stop, progress) = (StopToken::new(), Progress::new());
//! let report = migration.validate(&stop)?;
//! assert!(report.failed().next().is_none(), "mend these first");
//! let done = migration.run(Until::Synced, &stop, &progress)?;
//! println!("{} tables are in sync at {:?}", done.tables.len(), done.applied_position);
//! # Ok(())
//! # }
//! ```
//!
//! # Glossary
//! | word | meaning |
//! | --- | --- |
//! | source, target | the server read from, the server written to |
//! | GTID, GTID set | identifier of a transaction; a set of them, as in `gtid_executed` |
//! | position | where a stream of changes stands: a GTID set, or coordinates (file and offset) |
//! | P0, start position | the position taken before the first row is read; replay starts there |
//! | chunk | a half-open range of a table's key, copied in one read and one transaction |
//! | ledger | the schema `__dts__` on the target: what is durable |
//! | checkpoint | the set of transactions that the target has made durable |
//! | converge point | the source's position after the last chunk was read: applied up to there, the copy is consistent |
//! | row change | one row's insert, update or delete, with its before and after image |
//! | divergence | a change that does not fit the row that it finds, after the converge point |
//! | validate, item | looking before the start; one thing looked at |
//! | check, difference | comparing rows; a row that is not the same |
//! | lag | age of the last applied transaction's commit; 0 when everything of the source is applied |
pub mod accounts;
pub mod binlog;
pub mod binlog_applier;
pub mod checker;
pub mod cutover;
pub mod data;
pub mod error;
pub mod format;
pub mod full_loader;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod migration;
pub mod progress;
pub mod retry;
pub mod server;
pub mod source;
pub mod spool;
pub mod sql;
pub mod stop;
pub mod structure;
pub mod target;
pub mod transform;
pub mod validator;
pub mod wire;
