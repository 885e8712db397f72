//! Connections that watch: what is said of everybody's requests, to those who asked for it.
//!
//! ```text
//! core that executes:  event --> line --> [Lines, for each core with watchers]
//! watcher's core:      [Lines] --> Session::tell --> what its watcher wants and has room for --> output
//! ```
//!
//! A line is made once, where the thing happened, and numbered there. Lines that do not fit, on the way or into the
//! watcher's output, are left out and counted: the watcher reads how many when there is room again, and nobody waits.

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{Desk, Session, Shards, Wire};
use crate::protocol::watch::write_skipped;
use crate::protocol::{self, Control, Spelling, Streams, Word};

/// Watchers of all cores together; the next is refused.
pub const WATCHERS_MAX: usize = 20;

/// Room that is kept for saying how many lines were left out.
const SKIPPED_SIZE_MAX: usize = 128;

/// What all cores' watchers share.
#[derive(Debug, Default)]
pub struct Watchers {
    /// At most [`WATCHERS_MAX`].
    count: AtomicUsize,
    /// The number of the last line, of all that were ever made.
    number: AtomicU64,
}

impl Watchers {
    /// One more, if there may be.
    fn admit(&self) -> bool {
        let more = |count| (count < WATCHERS_MAX).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// One that was admitted is gone.
    pub fn leave(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A number that no line has had: later ones are higher.
    pub fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Lines on their way from the core that made them to one with watchers.
///
/// Invariant: the lines lie in `bytes` in the order of `heads`; at most `size_max` bytes of them ([`Lines::push`]).
#[derive(Debug)]
pub struct Lines {
    /// Who made them, and gets the buffer back.
    pub from: usize,
    bytes: Vec<u8>,
    heads: Vec<Head>,
    left_out: LeftOut,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    stream: Streams,
    number: u64,
    size: u32,
}

/// Lines that did not fit, by stream.
#[derive(Clone, Copy, Debug, Default)]
struct LeftOut {
    counts: [u64; Streams::COUNT],
    /// The number of the last of them.
    number: u64,
}

impl Lines {
    pub fn new(from: usize) -> Lines {
        Lines {
            from,
            bytes: Vec::new(),
            heads: Vec::new(),
            left_out: LeftOut::default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Adds a line of this stream and number; false if there is no room for it.
    pub fn push(&mut self, stream: Streams, number: u64, line: &[u8], size_max: usize) -> bool {
        if self.bytes.len() + line.len() > size_max {
            return false;
        }
        self.bytes.extend_from_slice(line);
        self.heads.push(Head {
            stream,
            number,
            size: line.len() as u32,
        });
        true
    }

    /// Counts lines of a stream that are left out here, the last of which has this number.
    pub fn leave_out(&mut self, stream: Streams, number: u64, count: u64) {
        self.left_out.counts[stream.index()] += count;
        self.left_out.number = number;
    }

    /// Makes it ready for new lines.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.heads.clear();
        self.left_out = LeftOut::default();
    }

    fn iter(&self) -> impl Iterator<Item = (&Head, &[u8])> {
        let mut start = 0;
        self.heads.iter().map(move |head| {
            start += head.size as usize;
            (head, &self.bytes[start - head.size as usize..start])
        })
    }
}

/// A session's watch.
#[derive(Debug)]
pub(super) struct Watcher {
    streams: Streams,
    /// Lines of lower numbers are older than this watch. Higher than any until it has been told that it watches.
    since: u64,
    /// Lines left out since it was last told how many.
    skipped: u64,
}

impl Session {
    /// Whether this connection watches, or is about to.
    pub fn is_watcher(&self) -> bool {
        self.watcher.is_some()
    }

    /// `watch`: from now on it hears what it asked for, and nothing that it says is listened to. False if it was
    /// refused. `in_company`: something stood before the word in the same input.
    pub(super) fn watch<S: Shards, W: Wire>(
        &mut self,
        streams: Streams,
        spelling: Spelling,
        in_company: bool,
        desk: &mut Desk<'_, S, W>,
    ) -> bool {
        let refusal = if desk.rules.watch_refused {
            Word::WatchNotAllowed
        } else if in_company {
            Word::WatchPipelined
        } else if !desk.facts.watchers.admit() {
            Word::WatchersTooMany
        } else {
            self.watcher = Some(Box::new(Watcher {
                streams,
                since: u64::MAX,
                skipped: 0,
            }));
            self.orders.obey(
                Control::Watch { streams },
                spelling,
                self.id,
                &mut self.pipeline,
                desk,
            );
            self.begin_to_watch(desk);
            return true;
        };
        protocol::say(self.pipeline.writer(desk.buffers), spelling, refusal);
        false
    }

    /// Begins to hear lines, if it has just been told that it watches.
    pub(super) fn begin_to_watch<S: Shards, W: Wire>(&mut self, desk: &Desk<'_, S, W>) {
        if let Some(watcher) = &mut self.watcher
            && watcher.since == u64::MAX
            && self.orders.is_free()
        {
            watcher.since = desk.facts.watchers.next_number();
        }
    }

    /// Says those of the lines that it watches for, as far as there is room.
    pub fn tell<S: Shards, W: Wire>(&mut self, lines: &Lines, desk: &mut Desk<'_, S, W>) {
        let Some(watcher) = self.watcher.as_deref_mut() else {
            return;
        };
        let left_out = &lines.left_out;
        if left_out.number >= watcher.since {
            let counts = left_out.counts.iter().enumerate();
            watcher.skipped += counts
                .filter(|(index, _)| watcher.streams.contains(Streams::at(*index)))
                .map(|(_, count)| count)
                .sum::<u64>();
        }
        let size_max = desk.rules.watcher_size_max;
        let mut is_full = false;
        for (head, line) in lines.iter() {
            if !watcher.streams.contains(head.stream) || head.number < watcher.since {
                continue;
            }
            let out = self.pipeline.writer(desk.buffers);
            let fits = |out: &Vec<u8>| out.len() + line.len() + SKIPPED_SIZE_MAX <= size_max;
            if !is_full && !fits(out) {
                // A reader who keeps up has room in his socket. He is asked once, not for every line.
                let gone = desk.wire.send_now(&[IoSlice::new(out)]);
                desk.counters.bytes_written += gone as u64;
                out.drain(..gone);
                is_full = !fits(out);
            }
            if is_full {
                watcher.skipped += 1;
                desk.counters.log_watcher_skipped += 1;
                continue;
            }
            if watcher.skipped > 0 {
                write_skipped(out, watcher.skipped);
                watcher.skipped = 0;
            }
            out.extend_from_slice(line);
            desk.counters.log_watcher_sent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_watch_than_may() {
        let watchers = Watchers::default();
        for _ in 0..WATCHERS_MAX {
            assert!(watchers.admit());
        }
        assert!(!watchers.admit());
        watchers.leave();
        assert!(watchers.admit());
        assert_eq!(watchers.count(), WATCHERS_MAX);
    }

    #[test]
    fn lines_keep_their_order_and_their_bound() {
        let mut lines = Lines::new(3);
        assert!(lines.push(Streams::FETCHERS, 1, b"one\n", 8));
        assert!(lines.push(Streams::MUTATIONS, 2, b"two\n", 8));
        assert!(!lines.push(Streams::FETCHERS, 3, b"x", 8));
        let said: Vec<_> = lines
            .iter()
            .map(|(head, line)| (head.stream, head.number, line))
            .collect();
        assert_eq!(
            said,
            [
                (Streams::FETCHERS, 1, &b"one\n"[..]),
                (Streams::MUTATIONS, 2, &b"two\n"[..])
            ]
        );
        lines.clear();
        assert!(lines.is_empty() && lines.push(Streams::FETCHERS, 4, b"12345678", 8));
    }
}
