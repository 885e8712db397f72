//! The meta dialect: two-letter verbs, and flags of one letter with a token glued to it.
//!
//! ```text
//! mg <key> <flag>*\r\n                       HD|EN <flag>*\r\n
//! ms <key> <size> <flag>*\r\n<value>\r\n     HD|NS|EX|NF <flag>*\r\n
//! md <key> <flag>*\r\n                       HD|EX|NF <flag>*\r\n
//! ma <key> <flag>*\r\n                       HD|NS|EX|NF <flag>*\r\n
//! me <key> [b]\r\n                           ME <key> <name>=<value>*\r\n | EN\r\n
//! with a value returned: VA <size> <flag>*\r\n<value>\r\n
//! ```
//!
//! Every verb accepts every known flag and ignores those that mean nothing to it. Some flags ask to be answered;
//! the answers stand in the order of the request. So the request's flags travel as they were written, as
//! `text`, to whoever writes the reply.

use super::classic::{VALUE_SIZE_MAX, with_value};
use super::lex::Tokens;
use super::reply::{number, put_value};
use super::spelling::{MetaVerb, Spelling};
use super::words::Word;
use super::{Parsed, Scratch, State, Tail, base64, number as digits};
use crate::command::{
    Count, Counted, Delete, Direction, EmptyFlags, Get, Hit, KEY_SIZE_MAX, Operation, Reply, Request, Store,
    StoreMode, Tokens as Marks,
};
use crate::hash::KeySeed;
use crate::time::Exptime;

/// The most tokens of a line: verb, key, size and flags together.
const TOKENS_MAX: usize = 20;

/// The longest opaque, with its O.
const OPAQUE_SIZE_MAX: usize = 32;

/// The letters that are flags, one bit each.
const KNOWN: u64 = {
    let letters = b"bNTRlOPLkstcfvhuqxFCEMJDI";
    let mut known = 0;
    let mut index = 0;
    while index < letters.len() {
        known |= 1 << (letters[index] - b'A');
        index += 1;
    }
    known
};

/// The flags of a line, each with its token.
fn flags(text: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    Tokens::of(text).map(|token| (token[0], &token[1..]))
}

/// What the flags of a line say.
#[derive(Default)]
struct Flags<'a> {
    /// The letters that are there, by bit.
    seen: u64,
    exptime: Option<Exptime>,
    vivify: Option<Exptime>,
    recache_below: Option<i32>,
    cas: Option<u64>,
    cas_new: Option<u64>,
    client_flags: Option<u32>,
    initial: Option<u64>,
    delta: Option<u64>,
    mode: Option<&'a [u8]>,
    opaque_is_long: bool,
    /// One begins with what is no letter: the line is wrong, whatever the verb.
    has_no_letter: bool,
}

impl<'a> Flags<'a> {
    /// Reads the flags of `text`, of which there may be `flags_max`. `decode` says whether the key is what b says of it.
    ///
    /// A letter that is unknown or there twice ends the reading. Of several bad tokens the last one is named.
    fn read(
        &mut self,
        text: &'a [u8],
        flags_max: usize,
        mut decode: impl FnMut() -> bool,
    ) -> Result<(), Word> {
        // Every flag takes a blank and a letter, at least.
        if text.len() > 2 * flags_max && flags(text).nth(flags_max).is_some() {
            return Err(Word::FlagsTooLong);
        }
        let mut wrong = None;
        for (letter, token) in flags(text) {
            if !matches!(letter, b'0'..=b'9' | b'A'..=b'z') {
                self.has_no_letter = true;
                return Err(Word::BadLine);
            }
            let bit = match letter.wrapping_sub(b'A') {
                shift @ 0..64 => 1 << shift,
                _ => 0,
            };
            if KNOWN & bit == 0 {
                return Err(Word::InvalidFlag);
            }
            if self.seen & bit != 0 {
                return Err(Word::DuplicateFlag);
            }
            self.seen |= bit;
            let seconds = || digits::strict_i32(token);
            let unique = || digits::strict_u64(token);
            let refusal = match letter {
                b'T' => {
                    self.exptime = seconds().map(|seconds| Exptime(seconds.into()));
                    self.exptime.is_none().then_some(Word::BadToken)
                }
                b'N' => {
                    self.vivify = seconds().map(|seconds| Exptime(seconds.into()));
                    self.vivify.is_none().then_some(Word::BadToken)
                }
                b'R' => {
                    self.recache_below = seconds();
                    self.recache_below.is_none().then_some(Word::BadToken)
                }
                b'C' => {
                    self.cas = unique();
                    self.cas.is_none().then_some(Word::BadToken)
                }
                b'E' => {
                    let asked = unique();
                    self.cas_new = asked.filter(|&unique| unique != 0);
                    asked.is_none().then_some(Word::BadToken)
                }
                b'F' => {
                    self.client_flags = digits::strict_u32(token);
                    // What was wrong before it is named, if anything was.
                    let named = wrong.unwrap_or(Word::BadLine);
                    self.client_flags.is_none().then_some(named)
                }
                b'J' => {
                    self.initial = unique();
                    self.initial.is_none().then_some(Word::InvalidInitial)
                }
                b'D' => {
                    self.delta = unique();
                    self.delta.is_none().then_some(Word::InvalidMetaDelta)
                }
                b'b' => (!decode()).then_some(Word::BadKeyEncoding),
                b'M' => {
                    self.mode = Some(token);
                    None
                }
                b'O' => {
                    self.opaque_is_long = token.len() >= OPAQUE_SIZE_MAX;
                    None
                }
                _ => None,
            };
            wrong = refusal.or(wrong);
        }
        wrong.map_or(Ok(()), Err)
    }

    fn has(&self, letter: u8) -> bool {
        self.seen & 1 << (letter - b'A') != 0
    }

    /// ms's mode: the first letter of M's token counts.
    fn store_mode(&self) -> Result<StoreMode, Word> {
        Ok(match self.mode {
            None | Some([b'S', ..]) => StoreMode::Set,
            Some([b'E', ..]) => StoreMode::Add,
            Some([b'A', ..]) => StoreMode::Append,
            Some([b'P', ..]) => StoreMode::Prepend,
            Some([b'R', ..]) => StoreMode::Replace,
            Some(_) => return Err(Word::InvalidStoreMode),
        })
    }

    /// ma's mode.
    fn direction(&self) -> Result<Direction, Word> {
        Ok(match self.mode {
            None | Some([b'I' | b'+', ..]) => Direction::Up,
            Some([b'D' | b'-', ..]) => Direction::Down,
            Some(_) => return Err(Word::InvalidCountMode),
        })
    }

    fn operation(&self, verb: MetaVerb) -> Result<Operation, Word> {
        let key_is_binary = self.has(b'b');
        Ok(match verb {
            MetaVerb::Get => Operation::Get(Get {
                touch: self.exptime,
                bump: !self.has(b'u'),
                tokens: Some(Marks {
                    vivify: self.vivify,
                    vivify_cas: self.cas_new,
                    recache_below: self.recache_below,
                    key_is_binary,
                }),
            }),
            MetaVerb::Set => {
                let mode = self.store_mode()?;
                let extends = matches!(mode, StoreMode::Append | StoreMode::Prepend);
                Operation::Store(Store {
                    mode,
                    flags: self.client_flags.unwrap_or(0),
                    exptime: self.exptime.unwrap_or(Exptime::NEVER),
                    // 0 compares where the value is replaced, and is no comparison where it is extended.
                    cas_compare: match mode {
                        StoreMode::Add => None,
                        _ => self.cas.filter(|&unique| unique != 0 || !extends),
                    },
                    cas_new: self.cas_new,
                    invalidate: self.has(b'I'),
                    vivify: self.vivify.filter(|_| extends),
                    refusal_removes: true,
                    key_is_binary,
                })
            }
            MetaVerb::Delete => Operation::Delete(Delete {
                cas_compare: self.cas,
                cas_new: self.cas_new,
                invalidate: self.has(b'I'),
                exptime: self.exptime,
                empty: self.has(b'x').then(|| EmptyFlags(self.client_flags.unwrap_or(0))),
            }),
            MetaVerb::Arithmetic => Operation::Count(Count {
                direction: self.direction()?,
                delta: self.delta.unwrap_or(1),
                cas_compare: self.cas.filter(|&unique| unique != 0),
                cas_new: self.cas_new,
                touch: self.exptime,
                vivify: self.vivify.map(|exptime| (self.initial.unwrap_or(0), exptime)),
                key_is_binary,
            }),
            MetaVerb::Debug => Operation::Inspect,
        })
    }
}

/// Reads a meta line; `rest` is what follows the verb.
pub(super) fn parse<'a>(
    verb: u8,
    input: &'a [u8],
    rest: &'a [u8],
    line_size: usize,
    seed: &KeySeed,
    state: &mut State,
    scratch: &'a Scratch,
) -> Parsed<'a> {
    if scratch.is_taken() {
        return Parsed::Partial;
    }
    let verb = match verb {
        b'g' => MetaVerb::Get,
        b's' => MetaVerb::Set,
        b'd' => MetaVerb::Delete,
        b'a' => MetaVerb::Arithmetic,
        _ => MetaVerb::Debug,
    };
    let say = |word| Parsed::Say {
        word,
        spelling: Spelling::CLASSIC,
        size: line_size,
    };
    let mut tokens = Tokens::of(rest);
    let Some(key) = tokens.next() else {
        return say(Word::BadLine);
    };
    let value_size = match verb {
        MetaVerb::Set => {
            match tokens
                .next()
                .and_then(digits::strict_u64)
                .filter(|&size| size <= VALUE_SIZE_MAX)
            {
                Some(size) => Some(size as usize),
                None => return say(Word::BadLine),
            }
        }
        _ => None,
    };
    let text = tokens.rest();
    match request(verb, key, text, value_size, seed, scratch) {
        Err(word) => {
            if let Some(size) = value_size {
                *state = State::Skip(size as u64 + 2);
            }
            say(word)
        }
        Ok((request, spelling)) => match value_size {
            Some(size) => with_value(input, request, spelling, text, line_size, size),
            None => Parsed::Request {
                request,
                spelling,
                text,
                size: line_size,
            },
        },
    }
}

fn request<'a>(
    verb: MetaVerb,
    key: &'a [u8],
    text: &'a [u8],
    value_size: Option<usize>,
    seed: &KeySeed,
    scratch: &'a Scratch,
) -> Result<(Request<'a>, Spelling), Word> {
    let mut flags = Flags::default();
    let mut plain = key;
    let mut decode = || {
        let decoded = scratch.decode(key);
        plain = decoded.unwrap_or_default();
        decoded.is_some()
    };
    let read = match verb {
        _ if key.len() > KEY_SIZE_MAX => Err(Word::BadLine),
        MetaVerb::Get | MetaVerb::Delete | MetaVerb::Arithmetic => flags.read(text, TOKENS_MAX - 2, decode),
        MetaVerb::Set => flags.read(text, TOKENS_MAX - 3, decode),
        // Only b has a meaning, and nothing else is looked at.
        MetaVerb::Debug if self::flags(text).any(|(letter, _)| letter == b'b') => {
            flags.seen = 1 << (b'b' - b'A');
            if decode() {
                Ok(())
            } else {
                Err(Word::BadKeyEncoding)
            }
        }
        MetaVerb::Debug => Ok(()),
    };
    match verb {
        MetaVerb::Arithmetic if !flags.has_no_letter => read.map_err(|_| Word::InvalidOrDuplicateFlag)?,
        _ => read?,
    }
    if flags.opaque_is_long {
        return Err(Word::OpaqueTooLong);
    }
    let key = plain;
    let request = Request {
        key,
        hash: seed.hash(key),
        value: &[],
        operation: flags.operation(verb)?,
    };
    let spelling = Spelling::Meta {
        verb,
        quiet: flags.has(b'q'),
        key_is_binary: flags.has(b'b'),
        with_value: flags.has(b'v'),
        compares: verb == MetaVerb::Get && flags.cas.is_some(),
        value_size: value_size.unwrap_or(0) as u32,
    };
    Ok((request, spelling))
}

/// Writes a reply; `text` are the flags of the request.
pub(super) fn write<'r>(
    out: &mut Vec<u8>,
    spelling: Spelling,
    key: &[u8],
    text: &[u8],
    reply: &Reply<'r>,
    apart_from: usize,
) -> Option<Tail<'r>> {
    let Spelling::Meta {
        verb,
        quiet,
        key_is_binary,
        with_value,
        compares,
        value_size,
    } = spelling
    else {
        return None;
    };
    // A reply of a code and the flags that are echoed whatever the outcome.
    let mut coded = |code: &[u8], cas: Option<u64>, value_size: Option<u32>, key_is_binary: bool| {
        out.extend_from_slice(code);
        for (letter, token) in flags(text) {
            match letter {
                b'k' => put_key(out, key, key_is_binary),
                b'O' => put_opaque(out, token),
                b'c' => number_after(out, b"c", cas),
                b's' => number_after(out, b"s", value_size),
                _ => {}
            }
        }
        out.extend_from_slice(b"\r\n");
    };
    // Where ms fails, c is 0 and s is the size of what was sent; the others do not answer these.
    let is_store = verb == MetaVerb::Set;
    let (no_cas, sent_size) = (is_store.then_some(0), is_store.then_some(value_size));
    let word = match reply {
        Reply::Hit(hit) if verb == MetaVerb::Debug => {
            debug(out, key, hit);
            return None;
        }
        Reply::Hit(hit) => {
            let unchanged = compares && compared(text) == Some(hit.cas);
            return self::hit(out, key, text, hit, with_value && !unchanged, apart_from);
        }
        Reply::Miss if verb == MetaVerb::Debug => {
            out.extend_from_slice(b"EN\r\n");
            return None;
        }
        Reply::Miss if quiet => return None,
        Reply::Miss => {
            coded(b"EN", None, None, key_is_binary);
            return None;
        }
        Reply::Stored { .. } | Reply::Deleted | Reply::Counted(_) if quiet => return None,
        Reply::Stored {
            cas,
            value_size,
            key_is_binary,
        } => {
            coded(b"HD", Some(*cas), Some(*value_size), *key_is_binary);
            return None;
        }
        Reply::Deleted => {
            coded(b"HD", None, None, key_is_binary);
            return None;
        }
        Reply::Counted(counted) => {
            self::counted(out, key, text, counted, with_value, key_is_binary);
            return None;
        }
        Reply::NotStored => {
            coded(b"NS", no_cas, sent_size, key_is_binary);
            return None;
        }
        Reply::Exists => {
            coded(b"EX", no_cas, sent_size, key_is_binary);
            return None;
        }
        Reply::NotFound => {
            coded(b"NF", no_cas, sent_size, key_is_binary);
            return None;
        }
        Reply::Touched { .. } => {
            coded(b"HD", None, None, key_is_binary);
            return None;
        }
        Reply::NotNumeric => Word::NotNumeric,
        Reply::TooLarge => Word::TooLarge,
        Reply::NoMemory if verb == MetaVerb::Set => Word::NoMemoryStoring,
        Reply::NoMemory => Word::NoMemoryCounting,
    };
    out.extend_from_slice(word.line().as_bytes());
    None
}

/// The cas unique that mg's C compares.
fn compared(text: &[u8]) -> Option<u64> {
    flags(text)
        .find(|&(letter, _)| letter == b'C')
        .and_then(|(_, token)| digits::strict_u64(token))
}

/// `VA <size> <flag>*` and the value, or `HD <flag>*`
fn hit<'r>(
    out: &mut Vec<u8>,
    key: &[u8],
    text: &[u8],
    hit: &Hit<'r>,
    with_value: bool,
    apart_from: usize,
) -> Option<Tail<'r>> {
    let size = hit.value.size();
    let copy = with_value && size < apart_from;
    // The longest answer to a flag is the key's; any other is shorter than 24 bytes and there are few.
    out.reserve(64 + text.len() * 4 + key.len() + if copy { size } else { 0 });
    if with_value {
        out.extend_from_slice(b"VA");
        number(out, b' ', size as u64);
    } else {
        out.extend_from_slice(b"HD");
    }
    // An item that this request made has no time of its own until N gives it one.
    let mut left = hit.left_before.filter(|_| !hit.vivified);
    for (letter, token) in flags(text) {
        match letter {
            b'T' => left = hit.left_after,
            b'N' if hit.vivified => left = hit.left_after,
            b't' => put_left(out, left),
            b's' => number_after(out, b"s", Some(size as u64)),
            b'c' => number_after(out, b"c", Some(hit.cas)),
            b'f' => number_after(out, b"f", Some(hit.flags)),
            b'l' => number_after(out, b"l", Some(hit.idle)),
            b'h' => out.extend_from_slice(if hit.fetched { b" h1" } else { b" h0" }),
            b'k' => put_key(out, key, hit.key_is_binary),
            b'O' => put_opaque(out, token),
            _ => {}
        }
    }
    for (mark, is_set) in [(b" Z", hit.token_sent), (b" X", hit.stale), (b" W", hit.won)] {
        if is_set {
            out.extend_from_slice(mark);
        }
    }
    out.extend_from_slice(b"\r\n");
    if with_value {
        put_value(out, hit, copy, b"\r\n")
    } else {
        None
    }
}

/// `VA <size> <flag>*` and the number, or `HD <flag>*`
fn counted(
    out: &mut Vec<u8>,
    key: &[u8],
    text: &[u8],
    counted: &Counted,
    with_value: bool,
    key_is_binary: bool,
) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(counted.number);
    if with_value {
        out.extend_from_slice(b"VA");
        number(out, b' ', digits.len());
    } else {
        out.extend_from_slice(b"HD");
    }
    let mut left = counted.left_before;
    for (letter, token) in flags(text) {
        match letter {
            b'T' | b'N' => left = counted.left_after,
            b't' => put_left(out, left),
            b'c' => number_after(out, b"c", Some(counted.cas)),
            b'k' => put_key(out, key, key_is_binary),
            b'O' => put_opaque(out, token),
            _ => {}
        }
    }
    out.extend_from_slice(b"\r\n");
    if with_value {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// `ME <key> exp=<seconds left> la=<seconds> cas=<unique> fetch=<yes|no> cls=<class> size=<bytes>`
fn debug(out: &mut Vec<u8>, key: &[u8], hit: &Hit<'_>) {
    out.extend_from_slice(b"ME ");
    match hit.key_is_binary {
        true => base64::encode(out, key),
        false => out.extend_from_slice(key),
    }
    number_after(out, b"exp=", Some(hit.left_before.unwrap_or(-1)));
    number_after(out, b"la=", Some(hit.idle));
    number_after(out, b"cas=", Some(hit.cas));
    out.extend_from_slice(if hit.fetched { b" fetch=yes" } else { b" fetch=no" });
    number_after(out, b"cls=", Some(hit.class));
    number_after(out, b"size=", Some(hit.item_size));
    out.extend_from_slice(b"\r\n");
}

/// A number behind its name, where there is one.
fn number_after(out: &mut Vec<u8>, name: &[u8], number: Option<impl itoa::Integer>) {
    if let Some(number) = number {
        out.push(b' ');
        out.extend_from_slice(name);
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// -1 is for ever, so nothing that has passed may say it.
fn put_left(out: &mut Vec<u8>, left: Option<i64>) {
    number_after(out, b"t", Some(left.map_or(-1, |left| left.max(0))));
}

fn put_key(out: &mut Vec<u8>, key: &[u8], is_binary: bool) {
    out.extend_from_slice(b" k");
    if is_binary {
        base64::encode(out, key);
        out.extend_from_slice(b" b");
    } else {
        out.extend_from_slice(key);
    }
}

fn put_opaque(out: &mut Vec<u8>, token: &[u8]) {
    out.extend_from_slice(b" O");
    out.extend_from_slice(token);
}
