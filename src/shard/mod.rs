//! One core's cache: what memcached's commands mean, on items in pages of memory.
//!
//! Plain and synchronous: a request and the time go in, a reply that borrows the item comes out. Nothing here knows
//! of sockets, of a protocol's bytes, of threads or of clocks.
//!
//! ```text
//! Shard -- store, clock     what commands do; who gets the memory
//!   |----- table            hash -> ItemId
//!   |----- slab             ItemId -> bytes; pages, chunks, rings of pages
//!   |        |-- classes    sizes of chunk
//!   |        '-- item       the bytes of an item
//!   |----- large, blocks    pages and blocks of large values, and values that are arriving
//!   |----- share            how many shards there are, and what each is promised
//!   |----- ages, ready      pages that move between shards, and those that are ready for all
//!   '----- ghosts           what was forgotten lately
//! ```
//!
//! Invariant: every chunk in use is an item that the table finds under its key, and the other way round; every page
//! is in the slab, under a large value or its blocks, or not this shard's. [`Shard::check`] verifies it.

mod ages;
mod bands;
mod blocks;
mod classes;
mod clock;
mod counters;
mod evicted;
mod extend;
mod ghosts;
mod item;
mod large;
mod number;
mod prefetch;
mod prefixes;
mod ready;
mod scan;
mod share;
mod slab;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod worth;

use std::sync::Arc;

pub use bands::{BANDS, Band, Bands};
pub use counters::Counters;
pub use evicted::Evicted;
pub use large::{Reservation, Reserve};
pub use prefixes::{PrefixCounters, Prefixes};
pub use scan::{Glance, Seen};
pub use share::{PAGES_PER_SHARD_MIN, shards_for};

use crate::command::{Delete, Get, Hit, Operation, Reply, Request, Value};
use crate::hash::{KeyHash, KeySeed};
use crate::memory::{Account, Charge, Pool};
use crate::time::{Deadline, Exptime, Now, Seconds};
use ages::Ages;
use bands::Busy;
use classes::ClassId;
use clock::{Crawl, Sweep};
use evicted::EvictedList;
use ghosts::Ghosts;
use item::{FETCHED, Header, Item, STALE, TOKEN_SENT};
use large::{Hoard, Large, LargeValues};
use ready::Dues;
use slab::{ItemId, Ring, Slab};
use table::Table;
use worth::Worth;

/// What a shard is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest item in bytes, counted as memcached counts (`-I`).
    pub item_size_max: usize,
    /// False for `-C`: items have no cas unique, and what is shown as one is 0.
    pub cas_enabled: bool,
    /// False for `-M`: a full cache refuses instead of forgetting.
    pub evict: bool,
    pub eviction: Eviction,
    /// Where a key's prefix ends (`-D`).
    pub prefix_delimiter: u8,
    /// Whether prefixes are counted from the start.
    pub detail: bool,
    /// Among how many shards the pool's memory is divided: tables and classes are chosen for a fair part.
    pub shards: usize,
    /// Which of them this is, from 0: no two shards give the same cas unique. One beyond them owns no keys.
    pub number: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            item_size_max: 1 << 20,
            cas_enabled: true,
            evict: true,
            eviction: Eviction::default(),
            prefix_delimiter: b':',
            detail: false,
            shards: 1,
            number: 0,
        }
    }
}

/// Which items a full shard forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// One ring: a plain CLOCK with 2 bits.
    Clock,
    /// New items pass a probation ring first.
    Probation {
        /// Probation's share of the pages.
        percent: u8,
        /// References that an item needs to pass, 1 to 3.
        promote_at: u8,
        /// Whether keys that probation forgot are remembered.
        ghosts: bool,
    },
}

impl Default for Eviction {
    fn default() -> Eviction {
        Eviction::Probation {
            percent: 11,
            promote_at: 1,
            ghosts: true,
        }
    }
}

impl Eviction {
    fn probation_percent(self) -> usize {
        match self {
            Eviction::Clock => 0,
            Eviction::Probation { percent, .. } => usize::from(percent),
        }
    }

    fn promote_at(self) -> u8 {
        match self {
            Eviction::Clock => 1,
            Eviction::Probation { promote_at, .. } => promote_at,
        }
    }
}

/// What a get did to an item.
struct Event {
    /// The deadline that it has now.
    after: Deadline,
    won: bool,
    vivified: bool,
}

/// One core's cache.
pub struct Shard {
    settings: Settings,
    seed: KeySeed,
    pool: Arc<Pool>,
    table: Table,
    slab: Slab,
    larges: LargeValues,
    ghosts: Ghosts,
    /// Pages that the pool keeps for this shard, so that no shard starves because others were first.
    pages_floor: u64,
    /// Pages for a large value that is about to arrive; not counted among this shard's.
    hoard: Hoard,
    /// What large values take in pages and blocks, counted in blocks, by the ring of their items.
    large_blocks: [usize; Ring::COUNT],
    worth: Worth,
    sweep: Option<Sweep>,
    /// Bytes that stores have paid for and the hand has not yet swept.
    credit: usize,
    /// Pages that the hand took from the pool to copy survivors to, and has not made up for by emptying others.
    borrowed: usize,
    /// Bytes of chunks that survived since the hand last emptied a page beyond those, or while there was one for stores.
    fruitless: usize,
    /// By class: items that nobody asked for since the last of some that were let out of probation all the same.
    unlucky: Vec<u32>,
    ages: Ages,
    dues: Dues,
    crawl: Crawl,
    /// The last cas unique given.
    cas: u64,
    /// The second in which a delayed flush takes effect.
    flush_pending: Option<u32>,
    /// How often an item was moved or forgotten to make room: an `ItemId` is good only while this stands still.
    moves: u64,
    /// For values that are put together from an old one and a new one.
    scratch: Vec<u8>,
    counters: Counters,
    /// What is not item pages, in the budget for everything.
    charge: Charge,
    bands: Bands,
    /// By class, the last for large values.
    busy: Vec<Busy>,
    /// Counters by key prefix, and whether they count now.
    prefixes: Prefixes,
    detail: bool,
    /// What was forgotten, while somebody wants to know.
    evicted: Option<Box<EvictedList>>,
}

impl Shard {
    pub fn new(settings: &Settings, seed: KeySeed, pool: Arc<Pool>) -> Shard {
        let pages = share::fair(&pool, settings);
        let slab = Slab::new(pool.page_size(), classes::fitting(pages), pages);
        let busy = vec![Busy::default(); slab.classes.count() + 1];
        let table = Table::new(pages * pool.page_size());
        let counters = Counters {
            hash_bytes: table.size() as u64,
            ..Counters::default()
        };
        let shard = Shard {
            settings: *settings,
            seed,
            table,
            larges: LargeValues::new(pool.page_size()),
            ghosts: Ghosts::default(),
            pages_floor: share::floor(pages, settings),
            hoard: Hoard::default(),
            large_blocks: [0; Ring::COUNT],
            worth: Worth::default(),
            sweep: None,
            credit: 0,
            borrowed: 0,
            fruitless: 0,
            unlucky: vec![0; slab.classes.count()],
            ages: Ages::default(),
            dues: Dues::default(),
            crawl: Crawl::default(),
            cas: settings.number as u64,
            flush_pending: None,
            moves: 0,
            scratch: Vec::new(),
            counters,
            charge: Charge::new(&pool, Account::Tables),
            bands: Bands::default(),
            busy,
            prefixes: Prefixes::default(),
            detail: settings.detail,
            evicted: None,
            slab,
            pool,
        };
        shard.pool.change_promise(0, shard.pages_floor as usize);
        shard
    }

    /// Does what the request asks.
    ///
    /// A store's value must be in the request; one that arrives apart takes [`Shard::reserve`] and
    /// [`Shard::commit`].
    #[inline]
    pub fn execute(&mut self, request: &Request<'_>, now: Now) -> Reply<'_> {
        self.advance(now);
        match &request.operation {
            Operation::Get(get) => self.get(request, get, now),
            Operation::Touch(exptime) => self.touch(request, *exptime, now),
            Operation::Store(store) => self.store(request, store, now),
            Operation::Delete(delete) => self.delete(request, delete, now),
            Operation::Count(count) => self.count(request, count, now),
            Operation::Inspect => self.inspect(request, now),
        }
    }

    /// A request for a key with this hash comes soon: fetches what it will touch into the cache, without waiting.
    pub fn prepare(&self, hash: KeyHash) {
        // Whatever has the tag is fetched, and none of it is what was looked for.
        let mut is_there = false;
        self.table.find(hash, |id| {
            self.slab.prefetch(id);
            is_there = true;
            false
        });
        // A store will ask whether it comes back.
        if !is_there {
            self.ghosts.prefetch(hash);
        }
    }

    fn get(&mut self, request: &Request<'_>, get: &Get, now: Now) -> Reply<'_> {
        let found = self.find(request, now);
        let Some(id) = found.or_else(|| self.vivify(request, get.tokens.as_ref()?, now)) else {
            // A meta get that would have touched counts as a get.
            if get.touch.is_some() && get.tokens.is_none() {
                self.counters.cmd_touch += 1;
                self.counters.touch_misses += 1;
            } else {
                self.counters.cmd_get += 1;
                self.counters.get_misses += 1;
            }
            if self.detail {
                self.detail(request.key, |prefix| prefix.gets += 1);
            }
            let vivifies = get.tokens.is_some_and(|tokens| tokens.vivify.is_some());
            return if vivifies { Reply::NoMemory } else { Reply::Miss };
        };
        let before = self.slab.item(id).header;
        let mut after = before;
        let mut won = false;
        if let Some(tokens) = &get.tokens {
            // What recache is given is an exptime, too: a large one is a point in time.
            let expires_soon = || {
                let below = tokens.recache_below.map(|below| Exptime(below.into()));
                let ends = before.deadline();
                ends != Deadline::NEVER && below.is_some_and(|below| ends.raw() < now.deadline(below).raw())
            };
            won = found.is_none() || !before.has(TOKEN_SENT) && (before.has(STALE) || expires_soon());
            if won {
                after.set(TOKEN_SENT, true);
            }
        }
        if let Some(exptime) = get.touch {
            after.set_deadline(now.deadline(exptime));
            self.slab.note_deadline(id, after.deadline());
            self.counters.cmd_touch += 1;
            self.counters.touch_hits += 1;
        } else {
            self.counters.cmd_get += 1;
            self.counters.get_hits += 1;
        }
        match get.touch {
            None => self.count_hit(id, before.is_large()),
            Some(_) => self.band_of(id).touch_hits += 1,
        }
        if self.detail {
            self.detail(request.key, |prefix| {
                prefix.gets += 1;
                prefix.hits += 1;
            });
        }
        if get.bump {
            after.set(FETCHED, true);
            after.reference();
            after.accessed = now.seconds.0;
        }
        if after != before {
            self.slab.set_header(id, &after);
        }
        let event = Event {
            after: after.deadline(),
            won,
            vivified: found.is_none(),
        };
        self.hit(id, &before, event, now.seconds)
    }

    fn touch(&mut self, request: &Request<'_>, exptime: Exptime, now: Now) -> Reply<'_> {
        self.counters.cmd_touch += 1;
        let Some(id) = self.find(request, now) else {
            self.counters.touch_misses += 1;
            return Reply::NotFound;
        };
        self.counters.touch_hits += 1;
        self.band_of(id).touch_hits += 1;
        let mut header = self.slab.item(id).header;
        header.set_deadline(now.deadline(exptime));
        header.set(FETCHED, true);
        header.reference();
        header.accessed = now.seconds.0;
        self.slab.note_deadline(id, header.deadline());
        self.slab.set_header(id, &header);
        let item = self.slab.item(id);
        Reply::Touched {
            flags: item.flags(),
            cas: item.cas(),
        }
    }

    fn inspect(&mut self, request: &Request<'_>, now: Now) -> Reply<'_> {
        self.counters.cmd_meta += 1;
        match self.find(request, now) {
            Some(id) => {
                let header = self.slab.item(id).header;
                let event = Event {
                    after: header.deadline(),
                    won: false,
                    vivified: false,
                };
                self.hit(id, &header, event, now.seconds)
            }
            None => Reply::Miss,
        }
    }

    fn delete(&mut self, request: &Request<'_>, delete: &Delete, now: Now) -> Reply<'_> {
        if self.detail {
            self.detail(request.key, |prefix| prefix.deletes += 1);
        }
        let Some(id) = self.find(request, now) else {
            self.counters.delete_misses += 1;
            return Reply::NotFound;
        };
        let cas = self.slab.item(id).cas();
        if delete
            .cas_compare
            .is_some_and(|compare| compare == 0 || compare != cas)
        {
            self.counters.delete_misses += 1;
            return Reply::Exists;
        }
        if !delete.invalidate {
            self.counters.delete_hits += 1;
            self.band_of(id).delete_hits += 1;
        }
        if !delete.invalidate && delete.empty.is_none() {
            self.remove(id, request.hash);
            return Reply::Deleted;
        }
        self.keep_deleted(request, delete, id, now)
    }

    /// Forgets every item that is stored now, or, with a delay, at `now + delay - 1` every item stored until then.
    /// A new flush replaces one that is pending.
    pub fn flush(&mut self, delay: Exptime, now: Now) {
        self.advance(now);
        let at = match delay.0 {
            ..=0 => 0,
            _ => now.deadline(delay).raw() - 1,
        };
        self.flush_pending = Some(at);
        self.advance(now);
    }

    /// A bounded slice of the work that nobody waits for: pages in reserve for the stores to come, expired and flushed
    /// items. Under 100 microseconds, or as long as one page full of expired items takes. To be called once a turn;
    /// what remains is done in the next turns. Returns whether there is more of it for this second.
    pub fn maintain(&mut self, now: Now) -> bool {
        self.advance(now);
        let is_yielding = self.sweep_in_background(now);
        self.charge.set(self.memory());
        self.crawl.is_behind() || is_yielding
    }

    /// Bytes of all that is not item pages.
    fn memory(&self) -> usize {
        let tables = self.counters.hash_bytes + self.counters.ghost_bytes;
        tables as usize + self.slab.memory() + self.larges.memory() + self.scratch.capacity()
    }

    pub fn counters(&self) -> Counters {
        Counters {
            pages_idle: match self.settings.number {
                0 => self.pool.pages_idle() as u64,
                _ => 0,
            },
            pages_large: self.larges.pages() as u64,
            ..self.counters
        }
    }

    /// Sets to 0 what counts events (`stats reset`).
    pub fn reset_counters(&mut self) {
        self.counters.reset();
        self.bands.reset();
        self.busy.iter_mut().for_each(Busy::reset);
        self.prefixes.clear();
    }

    /// Begins or ends counting by prefix. What was counted stays.
    pub fn set_detail(&mut self, on: bool) {
        self.detail = on;
    }

    pub fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    #[cold]
    fn detail(&mut self, key: &[u8], count: impl FnOnce(&mut PrefixCounters)) {
        if let Some(prefix) = self.prefixes.of(key, self.settings.prefix_delimiter) {
            count(prefix);
        }
    }

    /// Lets a delayed flush take effect when its time has come.
    #[inline]
    fn advance(&mut self, now: Now) {
        if self.flush_pending.is_some_and(|second| second <= now.seconds.0) {
            self.flush_pending = None;
            self.slab.flush();
            self.pool.set_refusing(false);
        }
    }

    /// The live item of this key. One that is flushed or has expired is removed.
    #[inline]
    fn find(&mut self, request: &Request<'_>, now: Now) -> Option<ItemId> {
        let (mut is_flushed, mut is_gone) = (false, false);
        let id = self.table.find(request.hash, |id| {
            let (item, _, flushed) = self.slab.item_in_page(id);
            is_flushed = flushed;
            is_gone = flushed || item.header.deadline().has_passed(now.seconds);
            item.key() == request.key
        })?;
        if is_gone {
            self.remove_gone(id, request.hash, is_flushed);
            return None;
        }
        Some(id)
    }

    #[cold]
    fn remove_gone(&mut self, id: ItemId, hash: KeyHash, is_flushed: bool) {
        match is_flushed {
            true => self.counters.get_flushed += 1,
            false => self.counters.get_expired += 1,
        }
        self.remove(id, hash);
    }

    /// Whether the item is flushed or has expired.
    fn is_gone(&self, id: ItemId, now: Seconds) -> bool {
        self.slab.is_flushed(id) || self.slab.item(id).header.deadline().has_passed(now)
    }

    /// Takes an item out of the table and gives its memory back.
    fn remove(&mut self, id: ItemId, hash: KeyHash) {
        self.table.remove(hash, id);
        self.discard(id);
    }

    /// Gives the memory of an item back that the table does not name any more.
    fn discard(&mut self, id: ItemId) {
        let item = self.slab.item(id);
        let size = self.size(&item);
        self.counters.bytes -= size as u64;
        self.counters.curr_items -= 1;
        let large = item.large();
        self.discount_item(id, large.is_some(), size);
        if let Some(number) = large {
            self.large_blocks[self.slab.ring_of(id) as usize] -= self.larges.weight(number);
            self.discard_large(number);
        }
        if let Some(page) = self.slab.release_chunk(id) {
            self.recycle(page);
        }
        if !self.settings.evict {
            self.pool.set_refusing(false);
        }
    }

    /// Gives the pages and blocks of a large value back. Pages that somebody else holds, because he is sending them,
    /// are no longer this shard's, and go to the pool when he lets go.
    fn discard_large(&mut self, number: u32) {
        let Large { chain, blocks } = self.larges.remove(number);
        self.own_pages(self.counters.pages - chain.pages() as u64);
        drop(chain);
        for block in blocks {
            if let Some(page) = self.larges.blocks.release(block) {
                self.recycle(page);
            }
        }
        while let Some(page) = self.larges.compact() {
            self.recycle(page);
        }
    }

    /// Header, key and the whole value.
    fn size(&self, item: &Item<'_>) -> usize {
        item.size() + item.large().map_or(0, |number| self.larges.size(number))
    }

    fn value<'a>(&'a self, item: &Item<'a>) -> Value<'a> {
        match item.large() {
            None => Value::whole(item.value()),
            Some(number) => {
                let large = self.larges.get(number);
                let block_pages = self.larges.blocks.all_pages();
                Value::large(large.chain.segments(), &large.blocks, block_pages, item.value())
            }
        }
    }

    /// The item as it is found; times and marks are those of `before`. Makes the whole reply at once: it is larger
    /// than a cache line, and copying it about showed in profiles.
    #[inline]
    fn hit(&self, id: ItemId, before: &Header, event: Event, now: Seconds) -> Reply<'_> {
        let (item, class, _) = self.slab.item_in_page(id);
        Reply::Hit(Hit {
            key: item.key(),
            value: self.value(&item),
            flags: item.flags(),
            cas: item.cas(),
            left_before: before.deadline().left(now),
            left_after: event.after.left(now),
            idle: now.since(Seconds(before.accessed)),
            fetched: before.has(FETCHED),
            key_is_binary: before.key_is_binary(),
            won: event.won,
            stale: before.has(STALE),
            token_sent: before.has(TOKEN_SENT),
            vivified: event.vivified,
            class: self.band(&item, class),
            item_size: self.size(&item) as u32,
        })
    }

    /// The class as statistics show it.
    fn band(&self, item: &Item<'_>, class: ClassId) -> u8 {
        if item.header.is_large() {
            bands::LARGE_VALUES
        } else {
            self.slab.classes.band(class)
        }
    }

    /// A cas unique that was not given before.
    fn fresh_cas(&mut self) -> u64 {
        if !self.settings.cas_enabled {
            return 0;
        }
        self.cas += self.settings.shards as u64;
        self.cas
    }

    /// The cas unique that was asked for, or a fresh one.
    fn new_cas(&mut self, asked: Option<u64>) -> u64 {
        match asked {
            Some(cas) if cas != 0 && self.settings.cas_enabled => cas,
            _ => self.fresh_cas(),
        }
    }

    /// Recomputes everything that is kept in two places, and compares. For tests and fuzzers: it looks at every
    /// item.
    pub fn check(&self) {
        self.slab.check();
        self.larges.check();
        let (mut items, mut bytes, mut larges, mut large_blocks) = (0, 0, 0, [0; Ring::COUNT]);
        for id in self.slab.items() {
            let item = self.slab.item(id);
            let hash = self.seed.hash(item.key());
            assert_eq!(
                self.table.find(hash, |other| other == id),
                Some(id),
                "the table knows the item"
            );
            assert_eq!(
                self.table
                    .find(hash, |other| self.slab.has_key(other, item.key())),
                Some(id),
                "once"
            );
            assert!(item.size() <= self.slab.classes.chunk_size(self.slab.class_of(id)));
            items += 1;
            bytes += self.size(&item);
            if let Some(number) = item.large() {
                larges += 1;
                large_blocks[self.slab.ring_of(id) as usize] += self.larges.weight(number);
            }
        }
        assert_eq!(self.table.count(), items);
        assert_eq!(self.larges.count(), larges);
        assert_eq!(self.large_blocks, large_blocks);
        assert_eq!(self.counters.curr_items, items as u64);
        let bands = self.bands();
        assert_eq!(
            bands.present().map(|(_, band)| band.number()).sum::<u64>(),
            items as u64
        );
        assert_eq!(
            bands.present().map(|(_, band)| band.mem_requested).sum::<u64>(),
            bytes as u64
        );
        assert_eq!(self.counters.bytes, bytes as u64);
        assert_eq!(self.counters.hash_bytes, self.table.size() as u64);
        let pages = self.slab.pages_owned() + self.larges.pages();
        assert_eq!(self.counters.pages, pages as u64);
        assert!(pages <= self.pool.pages_taken());
    }
}

impl Drop for Shard {
    /// The pages go back: the pool outlives the shard.
    fn drop(&mut self) {
        self.pool
            .change_promise(self.pages_floor.saturating_sub(self.counters.pages) as usize, 0);
        self.leave_ages();
        self.release_hoard();
        let larges = std::mem::replace(&mut self.larges, LargeValues::new(self.pool.page_size()));
        self.pool.give_all(larges.blocks.into_pages());
        self.pool.give_all(self.slab.take_pages());
    }
}
