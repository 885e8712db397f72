//! What incr and decr take for a number, exactly as memcached does.

use crate::command::Direction;

/// Reads a number as C's strtoull does on memcached's stored bytes: leading blanks, a sign, digits, and then a blank,
/// a NUL or the end. What wraps below zero or does not fit 64 bits is no number.
pub(super) fn parse(value: &[u8]) -> Option<u64> {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = value.iter().position(|&byte| !is_blank(byte))?;
    let (negative, digits) = match value[start] {
        b'-' => (true, &value[start + 1..]),
        b'+' => (false, &value[start + 1..]),
        _ => (false, &value[start..]),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0
        || digits
            .get(count)
            .is_some_and(|&byte| !is_blank(byte) && byte != 0)
    {
        return None;
    }
    let number = digits[..count].iter().try_fold(0u64, |number, &digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    let number = if negative { number.wrapping_neg() } else { number };
    (!negative || number <= i64::MAX as u64).then_some(number)
}

/// Up wraps at 2^64, down stops at 0.
pub(super) fn count(number: u64, direction: Direction, delta: u64) -> u64 {
    match direction {
        Direction::Up => number.wrapping_add(delta),
        Direction::Down => number.saturating_sub(delta),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_memcached_takes_for_numbers() {
        let numeric: [(&[u8], u64); 10] = [
            (b"12", 12),
            (b"12 ", 12),
            (b" 12", 12),
            (b"+5", 5),
            (b"00010", 10),
            (b"12\n3", 12),
            (b"1\0", 1),
            (b"18446744073709551615", u64::MAX),
            (b"-0", 0),
            (b"99 7", 99),
        ];
        for (value, number) in numeric {
            assert_eq!(parse(value), Some(number), "{value:?}");
        }
        let others: [&[u8]; 9] = [
            b"",
            b" ",
            b"-1",
            b"12abc",
            b"0x10",
            b"18446744073709551616",
            b"+",
            b"a",
            b"+-1",
        ];
        for value in others {
            assert_eq!(parse(value), None, "{value:?}");
        }
    }

    #[test]
    fn counting_wraps_up_and_stops_down() {
        assert_eq!(count(u64::MAX, Direction::Up, 2), 1);
        assert_eq!(count(5, Direction::Down, 6), 0);
        assert_eq!(count(5, Direction::Down, 2), 3);
    }
}
