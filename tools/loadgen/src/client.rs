//! A client thread: drives its connections through one ring, closed loop or open loop.
//!
//! Closed loop: a connection writes `pipeline` requests at once, and the next as many when all of them are answered
//! (or, sliding, a new request for every answer: then a server that answers in small pieces is asked in small
//! pieces, for ever after, and its batches are no longer those that the workload names).
//! Open loop: requests fall due by a schedule that does not care how the server fares; each is written to the next
//! connection with room, late if there is none, and its latency counts from when it was due.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use crate::catalogue::{Catalogue, Verify};
use crate::connection::Connection;
use crate::distribution::{KeyLaw, Random};
use crate::ring::{Ring, Wait};
use crate::tally::Tally;
use crate::target::{Link, Target};
use crate::tls::Seal;

/// Bytes written ahead for one connection in one turn; one request may exceed it.
const OUTPUT_SIZE_MAX: usize = 1 << 20;
/// How long the answers still missing at the end are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// A server that says nothing for this long while requests are in flight has hung.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long after its end, or after a vain try, a connection is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);
/// How often a thread reports what it has done.
const REPORT_INTERVAL_NS: u64 = 50_000_000;

/// What the requests of a run are like. The same for all threads, but for the rate.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) pipeline: usize,
    /// An answer makes room for the next request at once, not only when the whole batch is answered.
    pub(crate) sliding: bool,
    /// Keys per get.
    pub(crate) width: u32,
    pub(crate) keys: KeyLaw,
    /// Sets among requests, from 0 to 2^32.
    pub(crate) set_share: u64,
    /// Between key and size of a set: flags and exptime.
    pub(crate) set_middle: Vec<u8>,
    pub(crate) on_miss_set: bool,
    pub(crate) any_order: bool,
    pub(crate) verify: Verify,
    pub(crate) busy_poll: bool,
    /// Mean nanoseconds between requests of one thread (open loop).
    pub(crate) gap: Option<f64>,
    /// Exponential instead of equal gaps.
    pub(crate) poisson: bool,
    /// Sets besides (open loop).
    pub(crate) storm: Option<Storm>,
}

/// Sets on a schedule of their own, over the first of the connections, which carry nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Storm {
    pub(crate) connections: usize,
    /// Mean nanoseconds between its sets, on one thread.
    pub(crate) gap: f64,
    /// Its keys: the law's, counted from here.
    pub(crate) first: u64,
    pub(crate) keys: KeyLaw,
}

/// The requests of an open loop: when the next is due, and whose turn it is.
struct Schedule {
    /// Mean nanoseconds between requests.
    gap: f64,
    /// Nanoseconds since the epoch.
    due: f64,
    connections: Range<usize>,
    /// The connection whose turn it is; within `connections`.
    cursor: usize,
    is_storm: bool,
}

impl Traffic {
    /// Over so many connections.
    fn schedules(&self, connections: usize) -> Vec<Schedule> {
        let Some(gap) = self.gap else { return vec![] };
        let stormy = self.storm.as_ref().map_or(0, |storm| storm.connections);
        let schedule = |gap, connections: Range<usize>, is_storm| Schedule {
            gap,
            due: 0.0,
            cursor: connections.start,
            connections,
            is_storm,
        };
        let storm = self.storm.as_ref();
        let storm = storm.map(|storm| schedule(storm.gap, 0..stormy, true));
        [schedule(gap, stormy..connections, false)]
            .into_iter()
            .chain(storm)
            .collect()
    }
}

/// When a thread stops.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// After a warm-up and a measured time.
    Seconds { warm_up: Duration, measured: Duration },
    /// After this many requests, all measured.
    Requests(u64),
    /// After each of these keys has been set once (the prefill).
    AllSet { from: u64, to: u64 },
}

/// What a thread brings home.
pub(crate) struct Harvest {
    pub(crate) tally: Tally,
    pub(crate) measured: Duration,
    pub(crate) turns: u64,
    pub(crate) partial_sends: u64,
    /// Open loop: requests that were due in time and had not been written when it ended.
    pub(crate) overdue: u64,
}

/// A client thread's state.
pub(crate) struct Client<'a> {
    ring: Ring,
    connections: Vec<Connection>,
    /// By connection, what lies between its requests and its socket; empty where nothing does.
    seals: Vec<Seal>,
    catalogue: &'a Catalogue,
    traffic: &'a Traffic,
    random: Random,
    tally: Tally,
    epoch: Instant,
    /// Requests that may still be written (`Until::Requests`, `Until::AllSet`); practically endless otherwise.
    budget: u64,
    /// The next key to set in order, instead of drawing (`Until::AllSet`).
    in_order: Option<u64>,
    /// The workload's requests, and those of its storm; empty in a closed loop.
    schedules: Vec<Schedule>,
    /// Connections with something new in this turn, and whether they are in the list already.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// Where connections that end are opened again; if nowhere, the run fails with the first of them.
    again: &'a [Target],
    again_by_tls: Option<&'a Arc<ClientConfig>>,
    /// Connections that have ended, and when they are opened again.
    ended: Vec<u32>,
    reopen_at: u64,
}

impl<'a> Client<'a> {
    /// Takes over connections. To be called on the thread that will call `run`.
    pub(crate) fn new(
        links: Vec<Link>,
        catalogue: &'a Catalogue,
        traffic: &'a Traffic,
        seed: u64,
    ) -> io::Result<Client<'a>> {
        // Values that do not fit into a few kilobytes come with fewer completions in larger buffers.
        let input_size = if catalogue.value_size_max() > 4096 {
            64 * 1024
        } else {
            8 * 1024
        };
        let (sockets, seals): (Vec<_>, Vec<_>) =
            links.into_iter().map(|link| (link.socket, link.seal)).unzip();
        let ring = Ring::new(sockets, input_size)?;
        let count = ring.connections();
        let connection = || {
            Connection::new(traffic.pipeline, traffic.width as usize, traffic.on_miss_set)
                .in_any_order(traffic.any_order)
        };
        Ok(Client {
            ring,
            connections: (0..count).map(|_| connection()).collect(),
            // All or none of them have one.
            seals: seals.into_iter().flatten().collect(),
            catalogue,
            traffic,
            random: Random::new(seed),
            tally: Tally::new(),
            epoch: Instant::now(),
            budget: u64::MAX,
            in_order: None,
            schedules: traffic.schedules(count),
            touched: Vec::with_capacity(count),
            is_touched: vec![false; count],
            again: &[],
            again_by_tls: None,
            ended: Vec::new(),
            reopen_at: 0,
        })
    }

    /// Opens connections that end again: the `n`th to the `n`th of `targets`, which start over behind the last.
    pub(crate) fn reopening(
        mut self,
        targets: &'a [Target],
        tls: Option<&'a Arc<ClientConfig>>,
    ) -> Client<'a> {
        (self.again, self.again_by_tls) = (targets, tls);
        self
    }

    /// Runs to the end. `mark` is called at the start and at the end of the measured time; `done` is kept at the
    /// number of requests answered.
    pub(crate) fn run(
        mut self,
        until: Until,
        mut mark: impl FnMut(),
        done: &AtomicU64,
    ) -> io::Result<Harvest> {
        let (warm_up, end) = match until {
            Until::Seconds { warm_up, measured } => (nanoseconds(warm_up), nanoseconds(warm_up + measured)),
            Until::Requests(count) => {
                self.budget = count;
                (0, u64::MAX)
            }
            Until::AllSet { from, to } => {
                self.budget = to - from;
                self.in_order = Some(from);
                (0, u64::MAX)
            }
        };
        self.epoch = Instant::now();
        let mut measuring_since = None;
        let (mut turns, mut reported, mut reported_at, mut heard_at) = (0, 0, 0, 0);
        let mut now = 0;
        for connection in 0..self.connections.len() {
            self.touch(connection);
        }
        loop {
            if measuring_since.is_none() && now >= warm_up {
                mark();
                self.tally.clear();
                (turns, reported) = (0, 0);
                now = self.now();
                measuring_since = Some(now);
            }
            if now >= end || (self.budget == 0 && self.idle()) {
                break;
            }
            self.reopen(now);
            self.write()?;
            self.ring.collect(self.patience())?;
            turns += 1;
            now = self.now();
            self.read(now)?;
            if self.ring.arrivals() > 0 {
                heard_at = now;
            } else if now > heard_at + nanoseconds(SILENCE_MAX) && !(self.idle() && self.ended.is_empty()) {
                return Err(io::Error::other("the server has not answered for 20 seconds"));
            }
            if now > reported_at + REPORT_INTERVAL_NS {
                let requests = self.tally.requests();
                done.fetch_add(requests.saturating_sub(reported), Ordering::Relaxed);
                (reported, reported_at) = (requests, now);
            }
        }
        mark();
        let measured = Duration::from_nanos(now - measuring_since.unwrap_or(0));
        let late = |schedule: &Schedule| (end.min(now) as f64 - schedule.due) / schedule.gap;
        let overdue = self
            .schedules
            .iter()
            .map(|schedule| late(schedule).max(0.0) as u64)
            .sum();
        let tally = self.tally.clone();
        let partial_sends = self.ring.partial_sends();
        self.drain()?;
        let mut tally = tally;
        let after = &self.tally;
        (tally.mismatches, tally.errors, tally.reconnects) =
            (after.mismatches, after.errors, after.reconnects);
        tally.complaints.clone_from(&after.complaints);
        Ok(Harvest {
            tally,
            measured,
            turns,
            partial_sends,
            overdue,
        })
    }

    /// Reads, and judges, the answers still under way, so that none of them goes unchecked.
    fn drain(&mut self) -> io::Result<()> {
        self.budget = 0;
        let limit = self.now() + nanoseconds(DRAIN_MAX);
        while !self.idle() {
            let now = self.now();
            if now > limit {
                let missing: usize = self.connections.iter().map(Connection::in_flight).sum();
                self.tally
                    .error(|| format!("{missing} requests were not answered within 2 s of the end"));
                return Ok(());
            }
            self.touched.clear();
            self.ring.collect(Wait::AtMost(Duration::from_millis(50)))?;
            self.read(now)?;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        nanoseconds(self.epoch.elapsed())
    }

    fn idle(&self) -> bool {
        self.connections
            .iter()
            .all(|connection| connection.in_flight() == 0)
    }

    fn touch(&mut self, connection: usize) {
        if !self.is_touched[connection] {
            self.is_touched[connection] = true;
            self.touched.push(connection as u32);
        }
    }

    /// Judges everything that has arrived.
    fn read(&mut self, now: u64) -> io::Result<()> {
        for at in 0..self.ring.arrivals() {
            let (connection, bytes) = self.ring.arrival(at);
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) if self.again.is_empty() => return Err(error),
                Err(_) => {
                    self.connections[connection].lose(&mut self.tally);
                    self.ended.push(connection as u32);
                    self.reopen_at = now + nanoseconds(REOPEN_PAUSE);
                    continue;
                }
            };
            let bytes = match self.seals.get_mut(connection) {
                None => bytes,
                Some(seal) => seal.open(bytes)?,
            };
            self.connections[connection]
                .receive(bytes, now, self.catalogue, self.traffic.verify, &mut self.tally)
                .map_err(|garbled| io::Error::other(garbled.0))?;
            self.touch(connection);
        }
        let mut at = 0;
        while let Some(connection) = self.ring.writable(at) {
            self.touch(connection);
            at += 1;
        }
        Ok(())
    }

    /// Opens connections that have ended again, where the server lets it.
    fn reopen(&mut self, now: u64) {
        if self.ended.is_empty() || now < self.reopen_at {
            return;
        }
        let mut still = Vec::new();
        for connection in std::mem::take(&mut self.ended) {
            let at = connection as usize;
            // A refusal is no error of its own: what it costs are the requests that find no connection.
            let link = self
                .ring
                .is_over(at)
                .then(|| self.again[at % self.again.len()].reconnect(self.again_by_tls));
            match link {
                Some(Ok(link)) => {
                    self.ring.renew(at, link.socket);
                    if let (Some(place), Some(seal)) = (self.seals.get_mut(at), link.seal) {
                        *place = seal;
                    }
                    self.tally.reconnects += 1;
                    self.touch(at);
                }
                Some(Err(_)) | None => still.push(connection),
            }
        }
        self.ended = still;
        self.reopen_at = now + nanoseconds(REOPEN_PAUSE);
    }

    /// Writes what may be written now and queues it for sending.
    fn write(&mut self) -> io::Result<()> {
        let touched = std::mem::take(&mut self.touched);
        let now = self.now();
        let open = self.is_open();
        for &connection in &touched {
            let connection = connection as usize;
            self.is_touched[connection] = false;
            if open {
                self.write_wanted(connection, now);
            } else {
                self.fill(connection, now);
            }
            self.send(connection)?;
        }
        self.touched = touched;
        self.touched.clear();
        if open {
            for schedule in 0..self.schedules.len() {
                self.write_due(schedule, now);
            }
            for at in 0..self.touched.len() {
                self.send(self.touched[at] as usize)?;
            }
        }
        Ok(())
    }

    /// Queues what was written for a connection, sealed where it must be.
    fn send(&mut self, connection: usize) -> io::Result<()> {
        if let Some(seal) = self.seals.get_mut(connection)
            && let Some(output) = self.ring.output(connection)
        {
            seal.seal(output)?;
        }
        self.ring.send(connection);
        Ok(())
    }

    /// True where requests fall due by schedules.
    fn is_open(&self) -> bool {
        !self.schedules.is_empty() && self.in_order.is_none()
    }

    /// Closed loop: fills a connection's window, if it is empty or sliding.
    fn fill(&mut self, connection: usize, now: u64) {
        if !self.traffic.sliding && self.connections[connection].in_flight() > 0 {
            return;
        }
        while self.connections[connection].in_flight() < self.traffic.pipeline && self.budget > 0 {
            if !self.write_one(connection, now, false) {
                return;
            }
        }
    }

    /// Open loop: keys that have missed are set at once.
    fn write_wanted(&mut self, connection: usize, now: u64) {
        while let Some(key) = self.connections[connection].next_wanted() {
            let nonce = self.random.word();
            let Some(output) = self.ring.output(connection) else {
                return;
            };
            self.connections[connection].set(
                self.catalogue,
                key,
                &self.traffic.set_middle,
                nonce,
                now,
                output,
            );
        }
    }

    /// Open loop: writes all requests of a schedule that are due, each to the next connection with room.
    fn write_due(&mut self, at: usize, now: u64) {
        let Schedule {
            gap,
            is_storm,
            ref connections,
            ..
        } = self.schedules[at];
        let connections = connections.clone();
        let after = |cursor: usize| match cursor + 1 {
            next if next < connections.end => next,
            _ => connections.start,
        };
        while self.schedules[at].due <= now as f64 && self.budget > 0 {
            let due = self.schedules[at].due;
            let mut cursor = self.schedules[at].cursor;
            let mut tried = 0;
            while self.connections[cursor].in_flight() >= self.traffic.pipeline
                || !self.write_one(cursor, due as u64, is_storm)
            {
                cursor = after(cursor);
                tried += 1;
                if tried == connections.len() {
                    return;
                }
            }
            self.touch(cursor);
            self.schedules[at].cursor = after(cursor);
            self.schedules[at].due += if self.traffic.poisson {
                -gap * (1.0 - self.random.unit()).ln()
            } else {
                gap
            };
        }
    }

    /// Writes one request, unless the connection's output is lent or full.
    fn write_one(&mut self, connection: usize, since: u64, is_storm: bool) -> bool {
        let Some(output) = self.ring.output(connection) else {
            return false;
        };
        if output.len() > OUTPUT_SIZE_MAX {
            return false;
        }
        let (traffic, random, keys) = (self.traffic, &mut self.random, &self.traffic.keys);
        let connection = &mut self.connections[connection];
        self.budget -= 1;
        let storm = traffic.storm.as_ref().filter(|_| is_storm);
        let key = if let Some(next) = &mut self.in_order {
            *next += 1;
            Some(*next - 1)
        } else if let Some(storm) = storm {
            Some(storm.first + storm.keys.draw(random))
        } else if let Some(wanted) = connection.next_wanted() {
            Some(wanted)
        } else if traffic.set_share > 0 && random.word() >> 32 < traffic.set_share {
            Some(keys.draw(random))
        } else {
            None
        };
        match key {
            Some(key) => {
                let nonce = random.word();
                connection.set(self.catalogue, key, &traffic.set_middle, nonce, since, output);
            }
            None => connection.get(self.catalogue, traffic.width, || keys.draw(random), since, output),
        }
        true
    }

    /// How long the ring may wait: until an answer comes or the next request is due.
    fn patience(&self) -> Wait {
        if self.traffic.busy_poll {
            return Wait::No;
        }
        let second = Duration::from_secs(1);
        if !self.ended.is_empty() {
            return Wait::AtMost(REOPEN_PAUSE);
        }
        if !self.is_open() {
            return Wait::AtMost(Duration::from_millis(100));
        }
        let due = self.schedules.iter().map(|schedule| schedule.due);
        let left = due.fold(f64::INFINITY, f64::min) - self.now() as f64;
        if left > 0.0 {
            return Wait::AtMost(Duration::from_nanos(left as u64).min(second));
        }
        // Behind the schedule: an answer must make room first, unless there is nothing to wait for.
        if self.idle() {
            Wait::No
        } else {
            Wait::AtMost(Duration::from_millis(100))
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
