//! Replies to bytes. The value is copied once, into `out`, or left to the caller where it is large.

use super::spelling::Spelling;
use super::words::{Word, say};
use super::{Tail, binary, meta};
use crate::command::{Hit, Reply};

/// Writes the reply to `key`'s request in that request's spelling. A value of `apart_from` bytes or more is not
/// copied: what comes before it is written, and it is returned with what comes after it.
pub fn write<'r>(
    out: &mut Vec<u8>,
    spelling: Spelling,
    key: &[u8],
    text: &[u8],
    reply: &Reply<'r>,
    apart_from: usize,
) -> Option<Tail<'r>> {
    match spelling {
        Spelling::Classic { silent: true, .. } => None,
        Spelling::Classic {
            with_cas,
            last,
            counts,
            ..
        } => match reply {
            Reply::NoMemory if counts => {
                say(out, spelling, Word::NoMemoryCounting);
                None
            }
            _ => classic(out, with_cas, last, key, reply, apart_from),
        },
        Spelling::Meta { .. } => meta::write(out, spelling, key, text, reply, apart_from),
        Spelling::Binary { opcode, opaque } => binary::write(out, opcode, opaque, key, reply, apart_from),
    }
}

fn classic<'r>(
    out: &mut Vec<u8>,
    with_cas: bool,
    last: bool,
    key: &[u8],
    reply: &Reply<'r>,
    apart_from: usize,
) -> Option<Tail<'r>> {
    let line: &[u8] = match reply {
        Reply::Hit(hit) => return value(out, with_cas, last, key, hit, apart_from),
        Reply::Miss if last => b"END\r\n",
        Reply::Miss => b"",
        Reply::Touched { .. } => b"TOUCHED\r\n",
        Reply::Stored { .. } => b"STORED\r\n",
        Reply::NotStored => b"NOT_STORED\r\n",
        Reply::Exists => b"EXISTS\r\n",
        Reply::NotFound => b"NOT_FOUND\r\n",
        Reply::Deleted => b"DELETED\r\n",
        Reply::Counted(counted) => {
            out.extend_from_slice(itoa::Buffer::new().format(counted.number).as_bytes());
            b"\r\n"
        }
        Reply::NotNumeric => Word::NotNumeric.line().as_bytes(),
        Reply::TooLarge => Word::TooLarge.line().as_bytes(),
        Reply::NoMemory => Word::NoMemoryStoring.line().as_bytes(),
    };
    out.extend_from_slice(line);
    None
}

/// `VALUE <key> <flags> <bytes> [<cas unique>]\r\n<value>\r\n`, and the END behind the last of a line
fn value<'r>(
    out: &mut Vec<u8>,
    with_cas: bool,
    last: bool,
    key: &[u8],
    hit: &Hit<'r>,
    apart_from: usize,
) -> Option<Tail<'r>> {
    const NUMBERS_SIZE_MAX: usize = "VALUE  4294967295 4294967295 18446744073709551615\r\n\r\nEND\r\n".len();
    let size = hit.value.size();
    let copied = if size < apart_from { size } else { 0 };
    out.reserve(NUMBERS_SIZE_MAX + key.len() + copied);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    number(out, b' ', hit.flags);
    number(out, b' ', size as u64);
    if with_cas {
        number(out, b' ', hit.cas);
    }
    out.extend_from_slice(b"\r\n");
    let end: &[u8] = if last { b"\r\nEND\r\n" } else { b"\r\n" };
    put_value(out, hit, copied == size, end)
}

/// The value and what ends it, or both as a tail.
pub(super) fn put_value<'r>(
    out: &mut Vec<u8>,
    hit: &Hit<'r>,
    copy: bool,
    end: &'static [u8],
) -> Option<Tail<'r>> {
    if !copy {
        return Some(Tail {
            value: hit.value,
            end,
        });
    }
    hit.value.put(out);
    out.extend_from_slice(end);
    None
}

/// A number behind one byte of lead.
pub(super) fn number(out: &mut Vec<u8>, lead: u8, number: impl itoa::Integer) {
    out.push(lead);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// `OK`, or the empty binary success.
pub fn write_ok(out: &mut Vec<u8>, spelling: Spelling) {
    say(out, spelling, Word::Ok);
}

/// The answer to `version`.
pub fn write_version(out: &mut Vec<u8>, spelling: Spelling, version: &str) {
    match spelling {
        Spelling::Binary { opcode, opaque } => {
            binary::write_packet(out, opcode, opaque, &[], version.as_bytes());
        }
        _ => {
            out.extend_from_slice(b"VERSION ");
            out.extend_from_slice(version.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// One statistic. A classic value must hold no space.
pub fn write_stat(out: &mut Vec<u8>, spelling: Spelling, name: &[u8], value: &[u8]) {
    match spelling {
        Spelling::Binary { opcode, opaque } => binary::write_packet(out, opcode, opaque, name, value),
        _ => {
            out.extend_from_slice(b"STAT ");
            out.extend_from_slice(name);
            out.push(b' ');
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// A text among the statistics which has lines of its own (`stats detail dump`): as it is, or as the value of `name`.
pub fn write_stat_text(out: &mut Vec<u8>, spelling: Spelling, name: &[u8], text: &[u8]) {
    match spelling {
        Spelling::Binary { opcode, opaque } => binary::write_packet(out, opcode, opaque, name, text),
        _ => out.extend_from_slice(text),
    }
}

/// What follows the last statistic.
pub fn write_stats_end(out: &mut Vec<u8>, spelling: Spelling) {
    match spelling {
        Spelling::Binary { opcode, opaque } => binary::write_packet(out, opcode, opaque, &[], &[]),
        _ => say(out, spelling, Word::End),
    }
}

/// The answer to `stats reset`.
pub fn write_reset(out: &mut Vec<u8>, spelling: Spelling) {
    say(out, spelling, Word::Reset);
}

/// What SASL answers where it succeeds: the mechanisms, or that the client is who it says.
pub fn write_sasl(out: &mut Vec<u8>, spelling: Spelling, body: &str) {
    if let Spelling::Binary { opcode, opaque } = spelling {
        binary::write_packet(out, opcode, opaque, &[], body.as_bytes());
    }
}
