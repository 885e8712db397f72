//! Logging in to the classic protocol: a set, whose value is user and password.
//!
//! ```text
//! set <key> <flags> <exptime> <bytes>\r\n
//! <user> <password>\r\n
//! ```
//!
//! Key, flags and exptime are of no interest, and any other line is refused.

use super::Word;
use super::number;

/// The longest line of a client that has not logged in; also, what may come without a line's end.
const LINE_SIZE_MAX: usize = 2048;

/// A line without its end, at least: nothing useful is shorter, and whoever sends such is hung up on.
const LINE_SIZE_MIN: usize = 6;

/// User, blank and password, at most.
const TOKEN_SIZE_MAX: usize = 16384;

/// What stands at the head of the input of a client that has not logged in.
#[derive(Debug, PartialEq, Eq)]
pub enum Login<'a> {
    /// Who he says he is. Nobody but whoever keeps the passwords should see this.
    Attempt {
        user: &'a [u8],
        password: &'a [u8],
        size: usize,
    },
    /// A mistake.
    Say { word: Word, size: usize },
    /// More must come first.
    Partial,
    /// No client.
    Hangup,
}

/// Reads what stands at the head of the input.
pub fn parse_login(input: &[u8]) -> Login<'_> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > LINE_SIZE_MAX {
            Login::Hangup
        } else {
            Login::Partial
        };
    };
    if end < LINE_SIZE_MIN {
        return Login::Hangup;
    }
    let line_size = end + 1;
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let is_set = words.next() == Some(b"set");
    let value_size = words.nth(3).and_then(number::strict_u32);
    let Some(value_size) = value_size.filter(|_| is_set) else {
        let word = Word::Unauthenticated;
        return Login::Say {
            word,
            size: line_size,
        };
    };
    let value_size = value_size as usize;
    if value_size > TOKEN_SIZE_MAX {
        let word = Word::AuthTooLong;
        return Login::Say {
            word,
            size: line_size,
        };
    }
    let size = line_size + value_size + 2;
    let Some(value) = input.get(line_size..size) else {
        return Login::Partial;
    };
    let Some(value) = value.strip_suffix(b"\r\n") else {
        let word = Word::AuthBadTermination;
        return Login::Say { word, size };
    };
    match memchr::memchr(b' ', value) {
        Some(blank) => Login::Attempt {
            user: &value[..blank],
            password: &value[blank + 1..],
            size,
        },
        None => Login::Say {
            word: Word::AuthBadToken,
            size,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_and_all_that_is_none() {
        let attempt = |user: &'static str, password: &'static str, size| Login::Attempt {
            user: user.as_bytes(),
            password: password.as_bytes(),
            size,
        };
        let say = |word, size| Login::Say { word, size };
        for (input, want) in [
            ("set foo 0 0 7\r\nfoo bar\r\nget", attempt("foo", "bar", 24)),
            ("set x 0 0 1\r\n \r\n", attempt("", "", 16)),
            (
                "set x 0 0 9 noreply\r\nu pass wd\r\n",
                attempt("u", "pass wd", 32),
            ),
            ("set foo 0 0 7\r\nfoo ba", Login::Partial),
            ("set foo 0 0", Login::Partial),
            ("", Login::Partial),
            ("get foo\r\n", say(Word::Unauthenticated, 9)),
            ("add foo 0 0 7\r\nfoo bar\r\n", say(Word::Unauthenticated, 15)),
            ("set foo 0 0\r\n", say(Word::Unauthenticated, 13)),
            ("set foo 0 0 x\r\n", say(Word::Unauthenticated, 15)),
            ("set foo 0 0 2147483646\r\n", say(Word::AuthTooLong, 24)),
            ("set foo 0 0 2\r\nhi\r\n", say(Word::AuthBadToken, 19)),
            ("set foo 0 0 7\r\nfoo barXY", say(Word::AuthBadTermination, 24)),
            ("mn\r\n", Login::Hangup),
        ] {
            assert_eq!(want, parse_login(input.as_bytes()), "{input:?}");
        }
        assert_eq!(Login::Hangup, parse_login(&[b'x'; LINE_SIZE_MAX + 1]));
        assert_eq!(Login::Partial, parse_login(&[b'x'; LINE_SIZE_MAX]));
    }
}
