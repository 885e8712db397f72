//! The way out of values that are sent at once, whatever the loop.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

/// Sends the pieces as far as they go without waiting; a failure shows when the loop sends.
pub(super) fn send_pieces(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> usize {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags).unwrap_or(0)
}
