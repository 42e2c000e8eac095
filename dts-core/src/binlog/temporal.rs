//! DATE, TIME, DATETIME, TIMESTAMP, old and new: binary to the text that the server prints.
use super::damaged;
use super::reader::Bytes;
use super::text::StackText;
use crate::error::{Error, Result};

/// Most fraction digits of a second.
const FSP_MAX: u8 = 6;
/// The packed forms keep microseconds in their lowest 24 bits.
const FRACTION_BITS: u32 = 24;

/// How many fraction digits a column has, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fsp(u8);

impl Fsp {
    pub(super) const MAX: Fsp = Fsp(FSP_MAX);

    pub(super) fn new(digits: u16) -> Result<Self> {
        match u8::try_from(digits) {
            Ok(digits) if digits <= FSP_MAX => Ok(Fsp(digits)),
            _ => Err(damaged(format!("a column with {digits} fraction digits is not possible"))),
        }
    }

    /// Returns how many bytes the fraction has.
    pub(super) fn bytes(self) -> u8 {
        self.0.div_ceil(2)
    }

    /// Returns what one unit of the stored fraction is, in microseconds.
    fn microseconds(self) -> u32 {
        10_u32.pow(u32::from(FSP_MAX - self.bytes() * 2))
    }
}

/// The parts of a point in time; zero and partial dates too.
#[derive(Clone, Copy, Default)]
struct Datetime {
    year: u32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    microsecond: u32,
}

#[cold]
fn impossible(kind: &str) -> Error {
    damaged(format!("{kind} value is not possible"))
}

fn low_bits(value: u64, bits: u32) -> u32 {
    // A mask of at most 32 bits, so it fits.
    u32::try_from(value & ((1 << bits) - 1)).unwrap_or_default()
}

impl Datetime {
    /// Takes apart year and month (as year * 13 + month), day, hour, minute and second, in 22 and 17 bits.
    fn from_packed(packed: u64, microsecond: u32) -> Self {
        let year_month = low_bits(packed >> 22, 24);
        Datetime {
            year: year_month / 13,
            month: year_month % 13,
            day: low_bits(packed >> 17, 5),
            hour: low_bits(packed >> 12, 5),
            minute: low_bits(packed >> 6, 6),
            second: low_bits(packed, 6),
            microsecond,
        }
    }

    fn from_epoch(seconds: u32, microsecond: u32) -> Self {
        if seconds == 0 {
            return Datetime::default();
        }
        // Days to a date of the Gregorian calendar, with years that begin in March; 1970-01-01 is day 719468 of them.
        let days = seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        Datetime {
            year: era * 400 + year_of_era + u32::from(month >= 10),
            month: if month < 10 { month + 3 } else { month - 9 },
            day: day_of_year - (153 * month + 2) / 5 + 1,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            microsecond,
        }
    }

    fn date_text(self, kind: &str) -> Result<StackText> {
        if self.year > 9999 || self.month > 12 {
            return Err(impossible(kind));
        }
        let mut text = StackText::new();
        text.push_two(self.year / 100);
        text.push_two(self.year % 100);
        text.push(b'-');
        text.push_two(self.month);
        text.push(b'-');
        text.push_two(self.day);
        Ok(text)
    }

    fn text(self, fsp: Fsp, kind: &str) -> Result<StackText> {
        if self.hour > 23 {
            return Err(impossible(kind));
        }
        let mut text = self.date_text(kind)?;
        text.push(b' ');
        push_time(&mut text, self.hour, self.minute, self.second, self.microsecond, fsp, kind)?;
        Ok(text)
    }
}

fn push_time(
    text: &mut StackText,
    hour: u32,
    minute: u32,
    second: u32,
    microsecond: u32,
    fsp: Fsp,
    kind: &str,
) -> Result<()> {
    if minute > 59 || second > 59 || microsecond > 999_999 {
        return Err(impossible(kind));
    }
    if hour < 100 {
        text.push_two(hour);
    } else {
        text.push_number(hour, 3);
    }
    text.push(b':');
    text.push_two(minute);
    text.push(b':');
    text.push_two(second);
    if fsp.0 > 0 {
        text.push(b'.');
        text.push_number(microsecond / 10_u32.pow(u32::from(FSP_MAX - fsp.0)), usize::from(fsp.0));
    }
    Ok(())
}

fn time_text(
    is_negative: bool,
    hour: u32,
    minute: u32,
    second: u32,
    microsecond: u32,
    fsp: Fsp,
) -> Result<StackText> {
    const HOUR_MAX: u32 = 838;
    if hour > HOUR_MAX {
        return Err(impossible("TIME"));
    }
    let mut text = StackText::new();
    if is_negative {
        text.push(b'-');
    }
    push_time(&mut text, hour, minute, second, microsecond, fsp, "TIME")?;
    Ok(text)
}

/// Reads the fraction behind a DATETIME or TIMESTAMP, in microseconds.
#[inline]
fn fraction(bytes: &mut Bytes<'_>, fsp: Fsp) -> Result<u32> {
    let stored = bytes.uint_be(fsp.bytes())?;
    // At most three bytes times 10000.
    Ok(u32::try_from(stored).unwrap_or(u32::MAX).saturating_mul(fsp.microseconds()))
}

/// Reads a DATE: 15 bits year, 4 month, 5 day.
pub(super) fn date(bytes: &mut Bytes<'_>) -> Result<StackText> {
    let stored = bytes.u24()?;
    let date =
        Datetime { year: stored >> 9, month: (stored >> 5) & 15, day: stored & 31, ..Datetime::default() };
    date.date_text("DATE")
}

/// Reads a DATETIME of 5.6.4 and later.
pub(super) fn datetime2(bytes: &mut Bytes<'_>, fsp: Fsp) -> Result<StackText> {
    const OFFSET: u64 = 0x80_0000_0000;
    let stored = bytes.uint_be(5)?;
    let microsecond = fraction(bytes, fsp)?;
    match stored.checked_sub(OFFSET) {
        Some(packed) => Datetime::from_packed(packed, microsecond).text(fsp, "DATETIME"),
        None => Err(impossible("DATETIME")),
    }
}

/// Reads a DATETIME of before 5.6.4: the digits YYYYMMDDhhmmss as a number.
pub(super) fn datetime_v1(bytes: &mut Bytes<'_>) -> Result<StackText> {
    let stored = bytes.u64()?;
    let two_digits = |divisor: u64| u32::try_from(stored / divisor % 100).unwrap_or_default();
    let datetime = Datetime {
        year: u32::try_from(stored / 10_000_000_000).unwrap_or(u32::MAX),
        month: two_digits(100_000_000),
        day: two_digits(1_000_000),
        hour: two_digits(10_000),
        minute: two_digits(100),
        second: two_digits(1),
        microsecond: 0,
    };
    datetime.text(Fsp(0), "DATETIME")
}

/// Reads a TIMESTAMP of 5.6.4 and later, as UTC.
pub(super) fn timestamp2(bytes: &mut Bytes<'_>, fsp: Fsp) -> Result<StackText> {
    let seconds = u32::from_be_bytes(bytes.array()?);
    let microsecond = fraction(bytes, fsp)?;
    Datetime::from_epoch(seconds, microsecond).text(fsp, "TIMESTAMP")
}

/// Reads a TIMESTAMP of before 5.6.4, as UTC.
pub(super) fn timestamp_v1(bytes: &mut Bytes<'_>) -> Result<StackText> {
    Datetime::from_epoch(bytes.u32()?, 0).text(Fsp(0), "TIMESTAMP")
}

/// Reads a TIME of 5.6.4 and later.
///
/// Seconds and fraction are one number, negated as a whole and moved by an offset so that bytes sort as values: -00:00:00.1
/// is stored as -1 second and +0.9 of one.
pub(super) fn time2(bytes: &mut Bytes<'_>, fsp: Fsp) -> Result<StackText> {
    let stored = bytes.uint_be(3 + fsp.bytes())?;
    let fraction_bits = 8 * u32::from(fsp.bytes());
    let zero = 0x80_0000_u64 << fraction_bits;
    let magnitude = stored.abs_diff(zero);
    let microsecond = low_bits(magnitude, fraction_bits).saturating_mul(fsp.microseconds());
    packed_time(stored < zero, magnitude >> fraction_bits, microsecond, fsp)
}

/// Takes apart hour, minute and second, in 10, 6 and 6 bits.
fn packed_time(is_negative: bool, packed: u64, microsecond: u32, fsp: Fsp) -> Result<StackText> {
    // A bit above says that there is no time in here.
    if packed >> 22 != 0 {
        return Err(impossible("TIME"));
    }
    let (hour, minute, second) = (low_bits(packed >> 12, 10), low_bits(packed >> 6, 6), low_bits(packed, 6));
    time_text(is_negative, hour, minute, second, microsecond, fsp)
}

/// Reads a TIME of before 5.6.4: the digits hhmmss as a signed number.
pub(super) fn time_v1(bytes: &mut Bytes<'_>) -> Result<StackText> {
    let [a, b, c] = bytes.array()?;
    let signed = i32::from_le_bytes([0, a, b, c]) >> 8;
    let digits = signed.unsigned_abs();
    time_text(signed < 0, digits / 10_000, digits / 100 % 100, digits % 100, 0, Fsp(0))
}

/// Which temporal type a JSON document holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum JsonTemporal {
    Date,
    Time,
    Datetime,
}

/// Writes a temporal value of a JSON document; all but dates have six fraction digits.
pub(super) fn json_temporal(packed: i64, kind: JsonTemporal) -> Result<StackText> {
    let magnitude = packed.unsigned_abs();
    let microsecond = low_bits(magnitude, FRACTION_BITS);
    let packed_seconds = magnitude >> FRACTION_BITS;
    match kind {
        JsonTemporal::Time => packed_time(packed < 0, packed_seconds, microsecond, Fsp::MAX),
        _ if packed < 0 => Err(impossible("DATETIME")),
        JsonTemporal::Date => Datetime::from_packed(packed_seconds, microsecond).date_text("DATE"),
        JsonTemporal::Datetime => {
            Datetime::from_packed(packed_seconds, microsecond).text(Fsp::MAX, "DATETIME")
        }
    }
}
