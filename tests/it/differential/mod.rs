//! The same random command streams to memcached and to the server under test; every byte of every reply must agree.
//!
//! Cas uniques are compared by what they mean: the n-th different one of a key. Differences that are known and wanted are
//! in the table of `explained`; anything else fails, after the stream has been cut down to
//! the few commands that show it.
//!
//! `RINGCACHED_DIFFERENTIAL_COMMANDS` sets how many commands are sent (100,000 unless told),
//! `RINGCACHED_DIFFERENTIAL_SEED` where the random numbers start, `MEMCACHED_BIN` which memcached is the oracle.

mod explained;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, Random, Server, testing_memcached};
use explained::Oracle;
use stream::{Generator, Part, Step};

/// Commands of one stream, which is one connection.
const STREAM_COMMANDS: usize = 500;

/// Requests are gathered up to about this size before they are sent.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

/// memcached without its housekeeping threads: while they hold an item, a decr does not keep the value's length.
const QUIET_MEMCACHED: [&str; 4] = [
    "-m",
    "1024",
    "-o",
    "no_lru_crawler,no_lru_maintainer,no_slab_reassign",
];

#[test]
fn answers_are_memcacheds() {
    let setting = |name: &str, default: u64| match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
        Err(_) => default,
    };
    let commands = setting("RINGCACHED_DIFFERENTIAL_COMMANDS", 100_000) as usize;
    let seed = setting("RINGCACHED_DIFFERENTIAL_SEED", 1);
    let Some(memcached) = Server::memcached(&QUIET_MEMCACHED) else {
        return;
    };
    let oracle = Oracle::of_version(&memcached.connect().ask("version"));
    let options = if testing_memcached() {
        &QUIET_MEMCACHED[..]
    } else {
        &["-m", "1024"]
    };
    let ours = ["1", "4"].map(|threads| (threads, Server::start(&[options, &["-t", threads]].concat())));
    let started = Instant::now();
    let mut explained: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sent = 0;
    for number in 0.. {
        if sent >= commands {
            break;
        }
        let steps = Generator::new(seed + number).stream(STREAM_COMMANDS);
        sent += steps.iter().map(|step| step.commands).sum::<usize>();
        let theirs = run(memcached.address(), &steps, seed + number);
        for (threads, server) in &ours {
            let got = run(server.address(), &steps, seed + number);
            match compare(&steps, &theirs, &got, oracle) {
                Ok(met) => met
                    .into_iter()
                    .for_each(|name| *explained.entry(name).or_default() += 1),
                Err(piece) => {
                    let at_first = parting(&theirs, &got, piece);
                    let few = shrink(steps, |some| {
                        let theirs = run(memcached.address(), some, 0);
                        compare(some, &theirs, &run(server.address(), some, 0), oracle).is_err()
                    });
                    let theirs = run(memcached.address(), &few, 0);
                    let got = run(server.address(), &few, 0);
                    panic!(
                        "seed {}, -t {threads}: the stream's answers part\n{at_first}\n{}",
                        seed + number,
                        report(&few, &theirs, &got, oracle)
                    );
                }
            }
        }
    }
    let summary: Vec<String> = explained
        .iter()
        .map(|(name, count)| format!("{name}: {count}"))
        .collect();
    println!(
        "{sent} commands in {:?}; explained: {}",
        started.elapsed(),
        summary.join(", ")
    );
}

/// The table's rows are met by streams, so none outlives its reason: a row that no step can meet is an error.
#[test]
fn every_explanation_has_a_step() {
    let mut quirks: Vec<&str> = (0..40)
        .flat_map(|seed| Generator::new(seed).stream(STREAM_COMMANDS))
        .filter_map(|step| step.quirk)
        .collect();
    quirks.sort_unstable();
    quirks.dedup();
    for row in explained::EXPLAINED {
        assert!(quirks.contains(&row.quirk), "no step for {:?}", row.quirk);
    }
}

/// The replies to a stream, cut at its steps. Steps that are not `alone` share a piece with those behind them.
type Replies = Vec<Vec<u8>>;

/// Where the piece of each step ends: after a step that is alone, before one, and every few steps.
fn ends_piece(steps: &[Step], index: usize) -> bool {
    steps[index].alone
        || steps
            .get(index + 1)
            .is_none_or(|next| next.alone || next.after_answers)
        || index % 5 == 4
}

/// Sends the steps on a new connection and reads the replies.
fn run(address: SocketAddr, steps: &[Step], seed: u64) -> Replies {
    let mut talk = Talk::new(address, seed);
    let mut replies = Vec::new();
    let mut pieces = Vec::new();
    let mut versions = 0;
    for (index, step) in steps.iter().enumerate() {
        let between_pieces = index > 0 && ends_piece(steps, index - 1);
        if step.after_answers || (between_pieces && talk.unsent.len() > UNSENT_BYTES_MAX) {
            talk.exchange(&mut pieces, &mut replies);
        }
        talk.write(step);
        versions += step.versions;
        if step.last {
            talk.exchange(&mut pieces, &mut replies);
            replies.push(talk.farewell());
        } else if ends_piece(steps, index) {
            talk.unsent.extend_from_slice(b"version\r\n");
            pieces.push(versions);
            versions = 0;
        }
    }
    talk.exchange(&mut pieces, &mut replies);
    replies
}

/// One connection, and the cas uniques seen on it.
struct Talk {
    input: BufReader<TcpStream>,
    unsent: Vec<u8>,
    random: Random,
    /// Every cas unique of a key, in order of appearance.
    uniques: HashMap<Vec<u8>, Vec<u64>>,
    /// The connection ended, or fell silent.
    over: bool,
}

impl Talk {
    fn new(address: SocketAddr, seed: u64) -> Talk {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).expect("connect");
        socket.set_nodelay(true).expect("nodelay");
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        Talk {
            input: BufReader::with_capacity(64 * 1024, socket),
            unsent: Vec::new(),
            random: Random(seed),
            uniques: HashMap::new(),
            over: false,
        }
    }

    fn write(&mut self, step: &Step) {
        for part in &step.parts {
            match part {
                Part::Bytes(bytes) => self.unsent.extend_from_slice(bytes),
                Part::Cas { key, newest } => {
                    let seen = self.uniques.get(key).map_or(&[][..], Vec::as_slice);
                    let back = if *newest { 1 } else { 2 };
                    let unique = seen.len().checked_sub(back).map_or(0, |index| seen[index]);
                    self.unsent.extend_from_slice(unique.to_string().as_bytes());
                }
            }
        }
    }

    /// Sends what is unsent, split at random, and reads the pieces that it asks for.
    fn exchange(&mut self, pieces: &mut Vec<usize>, replies: &mut Replies) {
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

    /// Everything up to the fence: the VERSION line behind `versions` others.
    fn piece(&mut self, mut versions: usize) -> Vec<u8> {
        let mut reply = Vec::new();
        while !self.over {
            let start = reply.len();
            match self.input.read_until(b'\n', &mut reply) {
                Ok(0) => self.end(&mut reply, "the connection was closed"),
                Err(_) => self.end(&mut reply, "no answer"),
                Ok(_) if reply[start..].starts_with(b"VERSION ") => {
                    reply.truncate(start);
                    if versions == 0 {
                        return reply;
                    }
                    versions -= 1;
                    reply.extend_from_slice(b"VERSION\r\n");
                }
                Ok(_) if reply[start..].starts_with(b"VALUE ") => self.value(&mut reply, start),
                Ok(_) => {}
            }
        }
        reply
    }

    /// The data behind a VALUE line; the cas unique becomes its ordinal.
    fn value(&mut self, reply: &mut Vec<u8>, start: usize) {
        let line = reply[start..].trim_ascii_end().to_vec();
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let number = |word: &[u8]| {
            std::str::from_utf8(word)
                .ok()
                .and_then(|text| text.parse::<u64>().ok())
        };
        let Some(size) = words.get(3).and_then(|word| number(word)) else {
            return;
        };
        if let Some(unique) = words.get(4).and_then(|word| number(word)) {
            let seen = self.uniques.entry(words[1].to_vec()).or_default();
            let ordinal = seen.iter().position(|other| *other == unique).unwrap_or_else(|| {
                seen.push(unique);
                seen.len() - 1
            });
            reply.truncate(start);
            reply.extend_from_slice(&words[..4].join(&b' '));
            reply.extend_from_slice(format!(" cas#{ordinal}\r\n").as_bytes());
        }
        let mut data = Vec::new();
        let _ = (&mut self.input).take(size + 2).read_to_end(&mut data);
        reply.extend_from_slice(&data);
    }

    /// What comes after the last step: everything, up to the end.
    fn farewell(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        let _ = self.input.get_ref().shutdown(Shutdown::Write);
        if self
            .input
            .read_to_end(&mut reply)
            .is_err_and(|error| error.kind() != std::io::ErrorKind::ConnectionReset)
        {
            reply.extend_from_slice(b"(it does not hang up)");
        }
        self.over = true;
        reply
    }

    fn end(&mut self, reply: &mut Vec<u8>, why: &str) {
        reply.extend_from_slice(format!("({why})").as_bytes());
        self.over = true;
    }
}

/// The explanations that were needed; `Err` has the first piece for which there is none.
fn compare(
    steps: &[Step],
    theirs: &Replies,
    ours: &Replies,
    oracle: Oracle,
) -> Result<Vec<&'static str>, usize> {
    let mut met = Vec::new();
    let pieces = (0..steps.len()).filter(|index| steps[*index].last || ends_piece(steps, *index));
    for (piece, index) in pieces.enumerate() {
        let (Some(theirs), Some(ours)) = (theirs.get(piece), ours.get(piece)) else {
            return Err(piece);
        };
        if theirs != ours {
            met.push(explained::find(&steps[index], theirs, ours, oracle).ok_or(piece)?);
        }
    }
    Ok(met)
}

/// The fewest steps that still differ, by leaving out ever smaller parts.
fn shrink(mut steps: Vec<Step>, differs: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let started = Instant::now();
    let mut size = steps.len() / 2;
    while size > 0 && started.elapsed() < Duration::from_secs(60) {
        // The first step stays: it flushes what earlier streams left.
        let mut start = 1;
        while start < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(start..(start + size).min(steps.len()));
            if differs(&fewer) {
                steps = fewer;
            } else {
                start += size;
            }
        }
        size /= 2;
    }
    steps
}

/// The stream and both sides' replies, for people.
fn report(steps: &[Step], theirs: &Replies, ours: &Replies, oracle: Oracle) -> String {
    let mut text = String::from("These commands are answered differently, without an explanation:\n");
    for step in steps {
        text += &format!("  {}\n", step.describe());
    }
    match compare(steps, theirs, ours, oracle) {
        Ok(_) => text + "(not always: this time the answers agreed)",
        Err(piece) => text + &parting(theirs, ours, piece),
    }
}

/// Where two streams of replies part in this piece, and a little before it.
fn parting(theirs: &Replies, ours: &Replies, piece: usize) -> String {
    let from_piece = |replies: &Replies| replies.get(piece..).unwrap_or_default().concat();
    let (theirs, ours) = (from_piece(theirs), from_piece(ours));
    let common = theirs
        .iter()
        .zip(&ours)
        .take_while(|(one, other)| one == other)
        .count();
    let show = |reply: &[u8]| {
        let reply = &reply[common.saturating_sub(200)..];
        reply[..reply.len().min(600)].escape_ascii().to_string()
    };
    format!(
        "piece {piece}\nmemcached:  ...{}\nringcached: ...{}\n",
        show(&theirs),
        show(&ours)
    )
}
