//! [`StackText`]: short ASCII text made on the stack.

/// Enough for DECIMAL(65,30) with sign, point and a zero before it, and for all temporal values.
const CAPACITY: usize = 80;

/// ASCII text of at most 80 bytes; what goes beyond is left out, which no caller's bounded input can reach.
pub(super) struct StackText {
    bytes: [u8; CAPACITY],
    length: usize,
}

impl StackText {
    pub(super) fn new() -> Self {
        StackText { bytes: [0; CAPACITY], length: 0 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    #[inline]
    pub(super) fn push(&mut self, byte: u8) {
        debug_assert!(self.length < CAPACITY, "no caller makes more than {CAPACITY} bytes");
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    /// Writes a number below 100 with two digits.
    #[inline]
    pub(super) fn push_two(&mut self, number: u32) {
        let pair = [digit(number / 10 % 10), digit(number % 10)];
        if let Some(place) = self.bytes.get_mut(self.length..).and_then(|rest| rest.first_chunk_mut()) {
            *place = pair;
            self.length += pair.len();
        }
    }

    /// Writes a number with at least so many digits.
    #[inline]
    pub(super) fn push_number(&mut self, number: u32, digits_min: usize) {
        const DIGITS: usize = 10;
        let mut digits = [b'0'; DIGITS];
        let mut rest = number;
        let mut used = 0;
        for place in digits.iter_mut().rev() {
            if rest == 0 && used >= digits_min {
                break;
            }
            *place = digit(rest % 10);
            rest /= 10;
            used += 1;
        }
        let digits = digits.get(DIGITS - used..).unwrap_or_default();
        if let Some(place) = self.bytes.get_mut(self.length..self.length + used) {
            place.copy_from_slice(digits);
            self.length += used;
        }
    }
}

/// Returns the digit of a value below 10.
#[inline]
fn digit(value: u32) -> u8 {
    let [low, ..] = value.to_le_bytes();
    b'0'.wrapping_add(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_padded() {
        let mut text = StackText::new();
        text.push_number(7, 2);
        text.push(b':');
        text.push_number(4_294_967_295, 1);
        text.push(b':');
        text.push_number(0, 0);
        text.push_number(0, 1);
        text.push_number(12, 9);
        assert_eq!(text.as_bytes(), b"07:4294967295:0000000012");
    }
}
