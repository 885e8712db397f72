//! The published ring on the wire: ElastiCache's `config` commands, as some ten clients send them.
//!
//! ```text
//! config get <name>                                     binary 0x60 to 0x63
//! config set <name> <flags> <bytes> [noreply], payload  binary 0x64, 0x65
//! config delete <name> [noreply]                        binary 0x66, 0x67
//! get AmazonElastiCache:cluster                         the older question
//! ```
//!
//! There is one name, `cluster`. What the payload says is not for this module to know, nor who may set it.

use super::classic::LINE_WAIT_MAX;
use super::control::Control;
use super::lex::{self, Tokens};
use super::number;
use super::spelling::Spelling;
use super::words::Word;
use super::{Parsed, State, binary};
use crate::command::Request;

/// The one configuration that there is.
pub const CLUSTER: &[u8] = b"cluster";

/// The key by which clients asked before there was `config get`.
pub const OLD_KEY: &[u8] = b"AmazonElastiCache:cluster";

/// Largest payload of `config set`, in bytes: it waits in the session's input until it is whole.
pub const PAYLOAD_SIZE_MAX: usize = 60 * 1024;

/// What is asked of the published ring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fleet<'a> {
    Get {
        name: &'a [u8],
    },
    /// The older question. Where no ring is published it is `request`, of the cache, like any other.
    OldGet {
        request: Request<'a>,
    },
    Set {
        name: &'a [u8],
        payload: &'a [u8],
    },
    Delete {
        name: &'a [u8],
    },
}

/// `config get <name>`, `config set <name> <flags> <bytes> [noreply]` or `config delete <name> [noreply]`
pub(super) fn parse<'a>(
    input: &'a [u8],
    line_size: usize,
    mut tokens: Tokens<'a>,
    state: &mut State,
) -> Parsed<'a> {
    let say = |word, spelling, size| Parsed::Say { word, spelling, size };
    let control = |fleet, spelling, size| Parsed::Control {
        control: Control::Fleet(fleet),
        spelling,
        size,
    };
    let spelling = Spelling::classic(lex::says_noreply(tokens.rest()));
    match (tokens.next(), tokens.next()) {
        (Some(b"get"), Some(name)) => control(Fleet::Get { name }, Spelling::CLASSIC, line_size),
        (Some(b"delete"), Some(name)) => control(Fleet::Delete { name }, spelling, line_size),
        (Some(b"set"), Some(name)) => {
            let flags = tokens.next().and_then(number::strict_u32);
            let payload_size = tokens.next().and_then(number::strict_u32);
            let (Some(_), Some(payload_size)) = (flags, payload_size) else {
                return say(Word::BadLine, Spelling::CLASSIC, line_size);
            };
            let payload_size = payload_size as usize;
            if payload_size > PAYLOAD_SIZE_MAX || line_size > LINE_WAIT_MAX {
                *state = State::Skip(payload_size as u64 + 2);
                return say(Word::TooLarge, spelling, line_size);
            }
            let size = line_size + payload_size + 2;
            match input.get(line_size..size) {
                None => Parsed::Partial,
                Some(block) if !block.ends_with(b"\r\n") => say(Word::BadDataChunk, spelling, size),
                Some(block) => {
                    let payload = &block[..payload_size];
                    control(Fleet::Set { name, payload }, spelling, size)
                }
            }
        }
        _ => say(Word::Error, Spelling::CLASSIC, line_size),
    }
}

/// Writes the ring as the answer to `config get`, in its spelling.
pub fn write_config(out: &mut Vec<u8>, spelling: Spelling, payload: &[u8]) {
    match spelling {
        Spelling::Binary { opcode, opaque } => binary::write_config(out, opcode, opaque, CLUSTER, payload),
        _ => {
            out.extend_from_slice(b"CONFIG cluster 0 ");
            out.extend_from_slice(itoa::Buffer::new().format(payload.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(payload);
            out.extend_from_slice(b"\r\nEND\r\n");
        }
    }
}

/// Says what is wrong with a payload. A binary client learns that it is wrong, and no more.
pub fn write_mistake(out: &mut Vec<u8>, spelling: Spelling, mistake: &str) {
    match spelling {
        Spelling::Classic { silent: true, .. } => {}
        Spelling::Binary { .. } => super::say(out, spelling, Word::InvalidArguments),
        _ => {
            out.extend_from_slice(b"CLIENT_ERROR ");
            out.extend_from_slice(mistake.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}
