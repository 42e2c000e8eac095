//! Room 1: all that speaks to the source server.
//!
//! - [`SourceEndpoint`]: where the source is, what it says of itself, and connections to it with the right session;
//! - [`binlog_stream`]: events of its binary log as they come;
//! - [`start_position`]: the position from which replay makes a lock-free copy exact (P0);
//! - [`exact_snapshot`]: all rows of a table at exactly one position, for tables that a lock-free copy cannot carry.
//!
//! dts never writes on the source.
pub mod binlog_stream;
mod endpoint;
pub mod exact_snapshot;
pub(crate) mod log_age;
pub mod start_position;

pub use endpoint::{SourceEndpoint, SourceOptions};
