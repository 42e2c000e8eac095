//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
pub mod checker;
pub mod data;
pub mod error;
pub mod server;
pub mod source;
pub mod sql;
pub mod stop;
pub mod target;
pub mod transform;
pub mod wire;
