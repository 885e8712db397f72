//! One question and its answer in each of the three dialects, over any stream, one at a time or in batches.
//!
//! The answer means the same whatever the dialect, so that who asks need not know which it was. In meta and binary each
//! question carries a number, and the answer must bring it back.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;

use super::ledger::Key;

/// The longest line of an answer.
const LINE_SIZE_MAX: u64 = 8192;
/// The largest value that is believed.
const VALUE_SIZE_MAX: usize = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Classic,
    Meta,
    Binary,
}

impl Dialect {
    pub(super) const ALL: [Dialect; 3] = [Dialect::Classic, Dialect::Meta, Dialect::Binary];

    pub(super) fn name(self) -> &'static str {
        match self {
            Dialect::Classic => "classic",
            Dialect::Meta => "meta",
            Dialect::Binary => "binary",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    /// Only if the item is still this one.
    Cas(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    /// This key and others. They are answered together, misses by silence.
    GetMany(Vec<Key>),
    Store {
        mode: Mode,
        flags: u32,
        exptime: u32,
        value: Vec<u8>,
    },
    Delete,
    Touch(u32),
    GetTouch(u32),
    Incr(u64),
    Decr(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) key: Key,
    pub(super) op: Op,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) flags: u32,
    /// The cas unique.
    pub(super) cas: u64,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Item(Item),
    /// In the order in which the keys were asked for.
    Items(Vec<Option<Item>>),
    /// Stored, deleted, touched.
    Done,
    Number(u64),
    /// There was no such key.
    Missing,
    /// The key was there, or was not, and so nothing was stored.
    NotStored,
    /// The item is another than the one that the cas unique names.
    Changed,
    /// An error of the server's, in its words.
    Refused(String),
}

/// Any stream.
pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A conversation in one dialect.
pub(crate) struct Talk {
    dialect: Dialect,
    input: BufReader<Box<dyn Stream>>,
    output: Vec<u8>,
    /// Numbers of the questions written and of those answered.
    asked: u32,
    answered: u32,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// What is out of order in an answer.
fn garbled(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Talk {
    pub(crate) fn new(dialect: Dialect, stream: Box<dyn Stream>) -> Talk {
        Talk {
            dialect,
            input: BufReader::with_capacity(16 * 1024, stream),
            output: Vec::new(),
            asked: 0,
            answered: 0,
            sent: 0,
            received: 0,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Appends a question to what will be sent.
    pub(super) fn write(&mut self, ask: &Ask) {
        self.asked = self.asked.wrapping_add(1);
        let number = self.asked;
        match self.dialect {
            Dialect::Classic => write_classic(ask, &mut self.output),
            Dialect::Meta => write_meta(ask, number, &mut self.output),
            Dialect::Binary => write_binary(ask, number, &mut self.output),
        }
    }

    /// What has been written and not sent, for those who want to send it in their own way.
    pub(super) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    pub(super) fn send(&mut self) -> io::Result<()> {
        let stream = self.input.get_mut();
        stream.write_all(&self.output)?;
        stream.flush()?;
        self.sent += self.output.len() as u64;
        self.output.clear();
        Ok(())
    }

    /// Reads the answer to this question, which must be the next that has none.
    pub(super) fn read(&mut self, ask: &Ask) -> io::Result<Answer> {
        self.answered = self.answered.wrapping_add(1);
        match self.dialect {
            Dialect::Classic => self.read_classic(ask),
            Dialect::Meta => self.read_meta(ask),
            Dialect::Binary => self.read_binary(ask),
        }
    }

    /// Asks one question and reads its answer.
    pub(super) fn ask(&mut self, ask: &Ask) -> io::Result<Answer> {
        self.write(ask);
        self.send()?;
        self.read(ask)
    }

    /// Sends a line of the classic dialect and reads one line.
    pub(crate) fn command(&mut self, line: &str) -> io::Result<String> {
        self.say(line)?;
        self.line()
    }

    /// Sends a line of the classic dialect.
    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.send()
    }

    /// The next bytes, up to a line feed and with it; the lines of logs and lists end so.
    pub(super) fn until_line_feed(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let size = (&mut self.input).take(LINE_SIZE_MAX).read_until(b'\n', line)?;
        self.received += size as u64;
        if size == 0 {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.until_line_feed(&mut line)?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Err(garbled(format!("no line: {:?}", String::from_utf8_lossy(&line))));
        };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn bytes(&mut self, size: usize) -> io::Result<Vec<u8>> {
        if size > VALUE_SIZE_MAX {
            return Err(garbled(format!("a value of {size} bytes")));
        }
        let mut bytes = vec![0; size];
        self.input.read_exact(&mut bytes)?;
        self.received += size as u64;
        Ok(bytes)
    }

    /// A value and the line end behind it.
    fn value(&mut self, size: &str) -> io::Result<Vec<u8>> {
        let size: usize = size
            .parse()
            .map_err(|_| garbled(format!("a value of {size:?} bytes")))?;
        let mut value = self.bytes(size + 2)?;
        if !value.ends_with(b"\r\n") {
            return Err(garbled("a value that does not end where it should"));
        }
        value.truncate(size);
        Ok(value)
    }

    fn read_classic(&mut self, ask: &Ask) -> io::Result<Answer> {
        let keys: Vec<Key> = match &ask.op {
            Op::Get | Op::GetTouch(_) => vec![ask.key],
            Op::GetMany(others) => [ask.key].iter().chain(others).copied().collect(),
            _ => {
                let line = self.line()?;
                return Ok(match &*line {
                    "STORED" | "DELETED" | "TOUCHED" => Answer::Done,
                    "NOT_STORED" => Answer::NotStored,
                    "NOT_FOUND" => Answer::Missing,
                    "EXISTS" => Answer::Changed,
                    _ => match line.parse() {
                        Ok(number) => Answer::Number(number),
                        Err(_) => return refusal(line),
                    },
                });
            }
        };
        let mut found: Vec<Option<Item>> = vec![None; keys.len()];
        let mut next = 0;
        loop {
            let line = self.line()?;
            let Some(rest) = line.strip_prefix("VALUE ") else {
                if line != "END" {
                    return refusal(line);
                }
                break;
            };
            let words: Vec<&str> = rest.split(' ').collect();
            let &[name, flags, size, cas] = &words[..] else {
                return Err(garbled(line));
            };
            let place = keys[next..].iter().position(|key| key.name() == name);
            let Some(place) = place else {
                return Err(garbled(format!(
                    "a key that was not asked for, or not in this place: {line}"
                )));
            };
            next += place + 1;
            let value = self.value(size)?;
            let item = match (flags.parse(), cas.parse()) {
                (Ok(flags), Ok(cas)) => Item { flags, cas, value },
                _ => return Err(garbled(line)),
            };
            found[next - 1] = Some(item);
        }
        Ok(match &ask.op {
            Op::GetMany(_) => Answer::Items(found),
            _ => found.pop().flatten().map_or(Answer::Missing, Answer::Item),
        })
    }

    fn read_meta(&mut self, ask: &Ask) -> io::Result<Answer> {
        let Op::GetMany(others) = &ask.op else {
            let number = self.answered;
            let (answer, _, told) = self.read_meta_one()?;
            if told != Some(number) && !matches!(answer, Answer::Refused(_)) {
                // A miss of mg carries nothing.
                let is_silent = answer == Answer::Missing && told.is_none();
                if !is_silent {
                    return Err(garbled(format!(
                        "the answer {told:?} to question {number}: {answer:?}"
                    )));
                }
            }
            return Ok(answer);
        };
        let mut items = Vec::new();
        let mut keys = [ask.key].into_iter().chain(others.iter().copied());
        loop {
            let (answer, name, _) = self.read_meta_one()?;
            match (answer, name) {
                (Answer::Item(item), Some(name)) => {
                    loop {
                        let Some(key) = keys.next() else {
                            return Err(garbled(format!(
                                "a key that was not asked for, or not in this place: {name}"
                            )));
                        };
                        if key.name() == name {
                            break;
                        }
                        items.push(None);
                    }
                    items.push(Some(item));
                }
                // The mn behind the gets.
                (Answer::Done, None) => break,
                (Answer::Refused(words), _) => return Ok(Answer::Refused(words)),
                (other, _) => return Err(garbled(format!("{other:?} to a quiet get"))),
            }
        }
        items.resize(others.len() + 1, None);
        Ok(Answer::Items(items))
    }

    /// One answer of meta, the key it names and the number it brings back.
    fn read_meta_one(&mut self) -> io::Result<(Answer, Option<String>, Option<u32>)> {
        let line = self.line()?;
        if is_refusal(&line) {
            return Ok((Answer::Refused(line), None, None));
        }
        let mut words = line.split(' ');
        let code = words.next().unwrap_or_default();
        let size = if code == "VA" { words.next() } else { None };
        let (mut item, mut name, mut number, mut is_number) = (
            Item {
                flags: 0,
                cas: 0,
                value: Vec::new(),
            },
            None,
            None,
            true,
        );
        for word in words {
            let Some((flag, token)) = word.split_at_checked(1) else {
                return Err(garbled(format!("an empty flag: {line:?}")));
            };
            let wrong = |_| garbled(line.clone());
            match flag {
                "f" => (item.flags, is_number) = (token.parse().map_err(wrong)?, false),
                "c" => item.cas = token.parse().map_err(wrong)?,
                "k" => name = Some(token.to_string()),
                "O" => number = Some(token.parse().map_err(wrong)?),
                // The item is stale, or somebody is to make it anew; nobody here makes it so.
                _ => return Err(garbled(format!("a flag that was not asked for: {line:?}"))),
            }
        }
        let answer = match (code, size) {
            ("VA", Some(size)) => {
                item.value = self.value(size)?;
                let text = String::from_utf8_lossy(&item.value);
                match text.parse() {
                    Ok(number) if is_number => Answer::Number(number),
                    _ => Answer::Item(item),
                }
            }
            ("HD" | "MN", None) => Answer::Done,
            ("EN" | "NF", None) => Answer::Missing,
            ("NS", None) => Answer::NotStored,
            ("EX", None) => Answer::Changed,
            _ => return Err(garbled(format!("no answer to what was asked: {line:?}"))),
        };
        Ok((answer, name, number))
    }

    fn read_binary(&mut self, ask: &Ask) -> io::Result<Answer> {
        let number = self.answered;
        let Op::GetMany(others) = &ask.op else {
            let reply = self.packet()?;
            if reply.opaque != number {
                return Err(garbled(format!(
                    "the answer {} to question {number}",
                    reply.opaque
                )));
            }
            return Ok(match (reply.status, &ask.op) {
                (0, Op::Get | Op::GetTouch(_)) => Answer::Item(reply.item()?),
                (0, Op::Incr(_) | Op::Decr(_)) => {
                    let digits = reply
                        .body
                        .as_slice()
                        .try_into()
                        .map_err(|_| garbled("a number of other than 8 bytes"))?;
                    Answer::Number(u64::from_be_bytes(digits))
                }
                // Touch answers with the item's flags, as memcached does.
                (0, _) => Answer::Done,
                (
                    1,
                    Op::Store {
                        mode: Mode::Replace, ..
                    },
                ) => Answer::NotStored,
                (1, _) => Answer::Missing,
                (2, Op::Store { mode: Mode::Add, .. }) | (5, _) => Answer::NotStored,
                (2, _) => Answer::Changed,
                (status, _) => Answer::Refused(format!(
                    "status {status}: {}",
                    String::from_utf8_lossy(&reply.body)
                )),
            });
        };
        let keys: Vec<Key> = [ask.key].iter().chain(others).copied().collect();
        let mut items = vec![None; keys.len()];
        let mut next = 0;
        loop {
            let reply = self.packet()?;
            if reply.opaque != number {
                return Err(garbled(format!(
                    "the answer {} to question {number}",
                    reply.opaque
                )));
            }
            if reply.opcode == opcode::NOOP {
                return Ok(Answer::Items(items));
            }
            let name = reply.key()?;
            let Some(place) = keys[next..].iter().position(|key| key.name() == name) else {
                return Err(garbled(format!(
                    "a key that was not asked for, or not in this place: {name}"
                )));
            };
            next += place + 1;
            items[next - 1] = Some(reply.item()?);
        }
    }

    fn packet(&mut self) -> io::Result<Packet> {
        let header = self.bytes(24)?;
        let number = |field: Range<usize>| {
            header[field]
                .iter()
                .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        if header[0] != 0x81 {
            return Err(garbled(format!("no binary reply: {header:?}")));
        }
        let body = self.bytes(number(field::BODY_SIZE) as usize)?;
        Ok(Packet {
            opcode: header[1],
            status: number(field::STATUS) as u16,
            key_size: number(field::KEY_SIZE) as usize,
            extras_size: number(field::EXTRAS_SIZE) as usize,
            opaque: number(field::OPAQUE) as u32,
            cas: number(field::CAS),
            body,
        })
    }
}

/// An error of the server's, or no answer at all.
fn refusal(line: String) -> io::Result<Answer> {
    match is_refusal(&line) {
        true => Ok(Answer::Refused(line)),
        false => Err(garbled(format!("no answer to what was asked: {line:?}"))),
    }
}

fn is_refusal(line: &str) -> bool {
    line == "ERROR" || line.starts_with("SERVER_ERROR") || line.starts_with("CLIENT_ERROR")
}

fn word(text: &str, output: &mut Vec<u8>) {
    output.extend_from_slice(text.as_bytes());
}

/// `set <key> <flags> <exptime> <bytes> [<cas unique>]`, and its relatives.
fn write_classic(ask: &Ask, output: &mut Vec<u8>) {
    let command = |name: &str, output: &mut Vec<u8>| {
        word(name, output);
        ask.key.write(output);
    };
    match &ask.op {
        Op::Get => command("gets ", output),
        Op::GetMany(others) => {
            command("gets ", output);
            for key in others {
                output.push(b' ');
                key.write(output);
            }
        }
        Op::GetTouch(exptime) => command(&format!("gats {exptime} "), output),
        Op::Delete => command("delete ", output),
        Op::Touch(exptime) => {
            command("touch ", output);
            word(&format!(" {exptime}"), output);
        }
        Op::Incr(delta) => {
            command("incr ", output);
            word(&format!(" {delta}"), output);
        }
        Op::Decr(delta) => {
            command("decr ", output);
            word(&format!(" {delta}"), output);
        }
        Op::Store {
            mode,
            flags,
            exptime,
            value,
        } => {
            let (name, cas) = match mode {
                Mode::Set => ("set ", String::new()),
                Mode::Add => ("add ", String::new()),
                Mode::Replace => ("replace ", String::new()),
                Mode::Append => ("append ", String::new()),
                Mode::Prepend => ("prepend ", String::new()),
                Mode::Cas(cas) => ("cas ", format!(" {cas}")),
            };
            command(name, output);
            word(&format!(" {flags} {exptime} {}{cas}\r\n", value.len()), output);
            output.extend_from_slice(value);
        }
    }
    output.extend_from_slice(b"\r\n");
}

/// `ms <key> <bytes> T<exptime> F<flags> M<mode> C<cas> O<number>`, and its relatives.
fn write_meta(ask: &Ask, number: u32, output: &mut Vec<u8>) {
    let command = |name: &str, key: Key, flags: &str, output: &mut Vec<u8>| {
        word(name, output);
        key.write(output);
        word(flags, output);
    };
    let key = ask.key;
    match &ask.op {
        Op::Get => command("mg ", key, &format!(" v f c O{number}"), output),
        Op::GetMany(others) => {
            for key in [key].iter().chain(others) {
                command("mg ", *key, " v f c k q\r\n", output);
            }
            word("mn", output);
        }
        Op::GetTouch(exptime) => command("mg ", key, &format!(" T{exptime} v f c O{number}"), output),
        Op::Touch(exptime) => command("mg ", key, &format!(" T{exptime} O{number}"), output),
        Op::Delete => command("md ", key, &format!(" O{number}"), output),
        Op::Incr(delta) => command("ma ", key, &format!(" D{delta} v O{number}"), output),
        Op::Decr(delta) => command("ma ", key, &format!(" MD D{delta} v O{number}"), output),
        Op::Store {
            mode,
            flags,
            exptime,
            value,
        } => {
            let mode = match mode {
                Mode::Set => String::new(),
                Mode::Add => " ME".into(),
                Mode::Replace => " MR".into(),
                Mode::Append => " MA".into(),
                Mode::Prepend => " MP".into(),
                Mode::Cas(cas) => format!(" C{cas}"),
            };
            let size = value.len();
            command(
                "ms ",
                key,
                &format!(" {size} T{exptime} F{flags}{mode} O{number}\r\n"),
                output,
            );
            output.extend_from_slice(value);
        }
    }
    output.extend_from_slice(b"\r\n");
}

mod opcode {
    pub(super) const GET: u8 = 0x00;
    pub(super) const SET: u8 = 0x01;
    pub(super) const ADD: u8 = 0x02;
    pub(super) const REPLACE: u8 = 0x03;
    pub(super) const DELETE: u8 = 0x04;
    pub(super) const INCREMENT: u8 = 0x05;
    pub(super) const DECREMENT: u8 = 0x06;
    pub(super) const NOOP: u8 = 0x0a;
    pub(super) const GET_KEY_QUIET: u8 = 0x0d;
    pub(super) const APPEND: u8 = 0x0e;
    pub(super) const PREPEND: u8 = 0x0f;
    pub(super) const TOUCH: u8 = 0x1c;
    pub(super) const GET_AND_TOUCH: u8 = 0x1d;
}

/// Of the header; a request has no status.
mod field {
    use std::ops::Range;
    pub(super) const KEY_SIZE: Range<usize> = 2..4;
    pub(super) const EXTRAS_SIZE: Range<usize> = 4..5;
    pub(super) const STATUS: Range<usize> = 6..8;
    pub(super) const BODY_SIZE: Range<usize> = 8..12;
    pub(super) const OPAQUE: Range<usize> = 12..16;
    pub(super) const CAS: Range<usize> = 16..24;
}

/// A binary reply.
struct Packet {
    opcode: u8,
    status: u16,
    key_size: usize,
    extras_size: usize,
    opaque: u32,
    cas: u64,
    body: Vec<u8>,
}

impl Packet {
    fn key(&self) -> io::Result<String> {
        let key = self.body.get(self.extras_size..self.extras_size + self.key_size);
        key.map(|key| String::from_utf8_lossy(key).into_owned())
            .ok_or_else(|| garbled("a key beyond the body"))
    }

    fn item(&self) -> io::Result<Item> {
        let flags = self
            .body
            .get(..4)
            .filter(|_| self.extras_size == 4 && self.status == 0);
        let value = self.body.get(self.extras_size + self.key_size..);
        let (Some(flags), Some(value)) = (flags, value) else {
            return Err(garbled(format!(
                "status {}, extras of {} bytes",
                self.status, self.extras_size
            )));
        };
        Ok(Item {
            flags: flags.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)),
            cas: self.cas,
            value: value.to_vec(),
        })
    }
}

fn write_binary(ask: &Ask, number: u32, output: &mut Vec<u8>) {
    let mut packet = |opcode: u8, key: Option<Key>, extras: &[u8], cas: u64, value: &[u8]| {
        let start = output.len();
        output.extend_from_slice(&[0; 24]);
        output.extend_from_slice(extras);
        let before = output.len();
        if let Some(key) = key {
            key.write(output);
        }
        let key_size = (output.len() - before) as u16;
        output.extend_from_slice(value);
        let body_size = (output.len() - start - 24) as u32;
        let header = &mut output[start..start + 24];
        (header[0], header[1]) = (0x80, opcode);
        header[field::KEY_SIZE].copy_from_slice(&key_size.to_be_bytes());
        header[field::EXTRAS_SIZE][0] = extras.len() as u8;
        header[field::BODY_SIZE].copy_from_slice(&body_size.to_be_bytes());
        header[field::OPAQUE].copy_from_slice(&number.to_be_bytes());
        header[field::CAS].copy_from_slice(&cas.to_be_bytes());
    };
    let key = Some(ask.key);
    match &ask.op {
        Op::Get => packet(opcode::GET, key, &[], 0, &[]),
        Op::GetMany(others) => {
            for key in [ask.key].iter().chain(others) {
                packet(opcode::GET_KEY_QUIET, Some(*key), &[], 0, &[]);
            }
            packet(opcode::NOOP, None, &[], 0, &[]);
        }
        Op::GetTouch(exptime) => packet(opcode::GET_AND_TOUCH, key, &exptime.to_be_bytes(), 0, &[]),
        Op::Touch(exptime) => packet(opcode::TOUCH, key, &exptime.to_be_bytes(), 0, &[]),
        Op::Delete => packet(opcode::DELETE, key, &[], 0, &[]),
        Op::Incr(delta) | Op::Decr(delta) => {
            let mut extras = [0; 20];
            extras[..8].copy_from_slice(&delta.to_be_bytes());
            // A counter that is not there stays so.
            extras[16..].copy_from_slice(&[0xff; 4]);
            let opcode = if matches!(ask.op, Op::Incr(_)) {
                opcode::INCREMENT
            } else {
                opcode::DECREMENT
            };
            packet(opcode, key, &extras, 0, &[]);
        }
        Op::Store {
            mode,
            flags,
            exptime,
            value,
        } => {
            let mut extras = [0; 8];
            extras[..4].copy_from_slice(&flags.to_be_bytes());
            extras[4..].copy_from_slice(&exptime.to_be_bytes());
            match mode {
                Mode::Set => packet(opcode::SET, key, &extras, 0, value),
                Mode::Add => packet(opcode::ADD, key, &extras, 0, value),
                Mode::Replace => packet(opcode::REPLACE, key, &extras, 0, value),
                Mode::Cas(cas) => packet(opcode::SET, key, &extras, *cas, value),
                Mode::Append => packet(opcode::APPEND, key, &[], 0, value),
                Mode::Prepend => packet(opcode::PREPEND, key, &[], 0, value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::ledger::Kind;
    use super::*;

    fn key(index: u64) -> Key {
        Key {
            kind: Kind::Value,
            index,
        }
    }

    /// A stream that says these bytes and swallows what it is told.
    struct Script(Cursor<Vec<u8>>);

    impl Read for Script {
        fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
            self.0.read(room)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ask(dialect: Dialect, op: Op, reply: &[u8]) -> io::Result<Answer> {
        let mut talk = Talk::new(dialect, Box::new(Script(Cursor::new(reply.to_vec()))));
        talk.ask(&Ask { key: key(1), op })
    }

    fn item(flags: u32, cas: u64, value: &str) -> Item {
        Item {
            flags,
            cas,
            value: value.as_bytes().to_vec(),
        }
    }

    fn packet(opcode: u8, status: u16, key: &str, extras: &[u8], value: &[u8], opaque: u32) -> Vec<u8> {
        let size = (extras.len() + key.len() + value.len()) as u32;
        let mut bytes = vec![0x81, opcode, 0, key.len() as u8, extras.len() as u8, 0];
        bytes.extend_from_slice(&status.to_be_bytes());
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&opaque.to_be_bytes());
        bytes.extend_from_slice(&9u64.to_be_bytes());
        bytes.extend_from_slice(extras);
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn an_item_is_the_same_in_every_dialect() {
        let name = key(1).name();
        let replies = [
            (
                Dialect::Classic,
                format!("VALUE {name} 7 3 9\r\nabc\r\nEND\r\n").into_bytes(),
            ),
            (Dialect::Meta, b"VA 3 f7 c9 O1\r\nabc\r\n".to_vec()),
            (Dialect::Binary, packet(0, 0, "", &[0, 0, 0, 7], b"abc", 1)),
        ];
        for (dialect, reply) in replies {
            let answer = ask(dialect, Op::Get, &reply).expect("an answer");
            assert_eq!(answer, Answer::Item(item(7, 9, "abc")), "{dialect:?}");
        }
    }

    #[test]
    fn of_many_the_missing_are_left_out() {
        let (first, third) = (key(1).name(), key(3).name());
        let op = || Op::GetMany(vec![key(2), key(3), key(4)]);
        let mut packets = packet(0x0d, 0, &first, &[0; 4], b"a", 1);
        packets.extend(packet(0x0d, 0, &third, &[0; 4], b"c", 1));
        packets.extend(packet(0x0a, 0, "", &[], b"", 1));
        let classic = format!("VALUE {first} 0 1 9\r\na\r\nVALUE {third} 0 1 9\r\nc\r\nEND\r\n");
        let meta = format!("VA 1 f0 c9 k{first}\r\na\r\nVA 1 f0 c9 k{third}\r\nc\r\nMN\r\n");
        let want = Answer::Items(vec![Some(item(0, 9, "a")), None, Some(item(0, 9, "c")), None]);
        for (dialect, reply) in [
            (Dialect::Classic, classic.into_bytes()),
            (Dialect::Meta, meta.into_bytes()),
            (Dialect::Binary, packets),
        ] {
            assert_eq!(
                ask(dialect, op(), &reply).expect("an answer"),
                want,
                "{dialect:?}"
            );
        }
        // Out of order is garbled.
        let wrong = format!("VALUE {third} 0 1 9\r\nc\r\nVALUE {first} 0 1 9\r\na\r\nEND\r\n");
        assert!(ask(Dialect::Classic, op(), wrong.as_bytes()).is_err());
    }

    #[test]
    fn an_answer_to_another_question_is_garbled() {
        assert!(ask(Dialect::Meta, Op::Delete, b"HD O2\r\n").is_err());
        assert!(ask(Dialect::Binary, Op::Delete, &packet(4, 0, "", &[], b"", 2)).is_err());
        assert!(ask(Dialect::Classic, Op::Delete, b"WHAT\r\n").is_err());
    }

    #[test]
    fn numbers_misses_and_refusals() {
        let number = |dialect, reply: &[u8]| ask(dialect, Op::Incr(1), reply).expect("an answer");
        assert_eq!(number(Dialect::Classic, b"42\r\n"), Answer::Number(42));
        assert_eq!(number(Dialect::Meta, b"VA 2 O1\r\n42\r\n"), Answer::Number(42));
        assert_eq!(
            number(Dialect::Binary, &packet(5, 0, "", &[], &42u64.to_be_bytes(), 1)),
            Answer::Number(42)
        );
        assert_eq!(number(Dialect::Classic, b"NOT_FOUND\r\n"), Answer::Missing);
        assert_eq!(number(Dialect::Meta, b"NF O1\r\n"), Answer::Missing);
        assert_eq!(
            number(Dialect::Binary, &packet(5, 1, "", &[], b"Not found", 1)),
            Answer::Missing
        );
        assert!(matches!(
            number(Dialect::Classic, b"SERVER_ERROR x\r\n"),
            Answer::Refused(_)
        ));
    }
}
