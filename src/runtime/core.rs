//! One core, whatever its event loop: its connections' sessions, its mailbox, its side of the mesh.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use crossbeam_channel::Receiver;
use ipnet::IpNet;
use log::{debug, trace};

use super::connection::{Connection, Plan, note, resume_later};
use super::datagrams::{self, Datagrams, Received};
use super::doors::{Doors, Visitor};
use super::ledger::Ledger;
use super::slots::Slots;
use super::tls::{Met, Opened, Tls, TlsConfigs};
use super::{Clock, Listener, conns};
use crate::hash::KeySeed;
use crate::memory::Pool;
use crate::mesh::{Batch, Entrance, Letter, Mesh, Outboxes, Reach, Waiting, Wakes, Watch};
use crate::protocol;
use crate::protocol::watch::{Event, Peer};
use crate::session::statistics::{Facts, More, Totals};
use crate::session::watch::{Lines, WATCHERS_MAX};
use crate::session::{Buffers, ConnectionId, Counters, Desk, Order, Output, Rules, Session, Stall, Wire};
use crate::time::{Now, Seconds};

/// Letters read in one turn, at most: a batch each, so a turn stays short however busy the peers are.
const LETTERS_PER_TURN: usize = 16;

/// Pages that items give at once to a connection that has grown: half a MiB, what the buffer of an output comes to that is
/// as large as it may be ([`OUTPUT_SIZE_MAX`](crate::session::OUTPUT_SIZE_MAX)).
const PAGES_YIELDED_MAX: usize = 8;

/// One core's state between turns.
pub struct Core<S> {
    me: usize,
    mesh: Arc<Mesh>,
    mailbox: Receiver<Letter>,
    seed: KeySeed,
    clock: Clock,
    rules: Rules,
    datagram_rules: Rules,
    facts: Arc<Facts>,
    tls: Option<Arc<TlsConfigs>>,
    udp_trust: Arc<[IpNet]>,
    outboxes: Outboxes,
    waiting: Waiting,
    wakes: Wakes,
    watch: Watch,
    buffers: Buffers,
    ledger: Ledger,
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
    limits: Limits,
    doors: Doors,
    /// The second of the last turn.
    second: Seconds,
    /// The shard has more background work for this second.
    is_behind: bool,
}

/// What clients may not exceed, but for what their sessions see to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of all cores together.
    pub connections_max: usize,
    /// Whoever comes above the limit is turned away; otherwise he waits.
    pub turns_away: bool,
    /// Seconds after which a silent client's connection is closed; 0 is never.
    pub idle_timeout: u32,
}

/// What every core is given at the start.
pub struct CoreParts {
    pub me: usize,
    pub mesh: Arc<Mesh>,
    pub mailbox: Receiver<Letter>,
    pub pool: Arc<Pool>,
    pub seed: KeySeed,
    pub clock: Clock,
    pub rules: Rules,
    /// The rules of those who ask by datagrams.
    pub datagram_rules: Rules,
    pub limits: Limits,
    pub facts: Arc<Facts>,
    /// There with -Z.
    pub tls: Option<Arc<TlsConfigs>>,
    /// To whom a reply by datagrams may be longer than its request.
    pub udp_trust: Arc<[IpNet]>,
}

impl<S: Wire + AsFd> Core<S> {
    pub fn new(parts: CoreParts) -> Core<S> {
        let CoreParts {
            me,
            mesh,
            mailbox,
            pool,
            seed,
            clock,
            rules,
            datagram_rules,
            limits,
            facts,
            tls,
            udp_trust,
        } = parts;
        let cores = mesh.cores();
        let watch = Watch::new(me, mesh.clone(), facts.clone(), Clock::wall, rules.lines_size_max);
        Core {
            me,
            mesh,
            mailbox,
            seed,
            clock,
            rules,
            datagram_rules,
            facts,
            tls,
            udp_trust,
            outboxes: Outboxes::new(me, cores),
            waiting: Waiting::new(cores),
            wakes: Wakes::default(),
            watch,
            buffers: Buffers::default(),
            ledger: Ledger::new(pool),
            counters: Counters::default(),
            connections: Slots::new(),
            noted: Vec::new(),
            to_resume: VecDeque::new(),
            wait_for_room: Vec::new(),
            is_stopping: false,
            has_settled: false,
            limits,
            doors: Doors::new(me, limits.connections_max, limits.turns_away),
            second: Seconds::START,
            is_behind: false,
        }
    }

    /// Which core this is, from 0.
    pub fn me(&self) -> usize {
        self.me
    }

    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// The second of the last turn.
    pub fn second(&self) -> Seconds {
        self.second
    }

    /// Begins a turn: takes the shard back from whoever borrowed it.
    pub fn turn(&mut self) -> Turn<'_, S> {
        let now = self.clock.now();
        if self.second != now.seconds {
            self.second = now.seconds;
            self.close_idle(now.seconds);
        }
        let reach = Reach::new(
            self.me,
            &self.mesh,
            now,
            &mut self.outboxes,
            &mut self.waiting,
            &mut self.wakes,
            &mut self.watch,
        );
        Turn {
            me: self.me,
            reach,
            now,
            clock: &mut self.clock,
            mailbox: &self.mailbox,
            seed: self.seed,
            rules: &self.rules,
            datagram_rules: &self.datagram_rules,
            facts: &self.facts,
            tls: self.tls.as_deref(),
            udp_trust: &self.udp_trust,
            is_behind: &mut self.is_behind,
            buffers: &mut self.buffers,
            ledger: &mut self.ledger,
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
        !self.noted.is_empty() || !self.to_resume.is_empty() || !self.mailbox.is_empty() || self.is_behind
    }

    /// Once a second: closes the connections of those who have been silent for too long, or did not shake hands.
    fn close_idle(&mut self, now: Seconds) {
        let timeout = self.limits.idle_timeout;
        if timeout == 0 && self.tls.is_none() {
            return;
        }
        for (id, connection) in self.connections.iter_mut() {
            if connection.ended {
                continue;
            }
            if connection.tls.as_ref().is_some_and(|tls| tls.is_late(now)) {
                self.counters.ssl_handshake_errors += 1;
            } else if timeout > 0 && connection.is_idle(now, timeout) {
                debug!("Closing idle connection {}", id.index);
                self.counters.idle_kicks += 1;
                connection.was_silent = true;
            } else {
                continue;
            }
            connection.ended = true;
            note(connection, id, &mut self.noted);
        }
    }

    /// Somebody was accepted: a core is asked to serve him, or he is turned away, or he waits.
    pub fn accepted(&mut self, socket: OwnedFd, listener: &Listener) {
        if self.is_stopping {
            return;
        }
        let visitor = Visitor {
            socket,
            shared: listener.shared,
            entrance: listener.entrance,
        };
        let has_room = self.ledger.admits();
        let admitted = self
            .doors
            .admit(visitor, &self.mesh, has_room, &mut self.counters);
        if let Some((core, visitor)) = admitted {
            self.hand_over(core, Letter::Connection(visitor.socket, visitor.entrance));
        }
    }

    /// Whether the loop may accept connections now: to be asked before each accept, or each turn. While it may not, a
    /// letter wakes the core when that may have changed.
    pub fn may_accept(&mut self) -> bool {
        while let Some((core, visitor)) = self.doors.let_in(&self.mesh, &mut self.counters) {
            self.hand_over(core, Letter::Connection(visitor.socket, visitor.entrance));
        }
        !self.doors.is_closed()
    }

    /// Whether the loop need not ask before each accept.
    pub fn accepts_always(&self) -> bool {
        self.doors.turns_away
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
    pub fn wake_peers(&mut self, mut ring: impl FnMut(usize)) {
        self.wakes.ring(&self.mesh, &mut ring);
        self.watch.send();
        self.watch.ring(ring);
    }

    /// The connections to be looked at after the turn; their output is ready to be sent. Swapped with an empty list, so
    /// that both keep their memory.
    pub fn take_noted(&mut self, list: &mut Vec<ConnectionId>) {
        list.clear();
        std::mem::swap(&mut self.noted, list);
        for &id in &*list {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.is_noted = false;
                if connection.tls.is_some() {
                    self.seal(id);
                }
            }
        }
    }

    /// Seals some of what the session has to say, if all that was sealed before has gone.
    fn seal(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(tls) = connection.tls.as_deref_mut() else {
            return;
        };
        if connection.is_sending_apart || !tls.sealed().is_empty() {
            return;
        }
        let takes_more = !tls.is_sealing();
        if takes_more {
            let output = connection.session.take_output();
            self.counters.bytes_written += output.size() as u64;
            tls.take_output(output);
        }
        tls.seal(&mut self.buffers);
        if takes_more && connection.session.waits_for_output() {
            resume_later(connection, id, &mut self.to_resume);
        }
        self.ledger.enter(connection);
        let is_last = connection.plan() == Plan::Close;
        if let Some(tls) = connection.tls.as_deref_mut().filter(|_| is_last) {
            tls.say_last_word(&mut self.buffers);
        }
    }

    /// Puts a connection on the list of those to be looked at.
    pub fn note(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            note(connection, id, &mut self.noted);
        }
    }

    /// The full name of the connection at this place.
    pub fn current(&self, index: u32) -> Option<ConnectionId> {
        self.connections.current(index)
    }

    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.connections.get_mut(id)
    }

    /// All of a connection's output has gone.
    pub fn sent(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        trace!(">{} all was sent", id.index);
        match &mut connection.tls {
            Some(tls) => self.buffers.give(tls.take_sealed().into_buffer()),
            None => connection.session.sent_all(&mut self.buffers, &mut self.counters),
        }
        self.ledger.enter(connection);
        if connection.has_unsealed() {
            note(connection, id, &mut self.noted);
        }
        self.look_again(id);
    }

    /// An output that the loop took ([`Connection::take_output`]) has gone, or never will.
    pub fn sent_apart(&mut self, id: ConnectionId, output: Output) {
        let sent = output.sent() as u64;
        self.buffers.give(output.into_buffer());
        let now = self.second;
        if let Some(connection) = self.connections.get_mut(id) {
            // What is sealed has been counted as it was before.
            if connection.tls.is_none() {
                self.counters.bytes_written += sent;
            }
            connection.has_sent_apart();
            self.ledger.enter(connection);
            // Who is slow to read is not idle.
            connection.last_heard = now;
        }
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
        debug!("<{} connection closed.", id.index);
        self.ledger.strike(&connection);
        connection.session.close(&mut self.buffers);
        if connection.session.is_watcher() {
            self.watch.dismiss(id);
        }
        self.watch.tell(&Event::Closed {
            peer: connection.peer,
            reason: connection.close_reason(),
            client: connection.socket.as_fd().as_raw_fd(),
        });
        self.counters.curr_connections -= 1;
        let mesh = self.mesh.clone();
        for core in mesh.connection_ended() {
            self.hand_over(core, Letter::Room);
        }
        Some(connection.socket)
    }

    /// Gives a letter to a core (this one, too); it is woken with the others.
    pub fn hand_over(&mut self, core: usize, letter: Letter) {
        self.mesh.send(core, letter);
        self.wakes.note(core);
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
        self.is_over()
    }

    /// Whether all cores have settled and nothing is left to read: nobody will wake this one again.
    pub fn is_over(&self) -> bool {
        self.is_stopping
            && self.mesh.settled.load(Ordering::Acquire) == self.mesh.cores()
            && self.mailbox.is_empty()
    }
}

/// Acknowledges what has come, at once. The last word of a handshake has no answer, and a client whose kernel joins small
/// packets (Nagle) would have to wait for 40 ms before his first request leaves.
fn acknowledge(socket: &impl AsFd) {
    // A socket that cannot do it is broken, which shows elsewhere.
    let _ = rustix::net::sockopt::set_tcp_quickack(socket, true);
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
    datagram_rules: &'a Rules,
    facts: &'a Facts,
    tls: Option<&'a TlsConfigs>,
    udp_trust: &'a Arc<[IpNet]>,
    is_behind: &'a mut bool,
    buffers: &'a mut Buffers,
    ledger: &'a mut Ledger,
    counters: &'a mut Counters,
    connections: &'a mut Slots<Connection<S>>,
    noted: &'a mut Vec<ConnectionId>,
    to_resume: &'a mut VecDeque<ConnectionId>,
    wait_for_room: &'a mut Vec<ConnectionId>,
    is_stopping: &'a mut bool,
}

impl<S: Wire + AsFd> Turn<'_, S> {
    /// A connection came.
    pub fn open(&mut self, socket: S, entrance: Entrance) -> ConnectionId {
        self.counters.curr_connections += 1;
        self.counters.total_connections += 1;
        let (seed, rules, now) = (self.seed, self.rules, self.now);
        let met = Tls::meet(entrance, self.tls, now.seconds);
        let (peer, client) = (conns::peer(socket.as_fd()), socket.as_fd().as_raw_fd());
        self.reach.watch().tell(&Event::Opened { peer, client });
        let opened = self.connections.insert(|id| {
            let connection = Connection::new(id, socket, peer, seed, rules, now);
            match met {
                Met::Plain => connection,
                Met::Tls(tls) => Connection {
                    tls: Some(tls),
                    ..connection
                },
                Met::Refused => Connection {
                    ended: true,
                    ..connection
                },
            }
        });
        debug!("<{} new client connection on core {}", opened.index, self.me);
        self.enter(opened);
        opened
    }

    /// A socket of datagrams is to be served; it is no connection.
    pub fn open_datagrams(&mut self, socket: S) -> ConnectionId {
        let (seed, rules, now) = (self.seed, self.datagram_rules, self.now);
        let peer = Peer(None);
        self.connections.insert(|id| Connection {
            datagrams: Some(Box::new(Datagrams::new(socket.as_fd(), self.udp_trust.clone()))),
            ..Connection::new(id, socket, peer, seed, rules, now)
        })
    }

    /// Datagrams may have come. While the answer to one is under way, the others wait in the kernel.
    pub fn readable(&mut self, id: ConnectionId) {
        for _ in 0..datagrams::DATAGRAMS_PER_TURN {
            let Some(connection) = self.connections.get_mut(id) else {
                return;
            };
            let Some(datagrams) = connection.datagrams.as_deref_mut() else {
                return;
            };
            if *self.is_stopping || !connection.session.is_settled() {
                break;
            }
            match datagrams.receive(connection.socket.as_fd()) {
                Received::Nothing => break,
                Received::Nonsense => continue,
                Received::Request(commands) => {
                    let room = std::mem::take(&mut datagrams.room);
                    connection.last_heard = self.now.seconds;
                    self.counters.bytes_read += commands.start as u64;
                    self.serve(id, |session, desk| session.receive(&room[commands], desk));
                    if let Some(connection) = self.connections.get_mut(id)
                        && let Some(datagrams) = connection.datagrams.as_deref_mut()
                    {
                        datagrams.room = room;
                    }
                }
            }
        }
        self.note(id);
    }

    /// Sends the reply of a command that came by datagram, if it is complete.
    fn answer_datagram(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(datagrams) = &mut connection.datagrams else {
            return;
        };
        let session = &mut connection.session;
        let is_cut = session.is_too_long();
        if !is_cut && !session.has_all_replies() {
            return;
        }
        let socket = connection.socket.as_fd();
        let output = session.take_output();
        let is_cut = is_cut || output.size() > datagrams::REPLY_SIZE_MAX;
        let reply = output.into_bytes();
        let sent = if is_cut {
            let mut words = Vec::new();
            protocol::say(&mut words, session.spelling(), datagrams::TOO_LONG);
            datagrams.reply(socket, &words)
        } else if session.is_between_commands() && !reply.is_empty() {
            datagrams.reply(socket, &reply)
        } else {
            0
        };
        self.counters.bytes_written += sent;
        self.buffers.give(reply);
        if is_cut || session.is_settled() {
            // What is left of the datagram is no command, or is not to be served.
            session.close(self.buffers);
            let client = connection.socket.as_fd().as_raw_fd();
            *session = Session::new(id, client, self.seed, self.datagram_rules);
        }
    }

    /// Bytes came.
    pub fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        if *self.is_stopping {
            return;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.last_heard = self.now.seconds;
        trace!("<{} {} bytes came", id.index, bytes.len());
        match connection.tls.take() {
            Some(tls) => self.received_sealed(id, tls, bytes),
            None => self.serve(id, |session, desk| session.receive(bytes, desk)),
        }
    }

    /// Sealed bytes came: serves what is in them. The connection gets its TLS back.
    fn received_sealed(&mut self, id: ConnectionId, mut tls: Box<Tls>, bytes: &[u8]) {
        let mut counts = Counters::default();
        let had_met = tls.has_met();
        let opened = tls.open(bytes, &mut counts, |plaintext| {
            self.serve(id, |session, desk| session.receive(plaintext, desk));
        });
        self.counters.add(&counts);
        if let Some(connection) = self.connections.get_mut(id) {
            if !had_met && tls.has_met() {
                acknowledge(&connection.socket);
            }
            // Who was hung up on meanwhile needs none.
            connection.tls = Some(tls).filter(|_| !connection.is_cut);
            connection.ended |= opened == Opened::Ended;
            note(connection, id, self.noted);
            self.enter(id);
        }
    }

    /// The client has sent all it will.
    pub fn ended(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ended = true;
            note(connection, id, self.noted);
        }
    }

    /// Receiving has failed: there is nobody to talk to.
    pub fn failed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.is_broken = true;
        }
        self.ended(id);
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
    pub fn read_letters(&mut self, mut arrived: impl FnMut(&mut Self, Arrival)) {
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
                Letter::Lines(lines) => self.tell_watchers(lines),
                Letter::LinesRead { from, lines } => self.reach.watch().came_back(from, lines),
                Letter::Connection(socket, entrance) => {
                    arrived(self, Arrival::Connection(socket, entrance));
                }
                Letter::Datagrams(socket) => arrived(self, Arrival::Datagrams(socket)),
                // Before the loop accepts again it asks [`Core::may_accept`].
                Letter::Room => {}
                Letter::RollCall => self.reach.answer_roll_call(),
                Letter::Stop => *self.is_stopping = true,
            }
        }
    }

    /// Shows this core's watchers what some core has for them.
    fn tell_watchers(&mut self, lines: Box<Lines>) {
        let watchers: ArrayVec<_, WATCHERS_MAX> = self.reach.watch().watchers().collect();
        for id in watchers {
            // One who has sent all it will is leaving.
            if self
                .connections
                .get_mut(id)
                .is_some_and(|connection| !connection.ended)
            {
                self.serve(id, |session, desk| session.tell(&lines, desk));
            }
        }
        let from = self.me;
        self.reach.post(lines.from, Letter::LinesRead { from, lines });
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
        self.ledger
            .enter_buffers(self.buffers, self.reach.batches_memory());
        *self.is_behind = self.reach.finish();
    }

    fn deliver(&mut self, mut batch: Box<Batch>) {
        let (answers, output) = batch.answers();
        for answer in answers {
            let Some(connection) = self.connections.get_mut(answer.connection) else {
                continue;
            };
            if connection.is_over() {
                continue;
            }
            let (gap, places) = (answer.gap, answer.places);
            connection.session.answer(gap, output, places, self.buffers);
            if connection.session.has_all_answers() {
                resume_later(connection, answer.connection, self.to_resume);
            }
            note(connection, answer.connection, self.noted);
            self.ledger.enter(connection);
            if connection.datagrams.is_some() {
                self.answer_datagram(answer.connection);
            }
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
        if connection.is_over() {
            return;
        }
        let has_datagrams = connection.datagrams.is_some();
        let output_size_max = self.ledger.output_size_max();
        self.buffers.keep_at_most(output_size_max);
        let mut desk = Desk {
            shards: &mut self.reach,
            wire: &mut connection.socket,
            buffers: self.buffers,
            rules: if has_datagrams {
                self.datagram_rules
            } else {
                self.rules
            },
            facts: self.facts,
            counters: self.counters,
            output_size_max,
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
        self.enter(id);
        if has_datagrams {
            self.answer_datagram(id);
        }
    }

    /// Enters what the connection holds in the ledger. If that is more than before, item pages give way at once, and if
    /// they cannot, those who hold most are hung up on.
    fn enter(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !self.ledger.enter(connection) || !self.ledger.wants_pages() {
            return;
        }
        for _ in 0..PAGES_YIELDED_MAX {
            if !self.reach.yield_page() {
                break;
            }
        }
        self.ledger.cut(self.connections, self.buffers, self.noted);
    }
}

/// A socket that another core has sent.
pub enum Arrival {
    Connection(OwnedFd, Entrance),
    Datagrams(OwnedFd),
}
