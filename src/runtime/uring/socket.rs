//! A connection's socket, as the io_uring loop keeps it.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::mesh::Entrance;
use crate::runtime::conns::is_local;
use crate::runtime::sending::send_pieces;
use crate::session::{Output, Wire};

/// Invariant: the socket is closed only when neither `reading` nor `sending` is under way, so the kernel never
/// touches a descriptor or a buffer that has found another use.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    /// A multishot receive is armed.
    pub(super) reading: bool,
    /// The receive has been asked to end.
    pub(super) cancelling: bool,
    /// The receive has taken something and was not looked at since ([`super::hangups`]).
    pub(super) has_taken: bool,
    /// Output that the kernel sends in its own time, piece by piece: because the client is slow to read it, or because
    /// there are pages in it. Neither dropped nor written to while the kernel reads a piece.
    pub(super) sending: Option<Output>,
    /// Both directions have been shut down.
    pub(super) shut: bool,
    /// The core reads and writes datagrams here, and the loop says when there are some.
    pub(super) has_datagrams: bool,
    /// What is sent is sealed first: nothing goes past the output.
    is_sealed: bool,
}

impl Socket {
    fn new(fd: OwnedFd) -> Socket {
        Socket {
            fd,
            reading: false,
            cancelling: false,
            has_taken: false,
            sending: None,
            shut: false,
            has_datagrams: false,
            is_sealed: false,
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

    pub(super) fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Ends both directions, so that an armed receive completes. What was sent still arrives.
    pub(super) fn shut_down(&mut self) {
        if !self.shut {
            self.shut = true;
            // A socket that the client has closed already has nothing to shut down.
            let _ = rustix::net::shutdown(self.fd.as_fd(), rustix::net::Shutdown::Both);
        }
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
