//! The binary dialect: packets with a fixed header, key and value behind it, numbers in network order.
//!
//! ```text
//!  byte 0      1        2      4     5     6         8         12       16        24
//!       +------+--------+------+-----+-----+---------+---------+--------+---------+--------+-----+-------+
//!       | 0x80 | opcode | key  | ext | raw | vbucket | body    | opaque | cas     | extras | key | value |
//!       | 0x81 |        | size | size|     | status  | size    |        | unique  |        |     |       |
//!       +------+--------+------+-----+-----+---------+---------+--------+---------+--------+-----+-------+
//! ```
//!
//! The body is extras, key and value together. Raw type and vbucket of a request are not looked at; opcode and
//! opaque come back in every packet of the reply.

use std::ops::Range;

use super::control::{self, Control, Sasl, Stats};
use super::fleet::{Fleet, PAYLOAD_SIZE_MAX};
use super::lex::Tokens;
use super::reply::put_value;
use super::spelling::Spelling;
use super::words::Word;
use super::{Parsed, State, Tail, VALUE_INLINE_MAX};
use crate::command::{
    Count, Delete, Direction, Get, KEY_SIZE_MAX, Operation, Reply, Request, Store, StoreMode,
};
use crate::hash::KeySeed;
use crate::time::Exptime;

pub(super) const MAGIC_REQUEST: u8 = 0x80;
const MAGIC_REPLY: u8 = 0x81;
const HEADER_SIZE: usize = 24;

/// A body of more than this is taken for a broken stream.
const BODY_SIZE_MAX: usize = 1 << 30;

/// The longest name of a SASL mechanism.
const MECHANISM_SIZE_MAX: usize = 32;

/// Where the header keeps what.
mod field {
    use super::Range;

    pub(super) const MAGIC: usize = 0;
    pub(super) const OPCODE: usize = 1;
    pub(super) const KEY_SIZE: Range<usize> = 2..4;
    pub(super) const EXTRAS_SIZE: usize = 4;
    pub(super) const STATUS: Range<usize> = 6..8;
    pub(super) const BODY_SIZE: Range<usize> = 8..12;
    pub(super) const OPAQUE: Range<usize> = 12..16;
    pub(super) const CAS: Range<usize> = 16..24;
}

mod opcode {
    pub(super) const GET: u8 = 0x00;
    pub(super) const SET: u8 = 0x01;
    pub(super) const ADD: u8 = 0x02;
    pub(super) const REPLACE: u8 = 0x03;
    pub(super) const DELETE: u8 = 0x04;
    pub(super) const INCREMENT: u8 = 0x05;
    pub(super) const DECREMENT: u8 = 0x06;
    pub(super) const QUIT: u8 = 0x07;
    pub(super) const FLUSH: u8 = 0x08;
    pub(super) const GETQ: u8 = 0x09;
    pub(super) const NOOP: u8 = 0x0a;
    pub(super) const VERSION: u8 = 0x0b;
    pub(super) const GETK: u8 = 0x0c;
    pub(super) const GETKQ: u8 = 0x0d;
    pub(super) const APPEND: u8 = 0x0e;
    pub(super) const PREPEND: u8 = 0x0f;
    pub(super) const STAT: u8 = 0x10;
    pub(super) const SETQ: u8 = 0x11;
    pub(super) const ADDQ: u8 = 0x12;
    pub(super) const REPLACEQ: u8 = 0x13;
    pub(super) const DELETEQ: u8 = 0x14;
    pub(super) const INCREMENTQ: u8 = 0x15;
    pub(super) const DECREMENTQ: u8 = 0x16;
    pub(super) const QUITQ: u8 = 0x17;
    pub(super) const FLUSHQ: u8 = 0x18;
    pub(super) const APPENDQ: u8 = 0x19;
    pub(super) const PREPENDQ: u8 = 0x1a;
    pub(super) const TOUCH: u8 = 0x1c;
    pub(super) const GAT: u8 = 0x1d;
    pub(super) const GATQ: u8 = 0x1e;
    pub(super) const SASL_LIST: u8 = 0x20;
    pub(super) const SASL_AUTH: u8 = 0x21;
    pub(super) const SASL_STEP: u8 = 0x22;
    pub(super) const GATK: u8 = 0x23;
    pub(super) const GATKQ: u8 = 0x24;
    pub(super) const CONFIG_GET: u8 = 0x60;
    pub(super) const CONFIG_GETQ: u8 = 0x61;
    pub(super) const CONFIG_GETK: u8 = 0x62;
    pub(super) const CONFIG_GETKQ: u8 = 0x63;
    pub(super) const CONFIG_SET: u8 = 0x64;
    pub(super) const CONFIG_SETQ: u8 = 0x65;
    pub(super) const CONFIG_DELETE: u8 = 0x66;
    pub(super) const CONFIG_DELETEQ: u8 = 0x67;
}

/// The status of a reply.
pub(super) mod status {
    pub(in super::super) const NO_ERROR: u16 = 0x00;
    pub(in super::super) const NOT_FOUND: u16 = 0x01;
    pub(in super::super) const EXISTS: u16 = 0x02;
    pub(in super::super) const TOO_LARGE: u16 = 0x03;
    pub(in super::super) const INVALID_ARGUMENTS: u16 = 0x04;
    pub(in super::super) const NOT_STORED: u16 = 0x05;
    pub(in super::super) const DELTA_BAD_VALUE: u16 = 0x06;
    pub(in super::super) const AUTH_ERROR: u16 = 0x20;
    pub(in super::super) const UNKNOWN_COMMAND: u16 = 0x81;
    pub(in super::super) const OUT_OF_MEMORY: u16 = 0x82;
}

/// The text that a failure carries as its body.
fn status_text(status: u16) -> &'static [u8] {
    match status {
        status::NO_ERROR => b"",
        status::NOT_FOUND => b"Not found",
        status::EXISTS => b"Data exists for key.",
        status::TOO_LARGE => b"Too large.",
        status::INVALID_ARGUMENTS => b"Invalid arguments",
        status::NOT_STORED => b"Not stored.",
        status::DELTA_BAD_VALUE => b"Non-numeric server-side value for incr or decr",
        status::AUTH_ERROR => b"Auth failure.",
        status::OUT_OF_MEMORY => b"Out of memory",
        _ => b"Unknown command",
    }
}

/// Whether the opcode is one of those that hide success; those that read hide misses instead.
fn is_quiet(opcode: u8) -> bool {
    use opcode::*;
    matches!(opcode, SETQ..=PREPENDQ | CONFIG_SETQ | CONFIG_DELETEQ) || is_quiet_read(opcode)
}

fn is_quiet_read(opcode: u8) -> bool {
    use opcode::*;
    matches!(opcode, GETQ | GETKQ | GATQ | GATKQ | CONFIG_GETQ | CONFIG_GETKQ)
}

fn returns_key(opcode: u8) -> bool {
    use opcode::*;
    matches!(opcode, GETK | GETKQ | GATK | GATKQ | CONFIG_GETK | CONFIG_GETKQ)
}

fn u16_at(bytes: &[u8], range: Range<usize>) -> u16 {
    u16::from_be_bytes(bytes[range].try_into().expect("a field of 2 bytes"))
}

fn u32_at(bytes: &[u8], range: Range<usize>) -> u32 {
    u32::from_be_bytes(bytes[range].try_into().expect("a field of 4 bytes"))
}

fn u64_at(bytes: &[u8], range: Range<usize>) -> u64 {
    u64::from_be_bytes(bytes[range].try_into().expect("a field of 8 bytes"))
}

/// What an opcode asks for; the quiet twins ask for the same.
#[derive(Clone, Copy)]
enum Verb {
    Get,
    GetAndTouch,
    Touch,
    Store(StoreMode),
    /// Append and prepend, which have no extras.
    Extend(StoreMode),
    Delete,
    Count(Direction),
    Quit,
    Flush,
    Noop,
    Version,
    Stat,
    SaslList,
    Sasl,
    ConfigGet,
    ConfigSet,
    ConfigDelete,
}

fn verb(opcode: u8) -> Option<Verb> {
    use opcode::*;
    Some(match opcode {
        GET | GETQ | GETK | GETKQ => Verb::Get,
        GAT | GATQ | GATK | GATKQ => Verb::GetAndTouch,
        TOUCH => Verb::Touch,
        SET | SETQ => Verb::Store(StoreMode::Set),
        ADD | ADDQ => Verb::Store(StoreMode::Add),
        REPLACE | REPLACEQ => Verb::Store(StoreMode::Replace),
        APPEND | APPENDQ => Verb::Extend(StoreMode::Append),
        PREPEND | PREPENDQ => Verb::Extend(StoreMode::Prepend),
        DELETE | DELETEQ => Verb::Delete,
        INCREMENT | INCREMENTQ => Verb::Count(Direction::Up),
        DECREMENT | DECREMENTQ => Verb::Count(Direction::Down),
        QUIT | QUITQ => Verb::Quit,
        FLUSH | FLUSHQ => Verb::Flush,
        NOOP => Verb::Noop,
        VERSION => Verb::Version,
        STAT => Verb::Stat,
        SASL_LIST => Verb::SaslList,
        SASL_AUTH | SASL_STEP => Verb::Sasl,
        CONFIG_GET | CONFIG_GETQ | CONFIG_GETK | CONFIG_GETKQ => Verb::ConfigGet,
        CONFIG_SET | CONFIG_SETQ => Verb::ConfigSet,
        CONFIG_DELETE | CONFIG_DELETEQ => Verb::ConfigDelete,
        _ => return None,
    })
}

impl Verb {
    /// Whether a header with these sizes can be this verb's.
    fn permits(self, extras: usize, key: usize, value: usize) -> bool {
        match self {
            Verb::Get | Verb::Delete | Verb::ConfigGet | Verb::ConfigDelete => {
                extras == 0 && key > 0 && value == 0
            }
            Verb::GetAndTouch | Verb::Touch => extras == 4 && key > 0 && value == 0,
            Verb::Store(_) => extras == 8 && key > 0,
            Verb::Extend(_) => extras == 0 && key > 0,
            Verb::Count(_) => extras == 20 && key > 0 && value == 0,
            Verb::Quit | Verb::Noop | Verb::Version | Verb::SaslList => extras + key + value == 0,
            Verb::Flush => (extras == 0 || extras == 4) && key + value == 0,
            Verb::Stat => extras == 0 && value == 0,
            Verb::Sasl => extras == 0,
            // The flags, which say nothing.
            Verb::ConfigSet => extras == 4 && key > 0,
        }
    }
}

/// Reads the packet at the head of `input`.
///
/// A header that contradicts itself or its opcode leaves no way to tell where the next packet begins, so it ends
/// the connection. An unknown opcode does not: its body is dropped.
pub(super) fn parse<'a>(input: &'a [u8], seed: &KeySeed, state: &mut State) -> Parsed<'a> {
    if input.first().is_some_and(|&magic| magic != MAGIC_REQUEST) {
        return Parsed::Hangup {
            word: None,
            spelling: Spelling::Binary { opcode: 0, opaque: 0 },
            size: input.len(),
            asked: false,
        };
    }
    let Some((header, body)) = input.split_at_checked(HEADER_SIZE) else {
        return Parsed::Partial;
    };
    let opcode = header[field::OPCODE];
    let key_size = usize::from(u16_at(header, field::KEY_SIZE));
    let extras_size = usize::from(header[field::EXTRAS_SIZE]);
    let body_size = u32_at(header, field::BODY_SIZE) as usize;
    let cas = u64_at(header, field::CAS);
    let spelling = Spelling::Binary {
        opcode,
        opaque: u32_at(header, field::OPAQUE),
    };
    let hangup = |word| Parsed::Hangup {
        word: Some(word),
        spelling,
        size: input.len(),
        asked: false,
    };
    let Some(value_size) = body_size.checked_sub(key_size + extras_size) else {
        return hangup(Word::Unknown);
    };
    if key_size > KEY_SIZE_MAX || body_size > BODY_SIZE_MAX {
        return hangup(Word::InvalidArguments);
    }
    let mut drop_body = |word| {
        if body_size > 0 {
            *state = State::Skip(body_size as u64);
        }
        Parsed::Say {
            word,
            spelling,
            size: HEADER_SIZE,
        }
    };
    let Some(verb) = verb(opcode) else {
        return drop_body(Word::Unknown);
    };
    if !verb.permits(extras_size, key_size, value_size) {
        return match verb {
            // To a memcached all packets of these opcodes are unknown.
            Verb::ConfigGet | Verb::ConfigSet | Verb::ConfigDelete => drop_body(Word::Unknown),
            _ => hangup(Word::InvalidArguments),
        };
    }
    if matches!(verb, Verb::Sasl) && (key_size > MECHANISM_SIZE_MAX || value_size > VALUE_INLINE_MAX) {
        return drop_body(Word::InvalidArguments);
    }
    if matches!(verb, Verb::ConfigSet) && value_size > PAYLOAD_SIZE_MAX {
        return drop_body(Word::TooLarge);
    }
    let line_size = HEADER_SIZE + extras_size + key_size;
    let size = HEADER_SIZE + body_size;
    if input.len() < line_size
        || (input.len() < size && (value_size <= VALUE_INLINE_MAX || matches!(verb, Verb::ConfigSet)))
    {
        return Parsed::Partial;
    }
    let (extras, body) = body.split_at(extras_size);
    let (key, body) = body.split_at(key_size);
    let cas_compare = (cas != 0).then_some(cas);
    let operation = match verb {
        Verb::Get => Operation::Get(Get::PLAIN),
        Verb::GetAndTouch => Operation::Get(Get {
            touch: Some(exptime(extras, 0)),
            ..Get::PLAIN
        }),
        Verb::Touch => Operation::Touch(exptime(extras, 0)),
        Verb::Store(mode) => Operation::Store(Store {
            // With a cas unique, add is set, too: it can only ever store over an item.
            mode: if mode == StoreMode::Add && cas != 0 {
                StoreMode::Set
            } else {
                mode
            },
            cas_compare,
            ..Store::new(mode, u32_at(extras, 0..4), exptime(extras, 4))
        }),
        Verb::Extend(mode) => Operation::Store(Store {
            cas_compare,
            ..Store::new(mode, 0, Exptime::NEVER)
        }),
        Verb::Delete => Operation::Delete(Delete {
            cas_compare,
            ..Delete::default()
        }),
        Verb::Count(direction) => Operation::Count(Count {
            direction,
            delta: u64_at(extras, 0..8),
            cas_compare,
            cas_new: None,
            touch: None,
            vivify: match u32_at(extras, 16..20) {
                u32::MAX => None,
                _ => Some((u64_at(extras, 8..16), exptime(extras, 16))),
            },
            key_is_binary: false,
        }),
        _ => return command(verb, opcode, spelling, extras, key, body, size),
    };
    let mut request = Request {
        key,
        hash: seed.hash(key),
        value: &[],
        operation,
    };
    match body.get(..value_size) {
        Some(value) => {
            request.value = value;
            Parsed::Request {
                request,
                spelling,
                text: &[],
                size,
            }
        }
        None => Parsed::Incoming {
            request,
            spelling,
            text: &[],
            value_size,
            crlf: false,
            line_size,
        },
    }
}

/// A packet that is to no key.
fn command<'a>(
    verb: Verb,
    opcode: u8,
    spelling: Spelling,
    extras: &[u8],
    key: &'a [u8],
    body: &'a [u8],
    size: usize,
) -> Parsed<'a> {
    let control = match verb {
        Verb::Quit => {
            return Parsed::Hangup {
                word: (opcode == opcode::QUIT).then_some(Word::Ok),
                spelling,
                size,
                asked: true,
            };
        }
        Verb::Noop => Err(Word::Noop),
        Verb::Version => Ok(Control::Version),
        Verb::Flush if extras.is_empty() => Ok(Control::FlushAll {
            delay: Exptime::NEVER,
        }),
        Verb::Flush => Ok(Control::FlushAll {
            delay: exptime(extras, 0),
        }),
        Verb::Stat => match control::stats(Tokens::of(key)) {
            Ok(Control::Stats {
                what: Stats::Conns | Stats::Cachedump { .. } | Stats::Extstore,
            })
            | Err(_) => Err(Word::NoSuchStats),
            stats => stats,
        },
        Verb::SaslList => Ok(Control::Sasl(Sasl::ListMechanisms)),
        Verb::ConfigGet => Ok(Control::Fleet(Fleet::Get { name: key })),
        Verb::ConfigDelete => Ok(Control::Fleet(Fleet::Delete { name: key })),
        Verb::ConfigSet => Ok(Control::Fleet(Fleet::Set {
            name: key,
            payload: &body[..size - HEADER_SIZE - extras.len() - key.len()],
        })),
        _ => {
            let data = &body[..size - HEADER_SIZE - key.len()];
            Ok(Control::Sasl(match opcode {
                opcode::SASL_AUTH => Sasl::Auth { mechanism: key, data },
                _ => Sasl::Step { mechanism: key, data },
            }))
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

/// Exptimes are unsigned here: 0xffffffff is the year 2106, not the past.
fn exptime(extras: &[u8], from: usize) -> Exptime {
    Exptime(u32_at(extras, from..from + 4).into())
}

/// Says `word` as a packet: success without a body, failure with the text of its status.
pub(super) fn say(out: &mut Vec<u8>, opcode: u8, opaque: u32, word: Word) {
    let status = word.status();
    if status != status::NO_ERROR || !is_quiet(opcode) {
        refuse(out, opcode, opaque, status);
    }
}

fn refuse(out: &mut Vec<u8>, opcode: u8, opaque: u32, status: u16) {
    let text = status_text(status);
    write_header(out, opcode, opaque, status, 0, 0, text.len(), 0);
    out.extend_from_slice(text);
}

/// A success of key and value.
pub(super) fn write_packet(out: &mut Vec<u8>, opcode: u8, opaque: u32, key: &[u8], value: &[u8]) {
    write_header(
        out,
        opcode,
        opaque,
        status::NO_ERROR,
        0,
        key.len(),
        value.len(),
        0,
    );
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

/// The published ring, as a value with flags.
pub(super) fn write_config(out: &mut Vec<u8>, opcode: u8, opaque: u32, name: &[u8], payload: &[u8]) {
    let key = if returns_key(opcode) { name } else { &[] };
    write_header(
        out,
        opcode,
        opaque,
        status::NO_ERROR,
        4,
        key.len(),
        payload.len(),
        0,
    );
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(key);
    out.extend_from_slice(payload);
}

#[expect(clippy::too_many_arguments, reason = "the header has these fields")]
fn write_header(
    out: &mut Vec<u8>,
    opcode: u8,
    opaque: u32,
    status: u16,
    extras_size: usize,
    key_size: usize,
    value_size: usize,
    cas: u64,
) {
    debug_assert!(key_size <= KEY_SIZE_MAX && extras_size <= 4);
    let mut header = [0; HEADER_SIZE];
    header[field::MAGIC] = MAGIC_REPLY;
    header[field::OPCODE] = opcode;
    header[field::KEY_SIZE].copy_from_slice(&(key_size as u16).to_be_bytes());
    header[field::EXTRAS_SIZE] = extras_size as u8;
    header[field::STATUS].copy_from_slice(&status.to_be_bytes());
    let body_size = extras_size + key_size + value_size;
    header[field::BODY_SIZE].copy_from_slice(&(body_size as u32).to_be_bytes());
    header[field::OPAQUE].copy_from_slice(&opaque.to_be_bytes());
    header[field::CAS].copy_from_slice(&cas.to_be_bytes());
    out.extend_from_slice(&header);
}

pub(super) fn write<'r>(
    out: &mut Vec<u8>,
    opcode: u8,
    opaque: u32,
    key: &[u8],
    reply: &Reply<'r>,
    apart_from: usize,
) -> Option<Tail<'r>> {
    let status = match reply {
        Reply::Hit(hit) => {
            let key = if returns_key(opcode) { key } else { &[] };
            let value_size = hit.value.size();
            let copy = value_size < apart_from;
            out.reserve(HEADER_SIZE + 4 + key.len() + if copy { value_size } else { 0 });
            write_header(
                out,
                opcode,
                opaque,
                status::NO_ERROR,
                4,
                key.len(),
                value_size,
                hit.cas,
            );
            out.extend_from_slice(&hit.flags.to_be_bytes());
            out.extend_from_slice(key);
            return put_value(out, hit, copy, b"");
        }
        Reply::Miss if is_quiet_read(opcode) => return None,
        Reply::Miss if returns_key(opcode) => {
            write_header(out, opcode, opaque, status::NOT_FOUND, 0, key.len(), 0, 0);
            out.extend_from_slice(key);
            return None;
        }
        Reply::Touched { flags, cas } => {
            write_header(out, opcode, opaque, status::NO_ERROR, 4, 0, 0, *cas);
            out.extend_from_slice(&flags.to_be_bytes());
            return None;
        }
        Reply::Stored { .. } | Reply::Deleted | Reply::Counted(_) if is_quiet(opcode) => return None,
        Reply::Stored { cas, .. } => {
            write_header(out, opcode, opaque, status::NO_ERROR, 0, 0, 0, *cas);
            return None;
        }
        Reply::Deleted => status::NO_ERROR,
        Reply::Counted(counted) => {
            write_header(out, opcode, opaque, status::NO_ERROR, 0, 0, 8, counted.cas);
            out.extend_from_slice(&counted.number.to_be_bytes());
            return None;
        }
        Reply::NotStored => match opcode {
            opcode::ADD | opcode::ADDQ => status::EXISTS,
            opcode::REPLACE | opcode::REPLACEQ => status::NOT_FOUND,
            _ => status::NOT_STORED,
        },
        Reply::Miss | Reply::NotFound => status::NOT_FOUND,
        Reply::Exists => status::EXISTS,
        Reply::NotNumeric => status::DELTA_BAD_VALUE,
        Reply::TooLarge => status::TOO_LARGE,
        Reply::NoMemory => status::OUT_OF_MEMORY,
    };
    refuse(out, opcode, opaque, status);
    None
}
