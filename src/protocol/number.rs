//! The three forms in which the text protocols spell numbers.
//!
//! *Strict* is digits and nothing else, the whole token, in range; *signed strict* allows one leading `-`. The *C*
//! form is what strtoul and strtol take, and only flags and exptime of the storage commands are read so:
//! white space (a tab may be part of a token) and a sign may lead, white space may follow.

/// A strict number of at most 64 bits.
pub(super) fn strict_u64(token: &[u8]) -> Option<u64> {
    // 19 digits cannot overflow; a longer token is rare enough for the careful way.
    if token.is_empty() {
        return None;
    }
    let mut number = 0u64;
    if token.len() <= 19 {
        for &byte in token {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
    } else {
        for &byte in token {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
        }
    }
    Some(number)
}

/// A strict number of at most 32 bits.
pub(super) fn strict_u32(token: &[u8]) -> Option<u32> {
    strict_u64(token)?.try_into().ok()
}

/// A signed strict number of 32 bits.
pub(super) fn strict_i32(token: &[u8]) -> Option<i32> {
    match token {
        [b'-', digits @ ..] => {
            let number = i64::try_from(strict_u64(digits)?).ok()?;
            i32::try_from(-number).ok()
        }
        _ => strict_u64(token)?.try_into().ok(),
    }
}

/// Client flags in C's form: any unsigned 64-bit number, of which the low 32 bits count. A `-` is refused as
/// memcached does: only where the negated number looks negative.
pub(super) fn c_flags(token: &[u8]) -> Option<u32> {
    let (negative, number) = c_number(token)?;
    let number = if negative { number.wrapping_neg() } else { number };
    (!negative || number <= i64::MAX as u64).then_some(number as u32)
}

/// An exptime in C's form: any signed 64-bit number, of which the low 32 bits count, sign and all.
pub(super) fn c_exptime(token: &[u8]) -> Option<i32> {
    let number = match c_number(token)? {
        (false, number) => i64::try_from(number).ok()?,
        (true, number) if number <= i64::MIN.unsigned_abs() => number.wrapping_neg() as i64,
        (true, _) => return None,
    };
    Some(number as i32)
}

/// Sign and digits in C's form.
fn c_number(token: &[u8]) -> Option<(bool, u64)> {
    // Plain digits, which is what everybody sends.
    if let Some(number) = strict_u64(token) {
        return Some((false, number));
    }
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let blanks = token.iter().take_while(|&&byte| is_space(byte)).count();
    let (negative, digits) = match &token[blanks..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends_well = digits.get(count).is_none_or(|&byte| is_space(byte));
    let number = strict_u64(&digits[..count])?;
    ends_well.then_some((negative, number))
}

/// A decimal fraction, for the tuning commands: digits with at most one point and a sign, as strtod reads them.
pub(super) fn fraction(token: &[u8]) -> Option<f64> {
    std::str::from_utf8(token)
        .ok()?
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_is_digits_in_range() {
        assert_eq!(strict_u64(b"0"), Some(0));
        assert_eq!(strict_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(strict_u64(b"00000000000000000000000012"), Some(12));
        for bad in ["", "+1", "-1", "1x", " 1", "1 ", "18446744073709551616", "0x10"] {
            assert_eq!(strict_u64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(strict_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(strict_u32(b"4294967296"), None);
        assert_eq!(strict_i32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(strict_i32(b"2147483647"), Some(i32::MAX));
        for bad in ["2147483648", "-2147483649", "-", "--1", "+1", ""] {
            assert_eq!(strict_i32(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn c_form_is_strtol() {
        assert_eq!(c_flags(b"+5"), Some(5));
        assert_eq!(c_flags(b"\t5\tx"), Some(5));
        assert_eq!(c_flags(b"4294967296"), Some(0), "truncated");
        assert_eq!(c_flags(b"18446744073709551615"), Some(u32::MAX));
        assert_eq!(c_flags(b"-0"), Some(0));
        for bad in ["-1", "18446744073709551616", "x", "", "1x", "+", "- 1"] {
            assert_eq!(c_flags(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(c_exptime(b"-1"), Some(-1));
        assert_eq!(c_exptime(b"4294967296"), Some(0), "truncated: never");
        assert_eq!(c_exptime(b"2147483648"), Some(i32::MIN), "truncated: expired");
        assert_eq!(c_exptime(b"-9223372036854775808"), Some(0));
        assert_eq!(c_exptime(b"9223372036854775808"), None);
        assert_eq!(c_exptime(b"-9223372036854775809"), None);
    }
}
