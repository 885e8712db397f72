//! Values as memcached reads them: leading blanks are skipped ("-m 8192" may be one word), and a number ends at the
//! first character that is none of it ("64m" is 64, "x" is 0). Nothing is refused here: what a value may be is said
//! where its meaning is known.

use std::convert::Infallible;
use std::path::PathBuf;

pub(super) fn text(word: &str) -> Result<String, Infallible> {
    Ok(word.trim_ascii_start().to_owned())
}

pub(super) fn path(word: &str) -> Result<PathBuf, Infallible> {
    Ok(word.trim_ascii_start().into())
}

/// C's `atoi`; what is out of range is as near as it gets.
pub(super) fn number(word: &str) -> Result<i32, Infallible> {
    let number = leading_number(word, 10).unwrap_or(0);
    Ok(number.clamp(i32::MIN.into(), i32::MAX.into()) as i32)
}

pub(super) fn octal(word: &str) -> Result<u32, Infallible> {
    Ok(leading_number(word, 8).unwrap_or(0).clamp(0, 0o7777) as u32)
}

/// C's `atof`, for plain numbers.
pub(super) fn factor(word: &str) -> Result<f64, Infallible> {
    let word = word.trim_ascii_start();
    let ends = (0..=word.len()).rev().filter(|end| word.is_char_boundary(*end));
    let longest = ends.map(|end| word[..end].parse()).find_map(Result::ok);
    Ok(longest.unwrap_or(0.0))
}

/// `N`, `Nk` or `Nm`, in bytes.
pub(super) fn size(word: &str) -> Result<i64, Infallible> {
    let unit = match word.as_bytes().last() {
        Some(b'k' | b'K') => 1 << 10,
        Some(b'm' | b'M') => 1 << 20,
        _ => 1,
    };
    Ok(leading_number(word, 10).unwrap_or(0).saturating_mul(unit))
}

/// `N` megabytes, or with `k`, `m` or `g` behind it that unit; in bytes. An option of our own: nonsense is refused.
pub(super) fn megabytes(word: &str) -> Result<u64, String> {
    let word = word.trim_ascii();
    let digits = word.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let shift = match &word[digits.len()..] {
        "k" | "K" => 10,
        "" | "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err("more than one unit".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

/// The number at the head of a text, if there is one.
pub(super) fn leading_number(text: &str, radix: u32) -> Option<i64> {
    let text = text.trim_ascii_start();
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    let digits = digits.chars().map_while(|letter| letter.to_digit(radix));
    let number = digits.fold(None, |number: Option<i64>, digit| {
        let tens = number.unwrap_or(0).saturating_mul(radix.into());
        Some(tens.saturating_add(digit.into()))
    });
    number.map(|number| sign * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_c_reads_them() {
        for (word, want) in [
            ("64", 64),
            (" 64m", 64),
            ("-1", -1),
            ("+7", 7),
            ("x", 0),
            ("", 0),
            ("99999999999", i32::MAX),
            ("-99999999999999999999", i32::MIN),
            ("\t5 6", 5),
        ] {
            assert_eq!(Ok(want), number(word), "{word:?}");
        }
        for (word, want) in [
            ("1.25", 1.25),
            (" 1.5x", 1.5),
            ("x", 0.0),
            ("2", 2.0),
            ("1e1z", 10.0),
        ] {
            assert_eq!(Ok(want), factor(word), "{word:?}");
        }
        for (word, want) in [
            ("5m", 5 << 20),
            (" 512K", 512 << 10),
            ("1024", 1024),
            ("1g", 1),
            ("m", 0),
        ] {
            assert_eq!(Ok(want), size(word), "{word:?}");
        }
        assert_eq!((Ok(0o770), Ok(0o7)), (octal("0770"), octal("79")));
        for (word, want) in [
            ("64", Some(64 << 20)),
            (" 64m", Some(64 << 20)),
            ("100K", Some(100 << 10)),
            ("2g", Some(2 << 30)),
            ("0", Some(0)),
            ("-1", None),
            ("1mm", None),
            ("m", None),
            ("99999999999g", None),
        ] {
            assert_eq!(want, megabytes(word).ok(), "{word:?}");
        }
    }
}
