//! What one core knows of all watchers, and the lines that it has for them.
//!
//! Watchers are few and sit on any core; what they watch for happens on every core. So each core knows of each other
//! what *its* watchers want, all together; it makes the line of an event once and puts it into the open [`Lines`] for
//! every core that wants it. They leave before anything that the event led to can be seen by others: before answers to
//! a peer, and before the turn's output.
//!
//! **Limits.** At most [`LINES_UNDER_WAY_MAX`] buffers of lines are on their way from one core to another, and one is
//! open. A line that finds them full is left out and counted; the buffers tell the watchers so.

use std::sync::Arc;
use std::time::Duration;

use super::{Letter, Mesh, Wakes};
use crate::protocol::Streams;
use crate::protocol::watch::{EVENT_SIZE_MAX, Event, write_event};
use crate::session::statistics::Facts;
use crate::session::watch::Lines;
use crate::session::{self, ConnectionId};

/// Buffers of lines on their way from one core to another, at most.
pub const LINES_UNDER_WAY_MAX: usize = 4;

/// One core's side of watching.
pub struct Watch {
    me: usize,
    mesh: Arc<Mesh>,
    facts: Arc<Facts>,
    /// The time since 1970.
    wall_clock: fn() -> Duration,
    /// Bytes of lines in one buffer.
    lines_size_max: usize,
    /// The watchers whose connections are here, and what they want.
    watchers: Vec<(ConnectionId, Streams)>,
    /// By core. The invariant of `streams`: it is what any of them wants.
    homes: Box<[Home]>,
    streams: Streams,
    /// The line that is being written.
    line: Vec<u8>,
    /// Cores that were sent lines and must be woken.
    wakes: Wakes,
    /// Lines that found room on all their ways, and the others.
    written: u64,
    dropped: u64,
}

/// A core as a home of watchers.
struct Home {
    /// What they want, all together.
    streams: Streams,
    open: Box<Lines>,
    /// Buffers that have come back.
    #[expect(
        clippy::vec_box,
        reason = "lines travel in their box, which need not be made anew"
    )]
    spare: Vec<Box<Lines>>,
    /// At most [`LINES_UNDER_WAY_MAX`].
    under_way: usize,
}

impl Watch {
    pub fn new(
        me: usize,
        mesh: Arc<Mesh>,
        facts: Arc<Facts>,
        wall_clock: fn() -> Duration,
        lines_size_max: usize,
    ) -> Watch {
        let home = |_| Home {
            streams: Streams::default(),
            open: Box::new(Lines::new(me)),
            spare: Vec::new(),
            under_way: 0,
        };
        Watch {
            me,
            homes: (0..mesh.cores()).map(home).collect(),
            mesh,
            facts,
            wall_clock,
            lines_size_max: lines_size_max.max(EVENT_SIZE_MAX),
            watchers: Vec::new(),
            streams: Streams::default(),
            line: Vec::new(),
            wakes: Wakes::default(),
            written: 0,
            dropped: 0,
        }
    }

    /// Whether anybody watches for anything.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether anybody watches for this stream.
    pub fn wants(&self, stream: Streams) -> bool {
        self.streams.contains(stream)
    }

    /// A connection of this core watches from now on. The other cores are to be told what this returns.
    pub fn admit(&mut self, connection: ConnectionId, streams: Streams) -> Streams {
        self.watchers.push((connection, streams));
        self.sum_up()
    }

    /// A watcher of this core is gone: the other cores are told.
    pub fn dismiss(&mut self, connection: ConnectionId) {
        self.watchers.retain(|(watcher, _)| *watcher != connection);
        self.facts.watchers.leave();
        let streams = self.sum_up();
        for core in (0..self.mesh.cores()).filter(|&core| core != self.me) {
            let order = Letter::Order {
                from: self.me,
                connection,
                order: session::Order::Watch(streams),
            };
            self.mesh.send(core, order);
            self.wakes.note(core);
        }
    }

    fn sum_up(&mut self) -> Streams {
        let all = self.watchers.iter().map(|(_, streams)| *streams);
        let streams = all.fold(Streams::default(), Streams::and);
        self.heed(self.me, streams);
        streams
    }

    /// From now on the watchers of this core (maybe this one) want these streams, all together.
    pub fn heed(&mut self, core: usize, streams: Streams) {
        let home = &mut self.homes[core];
        home.streams = streams;
        if streams.is_empty() {
            home.spare = Vec::new();
        }
        let all = self.homes.iter().map(|home| home.streams);
        self.streams = all.fold(Streams::default(), Streams::and);
    }

    /// The watchers whose connections are here.
    pub fn watchers(&self) -> impl Iterator<Item = ConnectionId> {
        self.watchers.iter().map(|(connection, _)| *connection)
    }

    /// Tells the watchers what happened, those who want to know.
    pub fn tell(&mut self, event: &Event<'_>) {
        let stream = event.stream();
        if !self.wants(stream) {
            return;
        }
        let number = self.facts.watchers.next_number();
        self.line.clear();
        write_event(&mut self.line, (self.wall_clock)(), number, event);
        let mut fits = true;
        for (core, home) in self.homes.iter_mut().enumerate() {
            if !home.streams.contains(stream) {
                continue;
            }
            if !home.open.push(stream, number, &self.line, self.lines_size_max) {
                home.send(core, &self.mesh, &mut self.wakes);
                if !home.open.push(stream, number, &self.line, self.lines_size_max) {
                    home.open.leave_out(stream, number, 1);
                    fits = false;
                }
            }
        }
        match fits {
            true => self.written += 1,
            false => self.dropped += 1,
        }
    }

    /// So many events of a stream happened that nobody can say more about.
    pub fn leave_out(&mut self, stream: Streams, count: u64) {
        if count == 0 || !self.wants(stream) {
            return;
        }
        let number = self.facts.watchers.next_number();
        for home in &mut self.homes {
            if home.streams.contains(stream) {
                home.open.leave_out(stream, number, count);
            }
        }
        self.dropped += count;
    }

    /// Sends what there is, as far as buffers are left to follow it.
    pub fn send(&mut self) {
        if self.is_on() {
            for (core, home) in self.homes.iter_mut().enumerate() {
                home.send(core, &self.mesh, &mut self.wakes);
            }
        }
    }

    /// A buffer of this core has been read and comes back from where it was sent.
    pub fn came_back(&mut self, from: usize, mut lines: Box<Lines>) {
        let home = &mut self.homes[from];
        home.under_way -= 1;
        if !home.streams.is_empty() {
            lines.clear();
            home.spare.push(lines);
        }
    }

    /// Wakes the cores that were sent something.
    pub fn ring(&mut self, ring: impl FnMut(usize)) {
        self.wakes.ring(&self.mesh, ring);
    }

    /// Adds what was counted here.
    pub fn add_to(&self, counters: &mut session::Counters) {
        counters.log_worker_written += self.written;
        counters.log_worker_dropped += self.dropped;
    }

    /// `stats reset`.
    pub fn reset(&mut self) {
        (self.written, self.dropped) = (0, 0);
    }
}

impl Home {
    /// Sends the open buffer, if there is something in it and another to follow.
    fn send(&mut self, core: usize, mesh: &Mesh, wakes: &mut Wakes) {
        if self.open.is_empty() || self.under_way == LINES_UNDER_WAY_MAX {
            return;
        }
        let next = self
            .spare
            .pop()
            .unwrap_or_else(|| Box::new(Lines::new(self.open.from)));
        let lines = std::mem::replace(&mut self.open, next);
        self.under_way += 1;
        mesh.send(core, Letter::Lines(lines));
        wakes.note(core);
    }
}
