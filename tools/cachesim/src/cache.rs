//! What a trace is replayed through: a policy from the books, or ringcached's own shards.

use std::sync::Arc;

use anyhow::{Result, ensure};
use ringcached::command::{Delete, Get, KEY_SIZE_MAX, Operation, Reply, Request, Store, StoreMode};
use ringcached::hash::KeySeed;
use ringcached::memory::Pool;
use ringcached::shard::{Counters, PAGES_PER_SHARD_MIN, Settings, Shard, shards_for};
use ringcached::time::{Exptime, Now, Seconds};

use crate::policy::Policy;
use traces::trace::{self, Access};

/// A cache of objects.
pub(crate) trait Cache {
    /// Whether the object is there. A hit counts for it.
    fn get(&mut self, access: &Access) -> bool;
    fn set(&mut self, access: &Access);
    fn delete(&mut self, access: &Access);
}

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) gets: u64,
    pub(crate) misses: u64,
}

impl Outcome {
    pub(crate) fn miss_ratio(self) -> f64 {
        self.misses as f64 / self.gets.max(1) as f64
    }
}

/// Serves one request: a get that misses is followed by a set.
pub(crate) fn serve(cache: &mut dyn Cache, access: &Access, outcome: &mut Outcome) {
    match access.operation {
        trace::Operation::Get => {
            outcome.gets += 1;
            if !cache.get(access) {
                outcome.misses += 1;
                cache.set(access);
            }
        }
        trace::Operation::Set => cache.set(access),
        trace::Operation::Delete => cache.delete(access),
    }
}

/// How much an object takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sizing {
    /// All objects count the same.
    Unit,
    /// Key and value, and so many bytes besides (in the shard: what they really take).
    Bytes { overhead: u32 },
}

/// A policy that holds up to a capacity.
pub(crate) struct Book {
    policy: Box<dyn Policy>,
    sizing: Sizing,
    capacity: u64,
}

impl Book {
    pub(crate) fn new(policy: Box<dyn Policy>, sizing: Sizing, capacity: u64) -> Book {
        Book {
            policy,
            sizing,
            capacity,
        }
    }
}

/// Caches that have a fixed part of the objects each, by their hash: what dividing costs a policy.
pub(crate) struct Divided(Vec<Book>);

impl Divided {
    /// A cache for each part of the capacity; `part` makes one.
    pub(crate) fn new(capacity: u64, parts: u64, part: impl Fn(u64) -> Book) -> Result<Divided> {
        ensure!(capacity >= parts, "{capacity} is too little for {parts} parts");
        let first = |number| capacity * number / parts;
        let parts = (0..parts).map(|number| part(first(number + 1) - first(number)));
        Ok(Divided(parts.collect()))
    }

    fn owner(&mut self, access: &Access) -> &mut Book {
        let owner = SEED.hash(&access.object.to_le_bytes()).owner(self.0.len());
        &mut self.0[owner]
    }
}

impl Cache for Divided {
    fn get(&mut self, access: &Access) -> bool {
        self.owner(access).get(access)
    }

    fn set(&mut self, access: &Access) {
        self.owner(access).set(access);
    }

    fn delete(&mut self, access: &Access) {
        self.owner(access).delete(access);
    }
}

impl Cache for Book {
    fn get(&mut self, access: &Access) -> bool {
        self.policy.get(access.object)
    }

    fn set(&mut self, access: &Access) {
        let cost = match self.sizing {
            Sizing::Unit => 1,
            Sizing::Bytes { overhead } => {
                u64::from(access.key_size) + u64::from(access.value_size) + u64::from(overhead)
            }
        };
        self.policy.remove(access.object);
        if cost <= self.capacity {
            self.policy.insert(access.object, cost);
        }
    }

    fn delete(&mut self, access: &Access) {
        self.policy.remove(access.object);
    }
}

/// Requests between two slices of a shard's background work: about as many as a busy core serves in a turn.
const REQUESTS_PER_TURN: u64 = 16;

/// Requests in a second of the shards' clock, of all shards together.
const REQUESTS_PER_SECOND: u64 = 100_000;

/// Pages that a cache holds at least, where objects all count the same: real caches have many more, and a page of
/// the usual size would hold all of a small trace.
const PAGES_MIN: u64 = 400;

/// What a cache cannot do without.
const PAGES_LEAST: u64 = 4;

/// Pages and items that fill chunks exactly, whatever the growth of the classes: by chunks per page, up to what
/// small items have on a page of 64 KiB.
const LAYOUTS: [Layout; 9] = {
    const fn layout(page_size: usize, item_size: usize) -> Layout {
        Layout { page_size, item_size }
    }
    [
        // A value may not need more than the page, whatever its header.
        layout(512, 496),
        layout(512, 192),
        layout(512, 96),
        layout(512, 48),
        layout(512, 24),
        layout(1024, 24),
        layout(2048, 24),
        layout(4096, 24),
        layout(8192, 24),
    ]
};

#[derive(Clone, Copy, Debug)]
struct Layout {
    page_size: usize,
    item_size: usize,
}

impl Layout {
    const fn chunks(&self) -> u64 {
        (self.page_size / self.item_size) as u64
    }

    /// Bytes of key and value, so that the item fills its chunk (or, alone on its page, leaves no room for another). The
    /// key takes as much as it may: a value of an eighth of the page would be cut as large values are.
    const fn key_and_value(&self) -> (usize, usize) {
        let room = self.item_size - HEADER_SIZE;
        let key_size = if room < KEY_SIZE_MAX { room } else { KEY_SIZE_MAX };
        let (value_size, value_size_max) = (room - key_size, self.page_size / 8 - 1);
        let value_size = if value_size < value_size_max {
            value_size
        } else {
            value_size_max
        };
        (key_size, value_size)
    }
}

const PAGE_SIZE: usize = 64 * 1024;
const HEADER_SIZE: usize = 16;

/// Keys are numbers, and what fills them up to their size.
const NUMBER_SIZE: usize = 8;

const SEED: KeySeed = KeySeed::fixed(0x0072_696e_6763);

/// The real thing: shards that share a pool, keys dealt by their hash.
pub(crate) struct Real {
    shards: Vec<Shard>,
    sizing: Sizing,
    now: Now,
    requests: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    /// Of key and value, where objects all count the same.
    unit: (usize, usize),
}

impl Real {
    /// Shards that hold so many objects, or bytes, together.
    pub(crate) fn new(settings: &Settings, sizing: Sizing, capacity: u64) -> Result<Real> {
        match sizing {
            Sizing::Unit => Real::of_objects(settings, capacity),
            Sizing::Bytes { .. } => {
                let pages = capacity / PAGE_SIZE as u64;
                ensure!(
                    pages >= PAGES_LEAST,
                    "{capacity} bytes are too little: a cache needs {PAGES_LEAST} pages of {PAGE_SIZE}"
                );
                Ok(Real::of_pages(settings, sizing, pages, PAGE_SIZE, (0, 0)))
            }
        }
    }

    /// Shards whose pages have room for so many objects, to the next page. A page is of the usual size unless the
    /// cache would have less than [`PAGES_MIN`] of them, or fewer shards than are asked for, and objects suffice for more.
    fn of_objects(settings: &Settings, objects: u64) -> Result<Real> {
        let wanted = objects / PAGES_MIN.max((PAGES_PER_SHARD_MIN * settings.shards) as u64);
        let layout = LAYOUTS.iter().rev().find(|layout| layout.chunks() <= wanted);
        let layout = layout.unwrap_or(&LAYOUTS[0]);
        let pages = (objects + layout.chunks() / 2) / layout.chunks();
        ensure!(
            pages >= PAGES_LEAST,
            "{objects} objects are too few: a cache needs {PAGES_LEAST} pages"
        );
        Ok(Real::of_pages(
            settings,
            Sizing::Unit,
            pages,
            layout.page_size,
            layout.key_and_value(),
        ))
    }

    /// Shards that share one pool, or have one each, when there are as many.
    pub(crate) fn with_pools(
        settings: &Settings,
        sizing: Sizing,
        capacity: u64,
        pools: usize,
    ) -> Result<Real> {
        let mut real = Real::new(settings, sizing, capacity)?;
        if pools > 1 {
            let alone = Settings {
                shards: 1,
                ..*settings
            };
            let shard = |_| {
                Ok(Real::new(&alone, sizing, capacity / pools as u64)?
                    .shards
                    .remove(0))
            };
            real.shards = (0..settings.shards).map(shard).collect::<Result<_>>()?;
        }
        Ok(real)
    }

    fn of_pages(
        settings: &Settings,
        sizing: Sizing,
        pages: u64,
        page_size: usize,
        unit: (usize, usize),
    ) -> Real {
        let pool = Arc::new(Pool::new(pages * page_size as u64, page_size));
        // As the server has it: cores may be more than its memory has shards for.
        let shards = shards_for(pool.pages_max(), settings.shards);
        let shard = |number| {
            let settings = Settings {
                shards,
                number,
                ..*settings
            };
            Shard::new(&settings, SEED, Arc::clone(&pool))
        };
        Real {
            shards: (0..shards).map(shard).collect(),
            sizing,
            now: Now {
                seconds: Seconds::START,
                unix_start: 1_700_000_000,
            },
            requests: 0,
            key: Vec::new(),
            value: Vec::new(),
            unit,
        }
    }

    /// The events of all shards.
    pub(crate) fn counters(&self) -> impl Iterator<Item = Counters> {
        self.shards.iter().map(Shard::counters)
    }

    /// Recomputes everything that the shards keep in two places.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        self.shards.iter().for_each(Shard::check);
    }

    /// Gets a key; whether it was there.
    pub(crate) fn read(&mut self, object: u64, key_size: usize) -> bool {
        let reply = self.execute(object, key_size, 0, Operation::Get(Get::PLAIN));
        matches!(reply, Answer::Hit)
    }

    pub(crate) fn store(&mut self, object: u64, key_size: usize, value_size: usize, ttl: u32) {
        let exptime = Exptime(i64::from(ttl));
        let store = Store::new(StoreMode::Set, 0, exptime);
        self.execute(object, key_size, value_size, Operation::Store(store));
    }

    /// Which of so many shards the key would belong to.
    pub(crate) fn owner_among(&mut self, object: u64, key_size: usize, shards: usize) -> usize {
        self.spell(object, key_size);
        SEED.hash(&self.key).owner(shards)
    }

    fn spell(&mut self, object: u64, key_size: usize) {
        self.key.clear();
        self.key.extend(object.to_le_bytes());
        self.key.resize(key_size.clamp(NUMBER_SIZE, KEY_SIZE_MAX), b'k');
    }

    fn execute(&mut self, object: u64, key_size: usize, value_size: usize, operation: Operation) -> Answer {
        self.requests += 1;
        if self.requests.is_multiple_of(REQUESTS_PER_SECOND) {
            self.now.seconds.0 += 1;
        }
        self.spell(object, key_size);
        if self.value.len() < value_size {
            self.value.resize(value_size, b'v');
        }
        let request = Request {
            key: &self.key,
            hash: SEED.hash(&self.key),
            value: &self.value[..value_size],
            operation,
        };
        let owner = request.hash.owner(self.shards.len());
        let answer = match self.shards[owner].execute(&request, self.now) {
            Reply::Hit(_) => Answer::Hit,
            _ => Answer::Other,
        };
        // Every core has its turn as often as any other.
        if self.requests.is_multiple_of(REQUESTS_PER_TURN) {
            let turn = (self.requests / REQUESTS_PER_TURN) as usize % self.shards.len();
            self.shards[turn].maintain(self.now);
        }
        answer
    }

    /// What the key and the value of a request take.
    fn sizes(&self, access: &Access) -> (usize, usize) {
        match self.sizing {
            Sizing::Unit => self.unit,
            Sizing::Bytes { .. } => (usize::from(access.key_size), access.value_size as usize),
        }
    }
}

enum Answer {
    Hit,
    Other,
}

impl Cache for Real {
    fn get(&mut self, access: &Access) -> bool {
        let (key_size, _) = self.sizes(access);
        self.read(u64::from(access.object), key_size)
    }

    fn set(&mut self, access: &Access) {
        let (key_size, value_size) = self.sizes(access);
        self.store(u64::from(access.object), key_size, value_size, access.ttl);
    }

    fn delete(&mut self, access: &Access) {
        let (key_size, _) = self.sizes(access);
        let delete = Operation::Delete(Delete::default());
        self.execute(u64::from(access.object), key_size, 0, delete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traces::trace::Trace;

    fn misses(cache: &mut Real, keys: impl IntoIterator<Item = u64>) -> u64 {
        let mut outcome = Outcome::default();
        for access in &Trace::of_keys("test", keys).accesses {
            serve(cache, access, &mut outcome);
        }
        cache.check();
        outcome.misses
    }

    fn real(shards: usize, objects: u64) -> Real {
        let settings = Settings {
            shards,
            ..Settings::default()
        };
        Real::new(&settings, Sizing::Unit, objects).expect("enough objects")
    }

    #[test]
    fn a_shard_holds_the_objects_that_it_should_but_for_its_reserve() {
        for objects in [100, 500, 3_000, 20_000, 200_000] {
            let mut cache = real(1, objects);
            misses(&mut cache, 0..objects * 2);
            let held: u64 = cache.counters().map(|counters| counters.curr_items).sum();
            assert!(held <= objects, "{held} of {objects}");
            assert!(held * 100 >= objects * 97, "{held} of {objects}");
        }
    }

    #[test]
    fn what_fits_misses_once() {
        assert_eq!(misses(&mut real(1, 1_000), (0..900).cycle().take(9_000)), 900);
        assert_eq!(
            misses(&mut real(4, 4_000), (0..3_000).cycle().take(30_000)),
            3_000
        );
    }

    #[test]
    fn of_a_cyclic_scan_twice_as_long_as_the_memory_a_part_is_kept() {
        let rounds = 120;
        let mut cache = real(1, 1_000);
        misses(&mut cache, (0..2_000).cycle().take(2_000 * rounds));
        let last = misses(&mut cache, 0..2_000);
        assert!(last < 1_700, "{last} of 2,000 missed; an LRU misses all");
    }

    #[test]
    fn one_hit_wonders_do_not_push_out_what_is_asked_for() {
        let mut cache = real(1, 1_000);
        misses(&mut cache, (0..500).chain(0..500));
        let keys = (0..100_000u64).map(|step| match step % 2 {
            0 => step / 2 % 500,
            _ => 1_000_000 + step,
        });
        let missed = misses(&mut cache, keys);
        assert!(missed < 50_000 + 1_000, "{missed}");
    }

    #[test]
    fn bytes_and_pools_are_divided() {
        let settings = Settings {
            shards: 4,
            ..Settings::default()
        };
        let sizing = Sizing::Bytes { overhead: 0 };
        assert!(Real::new(&settings, sizing, 3 << 16).is_err());
        for pools in [1, 4] {
            let mut cache = Real::with_pools(&settings, sizing, 64 << 20, pools).expect("enough bytes");
            assert_eq!(4, cache.shards.len());
            for object in 0..800_000 {
                cache.store(object, 20, 200, 0);
            }
            let pages = |counters: Counters| (counters.pages, counters.pages_idle);
            let (used, ready): (Vec<u64>, Vec<u64>) = cache.counters().map(pages).unzip();
            let (used, ready): (u64, u64) = (used.iter().sum(), ready.iter().sum());
            assert!(
                used >= 960 && used + ready <= 1024,
                "{used} used, {ready} wait for stores"
            );
            cache.check();
        }
    }
}
