//! A cache may forget, it may never lie: random commands run on a tiny shard and on a `HashMap` with memcached's
//! rules. Every hit equals the model, every reply is the one that memcached's rules give, a missing item has an
//! excuse, and `Shard::check` holds after every command.
//!
//! The commands are decoded from bytes, so that a property test and a fuzzer share this file.

use std::collections::HashMap;
use std::sync::Arc;

use ringcached::command::{
    Count, Delete, Direction, EmptyFlags, Get, Operation, Reply, Request, Store, StoreMode, Tokens,
};
use ringcached::hash::KeySeed;
use ringcached::memory::{Chain, Pool};
use ringcached::shard::{Eviction, Reservation, Reserve, Settings, Shard};
use ringcached::time::{Deadline, Exptime, Now, Seconds};

const UNIX_START: u64 = 1_700_000_000;
const ITEM_SIZE_MAX: usize = 6000;

/// In place of a cas unique that the reply does not tell.
const CAS_UNTOLD: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq)]
struct Item {
    value: Vec<u8>,
    flags: u32,
    deadline: Deadline,
    accessed: u32,
    cas: u64,
    fetched: bool,
    stale: bool,
    token_sent: bool,
    key_is_binary: bool,
}

/// Hands out numbers from the fuzzer's bytes; zeros when they are used up.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.next().is_multiple_of(4)).then(|| make(self))
    }

    fn exptime(&mut self) -> Exptime {
        Exptime(match self.next() % 8 {
            0 => -1,
            1 => 1,
            2 => 2,
            3 => i64::from(self.next()),
            4 => UNIX_START as i64 + i64::from(self.next()),
            5 => 2_592_001,
            _ => 0,
        })
    }

    /// A number, or bytes that neither belong to one nor end one.
    fn value(&mut self) -> Vec<u8> {
        let fill = self.next();
        let size = match self.next() % 8 {
            0 => {
                return u64::from(fill)
                    .pow(u32::from(self.next() % 9))
                    .to_string()
                    .into_bytes();
            }
            1 => 0,
            2 => usize::from(self.next()) * 4,
            3 => usize::from(self.next()) * 25,
            _ => usize::from(self.next()) / 4,
        };
        (0..size)
            .map(|index| fill.wrapping_add(index as u8) | 0x80)
            .collect()
    }
}

struct World {
    shard: Shard,
    pool: Arc<Pool>,
    seed: KeySeed,
    settings: Settings,
    now: Now,
    model: HashMap<Vec<u8>, Item>,
    flush_pending: Option<u32>,
    /// Items found missing that nothing but eviction explains.
    forgotten: u64,
    reserved: Vec<(Reservation, Vec<u8>, Store, Vec<u8>)>,
    /// Pages of values that somebody is sending, and what was in them when he began.
    sending: Vec<(Chain, Vec<u8>)>,
}

/// Runs the commands that these bytes spell.
pub(crate) fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let page_size = [512, 1024, 4096][usize::from(bytes.next() % 3)];
    let pages = 12 + u64::from(bytes.next() % 16);
    let pool = Arc::new(Pool::new(pages * page_size as u64, page_size));
    let seed = KeySeed::fixed(u64::from(bytes.next()));
    let settings = Settings {
        item_size_max: ITEM_SIZE_MAX.min((pages as usize - 6) * page_size / 2),
        cas_enabled: !bytes.next().is_multiple_of(8),
        evict: !bytes.next().is_multiple_of(4),
        eviction: match bytes.next() % 4 {
            0 => Eviction::Clock,
            promote_at => Eviction::Probation {
                percent: bytes.next() % 50,
                promote_at,
                ghosts: bytes.flag(),
            },
        },
        shards: 1 + usize::from(bytes.next() % 3),
        ..Settings::default()
    };
    let mut world = World {
        shard: Shard::new(&settings, seed, Arc::clone(&pool)),
        pool,
        seed,
        settings,
        now: Now {
            seconds: Seconds::START,
            unix_start: UNIX_START,
        },
        model: HashMap::new(),
        flush_pending: None,
        forgotten: 0,
        reserved: Vec::new(),
        sending: Vec::new(),
    };
    while !bytes.0.is_empty() {
        world.step(&mut bytes);
        world.shard.check();
        for (chain, bytes) in &world.sending {
            assert!(chain.pieces().flatten().eq(bytes), "what is sent changes");
        }
    }
    let World {
        shard,
        pool,
        reserved,
        sending,
        ..
    } = world;
    drop((shard, reserved, sending));
    assert_eq!(pool.pages_taken(), 0, "every page came back");
}

impl World {
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let key = format!("key-{}", bytes.next() % 61);
        let key = key.repeat(if bytes.next().is_multiple_of(16) { 40 } else { 1 });
        let key = key.as_bytes()[..key.len().min(250)].to_vec();
        match bytes.next() % 32 {
            0..6 => {
                let get = self.get(bytes);
                self.execute(&key, &[], Operation::Get(get));
            }
            6..18 => {
                let (store, value) = (self.store(&key, bytes), bytes.value());
                self.execute(&key, &value, Operation::Store(store));
            }
            18..20 => {
                let count = self.count(&key, bytes);
                self.execute(&key, &[], Operation::Count(count));
            }
            20 => self.execute(&key, &[], Operation::Touch(bytes.exptime())),
            21..23 => {
                let delete = self.delete(&key, bytes);
                self.execute(&key, &[], Operation::Delete(delete));
            }
            23..26 => {
                let (store, value) = (self.store(&key, bytes), bytes.value());
                self.reserve(key, store, value);
            }
            26 | 27 => self.commit(usize::from(bytes.next())),
            28 => {
                let forget = usize::from(bytes.next());
                if !self.reserved.is_empty() {
                    self.reserved.swap_remove(forget % self.reserved.len());
                }
            }
            29 => {
                self.now.seconds.0 += u32::from(bytes.next() % 5);
                self.advance();
            }
            30 if bytes.flag() => self.send(&key, usize::from(bytes.next())),
            30 => {
                for _ in 0..bytes.next() % 4 {
                    self.shard.maintain(self.now);
                }
            }
            _ => {
                if bytes.next().is_multiple_of(4) {
                    let delay = bytes.exptime();
                    self.shard.flush(delay, self.now);
                    let at = self.now.deadline(delay).raw();
                    self.flush_pending = Some(if delay.0 <= 0 { 0 } else { at - 1 });
                    self.advance();
                }
            }
        }
    }

    fn cas_of(&self, key: &[u8], bytes: &mut Bytes<'_>) -> u64 {
        let cas = self.model.get(key).map_or(7, |item| item.cas);
        match bytes.next() % 8 {
            0 => cas.wrapping_add(1),
            1 => cas.saturating_sub(1),
            2 => 0,
            _ => cas,
        }
    }

    fn cas_new(bytes: &mut Bytes<'_>) -> u64 {
        match bytes.next() % 4 {
            0 => 0,
            1 => u64::from(bytes.next()) << 40,
            2 => u64::from(u32::MAX),
            _ => u64::from(bytes.next()),
        }
    }

    fn get(&self, bytes: &mut Bytes<'_>) -> Get {
        Get {
            touch: bytes.maybe(Bytes::exptime),
            bump: !bytes.next().is_multiple_of(4),
            tokens: bytes.maybe(|bytes| Tokens {
                vivify: bytes.maybe(Bytes::exptime),
                vivify_cas: bytes.maybe(Self::cas_new),
                recache_below: bytes.maybe(|bytes| i32::from(bytes.next()) - 20),
                key_is_binary: bytes.flag(),
            }),
        }
    }

    fn store(&self, key: &[u8], bytes: &mut Bytes<'_>) -> Store {
        use StoreMode::{Add, Append, Prepend, Replace, Set};
        let mode = [Set, Set, Set, Set, Add, Replace, Append, Prepend][usize::from(bytes.next() % 8)];
        Store {
            mode,
            flags: if bytes.flag() { u32::from(bytes.next()) } else { 0 },
            exptime: bytes.exptime(),
            cas_compare: bytes.maybe(|bytes| self.cas_of(key, bytes)),
            cas_new: bytes.maybe(Self::cas_new),
            invalidate: bytes.flag(),
            vivify: bytes.maybe(Bytes::exptime),
            refusal_removes: bytes.flag(),
            key_is_binary: bytes.flag(),
        }
    }

    fn count(&self, key: &[u8], bytes: &mut Bytes<'_>) -> Count {
        Count {
            direction: if bytes.flag() {
                Direction::Up
            } else {
                Direction::Down
            },
            delta: if bytes.flag() {
                u64::from(bytes.next())
            } else {
                u64::MAX / 2
            },
            cas_compare: bytes.maybe(|bytes| self.cas_of(key, bytes)),
            cas_new: bytes.maybe(Self::cas_new),
            touch: bytes.maybe(Bytes::exptime),
            vivify: bytes.maybe(|bytes| (u64::from(bytes.next()), bytes.exptime())),
            key_is_binary: bytes.flag(),
        }
    }

    fn delete(&self, key: &[u8], bytes: &mut Bytes<'_>) -> Delete {
        Delete {
            cas_compare: bytes.maybe(|bytes| self.cas_of(key, bytes)),
            cas_new: bytes.maybe(Self::cas_new),
            invalidate: bytes.maybe(|_| ()).is_some(),
            exptime: bytes.maybe(Bytes::exptime),
            empty: bytes.maybe(|bytes| EmptyFlags(u32::from(bytes.next() % 3))),
        }
    }

    /// Time passed, or a flush was asked for: both let items go.
    fn advance(&mut self) {
        let now = self.now.seconds;
        if self.flush_pending.is_some_and(|second| second <= now.0) {
            self.flush_pending = None;
            self.model.clear();
        }
        self.model.retain(|_, item| !item.deadline.has_passed(now));
    }

    /// Looks whether the shard still has what the model has, and forgives it if it had to evict.
    fn excuse(&mut self, key: &[u8]) {
        let request = request(&self.seed, key, &[], Operation::Inspect);
        let found = self.shard.execute(&request, self.now) != Reply::Miss;
        if !found && self.model.remove(key).is_some() {
            self.forgotten += 1;
            assert!(self.settings.evict, "nothing is forgotten without eviction");
            assert!(
                self.forgotten <= self.shard.counters().evictions,
                "forgotten without an excuse"
            );
        }
        assert_eq!(found, self.model.contains_key(key), "found what is gone");
    }

    /// The cas unique that the shard shows; irrelevant if the item has expired on arrival.
    fn cas_now(&mut self, key: &[u8]) -> u64 {
        let request = request(&self.seed, key, &[], Operation::Inspect);
        described(self.shard.execute(&request, self.now)).cas
    }

    fn execute(&mut self, key: &[u8], value: &[u8], operation: Operation) {
        self.excuse(key);
        let request = request(&self.seed, key, value, operation);
        let before = self.shard.counters();
        let reply = described(self.shard.execute(&request, self.now));
        self.judge(key, value, operation, reply, before.evictions);
    }

    fn reserve(&mut self, key: Vec<u8>, store: Store, value: Vec<u8>) {
        self.excuse(&key);
        let request = request(&self.seed, &key, &[], Operation::Store(store));
        let outcome = loop {
            match self.shard.reserve(&request, value.len(), self.now) {
                Reserve::Again => self.shard.check(),
                outcome => break outcome,
            }
        };
        match outcome {
            Reserve::Again => unreachable!("the loop goes on"),
            Reserve::Reserved(mut reservation) => {
                for piece in value.chunks(100) {
                    reservation.fill(piece);
                }
                self.reserved.push((reservation, key, store, value));
            }
            Reserve::Refused(reply) => {
                let held = !self.reserved.is_empty() || !self.sending.is_empty();
                let reply = described(reply);
                assert!(self.refusal_is_right(&key, store.flags, value.len(), &reply) || held);
                if store.refusal_removes {
                    self.model.remove(&key);
                }
            }
        }
        // Values that are arriving hold memory that cannot be evicted: not too many of them.
        if self.reserved.len() > 1 {
            self.reserved.remove(0);
        }
    }

    fn commit(&mut self, which: usize) {
        if self.reserved.is_empty() {
            return;
        }
        let which = which % self.reserved.len();
        let (reservation, key, store, value) = self.reserved.swap_remove(which);
        self.excuse(&key);
        let operation = Operation::Store(store);
        let request = request(&self.seed, &key, &[], operation);
        let before = self.shard.counters();
        let reply = described(self.shard.commit(reservation, &request, self.now));
        self.judge(&key, &value, operation, reply, before.evictions);
    }

    /// Begins to send a value, or lets go of one.
    fn send(&mut self, key: &[u8], which: usize) {
        let request = request(&self.seed, key, &[], Operation::Inspect);
        if let Reply::Hit(hit) = self.shard.execute(&request, self.now)
            && !hit.value.segments.is_empty()
        {
            let chain = Chain::of(hit.value.segments);
            let bytes = chain.pieces().collect::<Vec<_>>().concat();
            self.sending.push((chain, bytes));
        }
        // They cannot be forgotten: not too many of them.
        if self.sending.len() > 1 {
            self.sending.swap_remove(which % self.sending.len());
        }
    }

    fn is_too_large(&self, key: &[u8], flags: u32, size: usize) -> bool {
        let options = if flags != 0 { 4 } else { 0 } + if self.settings.cas_enabled { 8 } else { 0 };
        48 + key.len() + 1 + options + size + 2 > self.settings.item_size_max
    }

    fn refusal_is_right(&self, key: &[u8], flags: u32, size: usize, reply: &Described) -> bool {
        match reply.words.as_str() {
            "TooLarge" => self.is_too_large(key, flags, size),
            "NoMemory" => !self.settings.evict || !self.reserved.is_empty() || !self.sending.is_empty(),
            _ => false,
        }
    }

    /// Compares the reply with what the model's rules make of the command, and follows it.
    fn judge(&mut self, key: &[u8], value: &[u8], operation: Operation, reply: Described, evictions: u64) {
        let old = self.model.get(key).cloned();
        if reply.words == "NoMemory" {
            let size = old.as_ref().map_or(0, |item| item.value.len()) + value.len();
            assert!(
                self.refusal_is_right(key, 0, size, &reply),
                "{operation:?}: no memory"
            );
            if let Operation::Store(Store {
                refusal_removes: true,
                ..
            }) = operation
            {
                self.model.remove(key);
            }
            return;
        }
        let (mut want, mut new) = self.rules(key, value, operation, old.as_ref(), reply.cas);
        // A store may have to forget the very item that it is about.
        let evicted = self.shard.counters().evictions > evictions;
        if evicted && old.as_ref().is_some_and(|old| old.value.is_empty()) {
            // To append to an empty item, and to make a new one, is answered alike.
            let anew = self.rules(key, value, operation, None, reply.cas);
            let is_alike = reply.words == want && anew.0 == want;
            if is_alike && anew.1 != new && self.shows(key, anew.1.as_ref()) {
                (want, new) = anew;
                self.forgotten += 1;
            }
        }
        if reply.words != want {
            assert!(
                evicted,
                "{operation:?} on {old:?}: got {}, want {want}",
                reply.words
            );
            (want, new) = match operation {
                Operation::Store(Store {
                    mode: StoreMode::Append | StoreMode::Prepend,
                    ..
                }) if reply.words == "NotStored" => ("NotStored".into(), None),
                _ => self.rules(key, value, operation, None, reply.cas),
            };
            assert_eq!(reply.words, want, "{operation:?} on {old:?}");
            self.forgotten += 1;
        }
        let new = new.map(|item| match item.cas {
            CAS_UNTOLD => Item {
                cas: self.cas_now(key),
                ..item
            },
            _ => item,
        });
        match new {
            Some(item) if item.deadline.has_passed(self.now.seconds) => self.model.remove(key),
            Some(item) => self.model.insert(key.to_vec(), item),
            None => self.model.remove(key),
        };
    }

    /// Whether the shard has this item under the key.
    fn shows(&mut self, key: &[u8], item: Option<&Item>) -> bool {
        let get = Operation::Get(Get {
            bump: false,
            ..Get::PLAIN
        });
        let (want, _) = self.rules(key, &[], get, item, 0);
        let request = request(&self.seed, key, &[], Operation::Inspect);
        described(self.shard.execute(&request, self.now)).words == want
    }

    /// memcached's rules: the reply in words, and the item afterwards. `cas` is what the reply says, and is
    /// checked where the rules name it.
    fn rules(
        &self,
        key: &[u8],
        value: &[u8],
        operation: Operation,
        old: Option<&Item>,
        cas: u64,
    ) -> (String, Option<Item>) {
        let now = self.now;
        let given = |asked: Option<u64>| match asked.filter(|&cas| cas != 0 && self.settings.cas_enabled) {
            Some(asked) => asked,
            None if self.settings.cas_enabled => cas,
            None => 0,
        };
        let fresh = |value: Vec<u8>, flags: u32, exptime: Exptime, asked: Option<u64>| Item {
            value,
            flags,
            deadline: now.deadline(exptime),
            accessed: now.seconds.0,
            cas: given(asked),
            fetched: false,
            stale: false,
            token_sent: false,
            key_is_binary: false,
        };
        match operation {
            Operation::Inspect => unreachable!("`excuse` inspects"),
            Operation::Touch(exptime) => match old {
                None => ("NotFound".into(), None),
                Some(old) => {
                    let item = Item {
                        deadline: now.deadline(exptime),
                        fetched: true,
                        accessed: now.seconds.0,
                        ..old.clone()
                    };
                    (format!("Touched {} {}", item.flags, item.cas), Some(item))
                }
            },
            Operation::Get(get) => {
                let vivify = get.tokens.and_then(|tokens| tokens.vivify);
                let before = match (old, vivify) {
                    (Some(old), _) => old.clone(),
                    (None, None) => return ("Miss".into(), None),
                    (None, Some(exptime)) => Item {
                        key_is_binary: get.tokens.is_some_and(|tokens| tokens.key_is_binary),
                        ..fresh(
                            Vec::new(),
                            0,
                            exptime,
                            get.tokens.and_then(|tokens| tokens.vivify_cas),
                        )
                    },
                };
                let mut after = before.clone();
                let left = before.deadline.left(now.seconds);
                let won = get.tokens.is_some_and(|tokens| {
                    let soon = left
                        .zip(tokens.recache_below)
                        .is_some_and(|(left, below)| left < below.into());
                    old.is_none() || !before.token_sent && (before.stale || soon)
                });
                after.token_sent |= won;
                if let Some(exptime) = get.touch {
                    after.deadline = now.deadline(exptime);
                }
                if get.bump {
                    after.fetched = true;
                    after.accessed = now.seconds.0;
                }
                let words = format!(
                    "Hit {:?} flags {} cas {} left {:?} {:?} idle {} fetched {} binary {} won {won} stale {} sent {} vivified {}",
                    before.value,
                    before.flags,
                    before.cas,
                    left,
                    after.deadline.left(now.seconds),
                    now.seconds.0 - before.accessed,
                    before.fetched,
                    before.key_is_binary,
                    before.stale,
                    before.token_sent,
                    old.is_none(),
                );
                (words, Some(after))
            }
            Operation::Delete(delete) => {
                let Some(old) = old else {
                    return ("NotFound".into(), None);
                };
                if delete
                    .cas_compare
                    .is_some_and(|compare| compare == 0 || compare != old.cas)
                {
                    return ("Exists".into(), Some(old.clone()));
                }
                let mut item = old.clone();
                if let Some(EmptyFlags(flags)) = delete.empty {
                    item = Item {
                        flags,
                        deadline: Deadline::NEVER,
                        value: Vec::new(),
                        stale: false,
                        token_sent: false,
                        fetched: false,
                        accessed: now.seconds.0,
                        ..item
                    };
                } else if !delete.invalidate {
                    return ("Deleted".into(), None);
                }
                if let Some(exptime) = delete.exptime {
                    item.deadline = now.deadline(exptime);
                }
                if delete.invalidate {
                    item.stale = true;
                    item.token_sent = false;
                }
                item.cas = match (delete.cas_new, delete.invalidate) {
                    (Some(asked), _) if asked != 0 && self.settings.cas_enabled => asked,
                    (None, false) => item.cas,
                    _ => CAS_UNTOLD,
                };
                ("Deleted".into(), Some(item))
            }
            Operation::Count(count) => {
                let Some(old) = old else {
                    let Some((number, exptime)) = count.vivify else {
                        return ("NotFound".into(), None);
                    };
                    let item = Item {
                        key_is_binary: count.key_is_binary,
                        ..fresh(number.to_string().into_bytes(), 0, exptime, count.cas_new)
                    };
                    let left = item.deadline.left(now.seconds);
                    let words = format!(
                        "Counted {number} {} 0 None {left:?} {}",
                        item.cas, item.key_is_binary
                    );
                    return (words, Some(item));
                };
                // What else counts as a number, the shard's own tests know.
                let digits = old.value.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (text, blanks) = old.value.split_at(digits);
                let is_number = !text.is_empty() && blanks.first().is_none_or(|&byte| byte == b' ');
                let mismatch =
                    self.settings.cas_enabled && count.cas_compare.is_some_and(|cas| cas != old.cas);
                let large = is_large(key, old.value.len(), self.pool.page_size());
                if mismatch && !old.value.is_empty() && !large {
                    return ("Exists".into(), Some(old.clone()));
                }
                let number = std::str::from_utf8(text)
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok());
                let Some(number) = number.filter(|_| is_number && !large) else {
                    return ("NotNumeric".into(), Some(old.clone()));
                };
                let number = match count.direction {
                    Direction::Up => number.wrapping_add(count.delta),
                    Direction::Down => number.saturating_sub(count.delta),
                };
                let mut item = old.clone();
                item.value = number.to_string().into_bytes();
                if item.value.len() <= old.value.len() {
                    item.value.resize(old.value.len(), b' ');
                } else {
                    (item.fetched, item.stale, item.token_sent) = (false, false, false);
                }
                item.cas = given(count.cas_new);
                item.accessed = now.seconds.0;
                if let Some(exptime) = count.touch {
                    item.deadline = now.deadline(exptime);
                }
                let words = format!(
                    "Counted {number} {} {} {:?} {:?} {}",
                    item.cas,
                    item.flags,
                    old.deadline.left(now.seconds),
                    item.deadline.left(now.seconds),
                    item.key_is_binary,
                );
                (words, Some(item))
            }
            Operation::Store(store) => self.store_rules(key, value, &store, old, given),
        }
    }

    fn store_rules(
        &self,
        key: &[u8],
        value: &[u8],
        store: &Store,
        old: Option<&Item>,
        given: impl Fn(Option<u64>) -> u64,
    ) -> (String, Option<Item>) {
        use StoreMode::{Add, Append, Prepend, Replace, Set};
        let now = self.now;
        if self.is_too_large(key, store.flags, value.len()) {
            let kept = old.filter(|_| !store.refusal_removes).cloned();
            return ("TooLarge".into(), kept);
        }
        let mut new = Item {
            value: value.to_vec(),
            flags: store.flags,
            deadline: now.deadline(store.exptime),
            accessed: now.seconds.0,
            cas: given(store.cas_new),
            fetched: false,
            stale: false,
            token_sent: false,
            key_is_binary: store.key_is_binary,
        };
        let refused = |words: &str| (words.to_owned(), old.cloned());
        match (store.mode, old) {
            (Add, None) | (Set, None) if store.mode == Add || store.cas_compare.is_none() => {}
            (Set | Replace, None) if store.cas_compare.is_some() => return refused("NotFound"),
            (Append | Prepend, None) if store.vivify.is_some() => {
                new.deadline = now.deadline(store.vivify.unwrap_or(Exptime::NEVER));
            }
            (_, None) => return refused("NotStored"),
            (Add, Some(old)) => {
                let item = Item {
                    accessed: now.seconds.0,
                    ..old.clone()
                };
                return ("NotStored".into(), Some(item));
            }
            (Set | Replace, Some(old)) => match store.cas_compare {
                None => {}
                Some(_) if !self.settings.cas_enabled => return refused("Exists"),
                Some(compare) if compare != 0 && compare == old.cas => {}
                Some(compare) if compare != 0 && store.invalidate && compare < old.cas => {
                    new.deadline = old.deadline;
                    new.stale = true;
                    new.token_sent = old.token_sent;
                }
                Some(_) => return refused("Exists"),
            },
            (Append | Prepend, Some(old)) => {
                if self.settings.cas_enabled && store.cas_compare.is_some_and(|compare| compare != old.cas) {
                    return refused("Exists");
                }
                let parts = if store.mode == Append {
                    [&old.value, value]
                } else {
                    [value, &old.value]
                };
                new.value = parts.concat();
                new.flags = old.flags;
                new.deadline = old.deadline;
                new.key_is_binary = old.key_is_binary;
                if self.is_too_large(key, new.flags, new.value.len()) {
                    return refused("NotStored");
                }
            }
        }
        let words = format!("Stored {} {} {}", new.cas, new.value.len(), new.key_is_binary);
        (words, Some(new))
    }
}

/// Whether a value has pages of its own, so that memcached's rule for chunked items holds for it.
fn is_large(key: &[u8], size: usize, page_size: usize) -> bool {
    28 + key.len() + size > page_size / 7 && size >= page_size
}

fn request<'a>(seed: &KeySeed, key: &'a [u8], value: &'a [u8], operation: Operation) -> Request<'a> {
    Request {
        key,
        hash: seed.hash(key),
        value,
        operation,
    }
}

/// A reply without its borrow.
struct Described {
    words: String,
    cas: u64,
}

fn described(reply: Reply<'_>) -> Described {
    let (words, cas) = match reply {
        Reply::Hit(hit) => (
            format!(
                "Hit {:?} flags {} cas {} left {:?} {:?} idle {} fetched {} binary {} won {} stale {} sent {} vivified {}",
                hit.value.to_vec(),
                hit.flags,
                hit.cas,
                hit.left_before,
                hit.left_after,
                hit.idle,
                hit.fetched,
                hit.key_is_binary,
                hit.won,
                hit.stale,
                hit.token_sent,
                hit.vivified,
            ),
            hit.cas,
        ),
        Reply::Touched { flags, cas } => (format!("Touched {flags} {cas}"), cas),
        Reply::Stored {
            cas,
            value_size,
            key_is_binary,
        } => (format!("Stored {cas} {value_size} {key_is_binary}"), cas),
        Reply::Counted(counted) => (
            format!(
                "Counted {} {} {} {:?} {:?} {}",
                counted.number,
                counted.cas,
                counted.flags,
                counted.left_before,
                counted.left_after,
                counted.key_is_binary,
            ),
            counted.cas,
        ),
        other => (format!("{other:?}"), 0),
    };
    Described { words, cas }
}
