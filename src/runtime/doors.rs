//! The connection limit, and what becomes of those who come above it.
//!
//! As a rule they are told so and turned away (memcached's `maxconns_fast`). With `-o no_maxconns_fast` the core stops
//! accepting instead: whoever comes waits in the listeners' queues, and is served when a connection has ended.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::net::SendFlags;

use crate::mesh::{Entrance, Mesh};
use crate::protocol::Word;
use crate::session::Counters;

/// Somebody who has just been accepted.
pub(super) struct Visitor {
    pub(super) socket: OwnedFd,
    /// To be dealt to any core, or to stay with this one.
    pub(super) shared: bool,
    pub(super) entrance: Entrance,
}

/// Invariant: nobody is held unless the core is closed, and while it is closed it accepts nobody. So those who are held
/// are as many as the accepts that were under way, one for each listener.
pub(super) struct Doors {
    me: usize,
    connections_max: usize,
    /// Those above the limit are turned away, and the doors are never closed.
    pub(super) turns_away: bool,
    held: VecDeque<Visitor>,
    closed_since: Option<Instant>,
    /// The core that the next connection goes to.
    next_core: usize,
}

impl Doors {
    pub(super) fn new(me: usize, connections_max: usize, turns_away: bool) -> Doors {
        Doors {
            me,
            connections_max,
            turns_away,
            held: VecDeque::new(),
            closed_since: None,
            next_core: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed_since.is_some()
    }

    /// Somebody came. Returns the core that is to serve him, unless nobody is now. Where there is no room in memory he is
    /// turned away, if anybody is.
    pub(super) fn admit(
        &mut self,
        visitor: Visitor,
        mesh: &Mesh,
        has_room: bool,
        counters: &mut Counters,
    ) -> Option<(usize, Visitor)> {
        let may_come = has_room || !self.turns_away;
        if may_come && !self.is_closed() && self.count(mesh) {
            return Some(self.deal(visitor, mesh));
        }
        if self.turns_away {
            counters.rejected_connections += 1;
            // The socket is new and its buffer empty: these bytes fit, or the client is gone.
            let words = Word::TooManyConnections.line().as_bytes();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = rustix::net::send(visitor.socket.as_fd(), words, flags);
            return None;
        }
        self.held.push_back(visitor);
        if self.closed_since.is_none() {
            self.closed_since = Some(Instant::now());
            counters.listen_disabled_num += 1;
            counters.curr_closed = 1;
        }
        None
    }

    /// The next of those who were held, if there is room. When there is nobody left to let in, the doors open.
    pub(super) fn let_in(&mut self, mesh: &Mesh, counters: &mut Counters) -> Option<(usize, Visitor)> {
        let since = self.closed_since?;
        // First say that this core waits, then count: see `Mesh::connection_ended`.
        let is_closed = &mesh.place(self.me).is_closed;
        is_closed.store(true, Ordering::SeqCst);
        if mesh.connections.load(Ordering::SeqCst) >= self.connections_max {
            return None;
        }
        match self.held.pop_front() {
            Some(visitor) if self.count(mesh) => Some(self.deal(visitor, mesh)),
            Some(visitor) => {
                self.held.push_front(visitor);
                None
            }
            None => {
                is_closed.store(false, Ordering::SeqCst);
                self.closed_since = None;
                counters.listen_disabled_us += since.elapsed().as_micros() as u64;
                counters.curr_closed = 0;
                None
            }
        }
    }

    /// Counts one more connection, if the limit allows.
    fn count(&self, mesh: &Mesh) -> bool {
        let one_more = |count: usize| (count < self.connections_max).then_some(count + 1);
        mesh.connections
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    fn deal(&mut self, visitor: Visitor, mesh: &Mesh) -> (usize, Visitor) {
        if !visitor.shared {
            return (self.me, visitor);
        }
        let core = self.next_core;
        self.next_core = (core + 1) % mesh.cores();
        (core, visitor)
    }
}
