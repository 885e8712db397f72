//! All shards as one core sees them during one turn: its own, one borrowed, and the way to the others.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::{Batch, Lent, Letter, Mesh, Outboxes, Wakes, Watch, witness};
use crate::command::Reply;
use crate::hash::KeyHash;
use crate::protocol::{self, Streams, Tail};
use crate::session::dump::take_slice;
use crate::session::statistics::{More, Totals};
use crate::session::{self, Ask, ConnectionId, Order, Output, Reserved, Shards, VALUE_APART_MIN};
use crate::shard::{Reservation, Reserve, Shard};
use crate::time::Now;

/// Batches of peers that had to go home half done, and what came behind them.
///
/// A batch whose answers grow too large goes home with what there is and comes back for the rest. Until then nothing
/// of that peer may overtake it.
pub struct Waiting {
    peers: Box<[WaitingPeer]>,
}

#[derive(Default)]
struct WaitingPeer {
    /// A batch of this peer is on its way home and will come back.
    unfinished: bool,
    /// Fewer than [`super::BATCHES_PER_PEER`]; empty unless `unfinished`.
    behind: VecDeque<Box<Batch>>,
}

impl Waiting {
    pub fn new(cores: usize) -> Waiting {
        Waiting {
            peers: (0..cores).map(|_| WaitingPeer::default()).collect(),
        }
    }
}

/// One core's hands on the shards, for one turn.
pub struct Reach<'m> {
    me: usize,
    mesh: &'m Mesh,
    now: Now,
    own: Lent<'m, Shard>,
    /// The shard of another core that is in the kernel, while one connection is served.
    borrowed: Option<(usize, Lent<'m, Shard>)>,
    outboxes: &'m mut Outboxes,
    waiting: &'m mut Waiting,
    wakes: &'m mut Wakes,
    watch: &'m mut Watch,
}

impl<'m> Reach<'m> {
    /// Takes this core's shard back from whoever borrowed it.
    pub fn new(
        me: usize,
        mesh: &'m Mesh,
        now: Now,
        outboxes: &'m mut Outboxes,
        waiting: &'m mut Waiting,
        wakes: &'m mut Wakes,
        watch: &'m mut Watch,
    ) -> Reach<'m> {
        let own = mesh.place(me).shard.take_back();
        Reach {
            me,
            mesh,
            now,
            own,
            borrowed: None,
            outboxes,
            waiting,
            wakes,
            watch,
        }
    }

    /// This core's side of watching.
    pub fn watch(&mut self) -> &mut Watch {
        self.watch
    }

    /// Says that this core takes turns, to whoever has called the roll.
    pub fn answer_roll_call(&self) {
        let is_present = &self.mesh.place(self.me).is_present;
        is_present.store(true, Ordering::Relaxed);
    }

    /// Returns a borrowed shard. Called after each connection, so that its owner waits for one at most.
    pub fn give_back(&mut self) {
        self.borrowed = None;
    }

    /// A bounded slice of the own shard's background work, then everything for the peers leaves. Returns whether there
    /// is more such work for this second.
    pub fn finish(mut self) -> bool {
        self.borrowed = None;
        self.own.list_evicted(self.watch.wants(Streams::EVICTIONS));
        let is_behind = self.own.maintain(self.now);
        witness::tell_evicted(&mut self.own, self.watch);
        self.watch.send();
        self.outboxes.flush(self.mesh, self.wakes);
        is_behind
    }

    /// Bytes of memory that this core's batches take, as far as it knows.
    pub fn batches_memory(&self) -> usize {
        self.outboxes.memory()
    }

    /// Makes the own shard give a page to the pool; false if it has none to give.
    pub fn yield_page(&mut self) -> bool {
        self.own.yield_page(self.now)
    }

    /// Executes a peer's batch and sends it home, in the order in which that peer sent its batches.
    pub fn work(&mut self, batch: Box<Batch>) {
        let home = batch.home;
        let peer = &mut self.waiting.peers[home];
        if peer.unfinished && !batch.is_begun() {
            peer.behind.push_back(batch);
            return;
        }
        let mut next = Some(batch);
        while let Some(batch) = next {
            let is_done = self.work_in_order(batch);
            let peer = &mut self.waiting.peers[home];
            peer.unfinished = !is_done;
            next = if is_done { peer.behind.pop_front() } else { None };
        }
    }

    fn work_in_order(&mut self, mut batch: Box<Batch>) -> bool {
        /// Asks whose memory is fetched before they are executed.
        const AHEAD: usize = 16;
        let (own, watch, now) = (&mut *self.own, &mut *self.watch, self.now);
        while batch.may_go_on() {
            batch.next_hashes(AHEAD).for_each(|hash| own.prepare(hash));
            batch.work(AHEAD, |ask, reservation, out| {
                witness::execute(own, watch, ask, reservation, now, |reply| {
                    put_reply(out, ask, reply)
                });
            });
        }
        // Whoever reads an answer finds what its watcher reads said before.
        watch.send();
        let (home, is_done) = (batch.home, batch.is_done());
        self.post(home, Letter::Answers(batch));
        is_done
    }

    /// Carries out a peer's order and reports.
    pub fn obey(
        &mut self,
        from: usize,
        connection: ConnectionId,
        order: Order,
        counters: &mut session::Counters,
    ) {
        let mut totals = Box::new(Totals::default());
        match order {
            Order::Watch(streams) => self.heed(from, streams),
            _ => self.carry_out_here(order, counters, &mut totals),
        }
        self.post(from, Letter::Report { connection, totals });
    }

    /// From now on the watchers of this core want these streams.
    fn heed(&mut self, core: usize, streams: Streams) {
        self.watch.heed(core, streams);
        self.own.list_evicted(self.watch.wants(Streams::EVICTIONS));
    }

    fn carry_out_here(&mut self, order: Order, counters: &mut session::Counters, totals: &mut Totals) {
        carry_out(&mut self.own, order, self.now, counters, totals);
        match order {
            Order::Statistics => self.watch.add_to(&mut totals.session),
            Order::ResetStatistics => self.watch.reset(),
            _ => {}
        }
    }

    /// Requests are executed at this moment from now on.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// The answers of a batch have been delivered: its rest goes out again, or it waits for new asks.
    pub fn delivered(&mut self, mut batch: Box<Batch>) {
        if batch.is_done() {
            self.outboxes.take_home(batch);
        } else {
            batch.forget_answers();
            self.post(batch.peer, Letter::Asks(batch));
        }
    }

    /// Posts a letter; its reader is woken at the end of the turn.
    pub fn post(&mut self, core: usize, letter: Letter) {
        self.mesh.send(core, letter);
        self.wakes.note(core);
    }

    /// The shard of `owner`, if it can be had now without overtaking anything; and those who watch.
    fn shard(&mut self, owner: usize) -> Option<(&mut Shard, &mut Watch)> {
        if owner == self.me {
            return Some((&mut self.own, self.watch));
        }
        if self.outboxes.is_under_way(owner) {
            return None;
        }
        self.lent(owner)
    }

    fn lent(&mut self, owner: usize) -> Option<(&mut Shard, &mut Watch)> {
        if self.borrowed.as_ref().is_none_or(|&(core, _)| core != owner) {
            self.borrowed = None;
            self.borrowed = Some((owner, self.mesh.place(owner).shard.borrow()?));
        }
        let (_, shard) = self.borrowed.as_mut()?;
        Some((shard, self.watch))
    }
}

impl Shards for Reach<'_> {
    fn execute<R>(&mut self, ask: &Ask<'_>, write: impl FnOnce(&Reply<'_>) -> R) -> Option<R> {
        let (owner, now) = (self.mesh.owner(ask.request.hash), self.now);
        match self.shard(owner) {
            Some((shard, watch)) => Some(witness::execute(shard, watch, ask, None, now, write)),
            None => {
                self.outboxes.push(owner, ask, None);
                None
            }
        }
    }

    fn prepare(&mut self, hash: KeyHash) {
        // What is with others is left to them.
        if self.mesh.owner(hash) == self.me {
            self.own.prepare(hash);
        }
    }

    fn reserve(&mut self, ask: &Ask<'_>, value_size: usize) -> Reserved {
        let (owner, now) = (self.mesh.owner(ask.request.hash), self.now);
        // The session has nothing under way, so a reservation overtakes nothing, whatever others have sent.
        let shard = if owner == self.me {
            Some((&mut *self.own, &mut *self.watch))
        } else {
            self.lent(owner)
        };
        let Some((shard, watch)) = shard else {
            return Reserved::Busy;
        };
        let reserve = match watch.is_on() {
            false => shard.reserve(&ask.request, value_size, now),
            true => witness::reserve(shard, watch, ask, value_size, now),
        };
        match reserve {
            Reserve::Reserved(reservation) => Reserved::Memory(reservation),
            Reserve::Refused(reply) => Reserved::Refused(reply),
            Reserve::Again => Reserved::Busy,
        }
    }

    fn commit<R>(
        &mut self,
        ask: &Ask<'_>,
        reservation: Reservation,
        write: impl FnOnce(&Reply<'_>) -> R,
    ) -> Option<R> {
        let (owner, now) = (self.mesh.owner(ask.request.hash), self.now);
        match self.shard(owner) {
            Some((shard, watch)) => Some(witness::execute(shard, watch, ask, Some(reservation), now, write)),
            None => {
                self.outboxes.push(owner, ask, Some(reservation));
                None
            }
        }
    }

    fn has_room(&self) -> bool {
        self.outboxes.have_room()
    }

    fn order(
        &mut self,
        connection: ConnectionId,
        order: Order,
        counters: &mut session::Counters,
        totals: &mut Totals,
    ) -> usize {
        if order.is_to_event_loop() {
            // This core's event loop hears of it in its turn, as the others do.
            for core in 0..self.mesh.cores() {
                self.order_one(core, connection, order);
            }
            return self.mesh.cores();
        }
        let mut order = order;
        match order {
            Order::Watch(streams) => {
                let all = self.watch.admit(connection, streams);
                self.heed(self.me, all);
                order = Order::Watch(all);
            }
            _ => self.carry_out_here(order, counters, totals),
        }
        for core in (0..self.mesh.cores()).filter(|&core| core != self.me) {
            self.mesh.send(
                core,
                Letter::Order {
                    from: self.me,
                    connection,
                    order,
                },
            );
            self.wakes.note(core);
        }
        self.mesh.cores() - 1
    }

    fn order_one(&mut self, core: usize, connection: ConnectionId, order: Order) {
        self.post(
            core,
            Letter::Order {
                from: self.me,
                connection,
                order,
            },
        );
    }

    fn cores(&self) -> usize {
        self.mesh.cores()
    }
}

/// Writes a reply that has to travel: a large value's pages by reference, everything else copied.
pub fn put_reply(out: &mut Output, ask: &Ask<'_>, reply: &Reply<'_>) {
    let Ask {
        request,
        spelling,
        text,
        ..
    } = ask;
    let left = protocol::write(out.bytes(), *spelling, request.key, text, reply, VALUE_APART_MIN);
    if let Some(Tail { value, end }) = left {
        out.put_value(&value, 0, end);
    }
}

/// What an order comes to on one core: what it has to report is added to `totals`.
pub fn carry_out(
    shard: &mut Shard,
    order: Order,
    now: Now,
    counters: &mut session::Counters,
    totals: &mut Totals,
) {
    match order {
        Order::Flush(delay) => shard.flush(delay, now),
        Order::Statistics => {
            totals.shard.add(&shard.counters());
            totals.session.add(counters);
        }
        Order::ResetStatistics => {
            shard.reset_counters();
            counters.reset();
        }
        Order::Bands => {
            // Its owner may have slept while items expired, lending it out: they are not shown.
            shard.maintain(now);
            totals.more = More::Bands(shard.bands());
        }
        Order::Detail(on) => shard.set_detail(on),
        Order::Prefixes => totals.more = More::Prefixes(shard.prefixes().clone()),
        Order::MemoryLimit(bytes) => shard.set_memory_limit(bytes, now),
        // A shard alone has nobody to tell.
        Order::Watch(_) => {}
        Order::Slice { walk, from } => totals.more = More::Slice(take_slice(shard, walk, from, now)),
        Order::Connections | Order::Clock(_) => unreachable!("{order:?} is the event loop's to carry out"),
    }
}
