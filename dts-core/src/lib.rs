//! Moves live MySQL databases to another MySQL server and proves that not a row was lost.
pub mod binlog;
pub mod binlog_applier;
pub mod data;
pub mod error;
pub mod full_loader;
pub mod migration;
pub mod progress;
pub mod retry;
pub mod server;
pub mod source;
pub mod sql;
pub mod stop;
pub mod structure;
pub mod target;
pub mod transform;
pub mod validator;
pub mod wire;
