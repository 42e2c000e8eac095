//! Asks the process that works on a task, or gets the right to work on it. See [`request`](crate::store::request).
use std::time::{Duration, Instant};

use dts_core::error::{Error, ErrorKind, Result};
use dts_core::stop::StopToken;
use serde_json::Value;

use crate::exit::ExitStatus;
use crate::output::Console;
use crate::store::{Answer, Holder, Lease, Standing, Store};

/// How often the store is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the process that works on the task may take to see the request.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to give the task back once it has ended its work.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(15);
/// How often another process may die or appear in between.
const TURNS_MAX: u32 = 5;

/// Who does the work.
pub(super) enum Asked {
    /// The process that works on the task has done it.
    Answered(Box<Answer>),
    /// No process works on the task: this one may.
    Ours(Lease),
}

/// What is asked of whom.
pub(super) struct Question<'q> {
    pub(super) task: &'q str,
    pub(super) kind: &'q str,
    pub(super) payload: &'q Value,
    /// The other process gives the task back afterwards; this is waited for.
    pub(super) ends_work: bool,
}

/// Asks and waits for the answer, and shows meanwhile what the other process says.
///
/// # Errors
/// [`ErrorKind::Timeout`] when the other process does not react; [`ErrorKind::Interrupted`] after Ctrl-C.
pub(super) fn ask_or_take(
    question: &Question<'_>,
    store: &mut Store,
    console: &Console,
    stop: &StopToken,
) -> Result<Asked> {
    let mut last = None;
    for _ in 0..TURNS_MAX {
        let holder = store.get(question.task)?.holder;
        let Some(holder) = holder.filter(Holder::is_alive) else {
            match store.take_lease(question.task, question.kind, stop) {
                Ok(lease) => return Ok(Asked::Ours(lease)),
                // Another process was faster: it is asked.
                Err(error) if matches!(error.kind(), ErrorKind::IllegalState { .. }) => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(answer) = ask(question, &holder, store, console, stop)? {
            return Ok(Asked::Answered(Box::new(answer)));
        }
    }
    Err(last.unwrap_or_else(|| Error::internal("every process that was asked ended without an answer")))
}

/// Asks one process. `None`: it will not answer any more.
fn ask(
    question: &Question<'_>,
    holder: &Holder,
    store: &mut Store,
    console: &Console,
    stop: &StopToken,
) -> Result<Option<Answer>> {
    let id = store.ask(question.task, question.kind, question.payload)?;
    let asked = Instant::now();
    let (mut last_line, mut is_cancelled) = (0, false);
    loop {
        let task = store.find(question.task)?;
        let present = task.and_then(|task| task.holder);
        let standing = store.look_at(id, present.as_ref())?;
        for line in store.lines_of(id, last_line)? {
            last_line = line.number;
            if line.is_progress { console.progress_line(&line.text) } else { console.text(&line.text) }
        }
        match standing {
            Standing::Answered(answer) => {
                if question.ends_work {
                    wait_until_given_back(question.task, holder, store, stop)?;
                }
                return Ok(Some(*answer));
            }
            Standing::Abandoned => return Ok(None),
            Standing::Asked if present.is_none() => {
                if store.withdraw(id)? {
                    return Ok(None);
                }
            }
            Standing::Asked if stop.is_stopped() || asked.elapsed() > SEEN_WITHIN => {
                if store.withdraw(id)? {
                    stop.check()?;
                    return Err(not_seen(holder));
                }
            }
            Standing::Taken if stop.is_stopped() && !is_cancelled => {
                is_cancelled = true;
                store.cancel(id)?;
                console.note(&format!(
                    "{} was asked to break it off (Ctrl-C once more to leave it to that process)",
                    holder.in_words()
                ));
            }
            Standing::Asked | Standing::Taken => {}
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn not_seen(holder: &Holder) -> Error {
    Error::from(ErrorKind::Timeout { seconds: SEEN_WITHIN.as_secs() }).with_hint(format!(
        "{} works on the task but does not react; nothing was changed. See whether it is suspended (Ctrl-Z) or its disk hangs. \
         If it must go: kill it, then type the same once more.",
        holder.in_words()
    ))
}

/// Waits until the next command may work on the task.
fn wait_until_given_back(task: &str, holder: &Holder, store: &mut Store, stop: &StopToken) -> Result<()> {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    while Instant::now() < deadline
        && !stop.is_stopped()
        && store.find(task)?.and_then(|task| task.holder).is_some_and(|now| now.is_same(holder))
    {
        std::thread::sleep(LOOK_EVERY / 4);
    }
    Ok(())
}

/// Prints an answer; the command ends with its exit status.
pub(super) fn print(answer: &Answer, console: &Console) -> ExitStatus {
    match &answer.error {
        Some(error) => console.failure_elsewhere(error),
        None => {
            if !answer.text.is_empty() {
                console.text(&answer.text);
            }
            console.document(&answer.document);
        }
    }
    ExitStatus::from_number(answer.exit)
}
