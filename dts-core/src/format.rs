//! Numbers, sizes and lists of names as people read them.
use std::fmt::Display;

/// Returns a number with a comma between thousands.
///
/// ```
/// assert_eq!(dts_core::format::count(1_234_567), "1,234,567");
/// ```
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a number and what it counts: `one` for 1, `many` for all others. A number that is no `u64` counts as the largest.
///
/// ```
/// use dts_core::format::counted;
///
/// assert_eq!(counted(1, "query", "queries"), "1 query");
/// assert_eq!(counted(2000, "object with a definer", "objects with a definer"), "2,000 objects with a definer");
/// ```
pub fn counted(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Returns a size in the largest unit of which it has one at least.
///
/// ```
/// use dts_core::format::bytes;
///
/// assert_eq!((bytes(12), bytes(1536), bytes(3 << 30)), ("12 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
/// ```
pub fn bytes(number: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "one digit after the point is shown")]
    let of = |unit: u64| number as f64 / unit as f64;
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if number >= size {
            return format!("{:.1} {unit}", of(size));
        }
    }
    format!("{number} B")
}

/// Returns the first few names for a sentence, and how many more there are.
///
/// ```
/// assert_eq!(dts_core::format::few(&[1, 2, 3, 4, 5, 6, 7]), "1, 2, 3, 4, 5 and 2 more");
/// ```
pub fn few<T: Display>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", count((names.len() - SHOWN) as u64)));
    }
    text
}
