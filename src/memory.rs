//! Pages of item memory and the one budget that all shards take them from, and that all else is charged to.
//!
//! A page is owned by exactly one holder at a time: the pool, a shard's slab or blocks, a chain, or a value that is
//! just arriving. So "whose memory is this" is a question for the borrow checker, and a page may travel
//! between cores. A chain, which is never written to, may have several holders, on several cores.

mod block;
mod budget;
mod chain;
mod list;
mod region;

pub use block::{BLOCKS_PER_PAGE, Block};
pub use budget::{Account, Charge, Parts, Total};
pub use chain::{Chain, Segment};
pub use list::PageList;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use budget::Budget;
use memmap2::{Advice, MmapMut};
use region::{PART_SIZE, PARTS, Part};

/// The bytes of one page.
#[derive(Debug)]
pub struct Page(Bytes);

#[derive(Debug)]
enum Bytes {
    /// A page of [`MAPPED_SIZE_MIN`] or more is a mapping of its own, one piece with its neighbours for the kernel.
    /// Pages live for ever, and what the heap gets between them it could not join again when it is freed.
    Mapped(MmapMut),
    /// A mapping that was filled with zeros as a whole.
    Resident(MmapMut),
    /// With -L.
    Part(Part),
    Heap(Box<[u8]>),
}

/// Smaller pages, which only tests have, would waste most of a mapping.
const MAPPED_SIZE_MIN: usize = 64 * 1024;
const _: () = assert!(size_of::<Page>() == 24);

impl Page {
    /// The page of a holder that has none: no bytes, no memory.
    pub(crate) fn none() -> Page {
        Page(Bytes::Heap(Box::default()))
    }

    /// A page of zeros; `None` if the system has no memory.
    fn new(size: usize) -> Option<Page> {
        let bytes = match size {
            MAPPED_SIZE_MIN.. => Bytes::Mapped(MmapMut::map_anon(size).ok()?),
            _ => Bytes::Heap(vec![0; size].into_boxed_slice()),
        };
        Some(Page(bytes))
    }

    /// Has the system fill the page with zeros where it has not yet: one call, in place of a fault for each of sixteen parts, and
    /// a memory that is full has nothing left to grow by. For who writes to it bit by bit; who fills it at once does as much
    /// by that.
    pub(crate) fn make_resident(&mut self) {
        match std::mem::replace(&mut self.0, Bytes::Heap(Box::default())) {
            Bytes::Mapped(bytes) if region::CAN_ADVISE => {
                // Where it is refused, by a kernel before 5.14, parts become resident when they are written to.
                let _ = bytes.advise(Advice::PopulateWrite);
                self.0 = Bytes::Resident(bytes);
            }
            other => self.0 = other,
        }
    }
}

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(bytes) | Bytes::Resident(bytes) => bytes,
            Bytes::Part(part) => part.bytes(),
            Bytes::Heap(bytes) => bytes,
        }
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Bytes::Mapped(bytes) | Bytes::Resident(bytes) => bytes,
            Bytes::Part(part) => part.bytes_mut(),
            Bytes::Heap(bytes) => bytes,
        }
    }
}

/// The budget of item memory (`-m`), counted in pages, and the pages that nobody uses at the moment.
///
/// Memory is asked of the system page by page, when it is first needed, and then recycled: resident memory grows
/// with use and not beyond the budget. A lock suffices: a page is taken once per some hundred items.
#[derive(Debug)]
pub struct Pool {
    page_size: usize,
    /// What may be taken now: `pages_asked`, or fewer where the budget for everything has less.
    pages_max: AtomicUsize,
    /// What `-m` or `cache_memlimit` said.
    pages_asked: AtomicUsize,
    /// What items keep, whatever else wants memory: a quarter of what they had at the start.
    pages_min: usize,
    /// Pages outside the pool. Invariant: `taken + idle.count == made`, and `made` grows only up to `pages_max`, but for
    /// what is borrowed.
    taken: AtomicUsize,
    made: AtomicUsize,
    budget: Budget,
    /// Pages are made a region at a time, where that many are allowed.
    in_regions: bool,
    /// Pages that are kept for shards which have less than their floor: nobody else gets them.
    promised: AtomicUsize,
    idle: Mutex<Idle>,
    /// Pages that shards have opened for items, ever: the time in which pages grow old.
    opened: AtomicU32,
    /// The sums of the ages that the shards told last: of their oldest page of probation, and of main.
    ages: [AtomicU64; 2],
    /// Set when a store was refused for want of memory, cleared when memory is freed. Only servers that refuse
    /// instead of evicting (`-M`) read it: in between they refuse every store that needs memory, in every shard,
    /// as one budget would.
    refusing: AtomicBool,
    /// More is idle than the budget allows: it goes back to the system slice by slice.
    has_excess: AtomicBool,
}

/// Pages that nobody uses. Those of a large value come in segments and stay so until they are needed, so that
/// letting go of a gigabyte is few steps.
#[derive(Debug, Default)]
struct Idle {
    pages: Vec<Page>,
    /// None is empty.
    chains: Vec<Vec<Page>>,
    /// Pages in both.
    count: usize,
}

impl Idle {
    fn pop(&mut self) -> Option<Page> {
        let page = self.pages.pop().or_else(|| {
            let chain = self.chains.last_mut()?;
            let page = chain.pop();
            if chain.is_empty() {
                self.chains.pop();
            }
            page
        })?;
        self.count -= 1;
        Some(page)
    }

    /// Gives back to the system what is beyond `room`, at most [`TRIM_PAGES_MAX`] pages of it; returns how many.
    fn trim(&mut self, room: usize) -> usize {
        let excess = self.count.saturating_sub(room).min(TRIM_PAGES_MAX);
        for _ in 0..excess {
            drop(self.pop());
        }
        excess
    }
}

/// Pages that go back to the system in one call.
const TRIM_PAGES_MAX: usize = 64;

impl Pool {
    /// A pool of as many whole pages as fit into the budget, and at least one. `page_size` is a power of two.
    pub fn new(budget_bytes: u64, page_size: usize) -> Pool {
        Pool::within(None, budget_bytes, page_size)
    }

    /// The same, where item pages and all else may not exceed a total.
    pub fn within(total: Option<Total>, budget_bytes: u64, page_size: usize) -> Pool {
        assert!(page_size.is_power_of_two(), "pages of {page_size} bytes");
        let budget = Budget::new(total);
        let asked = (usize::try_from(budget_bytes).unwrap_or(usize::MAX) / page_size).max(1);
        let left = budget.left_for_items().unwrap_or(usize::MAX);
        let pages = asked.min((left / page_size).max(1));
        Pool {
            page_size,
            pages_max: AtomicUsize::new(pages),
            pages_asked: AtomicUsize::new(asked),
            pages_min: (pages / 4).max(1),
            taken: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            budget,
            in_regions: false,
            promised: AtomicUsize::new(0),
            idle: Mutex::default(),
            opened: AtomicU32::new(0),
            ages: Default::default(),
            refusing: AtomicBool::new(false),
            has_excess: AtomicBool::new(false),
        }
    }

    /// Has pages made so that the kernel can back many of them by one large page (`-L`).
    pub fn with_large_pages(self) -> Pool {
        Pool {
            in_regions: self.page_size == PART_SIZE,
            ..self
        }
    }

    /// Between [`Pool::measure`], the process is measured by this after enough growth.
    pub fn with_measure(self, resident: fn() -> u64) -> Pool {
        Pool {
            budget: self.budget.with_measure(resident),
            ..self
        }
    }

    /// A page with any content, or `None` when the budget is spent, but for what is promised, or when the system has
    /// no more memory: then items have to go, as with a smaller budget.
    pub fn take(&self) -> Option<Page> {
        self.take_leaving(0)
    }

    /// The same, if that leaves so many pages free.
    pub(crate) fn take_leaving(&self, pages: usize) -> Option<Page> {
        self.take_beyond(self.promised.load(Ordering::Relaxed) + pages)
    }

    /// A page for somebody who is about to give one back. While more are taken than a lowered budget allows, he gets one
    /// all the same.
    pub(crate) fn borrow(&self) -> Option<Page> {
        match self.is_over_budget() {
            false => self.take(),
            true => self.take_from(&mut self.idle()),
        }
    }

    /// A page for a shard to which pages are promised.
    pub(crate) fn take_promised(&self) -> Option<Page> {
        self.take_beyond(0)
    }

    /// Changes by how many pages a shard is short of its floor.
    pub(crate) fn change_promise(&self, from: usize, to: usize) {
        if from < to {
            self.promised.fetch_add(to - from, Ordering::Relaxed);
        } else if from > to {
            self.promised.fetch_sub(from - to, Ordering::Relaxed);
        }
    }

    fn take_beyond(&self, kept: usize) -> Option<Page> {
        let mut idle = self.idle();
        match self.pages_taken() + kept < self.pages_max() {
            true => self.take_from(&mut idle),
            false => None,
        }
    }

    fn take_from(&self, idle: &mut Idle) -> Option<Page> {
        let taken = self.pages_taken();
        let page = match idle.pop() {
            Some(page) => page,
            None => self.make(idle, taken)?,
        };
        self.taken.store(taken + 1, Ordering::Relaxed);
        Some(page)
    }

    /// A new page; others of its region are put among the idle ones. `None` if the system has no memory.
    fn make(&self, idle: &mut Idle, taken: usize) -> Option<Page> {
        if self.in_regions
            && taken + PARTS <= self.pages_max()
            && let Some(parts) = region::parts()
        {
            let pages = parts.into_iter().rev().map(|part| Page(Bytes::Part(part)));
            idle.pages.extend(pages);
            idle.count += PARTS;
            self.made.fetch_add(PARTS, Ordering::Relaxed);
            self.measure_growth();
            return idle.pop();
        }
        let page = Page::new(self.page_size)?;
        self.made.fetch_add(1, Ordering::Relaxed);
        self.measure_growth();
        Some(page)
    }

    /// Takes a page back. It must be one of this pool's.
    pub fn give(&self, page: Page) {
        self.give_all([page]);
    }

    /// Takes several pages back.
    pub fn give_all(&self, pages: impl IntoIterator<Item = Page>) {
        let mut idle = self.idle();
        let mut count = 0;
        for page in pages {
            assert_eq!(page.len(), self.page_size, "a page of another pool");
            idle.pages.push(page);
            count += 1;
        }
        self.untake(&mut idle, count);
    }

    /// Takes the pages of a large value back, however many, in one step.
    pub(crate) fn give_list(&self, pages: PageList) {
        self.give_parts(pages.into_parts());
    }

    fn give_parts(&self, parts: impl IntoIterator<Item = Vec<Page>>) {
        let mut idle = self.idle();
        let mut count = 0;
        for pages in parts.into_iter().filter(|pages| !pages.is_empty()) {
            count += pages.len();
            idle.chains.push(pages);
        }
        self.untake(&mut idle, count);
    }

    /// Counts pages that were put among the idle ones.
    fn untake(&self, idle: &mut Idle, count: usize) {
        idle.count += count;
        let taken = self.taken.load(Ordering::Relaxed);
        assert!(taken >= count, "more pages given than taken");
        self.taken.store(taken - count, Ordering::Relaxed);
        self.trim_idle(idle);
    }

    /// After the budget was lowered, what is too much goes back to the system, slice by slice.
    fn trim_idle(&self, idle: &mut Idle) {
        let room = self.pages_max().saturating_sub(self.pages_taken());
        let gone = idle.trim(room);
        self.made.fetch_sub(gone, Ordering::Relaxed);
        self.measure_growth();
        self.has_excess.store(idle.count > room, Ordering::Relaxed);
    }

    /// Whether [`Pool::trim`] has something to do.
    pub(crate) fn has_excess(&self) -> bool {
        self.has_excess.load(Ordering::Relaxed)
    }

    /// Gives a slice of what is beyond a lowered budget back to the system.
    pub(crate) fn trim(&self) {
        self.trim_idle(&mut self.idle());
    }

    /// Bytes in a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// Pages in the budget.
    pub fn pages_max(&self) -> usize {
        self.pages_max.load(Ordering::Relaxed)
    }

    /// Pages that are in use or kept for the next who asks.
    pub fn pages_made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    /// Pages that are kept for the next who asks. They may change hands while the caller reads this.
    pub fn pages_idle(&self) -> usize {
        self.pages_made().saturating_sub(self.pages_taken())
    }

    fn pages_min(&self) -> usize {
        self.pages_min.min(self.pages_asked.load(Ordering::Relaxed))
    }

    /// Changes the budget of items. Pages in use stay so until their holders give them back.
    pub fn set_budget(&self, budget_bytes: u64) {
        let pages = usize::try_from(budget_bytes).unwrap_or(usize::MAX) / self.page_size;
        self.pages_asked.store(pages.max(1), Ordering::Relaxed);
        self.fit();
        self.trim();
    }

    /// What was asked for, as far as the budget for everything has it.
    fn pages_that_fit(&self) -> usize {
        let asked = self.pages_asked.load(Ordering::Relaxed);
        match self.budget.left_for_items() {
            None => asked,
            Some(left) => asked.min((left / self.page_size).max(self.pages_min())),
        }
    }

    /// Allows a quarter of the pages more that could be allowed: the system says next time how that went.
    fn approach(&self) {
        let (now, fit) = (self.pages_max(), self.pages_that_fit());
        let more = fit.saturating_sub(now).div_ceil(4);
        self.pages_max.store(now + more, Ordering::Relaxed);
        self.lower_to_fit();
    }

    /// Allows so many pages, be it more or fewer than before.
    fn fit(&self) {
        self.pages_max.store(self.pages_that_fit(), Ordering::Relaxed);
        // Somebody may have charged something in between.
        self.lower_to_fit();
    }

    /// Allows fewer pages if something else has taken what they had.
    fn lower_to_fit(&self) {
        let fit = self.pages_that_fit();
        if self.pages_max.fetch_min(fit, Ordering::Relaxed) > fit || self.pages_made() > fit {
            self.has_excess.store(true, Ordering::Relaxed);
        }
    }

    /// Whether more pages are in use than the budget allows, because it was lowered.
    pub fn is_over_budget(&self) -> bool {
        self.pages_taken() > self.pages_max()
    }

    /// Pages that are in use now. They may change hands while the caller reads this.
    pub fn pages_taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Pages that the next shards to ask would get, as far as one can know without the lock.
    pub(crate) fn pages_free(&self) -> usize {
        let taken = self.pages_taken() + self.promised.load(Ordering::Relaxed);
        self.pages_max().saturating_sub(taken)
    }

    /// Counts a page that is opened, and returns how many were before.
    pub(crate) fn open_page(&self) -> u32 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    /// How many pages were opened. Wraps around.
    pub(crate) fn pages_opened(&self) -> u32 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A shard that told these ages, of probation and of main, tells others.
    pub(crate) fn change_ages(&self, from: [u32; 2], to: [u32; 2]) {
        for (sum, (from, to)) in self.ages.iter().zip(from.into_iter().zip(to)) {
            let difference = u64::from(to).wrapping_sub(u64::from(from));
            sum.fetch_add(difference, Ordering::Relaxed);
        }
    }

    /// The sums of what the shards told, of probation and of main.
    pub(crate) fn ages(&self) -> [u64; 2] {
        self.ages.each_ref().map(|sum| sum.load(Ordering::Relaxed))
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    pub(crate) fn set_refusing(&self, refusing: bool) {
        if self.is_refusing() != refusing {
            self.refusing.store(refusing, Ordering::Relaxed);
        }
    }

    /// A thread that panicked while it held the lock left the lists whole: every change is one push or pop.
    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_made_while_they_fit() {
        let pool = Pool::new((PARTS as u64 + 5) * PART_SIZE as u64, PART_SIZE).with_large_pages();
        let mut pages = vec![pool.take().expect("room")];
        assert_eq!((1, PARTS), (pool.pages_taken(), pool.pages_made()));
        pages.extend(std::iter::from_fn(|| pool.take()));
        assert_eq!((PARTS + 5, PARTS + 5), (pages.len(), pool.pages_made()));
        pages.iter_mut().for_each(|page| page.fill(7));
        pool.give_all(pages);
        pool.set_budget(10 * PART_SIZE as u64);
        while pool.has_excess() {
            pool.trim();
        }
        assert_eq!((0, 10), (pool.pages_taken(), pool.pages_made()));
        assert_eq!(10, std::iter::from_fn(|| pool.take()).count());
    }

    #[test]
    fn the_budget_is_kept_and_pages_come_back() {
        let pool = Pool::new(3 * 4096 + 4095, 4096);
        assert_eq!(pool.pages_max(), 3);
        let pages: Vec<Page> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((pages.len(), pool.pages_taken()), (3, 3));
        assert_eq!(pool.pages_free(), 0);
        let address = pages[2].as_ptr();
        let mut pages = pages.into_iter();
        pool.give_all(pages.by_ref().take(2));
        pool.give(pages.next().expect("the third page"));
        assert_eq!(pool.pages_taken(), 0);
        assert_eq!(pool.take().expect("a page").as_ptr(), address, "recycled");
    }
}
