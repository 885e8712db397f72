//! What cores share: mailboxes of batches, and the lending of a shard whose owner is in the kernel.
//!
//! Every core owns one shard and locks it for as long as its turn runs, that is, whenever it is not in the kernel. A
//! core that needs a key of another core's
//!
//! - *borrows* the shard when its owner is in the kernel: one compare-and-swap, the request is executed in
//!   place, the shard is returned before the next connection is served;
//! - else *asks* the owner: the request joins this turn's [`Batch`] for that core, the owner executes it and the same
//!   batch comes home with the answers.
//!
//! A busy machine sends messages in batches, a quiet one sends none (docs/design/02-lending.md).
//!
//! **Order.** Requests of one connection for one shard must be executed in order. So a core with batches out to
//! a peer does not borrow from that peer: whatever comes later joins the queue.
//!
//! **Limits.** At most [`BATCHES_PER_PEER`] batches travel between two cores in each direction, so a mailbox never
//! overflows and a send never waits. A batch holds [`BATCH_SIZE_MAX`] bytes of requests, give or take one; when
//! every batch is out and the next is full, the core takes no requests from its connections.

mod batch;
mod bell;
mod lend;
mod outbox;
mod reach;
mod sync;
mod watch;
mod witness;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};

use crate::hash::KeyHash;
use crate::session::statistics::Totals;
use crate::session::watch::Lines;
use crate::session::{ConnectionId, Order};
use crate::shard::Shard;

pub use batch::{Answer, Batch};
pub use bell::Bell;
pub use lend::{Lendable, Lent};
pub use outbox::Outboxes;
pub use reach::{Reach, Waiting, carry_out, put_reply};
pub use watch::{LINES_UNDER_WAY_MAX, Watch};

/// Batches between one core and one peer, in each direction.
pub const BATCHES_PER_PEER: usize = 4;

/// Bytes of requests in a batch, values that arrived apart included, above which it takes no more.
pub const BATCH_SIZE_MAX: usize = 64 * 1024;

/// Requests in a batch, above which it takes no more.
pub const BATCH_ASKS_MAX: usize = 512;

/// Bytes of answers after which a batch goes home half done, so that large values cannot pile up.
pub const ANSWERS_SIZE_MAX: usize = 1024 * 1024;

/// Everything that one core may do to another goes through its place in the mesh.
pub struct Place {
    pub shard: Lendable<Shard>,
    pub bell: Bell,
    /// The core accepts no connections before one ends, and wants a [`Letter::Room`] then.
    pub is_closed: AtomicBool,
    /// The core has read the last [`Letter::RollCall`]: it takes turns.
    pub is_present: AtomicBool,
    mailbox: Sender<Letter>,
}

/// All places, shared by all cores.
pub struct Mesh {
    places: Box<[Place]>,
    /// The first so many cores own keys: all of them, unless memory is small ([`crate::shard::shards_for`]).
    owners: usize,
    /// Connections of all cores together, for the connection limit.
    pub connections: AtomicUsize,
    /// Cores that are stopping and wait for nobody.
    pub settled: AtomicUsize,
}

/// Cores that were sent letters this turn: each is woken at most once, at its end, and only if it sleeps.
#[derive(Debug, Default)]
pub struct Wakes(Vec<usize>);

impl Wakes {
    /// Notes a core to be woken.
    pub fn note(&mut self, core: usize) {
        if !self.0.contains(&core) {
            self.0.push(core);
        }
    }

    /// Calls `ring` for each noted core that sleeps.
    pub fn ring(&mut self, mesh: &Mesh, mut ring: impl FnMut(usize)) {
        for core in self.0.drain(..) {
            if mesh.place(core).bell.must_ring() {
                ring(core);
            }
        }
    }
}

/// What lies in a mailbox.
pub enum Letter {
    /// Requests for the receiver's shard, or the rest of a batch that went home half done.
    Asks(Box<Batch>),
    /// A batch of the receiver's own, with answers.
    Answers(Box<Batch>),
    /// An order to the receiver's shard and core.
    Order {
        from: usize,
        connection: ConnectionId,
        order: Order,
    },
    /// What the receiver's order to another core gave.
    Report {
        connection: ConnectionId,
        totals: Box<Totals>,
    },
    /// What the receiver's watchers may want to read.
    Lines(Box<Lines>),
    /// The receiver's lines, which the sender has read.
    LinesRead { from: usize, lines: Box<Lines> },
    /// A connection to serve from now on.
    Connection(OwnedFd, Entrance),
    /// A socket whose datagrams are to be served from now on.
    Datagrams(OwnedFd),
    /// A connection has ended: there is room for another.
    Room,
    /// Whoever reads this takes turns, and says so by [`Place::is_present`].
    RollCall,
    /// Finish what is under way and end.
    Stop,
}

/// By what sort of listener a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    Plain,
    Tls(ClientCertificate),
}

/// What a client must show to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    NotAsked,
    /// None will do, a bad one will not.
    Asked,
    Required,
}

impl Mesh {
    /// One place for each shard, of which the first `owners` have keys; gives each core its mailbox's other end.
    pub fn new(shards: Vec<Shard>, owners: usize) -> (Mesh, Vec<Receiver<Letter>>) {
        let (places, mailboxes) = shards
            .into_iter()
            .map(|shard| {
                // Unbounded in type, bounded by protocol: batches and lines are counted, and what else travels
                // (orders, connections) is bounded by the connection limit.
                let (sender, receiver) = crossbeam_channel::unbounded();
                (
                    Place {
                        shard: Lendable::new(shard),
                        bell: Bell::new(),
                        is_closed: AtomicBool::new(false),
                        is_present: AtomicBool::new(true),
                        mailbox: sender,
                    },
                    receiver,
                )
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let mesh = Mesh {
            places: places.into(),
            owners,
            connections: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
        };
        (mesh, mailboxes)
    }

    pub fn cores(&self) -> usize {
        self.places.len()
    }

    /// The core whose shard has keys with this hash.
    pub fn owner(&self, hash: KeyHash) -> usize {
        hash.owner(self.owners)
    }

    /// A connection has ended. Returns the cores that wait for that: each is owed a [`Letter::Room`].
    pub fn connection_ended(&self) -> impl Iterator<Item = usize> {
        // Sequentially consistent, as is the other side (`runtime::Doors`), which says that it waits and then counts
        // once more: one of the two sees the other.
        self.connections.fetch_sub(1, Ordering::SeqCst);
        let waits = |place: &Place| {
            place.is_closed.load(Ordering::SeqCst) && place.is_closed.swap(false, Ordering::SeqCst)
        };
        (0..self.cores()).filter(move |&core| waits(self.place(core)))
    }

    pub fn place(&self, core: usize) -> &Place {
        &self.places[core]
    }

    /// Puts a letter into a core's mailbox. The caller wakes the core ([`Bell::must_ring`]) when it has sent all
    /// it has for this turn.
    pub fn send(&self, core: usize, letter: Letter) {
        // A core that has ended has dropped its mailbox; it ends only when nobody waits for it.
        let _ = self.places[core].mailbox.send(letter);
    }
}
