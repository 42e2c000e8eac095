//! `dts init`: a commented task file.
use std::fs::File;
use std::io::Write as _;

use dts_core::error::{Error, ErrorKind, Result};
use serde_json::json;

use crate::args::InitArgs;
use crate::config::TEMPLATE;
use crate::exit::ExitStatus;
use crate::output::Console;
use crate::output::next_action::shell_word;

/// Writes the file, unless there is one.
pub(super) fn execute(args: &InitArgs, console: &Console) -> Result<ExitStatus> {
    let path = &args.file;
    let failed = |source: std::io::Error| {
        let exists = source.kind() == std::io::ErrorKind::AlreadyExists;
        let error =
            Error::from(ErrorKind::File { action: "create", path: path.display().to_string(), source });
        if exists { error.with_hint("dts never overwrites a file: choose another name.") } else { error }
    };
    let mut file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(TEMPLATE.as_bytes()).map_err(failed)?;
    let name = shell_word(path);
    console.text(&format!("{name} is written. Edit it, then: dts validate {name}"));
    console.document(&json!({ "file": path.display().to_string() }));
    Ok(ExitStatus::Done)
}
