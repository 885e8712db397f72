//! A connection without its socket.
//!
//! A [`Session`] is handed the bytes that came and leaves the bytes that may go. In between it cuts requests out of
//! the input (`protocol`), has them executed ([`Shards`]) and puts the replies in order ([`Pipeline`]). It has
//! never heard of a socket, an event loop or a thread, so a test drives it with slices.
//!
//! ```text
//! received bytes --> [input: only what is not a whole request yet] --> parser --> shards
//!                                                                                 |  |
//!                          out  <-- pipeline <-- reply at once -------------------+  |
//!                                        ^------ answer from another core, later ----+
//! ```
//!
//! A session that has too much in flight *stalls*: it stops taking requests from its input, and the event loop stops
//! reading from its socket. Nothing is dropped and nothing grows.

mod arriving;
mod bands;
mod buffers;
pub mod credentials;
pub mod dump;
pub mod fleet;
mod login;
mod memory;
mod orders;
mod output;
mod pipeline;
pub mod settings;
mod spoken;
pub mod statistics;
pub mod switches;
pub mod watch;

use std::io::IoSlice;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::command::{Reply, Request};
use crate::hash::{KeyHash, KeySeed};
use crate::protocol::watch::CloseReason;
use crate::protocol::{
    self, Control, DebugTime, Dialects, Mark, Parsed, Parser, Scratch, Spelling, Streams, Word,
};
use crate::shard::Reservation;
use crate::time::{Exptime, Now};
use arriving::Arriving;
pub use buffers::Buffers;
use credentials::Credentials;
use dump::Walk;
use orders::Orders;
pub use output::Output;
use pipeline::Pipeline;
use statistics::{Facts, Totals};
use watch::Watcher;

/// Replies that wait to be sent, in bytes, above which a session takes no further requests, while memory is not scarce.
pub const OUTPUT_SIZE_MAX: usize = 256 * 1024;

/// The same when memory is as scarce as can be.
pub const OUTPUT_SIZE_MIN: usize = 4 * 1024;

/// Input kept while a session is stalled, in bytes, above which the event loop stops reading its socket.
pub const INPUT_STALLED_MAX: usize = 32 * 1024;

/// A value of this many bytes is sent straight from the item (one copy less); a smaller one is cheaper to copy into
/// the output.
pub const VALUE_APART_MIN: usize = 8 * 1024;

/// Names a connection on its core: never the same one twice while an answer may still be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    pub index: u32,
    pub generation: u32,
}

/// A request on its way to its shard, with what is needed to bring the reply home.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub request: Request<'a>,
    pub spelling: Spelling,
    pub text: &'a [u8],
    pub connection: ConnectionId,
    /// The place in the connection's pipeline that the answer fills.
    pub gap: u32,
    /// The connection's descriptor, by which people know it.
    pub client: i32,
}

/// What a session asks of all shards at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Flush(Exptime),
    Statistics,
    ResetStatistics,
    /// Figures by size.
    Bands,
    /// Count by prefix from now on, or no longer.
    Detail(bool),
    /// Figures by prefix.
    Prefixes,
    /// The budget of item memory, in bytes.
    MemoryLimit(u64),
    /// One slice of a walk over the items; to one core.
    Slice {
        walk: Walk,
        from: usize,
    },
    /// What there is to say of every connection. Only the event loop knows.
    Connections,
    /// Moves the clock. Only the event loop can.
    Clock(DebugTime),
    /// From a session: it watches for these streams. From one core to another: its watchers do, all together.
    Watch(Streams),
}

impl Order {
    /// Whether the event loop carries it out, because it alone has what that takes.
    pub fn is_to_event_loop(self) -> bool {
        matches!(self, Order::Connections | Order::Clock(_))
    }
}

/// The cache as a session sees it: the mesh in the server, a single shard in tests.
pub trait Shards {
    /// Executes the request if its shard can be reached now and hands the reply to `write`. Otherwise takes the
    /// request along to its owner and returns `None`: the reply comes later, as [`Session::answer`].
    fn execute<R>(&mut self, ask: &Ask<'_>, write: impl FnOnce(&Reply<'_>) -> R) -> Option<R>;

    /// A request for this key comes soon: whatever it will touch may be fetched into the cache.
    fn prepare(&mut self, hash: KeyHash);

    /// Reserves memory for a value that arrives in pieces.
    fn reserve(&mut self, ask: &Ask<'_>, value_size: usize) -> Reserved;

    /// Executes a store whose value has arrived, as [`Shards::execute`] does.
    fn commit<R>(
        &mut self,
        ask: &Ask<'_>,
        reservation: Reservation,
        write: impl FnOnce(&Reply<'_>) -> R,
    ) -> Option<R>;

    /// Whether one more request can be taken along to every owner.
    fn has_room(&self) -> bool;

    /// Gives an order to all shards; adds what those reached now have to report to `totals` and returns how
    /// many others will report later ([`Session::report`]).
    fn order(
        &mut self,
        connection: ConnectionId,
        order: Order,
        counters: &mut Counters,
        totals: &mut Totals,
    ) -> usize;

    /// Gives an order to one core (this one, too), which reports later ([`Session::report`]).
    fn order_one(&mut self, core: usize, connection: ConnectionId, order: Order);

    /// How many cores there are.
    fn cores(&self) -> usize;
}

/// The outcome of [`Shards::reserve`].
#[derive(Debug)]
pub enum Reserved {
    Memory(Reservation),
    Refused(Reply<'static>),
    /// The owner is at work on its shard; ask again next turn.
    Busy,
}

/// The way out, for values too large to be worth copying.
pub trait Wire {
    /// Sends the pieces in order, at once, as far as they go without waiting. Returns how many bytes went; 0 if
    /// none can now. After a failure it returns 0, and the event loop learns of the failure by its own send.
    fn send_now(&mut self, pieces: &[IoSlice<'_>]) -> usize;

    /// Whether the client is on this machine: it came over a unix socket or from a loopback address.
    fn is_local(&self) -> bool;
}

/// What a session may not exceed and may not do; the same for all.
#[derive(Clone, Debug)]
pub struct Rules {
    pub dialects: Dialects,
    /// -F: flush_all is refused.
    pub flush_refused: bool,
    /// -R: requests of one connection before the others get a turn.
    pub requests_per_turn: usize,
    /// -A: the shutdown command is obeyed.
    pub shutdown_enabled: bool,
    /// -X: keys are not listed.
    pub dump_refused: bool,
    /// -W: nobody may watch.
    pub watch_refused: bool,
    /// Bytes of lines that may wait for a watcher to read; what does not fit is left out.
    pub watcher_size_max: usize,
    /// Bytes of lines that a core collects before they travel to a watcher's core.
    pub lines_size_max: usize,
    /// -o track_sizes.
    pub sizes_tracked: bool,
    /// --ring-admin.
    pub ring_admin: fleet::RingAdmin,
    /// `debugtime` is obeyed.
    pub clock_may_be_moved: bool,
    /// For who asks by datagrams: requests are served command by command, each in a turn of its own, and a command's
    /// reply may have so many bytes.
    pub reply_size_max: Option<usize>,
    /// -Y and -S: nobody is served who has not logged in. Strangers speak binary where the dialect is, else classic.
    pub credentials: Option<Arc<Credentials>>,
    pub version: &'static str,
}

/// Everything around a session while it works.
pub struct Desk<'a, S, W> {
    pub shards: &'a mut S,
    pub wire: &'a mut W,
    pub buffers: &'a mut Buffers,
    pub rules: &'a Rules,
    pub facts: &'a Facts,
    pub counters: &'a mut Counters,
    /// Replies that may wait to be sent now: [`OUTPUT_SIZE_MIN`] to [`OUTPUT_SIZE_MAX`] bytes.
    pub output_size_max: usize,
    pub now: Now,
}

/// What the sessions of one core count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub cmd_flush: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub curr_connections: u64,
    pub total_connections: u64,
    pub rejected_connections: u64,
    pub conn_yields: u64,
    /// Connections that were closed because nothing was asked for too long.
    pub idle_kicks: u64,
    pub auth_cmds: u64,
    pub auth_errors: u64,
    /// Handshakes of TLS that did not resume a session.
    pub ssl_new_sessions: u64,
    pub ssl_handshake_errors: u64,
    pub ssl_proto_errors: u64,
    /// How often the core stopped accepting connections, and for how many microseconds in all.
    pub listen_disabled_num: u64,
    pub listen_disabled_us: u64,
    /// Cores that accept none now: 1 or 0.
    pub curr_closed: u64,
    /// Lines for watchers that this core made: those that found room on all their ways, and the others.
    pub log_worker_written: u64,
    pub log_worker_dropped: u64,
    /// Lines that were said to this core's watchers, and those for which these had no room.
    pub log_watcher_sent: u64,
    pub log_watcher_skipped: u64,
}

impl Counters {
    /// Sums over cores.
    pub fn add(&mut self, other: &Counters) {
        self.cmd_flush += other.cmd_flush;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
        self.curr_connections += other.curr_connections;
        self.total_connections += other.total_connections;
        self.rejected_connections += other.rejected_connections;
        self.conn_yields += other.conn_yields;
        self.idle_kicks += other.idle_kicks;
        self.auth_cmds += other.auth_cmds;
        self.auth_errors += other.auth_errors;
        self.ssl_new_sessions += other.ssl_new_sessions;
        self.ssl_handshake_errors += other.ssl_handshake_errors;
        self.ssl_proto_errors += other.ssl_proto_errors;
        self.listen_disabled_num += other.listen_disabled_num;
        self.listen_disabled_us += other.listen_disabled_us;
        self.curr_closed += other.curr_closed;
        self.log_worker_written += other.log_worker_written;
        self.log_worker_dropped += other.log_worker_dropped;
        self.log_watcher_sent += other.log_watcher_sent;
        self.log_watcher_skipped += other.log_watcher_skipped;
    }

    /// `stats reset`: everything but what is there now.
    pub fn reset(&mut self) {
        *self = Counters {
            curr_connections: self.curr_connections,
            curr_closed: self.curr_closed,
            ..Counters::default()
        };
    }
}

/// Why a session takes no further requests for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// Too many replies wait to be sent.
    Output,
    /// Answers of other cores must come in first.
    Answers,
    /// The way to another core is full.
    Room,
    /// It had its share of this turn ([`Rules::requests_per_turn`]), or an owner was busy: next turn.
    Turn,
}

/// Requests parsed ahead of their execution, at most: enough for the memory's latencies to overlap. Measured against
/// none: 0.68 to 0.79 of the CPU per request for pipelined gets (docs/BENCHMARKS.md); other numbers were not tried.
const AHEAD_MAX: usize = 16;

/// A request that has been parsed and not yet asked.
struct Ready<'a> {
    request: Request<'a>,
    spelling: Spelling,
    text: &'a [u8],
    size: usize,
    /// Where the parser stood before it.
    before: Mark,
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    id: ConnectionId,
    client: i32,
    parser: Parser,
    /// Received and not yet consumed: the beginning of a request, or whole requests while stalled.
    input: Vec<u8>,
    /// The value of a large store that is coming in. While it is there, all input is its.
    arriving: Option<Box<Arriving>>,
    pipeline: Pipeline,
    orders: Orders,
    stall: Option<Stall>,
    /// Input that it keeps while it is stalled: less where less output is allowed.
    input_stalled_max: u32,
    /// What stands at the head of the input came behind something else and stalled.
    in_company: bool,
    /// No further requests: close when everything said has been sent.
    closing: Option<CloseReason>,
    /// The client has yet to log in.
    is_stranger: bool,
    /// Boxed: few connections watch.
    watcher: Option<Box<Watcher>>,
}

impl Session {
    /// `client`: the descriptor by which people know the connection.
    pub fn new(id: ConnectionId, client: i32, seed: KeySeed, rules: &Rules) -> Session {
        Session {
            id,
            client,
            parser: Parser::new(seed, rules.dialects),
            input: Vec::new(),
            arriving: None,
            pipeline: Pipeline::default(),
            orders: Orders::default(),
            stall: None,
            input_stalled_max: INPUT_STALLED_MAX as u32,
            in_company: false,
            closing: None,
            is_stranger: rules.credentials.is_some(),
            watcher: None,
        }
    }

    /// Bytes came: serves every complete request in them.
    pub fn receive<S: Shards, W: Wire>(&mut self, fresh: &[u8], desk: &mut Desk<'_, S, W>) {
        desk.counters.bytes_read += fresh.len() as u64;
        if !self.input.is_empty() {
            self.input.extend_from_slice(fresh);
            if self.stall.is_none() {
                self.resume(desk);
            }
            return;
        }
        let used = self.serve(fresh, desk);
        if used < fresh.len() {
            self.input = desk.buffers.take();
            self.input.extend_from_slice(&fresh[used..]);
        }
    }

    /// Goes on with the input that is already here, after a stall.
    pub fn resume<S: Shards, W: Wire>(&mut self, desk: &mut Desk<'_, S, W>) {
        let mut input = std::mem::take(&mut self.input);
        let used = self.serve(&input, desk);
        if used == input.len() {
            desk.buffers.give(input);
        } else {
            input.drain(..used);
            self.input = input;
        }
    }

    /// The answer of another core to the request that opened `gap`: what stands between two places of `answers`.
    pub fn answer(&mut self, gap: u32, answers: &mut Output, places: (usize, usize), buffers: &mut Buffers) {
        self.pipeline.answer(gap, answers, places, buffers);
    }

    /// The report of another core to this session's order.
    pub fn report<S: Shards, W: Wire>(&mut self, totals: Totals, desk: &mut Desk<'_, S, W>) {
        self.orders.report(totals, self.id, &mut self.pipeline, desk);
        self.begin_to_watch(desk);
    }

    /// Whether it goes on as soon as output has gone.
    pub fn waits_for_output(&self) -> bool {
        self.stall == Some(Stall::Output) || self.orders.wait_for_output()
    }

    /// What `stats conns` says that it is doing, in memcached's words.
    pub fn activity(&self) -> &'static str {
        if self.closing.is_some() {
            "conn_closing"
        } else if self.is_watcher() {
            "conn_watch"
        } else if self.arriving.is_some() {
            "conn_nread"
        } else if !self.orders.is_free() || !self.pipeline.is_settled() {
            "conn_parse_cmd"
        } else if self.input.contains(&b'\n') {
            // A whole line is here and was not taken: it waits for its value.
            "conn_nread"
        } else if !self.input.is_empty() {
            "conn_waiting"
        } else {
            "conn_read"
        }
    }

    /// Whether nothing has been asked that is not answered, and no value is on its way here.
    pub fn awaits_command(&self) -> bool {
        matches!(self.activity(), "conn_read" | "conn_waiting")
    }

    /// Whether every request that was taken has been answered.
    pub fn has_all_replies(&self) -> bool {
        self.orders.is_free() && self.pipeline.is_settled()
    }

    /// Whether the last command that was begun has been taken as a whole.
    pub fn is_between_commands(&self) -> bool {
        !self.parser.is_within_keys()
    }

    /// Whether it waits for output to go which is part of one reply.
    pub fn is_too_long(&self) -> bool {
        self.pipeline.is_settled() && self.waits_for_output()
    }

    /// How the session is spoken to where no request says it.
    pub fn spelling(&self) -> Spelling {
        self.parser.spelling()
    }

    /// Why it takes no requests now, if so. The event loop calls [`Session::resume`] when that may have changed.
    pub fn stall(&self) -> Option<Stall> {
        self.stall
    }

    /// Whether it stalled for answers and has them all.
    pub fn has_all_answers(&self) -> bool {
        self.stall == Some(Stall::Answers) && self.orders.is_free() && self.pipeline.is_settled()
    }

    /// Whether so much unserved input is here that the socket should not be read.
    pub fn wants_no_input(&self) -> bool {
        self.stall.is_some() && self.input.len() >= self.input_stalled_max as usize
    }

    /// Whether everything asked has been answered (not necessarily sent).
    pub fn is_settled(&self) -> bool {
        self.stall.is_none() && self.orders.is_free() && self.pipeline.is_settled()
    }

    /// Whether the connection is to be closed once everything is settled and sent.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Why it is to be closed, if it is.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.closing
    }

    /// What may go now.
    pub fn output(&self) -> &Output {
        self.pipeline.output()
    }

    /// All of the output has gone; its buffer is lent to the next.
    pub fn sent_all(&mut self, buffers: &mut Buffers, counters: &mut Counters) {
        let output = self.pipeline.take_output();
        counters.bytes_written += output.size() as u64;
        buffers.give(output.into_buffer());
    }

    /// Takes the output away, for a send that the kernel finishes in its own time.
    pub fn take_output(&mut self) -> Output {
        self.pipeline.take_output()
    }

    /// Lets go of what it holds.
    pub fn close(&mut self, buffers: &mut Buffers) {
        buffers.give(std::mem::take(&mut self.input));
        self.pipeline.close(buffers);
        self.arriving = None;
    }

    /// Serves every complete request at the head of `input`; returns how many bytes it consumed.
    ///
    /// Requests are parsed some ahead of their execution, so that what memory they will touch can be fetched meanwhile.
    fn serve<S: Shards, W: Wire>(&mut self, input: &[u8], desk: &mut Desk<'_, S, W>) -> usize {
        if self.is_watcher() {
            // Nobody listens to what it says.
            return input.len();
        }
        let mut used = 0;
        let mut requests_left = desk.rules.requests_per_turn;
        self.stall = None;
        self.input_stalled_max = INPUT_STALLED_MAX.min(desk.output_size_max) as u32;
        self.orders.carry_on(self.id, &mut self.pipeline, desk);
        while used < input.len() && self.closing.is_none() {
            if let Some(stall) = self.reason_to_wait(desk) {
                self.stall = Some(stall);
                break;
            }
            if self.is_stranger && desk.rules.dialects != Dialects::Binary {
                match self.take_login(&input[used..], desk) {
                    Some(size) => used += size,
                    None => break,
                }
                continue;
            }
            if self.arriving.is_some() {
                used += self.take_arriving(&input[used..], desk);
                continue;
            }
            let one_by_one = desk.rules.reply_size_max.is_some();
            if one_by_one && used > 0 && self.parser.is_at_head() {
                self.stall = Some(Stall::Turn);
                break;
            }
            if requests_left == 0 {
                desk.counters.conn_yields += 1;
                self.stall = Some(Stall::Turn);
                break;
            }
            let scratch = Scratch::default();
            let mut ahead = ArrayVec::<Ready<'_>, AHEAD_MAX>::new();
            // A stranger's requests are not executed: the first of them ends the connection.
            let ahead_max = if self.is_stranger { 1 } else { requests_left };
            let next = self.parse_ahead(&input[used..], ahead_max, one_by_one, &scratch, &mut ahead);
            if self.is_stranger && !(ahead.is_empty() && next.as_ref().is_some_and(login::is_for_strangers)) {
                self.turn_away(&ahead, next, desk);
                break;
            }
            if ahead.len() > 1 {
                ahead
                    .iter()
                    .for_each(|ready| desk.shards.prepare(ready.request.hash));
            }
            requests_left -= ahead.len();
            let is_heard = spoken::is_heard();
            for ready in &ahead {
                if let Some(stall) = self.reason_to_wait(desk) {
                    self.parser.rewind(ready.before);
                    self.stall = Some(stall);
                    self.in_company |= used > 0;
                    return used;
                }
                if is_heard {
                    spoken::request(self.id, ready);
                }
                self.ask(ready, desk);
                used += ready.size;
            }
            match next {
                None => {}
                // A parser that finds the scratch taken by a request ahead says so, too: it is asked again with a fresh
                // one. Taken by the very request that is not all here, it is no such sign.
                Some(Parsed::Partial) if ahead.is_empty() || !scratch.is_taken() => break,
                Some(Parsed::Partial) => {}
                Some(other) => {
                    requests_left = requests_left.saturating_sub(1);
                    self.in_company |= used > 0;
                    match self.take_other(other, &input[used..], desk) {
                        Ok(size) => used += size,
                        Err(stall) => {
                            self.stall = Some(stall);
                            break;
                        }
                    }
                }
            }
        }
        if self.closing.is_some() {
            return input.len();
        }
        self.in_company = self.stall.is_some() && (self.in_company || used > 0);
        used
    }

    /// Parses requests until `ahead` is full, `requests_max` are there, a command is complete if `one_by_one`, or
    /// something else comes, which it returns.
    fn parse_ahead<'a>(
        &mut self,
        input: &'a [u8],
        requests_max: usize,
        one_by_one: bool,
        scratch: &'a Scratch,
        ahead: &mut ArrayVec<Ready<'a>, AHEAD_MAX>,
    ) -> Option<Parsed<'a>> {
        let mut parsed = 0;
        while ahead.len() < AHEAD_MAX.min(requests_max) && parsed < input.len() {
            let before = self.parser.mark();
            match self.parser.parse(&input[parsed..], scratch) {
                Parsed::Request {
                    request,
                    spelling,
                    text,
                    size,
                } => {
                    parsed += size;
                    ahead.push(Ready {
                        request,
                        spelling,
                        text,
                        size,
                        before,
                    });
                    if one_by_one && self.parser.is_at_head() {
                        break;
                    }
                }
                other => return Some(other),
            }
        }
        None
    }

    /// Executes a request, or sends it to its owner.
    fn ask<S: Shards, W: Wire>(&mut self, ready: &Ready<'_>, desk: &mut Desk<'_, S, W>) {
        let ask = self.ask_of(ready.request, ready.spelling, ready.text);
        let Desk {
            shards,
            wire,
            buffers,
            counters,
            ..
        } = desk;
        let pipeline = &mut self.pipeline;
        let replied = shards.execute(&ask, |reply| {
            pipeline.reply(&ask, reply, *wire, buffers, counters);
        });
        if replied.is_none() {
            self.pipeline.open_gap(desk.buffers);
        }
    }

    /// Does what stands at the head of the input and is no complete request. Returns how much of the input it
    /// consumed, or why it has to wait.
    fn take_other<S: Shards, W: Wire>(
        &mut self,
        parsed: Parsed<'_>,
        input: &[u8],
        desk: &mut Desk<'_, S, W>,
    ) -> Result<usize, Stall> {
        match parsed {
            Parsed::Incoming {
                request,
                spelling,
                text,
                value_size,
                crlf,
                line_size,
            } => {
                if !self.pipeline.is_settled() {
                    // A refusal may remove the old item, so everything asked before must be done.
                    return Err(Stall::Answers);
                }
                let ask = self.ask_of(request, spelling, text);
                match desk.shards.reserve(&ask, value_size) {
                    Reserved::Memory(reservation) => {
                        let line = &input[..line_size];
                        self.arriving = Some(Box::new(Arriving::new(reservation, line, value_size, crlf)));
                    }
                    Reserved::Refused(reply) => {
                        self.pipeline
                            .reply(&ask, &reply, desk.wire, desk.buffers, desk.counters);
                        self.parser.skip(value_size + if crlf { 2 } else { 0 });
                    }
                    Reserved::Busy => return Err(Stall::Turn),
                }
                Ok(line_size)
            }
            Parsed::BadEnd {
                request,
                spelling,
                text,
                value_size,
                size,
            } => {
                if !self.pipeline.is_settled() {
                    return Err(Stall::Answers);
                }
                // The answer is the one that it gets in pieces: a refusal for its size comes before its end is seen.
                let ask = self.ask_of(request, spelling, text);
                match desk.shards.reserve(&ask, value_size) {
                    Reserved::Memory(_) => {
                        let out = self.pipeline.writer(desk.buffers);
                        protocol::say(out, spelling, Word::BadDataChunk);
                    }
                    Reserved::Refused(reply) => {
                        self.pipeline
                            .reply(&ask, &reply, desk.wire, desk.buffers, desk.counters);
                    }
                    Reserved::Busy => return Err(Stall::Turn),
                }
                Ok(size)
            }
            Parsed::Control {
                control: Control::Fleet(protocol::Fleet::OldGet { request }),
                spelling,
                size,
            } if desk.facts.fleet.ring().is_none() => {
                if let Some(stall) = self.reason_to_wait(desk) {
                    return Err(stall);
                }
                let before = self.parser.mark();
                let text: &[u8] = &[];
                let ready = Ready {
                    request,
                    spelling,
                    text,
                    size,
                    before,
                };
                self.ask(&ready, desk);
                Ok(size)
            }
            Parsed::Control {
                control: Control::Sasl(sasl),
                spelling,
                size,
            } if desk.rules.credentials.is_some() => {
                self.take_sasl(sasl, spelling, desk);
                Ok(size)
            }
            Parsed::Control {
                control,
                spelling,
                size,
            } => {
                if !self.pipeline.is_settled() {
                    return Err(Stall::Answers);
                }
                if let Control::Watch { streams } = control {
                    let is_watching = self.watch(streams, spelling, self.in_company, desk);
                    return Ok(if is_watching { input.len() } else { size });
                }
                let goes_on = self
                    .orders
                    .obey(control, spelling, self.id, &mut self.pipeline, desk);
                if !goes_on {
                    self.closing = Some(CloseReason::Shutdown);
                }
                Ok(size)
            }
            Parsed::Say { word, spelling, size } => {
                protocol::say(self.pipeline.writer(desk.buffers), spelling, word);
                Ok(size)
            }
            Parsed::Skip { size } => Ok(size),
            Parsed::Hangup {
                word,
                spelling,
                size,
                asked,
            } => {
                if let Some(word) = word {
                    protocol::say(self.pipeline.writer(desk.buffers), spelling, word);
                }
                self.closing = Some(if asked {
                    CloseReason::Normal
                } else {
                    CloseReason::Error
                });
                Ok(size)
            }
            Parsed::Request { .. } | Parsed::Partial => unreachable!("the caller keeps these"),
        }
    }

    /// A request with all that its answer must know.
    fn ask_of<'a>(&self, request: Request<'a>, spelling: Spelling, text: &'a [u8]) -> Ask<'a> {
        Ask {
            request,
            spelling,
            text,
            connection: self.id,
            gap: self.pipeline.next_gap(),
            client: self.client,
        }
    }

    fn reason_to_wait<S: Shards, W: Wire>(&self, desk: &Desk<'_, S, W>) -> Option<Stall> {
        if !self.orders.is_free() || self.pipeline.is_full_of_gaps(desk.output_size_max) {
            Some(Stall::Answers)
        } else if self.pipeline.size() >= desk.rules.reply_size_max.unwrap_or(desk.output_size_max) {
            Some(Stall::Output)
        } else if !desk.shards.has_room() {
            Some(Stall::Room)
        } else {
            None
        }
    }

    /// Gives input to the value that is arriving; when it is complete, stores it.
    fn take_arriving<S: Shards, W: Wire>(&mut self, input: &[u8], desk: &mut Desk<'_, S, W>) -> usize {
        let arriving = self.arriving.as_mut().expect("called while a value arrives");
        let used = arriving.take(input);
        if !arriving.is_complete() {
            return used;
        }
        let Arriving {
            reservation, line, ..
        } = *self.arriving.take().expect("it was there a line ago");
        let scratch = Scratch::default();
        let Some((request, spelling, text)) = self.parser.parse_line(&line.bytes, &scratch) else {
            unreachable!("the line was parsed when the value began to arrive");
        };
        let ask = self.ask_of(request, spelling, text);
        if !line.ends_well {
            protocol::say(self.pipeline.writer(desk.buffers), spelling, Word::BadDataChunk);
            return used;
        }
        let replied = {
            let Desk {
                shards,
                wire,
                buffers,
                counters,
                ..
            } = desk;
            let pipeline = &mut self.pipeline;
            shards.commit(&ask, reservation, |reply| {
                pipeline.reply(&ask, reply, *wire, buffers, counters);
            })
        };
        if replied.is_none() {
            self.pipeline.open_gap(desk.buffers);
        }
        used
    }
}
