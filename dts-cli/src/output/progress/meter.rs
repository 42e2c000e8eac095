//! Rates from counters.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dts_core::progress::{ProgressSnapshot, Step};

/// Over how long a rate is taken: long enough not to jump with every chunk.
const WINDOW: Duration = Duration::from_secs(5);

/// What happened per second lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) rows: f64,
    pub(crate) bytes: f64,
    pub(crate) transactions: f64,
    pub(crate) row_events: f64,
    /// How long the copy will take at this rate.
    pub(crate) eta: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Point {
    at: Instant,
    rows: u64,
    bytes: u64,
    transactions: u64,
    row_events: u64,
}

/// Turns counters into rates.
#[derive(Default)]
pub(crate) struct Meter(VecDeque<Point>);

impl Meter {
    /// Takes the present counters and returns the rates of the last seconds.
    pub(crate) fn rates(&mut self, at: Instant, snapshot: &ProgressSnapshot) -> Rates {
        let now = Point {
            at,
            rows: snapshot.rows_done,
            bytes: snapshot.bytes_done,
            transactions: snapshot.transactions_applied,
            row_events: snapshot.row_events_applied,
        };
        self.0.push_back(now);
        while self.0.len() > 2 && self.0.get(1).is_some_and(|second| at.duration_since(second.at) >= WINDOW) {
            self.0.pop_front();
        }
        let Some(first) = self.0.front() else { return Rates::default() };
        let seconds = at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        // A chunk that is copied again takes its rows back, so that counters may fall.
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let rows = rate(first.rows, now.rows);
        #[allow(clippy::cast_precision_loss, reason = "a duration in seconds")]
        let left = snapshot.rows_estimated.saturating_sub(now.rows) as f64;
        let is_copying = snapshot.step == Some(Step::FullLoad) && rows > 0.0;
        Rates {
            rows,
            bytes: rate(first.bytes, now.bytes),
            transactions: rate(first.transactions, now.transactions),
            row_events: rate(first.row_events, now.row_events),
            eta: is_copying.then(|| Duration::try_from_secs_f64(left / rows).unwrap_or(Duration::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use dts_core::data::TableName;
    use dts_core::progress::{Progress, StepState, TableState};

    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let progress = Progress::new();
        progress.set_step(Step::FullLoad, StepState::Running);
        let table = progress.add_table(TableName::new("d", "t"), 10_000, TableState::Copying);
        let start = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.rates(start, &progress.snapshot()), Rates::default());
        for second in 1..=20_u32 {
            // A hundred rows a second for ten seconds, then three hundred.
            table.add(if second <= 10 { 100 } else { 300 }, 1000);
            let rates = meter.rates(start + Duration::from_secs(second.into()), &progress.snapshot());
            let expected = if second <= 10 { 100.0 } else { 300.0 };
            if second <= 10 || second >= 15 {
                assert!((rates.rows - expected).abs() < 1e-9, "{second}: {rates:?}");
            }
        }
        let rates = meter.rates(start + Duration::from_secs(20), &progress.snapshot());
        assert_eq!(rates.eta, Some(Duration::from_secs(6000) / 300));
        assert!(meter.0.len() < 10);
    }
}
