//! The task file: what an operator writes, turned into the options of the library in this one place.
//!
//! - [`TaskFile`]: one file, read and checked;
//! - [`Settings`]: what may be changed while a task runs;
//! - [`TEMPLATE`]: what `dts init` writes.
pub(crate) mod account_passwords;
mod connection;
mod password;
mod reader;
mod settings;
mod task_file;
mod template;

pub(crate) use settings::Settings;
pub(crate) use task_file::{CHECK_MODES, TaskFile};
pub(crate) use template::TEMPLATE;
