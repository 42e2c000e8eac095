//! How MySQL prints a DOUBLE inside a JSON document: for reading the binary log, and for telling which numbers of a text a
//! server would print differently after parsing it.

/// Prints a number with the fewest digits that read back as it, as the server does: without an exponent from 1e-15 up
/// to 1e15, and with `.0` when nothing else tells it from an integer.
pub(crate) fn push_double(text: &mut Vec<u8>, value: f64) {
    const PLAIN_DIGITS_MAX: i32 = 15;
    // Texts of up to 15 digits all read as different numbers, so none of them is one of two.
    const TIE_DIGITS_MIN: usize = 16;
    if value.is_sign_negative() {
        text.push(b'-');
    }
    // "d.ddde-n": the shortest digits, and the exponent.
    let scientific = format!("{:e}", value.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    if digits.len() >= TIE_DIGITS_MIN {
        break_tie_to_even(value.abs(), &mut digits);
    }
    // The place of the decimal point, counted from the first digit.
    let point = exponent.parse::<i32>().unwrap_or_default() + 1;
    let digit_count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    if point <= -PLAIN_DIGITS_MAX || (point > PLAIN_DIGITS_MAX && digit_count <= point) {
        let (first, more) = digits.split_at(1);
        text.extend_from_slice(first);
        if !more.is_empty() {
            text.push(b'.');
            text.extend_from_slice(more);
        }
        text.push(b'e');
        text.extend_from_slice(exponent.as_bytes());
        return;
    }
    let zeros = |count: i32| std::iter::repeat_n(b'0', usize::try_from(count).unwrap_or_default());
    if point <= 0 {
        text.extend_from_slice(b"0.");
        text.extend(zeros(-point));
        text.extend_from_slice(&digits);
    } else {
        let (integer, fraction) =
            digits.split_at(digits.len().min(usize::try_from(point).unwrap_or_default()));
        text.extend_from_slice(integer);
        text.extend(zeros(point - digit_count));
        text.push(b'.');
        text.extend_from_slice(if fraction.is_empty() { b"0" } else { fraction });
    }
}

/// Where the value lies exactly between two texts of the fewest digits, takes the one with the even last digit, as the
/// server does; Rust rounds up. Both read back as the value: 217924808980594.125 prints as ...94.12.
fn break_tie_to_even(value: f64, digits: &mut [u8]) {
    let Some(last) = digits.last() else { return };
    if matches!(last, b'0' | b'2' | b'4' | b'6' | b'8') {
        return;
    }
    // Enough digits beyond those of the text to see that the value is a tie.
    const MORE: usize = 60;
    let exact = format!("{:.*e}", digits.len() + MORE, value);
    let (mantissa, exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
    let mut beyond = mantissa.bytes().filter(u8::is_ascii_digit).skip(digits.len());
    if beyond.next() != Some(b'5') || beyond.any(|digit| digit != b'0') {
        return;
    }
    // Rust rounded up to an odd digit. The one below must still read back: beneath a power of two numbers lie closer.
    let lower = mantissa.get(..=digits.len()).unwrap_or_default();
    if format!("{lower}e{exponent}").parse() == Ok(value)
        && let (Some(last), Some(even)) = (digits.last_mut(), lower.bytes().last())
    {
        *last = even;
    }
}
