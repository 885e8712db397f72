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

    /// Hangs up on those who hold most, where the budget is exceeded and nothing else can give way. All at once, so that
    /// it seldom has to look for them.
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
        let candidates = |connection: &Connection<S>| !connection.is_cut && connection.datagrams.is_none();
        while missing > 0 {
            let all = connections.iter().filter(|connection| candidates(connection));
            let most = all.map(|connection| connection.held).max().unwrap_or(0);
            if most <= SPARED_SIZE {
                return;
            }
            let large = connections
                .iter_mut()
                .filter(|(_, connection)| candidates(connection) && connection.held > most / 2);
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
        }
    }
}
