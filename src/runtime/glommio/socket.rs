//! A connection's socket, as the glommio loop keeps it.

#![expect(
    unsafe_code,
    reason = "glommio takes its descriptors raw; see each SAFETY comment"
)]

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_io::{AsyncRead, AsyncWrite};
use glommio::io::BufferedFile;
use glommio::net::{TcpListener, TcpStream, UdpSocket};

use crate::mesh::Entrance;
use crate::runtime::conns::is_local;
use crate::runtime::sending::send_pieces;
use crate::session::{Output, Wire};

pub(super) struct Socket {
    wire: Kind,
    /// Wakes the task that moves this socket's bytes; there once that has run.
    pub(super) task: Option<Waker>,
    /// Whether the task may receive.
    reads: bool,
    /// Output on its way. Invariant: nothing else is sent while it is there.
    pub(super) sending: Option<Output>,
    /// What is sent is sealed first: nothing goes past the output.
    is_sealed: bool,
}

enum Kind {
    /// Of TCP or of a unix socket: glommio does nothing with the one that it does not do with the other, and its
    /// `UnixStream` would not tell its descriptor.
    Stream(TcpStream),
    /// The core reads and writes datagrams here, and the loop says when there are some.
    Datagrams(Rc<UdpSocket>),
}

impl Socket {
    fn new(wire: Kind, is_sealed: bool) -> Socket {
        Socket {
            wire,
            task: None,
            reads: false,
            sending: None,
            is_sealed,
        }
    }

    /// To be called by a task of the executor that will serve it, as all that makes something of glommio's here.
    pub(super) fn of_connection(fd: OwnedFd, entrance: Entrance) -> Socket {
        // SAFETY: the descriptor is ours alone, and the stream owns it from here on.
        let stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Socket::new(Kind::Stream(stream), entrance != Entrance::Plain)
    }

    pub(super) fn of_datagrams(fd: OwnedFd) -> Socket {
        // A ring does not wait for a socket that does not block. All that the core does here says so each time.
        let _ = rustix::io::ioctl_fionbio(&fd, false);
        // SAFETY: the descriptor is ours alone, and glommio's socket owns it from here on.
        let socket = unsafe { UdpSocket::from_raw_fd(fd.into_raw_fd()) };
        Socket::new(Kind::Datagrams(Rc::new(socket)), false)
    }

    /// There if datagrams come here.
    pub(super) fn datagrams(&self) -> Option<Rc<UdpSocket>> {
        match &self.wire {
            Kind::Stream(_) => None,
            Kind::Datagrams(socket) => Some(socket.clone()),
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.reads
    }

    /// Lets the task receive, or not.
    pub(super) fn set_read(&mut self, reads: bool) {
        if reads
            && !self.reads
            && let Some(task) = &self.task
        {
            task.wake_by_ref();
        }
        self.reads = reads;
    }

    /// Receives what is there; if nothing is, the task is woken when something has come.
    pub(super) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Kind::Stream(stream) => Pin::new(stream).poll_read(context, room),
            Kind::Datagrams(_) => Poll::Pending,
        }
    }

    /// Sends some of the bytes; if none goes, the task is woken when there is room.
    pub(super) fn poll_send(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Kind::Stream(stream) = &mut self.wire else {
            return Poll::Pending;
        };
        // A task that has never run tries again when it does.
        let task = self.task.as_ref().unwrap_or(Waker::noop());
        Pin::new(stream).poll_write(&mut Context::from_waker(task), bytes)
    }
}

/// Whoever moves its bytes finds it gone, and ends.
impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.wire {
            Kind::Stream(stream) => of_glommio(stream),
            Kind::Datagrams(socket) => of_glommio(&**socket),
        }
    }
}

impl Wire for Socket {
    fn send_now(&mut self, pieces: &[IoSlice<'_>]) -> usize {
        let is_stream = matches!(self.wire, Kind::Stream(_));
        if self.sending.is_some() || self.is_sealed || !is_stream {
            return 0;
        }
        send_pieces(self.as_fd(), pieces)
    }

    fn is_local(&self) -> bool {
        is_local(self.as_fd())
    }
}

/// The descriptor of something of glommio's, which does not lend it itself.
fn of_glommio(owner: &impl AsRawFd) -> BorrowedFd<'_> {
    // SAFETY: the owner closes it when it is dropped, and is borrowed for as long.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}

/// Listens on a descriptor of its own for the same socket.
pub(super) fn listener(socket: &OwnedFd) -> io::Result<TcpListener> {
    let own = socket.try_clone()?;
    // SAFETY: the descriptor is ours alone, and the listener owns it from here on.
    Ok(unsafe { TcpListener::from_raw_fd(own.into_raw_fd()) })
}

/// A connection as glommio accepted it, as a descriptor that may go to another core.
pub(super) fn take_out(stream: &TcpStream) -> io::Result<OwnedFd> {
    of_glommio(stream).try_clone_to_owned()
}

/// An eventfd, for reads that the ring waits for.
pub(super) fn event(fd: BorrowedFd<'_>) -> io::Result<BufferedFile> {
    let own = fd.try_clone_to_owned()?;
    // SAFETY: the descriptor is ours alone, and the file owns it from here on.
    Ok(unsafe { BufferedFile::from_raw_fd(own.into_raw_fd()) })
}
