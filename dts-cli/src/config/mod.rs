//! The task file: what an operator writes, turned into the options of the library in this one place.
//!
//! - [`TaskFile`]: one file, read and checked;
//! - [`TEMPLATE`]: what `dts init` writes.
mod connection;
mod password;
mod reader;
mod task_file;
mod template;

pub(crate) use task_file::TaskFile;
pub(crate) use template::TEMPLATE;
