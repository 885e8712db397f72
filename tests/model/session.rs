//! A session without its socket, on one real shard: whatever the pieces in which bytes come and go, and whichever
//! answers come late, what is said is the same.
//!
//! Half of the keys belong to a core that exists only here: their requests are executed at once and their answers kept
//! back, as answers of another core would be. The wire takes as much as it is told to. The first bytes of the input say
//! how it is cut; so the unit tests and a fuzzer share this file.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use ringcached::command::Reply;
use ringcached::hash::{KeyHash, KeySeed};
use ringcached::memory::Pool;
use ringcached::mesh::{carry_out, put_reply};
use ringcached::protocol::Dialects;
use ringcached::session::fleet::{NoFleet, RingAdmin};
use ringcached::session::statistics::{Facts, Groups, More, Totals};
use ringcached::session::switches::Switches;
use ringcached::session::watch::Watchers;
use ringcached::session::{
    Ask, Buffers, ConnectionId, Counters, Desk, OUTPUT_SIZE_MAX, Order, Output, Reserved, Rules, Session,
    Shards, Stall, Wire,
};
use ringcached::shard::{Reservation, Reserve, Settings, Shard};
use ringcached::time::{Now, Seconds};

const PAGE_SIZE: usize = 4096;
const ITEM_SIZE_MAX: usize = 80 * 1024;
/// Requests under way to the other core, above which there is no room.
const LATE_MAX: usize = 100;
/// More than a session may ever have to say at once: the output at which it stalls, and one more value for each answer
/// that can be under way.
const OUTPUT_BOUND: usize = OUTPUT_SIZE_MAX + (LATE_MAX + 1) * (ITEM_SIZE_MAX + 512);

/// More turns than any input here takes: a request a turn, and each has two bytes at least.
const ROUNDS_MAX: usize = 1 << 20;

const SEED: KeySeed = KeySeed::fixed(7);
const NOW: Now = Now {
    seconds: Seconds::START,
    unix_start: 1_700_000_000,
};
const CONNECTION: ConnectionId = ConnectionId {
    index: 3,
    generation: 5,
};

/// The descriptor that the connection would have.
const CLIENT: i32 = 9;

/// How the bytes are cut and the answers delayed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) dialects: Dialects,
    /// Bytes received at a time; at least 1.
    pub(crate) piece: usize,
    /// Bytes that the wire takes of a value sent apart.
    pub(crate) wire: usize,
    /// Requests in one turn; at least 1.
    pub(crate) requests_per_turn: usize,
    /// Whether half of the keys are another core's.
    pub(crate) others: bool,
    /// Output is fetched, and late answers are delivered, once in so many pieces; at least 1.
    pub(crate) seldom: usize,
}

impl Manner {
    /// All at once, nothing late, nothing sent apart.
    pub(crate) fn plain(dialects: Dialects) -> Manner {
        Manner {
            dialects,
            piece: usize::MAX,
            wire: 0,
            requests_per_turn: usize::MAX,
            others: false,
            seldom: 1,
        }
    }
}

struct OneShard {
    shard: Shard,
    others: bool,
    late: VecDeque<(u32, Output)>,
    reports: VecDeque<Totals>,
}

impl OneShard {
    fn is_late(&self, hash: KeyHash) -> bool {
        self.others && hash.owner(2) == 1
    }
}

/// Hands a reply over, or keeps it as another core's answer.
fn hand_over<R>(
    late: Option<&mut VecDeque<(u32, Output)>>,
    ask: &Ask<'_>,
    reply: &Reply<'_>,
    write: impl FnOnce(&Reply<'_>) -> R,
) -> Option<R> {
    let Some(late) = late else {
        return Some(write(reply));
    };
    let mut answer = Output::default();
    put_reply(&mut answer, ask, reply);
    late.push_back((ask.gap, answer));
    None
}

impl Shards for OneShard {
    fn execute<R>(&mut self, ask: &Ask<'_>, write: impl FnOnce(&Reply<'_>) -> R) -> Option<R> {
        let is_late = self.is_late(ask.request.hash);
        let reply = self.shard.execute(&ask.request, NOW);
        hand_over(is_late.then_some(&mut self.late), ask, &reply, write)
    }

    fn prepare(&mut self, hash: KeyHash) {
        self.shard.prepare(hash);
    }

    fn reserve(&mut self, ask: &Ask<'_>, value_size: usize) -> Reserved {
        match self.shard.reserve(&ask.request, value_size, NOW) {
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
        let is_late = self.is_late(ask.request.hash);
        let reply = self.shard.commit(reservation, &ask.request, NOW);
        hand_over(is_late.then_some(&mut self.late), ask, &reply, write)
    }

    fn has_room(&self) -> bool {
        self.late.len() < LATE_MAX
    }

    fn order(
        &mut self,
        _: ConnectionId,
        order: Order,
        counters: &mut Counters,
        totals: &mut Totals,
    ) -> usize {
        if order.is_to_event_loop() {
            // There is none here, and so nothing to report but that it was heard.
            let more = match order {
                Order::Connections => More::Connections(Vec::new()),
                _ => More::Nothing,
            };
            self.reports.push_back(Totals {
                more,
                ..Totals::default()
            });
            return 1;
        }
        carry_out(&mut self.shard, order, NOW, counters, totals);
        if self.others {
            self.reports.push_back(Totals::default());
        }
        usize::from(self.others)
    }

    fn order_one(&mut self, _: usize, _: ConnectionId, order: Order) {
        let mut totals = Totals::default();
        carry_out(&mut self.shard, order, NOW, &mut Counters::default(), &mut totals);
        self.reports.push_back(totals);
    }

    fn cores(&self) -> usize {
        1
    }
}

/// What has left, and how much of a value the wire takes at a time.
struct Client {
    heard: Vec<u8>,
    wire: usize,
}

impl Wire for Client {
    fn send_now(&mut self, pieces: &[IoSlice<'_>]) -> usize {
        let before = self.heard.len();
        let taken = pieces.iter().flat_map(|piece| piece.iter()).take(self.wire);
        self.heard.extend(taken);
        self.heard.len() - before
    }

    fn is_local(&self) -> bool {
        false
    }
}

/// One connection and all that is around it.
pub(crate) struct Driven {
    session: Session,
    shards: OneShard,
    client: Client,
    buffers: Buffers,
    counters: Counters,
    rules: Rules,
    facts: Facts,
}

impl Driven {
    pub(crate) fn new(manner: &Manner) -> Driven {
        let rules = Rules {
            dialects: manner.dialects,
            flush_refused: false,
            requests_per_turn: manner.requests_per_turn,
            shutdown_enabled: false,
            dump_refused: false,
            // Whether a watch is accepted depends on what came with it, in the same piece.
            watch_refused: true,
            watcher_size_max: 8 << 10,
            lines_size_max: 8 << 10,
            sizes_tracked: true,
            // And no client here is on the server's machine.
            ring_admin: RingAdmin::Local,
            clock_may_be_moved: true,
            reply_size_max: None,
            credentials: None,
            version: "1.6.45",
        };
        let settings = Settings {
            item_size_max: ITEM_SIZE_MAX,
            ..Settings::default()
        };
        let pool = Arc::new(Pool::new(4 << 20, PAGE_SIZE));
        Driven {
            session: Session::new(CONNECTION, CLIENT, SEED, &rules),
            shards: OneShard {
                shard: Shard::new(&settings, SEED, pool.clone()),
                others: manner.others,
                late: VecDeque::new(),
                reports: VecDeque::new(),
            },
            client: Client {
                heard: Vec::new(),
                wire: manner.wire,
            },
            buffers: Buffers::default(),
            counters: Counters::default(),
            rules,
            facts: Facts {
                pid: 1,
                version: "1.6.45",
                threads: 1,
                connections_max: 1024,
                page_size: PAGE_SIZE as u64,
                settings: Vec::new(),
                certificates: None,
                groups: Groups {
                    maxconns_fast: true,
                    idle_timeout: false,
                    slab_reassign: true,
                    lru_crawler: true,
                    lru_maintainer: true,
                    session_cache: false,
                },
                switches: Switches::new(0, 4 << 20, false, true),
                watchers: Watchers::default(),
                listeners: Vec::new(),
                cpu_used: || (0, 0),
                resident: || 0,
                pool: pool.clone(),
                fleet: Arc::new(NoFleet),
                shut_down: |_| {},
                log_at: |_| {},
            },
        }
    }

    fn with_desk<R>(&mut self, work: impl FnOnce(&mut Session, &mut Desk<'_, OneShard, Client>) -> R) -> R {
        let mut desk = Desk {
            shards: &mut self.shards,
            wire: &mut self.client,
            buffers: &mut self.buffers,
            rules: &self.rules,
            facts: &self.facts,
            counters: &mut self.counters,
            output_size_max: OUTPUT_SIZE_MAX,
            now: NOW,
        };
        work(&mut self.session, &mut desk)
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.with_desk(|session, desk| session.receive(bytes, desk));
        assert!(self.session.output().size() <= OUTPUT_BOUND, "the output grows");
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Everything the client has heard so far.
    pub(crate) fn heard(&self) -> &[u8] {
        &self.client.heard
    }

    /// Delivers what is late, fetches the output, and resumes until nothing is left to do but to receive.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut has_moved = false;
            while let Some((gap, mut answer)) = self.shards.late.pop_front() {
                let places = (0, answer.place());
                self.session.answer(gap, &mut answer, places, &mut self.buffers);
                has_moved = true;
            }
            while let Some(totals) = self.shards.reports.pop_front() {
                self.with_desk(|session, desk| session.report(totals, desk));
                has_moved = true;
            }
            if !self.session.output().is_empty() {
                match self.session.output().is_plain() {
                    true => {
                        self.client.heard.extend_from_slice(self.session.output().piece());
                        self.session.sent_all(&mut self.buffers, &mut self.counters);
                    }
                    false => self.send_pieces(),
                }
                has_moved = true;
            }
            let stall = self.session.stall();
            if stall.is_some() || self.session.waits_for_output() {
                self.with_desk(|session, desk| session.resume(desk));
                // A turn serves something, or frees memory for a value.
                has_moved |= stall != self.session.stall() || stall == Some(Stall::Turn);
            }
            if self.session.stall().is_none() && !has_moved {
                assert!(
                    self.session.is_settled(),
                    "nothing is late, and answers are missing"
                );
                return;
            }
            assert!(has_moved, "stalled for {stall:?}, and nothing moves");
        }
        panic!("it never settles");
    }

    /// Sends an output with pages in it piece by piece, as the event loop does, and not always a whole piece.
    fn send_pieces(&mut self) {
        let mut output = self.session.take_output();
        while !output.is_empty() {
            let piece = output.piece();
            let size = piece.len().min(1 + piece.len() * 2 / 3);
            self.client.heard.extend_from_slice(&piece[..size]);
            output.advance(size);
        }
        self.buffers.give(output.into_buffer());
    }

    pub(crate) fn close(mut self) -> Vec<u8> {
        self.session.close(&mut self.buffers);
        self.shards.shard.check();
        self.client.heard
    }
}

/// Everything that is said in reply to `input`, and whether the connection is to be closed.
pub(crate) fn replies(input: &[u8], manner: &Manner) -> (Vec<u8>, bool) {
    let mut driven = Driven::new(manner);
    for (count, piece) in input.chunks(manner.piece).enumerate() {
        if count % manner.seldom == 0 || driven.session.wants_no_input() {
            driven.settle();
        }
        if driven.session.is_closing() {
            break;
        }
        driven.receive(piece);
    }
    driven.settle();
    let is_closing = driven.session.is_closing();
    (driven.close(), is_closing)
}

/// Five bytes say in which manner, the others are sent.
pub(crate) fn run(bytes: &[u8]) {
    let [dialects, piece, wire, turn, others, input @ ..] = bytes else {
        return;
    };
    let dialects = match dialects % 3 {
        0 => Dialects::Any,
        1 => Dialects::Classic,
        _ => Dialects::Binary,
    };
    let manner = Manner {
        dialects,
        piece: usize::from(*piece).max(1),
        wire: usize::from(*wire) * 64,
        requests_per_turn: usize::from(*turn).max(1),
        others: others & 1 == 1,
        seldom: usize::from(others >> 1).max(1),
    };
    // Whatever a client has said, what it says next is understood all the same, or swallowed by all alike.
    let input = [input, b"\r\nmn\r\n"].concat();
    let cut = replies(&input, &manner);
    let whole = replies(&input, &Manner::plain(dialects));
    // A line that does not end is given up where its beginning is all there is, as in memcached; whole, it has an end.
    let was_given_up = cut.1 && has_long_line(&input) && whole.0.starts_with(&cut.0);
    if !counts(&input) && !was_given_up {
        assert!(
            cut == whole,
            "{manner:?}\ncut   {:?}\nwhole {:?}",
            Said(&cut.0),
            Said(&whole.0)
        );
    }
}

/// Whether a line may be too long to be waited for: more than 2048 bytes without an end.
fn has_long_line(input: &[u8]) -> bool {
    input.split(|&byte| byte == b'\n').any(|line| line.len() > 2048)
}

/// Whether the input may ask for statistics, which count the pieces, too: the word, or binary's opcode.
fn counts(input: &[u8]) -> bool {
    input.first() == Some(&0x80) && input.contains(&0x10) || input.windows(5).any(|word| word == b"stats")
}

/// Bytes as a reader wants to see them.
struct Said<'a>(&'a [u8]);

impl std::fmt::Debug for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
