//! Tells a command of the operator's about changes of state. A task never waits for it.
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use dts_core::migration::State;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::output::json::ErrorDocument;
use crate::store::Settled;

/// How long one command may take; then it is ended.
const TIME_OUT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 30 });
/// How long the end of the program waits for commands that are still to be run.
const FAREWELL: Duration = Duration::from_secs(5);
/// How many changes may wait for a slow command; further ones are dropped.
const WAITING_MAX: usize = 64;

/// One change of a task's state.
pub(crate) struct Change<'c> {
    pub(crate) task: &'c str,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: &'c str,
    pub(crate) error: Option<&'c ErrorDocument>,
}

/// Runs the command for each change, one after another. Dropped, it waits a moment for the last ones.
pub(crate) struct Notifier(Option<Mutex<Running>>);

struct Running {
    sender: Option<SyncSender<Value>>,
    ended: Receiver<()>,
}

impl Notifier {
    /// Takes the command; without one nobody is told.
    pub(crate) fn new(command: Option<String>) -> Self {
        Notifier(command.map(|command| {
            let (sender, changes) = mpsc::sync_channel(WAITING_MAX);
            let (end, ended) = mpsc::channel();
            std::thread::spawn(move || {
                for change in changes {
                    run(&command, &change);
                }
                let _ = end.send(());
            });
            Mutex::new(Running { sender: Some(sender), ended })
        }))
    }

    /// Takes the command that a task file names. Only that is read: a file that cannot be read whole, because a password is
    /// missing here for example, names it all the same.
    pub(crate) fn of_file(path: &Path) -> Self {
        let table = std::fs::read_to_string(path).ok().and_then(|text| text.parse::<toml::Table>().ok());
        if table.is_none() {
            log::warn!("whom to notify cannot be read from {}", path.display());
        }
        let command = table
            .as_ref()
            .and_then(|table| table.get("notify")?.get("command")?.as_str())
            .filter(|command| !command.is_empty());
        Notifier::new(command.map(ToOwned::to_owned))
    }

    /// Passes a change on; returns at once.
    pub(crate) fn tell(&self, change: &Change<'_>) {
        let Some(running) = &self.0 else { return };
        let document = json!({
            "task": change.task,
            "state_before": change.from.name(),
            "state": change.to.name(),
            "reason": change.reason,
            "at": format!("{:.3}", Timestamp::now()),
            "error": change.error,
        });
        let running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(sender) = &running.sender
            && let Err(TrySendError::Full(_)) = sender.try_send(document)
        {
            log::warn!("the notify command is too slow; {} -> {} is not told", change.from, change.to);
        }
    }
}

/// Tells that the process of a task was found to be gone.
pub(crate) fn tell_settled(settled: &Settled) {
    let Settled { task, file, from, to, error } = settled;
    Notifier::of_file(file).tell(&Change {
        task,
        from: *from,
        to: *to,
        reason: &error.message,
        error: Some(error),
    });
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let Some(running) = &self.0 else { return };
        let mut running = running.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        running.sender = None;
        if running.ended.recv_timeout(FAREWELL) == Err(mpsc::RecvTimeoutError::Timeout) {
            log::warn!("the notify command has not told everything within {} s", FAREWELL.as_secs());
        }
    }
}

fn run(command: &str, change: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let begun = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("DTS_TASK", text(&change["task"]))
        .env("DTS_STATE", text(&change["state"]))
        .env("DTS_STATE_BEFORE", text(&change["state_before"]))
        .env("DTS_REASON", text(&change["reason"]))
        .env("DTS_AT", text(&change["at"]))
        .env("DTS_ERROR_CODE", text(&change["error"]["code"]))
        .env("DTS_ERROR", text(&change["error"]["message"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match begun {
        Ok(child) => child,
        Err(error) => return log::warn!("the notify command could not be started: {error}"),
    };
    if let Some(mut input) = child.stdin.take() {
        // One that reads nothing closes it; a document fits into the pipe, so this never waits.
        let _ = writeln!(input, "{change}");
    }
    match wait(&mut child) {
        Some(true) => {}
        Some(false) => log::warn!("the notify command failed for state {}", change["state"]),
        None => log::warn!("the notify command took more than {} s and was ended", TIME_OUT.as_secs()),
    }
}

/// Returns whether the command succeeded; `None` when its time was over.
fn wait(child: &mut Child) -> Option<bool> {
    let deadline = Instant::now() + TIME_OUT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(to: State, error: Option<&ErrorDocument>) -> Change<'_> {
        Change { task: "shop", from: State::Queued, to, reason: "it's \"time\"", error }
    }

    #[test]
    fn the_command_gets_the_change_in_its_environment_and_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let path = file.display();
        let notifier = Notifier::new(Some(format!(
            "echo \"$DTS_TASK $DTS_STATE_BEFORE $DTS_STATE $DTS_REASON $DTS_ERROR_CODE\" >> '{path}'; cat >> '{path}'"
        )));
        let error =
            ErrorDocument { code: "DTS-4005".into(), message: "m".into(), hint: "h".into(), position: None };
        notifier.tell(&change(State::Running, None));
        notifier.tell(&change(State::Failed, Some(&error)));
        drop(notifier);
        let told = std::fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], "shop queued running it's \"time\" ");
        assert_eq!(lines[2], "shop queued failed it's \"time\" DTS-4005");
        let document: Value = serde_json::from_str(lines[3]).unwrap();
        assert_eq!((&document["state"], &document["error"]["code"]), (&json!("failed"), &json!("DTS-4005")));
    }

    /// The password is in a variable that only the worker has.
    #[test]
    fn a_task_file_that_cannot_be_read_whole_names_the_command_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (file, told) = (folder.path().join("shop.toml"), folder.path().join("told"));
        let text = format!(
            "[source]\npassword = {{ env = \"NOT_THERE\" }}\n[notify]\ncommand = \"echo $DTS_STATE >> '{}'\"\n",
            told.display()
        );
        std::fs::write(&file, text).unwrap();
        Notifier::of_file(&file).tell(&change(State::Queued, None));
        assert_eq!(std::fs::read_to_string(&told).unwrap(), "queued\n");
        // One that is gone, or no task file any more, names nobody.
        for text in ["[notify]\n", "[notify", "notify = 1"] {
            std::fs::write(&file, text).unwrap();
            Notifier::of_file(&file).tell(&change(State::Queued, None));
        }
        std::fs::remove_file(&file).unwrap();
        Notifier::of_file(&file).tell(&change(State::Queued, None));
        assert_eq!(std::fs::read_to_string(&told).unwrap(), "queued\n");
    }

    #[test]
    fn a_command_that_hangs_or_fails_holds_nobody_up() {
        // Whoever waited for it would wait for a day.
        let notifier = Notifier::new(Some("exec sleep 86400".to_owned()));
        (0..200).for_each(|_| notifier.tell(&change(State::Running, None)));
        Notifier::new(Some("exit 3".to_owned())).tell(&change(State::Running, None));
        drop(notifier);
    }
}
