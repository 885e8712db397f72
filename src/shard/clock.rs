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
use crate::memory::{BLOCKS_PER_PAGE, Page, PageList};
use crate::time::{Now, Seconds};

/// What an operation may spend on looking for a page with due regard to references, in chunks; a copied chunk
/// costs more, by its size. Some 200 ns each in a large shard, were none of them fetched ahead; then as
/// much again may follow for the page that is forgotten as a whole.
const FOREGROUND_COST_MAX: usize = 1000;

/// Taking a page that is free, in the same coin: it may be one that the system has yet to clear.
const FREE_PAGE_COST: usize = 15;

/// Making a block of ghosts, in the same coin: the system may have to clear it.
const GHOST_BLOCK_COST: usize = 100;

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

/// Chunks that a watched store looks at though enough pages are ready, to forget one item for the one that comes: more than
/// a page has survivors, unless they are small.
const CHUNKS_PER_FORGOTTEN_MAX: usize = 100;

/// The part of probation that heavy items have, where there are others.
const HEAVY_PART: usize = 4;

/// Of the items that nobody asked for so many-th passes probation all the same. So a scan that is longer than the
/// memory, and comes again and again, finds some of its items in main, which the others of the scan do not push out.
/// Those of a class pass one after the other, as many as fill a page: single ones would leave most of theirs empty.
const LUCKY_ONE_IN: u32 = 128;

/// The page that the hand is at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    pub(super) page: PageNumber,
    /// The next chunk to judge.
    index: usize,
}

/// What came of judging a chunk.
struct Swept {
    cost: usize,
    /// The page that was emptied by it.
    page: Option<Page>,
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

    /// A page that costs items, or was meant for a large value.
    fn page_by_force(&mut self, now: Now) -> Option<Page> {
        self.sweep_for_page(now).or_else(|| self.take_from_hoard())
    }

    /// A page that costs no item.
    fn free_page(&mut self) -> Option<Page> {
        if !self.slab.has_numbers() {
            return None;
        }
        let is_promised = self.counters.pages < self.pages_floor;
        let page = match is_promised {
            true => self.pool.take_promised()?,
            false => self.pool.take_leaving(self.pages_for_hands())?,
        };
        self.own_pages(self.counters.pages + 1);
        if !is_promised {
            self.note_taken();
        }
        Some(page)
    }

    /// Whether the pool has fewer pages ready than this shard wants it to have; half as many again while the hand is not done
    /// with its page. What the shard is promised is ready. (Who watches what is forgotten sees none go for the hand's sake.)
    fn is_sweep_due(&self) -> bool {
        let wanted = self.pages_wanted();
        let enough = match self.sweep.is_some() && self.evicted.is_none() {
            true => wanted + wanted / 2,
            false => wanted,
        };
        self.counters.pages >= self.pages_floor && self.pool.pages_free() < enough
    }

    /// Whether memory is full, though pages may be on their way from one shard to another.
    fn is_full(&self) -> bool {
        let on_their_way = 2 * self.pages_wanted() + self.settings.shards;
        self.counters.pages >= self.pages_floor && self.pool.pages_free() <= on_their_way
    }

    /// Counts the pages of this shard, and tells the pool how many it lacks to its floor.
    pub(super) fn own_pages(&mut self, pages: u64) {
        let short = |pages: u64| self.pages_floor.saturating_sub(pages) as usize;
        self.pool.change_promise(short(self.counters.pages), short(pages));
        self.counters.pages = pages;
    }

    /// Gives back a page that this shard does not use any more.
    pub(super) fn recycle(&mut self, page: Page) {
        self.own_pages(self.counters.pages - 1);
        self.pool.give(page);
    }

    /// Pages for a large value, however long it takes to free them: for values whose bytes are copied here anyway.
    pub(super) fn take_pages(&mut self, count: usize, now: Now) -> Result<PageList, NoMemory> {
        if count == 0 {
            return Ok(PageList::default());
        }
        loop {
            if let Some(pages) = self.gather_pages(count, now)? {
                return Ok(pages);
            }
        }
    }

    /// Works a bounded time towards so many pages for a large value; `None` if more calls are needed. They are kept
    /// in the hoard meanwhile, out of the hand's reach.
    pub(super) fn gather_pages(&mut self, count: usize, now: Now) -> Result<Option<PageList>, NoMemory> {
        let free = self.pool.pages_max().saturating_sub(self.pool.pages_taken());
        let attainable = free + self.counters.pages as usize + self.hoard.pages.len();
        if count > attainable.saturating_sub(self.pages_for_hands())
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
            let swept = match self.free_page() {
                Some(page) => Swept {
                    cost: FREE_PAGE_COST,
                    page: Some(page),
                },
                None => match self.sweep(self.is_fruitless(), now) {
                    Some(swept) => swept,
                    None => {
                        self.release_hoard();
                        return Err(NoMemory);
                    }
                },
            };
            if let Some(page) = swept.page {
                self.own_pages(self.counters.pages - 1);
                self.hoard.pages.push(page);
            }
            cost = cost.saturating_sub(swept.cost);
        }
        Ok(Some(self.hoard.pages.take(count)))
    }

    /// Gives back what was gathered for a value that does not come.
    pub(super) fn release_hoard(&mut self) {
        self.pool.give_list(std::mem::take(&mut self.hoard.pages));
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

    /// Sweeps until there is a page: one that the hand has emptied, or that came free otherwise.
    fn sweep_for_page(&mut self, now: Now) -> Option<Page> {
        let mut cost = FOREGROUND_COST_MAX;
        loop {
            let swept = self.sweep(cost == 0 || self.is_fruitless(), now)?;
            if let Some(page) = swept.page.or_else(|| self.free_page()) {
                return Some(page);
            }
            cost = cost.saturating_sub(swept.cost);
        }
    }

    /// Sweeps in proportion to what a store takes, while too few pages are ready, and if it can be on to the end of the hand's
    /// page. Then the hand rests: a page that waits half empty under it would be half a page less for items.
    fn pay(&mut self, size: usize, now: Now) {
        if !self.is_sweep_due() {
            if self.evicted.is_some() && self.is_full() {
                self.forget_one(now);
            }
            return;
        }
        let rate = match self.fruitless > self.pool.page_size() {
            false => SWEEP_PER_STORED,
            true => SWEEP_PER_STORED_MAX,
        };
        self.credit = (self.credit + size * rate).min(self.pool.page_size());
        while self.is_sweep_due() {
            let Some(page) = self.hand() else { return };
            let size = self.slab.classes.chunk_size(self.slab.page_class(page));
            if self.credit < size {
                return;
            }
            self.credit -= size;
            if self.sweep_on(self.is_fruitless(), now).is_none() {
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
            if self.sweep_on(self.is_fruitless(), now).is_none() || self.counters.evictions > before {
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
        self.note_ages();
        let mut cost = BACKGROUND_COST_MAX;
        let before = self.counters.pages;
        let yields = |shard: &Shard| shard.counters.pages > shard.pages_floor && shard.pool.is_over_budget();
        // Memory leaves this shard a page at a time, unless there is too much of it.
        while self.settings.evict
            && cost > 0
            && (self.counters.pages >= before && self.has_to_give() && self.is_sweep_due() || yields(self))
            && let Some(spent) = self.sweep_on(false, now)
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
        let mut cost = FOREGROUND_COST_MAX;
        while self.counters.pages >= before {
            match self.sweep_on(cost == 0 || self.is_fruitless(), now) {
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
        self.slab.detach_page(page);
        self.note_ages();
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

    /// Judges one chunk and gives the page to the pool that is emptied by that. Returns the cost; `None` when there is
    /// nothing to sweep.
    fn sweep_on(&mut self, forced: bool, now: Now) -> Option<usize> {
        let Swept { cost, page } = self.sweep(forced, now)?;
        if let Some(page) = page {
            self.give_emptied(page);
        }
        Some(cost)
    }

    /// Gives a page to the pool that the hand has emptied.
    fn give_emptied(&mut self, page: Page) {
        if self.counters.pages > self.pages_floor {
            self.note_emptied();
        }
        self.recycle(page);
    }

    /// Judges one chunk; `None` when there is nothing to sweep. Forced, it spares nobody.
    fn sweep(&mut self, forced: bool, now: Now) -> Option<Swept> {
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
        let page = self.close_if_empty(page);
        Some(Swept { cost, page })
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

    /// The hand is done with its page when that is empty. Returns it, unless it is for what the hand had borrowed.
    fn close_if_empty(&mut self, page: PageNumber) -> Option<Page> {
        if !self.slab.is_page_empty(page) {
            return None;
        }
        self.sweep = None;
        let page = self.slab.close_page(page);
        let page = match self.borrowed {
            0 => Some(page),
            _ => {
                self.borrowed -= 1;
                self.recycle(page);
                None
            }
        };
        if page.is_some() || self.pool.pages_free() > self.pages_for_hands() {
            self.fruitless = 0;
        }
        page
    }

    /// Forgets an item or moves it on; returns what that cost beyond looking at it.
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
                references >= self.settings.eviction.promote_at() + more || self.is_lucky(id)
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
        let mut cost = 0;
        if ring != Ring::Main && matches!(self.settings.eviction, Eviction::Probation { ghosts: true, .. }) {
            let before = self.ghosts.size();
            self.ghosts.insert(hash, self.counters.curr_items as usize);
            self.counters.ghost_bytes = self.ghosts.size() as u64;
            if self.ghosts.size() > before {
                cost = GHOST_BLOCK_COST;
            }
        }
        self.remove(id, hash);
        cost
    }

    /// Whether this item of probation passes though nobody asked for it. None does while sizes shift: main would be judged by
    /// the hits that it has.
    fn is_lucky(&mut self, id: ItemId) -> bool {
        let class = self.slab.class_of(id);
        let per_page = self.slab.classes.chunks_per_page(class) as u32;
        let unlucky = &mut self.unlucky[class.index()];
        *unlucky = (*unlucky + 1) % (per_page * LUCKY_ONE_IN);
        *unlucky >= per_page * (LUCKY_ONE_IN - 1) && !self.is_shifting()
    }

    /// A chunk of main for an item that moves there, on a borrowed page if need be.
    fn chunk_for_survivor(&mut self, id: ItemId) -> Option<ItemId> {
        let class = self.slab.class_of(id);
        if let Some(to) = self.slab.take_chunk(class, Ring::Main) {
            return Some(to);
        }
        if !self.slab.has_numbers() {
            return None;
        }
        let page = self.pool.borrow()?;
        self.own_pages(self.counters.pages + 1);
        self.borrowed += 1;
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
        if self.sweep.is_some_and(|sweep| sweep.page == page)
            && let Some(page) = self.close_if_empty(page)
        {
            self.give_emptied(page);
        }
    }
}
