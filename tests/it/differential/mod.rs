//! The same random command streams to memcached and to the server under test; every byte of every reply must agree.
//!
//! There are streams of each dialect: classic, meta, binary. Cas uniques are compared by what they mean, times are
//! rounded (`talk`). Differences that are known and wanted are in the table of `explained`; anything else fails, after
//! the stream has been cut down to the few commands that show it.
//!
//! The meta dialect wants a memcached of 1.6.40 or later. Where there is none, what 1.6.45 answered to a few streams has
//! been recorded (`recorded`).
//!
//! `RINGCACHED_DIFFERENTIAL_COMMANDS` sets how many commands are sent in each dialect (100,000 unless told),
//! `RINGCACHED_DIFFERENTIAL_SEED` where the random numbers start, `MEMCACHED_BIN` which memcached is the oracle.

mod binary;
mod explained;
mod meta;
mod recorded;
mod stream;
mod talk;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::Server;
use explained::Oracle;
use stream::{Dialect, Generator, Step};
use talk::Talk;

/// Commands of one stream, which is one connection.
const STREAM_COMMANDS: usize = 500;

/// Requests are gathered up to about this size before they are sent.
const UNSENT_BYTES_MAX: usize = 16 * 1024;

/// memcached without its housekeeping threads: while they hold an item, a decr does not keep the value's length.
const QUIET: [&str; 4] = [
    "-m",
    "1024",
    "-o",
    "no_lru_crawler,no_lru_maintainer,no_slab_reassign",
];

#[test]
fn classic_answers_are_memcacheds() {
    if let Some(memcached) = Server::memcached(&QUIET) {
        compare_many(&memcached, Dialect::Classic);
    }
}

#[test]
fn binary_answers_are_memcacheds() {
    if let Some(memcached) = Server::memcached(&QUIET) {
        compare_many(&memcached, Dialect::Binary);
    }
}

#[test]
fn meta_answers_are_memcacheds() {
    if let Some(memcached) = Server::memcached(&QUIET).filter(|server| oracle(server) == Oracle::New) {
        compare_many(&memcached, Dialect::Meta);
    }
}

fn oracle(memcached: &Server) -> Oracle {
    Oracle::of_version(&memcached.connect().ask("version"))
}

/// The servers under test, with the number of their threads.
fn ours() -> [(&'static str, Server); 2] {
    ["1", "4"].map(|threads| (threads, Server::start(&[&QUIET[..], &["-t", threads]].concat())))
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
        Err(_) => default,
    }
}

fn compare_many(memcached: &Server, dialect: Dialect) {
    let commands = setting("RINGCACHED_DIFFERENTIAL_COMMANDS", 100_000) as usize;
    let seed = setting("RINGCACHED_DIFFERENTIAL_SEED", 1);
    let oracle = oracle(memcached);
    let ours = ours();
    let started = Instant::now();
    let mut explained: BTreeMap<&str, u64> = BTreeMap::new();
    let mut sent = 0;
    for number in 0.. {
        if sent >= commands {
            break;
        }
        let steps = Generator::new(seed + number).stream(dialect, STREAM_COMMANDS);
        sent += steps.iter().map(|step| step.commands).sum::<usize>();
        let ask = |server: &Server, steps: &[Step], seed| run(server.address(), dialect, steps, seed);
        let theirs = ask(memcached, &steps, seed + number);
        for (threads, server) in &ours {
            let got = ask(server, &steps, seed + number);
            match compare(&steps, &theirs, &got, oracle) {
                Ok(met) => met
                    .into_iter()
                    .for_each(|name| *explained.entry(name).or_default() += 1),
                Err(piece) => {
                    let at_first = parting(&theirs, &got, piece);
                    let few = shrink(steps, |some| {
                        let theirs = ask(memcached, some, 0);
                        compare(some, &theirs, &ask(server, some, 0), oracle).is_err()
                    });
                    let theirs = ask(memcached, &few, 0);
                    let got = ask(server, &few, 0);
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
        "{dialect:?}: {sent} commands in {:?}; explained: {}",
        started.elapsed(),
        summary.join(", ")
    );
}

/// The table's rows are met by streams, so none outlives its reason: a row that no step can meet is an error.
#[test]
fn every_explanation_has_a_step() {
    let dialects = [Dialect::Classic, Dialect::Meta, Dialect::Binary];
    let mut quirks: Vec<&str> = (0..40)
        .flat_map(|seed| dialects.map(|dialect| Generator::new(seed).stream(dialect, STREAM_COMMANDS)))
        .flatten()
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
fn run(address: SocketAddr, dialect: Dialect, steps: &[Step], seed: u64) -> Replies {
    let mut talk = Talk::new(address, dialect, seed);
    let mut replies = Vec::new();
    let mut pieces = Vec::new();
    let mut versions = 0;
    for (index, step) in steps.iter().enumerate() {
        let between_pieces = index > 0 && ends_piece(steps, index - 1);
        if step.after_answers || (between_pieces && talk.unsent_size() > UNSENT_BYTES_MAX) {
            talk.exchange(&mut pieces, &mut replies);
        }
        talk.write(step);
        versions += step.versions;
        if step.last {
            talk.exchange(&mut pieces, &mut replies);
            replies.push(talk.farewell());
        } else if ends_piece(steps, index) {
            talk.write_fence();
            pieces.push(versions);
            versions = 0;
        }
    }
    talk.exchange(&mut pieces, &mut replies);
    replies
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
