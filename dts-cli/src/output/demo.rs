//! The end of the demo.
use std::time::Duration;

use dts_testbed::shop::WriterReport;
use jiff::Timestamp;
use serde::Serialize;

use super::format::{bytes, count, counted, duration, whole};
use super::json::{CheckDocument, StatusDocument};

/// What the demo did.
#[derive(Debug, Serialize)]
pub(crate) struct DemoDocument {
    pub(crate) seed: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) rows_at_the_beginning: u64,
    pub(crate) rows: u64,
    pub(crate) copy: Copy,
    pub(crate) application: Application,
    /// From the first refused write on the source until the target was open.
    pub(crate) write_stop_seconds: Option<f64>,
    /// The application is refused on the source and may write on the target.
    pub(crate) moved_over: bool,
    pub(crate) live_check: CheckDocument,
    pub(crate) final_check: CheckDocument,
    pub(crate) differences: Vec<String>,
    /// Where the report's page is.
    pub(crate) report: String,
    pub(crate) seconds: f64,
}

impl DemoDocument {
    /// Returns whether both sides are the same and the application went over.
    pub(crate) fn is_proved(&self) -> bool {
        self.is_equal() && self.moved_over
    }

    fn is_equal(&self) -> bool {
        self.differences.is_empty()
            && self.live_check.conclusion == "same"
            && self.final_check.conclusion == "same"
    }
}

/// The full load.
#[derive(Debug, Serialize)]
pub(crate) struct Copy {
    tables: usize,
    rows: u64,
    bytes: u64,
    seconds: f64,
    rows_per_second: f64,
}

impl Copy {
    /// Takes what the status says of the full load.
    pub(crate) fn of(status: &StatusDocument) -> Self {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let seconds = status
            .steps
            .iter()
            .find(|step| step.name == "full_load")
            .and_then(|step| {
                Some(time(&step.finished_at)?.duration_since(time(&step.started_at)?).as_secs_f64())
            })
            .unwrap_or(0.0);
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rows_per_second = if seconds > 0.0 { (status.rows_done as f64 / seconds).round() } else { 0.0 };
        Copy {
            tables: status.tables.len(),
            rows: status.rows_done,
            bytes: status.bytes_done,
            seconds,
            rows_per_second,
        }
    }
}

/// What the application wrote meanwhile.
#[derive(Debug, Serialize)]
pub(crate) struct Application {
    transactions: u64,
    rows: u64,
    rolled_back: u64,
    seconds: f64,
}

impl Application {
    /// Takes what the writer reports.
    pub(crate) fn of(report: &WriterReport) -> Self {
        Application {
            transactions: report.transactions,
            rows: report.rows,
            rolled_back: report.rolled_back,
            seconds: report.elapsed.as_secs_f64(),
        }
    }
}

/// Returns what the application wrote, in words.
pub(crate) fn written(report: &WriterReport) -> String {
    format!("{} ({})", counted(report.transactions, "transaction"), counted(report.rows, "written row"))
}

/// Returns the summary for people.
pub(crate) fn summary(document: &DemoDocument, color: bool) -> String {
    let seconds = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let (copy, application) = (&document.copy, &document.application);
    let (green, red, plain) = if color { ("\x1b[1;32m", "\x1b[1;31m", "\x1b[0m") } else { ("", "", "") };
    let is_equal = document.is_equal();
    let over = match (document.moved_over, document.write_stop_seconds) {
        (true, Some(seconds)) => format!(
            "writes stopped for {seconds:.3} s; now the source refuses the application and the target takes it"
        ),
        (true, None) => "the source refuses the application and the target takes it".to_owned(),
        (false, _) => format!(
            "{red}NOT DONE{plain}: the application was not refused on the source, or the target does not take it"
        ),
    };
    let verdict = if is_equal {
        format!(
            "{green}EQUAL{plain}: {} on both sides, by digests in the servers and byte by byte",
            counted(document.rows, "row")
        )
    } else {
        format!("{red}NOT EQUAL{plain}")
    };
    let mut text = format!(
        "
  moved        {} to {}
  copy         {} of {}, {} in {} ({} rows/s)
  meanwhile    {} committed, {} written; every one of them arrived
  live check   {} over {}, while the application was writing
  cut-over     {over}
  proof        {verdict}
  time         {} in all (seed {})
  report       {}
",
        document.from,
        document.to,
        counted(copy.rows, "row"),
        counted(copy.tables as u64, "table"),
        bytes(copy.bytes),
        seconds(copy.seconds),
        whole(copy.rows_per_second),
        counted(application.transactions, "transaction"),
        counted(application.rows, "row"),
        document.live_check.conclusion,
        counted(document.live_check.rows_compared, "row"),
        seconds(document.seconds),
        document.seed,
        document.report,
    );
    if !is_equal {
        text = text.replace("; every one of them arrived", "");
        for difference in document.differences.iter().take(20) {
            text.push_str(&format!("  {difference}\n"));
        }
        if document.differences.len() > 20 {
            text.push_str(&format!("  and {} more\n", count(document.differences.len() as u64 - 20)));
        }
    }
    text
}
