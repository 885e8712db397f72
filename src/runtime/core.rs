//! One core, whatever its event loop: its connections' sessions, its mailbox, its side of the mesh.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use super::slots::Slots;
use super::{Clock, conns};
use crate::hash::KeySeed;
use crate::mesh::{Batch, Letter, Mesh, Outboxes, Reach, Waiting, Wakes};
use crate::session::statistics::{Facts, More, Totals};
use crate::session::{Buffers, ConnectionId, Counters, Desk, Order, Output, Rules, Session, Stall, Wire};
use crate::time::{Now, Seconds};

/// Letters read in one turn, at most: a batch each, so a turn stays short however busy the peers are.
const LETTERS_PER_TURN: usize = 16;

/// A connection: the session and what the event loop keeps about its socket.
pub struct Connection<S> {
    pub session: Session,
    pub socket: S,
    /// The client has sent all it will.
    pub ended: bool,
    /// Whether it is on the list of those to be looked at after the turn.
    is_noted: bool,
    /// Whether it is on the list of those to be resumed.
    is_to_resume: bool,
    /// When bytes last came from the client.
    pub last_heard: Seconds,
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

impl<S> Connection<S> {
    pub fn plan(&self) -> Plan {
        let all_served = self.session.is_settled();
        if all_served && (self.session.is_closing() || self.ended) {
            Plan::Close
        } else if self.session.wants_no_input() || self.session.is_closing() || self.ended {
            Plan::Hold
        } else {
            Plan::Read
        }
    }
}

/// One core's state between turns.
pub struct Core<S> {
    me: usize,
    mesh: Arc<Mesh>,
    mailbox: Receiver<Letter>,
    seed: KeySeed,
    clock: Clock,
    rules: Rules,
    facts: Arc<Facts>,
    outboxes: Outboxes,
    waiting: Waiting,
    wakes: Wakes,
    buffers: Buffers,
    counters: Counters,
    connections: Slots<Connection<S>>,
    /// Connections to be looked at after the turn: they may have output, or another plan.
    noted: Vec<ConnectionId>,
    /// Sessions to be resumed next turn.
    to_resume: VecDeque<ConnectionId>,
    /// Sessions that wait for room in an outbox.
    wait_for_room: Vec<ConnectionId>,
    is_stopping: bool,
    has_settled: bool,
}

/// What every core is given at the start.
pub struct CoreParts {
    pub me: usize,
    pub mesh: Arc<Mesh>,
    pub mailbox: Receiver<Letter>,
    pub seed: KeySeed,
    pub clock: Clock,
    pub rules: Rules,
    pub facts: Arc<Facts>,
}

impl<S: Wire + AsFd> Core<S> {
    pub fn new(parts: CoreParts) -> Core<S> {
        let CoreParts {
            me,
            mesh,
            mailbox,
            seed,
            clock,
            rules,
            facts,
        } = parts;
        let cores = mesh.cores();
        Core {
            me,
            mesh,
            mailbox,
            seed,
            clock,
            rules,
            facts,
            outboxes: Outboxes::new(me, cores),
            waiting: Waiting::new(cores),
            wakes: Wakes::default(),
            buffers: Buffers::default(),
            counters: Counters::default(),
            connections: Slots::new(),
            noted: Vec::new(),
            to_resume: VecDeque::new(),
            wait_for_room: Vec::new(),
            is_stopping: false,
            has_settled: false,
        }
    }

    /// Which core this is, from 0.
    pub fn me(&self) -> usize {
        self.me
    }

    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Begins a turn: takes the shard back from whoever borrowed it.
    pub fn turn(&mut self) -> Turn<'_, S> {
        let now = self.clock.now();
        let reach = Reach::new(
            self.me,
            &self.mesh,
            now,
            &mut self.outboxes,
            &mut self.waiting,
            &mut self.wakes,
        );
        Turn {
            me: self.me,
            reach,
            now,
            clock: &mut self.clock,
            mailbox: &self.mailbox,
            seed: self.seed,
            rules: &self.rules,
            facts: &self.facts,
            buffers: &mut self.buffers,
            counters: &mut self.counters,
            connections: &mut self.connections,
            noted: &mut self.noted,
            to_resume: &mut self.to_resume,
            wait_for_room: &mut self.wait_for_room,
            is_stopping: &mut self.is_stopping,
        }
    }

    /// Whether there is something to do without any event from outside.
    pub fn has_work(&self) -> bool {
        !self.noted.is_empty() || !self.to_resume.is_empty() || !self.mailbox.is_empty()
    }

    /// The core is about to sleep. Returns false if a letter has come after all.
    pub fn lie_down(&self) -> bool {
        let bell = &self.mesh.place(self.me).bell;
        bell.lie_down();
        if self.mailbox.is_empty() {
            return true;
        }
        bell.get_up();
        false
    }

    pub fn get_up(&self) {
        self.mesh.place(self.me).bell.get_up();
    }

    /// Wakes the cores that were sent letters and sleep, by `ring`.
    pub fn wake_peers(&mut self, ring: impl FnMut(usize)) {
        self.wakes.ring(&self.mesh, ring);
    }

    /// The connections to be looked at after the turn. Swapped with an empty list, so that both keep their memory.
    pub fn take_noted(&mut self, list: &mut Vec<ConnectionId>) {
        list.clear();
        std::mem::swap(&mut self.noted, list);
        for &id in &*list {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_noted = false;
            }
        }
    }

    /// Puts a connection on the list of those to be looked at.
    pub fn note(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            note(connection, id, &mut self.noted);
        }
    }

    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.connections.get_mut(id)
    }

    /// All of a connection's output has gone.
    pub fn sent(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.session.sent_all(&mut self.buffers, &mut self.counters);
        self.look_again(id);
    }

    /// An output that the loop took ([`Session::take_output`]) has gone, or never will.
    pub fn sent_apart(&mut self, id: ConnectionId, output: Output) {
        self.counters.bytes_written += output.sent() as u64;
        self.buffers.give(output.into_buffer());
        self.look_again(id);
    }

    fn look_again(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.session.waits_for_output() {
            resume_later(connection, id, &mut self.to_resume);
        }
        if connection.plan() != Plan::Read {
            note(connection, id, &mut self.noted);
        }
    }

    /// Forgets a connection; hands its socket back to be closed.
    pub fn close(&mut self, id: ConnectionId) -> Option<S> {
        let mut connection = self.connections.remove(id)?;
        connection.session.close(&mut self.buffers);
        self.counters.curr_connections -= 1;
        self.mesh.connections.fetch_sub(1, Ordering::Relaxed);
        Some(connection.socket)
    }

    /// Gives a letter to a core (this one, too); it is woken with the others.
    pub fn hand_over(&mut self, core: usize, letter: Letter) {
        self.mesh.send(core, letter);
        self.wakes.note(core);
    }

    /// A connection was turned away.
    pub fn count_rejected(&mut self) {
        self.counters.rejected_connections += 1;
    }

    /// Whether the core has been told to end: it reads no more from its sockets.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether the core may end: it has been told to, nobody waits for it, and it waits for nobody. Wakes the
    /// others when it is the last.
    pub fn may_end(&mut self) -> bool {
        if !self.is_stopping {
            return false;
        }
        if !self.has_settled && self.outboxes.are_empty() {
            self.has_settled = true;
            self.mesh.settled.fetch_add(1, Ordering::AcqRel);
            // Others may wait for just this: a letter reaches them even if they are about to sleep.
            let me = self.me;
            for core in (0..self.mesh.cores()).filter(|&core| core != me) {
                self.hand_over(core, Letter::Stop);
            }
        }
        self.mesh.settled.load(Ordering::Acquire) == self.mesh.cores() && self.mailbox.is_empty()
    }
}

fn note<S>(connection: &mut Connection<S>, id: ConnectionId, noted: &mut Vec<ConnectionId>) {
    if !connection.is_noted {
        connection.is_noted = true;
        noted.push(id);
    }
}

fn resume_later<S>(connection: &mut Connection<S>, id: ConnectionId, to_resume: &mut VecDeque<ConnectionId>) {
    if !connection.is_to_resume {
        connection.is_to_resume = true;
        to_resume.push_back(id);
    }
}

/// A core at work, with its shard in hand.
pub struct Turn<'a, S> {
    me: usize,
    reach: Reach<'a>,
    now: Now,
    clock: &'a mut Clock,
    mailbox: &'a Receiver<Letter>,
    seed: KeySeed,
    rules: &'a Rules,
    facts: &'a Facts,
    buffers: &'a mut Buffers,
    counters: &'a mut Counters,
    connections: &'a mut Slots<Connection<S>>,
    noted: &'a mut Vec<ConnectionId>,
    to_resume: &'a mut VecDeque<ConnectionId>,
    wait_for_room: &'a mut Vec<ConnectionId>,
    is_stopping: &'a mut bool,
}

impl<S: Wire + AsFd> Turn<'_, S> {
    /// A connection came.
    pub fn open(&mut self, socket: S) -> ConnectionId {
        self.counters.curr_connections += 1;
        self.counters.total_connections += 1;
        let (seed, rules, now) = (self.seed, self.rules, self.now);
        self.connections.insert(|id| Connection {
            session: Session::new(id, seed, rules),
            socket,
            ended: false,
            is_noted: false,
            is_to_resume: false,
            last_heard: now.seconds,
        })
    }

    /// Bytes came.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        if !*self.is_stopping {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.last_heard = self.now.seconds;
            }
            self.serve(id, |session, desk| session.receive(bytes, desk));
        }
    }

    /// The client has sent all it will.
    pub fn ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ended = true;
            note(connection, id, self.noted);
        }
    }

    /// Goes on with the sessions whose reason to wait may be gone.
    pub fn resume(&mut self) {
        if *self.is_stopping {
            self.to_resume.clear();
            return;
        }
        // Those who stall again for their share of the turn go to the end of the list: each is served once.
        for _ in 0..self.to_resume.len() {
            let Some(id) = self.to_resume.pop_front() else {
                break;
            };
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_to_resume = false;
                self.serve(id, |session, desk| session.resume(desk));
            }
        }
    }

    /// Reads the mailbox. `arrived` makes a socket of a descriptor that another core accepted.
    pub fn read_letters(&mut self, mut arrived: impl FnMut(&mut Self, std::os::fd::OwnedFd)) {
        for _ in 0..LETTERS_PER_TURN {
            let Ok(letter) = self.mailbox.try_recv() else {
                return;
            };
            match letter {
                Letter::Asks(batch) => self.reach.work(batch),
                Letter::Answers(batch) => self.deliver(batch),
                Letter::Order {
                    from,
                    connection,
                    order,
                } if order.is_to_event_loop() => {
                    let totals = Box::new(Totals {
                        more: self.carry_out(order),
                        ..Totals::default()
                    });
                    self.reach.post(from, Letter::Report { connection, totals });
                }
                Letter::Order {
                    from,
                    connection,
                    order,
                } => {
                    self.reach.obey(from, connection, order, self.counters);
                }
                Letter::Report { connection, totals } => {
                    self.serve(connection, |session, desk| {
                        session.report(*totals, desk);
                        if session.has_all_answers() {
                            session.resume(desk);
                        }
                    });
                }
                Letter::Connection(socket) => arrived(self, socket),
                Letter::Stop => *self.is_stopping = true,
            }
        }
    }

    /// Carries out an order that takes what only the event loop has.
    fn carry_out(&mut self, order: Order) -> More {
        match order {
            Order::Clock(change) => {
                self.clock.change(change);
                self.now = self.clock.now();
                self.reach.set_now(self.now);
                More::Nothing
            }
            Order::Connections => {
                More::Connections(conns::lines(self.facts, self.connections, self.now, self.me == 0))
            }
            _ => More::Nothing,
        }
    }

    /// The full name of the connection at this place.
    pub fn current(&self, index: u32) -> Option<ConnectionId> {
        self.connections.current(index)
    }

    pub fn socket(&mut self, id: ConnectionId) -> Option<&mut S> {
        self.connections
            .get_mut(id)
            .map(|connection| &mut connection.socket)
    }

    /// Puts a connection on the list of those to be looked at after the turn.
    pub fn note(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            note(connection, id, self.noted);
        }
    }

    /// Ends the turn: returns the shards and sends the letters.
    pub fn finish(self) {
        self.reach.finish();
    }

    fn deliver(&mut self, mut batch: Box<Batch>) {
        let (answers, output) = batch.answers();
        for answer in answers {
            let Some(connection) = self.connections.get_mut(answer.connection) else {
                continue;
            };
            let (gap, places) = (answer.gap, answer.places);
            connection.session.answer(gap, output, places, self.buffers);
            if connection.session.has_all_answers() {
                resume_later(connection, answer.connection, self.to_resume);
            }
            note(connection, answer.connection, self.noted);
        }
        self.reach.delivered(batch);
        for id in self.wait_for_room.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                resume_later(connection, id, self.to_resume);
            }
        }
    }

    fn serve(&mut self, id: ConnectionId, work: impl FnOnce(&mut Session, &mut Desk<'_, Reach<'_>, S>)) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let mut desk = Desk {
            shards: &mut self.reach,
            wire: &mut connection.socket,
            buffers: self.buffers,
            rules: self.rules,
            facts: self.facts,
            counters: self.counters,
            now: self.now,
        };
        work(&mut connection.session, &mut desk);
        self.reach.give_back();
        match connection.session.stall() {
            Some(Stall::Turn) => resume_later(connection, id, self.to_resume),
            Some(Stall::Room) => self.wait_for_room.push(id),
            Some(Stall::Output | Stall::Answers) | None => {}
        }
        note(connection, id, self.noted);
    }
}
