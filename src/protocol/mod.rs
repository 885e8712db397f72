//! Bytes to requests, replies to bytes: the classic, meta and binary dialects.
//!
//! Slices in, bytes out. Nothing here knows a cache, a socket, a core or the time. A [`Parser`] keeps what must be
//! remembered from one call to the next (the dialect of the connection, the rest of a multi-get, bytes to
//! skip); it never holds input: what it did not consume, the session hands in again with more behind it.
//!
//! ```text
//! input  | get a b\r\n        | set k 0 0 3\r\nabc\r\n | delete k\r\n | set k 0 ...
//!        '--------------------'------------------------'--------------'------------
//! parse    Request a, Request b  Request (with value)     Request        Partial
//! ```
//!
//! Parsing and writing stand side by side: `classic` reads and `reply` writes the classic lines, `meta` and
//! `binary` do both. `lex`, `number` and `base64` cut and convert tokens; `words` holds every fixed string,
//! `control` the commands that concern no key, `fleet` those about the published ring, `spelling` what a reply must know
//! of its request, `watch` what watchers read.

mod base64;
mod binary;
mod classic;
mod control;
mod fleet;
mod lex;
mod login;
mod meta;
mod number;
mod reply;
mod spelling;
mod uri;
pub mod watch;
mod words;

#[cfg(test)]
mod tests;

pub use base64::encode as base64_encode;
pub use control::{Classes, Control, DebugTime, Lru, LruCrawler, Sasl, ShutdownMode, Slabs, Stats, Streams};
pub use fleet::{
    CLUSTER, Fleet, OLD_KEY, PAYLOAD_SIZE_MAX as FLEET_PAYLOAD_SIZE_MAX, write_config, write_mistake,
};
pub use login::{Login, parse_login};
pub use reply::{
    write, write_ok, write_reset, write_sasl, write_stat, write_stat_text, write_stats_end, write_version,
};
pub use spelling::{MetaVerb, Spelling};
pub use uri::uri_encode;
pub use words::{Word, say};

use std::cell::OnceCell;

use crate::command::{Request, Value};
use crate::hash::KeySeed;
use crate::time::Exptime;

/// A value of at most this many bytes is awaited in the session's input buffer; a larger one arrives apart
/// ([`Parsed::Incoming`]).
pub const VALUE_INLINE_MAX: usize = 4096;

/// A line longer than this without an end is streamed (get, gets) or hung up on (everything else; most of it long
/// before).
pub const LINE_SIZE_MAX: usize = 64 * 1024;

/// What stands at the head of the input.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A request, complete with its value. `size` bytes of input are consumed.
    Request {
        request: Request<'a>,
        spelling: Spelling,
        /// The part of a meta line that its reply is spelled after; empty in the other dialects.
        text: &'a [u8],
        size: usize,
    },
    /// A store whose line is complete and whose value is larger than [`VALUE_INLINE_MAX`] and not all here yet.
    /// The session takes the value apart: `value_size` bytes, then `\r\n` if `crlf` (else
    /// [`Word::BadDataChunk`]). It keeps the first `line_size` bytes (line, or header with extras and key) and
    /// parses these again with [`Parser::parse_line`] when the value is complete, to get the same
    /// request with the same spelling. Or it refuses: says why, consumes the line and calls [`Parser::skip`].
    Incoming {
        request: Request<'a>,
        spelling: Spelling,
        text: &'a [u8],
        value_size: usize,
        crlf: bool,
        line_size: usize,
    },
    /// A store whose value is all here and does not end as it should. `size` bytes of input are consumed. What is
    /// wrong with its size is said first, as of a value that arrives apart: then [`Word::BadDataChunk`].
    BadEnd {
        request: Request<'a>,
        spelling: Spelling,
        text: &'a [u8],
        value_size: usize,
        size: usize,
    },
    /// A word to the server as a whole.
    Control {
        control: Control<'a>,
        spelling: Spelling,
        size: usize,
    },
    /// Something to say in its turn without asking the cache: a client's mistake, the END of a multi-get.
    Say {
        word: Word,
        spelling: Spelling,
        size: usize,
    },
    /// Bytes to drop without a word (the data of a refused store).
    Skip { size: usize },
    /// Not enough input for any of these; incomplete is not invalid. The parser guarantees that it does not
    /// answer so for more than [`PARTIAL_SIZE_MAX`] bytes of input.
    Partial,
    /// Say `word` if there is one, then close once everything pending has been sent. `quit` is answered so, too.
    Hangup {
        word: Option<Word>,
        spelling: Spelling,
        size: usize,
        /// Whether the client asked for it.
        asked: bool,
    },
}

/// The most input for which the answer may be [`Parsed::Partial`]: a long line, and an inline value with its end (or a
/// shorter line, and a published ring).
pub const PARTIAL_SIZE_MAX: usize = LINE_SIZE_MAX + VALUE_INLINE_MAX + 2;

const _: () = assert!(FLEET_PAYLOAD_SIZE_MAX + classic::LINE_WAIT_MAX + 2 <= PARTIAL_SIZE_MAX);

/// A reply's value that was left out because it is large: it follows what was written, then `end`.
#[derive(Debug, PartialEq)]
pub struct Tail<'a> {
    pub value: Value<'a>,
    pub end: &'static [u8],
}

/// What `-B` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialects {
    /// The first byte of the connection decides.
    Any,
    /// Classic and meta.
    Classic,
    Binary,
}

/// Cuts one connection's input into requests.
#[derive(Debug)]
pub struct Parser {
    seed: KeySeed,
    /// `Any` until the first byte has come.
    dialects: Dialects,
    state: State,
}

/// Where a parser stood before it parsed something: what has been parsed ahead and cannot be served yet is parsed
/// again later, from there.
#[derive(Clone, Copy, Debug)]
pub struct Mark(State);

/// What the head of the input is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// The beginning of a command.
    Head,
    /// A further key of a get.
    Keys(Keys),
    /// Bytes to drop; never 0.
    Skip(u64),
    /// The rest of a line to drop.
    SkipLine,
}

/// The rest of a get line.
#[derive(Clone, Copy, Debug)]
struct Keys {
    touch: Option<Exptime>,
    with_cas: bool,
    /// Bytes to the line's end, with it; `None` while the end has not been seen.
    line_left: Option<usize>,
}

/// Where a key is put that was decoded from base64. There is room for one: a parser that finds it taken answers
/// [`Parsed::Partial`], and is asked again with a fresh one ([`Scratch::is_taken`]).
#[derive(Debug, Default)]
pub struct Scratch(OnceCell<Decoded>);

#[derive(Debug)]
struct Decoded {
    bytes: [u8; base64::DECODED_SIZE_MAX],
    size: usize,
}

impl Scratch {
    pub fn is_taken(&self) -> bool {
        self.0.get().is_some()
    }

    /// Decodes a key; `None` if it is no base64. The scratch must not be taken.
    fn decode(&self, key: &[u8]) -> Option<&[u8]> {
        let mut bytes = [0; base64::DECODED_SIZE_MAX];
        let size = base64::decode(key, &mut bytes)?.len();
        let decoded = self.0.get_or_init(|| Decoded { bytes, size });
        Some(&decoded.bytes[..decoded.size])
    }
}

impl Parser {
    /// A parser for a new connection. `dialects`: what `-B` allows; the first byte of the connection decides where
    /// both are allowed.
    pub fn new(seed: KeySeed, dialects: Dialects) -> Parser {
        Parser {
            seed,
            dialects,
            state: State::Head,
        }
    }

    /// Reads what stands at the head of `input`, which is all that has come and was not consumed yet.
    pub fn parse<'a>(&mut self, input: &'a [u8], scratch: &'a Scratch) -> Parsed<'a> {
        match self.state {
            State::Head => {}
            State::Keys(_) => return classic::next_key(input, 0, &self.seed, &mut self.state),
            State::Skip(_) | State::SkipLine => return self.skip_some(input),
        }
        if self.dialects == Dialects::Any {
            self.dialects = match input.first() {
                None => return Parsed::Partial,
                Some(&binary::MAGIC_REQUEST) => Dialects::Binary,
                Some(_) => Dialects::Classic,
            };
        }
        self.parse_head(input, scratch)
    }

    fn parse_head<'a>(&mut self, input: &'a [u8], scratch: &'a Scratch) -> Parsed<'a> {
        match self.dialects {
            Dialects::Binary => binary::parse(input, &self.seed, &mut self.state),
            _ => classic::parse(input, &self.seed, &mut self.state, scratch),
        }
    }

    /// Parses the kept line of a [`Parsed::Incoming`] again: the same request (its value left empty), spelling and
    /// text. `None` for anything else than such a line.
    pub fn parse_line<'a>(
        &mut self,
        line: &'a [u8],
        scratch: &'a Scratch,
    ) -> Option<(Request<'a>, Spelling, &'a [u8])> {
        match self.parse_head(line, scratch) {
            Parsed::Incoming {
                request,
                spelling,
                text,
                ..
            } => Some((request, spelling, text)),
            _ => None,
        }
    }

    /// Whether the next byte begins a command.
    pub fn is_at_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// Whether keys of a get may follow.
    pub fn is_within_keys(&self) -> bool {
        matches!(self.state, State::Keys(_))
    }

    /// The spelling of words that answer no request.
    pub fn spelling(&self) -> Spelling {
        match self.dialects {
            Dialects::Binary => Spelling::Binary { opcode: 0, opaque: 0 },
            _ => Spelling::CLASSIC,
        }
    }

    /// Where the parser stands, to come back to.
    pub fn mark(&self) -> Mark {
        Mark(self.state)
    }

    /// Goes back to where it stood. The input must be handed in again from there.
    pub fn rewind(&mut self, mark: Mark) {
        self.state = mark.0;
    }

    /// Drops the next `size` bytes of the connection: the data of a store that was refused, with its end.
    pub fn skip(&mut self, size: usize) {
        self.state = if size == 0 {
            State::Head
        } else {
            State::Skip(size as u64)
        };
    }

    /// Drops what is left of a get's line, if keys of one may follow.
    pub fn skip_keys(&mut self) {
        self.state = match self.state {
            State::Keys(Keys {
                line_left: Some(left),
                ..
            }) => State::Skip(left as u64),
            State::Keys(_) => State::SkipLine,
            other => other,
        };
    }

    fn skip_some(&mut self, input: &[u8]) -> Parsed<'static> {
        let size = match self.state {
            _ if input.is_empty() => return Parsed::Partial,
            State::Skip(left) => {
                let size = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                self.state = match left - size as u64 {
                    0 => State::Head,
                    left => State::Skip(left),
                };
                size
            }
            _ => match memchr::memchr(b'\n', input) {
                Some(end) => {
                    self.state = State::Head;
                    end + 1
                }
                None => input.len(),
            },
        };
        Parsed::Skip { size }
    }
}
