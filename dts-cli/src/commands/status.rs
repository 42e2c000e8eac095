//! `dts status`: one task.
use std::time::Duration;

use dts_core::error::Result;
use dts_core::stop::StopToken;

use crate::args::StatusArgs;
use crate::exit::ExitStatus;
use crate::home::Home;
use crate::notify::tell_settled;
use crate::output::{Console, status};
use crate::signals;
use crate::store::Store;

/// Prints a task once, or anew every second.
pub(super) fn execute(args: &StatusArgs, home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let stop = StopToken::new();
    if args.watch {
        signals::stop_on_signals(&stop, console, "")?;
    }
    loop {
        let task = store.get(&args.name)?;
        let document = status::document(&task, store.last_conclusion(&task.name)?.as_deref());
        store.take_settled().iter().for_each(tell_settled);
        let text = status::one(&task, &document, console.has_color());
        if !args.watch {
            console.text(&text);
            console.document(&document);
            return Ok(ExitStatus::Done);
        }
        console.page(&text);
        if task.state.is_final() || stop.sleep(Duration::from_secs(1)).is_err() {
            // Leaving is how a watch ends.
            return Ok(ExitStatus::Done);
        }
    }
}
