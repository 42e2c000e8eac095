//! What to do next, with the command: every output says it.
use std::path::Path;

use dts_core::migration::State;

use super::json::StatusDocument;
use crate::store::Task;

/// Returns what to do next about a task. `conclusion` is that of its last comparison.
pub(crate) fn next_action(task: &Task, document: &StatusDocument, conclusion: Option<&str>) -> String {
    let (name, file) = (&task.name, shell_word(&task.file));
    match task.state {
        State::Created => format!("validate it: dts validate {file}"),
        State::Validating => "wait until the validation has ended".to_owned(),
        State::Validated => format!("start it: dts submit {file}, or here: dts run {file}"),
        State::ValidationFailed => format!("mend what failed, then: dts validate {file}"),
        State::Scheduled => "wait for its time; a worker must be there then: dts worker".to_owned(),
        State::Queued => "wait for its turn; a worker runs it: dts worker".to_owned(),
        State::Running => format!("wait until it is in sync; to follow it: dts status {name} --watch"),
        State::ReadyToComplete => in_sync(name, document, conclusion),
        State::Retrying => "wait: it is tried again by itself".to_owned(),
        State::Pausing | State::Stopping | State::Completing => "wait until this is done".to_owned(),
        State::Paused if document.reverse => format!(
            "the application is on the target; its changes wait there for the reverse channel: dts run {file} here, or dts resume {name} \
             for a worker"
        ),
        State::Paused => format!("go on: dts run {file} here, or dts resume {name} for a worker"),
        State::Failed => {
            let go_on = format!("dts run {file} here, or dts resume {name} for a worker");
            match &task.error {
                Some(error) => format!("{} Then go on: {go_on}", error.hint),
                None => format!("go on: {go_on}"),
            }
        }
        State::Stopped => {
            format!("nothing, the task has ended; to take away what it left on the target: dts clean {name}")
        }
        State::Completed => {
            format!(
                "nothing, the task has ended; to compare once more: dts check {name}; what happened: dts report {name}"
            )
        }
    }
}

fn in_sync(name: &str, document: &StatusDocument, conclusion: Option<&str>) -> String {
    let lag = document.lag_seconds.map_or(String::new(), |lag| format!(", lag {lag:.1} s"));
    if document.reverse {
        return format!(
            "the application is on the target, and its changes go to the source{lag}. Next: dts rollback {name} or dts complete {name}"
        );
    }
    if conclusion == Some("different") {
        return format!(
            "in sync{lag}, but the last check found differences. Look again: dts check {name} --mode full"
        );
    }
    format!("in sync{lag}. Next: dts cutover {name} --gate GATE or dts complete {name}")
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
    use crate::args::assert_can_be_typed;
    use crate::config::Settings;

    #[test]
    fn every_state_has_a_next_action_that_can_be_typed() {
        for state in State::ALL {
            let task = Task {
                name: "shop".into(),
                file: "/a/shop.toml".into(),
                state,
                status: None,
                error: None,
                holder: None,
                updated_at: String::new(),
                start_at: None,
                queue_number: None,
                settings: Settings::default(),
            };
            for (conclusion, reverse) in
                [(None, false), (Some("same"), false), (Some("different"), false), (None, true)]
            {
                let document = StatusDocument { reverse, ..StatusDocument::default() };
                let action = next_action(&task, &document, conclusion);
                assert_can_be_typed(&action);
                assert!(action.contains("dts ") || action.starts_with("wait"), "{state}: {action}");
            }
        }
    }

    #[test]
    fn paths_can_be_typed() {
        assert_eq!(shell_word(Path::new("/a/b.toml")), "/a/b.toml");
        assert_eq!(shell_word(Path::new("/a b/c'd")), "'/a b/c'\\''d'");
    }
}
