//! The door: who is let in, and to which core.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::net::{SendFlags, send};

use super::Core;
use crate::mesh::Letter;
use crate::session::Wire;

/// What one core that accepts keeps in mind.
pub(super) struct Door {
    /// `-c`, over all cores.
    connections_max: usize,
    /// The core that the next connection goes to.
    next_core: usize,
}

impl Door {
    pub(super) fn new(connections_max: usize) -> Door {
        Door {
            connections_max,
            next_core: 0,
        }
    }

    /// Hands a new connection to a core, or turns it away. `shared`: to all cores in turn, else to this one.
    pub(super) fn admit<S: Wire + AsFd>(&mut self, core: &mut Core<S>, socket: OwnedFd, shared: bool) {
        if core.is_stopping() {
            return;
        }
        let mesh = core.mesh().clone();
        if mesh.connections.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            mesh.connections.fetch_sub(1, Ordering::Relaxed);
            core.count_rejected();
            // The socket is new and its buffer empty: these bytes fit, or the client is gone.
            let words = b"ERROR Too many open connections\r\n";
            let _ = send(socket.as_fd(), words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            return;
        }
        let owner = if shared {
            let next = self.next_core;
            self.next_core = (next + 1) % mesh.cores();
            next
        } else {
            core.me()
        };
        core.hand_over(owner, Letter::Connection(socket));
    }
}
