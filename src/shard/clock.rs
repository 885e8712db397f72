//! Making room: the CLOCK hand that goes over pages, and who gets the memory.
//!
//! ```text
//!            asked for again, or stored again soon after it was forgotten (ghost)
//!          +-----------------------------------------------------------------+
//!          |                                                                 v
//! new -> [ probation: about 10 % of the pages ] -> forgotten    [ main: the other pages ] -> forgotten
//!        [ of it a quarter for heavy items    ]    (ghosts)       ^  oldest page first  |
//!          oldest page first                                      +---------------------+
//!                                                                  referenced: once less
//! ```
//!
//! Items much larger than the others are heavy, and have to show more ([`super::worth`]).
//!
//! The hand takes the oldest *page* of a ring, whatever its class. Items that have earned it are copied to a page of
//! main, the others are forgotten, and the page is free for any class. So memory follows the demand between sizes,
//! and nothing is refused while anything can be forgotten. Pages of flushed items are taken first.
//!
//! The hand works a few chunks at a time, paid for by those who need room: a store into a full shard moves it on by a
//! multiple of its own size, so that the next page is free before it is needed. Where that is not enough (many
//! classes at once, or everything referenced) a store sweeps on until it has a page, and after
//! [`FOREGROUND_COST_MAX`] it forgets without looking at references.

use super::item::{CLOCK, FETCHED};
use super::slab::{ItemId, PageNumber, Ring};
use super::store::NoMemory;
use super::{Eviction, Shard};
use crate::memory::{BLOCKS_PER_PAGE, Page};
use crate::time::{Now, Seconds};

/// What an operation may spend on looking for a page with due regard to references, in chunks; a copied chunk
/// costs more, by its size. Some 200 ns each in a large shard, were none of them fetched ahead; then as
/// much again may follow for the page that is forgotten as a whole.
const FOREGROUND_COST_MAX: usize = 1000;

/// Taking a page that is free, in the same coin: it may be one that the system has yet to clear.
const FREE_PAGE_COST: usize = 15;

/// What one call of `maintain` may spend, in the same coin.
const BACKGROUND_COST_MAX: usize = 300;

/// Chunks of the hand's page whose items, and where the table and the ghosts have them, are fetched before they are judged.
const FETCHED_AHEAD: usize = 8;

/// Copying so many bytes costs as much as looking at a chunk.
const COPY_SIZE_PER_COST: usize = 512;

/// A store into a full shard sweeps this many times the bytes it takes: enough while two thirds of them survive.
const SWEEP_PER_STORED: usize = 3;

/// The same once a page full of survivors was swept without a page gained.
const SWEEP_PER_STORED_MAX: usize = 32;

/// After so many pages full of survivors without a page gained, a store that pays its way forgets without looking
/// at references: rare, since it takes fifteen survivors of sixteen. Less than what the stores of half a page pay
/// for, so that the page is free before a store must wait for it.
const FRUITLESS_PAGES_MAX: usize = 15;
const _: () = assert!(FRUITLESS_PAGES_MAX < SWEEP_PER_STORED_MAX / 2);

/// Chunks that a watched store into a shard whose reserve is full looks at, to forget one item for the one that comes.
const CHUNKS_PER_FORGOTTEN_MAX: usize = 4;

/// The part of probation that heavy items have, where there are others.
const HEAVY_PART: usize = 4;

/// Every so many-th item that nobody asked for passes probation all the same. So a scan that is longer than the
/// memory, and comes again and again, finds some of its items in main, which the others of the scan do not push out.
const LUCKY_ONE_IN: u32 = 128;

/// The page that the hand is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) page: PageNumber,
    /// The next chunk to judge.
    index: usize,
}

/// Where the search for expired items is.
#[derive(Debug, Default)]
pub(super) struct Crawl {
    page: Option<PageNumber>,
    /// The second for which `visits` were granted.
    second: u32,
    /// Pages that may still be visited in this second.
    visits: usize,
}

impl Crawl {
    /// Whether pages are left for this second.
    pub(super) fn is_behind(&self) -> bool {
        self.visits > 0
    }
}

impl Shard {
    /// A chunk for an item of this size; the caller writes the item at once. May move or forget other items:
    /// `moves` tells.
    pub(super) fn allocate(&mut self, size: usize, ring: Ring, now: Now) -> Option<ItemId> {
        let class = self.slab.classes.of(size);
        if self.settings.evict {
            self.pay(self.slab.classes.chunk_size(class), now);
        } else if self.pool.is_refusing() {
            return None;
        }
        if let Some(id) = self.slab.take_chunk(class, ring) {
            return Some(id);
        }
        let page = match self.free_page() {
            Some(page) => page,
            None => match Ring::ALL
                .into_iter()
                .find_map(|ring| self.slab.take_chunk(class, ring))
            {
                Some(id) => return Some(id),
                None => self.page_by_force(now)?,
            },
        };
        self.slab.open_page(page, class, ring, self.pool.open_page());
        self.slab.take_chunk(class, ring)
    }

    /// A page to be cut into blocks; as [`Shard::allocate`] makes one into chunks.
    pub(super) fn page_of_blocks(&mut self, now: Now) -> Option<Page> {
        if self.settings.evict {
            self.pay(self.pool.page_size(), now);
        } else if self.pool.is_refusing() {
            return None;
        }
        self.free_page().or_else(|| self.page_by_force(now))
    }

    /// A page that costs items, or was meant for somebody else.
    fn page_by_force(&mut self, now: Now) -> Option<Page> {
        self.sweep_for_page(now).or_else(|| self.take_from_hoard())
    }

    /// A page that costs no item.
    fn free_page(&mut self) -> Option<Page> {
        if !self.slab.has_numbers() {
            return None;
        }
        // The hand needs pages to copy to before it can free its first.
        while self.spare.len() < self.spare_min()
            && let Some(page) = self.take_from_pool()
        {
            self.spare.push(page);
        }
        if self.spare.len() > self.spare_min() {
            return self.spare.pop();
        }
        self.take_from_pool()
    }

    fn take_from_pool(&mut self) -> Option<Page> {
        let promised = self.counters.pages < self.pages_floor;
        let page = if promised {
            self.pool.take_promised()
        } else if self.may_take() {
            self.pool.take()
        } else {
            None
        };
        if page.is_some() {
            self.own_pages(self.counters.pages + 1);
        }
        page
    }

    /// Whether the pool has no page for this shard.
    fn is_full(&self) -> bool {
        self.counters.pages >= self.pages_floor && (self.pool.is_exhausted() || !self.may_take())
    }

    /// Whether the pages that the pool still has are on their way from one shard to another: memory is full, though
    /// some shard finds a page. Twice as many as every shard may take ([`Shard::may_take`]), so that those who take
    /// them forget as many items as they store.
    fn is_nearly_full(&self) -> bool {
        self.counters.pages >= self.pages_floor && self.pool.pages_free() <= 2 * self.settings.shards
    }

    /// Counts the pages of this shard, and tells the pool how many it lacks to its floor.
    pub(super) fn own_pages(&mut self, pages: u64) {
        let short = |pages: u64| self.pages_floor.saturating_sub(pages) as usize;
        self.pool.change_promise(short(self.counters.pages), short(pages));
        self.counters.pages = pages;
    }

    /// Pages that only the hand may use. Survivors of one page fill one other at most; a plain CLOCK needs a second,
    /// because new items go to the same pages as survivors and may take their place.
    pub(super) fn spare_min(&self) -> usize {
        match (self.settings.evict, self.settings.eviction) {
            (false, _) => 0,
            (true, Eviction::Probation { .. }) => 1,
            (true, Eviction::Clock) => 2,
        }
    }

    /// Takes a page that nobody uses any more.
    pub(super) fn recycle(&mut self, page: Page) {
        if self.spare.len() < self.spare_max && !self.pool.is_over_budget() && !self.gives() {
            self.spare.push(page);
        } else {
            self.own_pages(self.counters.pages - 1);
            self.pool.give(page);
        }
    }

    /// Pages for a large value, however long it takes to free them: for values whose bytes are copied here anyway.
    pub(super) fn take_pages(&mut self, count: usize, now: Now) -> Result<Vec<Page>, NoMemory> {
        if count == 0 {
            return Ok(Vec::new());
        }
        loop {
            if let Some(pages) = self.gather_pages(count, now)? {
                return Ok(pages);
            }
        }
    }

    /// Works a bounded time towards so many pages for a large value; `None` if more calls are needed. They are kept
    /// in the hoard meanwhile, out of the hand's reach.
    pub(super) fn gather_pages(&mut self, count: usize, now: Now) -> Result<Option<Vec<Page>>, NoMemory> {
        let free = self.pool.pages_max().saturating_sub(self.pool.pages_taken());
        let attainable = free + self.counters.pages as usize + self.hoard.pages.len();
        if count > attainable.saturating_sub(self.spare_min())
            || !self.settings.evict && self.pool.is_refusing()
        {
            self.release_hoard();
            return Err(NoMemory);
        }
        self.hoard.asked = Some(now.seconds);
        let mut cost = FOREGROUND_COST_MAX;
        while self.hoard.pages.len() < count {
            if cost == 0 {
                return Ok(None);
            }
            let spent = match self.free_page() {
                Some(page) => {
                    self.own_pages(self.counters.pages - 1);
                    self.hoard.pages.push(page);
                    FREE_PAGE_COST
                }
                None => match self.sweep(self.is_fruitless(), now) {
                    Some(spent) => spent,
                    None => {
                        self.release_hoard();
                        return Err(NoMemory);
                    }
                },
            };
            cost = cost.saturating_sub(spent);
        }
        let later = self.hoard.pages.split_off(count);
        Ok(Some(std::mem::replace(&mut self.hoard.pages, later)))
    }

    /// Gives back what was gathered for a value that does not come.
    pub(super) fn release_hoard(&mut self) {
        if !self.hoard.pages.is_empty() {
            self.pool.give_all(self.hoard.pages.drain(..));
        }
    }

    /// A page that was gathered for a large value, for a store that would be refused otherwise.
    fn take_from_hoard(&mut self) -> Option<Page> {
        let page = self.hoard.pages.pop()?;
        self.own_pages(self.counters.pages + 1);
        Some(page)
    }

    /// Whether the hand has lately copied pages full of survivors and gained nothing.
    fn is_fruitless(&self) -> bool {
        self.fruitless > self.pool.page_size() * FRUITLESS_PAGES_MAX
    }

    /// Sweeps until there is a page beyond the hand's own.
    fn sweep_for_page(&mut self, now: Now) -> Option<Page> {
        let mut cost = FOREGROUND_COST_MAX;
        while self.spare.len() <= self.spare_min() {
            let spent = self.sweep(cost == 0 || self.is_fruitless(), now)?;
            cost = cost.saturating_sub(spent);
        }
        self.spare.pop()
    }

    /// Sweeps in proportion to what a store takes, while the reserve is below its target. Then the hand rests: a page
    /// that waits half empty under it would be half a page less for items.
    fn pay(&mut self, size: usize, now: Now) {
        let is_full = self.is_full();
        if !is_full || self.spare.len() >= self.spare_max {
            if self.evicted.is_some() && (is_full || self.is_nearly_full()) {
                self.forget_one(now);
            }
            return;
        }
        let rate = match self.fruitless > self.pool.page_size() {
            false => SWEEP_PER_STORED,
            true => SWEEP_PER_STORED_MAX,
        };
        self.credit = (self.credit + size * rate).min(self.pool.page_size());
        while self.spare.len() < self.spare_max {
            let Some(page) = self.hand() else { return };
            let size = self.slab.classes.chunk_size(self.slab.page_class(page));
            if self.credit < size {
                return;
            }
            self.credit -= size;
            if self.sweep(self.is_fruitless(), now).is_none() {
                return;
            }
        }
    }

    /// Forgets one item, unless the next few chunks are vacant or hold survivors: who watches what is forgotten sees one go
    /// where one comes. As many pages are emptied as are filled.
    #[cold]
    fn forget_one(&mut self, now: Now) {
        let before = self.counters.evictions;
        for _ in 0..CHUNKS_PER_FORGOTTEN_MAX {
            if self.sweep(self.is_fruitless(), now).is_none() || self.counters.evictions > before {
                return;
            }
        }
    }

    /// A bounded slice of the work that nobody waits for: room for the stores to come, and expired items. Returns whether
    /// pages are going to the pool because the budget was lowered.
    pub(super) fn sweep_in_background(&mut self, now: Now) -> bool {
        if self.hoard.is_stale(now.seconds) {
            self.release_hoard();
        }
        if self.pool.has_excess() {
            self.pool.trim();
        }
        self.note_idle_age();
        let mut cost = BACKGROUND_COST_MAX;
        let yields = |shard: &Shard| shard.counters.pages > shard.pages_floor && shard.pool.is_over_budget();
        while self.settings.evict
            && cost > 0
            && (self.spare.len() < self.spare_max && self.is_full()
                || (self.pool.is_over_budget() || self.is_to_give())
                    && self.counters.pages > self.pages_floor)
            && let Some(spent) = self.sweep(false, now)
        {
            cost = cost.saturating_sub(spent);
        }
        self.crawl(now);
        // With something left to spend the hand has found nothing more to take.
        self.pool.has_excess() || cost == 0 && yields(self)
    }

    /// Gives a page to the pool at once, because memory is needed for something that is not an item. Returns false if
    /// this shard has none to give.
    pub fn yield_page(&mut self, now: Now) -> bool {
        let before = self.counters.pages;
        if !self.settings.evict || before <= self.pages_floor || !self.pool.is_over_budget() {
            return false;
        }
        if self.spare.len() > self.spare_min()
            && let Some(page) = self.spare.pop()
        {
            self.recycle(page);
            return true;
        }
        let mut cost = FOREGROUND_COST_MAX;
        while self.counters.pages >= before {
            match self.sweep(cost == 0 || self.is_fruitless(), now) {
                Some(spent) => cost = cost.saturating_sub(spent),
                None => return false,
            }
        }
        true
    }

    /// The page that the hand is at, or goes to now.
    fn hand(&mut self) -> Option<PageNumber> {
        if let Some(sweep) = self.sweep {
            return Some(sweep.page);
        }
        let page = self.oldest_page()?;
        self.note_age(page);
        self.slab.detach_page(page);
        self.sweep = Some(Sweep { page, index: 0 });
        Some(page)
    }

    /// Pages that the items of a ring take, wherever their values are.
    pub(super) fn pages_of(&self, ring: Ring) -> usize {
        self.slab.pages(ring) + self.large_blocks[ring as usize] / BLOCKS_PER_PAGE
    }

    /// The page that is to go next.
    fn oldest_page(&self) -> Option<PageNumber> {
        let [probation, heavy, main] = Ring::ALL.map(|ring| self.slab.oldest(ring));
        let flushed = [probation, heavy, main]
            .into_iter()
            .flatten()
            .find(|&page| self.slab.is_page_flushed(page));
        if flushed.is_some() || !self.settings.evict {
            return flushed;
        }
        let [in_probation, in_heavy, in_main] = Ring::ALL.map(|ring| self.pages_of(ring));
        let in_both = in_probation + in_heavy;
        let share = self.settings.eviction.probation_percent();
        let is_over = in_both * 100 > (in_both + in_main) * share;
        let (first, second, third) = match self.idle_ring() {
            Some(Ring::Main) => (main, probation, heavy),
            Some(_) => (probation, heavy, main),
            None if !is_over => (main, probation, heavy),
            None if in_heavy * HEAVY_PART > in_both => (heavy, probation, main),
            None => (probation, heavy, main),
        };
        first.or(second).or(third)
    }

    /// Judges one chunk and returns what that cost; `None` when there is nothing to sweep. Forced, it spares nobody.
    fn sweep(&mut self, forced: bool, now: Now) -> Option<usize> {
        let page = self.hand()?;
        let mut cost = 1;
        let index = self.sweep.map_or(0, |sweep| sweep.index);
        self.sweep = Some(Sweep {
            page,
            index: index + 1,
        });
        if index.is_multiple_of(FETCHED_AHEAD) {
            self.fetch_ahead(page, index);
        }
        match self.slab.item_at(page, index) {
            Some(Some(id)) => cost += self.judge(id, forced, now),
            Some(None) => {}
            None => debug_assert!(self.slab.is_page_empty(page)),
        }
        self.let_go_of_empty(page);
        Some(cost)
    }

    /// Fetches what the hand will touch next: chunks one step before the places that their keys lead to.
    fn fetch_ahead(&self, page: PageNumber, index: usize) {
        let first = if index == 0 { 0 } else { index + FETCHED_AHEAD };
        (first..index + 2 * FETCHED_AHEAD).for_each(|index| self.slab.prefetch_at(page, index));
        let next = (index..index + FETCHED_AHEAD).map_while(|index| self.slab.item_at(page, index));
        for id in next.flatten() {
            let hash = self.seed.hash(self.slab.item(id).key());
            self.table.prefetch(hash);
            self.ghosts.prefetch(hash);
        }
    }

    /// The hand is done with its page when that is empty.
    fn let_go_of_empty(&mut self, page: PageNumber) {
        if !self.slab.is_page_empty(page) {
            return;
        }
        self.sweep = None;
        let page = self.slab.close_page(page);
        self.recycle(page);
        if self.spare.len() > self.spare_min() {
            self.fruitless = 0;
        }
    }

    /// Forgets an item or moves it on; returns what copying it cost.
    fn judge(&mut self, id: ItemId, forced: bool, now: Now) -> usize {
        self.moves += 1;
        let item = self.slab.item(id);
        let hash = self.seed.hash(item.key());
        let mut header = item.header;
        if self.is_gone(id, now.seconds) {
            self.counters.reclaimed += 1;
            let band = self.band_of(id);
            band.reclaimed += 1;
            band.expired_unfetched += u64::from(!header.has(FETCHED));
            self.counters.expired_unfetched += u64::from(!header.has(FETCHED));
            self.remove(id, hash);
            return 0;
        }
        let ring = self.slab.ring_of(id);
        let references = header.bits & CLOCK;
        let more = self.references_more(self.size(&self.slab.item(id)));
        let earned = match ring {
            Ring::Probation | Ring::Heavy => {
                references >= self.settings.eviction.promote_at() + more || self.is_lucky()
            }
            Ring::Main => references > more,
        } && self.idle_ring() != Some(ring);
        if earned
            && !forced
            && let Some(to) = self.chunk_for_survivor(id)
        {
            let size = self.slab.item(id).size();
            self.fruitless += self.slab.classes.chunk_size(self.slab.class_of(id));
            self.slab.copy_chunk(id, to);
            match ring {
                Ring::Probation | Ring::Heavy => {
                    self.counters.promoted += 1;
                    self.band_of(to).promoted += 1;
                    header.set(CLOCK, false);
                }
                Ring::Main => {
                    self.counters.retained += 1;
                    self.band_of(to).retained += 1;
                    header.bits -= 1 + more;
                }
            }
            self.slab.set_header(to, &header);
            self.table.replace(hash, id, to);
            if let Some(number) = self.slab.item(to).large() {
                let weight = self.larges.weight(number);
                self.large_blocks[ring as usize] -= weight;
                self.large_blocks[Ring::Main as usize] += weight;
            }
            let page = self.slab.release_chunk(id);
            debug_assert!(page.is_none(), "the hand closes its page itself");
            return size / COPY_SIZE_PER_COST;
        }
        self.note_evicted(id, now);
        self.count_eviction(id, references > 0, header.has(FETCHED), now.seconds);
        self.counters.evictions += 1;
        self.counters.evicted_unfetched += u64::from(!header.has(FETCHED));
        self.counters.evicted_active += u64::from(references > 0);
        if ring != Ring::Main && matches!(self.settings.eviction, Eviction::Probation { ghosts: true, .. }) {
            self.ghosts.insert(hash, self.counters.curr_items as usize);
            self.counters.ghost_bytes = self.ghosts.size() as u64;
        }
        self.remove(id, hash);
        0
    }

    /// Whether this item of probation passes though nobody asked for it.
    fn is_lucky(&mut self) -> bool {
        self.luck = (self.luck + 1) % LUCKY_ONE_IN;
        self.luck == 0
    }

    /// A chunk of main for an item that moves there, from the hand's own page if need be.
    fn chunk_for_survivor(&mut self, id: ItemId) -> Option<ItemId> {
        let class = self.slab.class_of(id);
        if let Some(to) = self.slab.take_chunk(class, Ring::Main) {
            return Some(to);
        }
        if !self.slab.has_numbers() {
            return None;
        }
        let page = match self.spare.pop() {
            Some(page) => page,
            None => self.take_from_pool()?,
        };
        self.slab
            .open_page(page, class, Ring::Main, self.pool.open_page());
        self.slab.take_chunk(class, Ring::Main)
    }

    /// Looks for expired and flushed items, over all pages, the hand's too, in sixteen seconds or more. A page knows its
    /// earliest deadline, so that pages without expired items cost nothing. Looks through one page at most.
    fn crawl(&mut self, now: Now) {
        if self.crawl.second != now.seconds.0 {
            self.crawl.second = now.seconds.0;
            self.crawl.visits = (self.slab.pages_owned() / 16).max(16);
        }
        for _ in 0..64 {
            if self.crawl.visits == 0 {
                return;
            }
            self.crawl.visits -= 1;
            self.crawl.page = self.slab.page_after(self.crawl.page);
            if let Some(page) = self.crawl.page
                && self.slab.may_have_gone(page, now.seconds.0)
            {
                return self.crawl_page(page, now.seconds);
            }
        }
    }

    fn crawl_page(&mut self, page: PageNumber, now: Seconds) {
        let mut deadline_min = 0;
        let mut index = 0;
        while let Some(chunk) = self.slab.item_at(page, index) {
            index += 1;
            let Some(id) = chunk else { continue };
            self.counters.crawler_items_checked += 1;
            self.band_of(id).crawler_items_checked += 1;
            let item = self.slab.item(id);
            if !self.is_gone(id, now) {
                let deadline = item.header.deadline().raw();
                if deadline != 0 && (deadline_min == 0 || deadline < deadline_min) {
                    deadline_min = deadline;
                }
                continue;
            }
            let hash = self.seed.hash(item.key());
            let unfetched = u64::from(!item.header.has(FETCHED));
            self.counters.crawler_reclaimed += 1;
            self.counters.expired_unfetched += unfetched;
            let band = self.band_of(id);
            band.crawler_reclaimed += 1;
            band.expired_unfetched += unfetched;
            self.remove(id, hash);
        }
        self.slab.set_deadline_min(page, deadline_min);
        // The hand may have stopped at this page, and nobody may need a page for a long time.
        if self.sweep.is_some_and(|sweep| sweep.page == page) {
            self.let_go_of_empty(page);
        }
    }
}
