//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
pub mod binlog;
pub mod data;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod server;
pub mod source;
pub mod sql;
pub mod stop;
pub mod target;
pub mod transform;
pub mod wire;
