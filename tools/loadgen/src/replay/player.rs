//! Plays accesses to a server as the clients of a cache make them: get, and where that misses, set.
//!
//! A key always goes over the same connection, so its accesses keep their order whatever the connections are. Each
//! round takes a window of the sequence, and each connection's part of it is written as multi-gets, with the sets of
//! what missed in the round before in front. A key that missed more than once in a round was asked for again before
//! it could be set; a client that does one thing after the other would have found it, so all but the first are asked
//! once more, behind the set, and only that answer counts.

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::catalogue::{Catalogue, Verify};
use crate::connection::Connection;
use crate::distribution::{Random, mix};
use crate::tally::Tally;

/// One thing that a client wants of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) key: u64,
    /// A set; otherwise a get.
    pub(crate) set: bool,
}

/// Keys of one get at most: lines stay under 16 KiB.
const GET_WIDTH_MAX: usize = 48;
/// A server that is silent for this long has hung.
const SILENCE_MAX: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// What the server has answered so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    /// Keys asked for, each once however often it took.
    pub(crate) gets: u64,
    pub(crate) misses: u64,
    /// Gets of keys that had never been set.
    pub(crate) first_gets: u64,
    pub(crate) sets: u64,
    /// Sets that were answered with an error.
    pub(crate) refused: u64,
    /// Values that were not what was stored.
    pub(crate) mismatches: u64,
    /// Keys and values of all sets.
    pub(crate) bytes_set: u64,
}

impl Score {
    /// What has come since an earlier score. Mismatches stay: a wrong value is wrong whenever it came.
    pub(crate) fn since(&self, before: &Score) -> Score {
        Score {
            gets: self.gets - before.gets,
            misses: self.misses - before.misses,
            first_gets: self.first_gets - before.first_gets,
            sets: self.sets - before.sets,
            refused: self.refused - before.refused,
            mismatches: self.mismatches,
            bytes_set: self.bytes_set - before.bytes_set,
        }
    }

    pub(crate) fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.gets.max(1) as f64
    }
}

/// See the head of this file.
pub(crate) struct Player<'a> {
    catalogue: &'a Catalogue,
    /// Exptime of each key's sets; where it is empty, all are 0.
    exptimes: &'a [u32],
    lanes: Vec<Lane>,
    tally: Tally,
    /// Misses that are asked once more, and do not count.
    repeats: u64,
    /// Keys that have been asked for or set.
    known: Vec<bool>,
    /// Gets of keys that had not been known: nobody could have answered them.
    first_gets: u64,
    bytes_set: u64,
    nonces: Random,
    /// Misses of each key.
    misses_by_key: Vec<u32>,
    /// The keys that a round has set after a miss; kept for its memory.
    missed: HashSet<u64>,
    input: Vec<u8>,
}

struct Lane {
    stream: TcpStream,
    connection: Connection,
    output: Vec<u8>,
    /// Accesses of this round.
    part: Vec<Access>,
    /// Keys to ask for once more.
    again: Vec<Access>,
}

impl<'a> Player<'a> {
    pub(crate) fn connect(
        server: SocketAddr,
        connections: usize,
        catalogue: &'a Catalogue,
        exptimes: &'a [u32],
    ) -> io::Result<Player<'a>> {
        let lane = |_| {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            Ok(Lane {
                stream,
                connection: Connection::new(GET_WIDTH_MAX, GET_WIDTH_MAX, true),
                output: Vec::new(),
                part: Vec::new(),
                again: Vec::new(),
            })
        };
        Ok(Player {
            catalogue,
            exptimes,
            lanes: (0..connections).map(lane).collect::<io::Result<_>>()?,
            tally: Tally::new(),
            repeats: 0,
            known: vec![false; catalogue.count() as usize],
            first_gets: 0,
            bytes_set: 0,
            nonces: Random::new(7),
            misses_by_key: vec![0; catalogue.count() as usize],
            missed: HashSet::new(),
            input: vec![0; 256 << 10],
        })
    }

    /// Plays one round: while a connection's answers are read, the servers works on the others'.
    pub(crate) fn play(&mut self, accesses: &[Access]) -> io::Result<()> {
        let lanes = self.lanes.len() as u64;
        for access in accesses {
            let known = std::mem::replace(&mut self.known[access.key as usize], true);
            self.first_gets += u64::from(!known && !access.set);
            let lane = (mix(access.key, 0x1a9e) % lanes) as usize;
            self.lanes[lane].part.push(*access);
        }
        (0..self.lanes.len()).try_for_each(|lane| self.turn(lane))
    }

    /// Reads what is under way, sets what has missed, until nothing is left to do. The score is exact then.
    pub(crate) fn settle(&mut self) -> io::Result<Score> {
        // One turn reads and sets, one reads the answers to these and to what was asked again; a server that forgets
        // at once could go on for ever.
        for _ in 0..3 {
            (0..self.lanes.len()).try_for_each(|lane| self.turn(lane))?;
        }
        Ok(self.score())
    }

    pub(crate) fn score(&self) -> Score {
        let misses = self.tally.misses - self.repeats;
        Score {
            gets: self.tally.hits + misses,
            misses,
            first_gets: self.first_gets,
            sets: self.tally.sets,
            refused: self.tally.errors,
            mismatches: self.tally.mismatches,
            bytes_set: self.bytes_set,
        }
    }

    /// Misses of some of the keys, since the start.
    pub(crate) fn misses_within(&self, keys: Range<u64>) -> u64 {
        let misses = &self.misses_by_key[keys.start as usize..keys.end as usize];
        misses.iter().map(|&count| u64::from(count)).sum()
    }

    pub(crate) fn complaints(&self) -> &[String] {
        &self.tally.complaints
    }

    /// One connection: the answers of the last round, then the requests of this.
    fn turn(&mut self, lane: usize) -> io::Result<()> {
        self.finish(lane)?;
        self.missed.clear();
        while let Some(key) = self.lanes[lane].connection.next_wanted() {
            if self.missed.insert(key) {
                self.misses_by_key[key as usize] += 1;
                self.set(lane, key);
            } else {
                self.repeats += 1;
                self.lanes[lane].again.push(Access { key, set: false });
            }
        }
        let mut part = std::mem::take(&mut self.lanes[lane].again);
        part.append(&mut self.lanes[lane].part);
        let mut rest = &part[..];
        while let Some(first) = rest.first() {
            if first.set {
                self.set(lane, first.key);
                rest = &rest[1..];
                continue;
            }
            let gets = rest.iter().take_while(|access| !access.set);
            let width = gets.take(GET_WIDTH_MAX).count();
            let mut keys = rest[..width].iter().map(|access| access.key);
            let Lane {
                connection, output, ..
            } = &mut self.lanes[lane];
            let draw = || keys.next().expect("as many as the width says");
            connection.get(self.catalogue, width as u32, draw, 0, output);
            rest = &rest[width..];
        }
        part.clear();
        self.lanes[lane].again = part;
        self.flush(lane)
    }

    fn set(&mut self, lane: usize, key: u64) {
        let exptime = self.exptimes.get(key as usize).copied().unwrap_or(0);
        let middle = format!(" 0 {exptime} ");
        let Lane {
            connection, output, ..
        } = &mut self.lanes[lane];
        let nonce = self.nonces.word();
        connection.set(self.catalogue, key, middle.as_bytes(), nonce, 0, output);
        self.bytes_set += (self.catalogue.key_size(key) + self.catalogue.value_size(key)) as u64;
    }

    /// Sends all that is written. Answers are read meanwhile where the server wants to be rid of them first.
    fn flush(&mut self, lane: usize) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.lanes[lane].output.len() {
            let Lane { stream, output, .. } = &mut self.lanes[lane];
            match stream.write(&output[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(stream, PollFlags::IN | PollFlags::OUT)?;
                    self.read(lane)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.lanes[lane].output.clear();
        Ok(())
    }

    /// Reads until nothing is under way.
    fn finish(&mut self, lane: usize) -> io::Result<()> {
        while self.lanes[lane].connection.in_flight() > 0 {
            if !self.read(lane)? {
                wait(&self.lanes[lane].stream, PollFlags::IN)?;
            }
        }
        Ok(())
    }

    /// Reads once and judges; false where there is nothing yet.
    fn read(&mut self, lane: usize) -> io::Result<bool> {
        let Lane {
            stream, connection, ..
        } = &mut self.lanes[lane];
        match stream.read(&mut self.input) {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server has closed a connection",
            )),
            Ok(count) => {
                let bytes = &self.input[..count];
                connection
                    .receive(bytes, 0, self.catalogue, Verify::Ends, &mut self.tally)
                    .map_err(|garbled| io::Error::other(garbled.0))?;
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn wait(stream: &TcpStream, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::new(stream, flags)], Some(&SILENCE_MAX)) {
        Ok(0) => Err(io::Error::new(
            ErrorKind::TimedOut,
            "the server has not answered for 20 seconds",
        )),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps a sequence at its pace: so many accesses a second, never ahead of it.
pub(crate) struct Pace {
    start: std::time::Instant,
    per_second: f64,
}

impl Pace {
    pub(crate) fn new(per_second: f64) -> Pace {
        Pace {
            start: std::time::Instant::now(),
            per_second,
        }
    }

    /// Waits until this many accesses are due.
    pub(crate) fn keep(&self, accesses: u64) {
        let due = Duration::from_secs_f64(accesses as f64 / self.per_second);
        if let Some(left) = due.checked_sub(self.start.elapsed()) {
            std::thread::sleep(left);
        }
    }

    /// Accesses per second since the start.
    pub(crate) fn reached(&self, accesses: u64) -> f64 {
        accesses as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }
}
