//! One connection of a stream: sends what a step says, reads the replies, and puts in their place what may differ.
//!
//! Cas uniques become their ordinals: the n-th different one that this connection has seen. Of times what is left is
//! rounded, so that two servers whose clocks tick apart say the same. A binary packet becomes a line of text.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::stream::{Dialect, Part, Step};
use super::{Replies, binary, meta};
use crate::harness::{DEADLINE, Random};

/// How long a server may think. A reply that never comes is a difference, and looking for the smallest stream that
/// shows it waits so often.
const PATIENCE: Duration = Duration::from_secs(5);

/// Seconds of a relative exptime, at most; what is left of more is that of a point in time.
const RELATIVE_MAX: i64 = 60 * 60 * 24 * 30;

pub(super) struct Talk {
    input: BufReader<TcpStream>,
    unsent: Vec<u8>,
    random: Random,
    dialect: Dialect,
    uniques: Uniques,
    /// The connection ended, or fell silent.
    over: bool,
}

/// The cas uniques that a connection has seen.
#[derive(Default)]
pub(super) struct Uniques {
    ordinals: HashMap<u64, usize>,
    /// Those of a key, in order of appearance.
    of_key: HashMap<Vec<u8>, Vec<u64>>,
}

impl Uniques {
    /// What stands for a cas unique. 0 is none.
    pub(super) fn ordinal(&mut self, unique: u64) -> String {
        let next = self.ordinals.len();
        match unique {
            0 => "0".to_owned(),
            _ => format!("#{}", self.ordinals.entry(unique).or_insert(next)),
        }
    }

    pub(super) fn saw(&mut self, key: &[u8], unique: u64) {
        let seen = self.of_key.entry(key.to_vec()).or_default();
        if !seen.contains(&unique) {
            seen.push(unique);
        }
    }

    /// The key's newest, or the one before it; 0 if there is none.
    fn find(&self, key: &[u8], newest: bool) -> u64 {
        let seen = self.of_key.get(key).map_or(&[][..], Vec::as_slice);
        let back = if newest { 1 } else { 2 };
        seen.len().checked_sub(back).map_or(0, |index| seen[index])
    }
}

impl Talk {
    pub(super) fn new(address: SocketAddr, dialect: Dialect, seed: u64) -> Talk {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        Talk {
            input: BufReader::with_capacity(64 * 1024, socket),
            unsent: Vec::new(),
            random: Random(seed),
            dialect,
            uniques: Uniques::default(),
            over: false,
        }
    }

    pub(super) fn unsent_size(&self) -> usize {
        self.unsent.len()
    }

    pub(super) fn write(&mut self, step: &Step) {
        for part in &step.parts {
            match part {
                Part::Bytes(bytes) => self.unsent.extend_from_slice(bytes),
                Part::Cas { key, newest } => {
                    let unique = self.uniques.find(key, *newest);
                    match self.dialect {
                        Dialect::Binary => self.unsent.extend_from_slice(&unique.to_be_bytes()),
                        _ => self.unsent.extend_from_slice(unique.to_string().as_bytes()),
                    }
                }
            }
        }
    }

    /// A question whose answer ends a piece.
    pub(super) fn write_fence(&mut self) {
        match self.dialect {
            Dialect::Binary => self.unsent.extend_from_slice(&binary::fence()),
            _ => self.unsent.extend_from_slice(b"version\r\n"),
        }
    }

    /// Sends what is unsent, split at random, and reads the pieces that it asks for.
    pub(super) fn exchange(&mut self, pieces: &mut Vec<usize>, replies: &mut Replies) {
        let bytes = std::mem::take(&mut self.unsent);
        let mut cuts = self.random.clone();
        self.random.next();
        let socket = self.input.get_ref().try_clone().expect("a second handle");
        let mut send = move || {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let most = if cuts.one_in(3) { 20 } else { 6000 };
                let size = (1 + cuts.below(most)).min(rest.len());
                // A server that hung up is noticed where its replies end.
                if (&socket).write_all(&rest[..size]).is_err() {
                    break;
                }
                rest = &rest[size..];
            }
        };
        let pieces = std::mem::take(pieces);
        let mut read = |talk: &mut Talk| replies.extend(pieces.iter().map(|versions| talk.piece(*versions)));
        // Replies are read while requests are still being sent, or both sides could wait for each other.
        std::thread::scope(|scope| {
            let sender = scope.spawn(&mut send);
            read(self);
            sender.join().expect("the sender");
        });
    }

    /// Everything up to the fence; in text that is the VERSION line behind `versions` others.
    fn piece(&mut self, mut versions: usize) -> Vec<u8> {
        let mut reply = Vec::new();
        while !self.over {
            let start = reply.len();
            match self.one(&mut reply) {
                Ok(0) => self.end(&mut reply, "the connection was closed"),
                Err(_) => self.end(&mut reply, "no answer"),
                Ok(_) if self.dialect == Dialect::Binary => {
                    if binary::is_fence(&reply[start..]) {
                        reply.truncate(start);
                        return reply;
                    }
                }
                Ok(_) if reply[start..].starts_with(b"VERSION ") => {
                    reply.truncate(start);
                    if versions == 0 {
                        return reply;
                    }
                    versions -= 1;
                    reply.extend_from_slice(b"VERSION\r\n");
                }
                Ok(_) => {}
            }
        }
        reply
    }

    /// The next line with its data, or the next packet; 0 at the end.
    fn one(&mut self, reply: &mut Vec<u8>) -> io::Result<usize> {
        if self.dialect == Dialect::Binary {
            return binary::read(&mut self.input, &mut self.uniques, reply);
        }
        let start = reply.len();
        let size = self.input.read_until(b'\n', reply)?;
        let line = reply[start..].trim_ascii_end().to_vec();
        let is_meta = self.dialect == Dialect::Meta;
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        match words[0] {
            b"VALUE" => self.value(reply, start, &words)?,
            b"VA" | b"HD" | b"EN" | b"NS" | b"EX" | b"NF" | b"ME" if is_meta => {
                reply.truncate(start);
                self.meta_line(reply, &words);
                if let (b"VA", Some(size)) = (words[0], words.get(1).and_then(|word| number(word))) {
                    self.data(reply, size)?;
                }
            }
            _ => {}
        }
        Ok(size)
    }

    /// A VALUE line and the data behind it.
    fn value(&mut self, reply: &mut Vec<u8>, start: usize, words: &[&[u8]]) -> io::Result<()> {
        let Some(size) = words.get(3).and_then(|word| number(word)) else {
            return Ok(());
        };
        if let Some(unique) = words.get(4).and_then(|word| number(word)) {
            self.uniques.saw(words[1], unique);
            reply.truncate(start);
            reply.extend_from_slice(&words[..4].join(&b' '));
            reply.extend_from_slice(format!(" cas{}\r\n", self.uniques.ordinal(unique)).as_bytes());
        }
        self.data(reply, size)
    }

    fn data(&mut self, reply: &mut Vec<u8>, size: u64) -> io::Result<()> {
        (&mut self.input).take(size + 2).read_to_end(reply)?;
        Ok(())
    }

    /// A line of the meta dialect, flag by flag. A key in base64 is shown as the key: memcached forgets for some items that
    /// theirs is to be encoded.
    fn meta_line(&mut self, reply: &mut Vec<u8>, words: &[&[u8]]) {
        let is_debug = words[0] == b"ME";
        let key = words[1..].iter().find(|word| word.starts_with(b"k") && !is_debug);
        let key = key.map(|word| meta::plain(&word[1..]));
        reply.extend_from_slice(words[0]);
        for (index, word) in words.iter().enumerate().skip(1) {
            if *word == b"b" && !is_debug {
                continue;
            }
            reply.push(b' ');
            let (name, figure) = match word.iter().position(|byte| *byte == b'=') {
                Some(at) if is_debug && index > 1 => word.split_at(at + 1),
                _ if is_debug => (&b""[..], *word),
                _ => word.split_at(word.len().min(1)),
            };
            reply.extend_from_slice(name);
            match (name, signed(figure)) {
                (b"c" | b"cas=", Some(_)) => {
                    let unique = number(figure).unwrap_or(0);
                    if let Some(key) = &key {
                        self.uniques.saw(key, unique);
                    }
                    reply.extend_from_slice(self.uniques.ordinal(unique).as_bytes());
                }
                (b"t" | b"l" | b"exp=" | b"la=", Some(seconds)) => {
                    reply.extend_from_slice(seconds_about(seconds).as_bytes());
                }
                (b"k" | b"", _) => reply.extend_from_slice(&meta::plain(figure)),
                // Of an item's memory.
                (b"cls=" | b"size=", _) => {}
                _ => reply.extend_from_slice(figure),
            }
        }
        reply.extend_from_slice(b"\r\n");
    }

    /// What comes after the last step: everything, up to the end.
    pub(super) fn farewell(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        // A server that has hung up already cannot be told that there is no more.
        let told = self.input.get_ref().shutdown(Shutdown::Write);
        loop {
            match self.one(&mut reply) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(_) => {
                    reply.extend_from_slice(format!("(it does not hang up; {told:?})").as_bytes());
                    break;
                }
            }
        }
        self.over = true;
        reply
    }

    fn end(&mut self, reply: &mut Vec<u8>, why: &str) {
        reply.extend_from_slice(format!("({why})").as_bytes());
        self.over = true;
    }
}

fn number(word: &[u8]) -> Option<u64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn signed(word: &[u8]) -> Option<i128> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Seconds to the nearest hundred; no step asks for a time at which that could waver.
fn seconds_about(seconds: i128) -> String {
    let beyond = i128::from(RELATIVE_MAX) + 50;
    match seconds {
        -1 => "-1".to_owned(),
        // What 1.6.45 makes of a time in the past.
        4_200_000_000.. => "(past, unsigned)".to_owned(),
        ..0 => "(past)".to_owned(),
        _ if seconds > beyond => "(a date)".to_owned(),
        _ => format!("~{}", (seconds + 50) / 100 * 100),
    }
}
