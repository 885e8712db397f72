//! What a core's connections and buffers hold in memory, kept in step with them and charged to the budget for everything.
//!
//! Every connection knows what it held when it was last looked at; after each thing that may have changed that, the
//! difference is entered here. So the sum costs a few loads for each receive and never a walk over the connections, but
//! when memory has run out: then those who hold most are found, and hung up on.

use std::os::fd::AsFd;
use std::sync::Arc;

use log::info;

use super::connection::{Connection, note};
use super::slots::Slots;
use crate::memory::{Account, Charge, Pool};
use crate::session::{Buffers, ConnectionId, OUTPUT_SIZE_MAX, OUTPUT_SIZE_MIN};

/// The allocator takes so much more than it was asked for: buffers of many sizes that come and go leave gaps.
const WASTE_PART: usize = 8;

/// What must be left for a client who comes, and for what he may ask.
const NEWCOMER_SIZE: usize = 64 * 1024;

/// A connection that holds no more is not hung up on, however scarce memory is: there is nothing to gain.
const SPARED_SIZE: usize = 16 * 1024;

fn with_waste(size: usize) -> usize {
    size + size / WASTE_PART
}

pub(super) struct Ledger {
    pool: Arc<Pool>,
    /// Invariant: the sum of what all connections held when they were entered.
    held: usize,
    /// Of these, what those hold who are being hung up on: it comes back soon.
    doomed: usize,
    connections: Charge,
    buffers: Charge,
}

impl Ledger {
    pub(super) fn new(pool: Arc<Pool>) -> Ledger {
        Ledger {
            connections: Charge::new(&pool, Account::Connections),
            buffers: Charge::new(&pool, Account::Buffers),
            pool,
            held: 0,
            doomed: 0,
        }
    }

    /// Enters what the connection holds now. Returns whether the core's connections hold so much more that it counts.
    pub(super) fn enter<S: AsFd>(&mut self, connection: &mut Connection<S>) -> bool {
        let now = connection.memory();
        self.held = self.held - connection.held + now;
        connection.held = now;
        self.connections.set(with_waste(self.held))
    }

    /// A connection is gone.
    pub(super) fn strike<S>(&mut self, connection: &Connection<S>) {
        self.held -= connection.held;
        if connection.is_cut {
            self.doomed -= connection.doomed;
        }
        self.connections.set(with_waste(self.held));
    }

    /// Enters what lies in buffers that no connection has, and in batches.
    pub(super) fn enter_buffers(&mut self, buffers: &Buffers, batches: usize) {
        self.buffers.set(buffers.size() + batches);
    }

    /// Bytes of replies that a connection may hold now.
    pub(super) fn output_size_max(&self) -> usize {
        self.pool.connection_size_max(OUTPUT_SIZE_MIN, OUTPUT_SIZE_MAX)
    }

    pub(super) fn admits(&self) -> bool {
        self.pool.has_room_for(NEWCOMER_SIZE)
    }

    /// Whether item pages are to give way.
    pub(super) fn wants_pages(&self) -> bool {
        self.pool.is_over_budget()
    }

    /// Hangs up on those who hold most, where the budget is exceeded and nothing else can give way. First on those who
    /// hold it with what they sent or do not read; only then on those whose buffers have room for more, which is what
    /// anybody has who is being served.
    pub(super) fn cut<S: AsFd>(
        &mut self,
        connections: &mut Slots<Connection<S>>,
        buffers: &mut Buffers,
        noted: &mut Vec<ConnectionId>,
    ) {
        let missing = self.pool.room_missing();
        if missing <= self.doomed {
            return;
        }
        // A little more than is missing: the next who sends a request finds room.
        let mut missing = missing - self.doomed + missing / 8;
        let measures: [fn(&Connection<S>) -> usize; 2] = [Connection::used, |connection| connection.held];
        for measure in measures {
            while missing > 0
                && let Some(most) = most(connections, measure)
            {
                missing = self.cut_above(most / 2, measure, missing, connections, buffers, noted);
            }
        }
    }

    /// Hangs up on those who hold more than so much, all at once lest one has to look for them often, until no more is
    /// missing; returns what is.
    fn cut_above<S: AsFd>(
        &mut self,
        size: usize,
        measure: fn(&Connection<S>) -> usize,
        mut missing: usize,
        connections: &mut Slots<Connection<S>>,
        buffers: &mut Buffers,
        noted: &mut Vec<ConnectionId>,
    ) -> usize {
        let large = connections
            .iter_mut()
            .filter(|(_, connection)| may_be_cut(connection) && measure(connection) > size);
        for (id, connection) in large {
            if missing == 0 {
                break;
            }
            info!(
                "<{} hung up on: it held {} bytes, and memory has run out",
                id.index, connection.held
            );
            missing = missing.saturating_sub(connection.held);
            connection.cut(buffers);
            connection.doomed = connection.memory();
            self.doomed += connection.doomed;
            self.enter(connection);
            note(connection, id, noted);
        }
        missing
    }
}

fn may_be_cut<S>(connection: &Connection<S>) -> bool {
    !connection.is_cut && connection.datagrams.is_none()
}

/// The most that anyone holds who may be hung up on, if that is worth it.
fn most<S>(connections: &Slots<Connection<S>>, measure: fn(&Connection<S>) -> usize) -> Option<usize> {
    let all = connections.iter().filter(|connection| may_be_cut(connection));
    all.map(measure).max().filter(|&most| most > SPARED_SIZE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::hash::KeySeed;
    use crate::memory::Total;
    use crate::protocol::Dialects;
    use crate::protocol::watch::Peer;
    use crate::session::Rules;
    use crate::session::fleet::RingAdmin;
    use crate::time::{Now, Seconds};

    const KIB: usize = 1024;
    const NOW: Now = Now {
        seconds: Seconds::START,
        unix_start: 0,
    };
    const RULES: Rules = Rules {
        dialects: Dialects::Any,
        flush_refused: false,
        requests_per_turn: 20,
        shutdown_enabled: false,
        dump_refused: false,
        watch_refused: false,
        watcher_size_max: 0,
        lines_size_max: 0,
        sizes_tracked: false,
        ring_admin: RingAdmin::Nobody,
        clock_may_be_moved: false,
        reply_size_max: None,
        credentials: None,
        version: "",
    };

    /// What each holds, and how much of it is in use; how many KiB of the connections' memory are missing; and who is
    /// hung up on, in the end.
    #[track_caller]
    fn check(held_and_used: &[(usize, usize)], missing: usize, want: &[usize]) {
        let total = Total {
            bytes: 16 << 20,
            slack: 0,
            fixed_buffers: 0,
            burst: 0,
        };
        let pool = Arc::new(Pool::within(Some(total), 1 << 20, 64 * KIB));
        let mut ledger = Ledger::new(pool.clone());
        let mut connections = Slots::new();
        for (held, used) in held_and_used {
            let (socket, _) = UnixStream::pair().expect("a pair of sockets");
            connections.insert(|id| Connection {
                held: held * KIB,
                sending_apart: used * KIB,
                ..Connection::new(id, socket, Peer(None), KeySeed::fixed(1), &RULES, NOW)
            });
            ledger.held += held * KIB;
        }
        let mut others = Charge::new(&pool, Account::Tables);
        others.set((16 << 20) + missing * KIB);
        ledger.cut(&mut connections, &mut Buffers::default(), &mut Vec::new());
        let cut = connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| connection.is_cut);
        assert_eq!(want, cut.map(|(number, _)| number).collect::<Vec<_>>());
    }

    #[test]
    fn who_holds_most_is_hung_up_on() {
        check(&[(40, 40), (300, 300), (200, 200)], 0, &[]);
        check(&[(40, 40), (300, 300), (200, 200)], 64, &[1]);
        check(&[(40, 40), (300, 300), (200, 200)], 400, &[1, 2]);
        check(&[(40, 40), (300, 300), (16, 16)], 4000, &[0, 1]);
    }

    #[test]
    fn who_was_lent_a_large_buffer_is_not_to_blame_for_it() {
        check(&[(128, 0), (64, 30)], 50, &[1]);
        check(&[(128, 0), (64, 30)], 100, &[0, 1]);
    }
}
