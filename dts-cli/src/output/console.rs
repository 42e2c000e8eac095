//! Where output goes.
use std::io::{IsTerminal as _, Write as _};

use dts_core::error::Error;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::json::{ErrorDocument, Failure};
use crate::args::{ColorChoice, GlobalArgs};

/// How progress is shown on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProgressStyle {
    /// Bars that move.
    Bars,
    /// One line every ten seconds.
    Lines,
    /// Nothing.
    Off,
}

/// Where output goes. Clones write to the same places.
///
/// A reader that went away (`dts list | head -1`) is not an error: what cannot be written is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    json: bool,
    color_out: bool,
    color_err: bool,
    progress: ProgressStyle,
    bars: MultiProgress,
}

impl Console {
    /// Decides by what was typed and where stdout and stderr lead.
    pub(crate) fn new(global: &GlobalArgs) -> Self {
        let (out, err) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let color = |is_terminal: bool| match global.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
        };
        let progress = match (global.no_progress, err) {
            (true, _) => ProgressStyle::Off,
            (false, true) => ProgressStyle::Bars,
            (false, false) => ProgressStyle::Lines,
        };
        let bars = MultiProgress::with_draw_target(match progress {
            ProgressStyle::Bars => ProgressDrawTarget::stderr_with_hz(8),
            ProgressStyle::Lines | ProgressStyle::Off => ProgressDrawTarget::hidden(),
        });
        Console { json: global.json, color_out: color(out), color_err: color(err), progress, bars }
    }

    /// Returns whether people's output on stdout has colours.
    pub(crate) fn has_color(&self) -> bool {
        self.color_out
    }

    /// Returns whether lines on stderr have colours.
    pub(crate) fn has_color_on_stderr(&self) -> bool {
        self.color_err
    }

    /// Returns how progress is shown.
    pub(crate) fn progress_style(&self) -> ProgressStyle {
        self.progress
    }

    /// Returns what draws the bars.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints people's output; nothing when a program reads.
    pub(crate) fn text(&self, text: &str) {
        if !self.json {
            self.raw(text);
        }
    }

    /// Prints a document for programs; nothing when people read.
    pub(crate) fn document(&self, document: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(document)
        {
            self.raw(&text);
        }
    }

    /// Prints to stdout whoever reads.
    pub(crate) fn raw(&self, text: &str) {
        print(&self.bars, text);
    }

    /// Prints people's output in the place of what was there before, on a terminal; below it elsewhere.
    pub(crate) fn page(&self, text: &str) {
        if std::io::stdout().is_terminal() {
            self.text(&format!("\x1b[H\x1b[2J{text}"));
        } else {
            self.text(text);
        }
    }

    /// Prints a line to stderr, in JSON mode too.
    pub(crate) fn note(&self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        });
    }

    /// Prints a line of progress of another process to stderr, unless nobody wants progress.
    pub(crate) fn progress_line(&self, line: &str) {
        if self.progress != ProgressStyle::Off {
            self.note(line);
        }
    }

    /// Prints a failure: for programs on stdout, for people on stderr.
    pub(crate) fn failure(&self, error: &Error) {
        if self.json {
            self.document(&Failure { error: ErrorDocument::from(error) });
            return;
        }
        // Which row it was is shown here and nowhere else: it is row content.
        let row = error.key().map(|key| format!("\n  row: {key}")).unwrap_or_default();
        self.complain(&format!("{error}{row}"), error.hint());
    }

    /// Prints a failure that another process has met.
    pub(crate) fn failure_elsewhere(&self, error: &ErrorDocument) {
        if self.json {
            self.document(&Failure { error: error.clone() });
            return;
        }
        self.complain(&format!("[{}] {}", error.code, error.message), &error.hint);
    }

    fn complain(&self, error: &str, hint: &str) {
        let (red, plain) = if self.color_err { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.note(&format!("{red}error:{plain} {error}\n  what to do: {hint}"));
    }
}

/// Writes to stdout, with `bars` off the screen meanwhile.
pub(super) fn print(bars: &MultiProgress, text: &str) {
    bars.suspend(|| {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        if !text.ends_with('\n') {
            let _ = out.write_all(b"\n");
        }
        let _ = out.flush();
    });
}
