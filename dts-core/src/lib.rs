//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
pub mod data;
pub mod error;
pub mod sql;
pub mod transform;
