//! Output on its way, whatever the loop.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Output that goes in its own time, because the client is slow to read it.
///
/// Invariant: `buffer` is neither moved out nor changed while the kernel reads it.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) buffer: Vec<u8>,
    /// Bytes that have gone.
    pub(super) gone: usize,
}

/// Sends the pieces as far as they go without waiting; a failure shows when the loop sends.
pub(super) fn send_pieces(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> usize {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags).unwrap_or(0)
}
