//! What a run is doing, on stderr: bars on a terminal, one line of fixed order every ten seconds elsewhere.
mod bars;
mod meter;
mod status_line;

use std::time::{Duration, Instant};

use dts_core::checker::CheckCounts;
use dts_core::migration::State;
use dts_core::progress::ProgressSnapshot;

pub(crate) use meter::{Meter, Rates};
pub(crate) use status_line::check_line;

use super::Console;
use super::console::ProgressStyle;
use bars::Bars;

/// How often the status line comes.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A task at one moment.
pub(crate) struct View<'v> {
    pub(crate) name: &'v str,
    pub(crate) state: State,
    pub(crate) snapshot: &'v ProgressSnapshot,
    pub(crate) rates: Rates,
    /// The comparison that is made meanwhile.
    pub(crate) check: Option<CheckCounts>,
}

/// Shows views as they come.
pub(crate) enum Display {
    Bars(Bars),
    Lines { console: Console, due: Instant },
    Off,
}

impl Display {
    /// Starts to show progress in the console's style.
    pub(crate) fn new(console: &Console) -> Self {
        match console.progress_style() {
            ProgressStyle::Bars => Display::Bars(Bars::new(console)),
            ProgressStyle::Lines => {
                Display::Lines { console: console.clone(), due: Instant::now() + LINE_EVERY }
            }
            ProgressStyle::Off => Display::Off,
        }
    }

    /// Shows the present moment; may be called as often as one likes.
    pub(crate) fn show(&mut self, view: &View<'_>) {
        match self {
            Display::Bars(bars) => bars.show(view),
            Display::Lines { console, due } => {
                if Instant::now() >= *due {
                    console.note(&status_line::status_line(view));
                    if let Some(counts) = &view.check {
                        console.note(&status_line::check_line(view.name, counts));
                    }
                    *due += LINE_EVERY;
                }
            }
            Display::Off => {}
        }
    }

    /// Shows a comparison that is made by itself.
    pub(crate) fn show_check(&mut self, name: &str, counts: &CheckCounts) {
        match self {
            Display::Bars(bars) => bars.show_check(counts),
            Display::Lines { console, due } => {
                if Instant::now() >= *due {
                    console.note(&status_line::check_line(name, counts));
                    *due += LINE_EVERY;
                }
            }
            Display::Off => {}
        }
    }

    /// Takes the bars off the screen.
    pub(crate) fn clear(self) {
        if let Display::Bars(bars) = self {
            bars.clear();
        }
    }

    /// Takes the bars off the screen; without a terminal the last moment is written down.
    pub(crate) fn finish(self, view: &View<'_>) {
        match self {
            Display::Bars(bars) => bars.clear(),
            Display::Lines { console, .. } => console.note(&status_line::status_line(view)),
            Display::Off => {}
        }
    }
}
