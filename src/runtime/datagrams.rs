//! UDP: one request a datagram, its reply in as many datagrams as it takes.
//!
//! ```text
//!   0      2      4      6      8
//!   +------+------+------+------+----------------------+
//!   |  id  | num- | how  |  0   | commands, or a part  |    all numbers big-endian
//!   |      | ber  | many |      | of a reply           |
//!   +------+------+------+------+----------------------+
//! ```
//!
//! A request is one datagram (of several it is dropped, as is what ends before its command does) and may hold several
//! commands; each command's reply is a message of its own, numbered from 0, under the request's id. What cannot be sent
//! at once is lost, as datagrams are.
//!
//! Who can reach such a port can have replies sent to anybody: that is why there is none unless -U asks for it.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, getsockname, recvfrom, sendto};

use crate::protocol::Word;

const HEADER_SIZE: usize = 8;

/// What a datagram of a reply carries, at most.
const PART_SIZE_MAX: usize = 1400 - HEADER_SIZE;

/// Room for any datagram.
pub(super) const DATAGRAM_SIZE_MAX: usize = 64 * 1024;

/// A command's reply, at most: an item of the default limit with all that belongs to it. A longer one is not given.
pub const REPLY_SIZE_MAX: usize = (1 << 20) + 4096;
const _: () = assert!(REPLY_SIZE_MAX / PART_SIZE_MAX < u16::MAX as usize);

/// Datagrams of one socket that are served in a turn, at most.
pub(super) const DATAGRAMS_PER_TURN: usize = 32;

/// Instead of a longer reply.
pub(super) const TOO_LONG: Word = Word::NoMemoryWritingGet;

/// What a socket for datagrams has beside its session, which serves one request after another.
pub(super) struct Datagrams {
    /// Who sent the last request, and its id.
    from: Option<SocketAddrAny>,
    id: [u8; 2],
    /// The port that is served here.
    own_port: Option<u16>,
    /// Where a datagram is received; empty while its request is being served from there.
    pub(super) room: Box<[u8]>,
}

fn port(address: &SocketAddrAny) -> Option<u16> {
    SocketAddr::try_from(address.clone())
        .ok()
        .map(|address| address.port())
}

/// What was received.
pub(super) enum Received {
    /// There is none.
    Nothing,
    /// Nothing that could be answered.
    Nonsense,
    /// The commands are here, in the room.
    Request(std::ops::Range<usize>),
}

impl Datagrams {
    pub(super) fn new(socket: BorrowedFd<'_>) -> Datagrams {
        Datagrams {
            from: None,
            id: [0; 2],
            own_port: getsockname(socket).ok().and_then(|own| port(&own)),
            room: vec![0; DATAGRAM_SIZE_MAX].into(),
        }
    }

    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> Received {
        let received = recvfrom(socket, &mut self.room[..], RecvFlags::DONTWAIT);
        let (size, _, from) = match received {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN) => return Received::Nothing,
            // Of an earlier reply that did not arrive.
            Err(_) => return Received::Nonsense,
        };
        match &self.room[..size] {
            // It would be a server, which answers in its turn, for ever.
            _ if from.as_ref().and_then(port) == self.own_port => Received::Nonsense,
            [id, id_low, _, _, 0, 1, _, _, _, ..] => {
                self.id = [*id, *id_low];
                self.from = from;
                Received::Request(HEADER_SIZE..size)
            }
            _ => Received::Nonsense,
        }
    }

    /// Who is being answered.
    pub(super) fn from(&self) -> Option<&SocketAddrAny> {
        self.from.as_ref()
    }

    /// Sends one command's reply; returns how many bytes went.
    pub(super) fn reply(&self, socket: BorrowedFd<'_>, reply: &[u8]) -> u64 {
        let Some(from) = &self.from else { return 0 };
        let parts = reply.chunks(PART_SIZE_MAX);
        let count = (parts.len() as u16).to_be_bytes();
        let mut datagram = [0; HEADER_SIZE + PART_SIZE_MAX];
        let mut sent = 0;
        for (number, part) in (0u16..).zip(parts) {
            let number = number.to_be_bytes();
            let header = [
                self.id[0], self.id[1], number[0], number[1], count[0], count[1], 0, 0,
            ];
            let datagram = &mut datagram[..HEADER_SIZE + part.len()];
            datagram[..HEADER_SIZE].copy_from_slice(&header);
            datagram[HEADER_SIZE..].copy_from_slice(part);
            match sendto(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, from) {
                Ok(size) => sent += size as u64,
                Err(_) => break,
            }
        }
        sent
    }
}
