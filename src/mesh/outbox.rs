//! What this core has for its peers: one open batch each, and the empty batches to follow it.

use super::{BATCHES_PER_PEER, Batch, Letter, Mesh, Wakes};
use crate::session::Ask;
use crate::shard::Reservation;

/// One core's outboxes.
pub struct Outboxes {
    me: usize,
    peers: Box<[Outbox]>,
    /// Bytes of memory of all batches, each as it was when it last left or came home.
    memory: usize,
    /// How many outboxes can take nothing more. While it is not 0 the core takes no requests.
    full: usize,
}

/// The way to one peer.
///
/// Invariant: `spare.len() + out + 1 == BATCHES_PER_PEER`.
struct Outbox {
    open: Box<Batch>,
    /// Kept in boxes: they travel as they are.
    #[expect(
        clippy::vec_box,
        reason = "a batch travels in its box, which must not be made anew"
    )]
    spare: Vec<Box<Batch>>,
    /// Batches that are with the peer.
    out: usize,
}

impl Outboxes {
    pub fn new(me: usize, cores: usize) -> Outboxes {
        let outbox = |peer| Outbox {
            open: Box::new(Batch::new(me, peer)),
            spare: (1..BATCHES_PER_PEER)
                .map(|_| Box::new(Batch::new(me, peer)))
                .collect(),
            out: 0,
        };
        Outboxes {
            me,
            peers: (0..cores).map(outbox).collect(),
            memory: 0,
            full: 0,
        }
    }

    pub fn push(&mut self, peer: usize, ask: &Ask<'_>, reservation: Option<Reservation>) {
        let open = &mut self.peers[peer].open;
        let was_full = open.is_full();
        open.push(ask, reservation);
        self.full += usize::from(!was_full && open.is_full());
    }

    pub fn have_room(&self) -> bool {
        self.full == 0
    }

    /// Bytes of memory that the batches take, about.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the peer still has something of this core's to do. Then nothing may overtake it.
    pub fn is_under_way(&self, peer: usize) -> bool {
        self.peers[peer].out > 0 || !self.peers[peer].open.is_empty()
    }

    /// Whether any batch is open or with a peer.
    pub fn are_empty(&self) -> bool {
        self.peers
            .iter()
            .all(|outbox| outbox.out == 0 && outbox.open.is_empty())
    }

    /// Sends every open batch that has something in it, as far as empty ones are left to follow it.
    pub fn flush(&mut self, mesh: &Mesh, wakes: &mut Wakes) {
        for (peer, outbox) in self.peers.iter_mut().enumerate() {
            if outbox.open.is_empty() {
                continue;
            }
            let Some(spare) = outbox.spare.pop() else { continue };
            self.full -= usize::from(outbox.open.is_full());
            let mut batch = std::mem::replace(&mut outbox.open, spare);
            self.memory = self.memory - batch.weighed + batch.weigh();
            outbox.out += 1;
            mesh.send(peer, Letter::Asks(batch));
            wakes.note(peer);
        }
        debug_assert!(self.peers[self.me].open.is_empty(), "a core asks itself nothing");
    }

    /// A batch has come home, all done.
    pub fn take_home(&mut self, mut batch: Box<Batch>) {
        batch.clear();
        self.memory = self.memory - batch.weighed + batch.weigh();
        let outbox = &mut self.peers[batch.peer];
        outbox.out -= 1;
        outbox.spare.push(batch);
        debug_assert_eq!(outbox.spare.len() + outbox.out + 1, BATCHES_PER_PEER);
    }
}
