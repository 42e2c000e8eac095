//! What a server says of itself, source or target alike: version, settings, tables.
//!
//! - [`ServerFacts`]: flavor, version, settings. A setting that the server hides is a value (`None`), not an error.
//! - [`catalog`]: databases, tables and their columns, from `information_schema`.
//! - [`accounts`]: accounts and their grants, from the tables of `mysql`.
pub mod accounts;
pub mod catalog;
mod facts;
pub(crate) mod session;
mod system_account;

pub use facts::{
    Flavor, ServerFacts, ServerVersion, binlog_files, binlog_position, gtid_committed, gtid_executed,
    gtid_owned, gtid_purged, gtid_visible, log_end, log_start,
};
pub(crate) use system_account::is_system_account;
