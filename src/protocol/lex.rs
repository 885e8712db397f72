//! Cutting a text line: where it ends, and its tokens.
//!
//! A line ends at `\n`; one `\r` before it belongs to the end. Tokens are separated by one or more spaces, and
//! by nothing else: tabs, NULs and bytes above 0x7f are parts of tokens (keys are bytes).

use memchr::{memchr, memrchr};

use crate::command::KEY_SIZE_MAX;

/// `line` without the `\r` that its end may have.
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    match line {
        [head @ .., b'\r'] => head,
        _ => line,
    }
}

/// `bytes` without its leading spaces.
pub(super) fn after_spaces(bytes: &[u8]) -> &[u8] {
    match bytes {
        // The common cases: no space, or just the one that separates two tokens.
        [first, ..] if *first != b' ' => bytes,
        [b' ', second, ..] if *second != b' ' => &bytes[1..],
        _ => {
            let spaces = bytes.iter().take_while(|&&byte| byte == b' ').count();
            &bytes[spaces..]
        }
    }
}

/// Where the first token of `bytes` ends: at a space, or at their end.
///
/// Most tokens are shorter than 8 bytes (verbs, numbers, flags), and one word of arithmetic finds their end sooner
/// than a call to memchr does; keys are left to that.
pub(super) fn token_size(bytes: &[u8]) -> usize {
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    const LOW_BITS: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH_BITS: u64 = u64::from_ne_bytes([0x80; 8]);
    let Some((head, tail)) = bytes.split_first_chunk::<8>() else {
        return bytes.iter().position(|&byte| byte == b' ').unwrap_or(bytes.len());
    };
    // A space becomes a zero byte; the lowest zero byte keeps its high bit.
    let zero_at_space = u64::from_le_bytes(*head) ^ SPACES;
    let found = zero_at_space.wrapping_sub(LOW_BITS) & !zero_at_space & HIGH_BITS;
    match found {
        0 => 8 + memchr(b' ', tail).unwrap_or(tail.len()),
        _ => found.trailing_zeros() as usize / 8,
    }
}

/// The tokens of a line without its end.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn of(line: &'a [u8]) -> Tokens<'a> {
        Tokens { rest: line }
    }

    /// What follows the tokens taken so far, leading spaces included.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Takes the next token if it is a plain number: digits only, and few enough that they cannot overflow. Anything
    /// else is left where it is, to be taken as a token and read with care.
    pub(super) fn plain_number(&mut self) -> Option<u64> {
        const DIGITS_MAX: usize = 19;
        let bytes = after_spaces(self.rest);
        let mut number = 0u64;
        for (count, &byte) in bytes.iter().enumerate() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                self.rest = (byte == b' ' && count > 0).then(|| &bytes[count..])?;
                return Some(number);
            }
            if count == DIGITS_MAX {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
        self.rest = (!bytes.is_empty()).then(|| &bytes[bytes.len()..])?;
        Some(number)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = after_spaces(self.rest);
        if bytes.is_empty() {
            self.rest = bytes;
            return None;
        }
        let (token, rest) = bytes.split_at(token_size(bytes));
        self.rest = rest;
        Some(token)
    }
}

/// The last token of a line without its end.
pub(super) fn last_token(line: &[u8]) -> &[u8] {
    let spaces = line.iter().rev().take_while(|&&byte| byte == b' ').count();
    let line = &line[..line.len() - spaces];
    let start = memrchr(b' ', line).map_or(0, |space| space + 1);
    &line[start..]
}

/// Whether the line's last token, behind at least one space, asks for silence.
pub(super) fn says_noreply(line: &[u8]) -> bool {
    line.ends_with(b" noreply") || line.ends_with(b" ") && last_token(line) == b"noreply"
}

/// Whether any token of these is longer than a key may be.
///
/// Looks only at every 250th byte or so: in each window of 251 bytes that starts a token, the last space
/// bounds all tokens before it, and the search goes on behind that.
pub(super) fn has_long_token(mut bytes: &[u8]) -> bool {
    while bytes.len() > KEY_SIZE_MAX {
        match memrchr(b' ', &bytes[..=KEY_SIZE_MAX]) {
            Some(space) => bytes = &bytes[space + 1..],
            None => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_parted_by_spaces_only() {
        let tokens = |line: &'static [u8]| {
            Tokens::of(line)
                .map(|token| token.escape_ascii().to_string())
                .collect::<Vec<_>>()
                .join("|")
        };
        assert_eq!(tokens(b"get a  b   c "), "get|a|b|c");
        assert_eq!(tokens(b"  a"), "a");
        assert_eq!(tokens(b"   "), "");
        assert_eq!(tokens(b"get\tk \x00\xff"), "get\\tk|\\x00\\xff");
    }

    #[test]
    fn plain_numbers_are_taken_and_others_left() {
        let mut tokens = Tokens::of(b" 12  0 9999999999999999999 10000000000000000000 -1 1x  7");
        let numbers: Vec<_> = std::iter::from_fn(|| tokens.plain_number()).collect();
        assert_eq!(numbers, [12, 0, 9_999_999_999_999_999_999]);
        for careful in ["10000000000000000000", "-1", "1x"] {
            assert_eq!(tokens.plain_number(), None);
            assert_eq!(tokens.next(), Some(careful.as_bytes()));
        }
        assert_eq!(tokens.plain_number(), Some(7));
        assert_eq!(tokens.plain_number(), None);
        assert_eq!(tokens.next(), None);
    }

    #[test]
    fn a_token_ends_at_its_first_space() {
        for size in 0..40 {
            for behind in 0..40 {
                // Bytes that differ from a space in one bit stand around it.
                let line = [vec![b'!'; size], vec![b' '; behind.min(1)], vec![0xa0; behind]].concat();
                assert_eq!(token_size(&line), size, "{size} and {behind}");
            }
        }
    }

    #[test]
    fn noreply_is_a_whole_last_token() {
        assert!(says_noreply(b"delete a noreply"));
        assert!(says_noreply(b"delete a noreply  "));
        assert!(!says_noreply(b"delete a xnoreply"));
        assert!(!says_noreply(b"delete noreply a"));
        assert!(!says_noreply(b""));
    }

    #[test]
    fn long_tokens_are_found_wherever_they_stand() {
        for size in [249, 250, 251, 252, 600] {
            for before in 0..260 {
                let mut line = b"x ".repeat(before / 2);
                line.extend(b" ".repeat(before % 2));
                line.extend(b"k".repeat(size));
                line.extend(b" tail");
                assert_eq!(
                    has_long_token(&line),
                    size > KEY_SIZE_MAX,
                    "{size} behind {before}"
                );
            }
        }
    }
}
