//! `dts demo`
use dts_core::error::Result;

use crate::args::DemoArgs;
use crate::exit::ExitStatus;
use crate::output::Console;

/// Demo.
pub(super) fn execute(_args: &DemoArgs, _console: &Console) -> Result<ExitStatus> {
    Ok(ExitStatus::Done)
}
