//! A connection, as a core keeps it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};

use super::datagrams::{DATAGRAM_SIZE_MAX, Datagrams};
use super::tls::Tls;
use crate::hash::KeySeed;
use crate::protocol::watch::{CloseReason, Peer};
use crate::session::{Buffers, ConnectionId, Output, Rules, Session};
use crate::time::{Now, Seconds};

/// A connection: the session and what the event loop keeps about its socket.
pub struct Connection<S> {
    pub session: Session,
    pub socket: S,
    /// The other end, as it was when the connection came: a broken socket does not know it any more.
    pub(super) peer: Peer,
    /// The client has sent all it will.
    pub ended: bool,
    /// Sending or receiving has failed. Nothing more is served, whatever has come, and nothing more can be said.
    pub is_broken: bool,
    /// It is closed because nothing was asked for too long.
    pub(super) was_silent: bool,
    /// Whether it is on the list of those to be looked at after the turn.
    pub(super) is_noted: bool,
    /// Whether it is on the list of those to be resumed.
    pub(super) is_to_resume: bool,
    /// When bytes last came from the client.
    pub last_heard: Seconds,
    /// The loop has taken output that has not gone yet, and which takes so many bytes of memory.
    pub(super) is_sending_apart: bool,
    pub(super) sending_apart: usize,
    /// What it held when it was last entered in the core's ledger.
    pub(super) held: usize,
    /// It is hung up on, because memory has run out: it is not served, and nothing more is said to it.
    pub(super) is_cut: bool,
    /// What it still held then.
    pub(super) doomed: usize,
    /// There for who came by an entrance of TLS: nothing but what it has sealed may be sent.
    pub(super) tls: Option<Box<Tls>>,
    /// There for a socket of datagrams, which is no client's.
    pub(super) datagrams: Option<Box<Datagrams>>,
}

/// What the event loop is to do with a connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Go on reading.
    Read,
    /// Too much is waiting here: do not read.
    Hold,
    /// Send what is left to send, then close.
    Close,
}

impl<S: AsFd> Connection<S> {
    pub(super) fn new(
        id: ConnectionId,
        socket: S,
        peer: Peer,
        seed: KeySeed,
        rules: &Rules,
        now: Now,
    ) -> Connection<S> {
        Connection {
            session: Session::new(id, socket.as_fd().as_raw_fd(), seed, rules),
            socket,
            peer,
            ended: false,
            is_broken: false,
            was_silent: false,
            is_noted: false,
            is_to_resume: false,
            last_heard: now.seconds,
            is_sending_apart: false,
            sending_apart: 0,
            held: 0,
            is_cut: false,
            doomed: 0,
            tls: None,
            datagrams: None,
        }
    }

    /// Nobody is served any more, and what is left is to close it.
    pub(super) fn is_over(&self) -> bool {
        self.is_cut || self.is_broken
    }

    fn has_broken_tls(&self) -> bool {
        self.tls.as_deref().is_some_and(Tls::has_failed)
    }

    /// What the loop may send now, if there is anything.
    pub fn output(&self) -> Option<&Output> {
        if self.is_over() {
            return None;
        }
        let output = match (&self.tls, &self.datagrams) {
            (Some(tls), _) => tls.sealed(),
            (None, Some(_)) => return None,
            (None, None) => self.session.output(),
        };
        (!output.is_empty()).then_some(output)
    }

    /// Whether something is said that is yet to be sealed.
    pub(super) fn has_unsealed(&self) -> bool {
        let Some(tls) = &self.tls else { return false };
        tls.is_sealing() || !self.session.output().is_empty()
    }

    /// Takes the output away, for a send that the kernel finishes in its own time ([`super::Core::sent_apart`]).
    pub fn take_output(&mut self) -> Output {
        let output = match &mut self.tls {
            Some(tls) => tls.take_sealed(),
            None => self.session.take_output(),
        };
        self.is_sending_apart = true;
        self.sending_apart = output.memory();
        output
    }

    /// The output that was taken is no more.
    pub(super) fn has_sent_apart(&mut self) {
        self.is_sending_apart = false;
        self.sending_apart = 0;
    }

    /// Bytes of memory that it takes, pages of items apart.
    pub(super) fn memory(&self) -> usize {
        let tls = self.tls.as_deref().map_or(0, Tls::memory);
        let datagrams = self.datagrams.as_deref().map_or(0, |_| DATAGRAM_SIZE_MAX);
        size_of::<Self>() + self.session.memory() + self.sending_apart + tls + datagrams
    }

    /// Of these, what is in use because the client has not said all or does not read.
    pub(super) fn used(&self) -> usize {
        self.session.used() + self.sending_apart + self.tls.as_deref().map_or(0, Tls::used)
    }

    /// Lets go of all that it holds, and ends both directions.
    pub(super) fn cut(&mut self, buffers: &mut Buffers) {
        self.is_cut = true;
        self.ended = true;
        self.session.close(buffers);
        self.tls = None;
        // A socket that the client has closed already has nothing to shut down.
        let _ = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Both);
    }

    /// Whether the client was heard `timeout` seconds ago for the last time, and it is his turn. As memcached has it, who
    /// comes through the file system is trusted to know what he does.
    pub(super) fn is_idle(&self, now: Seconds, timeout: u32) -> bool {
        now.since(self.last_heard) > timeout
            && self.peer.0.is_some()
            && self.session.awaits_command()
            && self.session.output().is_empty()
            && !(self.is_sending_apart || self.ended || self.datagrams.is_some() || self.session.is_watcher())
    }

    /// Why it is closed, when it is.
    pub(super) fn close_reason(&self) -> CloseReason {
        match self.session.close_reason() {
            Some(reason) => reason,
            None if self.was_silent => CloseReason::IdleTimeout,
            None if self.ended && !self.is_over() && !self.has_broken_tls() => CloseReason::Normal,
            None => CloseReason::Error,
        }
    }

    pub fn plan(&self) -> Plan {
        if self.is_over() {
            return Plan::Close;
        }
        let all_served = self.session.is_settled() && !self.has_unsealed();
        if self.datagrams.is_some() {
            return if all_served { Plan::Read } else { Plan::Hold };
        }
        if all_served && (self.session.is_closing() || self.ended) {
            Plan::Close
        } else if self.session.wants_no_input() || self.session.is_closing() || self.ended {
            Plan::Hold
        } else {
            Plan::Read
        }
    }
}

/// Puts it on the list of those to be looked at, unless it is there.
pub(super) fn note<S>(connection: &mut Connection<S>, id: ConnectionId, noted: &mut Vec<ConnectionId>) {
    if !connection.is_noted {
        connection.is_noted = true;
        noted.push(id);
    }
}

/// Puts it on the list of those to be resumed, unless it is there.
pub(super) fn resume_later<S>(
    connection: &mut Connection<S>,
    id: ConnectionId,
    to_resume: &mut VecDeque<ConnectionId>,
) {
    if !connection.is_to_resume {
        connection.is_to_resume = true;
        to_resume.push_back(id);
    }
}
