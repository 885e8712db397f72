//! What one client thread has counted and timed.

use hdrhistogram::Histogram;

/// Longest latency that is told from longer ones.
const LATENCY_MAX_NS: u64 = 100_000_000_000;
/// Complaints kept word for word; the rest are only counted.
const COMPLAINTS_MAX: usize = 8;

/// The two kinds of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    Set,
}

/// A latency histogram in nanoseconds, three significant digits.
///
/// Requests sent in one turn and answered in one receive have the same latency, so it is entered as a run.
#[derive(Clone)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    last: u64,
    /// Requests with latency `last` that are not in the histogram yet.
    run: u64,
}

impl Latencies {
    fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are valid");
        Latencies {
            histogram,
            last: 0,
            run: 0,
        }
    }

    pub(crate) fn record(&mut self, nanoseconds: u64) {
        if nanoseconds == self.last {
            self.run += 1;
            return;
        }
        self.flush();
        (self.last, self.run) = (nanoseconds, 1);
    }

    fn flush(&mut self) {
        if self.run > 0 {
            self.histogram.saturating_record_n(self.last.max(1), self.run);
            self.run = 0;
        }
    }

    /// The complete histogram.
    pub(crate) fn histogram(&mut self) -> &Histogram<u64> {
        self.flush();
        &self.histogram
    }

    fn clear(&mut self) {
        self.run = 0;
        self.histogram.reset();
    }

    fn add(&mut self, other: &mut Latencies) {
        self.flush();
        self.histogram
            .add(other.histogram())
            .expect("both have the same bounds");
    }
}

/// Counts since the last `clear`.
///
/// Invariant: `hits + misses + mismatches of foreign keys` accounts for every key of every answered get.
#[derive(Clone)]
pub(crate) struct Tally {
    /// Answered get requests (a multi-get counts once), and the keys they asked for.
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) sets: u64,
    /// Replies that refuse (`ERROR`, `CLIENT_ERROR ...`, `SERVER_ERROR ...`, and `NOT_STORED` to a set), and requests
    /// that were lost with their connection. Never cleared, as the next two.
    pub(crate) errors: u64,
    /// Connections opened again after they had ended (`--errors-allowed`).
    pub(crate) reconnects: u64,
    /// Values (or keys, or sizes) that are not what was stored. Never cleared: a wrong value in the warm-up is as bad.
    pub(crate) mismatches: u64,
    pub(crate) bytes_received: u64,
    pub(crate) get_latencies: Latencies,
    pub(crate) set_latencies: Latencies,
    pub(crate) complaints: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            gets: 0,
            hits: 0,
            misses: 0,
            sets: 0,
            errors: 0,
            reconnects: 0,
            mismatches: 0,
            bytes_received: 0,
            get_latencies: Latencies::new(),
            set_latencies: Latencies::new(),
            complaints: Vec::new(),
        }
    }

    /// Answered requests.
    pub(crate) fn requests(&self) -> u64 {
        self.gets + self.sets
    }

    /// Keys asked for and values stored.
    pub(crate) fn keys(&self) -> u64 {
        self.hits + self.misses + self.sets
    }

    pub(crate) fn mismatch(&mut self, what: impl FnOnce() -> String) {
        self.mismatches += 1;
        self.complain(what);
    }

    pub(crate) fn error(&mut self, what: impl FnOnce() -> String) {
        self.errors_of(1, what);
    }

    /// Several errors with one cause.
    pub(crate) fn errors_of(&mut self, count: u64, what: impl FnOnce() -> String) {
        self.errors += count;
        self.complain(what);
    }

    fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what());
        }
    }

    /// Forgets the warm-up. Mismatches, errors and complaints stay.
    pub(crate) fn clear(&mut self) {
        (self.gets, self.hits, self.misses, self.sets, self.bytes_received) = (0, 0, 0, 0, 0);
        self.get_latencies.clear();
        self.set_latencies.clear();
    }

    pub(crate) fn add(&mut self, mut other: Tally) {
        self.gets += other.gets;
        self.hits += other.hits;
        self.misses += other.misses;
        self.sets += other.sets;
        self.errors += other.errors;
        self.reconnects += other.reconnects;
        self.mismatches += other.mismatches;
        self.bytes_received += other.bytes_received;
        self.get_latencies.add(&mut other.get_latencies);
        self.set_latencies.add(&mut other.set_latencies);
        other
            .complaints
            .truncate(COMPLAINTS_MAX.saturating_sub(self.complaints.len()));
        self.complaints.append(&mut other.complaints);
    }
}
