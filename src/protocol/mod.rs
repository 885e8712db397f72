//! Bytes to requests, replies to bytes: the classic, meta and binary dialects.
//!
//! Slices in, bytes out. Nothing here knows a cache, a socket, a core or the time. A [`Parser`] keeps what must be
//! remembered from one call to the next (the dialect of the connection, the rest of a multi-get, bytes to
//! skip); it never holds bytes: what it did not consume, the session hands in again with more behind it.

use crate::command::{Reply, Request, Value};
use crate::hash::KeySeed;
use crate::time::Exptime;

/// A value of at most this many bytes is awaited in the session's input buffer; a larger one arrives apart
/// ([`Parsed::Incoming`]).
pub const VALUE_INLINE_MAX: usize = 4096;

/// A line longer than this without an end is streamed (get, gets) or hung up on (everything else).
pub const LINE_SIZE_MAX: usize = 64 * 1024;

/// What stands at the head of the input.
#[derive(Debug, PartialEq)]
pub enum Parsed<'a> {
    /// A request, complete with its value. `size` bytes of input are consumed.
    Request {
        request: Request<'a>,
        spelling: Spelling,
        text: &'a [u8],
        size: usize,
    },
    /// A store whose line is complete and whose value is larger than [`VALUE_INLINE_MAX`] and not all here yet.
    /// The session takes the value apart: `value_size` bytes, then `\r\n` if `crlf` (else
    /// [`Mistake::BadDataChunk`]). It keeps the first `line_size` bytes (line, or header with extras and key) and
    /// parses these again with [`Parser::parse_line`] when the value is complete, to get the same
    /// request with the same spelling.
    Incoming {
        request: Request<'a>,
        spelling: Spelling,
        text: &'a [u8],
        value_size: usize,
        crlf: bool,
        line_size: usize,
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
    /// answer so for more than [`LINE_SIZE_MAX`] + [`VALUE_INLINE_MAX`] bytes of input.
    Partial,
    /// Say `word` if there is one, then close once everything pending has been sent.
    Hangup {
        word: Option<Word>,
        spelling: Spelling,
        size: usize,
    },
}

/// A reply's value that was left out because it is large: it follows what was written, then `end`.
#[derive(Debug, PartialEq)]
pub struct Tail<'a> {
    pub value: Value<'a>,
    pub end: &'static [u8],
}

/// Cuts one connection's input into requests.
#[derive(Debug)]
pub struct Parser {
    seed: KeySeed,
}

impl Parser {
    /// A parser for a new connection. `dialects`: what `-B` allows; the first byte of the connection decides where
    /// both are allowed.
    pub fn new(seed: KeySeed, _dialects: Dialects) -> Parser {
        Parser { seed }
    }

    /// Reads what stands at the head of `input`.
    pub fn parse<'a>(&mut self, input: &'a [u8]) -> Parsed<'a> {
        let _ = (&self.seed, input);
        Parsed::Partial
    }

    /// Drops the next `size` bytes of the connection: the data of a store that was refused.
    pub fn skip(&mut self, _size: usize) {}
}

/// What `-B` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialects {
    Any,
    Classic,
    Binary,
}

/// How a request was spelled, so that its reply is spelled alike: plain data, it travels between cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Classic,
}

/// A fixed thing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    End,
}

/// A word to the server as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control<'a> {
    FlushAll { delay: Exptime },
    Stats { what: &'a [u8] },
    Version,
}

/// Writes the reply to `key`'s request. A value of `apart_from` bytes or more is left to the caller.
pub fn write<'r>(
    _out: &mut Vec<u8>,
    _spelling: Spelling,
    _key: &[u8],
    _text: &[u8],
    _reply: &Reply<'r>,
    _apart_from: usize,
) -> Option<Tail<'r>> {
    None
}
