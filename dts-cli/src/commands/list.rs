//! `dts list`: all tasks.
use dts_core::error::Result;

use crate::exit::ExitStatus;
use crate::home::Home;
use crate::notify::tell_settled;
use crate::output::json::TasksDocument;
use crate::output::{Console, status};
use crate::store::Store;

/// Prints all tasks, oldest first.
pub(super) fn execute(home: &Home, console: &Console) -> Result<ExitStatus> {
    let mut store = Store::open(home)?;
    let mut tasks = Vec::new();
    for task in store.tasks()? {
        let document = status::document(&task, store.last_conclusion(&task.name)?.as_deref());
        tasks.push((task, document));
    }
    store.take_settled().iter().for_each(tell_settled);
    console.text(&status::list(&tasks, console.has_color()));
    console.document(&TasksDocument { tasks: tasks.into_iter().map(|(_, document)| document).collect() });
    Ok(ExitStatus::Done)
}
