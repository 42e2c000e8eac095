//! What was typed cannot be understood, or asks for help.
use clap::error::ErrorKind;
use dts_core::error::Error;
use indicatif::MultiProgress;

use super::json::{ErrorDocument, Failure};
use crate::exit::ExitStatus;

/// Prints help, the version or what is wrong with the command line, as a JSON document when `--json` was typed.
pub(crate) fn usage(error: &clap::Error) -> ExitStatus {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitStatus::Done;
    }
    if !std::env::args_os().any(|arg| arg == "--json") {
        let _ = error.print();
        return ExitStatus::Usage;
    }
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    // The code is that of every input that cannot be used.
    let code = Error::invalid("command line", "", "").code().to_string();
    let hint = "See `dts help`.".to_owned();
    let failure = Failure { error: ErrorDocument { code, message, hint, position: None } };
    super::console::print(&MultiProgress::new(), &serde_json::to_string(&failure).unwrap_or_default());
    ExitStatus::Usage
}
