//! The classic dialect: one line a command, values in blocks of announced size.
//!
//! The functions stand in the order of the grammar: a line is found, its first word chooses a function, the
//! function reads the tokens in the order in which they are written.

use memchr::{memchr, memchr2};

use super::control::{self, Control};
use super::fleet::{self, Fleet};
use super::lex::{self, Tokens};
use super::number;
use super::spelling::Spelling;
use super::words::Word;
use super::{Keys, LINE_SIZE_MAX, Parsed, Scratch, State, VALUE_INLINE_MAX, meta};
use crate::command::{Count, Delete, Direction, Get, KEY_SIZE_MAX, Operation, Request, Store, StoreMode};
use crate::hash::KeySeed;
use crate::time::Exptime;

/// memcached looks for a line's end in the first 2048 bytes that it has; a line without end by then must be a get.
pub(super) const LINE_WAIT_MAX: usize = 2048;

/// The largest `<bytes>` of a storage command: the size of a value with its end must fit 31 bits.
pub(super) const VALUE_SIZE_MAX: u64 = 2_147_483_645;

/// Reads the command at the head of `input`.
pub(super) fn parse<'a>(
    input: &'a [u8],
    seed: &KeySeed,
    state: &mut State,
    scratch: &'a Scratch,
) -> Parsed<'a> {
    // What most connections send most of the time: a get of one key. One search finds its end.
    let (with_cas, keys_at) = match input {
        [b'g', b'e', b't', b' ', ..] => (false, 4),
        [b'g', b'e', b't', b's', b' ', ..] => (true, 5),
        _ => (false, 0),
    };
    if keys_at > 0
        && let keys = &input[keys_at..]
        && let Some(end) = memchr2(b' ', b'\n', &keys[..keys.len().min(KEY_SIZE_MAX + 2)])
        && keys[end] == b'\n'
        && let key = lex::without_cr(&keys[..end])
        && (1..=KEY_SIZE_MAX).contains(&key.len())
    {
        let spelling = Spelling::Classic {
            silent: false,
            with_cas,
            last: true,
            counts: false,
        };
        let (request, size) = (get_request(seed, key, None), keys_at + end + 1);
        if key == fleet::OLD_KEY {
            return Parsed::Control {
                control: Control::Fleet(Fleet::OldGet { request }),
                spelling,
                size,
            };
        }
        return Parsed::Request {
            request,
            spelling,
            text: &[],
            size,
        };
    }
    let Some(end) = memchr(b'\n', &input[..input.len().min(LINE_SIZE_MAX)]) else {
        return unfinished_line(input, seed, state);
    };
    let size = end + 1;
    if size < 4 {
        return say(Word::BadLine, size);
    }
    let line = lex::without_cr(&input[..end]);
    let (word, rest) = line.split_at(lex::token_size(line));
    let tokens = Tokens::of(rest);
    let store_form = match word {
        b"get" => return get(input, line, size, tokens, false, seed, state),
        b"gets" => return get(input, line, size, tokens, true, seed, state),
        b"set" => StoreForm::Plain(StoreMode::Set),
        b"add" => StoreForm::Plain(StoreMode::Add),
        b"replace" => StoreForm::Plain(StoreMode::Replace),
        b"append" => StoreForm::Plain(StoreMode::Append),
        b"prepend" => StoreForm::Plain(StoreMode::Prepend),
        b"cas" => StoreForm::Cas,
        b"delete" => return delete(size, tokens, seed),
        b"incr" => return count(line, size, tokens, Direction::Up, seed),
        b"decr" => return count(line, size, tokens, Direction::Down, seed),
        b"touch" => return touch(line, size, tokens, seed),
        b"gat" => return gat(input, line, size, tokens, false, seed, state),
        b"gats" => return gat(input, line, size, tokens, true, seed, state),
        [b'm', verb] => {
            return match verb {
                b'g' | b's' | b'd' | b'a' | b'e' => {
                    meta::parse(*verb, input, rest, size, seed, state, scratch)
                }
                b'n' => say(Word::Noop, size),
                _ => server_command(word, line, size, tokens),
            };
        }
        b"config" => return fleet::parse(input, size, tokens, state),
        _ => return server_command(word, line, size, tokens),
    };
    store(tokens, input, store_form, size, seed, state)
}

/// More bytes than this are not worth waiting for, unless they are the keys of a get.
fn unfinished_line<'a>(input: &'a [u8], seed: &KeySeed, state: &mut State) -> Parsed<'a> {
    if input.len() <= LINE_WAIT_MAX {
        return Parsed::Partial;
    }
    let command = lex::after_spaces(input);
    let spaces = input.len() - command.len();
    let word_size = match command {
        _ if spaces > 100 => 0,
        [b'g', b'e', b't', b' ', ..] => 4,
        [b'g', b'e', b't', b's', b' ', ..] => 5,
        _ => 0,
    };
    if word_size == 0 {
        return hangup(input.len());
    }
    if input.len() < LINE_SIZE_MAX {
        return Parsed::Partial;
    }
    // From here on the line is served as it comes. A get without keys, or after a space, would be an error.
    if spaces > 0 || lex::after_spaces(&command[word_size..]).is_empty() {
        return hangup(input.len());
    }
    *state = State::Keys(Keys {
        touch: None,
        with_cas: word_size == 5,
        line_left: None,
    });
    next_key(input, word_size, seed, state)
}

/// `get <key>*`, `gets <key>*`
fn get<'a>(
    input: &'a [u8],
    line: &'a [u8],
    size: usize,
    tokens: Tokens<'a>,
    with_cas: bool,
    seed: &KeySeed,
    state: &mut State,
) -> Parsed<'a> {
    keys(input, line, size, tokens, None, with_cas, seed, state)
}

/// `gat <exptime> <key>*`, `gats <exptime> <key>*`
fn gat<'a>(
    input: &'a [u8],
    line: &'a [u8],
    size: usize,
    mut tokens: Tokens<'a>,
    with_cas: bool,
    seed: &KeySeed,
    state: &mut State,
) -> Parsed<'a> {
    let exptime = tokens.next();
    if tokens.clone().next().is_none() {
        return say(Word::BadLine, size);
    }
    let Some(exptime) = exptime.and_then(number::strict_i32) else {
        return say(Word::InvalidExptime, size);
    };
    let touch = Some(Exptime(exptime.into()));
    keys(input, line, size, tokens, touch, with_cas, seed, state)
}

/// Begins to serve the keys of a complete line. A key too long anywhere spoils the whole line, so this is checked
/// before the first key is served.
#[expect(clippy::too_many_arguments, reason = "the two forms of get differ in these")]
fn keys<'a>(
    input: &'a [u8],
    line: &'a [u8],
    size: usize,
    tokens: Tokens<'a>,
    touch: Option<Exptime>,
    with_cas: bool,
    seed: &KeySeed,
    state: &mut State,
) -> Parsed<'a> {
    let keys = lex::after_spaces(tokens.rest());
    if keys.is_empty() || lex::has_long_token(keys) {
        return say(Word::BadLine, size);
    }
    // libmemcached puts a blank behind the key of a get, and asks for its ring so.
    if touch.is_none()
        && keys
            .strip_prefix(fleet::OLD_KEY)
            .is_some_and(|rest| lex::after_spaces(rest).is_empty())
    {
        let request = get_request(seed, fleet::OLD_KEY, None);
        return Parsed::Control {
            control: Control::Fleet(Fleet::OldGet { request }),
            spelling: Spelling::Classic {
                silent: false,
                with_cas,
                last: true,
                counts: false,
            },
            size,
        };
    }
    let from = line.len() - keys.len();
    *state = State::Keys(Keys {
        touch,
        with_cas,
        line_left: Some(size - from),
    });
    next_key(input, from, seed, state)
}

/// Serves the next key of the get that `state` remembers, from `from` on (bytes that are consumed with it).
pub(super) fn next_key<'a>(input: &'a [u8], from: usize, seed: &KeySeed, state: &mut State) -> Parsed<'a> {
    let State::Keys(Keys {
        touch,
        with_cas,
        ref mut line_left,
    }) = *state
    else {
        return Parsed::Partial;
    };
    let end = line_left.map_or(input.len(), |left| from + left);
    if end > input.len() {
        // The line was here in whole; a caller who hands in less of it has more to hand in.
        return Parsed::Partial;
    }
    let bytes = lex::after_spaces(&input[from..end]);
    let start = end - bytes.len();
    let Some(size) = memchr2(b' ', b'\n', &bytes[..bytes.len().min(KEY_SIZE_MAX + 2)]) else {
        if bytes.len() > KEY_SIZE_MAX + 1 {
            // Only a line that is served as it comes gets here with such a key.
            *state = State::SkipLine;
            return say(Word::BadLine, start);
        }
        return match start {
            0 => Parsed::Partial,
            _ => Parsed::Skip { size: start },
        };
    };
    let ends_line = bytes[size] == b'\n';
    let key = if ends_line {
        lex::without_cr(&bytes[..size])
    } else {
        &bytes[..size]
    };
    if ends_line && key.is_empty() {
        *state = State::Head;
        return Parsed::Say {
            word: Word::End,
            spelling: Spelling::CLASSIC,
            size: start + size + 1,
        };
    }
    if key.len() > KEY_SIZE_MAX {
        *state = State::SkipLine;
        return say(Word::BadLine, start);
    }
    // Where the line's end is in sight behind this key, END goes with its reply.
    let behind = lex::after_spaces(&bytes[size..]);
    let line_end = match behind {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    let last = line_end > 0;
    let consumed = if last {
        end - behind.len() + line_end
    } else {
        start + size
    };
    if last {
        *state = State::Head;
    } else if let Some(left) = line_left {
        *left -= consumed - from;
    }
    Parsed::Request {
        request: get_request(seed, key, touch),
        spelling: Spelling::Classic {
            silent: false,
            with_cas,
            last,
            counts: false,
        },
        text: &[],
        size: consumed,
    }
}

fn get_request<'a>(seed: &KeySeed, key: &'a [u8], touch: Option<Exptime>) -> Request<'a> {
    Request {
        key,
        hash: seed.hash(key),
        value: &[],
        operation: Operation::Get(Get { touch, ..Get::PLAIN }),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum StoreForm {
    Plain(StoreMode),
    Cas,
}

/// `set|add|replace|append|prepend <key> <flags> <exptime> <bytes> [noreply]`
/// `cas <key> <flags> <exptime> <bytes> <cas unique> [noreply]`
///
/// then the value and `\r\n`. Once `<bytes>` is known, a refused line takes the value with it.
fn store<'a>(
    mut tokens: Tokens<'a>,
    input: &'a [u8],
    form: StoreForm,
    line_size: usize,
    seed: &KeySeed,
    state: &mut State,
) -> Parsed<'a> {
    let (Some(key), Some(flags), Some(exptime), Some(bytes)) = (
        tokens.next(),
        field(&mut tokens, |flags| Some(flags as u32), number::c_flags),
        field(
            &mut tokens,
            |exptime| Some(i64::try_from(exptime).ok()? as i32),
            number::c_exptime,
        ),
        field(&mut tokens, Some, number::strict_u64),
    ) else {
        return say(Word::BadLine, line_size);
    };
    let Some(value_size) = bytes.filter(|&size| size <= VALUE_SIZE_MAX) else {
        return say(Word::BadLine, line_size);
    };
    let spelling = Spelling::classic(lex::says_noreply(tokens.rest()));
    let (mode, cas_compare) = match form {
        StoreForm::Plain(mode) => (Some(mode), None),
        StoreForm::Cas => match tokens.next().and_then(number::strict_u64) {
            Some(unique) => (Some(StoreMode::Set), Some(unique)),
            None => (None, None),
        },
    };
    let (Some(mode), Some(flags), Some(exptime), 1..=KEY_SIZE_MAX) = (mode, flags, exptime, key.len()) else {
        *state = State::Skip(value_size + 2);
        return Parsed::Say {
            word: Word::BadLine,
            spelling,
            size: line_size,
        };
    };
    let request = Request {
        key,
        hash: seed.hash(key),
        value: &[],
        operation: Operation::Store(Store {
            cas_compare,
            refusal_removes: form == StoreForm::Plain(StoreMode::Set),
            ..Store::new(mode, flags, Exptime(exptime.into()))
        }),
    };
    with_value(input, request, spelling, &[], line_size, value_size as usize)
}

/// The next token as a number: `plain` has the digits that nearly everybody sends, `careful` the token otherwise.
/// `None` if there is no token, `Some(None)` if it is not such a number.
fn field<T>(
    tokens: &mut Tokens<'_>,
    plain: impl FnOnce(u64) -> Option<T>,
    careful: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<Option<T>> {
    match tokens.plain_number() {
        Some(number) => Some(plain(number)),
        None => tokens.next().map(careful),
    }
}

/// Puts the value to a storage line: behind the line in `input`, or to come.
pub(super) fn with_value<'a>(
    input: &'a [u8],
    mut request: Request<'a>,
    spelling: Spelling,
    text: &'a [u8],
    line_size: usize,
    value_size: usize,
) -> Parsed<'a> {
    let size = line_size + value_size + 2;
    if let Some(block) = input.get(line_size..size) {
        if !block.ends_with(b"\r\n") {
            return Parsed::BadEnd {
                request,
                spelling,
                text,
                value_size,
                size,
            };
        }
        request.value = &block[..value_size];
        return Parsed::Request {
            request,
            spelling,
            text,
            size,
        };
    }
    if value_size <= VALUE_INLINE_MAX {
        return Parsed::Partial;
    }
    Parsed::Incoming {
        request,
        spelling,
        text,
        value_size,
        crlf: true,
        line_size,
    }
}

/// `delete <key> [0] [noreply]`
fn delete<'a>(size: usize, mut tokens: Tokens<'a>, seed: &KeySeed) -> Parsed<'a> {
    let Some(key) = tokens.next() else {
        return say(Word::BadLine, size);
    };
    // The line's last word counts, and that may be the key.
    let silent = match lex::after_spaces(tokens.rest()) {
        [] => key == b"noreply",
        _ => lex::says_noreply(tokens.rest()),
    };
    let spelling = Spelling::classic(silent);
    let well_formed = match (tokens.next(), tokens.next(), tokens.next()) {
        (None, ..) | (Some(b"0"), None, _) => true,
        (Some(_), None, _) | (Some(b"0"), Some(_), None) => silent,
        _ => false,
    };
    if !well_formed {
        return Parsed::Say {
            word: Word::DeleteUsage,
            spelling,
            size,
        };
    }
    keyed(
        size,
        key,
        spelling,
        Ok(Operation::Delete(Delete::default())),
        seed,
    )
}

/// `incr <key> <delta> [noreply]`, `decr <key> <delta> [noreply]`
fn count<'a>(
    line: &'a [u8],
    size: usize,
    mut tokens: Tokens<'a>,
    direction: Direction,
    seed: &KeySeed,
) -> Parsed<'a> {
    let (Some(key), Some(delta)) = (tokens.next(), tokens.next()) else {
        return say(Word::BadLine, size);
    };
    let operation = number::strict_u64(delta)
        .map(|delta| {
            Operation::Count(Count {
                direction,
                delta,
                cas_compare: None,
                cas_new: None,
                touch: None,
                vivify: None,
                key_is_binary: false,
            })
        })
        .ok_or(Word::InvalidDelta);
    let spelling = Spelling::Classic {
        silent: lex::says_noreply(line),
        with_cas: false,
        last: false,
        counts: true,
    };
    keyed(size, key, spelling, operation, seed)
}

/// `touch <key> <exptime> [noreply]`
fn touch<'a>(line: &'a [u8], size: usize, mut tokens: Tokens<'a>, seed: &KeySeed) -> Parsed<'a> {
    let (Some(key), Some(exptime)) = (tokens.next(), tokens.next()) else {
        return say(Word::BadLine, size);
    };
    let operation = number::strict_i32(exptime)
        .map(|exptime| Operation::Touch(Exptime(exptime.into())))
        .ok_or(Word::InvalidExptime);
    let spelling = Spelling::classic(lex::says_noreply(line));
    keyed(size, key, spelling, operation, seed)
}

/// The request of a line without value, or what is wrong with it; first of all the key.
fn keyed<'a>(
    size: usize,
    key: &'a [u8],
    spelling: Spelling,
    operation: Result<Operation, Word>,
    seed: &KeySeed,
) -> Parsed<'a> {
    let operation = if key.len() > KEY_SIZE_MAX {
        Err(Word::BadLine)
    } else {
        operation
    };
    match operation {
        Ok(operation) => Parsed::Request {
            request: Request {
                key,
                hash: seed.hash(key),
                value: &[],
                operation,
            },
            spelling,
            text: &[],
            size,
        },
        Err(word) => Parsed::Say { word, spelling, size },
    }
}

/// The commands without a key, and everything that is no command.
fn server_command<'a>(word: &[u8], line: &'a [u8], size: usize, mut tokens: Tokens<'a>) -> Parsed<'a> {
    let silent = lex::says_noreply(tokens.rest());
    let mut spelling = Spelling::classic(silent);
    let control = match word {
        b"flush_all" => control::flush_all(tokens, silent),
        b"verbosity" => control::verbosity(tokens),
        b"cache_memlimit" => control::cache_memlimit(tokens),
        b"shutdown" => Ok(control::shutdown(tokens)),
        b"refresh_certs" => Ok(Control::RefreshCerts),
        b"slabs" => control::slabs(tokens),
        b"lru" => control::lru(tokens),
        b"lru_crawler" => control::lru_crawler(tokens),
        b"extstore" => control::extstore(tokens),
        b"debugtime" => control::debugtime(tokens),
        b"misbehave" => Ok(Control::Misbehave),
        // The rest of the known commands answer even if their last token is noreply.
        b"version" | b"stats" | b"watch" | b"quit" => {
            spelling = Spelling::CLASSIC;
            match word {
                b"version" => Ok(Control::Version),
                b"stats" => control::stats(tokens),
                b"watch" => control::watch(tokens),
                _ => return quit(size),
            }
        }
        _ => {
            // A browser, or someone who makes one talk to us.
            if tokens.next().is_some() && lex::last_token(line).starts_with(b"HTTP/") {
                return hangup(size);
            }
            Err(Word::Error)
        }
    };
    match control {
        Ok(control) => Parsed::Control {
            control,
            spelling,
            size,
        },
        Err(word) => Parsed::Say { word, spelling, size },
    }
}

/// Says something about a line that did not get as far as its noreply.
fn say(word: Word, size: usize) -> Parsed<'static> {
    Parsed::Say {
        word,
        spelling: Spelling::CLASSIC,
        size,
    }
}

/// Closes without a word.
fn hangup(size: usize) -> Parsed<'static> {
    Parsed::Hangup {
        word: None,
        spelling: Spelling::CLASSIC,
        size,
        asked: false,
    }
}

/// Closes because the client says so.
fn quit(size: usize) -> Parsed<'static> {
    Parsed::Hangup {
        word: None,
        spelling: Spelling::CLASSIC,
        size,
        asked: true,
    }
}
