//! Rates from counters.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dts_core::progress::{ProgressSnapshot, Step};

/// Over how long a rate is taken: long enough not to jump with every chunk.
const WINDOW: Duration = Duration::from_secs(5);
/// Over how long the rate is taken that the rest of the copy is reckoned with: tables differ, and a promise should not jump.
const ETA_WINDOW: Duration = Duration::from_secs(60);

/// What happened per second lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) rows: f64,
    pub(crate) bytes: f64,
    pub(crate) transactions: f64,
    pub(crate) row_events: f64,
    /// How long the copy will take at the rate of the last minute; `None` when what is left is not known.
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
        let is_old = |point: &Point, window| at.duration_since(point.at) >= window;
        while self.0.len() > 2 && self.0.get(1).is_some_and(|second| is_old(second, ETA_WINDOW)) {
            self.0.pop_front();
        }
        let recent = self.0.iter().rev().find(|point| is_old(point, WINDOW));
        let Some((first, oldest)) = recent.or(self.0.front()).zip(self.0.front()) else {
            return Rates::default();
        };
        let seconds = at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        // A chunk that is copied again takes its rows back, so that counters may fall.
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        let rows = rate(first.rows, now.rows);
        // By bytes, because rows of one table are shorter than those of another.
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let bytes_per_second =
            now.bytes.saturating_sub(oldest.bytes) as f64 / at.duration_since(oldest.at).as_secs_f64();
        let left = snapshot.load_bytes_left().filter(|_| snapshot.step == Some(Step::FullLoad));
        #[allow(clippy::cast_precision_loss, reason = "a duration in seconds")]
        let eta = left
            .filter(|_| bytes_per_second > 0.0)
            .map(|left| Duration::try_from_secs_f64(left as f64 / bytes_per_second).unwrap_or(Duration::MAX));
        Rates {
            rows,
            bytes: rate(first.bytes, now.bytes),
            transactions: rate(first.transactions, now.transactions),
            row_events: rate(first.row_events, now.row_events),
            eta,
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
        assert!(meter.0.len() < 30);
    }

    #[test]
    fn the_rest_is_reckoned_by_bytes_at_the_rate_of_the_last_minute() {
        let progress = Progress::new();
        progress.set_step(Step::FullLoad, StepState::Running);
        let narrow = progress.add_table(TableName::new("d", "narrow"), 1_000, TableState::Copying);
        let wide = progress.add_table(TableName::new("d", "wide"), 10, TableState::Waiting);
        wide.set_bytes_estimated(80_000);
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.rates(start, &progress.snapshot());
        for second in 1..=100_u32 {
            narrow.add(5, 500);
            let rates = meter.rates(start + Duration::from_secs(second.into()), &progress.snapshot());
            let left = (100_000 - 500 * u64::from(second) + 80_000) / 500;
            assert_eq!(rates.eta, Some(Duration::from_secs(left)), "{second}");
        }
        assert!(meter.0.len() < 70);
        // More rows than the statistics promised: nobody knows how many more.
        narrow.add(501, 50_100);
        assert_eq!(meter.rates(start + Duration::from_secs(101), &progress.snapshot()).eta, None);
    }
}
