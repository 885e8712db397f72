//! One connection without its socket: what has been asked, and the judgement of what is answered.
//!
//! Replies come in request order, hits of a multi-get in key order (unless a proxy is known to mix them). So each connection keeps a queue of requests and a
//! queue of their keys, and each `VALUE` line must name the next key, or one behind it (the ones between are misses; in any order nothing has missed before the END).
//! There are two ways through the same grammar: a whole `VALUE` block at the front of the bytes is judged in place;
//! whatever is cut by the end of a receive goes line by line and piece by piece. Tests hold the two against each other.

use std::collections::VecDeque;

use crate::catalogue::{Catalogue, KEY_SIZE_MAX, ValueCheck, Verify};
use crate::tally::{Op, Tally};

/// Longest line a server may send; `VALUE` with the longest key and numbers is under 300.
const LINE_SIZE_MAX: usize = 2048;

/// A request that has been written and not yet answered.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Nanoseconds on the client's clock: when it was written, or (open loop) when it was due.
    since: u64,
    op: Op,
    /// Keys at the front of `keys` that belong to it and have not been answered.
    keys: u32,
}

#[derive(Clone, Debug)]
enum Phase {
    /// At the start of a line, or within one whose beginning is in `carry`.
    Line,
    /// Within a value; nothing to hold it against when its key was never asked for.
    Value { left: usize, check: Option<ValueCheck> },
    /// After a value, before its line end.
    ValueEnd,
}

/// The answering side is no longer understood; the connection is of no use any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Garbled(pub(crate) String);

/// See the head of this file.
pub(crate) struct Connection {
    flights: VecDeque<Flight>,
    /// Keys of all flights in order. Invariant: its length is the sum of the flights' `keys`.
    keys: VecDeque<u64>,
    phase: Phase,
    /// The part of a line that has come so far.
    carry: Vec<u8>,
    /// Keys that missed and are to be set (`--on-miss-set`).
    wanted: VecDeque<u64>,
    keep_wanted: bool,
    /// Hits of a multi-get may come in another order than their keys were asked in.
    any_order: bool,
}

impl Connection {
    /// For up to `depth` requests in flight of up to `width` keys.
    pub(crate) fn new(depth: usize, width: usize, keep_wanted: bool) -> Connection {
        Connection {
            flights: VecDeque::with_capacity(depth),
            keys: VecDeque::with_capacity(depth * width),
            phase: Phase::Line,
            carry: Vec::with_capacity(LINE_SIZE_MAX),
            wanted: VecDeque::new(),
            keep_wanted,
            any_order: false,
        }
    }

    /// Takes hits of a multi-get in any order.
    pub(crate) fn in_any_order(mut self, any_order: bool) -> Connection {
        self.any_order = any_order;
        self
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The connection has broken: what was under way is lost, each request an error. What follows, on another
    /// socket, starts afresh.
    pub(crate) fn lose(&mut self, tally: &mut Tally) {
        let lost = self.flights.len() as u64;
        if lost > 0 {
            tally.errors_of(lost, || {
                format!("a connection has ended, and {lost} requests with it")
            });
        }
        self.flights.clear();
        self.keys.clear();
        self.carry.clear();
        self.phase = Phase::Line;
    }

    /// A key that missed and is to be set now.
    pub(crate) fn next_wanted(&mut self) -> Option<u64> {
        self.wanted.pop_front()
    }

    /// Writes a get of the keys drawn.
    pub(crate) fn get(
        &mut self,
        catalogue: &Catalogue,
        width: u32,
        mut draw: impl FnMut() -> u64,
        since: u64,
        output: &mut Vec<u8>,
    ) {
        output.extend_from_slice(b"get");
        for _ in 0..width {
            let key = draw();
            output.push(b' ');
            catalogue.write_key(key, output);
            self.keys.push_back(key);
        }
        output.extend_from_slice(b"\r\n");
        self.flights.push_back(Flight {
            since,
            op: Op::Get,
            keys: width,
        });
    }

    /// Writes a set. `middle` is what stands between key and size: flags and exptime, with blanks around.
    pub(crate) fn set(
        &mut self,
        catalogue: &Catalogue,
        key: u64,
        middle: &[u8],
        nonce: u64,
        since: u64,
        output: &mut Vec<u8>,
    ) {
        output.extend_from_slice(b"set ");
        catalogue.write_key(key, output);
        output.extend_from_slice(middle);
        write_number(catalogue.value_size(key), output);
        output.extend_from_slice(b"\r\n");
        catalogue.write_value(key, nonce, output);
        output.extend_from_slice(b"\r\n");
        self.keys.push_back(key);
        self.flights.push_back(Flight {
            since,
            op: Op::Set,
            keys: 1,
        });
    }

    /// Judges the next bytes of the server, which came at time `now`.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        now: u64,
        catalogue: &Catalogue,
        verify: Verify,
        tally: &mut Tally,
    ) -> Result<(), Garbled> {
        tally.bytes_received += bytes.len() as u64;
        let mut bytes = bytes;
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::Line if self.carry.is_empty() => {
                    let taken = self.whole_block(bytes, now, catalogue, verify, tally);
                    if taken > 0 {
                        bytes = &bytes[taken..];
                        continue;
                    }
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        return self.carry(bytes);
                    };
                    self.line(&bytes[..=end], now, catalogue, tally)?;
                    bytes = &bytes[end + 1..];
                }
                Phase::Line | Phase::ValueEnd => {
                    let Some(end) = memchr::memchr(b'\n', bytes) else {
                        return self.carry(bytes);
                    };
                    self.carry(&bytes[..=end])?;
                    bytes = &bytes[end + 1..];
                    let mut line = std::mem::take(&mut self.carry);
                    let outcome = self.line(&line, now, catalogue, tally);
                    line.clear();
                    self.carry = line;
                    outcome?;
                }
                Phase::Value { left, check } => {
                    let (piece, rest) = bytes.split_at(bytes.len().min(*left));
                    if let Some(check) = check {
                        check.feed(piece, verify);
                    }
                    *left -= piece.len();
                    bytes = rest;
                    self.end_value(tally);
                }
            }
        }
        Ok(())
    }

    fn carry(&mut self, bytes: &[u8]) -> Result<(), Garbled> {
        if self.carry.len() + bytes.len() > LINE_SIZE_MAX {
            return Err(Garbled(format!("a line longer than {LINE_SIZE_MAX} bytes")));
        }
        self.carry.extend_from_slice(bytes);
        Ok(())
    }

    /// The fast way: takes one reply (or, of a multi-get, one `VALUE` block) that lies whole at the front of the bytes
    /// and is what it should be. Takes nothing, and changes nothing, otherwise.
    fn whole_block(
        &mut self,
        bytes: &[u8],
        now: u64,
        catalogue: &Catalogue,
        verify: Verify,
        tally: &mut Tally,
    ) -> usize {
        let Some(flight) = self.flights.front_mut() else {
            return 0;
        };
        if flight.op == Op::Set {
            if !bytes.starts_with(b"STORED\r\n") {
                return 0;
            }
            self.end_flight(now, tally);
            return b"STORED\r\n".len();
        }
        if flight.keys == 0 {
            if !bytes.starts_with(b"END\r\n") {
                return 0;
            }
            self.end_flight(now, tally);
            return b"END\r\n".len();
        }
        let Some(&key) = self.keys.front() else { return 0 };
        let Some((value, taken)) = value_block(bytes, key, catalogue) else {
            return 0;
        };
        if !catalogue.is_value(key, value, verify) {
            return 0;
        }
        tally.hits += 1;
        flight.keys -= 1;
        self.keys.pop_front();
        if flight.keys == 0 && bytes[taken..].starts_with(b"END\r\n") {
            self.end_flight(now, tally);
            return taken + b"END\r\n".len();
        }
        taken
    }

    /// A whole line with its line end.
    fn line(
        &mut self,
        line: &[u8],
        now: u64,
        catalogue: &Catalogue,
        tally: &mut Tally,
    ) -> Result<(), Garbled> {
        let garbled = || {
            Garbled(format!(
                "not a reply to what was asked: {:?}",
                String::from_utf8_lossy(line)
            ))
        };
        let line = line.strip_suffix(b"\r\n").ok_or_else(garbled)?;
        if matches!(self.phase, Phase::ValueEnd) {
            self.phase = Phase::Line;
            return if line.is_empty() { Ok(()) } else { Err(garbled()) };
        }
        let op = self.flights.front().ok_or_else(garbled)?.op;
        if let Some(rest) = line.strip_prefix(b"VALUE ") {
            return if op == Op::Get {
                self.value_line(rest, catalogue, tally)
            } else {
                Err(garbled())
            };
        }
        match (line, op) {
            (b"END", Op::Get) | (b"STORED", Op::Set) => {}
            (b"NOT_STORED", Op::Set) => tally.error(|| "NOT_STORED".into()),
            _ if line == b"ERROR"
                || line.starts_with(b"CLIENT_ERROR")
                || line.starts_with(b"SERVER_ERROR") =>
            {
                tally.error(|| String::from_utf8_lossy(line).into_owned());
                // What the refused get did not say about its keys is neither hit nor miss.
                self.drop_keys();
            }
            _ => return Err(garbled()),
        }
        self.end_flight(now, tally);
        Ok(())
    }

    /// `<key> <flags> <size>`: finds which of the flight's keys it is; those before it are misses.
    fn value_line(&mut self, line: &[u8], catalogue: &Catalogue, tally: &mut Tally) -> Result<(), Garbled> {
        let text = || String::from_utf8_lossy(line);
        let garbled = || Garbled(format!("VALUE {}", text()));
        let mut words = line.split(|&byte| byte == b' ');
        let (Some(key), Some(flags), Some(size), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(garbled());
        };
        let size = std::str::from_utf8(size)
            .ok()
            .and_then(|size| size.parse().ok())
            .ok_or_else(garbled)?;
        if key.len() > KEY_SIZE_MAX {
            return Err(garbled());
        }
        let keys = self.flights.front().ok_or_else(garbled)?.keys as usize;
        let found = self
            .keys
            .iter()
            .take(keys)
            .position(|&index| catalogue.is_key(index, key));
        let check = match found {
            None => {
                tally.mismatch(|| {
                    format!(
                        "a key that was not asked for, or not in this place: VALUE {}",
                        text()
                    )
                });
                None
            }
            Some(before) => {
                if self.any_order {
                    // To the front; what moves is the flight's own, and few.
                    self.keys.make_contiguous()[..=before].rotate_right(1);
                } else {
                    for _ in 0..before {
                        self.miss(tally);
                    }
                }
                self.take_key().map(|index| {
                    if size != catalogue.value_size(index) {
                        let want = catalogue.value_size(index);
                        tally.mismatch(|| {
                            format!("a value of another size: VALUE {}, stored were {want}", text())
                        });
                    } else if flags != b"0" {
                        tally.mismatch(|| format!("flags that were not stored: VALUE {}", text()));
                    } else {
                        return Some(ValueCheck::new(catalogue, index, size));
                    }
                    None
                })
            }
        };
        self.phase = Phase::Value {
            left: size,
            check: check.flatten(),
        };
        self.end_value(tally);
        Ok(())
    }

    /// Passes the verdict if the value has ended.
    fn end_value(&mut self, tally: &mut Tally) {
        if let Phase::Value { left: 0, check } = &self.phase {
            match check {
                Some(check) if check.is_right() => tally.hits += 1,
                Some(check) => tally.mismatch(|| format!("a wrong value: {check:?}")),
                None => {}
            }
            self.phase = Phase::ValueEnd;
        }
    }

    /// The front key of the front flight, which has been answered.
    fn take_key(&mut self) -> Option<u64> {
        self.flights.front_mut()?.keys -= 1;
        self.keys.pop_front()
    }

    fn miss(&mut self, tally: &mut Tally) {
        let Some(key) = self.take_key() else { return };
        tally.misses += 1;
        if self.keep_wanted {
            self.wanted.push_back(key);
        }
    }

    fn drop_keys(&mut self) {
        while self.flights.front().is_some_and(|flight| flight.keys > 0) {
            self.take_key();
        }
    }

    /// The front request is answered; keys of a get that were not named have missed.
    fn end_flight(&mut self, now: u64, tally: &mut Tally) {
        if let Some(Flight { op: Op::Get, .. }) = self.flights.front() {
            while self.flights.front().is_some_and(|flight| flight.keys > 0) {
                self.miss(tally);
            }
        } else {
            self.drop_keys();
        }
        let Some(flight) = self.flights.pop_front() else {
            return;
        };
        let latency = now.saturating_sub(flight.since);
        match flight.op {
            Op::Get => {
                tally.gets += 1;
                tally.get_latencies.record(latency);
            }
            Op::Set => {
                tally.sets += 1;
                tally.set_latencies.record(latency);
            }
        }
    }
}

/// `VALUE <key> 0 <size>\r\n<value>\r\n` for this very key, whole: the value, and the size of the block.
fn value_block<'a>(bytes: &'a [u8], key: u64, catalogue: &Catalogue) -> Option<(&'a [u8], usize)> {
    let rest = bytes.strip_prefix(b"VALUE ")?;
    let (name, rest) = rest.split_at_checked(catalogue.key_size(key))?;
    let mut rest = rest.strip_prefix(b" 0 ")?;
    if !catalogue.is_key(key, name) {
        return None;
    }
    let mut size = 0;
    while let [digit @ b'0'..=b'9', others @ ..] = rest {
        size = size * 10 + usize::from(digit - b'0');
        rest = others;
        if size > 1 << 30 {
            return None;
        }
    }
    let rest = rest.strip_prefix(b"\r\n")?;
    let (value, rest) = rest.split_at_checked(size)?;
    let rest = rest.strip_prefix(b"\r\n")?;
    Some((value, bytes.len() - rest.len()))
}

fn write_number(number: usize, output: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut number, mut start) = (number, digits.len());
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
