//! Random streams of binary packets: every opcode, the edges of every field, and every way to get a header wrong.

use std::io::{self, BufRead, Read};

use super::stream::{Generator, Part, Step};
use super::talk::Uniques;
use crate::classic::pattern;

const HEADER_SIZE: usize = 24;
const NOOP: u8 = 0x0a;
/// The opaque of the packet behind a piece. No step has it.
const FENCE: u32 = 0xfeed_beef;

const GETS: [u8; 4] = [0x00, 0x09, 0x0c, 0x0d];
const GATS: [u8; 5] = [0x1d, 0x1e, 0x23, 0x24, 0x1c];
const STORES: [u8; 8] = [0x01, 0x11, 0x01, 0x11, 0x02, 0x12, 0x03, 0x13];
const EXTENSIONS: [u8; 4] = [0x0e, 0x19, 0x0f, 0x1a];
const DELETES: [u8; 2] = [0x04, 0x14];
const INCREMENTS: [u8; 2] = [0x05, 0x15];
const DECREMENTS: [u8; 2] = [0x06, 0x16];
const UNKNOWN: [u8; 12] = [
    0x1b, 0x1f, 0x25, 0x2f, 0x30, 0x31, 0x3c, 0x3d, 0x40, 0x45, 0x80, 0xff,
];
/// 0xffffffff is a date, far off.
const EXPTIMES: [u32; 10] = [
    0,
    0,
    0,
    0,
    1000,
    2_592_000,
    2_000_000_000,
    2_592_001,
    0x7fff_ffff,
    0xffff_ffff,
];
const FLAGS: [u32; 5] = [0, 0, 1, 0xdead_beef, u32::MAX];
/// Sums stay below 2^63: above it 1.6.18 looks for a minus sign.
const DELTAS: [u64; 5] = [0, 1, 9, 10, 1 << 32];
const DELTAS_DOWN: [u64; 5] = [1, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX];
const INITIALS: [u64; 5] = [0, 5, 99, 10_000_000_000, 1 << 62];

/// A packet that is to be sent.
#[derive(Clone, Debug, Default)]
struct Packet<'a> {
    opcode: u8,
    key: &'a [u8],
    extras: &'a [u8],
    value: &'a [u8],
    opaque: u32,
    /// What the header says of its sizes, where that is not what follows it.
    key_size: Option<u16>,
    extras_size: Option<u8>,
    body_size: Option<u32>,
}

impl Packet<'_> {
    fn head(&self) -> Vec<u8> {
        let body = self.key.len() + self.extras.len() + self.value.len();
        let key_size = self.key_size.unwrap_or(self.key.len() as u16);
        let mut head = vec![0x80, self.opcode];
        head.extend_from_slice(&key_size.to_be_bytes());
        head.push(self.extras_size.unwrap_or(self.extras.len() as u8));
        head.extend_from_slice(&[0; 3]);
        head.extend_from_slice(&self.body_size.unwrap_or(body as u32).to_be_bytes());
        head.extend_from_slice(&self.opaque.to_be_bytes());
        head
    }

    fn body(&self) -> Vec<u8> {
        [self.extras, self.key, self.value].concat()
    }

    /// All of it, with this cas unique.
    fn bytes(&self, cas: u64) -> Vec<u8> {
        [&self.head()[..], &cas.to_be_bytes(), &self.body()].concat()
    }
}

/// The packet whose answer ends a piece.
pub(super) fn fence() -> Vec<u8> {
    let packet = Packet {
        opcode: NOOP,
        opaque: FENCE,
        ..Packet::default()
    };
    packet.bytes(0)
}

pub(super) fn is_fence(reply: &[u8]) -> bool {
    let opaque = format!(" opaque={FENCE:08x} ");
    reply
        .windows(opaque.len())
        .any(|window| window == opaque.as_bytes())
}

/// The next packet as a line of text; 0 at the end.
pub(super) fn read(
    input: &mut impl BufRead,
    uniques: &mut Uniques,
    reply: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut header = Vec::new();
    input.by_ref().take(HEADER_SIZE as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(0);
    }
    if header.len() < HEADER_SIZE || header[0] != 0x81 {
        reply.extend_from_slice(format!("(no packet: {})", header.escape_ascii()).as_bytes());
        return Ok(header.len());
    }
    let number = |from: usize, size: usize| {
        header[from..from + size]
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    };
    let (opcode, key_size, extras_size) = (header[1], number(2, 2) as usize, usize::from(header[4]));
    let body_size = number(8, 4);
    let mut body = Vec::new();
    input.by_ref().take(body_size).read_to_end(&mut body)?;
    let unique = number(16, 8);
    let key_end = (extras_size + key_size).min(body.len());
    let key = &body[extras_size.min(key_end)..key_end];
    if !key.is_empty() {
        uniques.saw(key, unique);
    }
    // Version numbers are their own.
    let (size, body_shown) = match opcode {
        0x0b if number(6, 2) == 0 => ("any".to_owned(), "VERSION".to_owned()),
        _ => (body_size.to_string(), body.escape_ascii().to_string()),
    };
    let line = format!(
        "op={opcode:02x} key={key_size} extras={extras_size} raw={} status={:04x} size={size} opaque={:08x} cas={} {body_shown}\r\n",
        header[5],
        number(6, 2),
        number(12, 4),
        uniques.ordinal(unique),
    );
    reply.extend_from_slice(line.as_bytes());
    Ok(HEADER_SIZE + body.len())
}

impl Generator {
    /// A stream of about `commands` packets, from a flush to the last look at every key.
    pub(super) fn binary_stream(&mut self, commands: usize) -> Vec<Step> {
        let flush = Packet {
            opcode: 0x08,
            ..Packet::default()
        };
        let flush = Step::alone(flush.bytes(0));
        let mut steps = self.stream_of(commands, flush, Generator::binary_steps);
        for key in self.keys.clone() {
            steps.push(self.packet(0x0c, &key, b"", b"", 0));
        }
        if self.random.one_in(2) {
            steps.push(self.binary_farewell());
        }
        steps
    }

    fn binary_steps(&mut self) -> Vec<Step> {
        let step = match self.random.below(100) {
            0..=24 => self.binary_store(),
            25..=44 => self.binary_read(),
            45..=52 => self.binary_extend(),
            53..=64 => self.binary_count(),
            65..=76 => return self.binary_compare(),
            77..=82 => self.binary_delete(),
            83..=88 => self.binary_server_word(),
            89..=91 => self.binary_too_large(),
            92..=97 => self.binary_unknown(),
            _ => self.binary_quirk(),
        };
        vec![step]
    }

    fn packet(&mut self, opcode: u8, key: &[u8], extras: &[u8], value: &[u8], cas: u64) -> Step {
        let opaque = self.random.next() as u32 >> 1;
        let packet = Packet {
            opcode,
            key,
            extras,
            value,
            opaque,
            ..Packet::default()
        };
        Step::new(packet.bytes(cas))
    }

    /// A cas unique that no item has, now and then.
    fn foreign_cas(&mut self) -> u64 {
        if self.random.one_in(20) { u64::MAX } else { 0 }
    }

    fn store_extras(&mut self) -> Vec<u8> {
        let (flags, exptime) = (*self.random.pick(&FLAGS), *self.random.pick(&EXPTIMES));
        [flags.to_be_bytes(), exptime.to_be_bytes()].concat()
    }

    fn binary_store(&mut self) -> Step {
        let (opcode, key) = (*self.random.pick(&STORES), self.key());
        let (value, extras) = (self.value_for(&key), self.store_extras());
        let cas = self.foreign_cas();
        self.packet(opcode, &key, &extras, &value, cas)
    }

    fn binary_extend(&mut self) -> Step {
        let (opcode, key) = (*self.random.pick(&EXTENSIONS), self.key());
        let (value, cas) = (self.value_for(&key), self.foreign_cas());
        self.packet(opcode, &key, b"", &value, cas)
    }

    fn binary_read(&mut self) -> Step {
        let key = self.key();
        self.read.insert(key.clone());
        let cas = self.foreign_cas();
        if self.random.one_in(3) {
            let opcode = *self.random.pick(&GATS);
            let exptime = self.random.pick(&EXPTIMES).to_be_bytes();
            return self.packet(opcode, &key, &exptime, b"", cas);
        }
        let opcode = *self.random.pick(&GETS);
        self.packet(opcode, &key, b"", b"", cas)
    }

    fn binary_delete(&mut self) -> Step {
        let (opcode, key) = (*self.random.pick(&DELETES), self.key());
        let cas = self.foreign_cas();
        self.packet(opcode, &key, b"", b"", cas)
    }

    fn count_extras(&mut self, down: bool) -> Vec<u8> {
        let delta = *self.random.pick(if down { &DELTAS_DOWN } else { &DELTAS });
        let (initial, exptime) = (*self.random.pick(&INITIALS), *self.random.pick(&EXPTIMES));
        [
            &delta.to_be_bytes()[..],
            &initial.to_be_bytes(),
            &exptime.to_be_bytes(),
        ]
        .concat()
    }

    fn binary_count(&mut self) -> Step {
        let key = self.counted_key();
        let down = self.random.one_in(2);
        let opcode = *self.random.pick(if down { &DECREMENTS } else { &INCREMENTS });
        let extras = self.count_extras(down);
        let cas = self.foreign_cas();
        Step {
            after_answers: self.read.contains(&key),
            ..self.packet(opcode, &key, &extras, b"", cas)
        }
    }

    /// A look at a key, and something with the cas unique that was seen, or with the one before.
    fn binary_compare(&mut self) -> Vec<Step> {
        let key = self.counted_key();
        let look = self.packet(0x0c, &key, b"", b"", 0);
        self.read.insert(key.clone());
        let (value, newest) = (self.value_for(&key), !self.random.one_in(4));
        let store = self.store_extras();
        let (opcode, extras, value) = match self.random.below(8) {
            0..=3 => (*self.random.pick(&STORES), store, value),
            4 => (*self.random.pick(&EXTENSIONS), Vec::new(), value),
            5 => (*self.random.pick(&DELETES), Vec::new(), Vec::new()),
            6 => (
                *self.random.pick(&INCREMENTS),
                self.count_extras(false),
                Vec::new(),
            ),
            _ => (
                *self.random.pick(&DECREMENTS),
                self.count_extras(true),
                Vec::new(),
            ),
        };
        let packet = Packet {
            opcode,
            key: &key,
            extras: &extras,
            value: &value,
            opaque: 7,
            ..Packet::default()
        };
        let cas = Part::Cas {
            key: key.clone(),
            newest,
        };
        let parts = vec![Part::Bytes(packet.head()), cas, Part::Bytes(packet.body())];
        vec![
            look,
            Step {
                parts,
                after_answers: true,
                ..Step::new("")
            },
        ]
    }

    fn binary_server_word(&mut self) -> Step {
        let (opcode, key, extras) = *self.random.pick(&[
            (NOOP, &b""[..], &b""[..]),
            (0x0b, b"", b""),
            (0x08, b"", b""),
            (0x18, b"", b""),
            (0x08, b"", b"\0\0\0\0"),
            (0x18, b"", b"\0\0\0\0"),
            (0x10, b"reset", b""),
            (0x10, b"detail off", b""),
            (0x10, b"detail bogus", b""),
            (0x10, b"bogus", b""),
            (0x20, b"", b""),
            (0x21, b"PLAIN", b""),
            (0x22, b"PLAIN", b""),
        ]);
        let value: &[u8] = if matches!(opcode, 0x21 | 0x22) {
            b"\0a\0b"
        } else {
            b""
        };
        self.packet(opcode, key, extras, value, 0)
    }

    fn binary_too_large(&mut self) -> Step {
        let value = pattern(1024 * 1024 + 1024 + self.random.below(5000), 1);
        let key = self.key();
        if self.random.one_in(3) {
            let opcode = *self.random.pick(&EXTENSIONS);
            return self.packet(opcode, &key, b"", &value, 0);
        }
        let (opcode, extras) = (*self.random.pick(&STORES), self.store_extras());
        self.packet(opcode, &key, &extras, &value, 0)
    }

    /// Opcodes that are none. A body that is all value is swallowed by both.
    fn binary_unknown(&mut self) -> Step {
        let opcode = *self.random.pick(&UNKNOWN);
        let size = if self.random.one_in(2) {
            0
        } else {
            self.random.below(9000)
        };
        let value = pattern(size, 2);
        self.packet(opcode, b"", b"", &value, 0)
    }

    /// Known differences, each with a row in the table.
    fn binary_quirk(&mut self) -> Step {
        let opcode = 0x40;
        // memcached drops the key twice, and with it the packet behind.
        let unknown = Packet {
            opcode,
            key: &[b'k'; HEADER_SIZE],
            opaque: 1,
            ..Packet::default()
        };
        let noop = Packet {
            opcode: NOOP,
            opaque: 2,
            ..Packet::default()
        };
        Step::quirk(
            [unknown.bytes(0), noop.bytes(0)].concat(),
            "unknown opcode with a key",
        )
    }

    /// What ends a connection. Nothing stands behind what a server hangs up on: unread input would take its reply along.
    fn binary_farewell(&mut self) -> Step {
        let key = self.key();
        let long = vec![b'l'; 251 + self.random.below(100)];
        let opcode = self.random.below(0x26) as u8;
        let packet = Packet {
            opcode,
            opaque: 3,
            ..Packet::default()
        };
        let some_known = [
            0x00, 0x01, 0x02, 0x04, 0x05, 0x09, 0x0e, 0x11, 0x14, 0x1c, 0x1d, 0x24,
        ];
        let known = *self.random.pick(&some_known);
        let bytes = match self.random.below(12) {
            0 => Packet {
                opcode: 0x07,
                ..packet
            }
            .bytes(0),
            1 => Packet {
                opcode: 0x17,
                ..packet
            }
            .bytes(0),
            2 => Packet {
                opcode: 0x07,
                value: b"x",
                ..packet
            }
            .bytes(0),
            3 => Packet {
                key: &key,
                body_size: Some(0),
                ..packet
            }
            .bytes(0),
            4 => Packet {
                key: &key,
                extras: b"1234",
                body_size: Some(key.len() as u32 + 3),
                ..packet
            }
            .bytes(0),
            5 => Packet { key: &long, ..packet }.bytes(0),
            // What 1.6.18 knows it swallows, unanswered, where it is a store or no opcode.
            6 => Packet {
                opcode: NOOP,
                body_size: Some((1 << 30) + 1),
                ..packet
            }
            .bytes(0),
            7 => Packet {
                opcode: NOOP,
                body_size: Some(u32::MAX),
                ..packet
            }
            .bytes(0),
            // Every opcode with extras that are not its own, or without its key.
            8 => Packet {
                opcode: known,
                key: &key,
                extras: b"123",
                ..packet
            }
            .bytes(0),
            9 => Packet {
                opcode: known,
                extras: &[0; 8],
                ..packet
            }
            .bytes(0),
            10 => {
                let whole = Packet {
                    opcode: 0x01,
                    key: &key,
                    extras: &[0; 8],
                    value: b"cut short",
                    ..packet
                };
                let bytes = whole.bytes(0);
                bytes[..self.random.below(bytes.len())].to_vec()
            }
            _ => {
                let mut bytes = Packet {
                    opcode: NOOP,
                    ..packet
                }
                .bytes(0);
                bytes[0] = *self.random.pick(&[0x81, b'g', 0]);
                bytes
            }
        };
        Step {
            last: true,
            after_answers: true,
            ..Step::alone(bytes)
        }
    }
}
