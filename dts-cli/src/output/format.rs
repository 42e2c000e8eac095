//! Numbers, sizes and times as people read them.
use std::time::Duration;

pub(crate) use dts_core::format::{bytes, count, counted as counted_as};

/// Returns "1 row", "2 rows": the number and the word, with an `s` unless it is one.
pub(crate) fn counted(number: u64, word: &str) -> String {
    counted_as(number, word, &format!("{word}s"))
}

/// Returns a number of rows or the like, rounded.
pub(crate) fn whole(number: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is never negative, and `as` keeps to the limits of u64"
    )]
    let whole = number.round() as u64;
    count(whole)
}

/// Returns a rate, rounded.
pub(crate) fn per_second(rate: f64) -> String {
    format!("{}/s", whole(rate))
}

/// Returns a duration as `4.2 s`, `3 min 20 s` or `2 h 05 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..100 => format!("{:.1} s", duration.as_secs_f64()),
        100..6000 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns `part` of `whole` in percent, 100 when there is nothing to do.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    if whole == 0 { 100.0 } else { (part as f64 / whole as f64 * 1000.0).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2000, "row"), "2,000 rows");
        assert_eq!(counted_as(1, "row copied", "rows copied"), "1 row copied");
        assert_eq!(counted_as(0, "row copied", "rows copied"), "0 rows copied");
        assert_eq!(per_second(1234.5), "1,235/s");
    }

    #[test]
    fn sizes_and_times_take_the_fitting_unit() {
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(duration(Duration::from_millis(4250)), "4.2 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_secs(7500)), "2 h 05 min");
        assert!((percent(1, 3) - 33.3).abs() < 1e-9);
        assert!((percent(0, 0) - 100.0).abs() < 1e-9);
    }
}
