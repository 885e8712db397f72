//! The io_uring loop: multishot accept and receive, one small ring of buffers, and one system call a turn.
//!
//! ```text
//!   turn:  completions --> sessions --> output            shard in hand
//!   enter: all sends, wakes, re-arms of the turn go in,   shard lent out
//!          completions come out
//! ```
//!
//! Sends carry `MSG_DONTWAIT | MSG_WAITALL` and post no completion when they succeed: when the system call returns
//! they are done and their buffers are free. One that could not finish (the client reads slowly) does post one; then
//! the output is handed to the kernel piece by piece, for as long as it takes, and the connection's new output waits
//! behind it. So is an output that holds pages of large values, in pieces of a page: one value, however large, does
//! not keep others waiting.
//!
//! Why this and not its alternatives, with figures: docs/design/01-event-loop.md.

#![expect(
    unsafe_code,
    reason = "queue entries carry addresses; see each SAFETY comment"
)]

mod buffers;
mod hangups;
mod refused;
mod ring;
mod socket;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use io_uring::{cqueue, opcode, types};
use log::{debug, warn};

use super::{Arrival, Core, Listener, LoopParts, Patience, Plan, Turn, Wakers};
use crate::session::ConnectionId;
use hangups::Hangups;
use ring::{Ring, Token};
use socket::Socket;

pub use refused::explain;

/// Looks at the queues between two offers of the CPU to others: a microsecond or so.
const LOOKS_PER_YIELD: usize = 32;

const SEND_NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
const SEND_LATER: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Checks that the kernel grants a ring with all that the loop needs.
pub fn probe() -> io::Result<()> {
    Ring::new(false).map(drop)
}

/// One core's loop.
pub struct Loop {
    core: Core<Socket>,
    ring: Ring,
    wakers: Arc<Wakers>,
    listeners: Vec<Listener>,
    /// Listeners whose accept must be armed (again).
    to_accept: Vec<u32>,
    /// Listeners whose accept failed for want of descriptors or memory: armed again when a connection has closed.
    starved: Vec<u32>,
    patience: Patience,
    hangups: Hangups,
    /// Where the kernel puts the eventfd's count. Boxed: it must not move.
    event_count: Box<u64>,
    is_event_armed: bool,
}

impl Loop {
    /// Sets up the ring. Must be called on the thread that will run the loop.
    pub fn new(parts: LoopParts) -> io::Result<Loop> {
        let LoopParts {
            core,
            wakers,
            listeners,
            busy_poll,
            is_confined,
        } = parts;
        let ring = Ring::new(is_confined)?;
        let core = Core::new(core);
        wakers.set_ring(core.me(), ring.fd());
        Ok(Loop {
            to_accept: (0..listeners.len() as u32).collect(),
            starved: Vec::new(),
            core,
            ring,
            wakers,
            listeners,
            patience: Patience::new(busy_poll),
            hangups: Hangups::new(),
            event_count: Box::new(0),
            is_event_armed: false,
        })
    }

    /// Serves until it is told to stop.
    pub fn run(mut self) {
        let mut completions = Vec::new();
        let mut noted = Vec::new();
        let mut sending = Vec::new();
        loop {
            self.core.take_noted(&mut noted);
            for &id in &noted {
                self.carry_on(id, &mut sending);
            }
            if self.core.may_end() && sending.is_empty() {
                self.wake_peers();
                self.stop_listening();
                break;
            }
            self.arm();
            self.look_for_hangups();
            self.wake_peers();
            self.ring.enter(false);
            self.ring.take_completions(&mut completions);
            self.settle_sends(&completions, &mut sending);
            let has_work = self.core.has_work() || self.hangups.are_due();
            if completions.is_empty() && !has_work && !self.core.is_over() {
                self.wait();
                self.ring.take_completions(&mut completions);
            }
            self.turn(&completions);
        }
        debug!("core {} has ended", self.core.me());
    }

    /// Does what a connection needs after a turn: sends its output, reads on or stops reading, closes.
    fn carry_on(&mut self, id: ConnectionId, sending: &mut Vec<ConnectionId>) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let plan = connection.plan();
        let socket = &connection.socket;
        let output = connection.output();
        let has_output = output.is_some();
        if let Some(output) = output.filter(|_| socket.sending.is_none()) {
            if !output.is_plain() {
                self.send_later(id, 0);
                return self.carry_on(id, sending);
            }
            let bytes = output.piece();
            let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let entry = opcode::Send::new(types::Fd(socket.raw()), bytes.as_ptr(), size)
                .flags(SEND_NOW)
                .build()
                .flags(io_uring::squeue::Flags::SKIP_SUCCESS);
            // SAFETY: the output is not touched before `enter` returns: no session runs in between, and a send that
            // does not finish within `enter` fails with a completion instead (MSG_DONTWAIT).
            unsafe { self.ring.push(entry, Token::SendNow(id)) };
            sending.push(id);
        }
        let is_sending = has_output || socket.sending.is_some();
        match plan {
            _ if connection.is_broken => self.close(id),
            Plan::Read => self.read(id),
            Plan::Hold => self.stop_reading(id),
            // What is under way goes first; its end brings us here again.
            Plan::Close if is_sending => {}
            Plan::Close => self.close(id),
        }
    }

    /// Arms the receive unless it is armed.
    fn read(&mut self, id: ConnectionId) {
        if self.core.is_stopping() {
            return;
        }
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &mut connection.socket;
        if socket.reading {
            return;
        }
        socket.reading = true;
        let fd = types::Fd(socket.raw());
        let entry = match socket.has_datagrams {
            true => opcode::PollAdd::new(fd, libc::POLLIN as u32).build(),
            false => opcode::RecvMulti::new(fd, buffers::GROUP).build(),
        };
        // SAFETY: the entry holds no address; its buffers are the registered ring's.
        unsafe { self.ring.push(entry, Token::Receive(id)) };
    }

    fn stop_reading(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &mut connection.socket;
        if !socket.reading || socket.cancelling {
            return;
        }
        socket.cancelling = true;
        let entry = opcode::AsyncCancel::new(Token::Receive(id).pack())
            .build()
            .flags(io_uring::squeue::Flags::SKIP_SUCCESS);
        // SAFETY: the entry holds no address.
        unsafe { self.ring.push(entry, Token::Cancel(id)) };
    }

    /// Makes the receives anew that may have missed a hang-up: when they have ended they are armed again.
    fn look_for_hangups(&mut self) {
        for id in self.hangups.take(self.core.second()) {
            let Some(connection) = self.core.connection(id) else {
                continue;
            };
            if !self.hangups.is_silent(connection.last_heard) {
                self.hangups.note(id);
                continue;
            }
            connection.socket.has_taken = false;
            self.stop_reading(id);
        }
    }

    /// Closes the connection, or makes its receive end so that it can be closed.
    fn close(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let socket = &mut connection.socket;
        if socket.reading || socket.sending.is_some() {
            socket.shut_down();
            return;
        }
        drop(self.core.close(id));
        // A descriptor is free again: accepts that found none may go on.
        self.to_accept.append(&mut self.starved);
    }

    fn arm(&mut self) {
        if !self.is_event_armed {
            self.is_event_armed = true;
            let fd = types::Fd(self.wakers.event(self.core.me()).as_raw_fd());
            let count: *mut u64 = &mut *self.event_count;
            let entry = opcode::Read::new(fd, count.cast(), size_of::<u64>() as u32).build();
            // SAFETY: the count is boxed, lives as long as the ring, and nobody reads it.
            unsafe { self.ring.push(entry, Token::Wake) };
        }
        if self.core.is_stopping() || !self.core.may_accept() {
            return;
        }
        for index in std::mem::take(&mut self.to_accept) {
            let fd = types::Fd(self.listeners[index as usize].socket.as_raw_fd());
            let entry = match self.core.accepts_always() {
                true => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build(),
                false => opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC)
                    .build(),
            };
            // SAFETY: the entry holds no address: peer names are asked for when somebody wants them.
            unsafe { self.ring.push(entry, Token::Accept(index)) };
        }
    }

    /// Takes the accepts back. The kernel lets go of what is armed only some time after the process has ended, and would
    /// let clients connect meanwhile, to be reset, instead of refusing them.
    fn stop_listening(&mut self) {
        let mut armed: Vec<u32> = (0..self.listeners.len() as u32)
            .filter(|index| !self.to_accept.contains(index) && !self.starved.contains(index))
            .collect();
        for &index in &armed {
            let entry = opcode::AsyncCancel::new(Token::Accept(index).pack()).build();
            // SAFETY: the entry holds no address.
            unsafe { self.ring.push(entry, Token::Nothing) };
        }
        let mut completions = Vec::new();
        self.ring.enter(false);
        loop {
            self.ring.take_completions(&mut completions);
            for completion in &completions {
                let Token::Accept(listener) = Token::unpack(completion.user_data()) else {
                    continue;
                };
                self.accepted(listener, completion.result());
                if !cqueue::more(completion.flags()) {
                    armed.retain(|&index| index != listener);
                }
            }
            if armed.is_empty() {
                return;
            }
            self.ring.enter(true);
        }
    }

    fn wake_peers(&mut self) {
        let Loop {
            core, ring, wakers, ..
        } = self;
        core.wake_peers(|peer| {
            let fd = wakers.ring(peer);
            let entry = opcode::MsgRingData::new(types::Fd(fd), 0, Token::Wake.pack(), None)
                .build()
                .flags(io_uring::squeue::Flags::SKIP_SUCCESS);
            // SAFETY: the entry holds no address.
            unsafe { ring.push(entry, Token::Nothing) };
        });
    }

    /// Waits until there is something to do: first with open eyes, where that has paid, then asleep.
    fn wait(&mut self) {
        let window = self.patience.window();
        let began = Instant::now();
        if !window.is_zero() {
            while began.elapsed() < window {
                for _ in 0..LOOKS_PER_YIELD {
                    std::hint::spin_loop();
                    if self.core.has_work() || self.ring.has_news() {
                        self.patience.was_rewarded();
                        self.ring.enter(false);
                        return;
                    }
                }
                // Whoever is to send us something may be waiting for this very CPU.
                rustix::thread::sched_yield();
            }
        }
        if self.core.lie_down() {
            self.ring.enter(true);
            self.core.get_up();
            self.patience.slept(!window.is_zero(), began.elapsed());
        }
    }

    /// Notes what became of the turn's sends: those that left no completion are done.
    fn settle_sends(&mut self, completions: &[cqueue::Entry], sending: &mut Vec<ConnectionId>) {
        for completion in completions {
            let Token::SendNow(id) = Token::unpack(completion.user_data()) else {
                continue;
            };
            let Some(place) = sending.iter().position(|sent| sent.index == id.index) else {
                continue;
            };
            let id = sending.swap_remove(place);
            let result = completion.result();
            match result {
                0.. => self.send_later(id, result as usize),
                _ if result == -libc::EAGAIN => self.send_later(id, 0),
                _ => self.broken(id),
            }
        }
        for id in sending.drain(..) {
            self.core.sent(id);
        }
    }

    /// Hands what is left of an output to the kernel, `gone` bytes of which have gone.
    fn send_later(&mut self, id: ConnectionId, gone: usize) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let mut output = connection.take_output();
        output.advance(gone);
        connection.socket.sending = Some(output);
        self.go_on_sending(id);
    }

    fn go_on_sending(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let fd = types::Fd(connection.socket.raw());
        let Some(output) = &connection.socket.sending else {
            return;
        };
        let piece = output.piece();
        if piece.is_empty() {
            self.sent_later(id);
            return;
        }
        let entry = opcode::Send::new(fd, piece.as_ptr(), piece.len() as u32)
            .flags(SEND_LATER)
            .build();
        // SAFETY: the output stays in `sending`, unchanged, until the completion comes (`Socket::sending`), and holds
        // the pages that the piece may lie in.
        unsafe { self.ring.push(entry, Token::SendLater(id)) };
    }

    fn sent_later(&mut self, id: ConnectionId) {
        let Some(connection) = self.core.connection(id) else {
            return;
        };
        let Some(output) = connection.socket.sending.take() else {
            return;
        };
        self.core.sent_apart(id, output);
        self.core.note(id);
    }

    fn broken(&mut self, id: ConnectionId) {
        if let Some(connection) = self.core.connection(id) {
            connection.is_broken = true;
            self.core.note(id);
        }
    }

    /// One turn: everything that came is served.
    fn turn(&mut self, completions: &[cqueue::Entry]) {
        let mut later = Vec::new();
        let mut accepted = Vec::new();
        {
            let mut turn = self.core.turn();
            for completion in completions {
                let result = completion.result();
                match Token::unpack(completion.user_data()) {
                    Token::Receive(id) => {
                        let id = full_id(&mut turn, id);
                        received(&mut turn, &mut self.ring, &mut self.hangups, id, completion);
                    }
                    // It was between two waits just then, or has ended: whether it is to end is asked again.
                    Token::Cancel(id) => {
                        let id = full_id(&mut turn, id);
                        if let Some(socket) = turn.socket(id) {
                            socket.cancelling = false;
                        }
                        turn.note(id);
                    }
                    Token::SendLater(id) => later.push((full_id(&mut turn, id), result)),
                    Token::Accept(listener) => {
                        accepted.push((listener, result, cqueue::more(completion.flags())));
                    }
                    Token::Wake => {
                        // A count of 8 bytes was read from the eventfd; a peer's message has the result 0.
                        self.is_event_armed &= result == 0;
                    }
                    Token::SendNow(_) | Token::Nothing => {}
                }
            }
            self.ring.buffers.publish();
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
        for (id, result) in later {
            match (result, self.core.connection(id)) {
                (1.., Some(connection)) => {
                    if let Some(output) = &mut connection.socket.sending {
                        output.advance(result as usize);
                    }
                    self.go_on_sending(id);
                }
                (_, Some(connection)) => {
                    connection.is_broken = true;
                    self.sent_later(id);
                }
                (_, None) => {}
            }
        }
        for (listener, result, more) in accepted {
            match (more, result) {
                (true, _) => {}
                (false, 0..) => self.to_accept.push(listener),
                (false, _) => self.starved.push(listener),
            }
            self.accepted(listener, result);
        }
    }

    /// A connection came, or could not come.
    fn accepted(&mut self, listener: u32, result: i32) {
        if result < 0 {
            if result != -libc::ECANCELED {
                warn!("accept: {}", io::Error::from_raw_os_error(-result));
            }
            return;
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        self.core.accepted(socket, &self.listeners[listener as usize]);
    }
}

/// The whole name of a connection, of which a token keeps 24 bits of the generation.
fn full_id(turn: &mut Turn<'_, Socket>, id: ConnectionId) -> ConnectionId {
    turn.current(id.index).unwrap_or(id)
}

fn received(
    turn: &mut Turn<'_, Socket>,
    ring: &mut Ring,
    hangups: &mut Hangups,
    id: ConnectionId,
    completion: &cqueue::Entry,
) {
    let (result, flags) = (completion.result(), completion.flags());
    if let Some(socket) = turn.socket(id)
        && socket.has_datagrams
    {
        socket.reading = false;
        socket.cancelling = false;
        turn.readable(id);
        return;
    }
    if let Some(buffer) = cqueue::buffer_select(flags) {
        let size = usize::try_from(result).unwrap_or(0);
        // SAFETY: the kernel names this buffer in this very completion, and it is given back below, once.
        turn.received(id, unsafe { ring.buffers.bytes(buffer, size) });
        ring.buffers.give(buffer);
    }
    if let Some(socket) = turn.socket(id) {
        if !cqueue::more(flags) {
            // The receive has ended: it is armed again after the turn, unless there is a reason not to.
            socket.reading = false;
            socket.cancelling = false;
            turn.note(id);
        } else if !socket.has_taken {
            socket.has_taken = true;
            hangups.note(id);
        }
    }
    match result {
        0 => turn.ended(id),
        1.. => {}
        // No buffer was free, or we stopped it ourselves.
        _ if result == -libc::ENOBUFS || result == -libc::ECANCELED => {}
        _ => turn.failed(id),
    }
}
