//! The epoll loop, for kernels and containers that refuse io_uring.
//!
//! ```text
//!   wait:  ready descriptors; receive from each           shard lent out
//!   turn:  what was received --> sessions --> output      shard in hand
//!   then:  one send for each connection with output       shard lent out
//! ```
//!
//! Level-triggered: a connection is read once a turn and says again that it has more, so none can hold the others up. A
//! connection that is not to be read is taken out of the set, so that one whose client is gone cannot wake us in vain.
//! It costs two system calls a request more than the io_uring loop and is otherwise the same server.

mod socket;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, warn};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use super::{Arrival, Core, Listener, LoopParts, Patience, Plan, Wakers};
use crate::session::ConnectionId;
use socket::Socket;

/// Ready descriptors that one turn serves, at most; the others stay ready.
const EVENTS_MAX: usize = 64;

/// Bytes taken from one connection in a turn, at most.
const RECEIVE_SIZE: usize = 32 * 1024;
const _: () = assert!(EVENTS_MAX * RECEIVE_SIZE == super::RECEIVE_BUFFERS_SIZE);

/// Connections that one listener hands over in a turn, at most.
const ACCEPTS_PER_TURN: usize = 64;

/// Looks at the mailbox between two looks at the descriptors: a microsecond or so.
const LOOKS_PER_POLL: usize = 32;

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Wake,
    Listener(u32),
    /// By its place alone: a connection is closed between turns, and with its descriptor its events go.
    Connection(u32),
}

impl Source {
    fn pack(self) -> EventData {
        EventData::new_u64(match self {
            Source::Wake => 0,
            Source::Listener(index) => 1 << 32 | u64::from(index),
            Source::Connection(index) => 2 << 32 | u64::from(index),
        })
    }

    fn unpack(data: EventData) -> Source {
        match data.u64() >> 32 {
            0 => Source::Wake,
            1 => Source::Listener(data.u64() as u32),
            _ => Source::Connection(data.u64() as u32),
        }
    }
}

/// What a connection's receive came to.
#[derive(Debug)]
enum Received {
    /// So many bytes, in the slot of this number.
    Bytes {
        slot: usize,
        size: usize,
    },
    /// There are datagrams; the core takes them itself.
    Datagrams,
    End,
    Broken,
}

/// One core's loop.
pub struct Loop {
    core: Core<Socket>,
    poll: OwnedFd,
    wakers: Arc<Wakers>,
    listeners: Vec<Listener>,
    /// Whether the listeners are in the set.
    accepts: bool,
    /// An accept failed for want of descriptors or memory, and no connection has closed since.
    is_starved: bool,
    patience: Patience,
    /// [`EVENTS_MAX`] slots of [`RECEIVE_SIZE`]; memory only as far as it was ever filled.
    inbox: Box<[u8]>,
}

impl Loop {
    /// Sets up the set of descriptors.
    pub fn new(parts: LoopParts) -> io::Result<Loop> {
        let LoopParts {
            core,
            wakers,
            listeners,
            busy_poll,
            // A filter of system calls sees all that this loop does.
            is_confined: _,
        } = parts;
        let core = Core::new(core);
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &poll,
            wakers.event(core.me()),
            Source::Wake.pack(),
            EventFlags::IN,
        )?;
        for listener in &listeners {
            rustix::io::ioctl_fionbio(&listener.socket, true)?;
        }
        Ok(Loop {
            core,
            poll,
            wakers,
            listeners,
            accepts: false,
            is_starved: false,
            patience: Patience::new(busy_poll),
            inbox: vec![0; EVENTS_MAX * RECEIVE_SIZE].into_boxed_slice(),
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut received = Vec::with_capacity(EVENTS_MAX);
        let mut noted = Vec::new();
        loop {
            self.core.take_noted(&mut noted);
            for &id in &noted {
                self.carry_on(id);
            }
            let ends = self.core.may_end();
            self.mind_listeners();
            self.wake_peers();
            if ends {
                break;
            }
            self.look(&mut events, Some(&NOW));
            if events.is_empty() && !self.core.has_work() {
                self.wait(&mut events);
            }
            self.receive(&events, &mut received);
            self.turn(&mut received);
        }
        debug!("core {} has ended", self.core.me());
    }

    /// Does what a connection needs after a turn: sends its output, reads on or stops reading, closes.
    fn carry_on(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &connection.socket;
        let may_send = socket.sending.is_none();
        if let Some(output) = connection.output().filter(|_| may_send) {
            let bytes = output.piece();
            match send(socket, bytes, SEND) {
                Ok(size) if size == bytes.len() && output.is_plain() => self.core.sent(id),
                Ok(gone) => self.send_later(id, gone),
                Err(Errno::AGAIN | Errno::INTR) => self.send_later(id, 0),
                Err(_) => connection.is_broken = true,
            }
        }
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let plan = connection.plan();
        let is_sending = connection.socket.sending.is_some() || connection.output().is_some();
        let reads = plan == Plan::Read && !self.core.is_stopping();
        match plan {
            Plan::Close if !is_sending => self.close(id),
            _ => self.watch(id, reads),
        }
    }

    /// Listens for what the connection waits for; closes it if nothing more can be said to it.
    fn watch(&mut self, id: ConnectionId, reads: bool) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        if connection.is_broken {
            self.close(id);
        } else if let Err(error) =
            connection
                .socket
                .watch(&self.poll, Source::Connection(id.index).pack(), reads)
        {
            warn!("epoll: {error}: a connection is closed");
            self.close(id);
        }
    }

    fn close(&mut self, id: ConnectionId) {
        drop(self.core.close(id));
        // A descriptor is free again: the listeners may find one now.
        self.is_starved = false;
    }

    /// Listens for new connections while they may be accepted.
    fn mind_listeners(&mut self) {
        let accepts = !self.is_starved && !self.core.is_stopping() && self.core.may_accept();
        if accepts == self.accepts {
            return;
        }
        self.accepts = accepts;
        for (index, listener) in (0..).zip(&self.listeners) {
            let outcome = match accepts {
                true => epoll::add(
                    &self.poll,
                    &listener.socket,
                    Source::Listener(index).pack(),
                    EventFlags::IN,
                ),
                false => epoll::delete(&self.poll, &listener.socket),
            };
            if let Err(error) = outcome {
                warn!("epoll: {error}: a listener rests");
            }
        }
    }

    /// Takes an output of which `gone` bytes have gone, to be sent when the client has read them.
    fn send_later(&mut self, id: ConnectionId, gone: usize) {
        if let Some(connection) = self.core.connection(id) {
            let mut output = connection.take_output();
            output.advance(gone);
            connection.socket.sending = Some(output);
        }
    }

    /// Sends the next piece of what is left, as far as it goes: a page at a time, so that one value, however large, does
    /// not keep others waiting.
    fn go_on_sending(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &mut connection.socket;
        let Some(mut output) = socket.sending.take() else {
            return;
        };
        match send(&*socket, output.piece(), SEND) {
            Ok(size) => output.advance(size),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => connection.is_broken = true,
        }
        if output.is_empty() || connection.is_broken {
            self.core.sent_apart(id, output);
        } else {
            connection.socket.sending = Some(output);
        }
        self.core.note(id);
    }

    fn wake_peers(&mut self) {
        let Loop { core, wakers, .. } = self;
        core.wake_peers(|peer| wakers.wake(peer));
    }

    /// Fetches what is ready, and waits for something if there is no `patience`.
    fn look(&self, events: &mut Vec<Event>, patience: Option<&Timespec>) {
        events.clear();
        match epoll::wait(&self.poll, spare_capacity(events), patience) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait: {error}"),
        }
    }

    /// Waits until there is something to do: first with open eyes, where that has paid, then asleep.
    fn wait(&mut self, events: &mut Vec<Event>) {
        let window = self.patience.window();
        let began = Instant::now();
        while began.elapsed() < window {
            for _ in 0..LOOKS_PER_POLL {
                std::hint::spin_loop();
                if self.core.has_work() {
                    self.patience.was_rewarded();
                    return;
                }
            }
            self.look(events, Some(&NOW));
            if !events.is_empty() {
                self.patience.was_rewarded();
                return;
            }
            // Whoever is to send us something may be waiting for this very CPU.
            rustix::thread::sched_yield();
        }
        if self.core.lie_down() {
            self.look(events, None);
            self.core.get_up();
            self.patience.slept(!window.is_zero(), began.elapsed());
        }
    }

    /// Moves bytes from ready sockets to the inbox, accepts, and sends on.
    fn receive(&mut self, events: &[Event], received: &mut Vec<(ConnectionId, Received)>) {
        for (slot, event) in events.iter().take(EVENTS_MAX).enumerate() {
            let (flags, data) = (event.flags, event.data);
            match Source::unpack(data) {
                Source::Wake => self.wakers.hear(self.core.me()),
                Source::Listener(index) => self.accept(index),
                Source::Connection(index) => {
                    let Some(id) = self.core.current(index) else {
                        continue;
                    };
                    if flags.contains(EventFlags::OUT) {
                        self.go_on_sending(id);
                    }
                    if let Some(news) = self.receive_from(id, flags, slot) {
                        received.push((id, news));
                    }
                }
            }
        }
    }

    fn receive_from(&mut self, id: ConnectionId, flags: EventFlags, slot: usize) -> Option<Received> {
        let is_stopping = self.core.is_stopping();
        let socket = &mut self.core.connection(id)?.socket;
        if is_stopping {
            self.watch(id, false);
            return None;
        }
        if !socket.is_read() {
            // Nobody reads what is sent to it.
            return flags
                .intersects(EventFlags::ERR | EventFlags::HUP)
                .then_some(Received::Broken);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            return None;
        }
        if socket.has_datagrams {
            return Some(Received::Datagrams);
        }
        let room = &mut self.inbox[slot * RECEIVE_SIZE..][..RECEIVE_SIZE];
        match recv(&*socket, room, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Some(Received::End),
            Ok((size, _)) => Some(Received::Bytes { slot, size }),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(Received::Broken),
        }
    }

    /// One turn: everything that was received is served.
    fn turn(&mut self, received: &mut Vec<(ConnectionId, Received)>) {
        let mut turn = self.core.turn();
        for (id, news) in received.drain(..) {
            match news {
                Received::Bytes { slot, size } => {
                    turn.received(id, &self.inbox[slot * RECEIVE_SIZE..][..size]);
                }
                Received::Datagrams => turn.readable(id),
                Received::End => turn.ended(id),
                Received::Broken => turn.failed(id),
            }
        }
        turn.resume();
        turn.read_letters(|turn, arrival| {
            let id = match arrival {
                Arrival::Connection(socket, entrance) => {
                    turn.open(Socket::of_connection(socket, entrance), entrance)
                }
                Arrival::Datagrams(socket) => turn.open_datagrams(Socket::of_datagrams(socket)),
            };
            turn.note(id);
        });
        turn.finish();
    }

    fn accept(&mut self, index: u32) {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.core.accepts_always() && !self.core.may_accept() {
                return;
            }
            let listener = &self.listeners[index as usize];
            match accept_with(&listener.socket, SocketFlags::CLOEXEC) {
                Ok(socket) => self.core.accepted(socket, listener),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    warn!("accept: {error}");
                    // It would say so again at once, and without end.
                    self.is_starved = true;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_packing() {
        for source in [Source::Wake, Source::Listener(7), Source::Connection(u32::MAX)] {
            assert_eq!(Source::unpack(source.pack()), source);
        }
    }
}
