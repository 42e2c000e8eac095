//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
pub mod binlog;
pub mod data;
pub mod error;
