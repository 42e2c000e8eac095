//! What to do next, with the command: every output says it.
use std::path::Path;

use dts_core::migration::State;

use super::json::StatusDocument;
use crate::args;
use crate::store::Task;

/// Returns what to do next about a task. `conclusion` is that of its last comparison.
pub(crate) fn next_action(task: &Task, document: &StatusDocument, conclusion: Option<&str>) -> String {
    let (name, file) = (&task.name, shell_word(&task.file));
    match task.state {
        State::Created => format!("validate it: dts validate {file}"),
        State::Validating => "wait until the validation has ended".to_owned(),
        State::Validated => format!("start it: dts run {file}"),
        State::ValidationFailed => format!("mend what failed, then: dts validate {file}"),
        State::Scheduled | State::Queued if args::has_command("worker") => {
            "wait for its turn; a worker runs it: dts worker".to_owned()
        }
        State::Scheduled | State::Queued => format!("start it: dts run {file}"),
        State::Running => format!("wait until it is in sync; to follow it: dts status {name} --watch"),
        State::ReadyToComplete => in_sync(name, document, conclusion),
        State::Retrying => "wait: it is tried again by itself".to_owned(),
        State::Pausing | State::Stopping | State::Completing => "wait until this is done".to_owned(),
        State::Paused => format!("go on: dts run {file}"),
        State::Failed => match &task.error {
            Some(error) => format!("{} Then go on: dts run {file}", error.hint),
            None => format!("go on: dts run {file}"),
        },
        State::Stopped | State::Completed => {
            format!("nothing, the task has ended; to compare once more: dts check {name}")
        }
    }
}

fn in_sync(name: &str, document: &StatusDocument, conclusion: Option<&str>) -> String {
    let lag = document.lag_seconds.map_or(String::new(), |lag| format!(", lag {lag:.1} s"));
    if conclusion == Some("different") {
        return format!(
            "in sync{lag}, but the last check found differences. Look again: dts check {name} --mode full"
        );
    }
    if args::has_command("cutover") && args::has_command("complete") {
        return format!("in sync{lag}. Next: dts cutover {name} or dts complete {name}");
    }
    format!(
        "in sync{lag}. Compare: dts check {name} --mode full. To move over: stop the writers on the source, wait for lag 0, \
         then end the run with Ctrl-C"
    )
}

/// Returns a path as it can be typed in a shell.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_can_be_typed() {
        assert_eq!(shell_word(Path::new("/a/b.toml")), "/a/b.toml");
        assert_eq!(shell_word(Path::new("/a b/c'd")), "'/a b/c'\\''d'");
    }
}
