//! Numbers for Prometheus, in its text form, over HTTP. Names and meanings are in `docs/flow.md`; they are never changed.
//!
//! What is served is what the task store says at that moment, so that one process answers for all tasks of a home.
use std::net::SocketAddr;
use std::sync::Arc;

use dts_core::error::{ErrorKind, Result};
use tiny_http::{Header, Method, Response, Server};

use crate::home::Home;
use crate::output::json::StatusDocument;
use crate::output::status;
use crate::store::Store;

/// An endpoint. Ends when dropped.
pub(crate) struct Metrics(Arc<Server>);

impl Metrics {
    /// Serves `/metrics` at `address` from a thread of its own.
    ///
    /// # Errors
    /// [`ErrorKind::File`] when the address cannot be listened at.
    pub(crate) fn serve(address: SocketAddr, home: &Home) -> Result<Self> {
        let server = Server::http(address).map_err(|error| {
            dts_core::error::Error::from(ErrorKind::File {
                action: "listen at",
                path: address.to_string(),
                source: std::io::Error::other(error),
            })
            .with_hint("Choose a free address of this machine with --metrics, for example 127.0.0.1:9105.")
        })?;
        let server = Arc::new(server);
        let (serving, home) = (server.clone(), home.clone());
        std::thread::spawn(move || {
            for request in serving.incoming_requests() {
                let response = match (request.method(), request.url()) {
                    (Method::Get | Method::Head, "/metrics" | "/") => match text(&home) {
                        Ok(text) => Response::from_string(text),
                        Err(error) => Response::from_string(error.to_string()).with_status_code(500),
                    },
                    _ => Response::from_string("see /metrics\n").with_status_code(404),
                };
                let kind = Header::from_bytes("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
                let response = kind.into_iter().fold(response, Response::with_header);
                // A client that went away is not our business.
                let _ = request.respond(response);
            }
        });
        Ok(Metrics(server))
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.0.unblock();
    }
}

/// A number of a task: name, meaning, and where it is in the status.
type Gauge = (&'static str, &'static str, fn(&StatusDocument) -> Option<f64>);

const GAUGES: [Gauge; 9] = [
    ("dts_task_rows_done", "Rows copied by the full load.", |task| number(task.rows_done)),
    ("dts_task_rows_estimated", "Rows that the full load is expected to copy.", |task| {
        number(task.rows_estimated)
    }),
    ("dts_task_bytes_done", "Bytes of rows copied by the full load.", |task| number(task.bytes_done)),
    ("dts_task_rows_per_second", "Rows copied per second lately.", |task| Some(task.rows_per_second)),
    ("dts_task_eta_seconds", "Time that the full load will take at this rate.", |task| {
        task.eta_seconds.and_then(number)
    }),
    (
        "dts_task_lag_seconds",
        "Age of the last applied transaction's commit; 0 when all of the source is applied.",
        |task| task.lag_seconds,
    ),
    ("dts_task_lag_bytes", "Bytes of binary log that are received and not applied.", |task| {
        task.lag_bytes.and_then(number)
    }),
    ("dts_task_spool_bytes", "Bytes that lie in the local spool.", |task| number(task.spool_bytes)),
    ("dts_task_retries", "Attempts after transient errors in the present run.", |task| number(task.retries)),
];

fn number(number: u64) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
    Some(number as f64)
}

fn text(home: &Home) -> Result<String> {
    let mut store = Store::open(home)?;
    let tasks: Vec<StatusDocument> = store.tasks()?.iter().map(|task| status::document(task, None)).collect();
    let workers = store.workers()?.len();
    Ok(render(&tasks, workers))
}

fn render(tasks: &[StatusDocument], workers: usize) -> String {
    let mut text = String::new();
    let head = |text: &mut String, name: &str, help: &str| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
    };
    head(&mut text, "dts_workers", "Processes `dts worker` that live.");
    text.push_str(&format!("dts_workers {workers}\n"));
    head(&mut text, "dts_task_state", "1 for the state that the task is in.");
    for task in tasks {
        text.push_str(&format!("dts_task_state{{task=\"{}\",state=\"{}\"}} 1\n", task.name, task.state));
    }
    head(&mut text, "dts_task_step", "1 for the step that the task is at.");
    for task in tasks {
        if let Some(step) = &task.step {
            text.push_str(&format!("dts_task_step{{task=\"{}\",step=\"{step}\"}} 1\n", task.name));
        }
    }
    for (name, help, value) in GAUGES {
        head(&mut text, name, help);
        for task in tasks {
            if let Some(value) = value(task) {
                text.push_str(&format!("{name}{{task=\"{}\"}} {value}\n", task.name));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_name_a_meaning_and_a_task() {
        let task = StatusDocument {
            name: "shop".into(),
            state: "running".into(),
            step: Some("full_load".into()),
            rows_done: 12,
            lag_seconds: Some(0.25),
            ..StatusDocument::default()
        };
        let text = render(&[task], 2);
        for line in [
            "dts_workers 2",
            "dts_task_state{task=\"shop\",state=\"running\"} 1",
            "dts_task_step{task=\"shop\",step=\"full_load\"} 1",
            "dts_task_rows_done{task=\"shop\"} 12",
            "dts_task_lag_seconds{task=\"shop\"} 0.25",
            "# TYPE dts_task_lag_bytes gauge",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line}: {text}");
        }
        assert!(!text.contains("dts_task_lag_bytes{"), "what is not known is left out: {text}");
    }
}
