//! A connection's socket, as the epoll loop keeps it.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::mesh::Entrance;
use crate::runtime::conns::is_local;
use crate::runtime::sending::send_pieces;
use crate::session::{Output, Wire};

#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// Output that waits for the client to read.
    pub(super) sending: Option<Output>,
    /// The core reads and writes datagrams here, and the loop says when there are some.
    pub(super) has_datagrams: bool,
    /// What is sent is sealed first: nothing goes past the output.
    is_sealed: bool,
    /// What the set knows of it. Invariant: the socket is in the set exactly if this is not empty.
    watched: EventFlags,
}

impl Socket {
    fn new(fd: OwnedFd) -> Socket {
        Socket {
            fd,
            sending: None,
            has_datagrams: false,
            is_sealed: false,
            watched: EventFlags::empty(),
        }
    }

    pub(super) fn of_connection(fd: OwnedFd, entrance: Entrance) -> Socket {
        Socket {
            is_sealed: entrance != Entrance::Plain,
            ..Socket::new(fd)
        }
    }

    pub(super) fn of_datagrams(fd: OwnedFd) -> Socket {
        Socket {
            has_datagrams: true,
            ..Socket::new(fd)
        }
    }

    /// Whether the set tells when bytes have come.
    pub(super) fn is_read(&self) -> bool {
        self.watched.contains(EventFlags::IN)
    }

    /// Makes the set tell when bytes have come, if it `reads`, and when there is room for those that wait.
    pub(super) fn watch(&mut self, poll: &OwnedFd, data: EventData, reads: bool) -> rustix::io::Result<()> {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, reads);
        wanted.set(EventFlags::OUT, self.sending.is_some());
        if wanted != self.watched {
            match (self.watched.is_empty(), wanted.is_empty()) {
                (true, _) => epoll::add(poll, &self.fd, data, wanted)?,
                (false, false) => epoll::modify(poll, &self.fd, data, wanted)?,
                (false, true) => epoll::delete(poll, &self.fd)?,
            }
            self.watched = wanted;
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Wire for Socket {
    fn send_now(&mut self, pieces: &[IoSlice<'_>]) -> usize {
        if self.sending.is_some() || self.has_datagrams || self.is_sealed {
            return 0;
        }
        send_pieces(self.fd.as_fd(), pieces)
    }

    fn is_local(&self) -> bool {
        is_local(self.fd.as_fd())
    }
}
