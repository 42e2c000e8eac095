//! DECIMAL: binary to the text that the server prints.
use super::damaged;
use super::reader::Bytes;
use super::text::StackText;
use crate::error::Result;

const PRECISION_MAX: u8 = 65;
const SCALE_MAX: u8 = 30;
/// A whole group of digits, in four bytes.
const DIGITS_PER_GROUP: u8 = 9;
/// How many bytes a group of fewer digits takes.
const BYTES_OF_DIGITS: [u8; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// How the digits of a DECIMAL column are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DecimalShape {
    integer_digits: u8,
    scale: u8,
    bytes: u8,
}

impl DecimalShape {
    pub(super) fn new(precision: u8, scale: u8) -> Result<Self> {
        if precision == 0 || precision > PRECISION_MAX || scale > SCALE_MAX || scale > precision {
            return Err(damaged(format!("DECIMAL({precision},{scale}) is not possible")));
        }
        let integer_digits = precision - scale;
        let bytes_of = |digits: u8| digits / DIGITS_PER_GROUP * 4 + group_bytes(digits % DIGITS_PER_GROUP);
        Ok(DecimalShape { integer_digits, scale, bytes: bytes_of(integer_digits) + bytes_of(scale) })
    }

    /// Returns how many bytes a value has.
    pub(super) fn bytes(self) -> u8 {
        self.bytes
    }

    /// Reads a value.
    ///
    /// Big-endian groups of nine digits; the odd group is the first of the integer part and the last of the fraction.
    /// The first bit is the sign, set for positive; all bits of a negative value are inverted. So bytes sort as values.
    pub(super) fn read(self, bytes: &mut Bytes<'_>) -> Result<StackText> {
        let stored = bytes.take(usize::from(self.bytes))?;
        let is_negative = stored.first().is_some_and(|first| first & 0x80 == 0);
        let mask = if is_negative { 0xff } else { 0 };
        let mut groups = Groups { stored, sign: 0x80, mask };
        let mut text = StackText::new();
        if is_negative {
            text.push(b'-');
        }
        let mut has_digits = false;
        let mut integer_group = |digits: u8| -> Result<()> {
            let value = groups.next(digits)?;
            if has_digits {
                text.push_number(value, usize::from(digits));
            } else if value > 0 {
                text.push_number(value, 1);
                has_digits = true;
            }
            Ok(())
        };
        let odd = self.integer_digits % DIGITS_PER_GROUP;
        if odd > 0 {
            integer_group(odd)?;
        }
        for _ in 0..self.integer_digits / DIGITS_PER_GROUP {
            integer_group(DIGITS_PER_GROUP)?;
        }
        if !has_digits {
            text.push(b'0');
        }
        if self.scale > 0 {
            text.push(b'.');
            for _ in 0..self.scale / DIGITS_PER_GROUP {
                text.push_number(groups.next(DIGITS_PER_GROUP)?, usize::from(DIGITS_PER_GROUP));
            }
            let odd = self.scale % DIGITS_PER_GROUP;
            if odd > 0 {
                text.push_number(groups.next(odd)?, usize::from(odd));
            }
        }
        Ok(text)
    }
}

fn group_bytes(digits: u8) -> u8 {
    BYTES_OF_DIGITS.get(usize::from(digits)).copied().unwrap_or_default()
}

struct Groups<'a> {
    stored: &'a [u8],
    /// The sign bit, for the first byte only.
    sign: u8,
    mask: u8,
}

impl Groups<'_> {
    /// Reads a group of so many digits.
    fn next(&mut self, digits: u8) -> Result<u32> {
        let length = usize::from(group_bytes(digits));
        let Some((group, rest)) = self.stored.split_at_checked(length) else {
            return Err(damaged("DECIMAL value is too short"));
        };
        self.stored = rest;
        let mut value = 0_u32;
        for byte in group {
            value = (value << 8) | u32::from(byte ^ self.sign ^ self.mask);
            self.sign = 0;
        }
        if value >= 10_u32.pow(u32::from(digits)) {
            return Err(damaged(format!("DECIMAL value has a group beyond {digits} digits")));
        }
        Ok(value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An encoder of its own, from the text: digits in, bytes out.
    pub(in super::super) fn encode(text: &str, precision: usize, scale: usize) -> Vec<u8> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let integer = format!("{:0>width$}", integer.trim_start_matches('0'), width = precision - scale);
        let fraction = format!("{fraction:0<scale$}");
        let mut bytes: Vec<u8> = Vec::new();
        let mut group = |digits: &str| {
            let value: u32 = if digits.is_empty() { 0 } else { digits.parse().unwrap() };
            let length = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4][digits.len()];
            bytes.extend(&value.to_be_bytes()[4 - length..]);
        };
        let odd = integer.len() % 9;
        group(&integer[..odd]);
        integer.as_bytes()[odd..].chunks(9).for_each(|digits| group(std::str::from_utf8(digits).unwrap()));
        fraction.as_bytes().chunks(9).for_each(|digits| group(std::str::from_utf8(digits).unwrap()));
        if is_negative {
            bytes.iter_mut().for_each(|byte| *byte = !*byte);
        }
        bytes[0] ^= 0x80;
        bytes
    }

    fn decode(bytes: &[u8], precision: u8, scale: u8) -> Result<String> {
        let shape = DecimalShape::new(precision, scale)?;
        let mut bytes = Bytes::new(bytes, "test");
        let text = shape.read(&mut bytes)?;
        assert!(bytes.is_empty());
        Ok(String::from_utf8(text.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn the_manuals_example() {
        // 1234567890.1234 as DECIMAL(14,4), from the source of the server.
        let positive = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        assert_eq!(decode(&positive, 14, 4).unwrap(), "1234567890.1234");
        let negative = [0x7e, 0xf2, 0x04, 0xc7, 0x2d, 0xfb, 0x2d];
        assert_eq!(decode(&negative, 14, 4).unwrap(), "-1234567890.1234");
    }

    #[test]
    fn zeros_and_shapes() {
        assert_eq!(decode(&[0x80, 0, 10], 5, 2).unwrap(), "0.10");
        assert_eq!(decode(&encode("-0.10", 5, 2), 5, 2).unwrap(), "-0.10");
        assert_eq!(decode(&encode("0.001", 3, 3), 3, 3).unwrap(), "0.001");
        assert_eq!(decode(&encode("0", 10, 0), 10, 0).unwrap(), "0");
        assert_eq!(decode(&encode("1000000000", 10, 0), 10, 0).unwrap(), "1000000000");
        for (precision, scale) in [(0, 0), (66, 0), (65, 31), (5, 6)] {
            assert!(DecimalShape::new(precision, scale).is_err());
        }
        assert!(decode(&[0xff, 0xff, 0xff], 5, 2).is_err());
    }

    proptest! {
        #[test]
        fn round_trips(
            (precision, scale) in (1_u8..=65).prop_flat_map(|precision| (Just(precision), 0..=precision.min(30))),
            digits in proptest::collection::vec(0_u8..10, 65),
            zeros in 0_usize..65,
            is_negative: bool,
        ) {
            let digits: String =
                digits.iter().enumerate().map(|(place, digit)| if place < zeros { '0' } else { (b'0' + digit).into() }).collect();
            let integer = digits[..usize::from(precision - scale)].trim_start_matches('0');
            let fraction = &digits[usize::from(precision - scale)..usize::from(precision)];
            let mut text = if is_negative { "-".to_owned() } else { String::new() };
            text.push_str(if integer.is_empty() { "0" } else { integer });
            if scale > 0 {
                text.push('.');
                text.push_str(fraction);
            }
            let bytes = encode(&text, precision.into(), scale.into());
            prop_assert_eq!(decode(&bytes, precision, scale).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_safe(precision in 0_u8..=70, scale in 0_u8..=40, bytes: [u8; 40]) {
            if let Ok(shape) = DecimalShape::new(precision, scale) {
                let _ = shape.read(&mut Bytes::new(&bytes, "test"));
            }
        }
    }
}
