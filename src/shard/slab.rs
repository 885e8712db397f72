//! A shard's pages, cut into chunks, and the rings in which they grow old.
//!
//! ```text
//! ItemId   bit 31            13 12             0      with pages of 64 KiB
//!              +---------------+---------------+
//!              |  page number  | offset / 8    |      page numbers begin at 1, so that no id is 0
//!              +---------------+---------------+
//! ```
//!
//! Every page belongs to one class and, from the moment it is opened, to one of two rings: *probation*, where new
//! items go, and *main*, where those go that were asked for again. Each ring is in the order in which its pages
//! were opened. A page that has room is also in the list of vacant pages of its class and ring.
//!
//! No unsafe, no pointers: an [`ItemId`] is an index, checked when it is used.

use std::num::NonZeroU32;

use super::classes::{ClassId, Classes, UNIT};
use super::item::{self, Draft, HEADER_SIZE_MAX, Header, Item};
use crate::command::KEY_SIZE_MAX;
use crate::memory::Page;
use crate::time::Deadline;

/// Where an item lies. `Option<ItemId>` takes 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemId(NonZeroU32);
const _: () = assert!(size_of::<Option<ItemId>>() == 4);

#[cfg(test)]
impl ItemId {
    pub(super) fn from_raw(raw: NonZeroU32) -> ItemId {
        ItemId(raw)
    }

    pub(super) fn raw(self) -> NonZeroU32 {
        self.0
    }
}

/// One of the rings of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    Probation,
    /// Probation of those that are much larger than the others.
    Heavy,
    Main,
}

impl Ring {
    pub(super) const COUNT: usize = 3;
    pub(super) const ALL: [Ring; Ring::COUNT] = [Ring::Probation, Ring::Heavy, Ring::Main];

    fn index(self) -> usize {
        self as usize
    }
}

/// The number of a page in its slab; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageNumber(u32);

const NONE: u32 = 0;

/// Header and key of most items take no more bytes: with any alignment, two lines of the processor's cache.
const KEY_PROBABLY_ENDS: usize = 65;

#[derive(Debug)]
pub(super) struct Slab {
    /// By page number. The first is never used; a number without a page has no bytes.
    slots: Vec<Slot>,
    /// Numbers below `slots.len()` that have no page.
    numbers_free: Vec<u32>,
    pub(super) classes: Classes,
    page_size: usize,
    /// Bits of an id that are the offset.
    offset_bits: u32,
    rings: [List; Ring::COUNT],
    /// By class: pages that have room, in each ring. Never pages of an older epoch.
    vacant: Vec<[List; Ring::COUNT]>,
    /// Items in pages of another epoch are flushed.
    epoch: u32,
    /// By class.
    usage: Vec<Usage>,
}

/// What a class has at the moment.
///
/// Invariant: the sums over the class's pages of what [`Slot`] says of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) pages: u64,
    /// Chunks that hold an item, by ring.
    pub(super) items: [u64; Ring::COUNT],
}

/// A page and its bookkeeping.
///
/// Invariant: `used + (length of the free list) == carved <= chunks_per_page`.
///
/// One line of the processor's cache, so that a lookup misses it once at most.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    bytes: Page,
    epoch: u32,
    /// How many pages had been opened when this one was, in all shards.
    opened: u32,
    /// No item of this page has an earlier deadline. 0: none has any.
    deadline_min: u32,
    class: ClassId,
    ring: Ring,
    /// False while the hand works on the page: then it is in no list, and nothing new is put into it.
    in_ring: bool,
    in_vacant: bool,
    /// Chunks that hold an item.
    used: u16,
    /// Chunks that have ever held one. Those beyond have never been written.
    carved: u16,
    /// The first vacant chunk below `carved`: its offset in units, plus 1; 0 is none.
    free: u16,
    links: [Links; 2],
}

const _: () = assert!(size_of::<Slot>() == 64);

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    previous: u32,
    next: u32,
}

/// A doubly linked list of pages.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    first: u32,
    last: u32,
    count: u32,
}

/// Which of a page's links a list uses.
#[derive(Clone, Copy)]
enum By {
    Age,
    Vacancy,
}

impl List {
    fn push_last(&mut self, slots: &mut [Slot], by: By, number: u32) {
        slots[number as usize].links[by as usize] = Links {
            previous: self.last,
            next: NONE,
        };
        match self.last {
            NONE => self.first = number,
            last => slots[last as usize].links[by as usize].next = number,
        }
        self.last = number;
        self.count += 1;
    }

    fn push_first(&mut self, slots: &mut [Slot], by: By, number: u32) {
        slots[number as usize].links[by as usize] = Links {
            previous: NONE,
            next: self.first,
        };
        match self.first {
            NONE => self.last = number,
            first => slots[first as usize].links[by as usize].previous = number,
        }
        self.first = number;
        self.count += 1;
    }

    fn unlink(&mut self, slots: &mut [Slot], by: By, number: u32) {
        let Links { previous, next } = std::mem::take(&mut slots[number as usize].links[by as usize]);
        match previous {
            NONE => self.first = next,
            previous => slots[previous as usize].links[by as usize].next = next,
        }
        match next {
            NONE => self.last = previous,
            next => slots[next as usize].links[by as usize].previous = previous,
        }
        self.count -= 1;
    }

    fn numbers<'a>(&self, slots: &'a [Slot], by: By) -> impl Iterator<Item = u32> + use<'a> {
        let first = Some(self.first).filter(|&first| first != NONE);
        std::iter::successors(first, move |&number| {
            Some(slots[number as usize].links[by as usize].next).filter(|&next| next != NONE)
        })
    }
}

impl Slab {
    /// An empty slab. Pages hold at least the largest header and key, and offsets in them fit 16 bits of units.
    /// Bookkeeping grows in place up to `pages_expected`.
    pub(super) fn new(page_size: usize, classes_max: usize, pages_expected: usize) -> Slab {
        assert!(page_size.is_power_of_two());
        assert!(page_size >= (HEADER_SIZE_MAX + KEY_SIZE_MAX).next_power_of_two());
        assert!(page_size <= 1 << 16, "the value size in an item has 16 bits");
        let classes = Classes::new(page_size, classes_max);
        let mut slots = Vec::with_capacity(pages_expected.min(1 << 20) + 1);
        slots.push(Slot::vacant());
        Slab {
            slots,
            numbers_free: Vec::new(),
            vacant: vec![[List::default(); Ring::COUNT]; classes.count()],
            usage: vec![Usage::default(); classes.count()],
            classes,
            page_size,
            offset_bits: (page_size / UNIT).trailing_zeros(),
            rings: [List::default(); Ring::COUNT],
            epoch: 1,
        }
    }

    fn id(&self, number: u32, offset: usize) -> ItemId {
        let id = number << self.offset_bits | (offset / UNIT) as u32;
        ItemId(NonZeroU32::new(id).expect("page numbers begin at 1"))
    }

    fn number(&self, id: ItemId) -> usize {
        (id.0.get() >> self.offset_bits) as usize
    }

    fn offset(&self, id: ItemId) -> usize {
        (id.0.get() & ((1 << self.offset_bits) - 1)) as usize * UNIT
    }

    fn chunk(&self, id: ItemId) -> &[u8] {
        &self.slots[self.number(id)].bytes[self.offset(id)..]
    }

    pub(super) fn chunk_mut(&mut self, id: ItemId) -> &mut [u8] {
        let (number, offset) = (self.number(id), self.offset(id));
        &mut self.slots[number].bytes[offset..]
    }

    pub(super) fn item(&self, id: ItemId) -> Item<'_> {
        Item::new(self.chunk(id))
    }

    /// Fetches an item into the cache, without waiting for it.
    pub(super) fn prefetch(&self, id: ItemId) {
        super::prefetch::prefetch(self.chunk(id));
    }

    /// Fetches the page's chunk of this index, if there is one.
    pub(super) fn prefetch_at(&self, page: PageNumber, index: usize) {
        let slot = &self.slots[page.0 as usize];
        if let Some(chunk) = slot.bytes.get(index * self.classes.chunk_size(slot.class)..) {
            prefetch_key_in(chunk);
        }
    }

    /// Fetches an item's header and key, as far as keys usually go.
    pub(super) fn prefetch_key(&self, id: ItemId) {
        prefetch_key_in(self.chunk(id));
    }

    /// An item with what its page says of it: its class, and whether it is flushed.
    #[inline]
    pub(super) fn item_in_page(&self, id: ItemId) -> (Item<'_>, ClassId, bool) {
        let slot = &self.slots[self.number(id)];
        let item = Item::new(&slot.bytes[self.offset(id)..]);
        (item, slot.class, slot.epoch != self.epoch)
    }

    #[inline]
    pub(super) fn has_key(&self, id: ItemId, key: &[u8]) -> bool {
        self.item(id).key() == key
    }

    pub(super) fn set_header(&mut self, id: ItemId, header: &Header) {
        header.write(self.chunk_mut(id));
    }

    pub(super) fn class_of(&self, id: ItemId) -> ClassId {
        self.slots[self.number(id)].class
    }

    pub(super) fn ring_of(&self, id: ItemId) -> Ring {
        self.slots[self.number(id)].ring
    }

    pub(super) fn is_flushed(&self, id: ItemId) -> bool {
        self.slots[self.number(id)].epoch != self.epoch
    }

    /// Tells the item's page of a deadline, so that the search for expired items finds it.
    pub(super) fn note_deadline(&mut self, id: ItemId, deadline: Deadline) {
        let number = self.number(id);
        self.slots[number].note_deadline(deadline);
    }

    pub(super) fn write(&mut self, id: ItemId, draft: &Draft<'_>, value: &[u8]) {
        let (number, offset) = (self.number(id), self.offset(id));
        let slot = &mut self.slots[number];
        slot.note_deadline(draft.deadline);
        draft.write(&mut slot.bytes[offset..], value);
    }

    /// Takes a vacant chunk, if a page of this class in this ring has one. The caller writes an item into it.
    pub(super) fn take_chunk(&mut self, class: ClassId, ring: Ring) -> Option<ItemId> {
        let list = &mut self.vacant[class.index()][ring.index()];
        let number = list.first;
        if number == NONE {
            return None;
        }
        let chunk_size = self.classes.chunk_size(class);
        let slot = &mut self.slots[number as usize];
        let offset = match slot.free {
            0 => {
                slot.carved += 1;
                usize::from(slot.carved - 1) * chunk_size
            }
            free => {
                let offset = usize::from(free - 1) * UNIT;
                slot.free = item::vacant_next(&slot.bytes[offset..]);
                offset
            }
        };
        slot.used += 1;
        self.usage[class.index()].items[ring.index()] += 1;
        if slot.free == 0 && (usize::from(slot.carved) + 1) * chunk_size > self.page_size {
            slot.in_vacant = false;
            list.unlink(&mut self.slots, By::Vacancy, number);
        }
        Some(self.id(number, offset))
    }

    /// Makes the item's chunk vacant. When that was the page's last item, the page comes back, unless the hand
    /// is at work on it.
    pub(super) fn release_chunk(&mut self, id: ItemId) -> Option<Page> {
        let (number, offset) = (self.number(id), self.offset(id));
        let slot = &mut self.slots[number];
        item::vacate(&mut slot.bytes[offset..], slot.free);
        slot.free = (offset / UNIT) as u16 + 1;
        slot.used -= 1;
        self.usage[slot.class.index()].items[slot.ring.index()] -= 1;
        if !slot.in_ring {
            return None;
        }
        if slot.used == 0 {
            return Some(self.close_page(PageNumber(number as u32)));
        }
        if !slot.in_vacant && slot.epoch == self.epoch {
            slot.in_vacant = true;
            let list = &mut self.vacant[slot.class.index()][slot.ring.index()];
            list.push_first(&mut self.slots, By::Vacancy, number as u32);
        }
        None
    }

    /// True if another page can be named: a shard's ids reach 32 GiB with pages of 64 KiB.
    pub(super) fn has_numbers(&self) -> bool {
        !self.numbers_free.is_empty() || self.slots.len() < 1 << (u32::BITS - self.offset_bits)
    }

    /// Adds a page, as the newest of the ring. The next chunk of this class is taken from it.
    pub(super) fn open_page(&mut self, mut page: Page, class: ClassId, ring: Ring, opened: u32) {
        debug_assert_eq!(page.len(), self.page_size);
        page.make_resident();
        self.usage[class.index()].pages += 1;
        let number = self.numbers_free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::vacant());
            self.slots.len() as u32 - 1
        });
        self.slots[number as usize] = Slot {
            bytes: page,
            epoch: self.epoch,
            opened,
            class,
            ring,
            in_ring: true,
            in_vacant: true,
            ..Slot::vacant()
        };
        self.rings[ring.index()].push_last(&mut self.slots, By::Age, number);
        self.vacant[class.index()][ring.index()].push_first(&mut self.slots, By::Vacancy, number);
    }

    /// Takes an empty page out of its lists, or out of the hand's care.
    pub(super) fn close_page(&mut self, page: PageNumber) -> Page {
        self.detach_page(page);
        let slot = &mut self.slots[page.0 as usize];
        assert_eq!(slot.used, 0, "a page that is closed is empty");
        self.usage[slot.class.index()].pages -= 1;
        self.numbers_free.push(page.0);
        std::mem::replace(slot, Slot::vacant()).bytes
    }

    /// Takes a page out of its lists: nothing new is put into it, and it no longer grows old.
    pub(super) fn detach_page(&mut self, page: PageNumber) {
        let slot = &mut self.slots[page.0 as usize];
        let (class, ring) = (slot.class, slot.ring);
        if std::mem::take(&mut slot.in_ring) {
            self.rings[ring.index()].unlink(&mut self.slots, By::Age, page.0);
        }
        if std::mem::take(&mut self.slots[page.0 as usize].in_vacant) {
            self.vacant[class.index()][ring.index()].unlink(&mut self.slots, By::Vacancy, page.0);
        }
    }

    /// What each class has.
    pub(super) fn usage(&self) -> impl Iterator<Item = (ClassId, &Usage)> {
        (0..).map(ClassId).zip(&self.usage)
    }

    pub(super) fn page_class(&self, page: PageNumber) -> ClassId {
        self.slots[page.0 as usize].class
    }

    /// The item in the page's chunk of this index; `Some(None)` if that is vacant, `None` beyond the last.
    pub(super) fn item_at(&self, page: PageNumber, index: usize) -> Option<Option<ItemId>> {
        let slot = &self.slots[page.0 as usize];
        if index >= usize::from(slot.carved) {
            return None;
        }
        let offset = index * self.classes.chunk_size(slot.class);
        let vacant = slot.used == 0 || item::is_vacant(&slot.bytes[offset..]);
        Some((!vacant).then(|| self.id(page.0, offset)))
    }

    pub(super) fn is_page_empty(&self, page: PageNumber) -> bool {
        self.slots[page.0 as usize].used == 0
    }

    /// The page of this ring that was opened first.
    pub(super) fn oldest(&self, ring: Ring) -> Option<PageNumber> {
        Some(PageNumber(self.rings[ring.index()].first)).filter(|page| page.0 != NONE)
    }

    pub(super) fn page_opened(&self, page: PageNumber) -> u32 {
        self.slots[page.0 as usize].opened
    }

    pub(super) fn is_page_flushed(&self, page: PageNumber) -> bool {
        self.slots[page.0 as usize].epoch != self.epoch
    }

    pub(super) fn pages(&self, ring: Ring) -> usize {
        self.rings[ring.index()].count as usize
    }

    /// All pages with bytes, those under the hand included.
    pub(super) fn pages_owned(&self) -> usize {
        self.slots.len() - 1 - self.numbers_free.len()
    }

    /// Bytes of the bookkeeping.
    pub(super) fn memory(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.numbers_free.capacity() * size_of::<u32>()
    }

    /// The highest page number in use may be this one; for walks over all pages.
    pub(super) fn page_after(&self, page: Option<PageNumber>) -> Option<PageNumber> {
        let next = page.map_or(1, |page| page.0 + 1);
        ((next as usize) < self.slots.len()).then_some(PageNumber(next))
    }

    /// Whether the page, which may be the hand's, may hold items that are flushed or have expired.
    pub(super) fn may_have_gone(&self, page: PageNumber, now: u32) -> bool {
        let slot = &self.slots[page.0 as usize];
        slot.used > 0 && (slot.epoch != self.epoch || slot.deadline_min != 0 && slot.deadline_min <= now)
    }

    /// Sets the page's earliest deadline, after a look at all its items. The page may be gone by then.
    pub(super) fn set_deadline_min(&mut self, page: PageNumber, deadline_min: u32) {
        let slot = &mut self.slots[page.0 as usize];
        if slot.used > 0 {
            slot.deadline_min = deadline_min;
        }
    }

    /// Copies the chunk's item to another chunk of the same class.
    pub(super) fn copy_chunk(&mut self, from: ItemId, to: ItemId) {
        let size = self.item(from).size();
        let deadline = self.item(from).header.deadline();
        let (from_offset, to_offset) = (self.offset(from), self.offset(to));
        let numbers = [self.number(from), self.number(to)];
        let pages = self.slots.get_disjoint_mut(numbers);
        let [from, to] = pages.expect("an item moves to another page");
        to.note_deadline(deadline);
        to.bytes[to_offset..to_offset + size].copy_from_slice(&from.bytes[from_offset..from_offset + size]);
    }

    /// Makes every item flushed, in time proportional to the number of classes.
    pub(super) fn flush(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        // The links in the pages of these lists go stale with their pages: no list takes such a page again.
        for lists in &mut self.vacant {
            for list in lists {
                for number in list.numbers(&self.slots, By::Vacancy).collect::<Vec<_>>() {
                    self.slots[number as usize].in_vacant = false;
                }
                *list = List::default();
            }
        }
    }

    /// All pages, with whatever is in them: the end of the slab.
    pub(super) fn take_pages(&mut self) -> impl Iterator<Item = Page> {
        let slots = std::mem::take(&mut self.slots);
        slots
            .into_iter()
            .map(|slot| slot.bytes)
            .filter(|page| !page.is_empty())
    }

    /// Recomputes the bookkeeping of all pages.
    pub(super) fn check(&self) {
        let mut in_rings = 0;
        for ring in Ring::ALL {
            let numbers: Vec<u32> = self.rings[ring.index()].numbers(&self.slots, By::Age).collect();
            assert_eq!(numbers.len(), self.pages(ring));
            in_rings += numbers.len();
            for number in numbers {
                let slot = &self.slots[number as usize];
                assert!(slot.in_ring && slot.ring == ring);
                assert!(
                    slot.used > 0 || slot.epoch == self.epoch,
                    "flushed pages are not opened"
                );
            }
        }
        assert_eq!(in_rings, self.slots.iter().filter(|slot| slot.in_ring).count());
        let mut vacant = 0;
        for (class, lists) in self.vacant.iter().enumerate() {
            for ring in Ring::ALL {
                let list = &lists[ring.index()];
                let numbers: Vec<u32> = list.numbers(&self.slots, By::Vacancy).collect();
                assert_eq!(numbers.len(), list.count as usize);
                vacant += numbers.len();
                for number in numbers {
                    let slot = &self.slots[number as usize];
                    assert!(slot.in_vacant && slot.in_ring && slot.ring == ring);
                    assert_eq!((slot.class.index(), slot.epoch), (class, self.epoch));
                }
            }
        }
        assert_eq!(vacant, self.slots.iter().filter(|slot| slot.in_vacant).count());
        let mut usage = vec![Usage::default(); self.classes.count()];
        for (number, slot) in self.slots.iter().enumerate() {
            if slot.bytes.is_empty() {
                assert!(number == 0 || self.numbers_free.contains(&(number as u32)));
                continue;
            }
            usage[slot.class.index()].pages += 1;
            usage[slot.class.index()].items[slot.ring.index()] += u64::from(slot.used);
            let chunk_size = self.classes.chunk_size(slot.class);
            let capacity = self.classes.chunks_per_page(slot.class);
            let chunk = |index: usize| &slot.bytes[index * chunk_size..];
            let used = (0..usize::from(slot.carved)).filter(|&index| !item::is_vacant(chunk(index)));
            assert_eq!(used.count(), usize::from(slot.used));
            let (mut free, mut next) = (0, slot.free);
            while next != 0 {
                let offset = usize::from(next - 1) * UNIT;
                assert!(offset.is_multiple_of(chunk_size) && item::is_vacant(&slot.bytes[offset..]));
                next = item::vacant_next(&slot.bytes[offset..]);
                free += 1;
            }
            assert_eq!(usize::from(slot.used) + free, usize::from(slot.carved));
            assert!(usize::from(slot.carved) <= capacity);
            let has_room = free > 0 || usize::from(slot.carved) < capacity;
            assert_eq!(
                slot.in_vacant,
                has_room && slot.in_ring && slot.epoch == self.epoch
            );
        }
        assert_eq!(usage, self.usage);
    }

    /// Every item, for `check` alone.
    pub(super) fn items(&self) -> impl Iterator<Item = ItemId> {
        (1..self.slots.len() as u32).flat_map(move |number| {
            let page = PageNumber(number);
            (0..).map_while(move |index| self.item_at(page, index)).flatten()
        })
    }
}

fn prefetch_key_in(chunk: &[u8]) {
    super::prefetch::prefetch(&chunk[..chunk.len().min(KEY_PROBABLY_ENDS)]);
}

impl Slot {
    fn vacant() -> Slot {
        Slot {
            bytes: Page::none(),
            epoch: 0,
            opened: 0,
            deadline_min: 0,
            class: ClassId(0),
            ring: Ring::Probation,
            in_ring: false,
            in_vacant: false,
            used: 0,
            carved: 0,
            free: 0,
            links: [Links::default(); 2],
        }
    }

    fn note_deadline(&mut self, deadline: Deadline) {
        let raw = deadline.raw();
        if raw != 0 && (self.deadline_min == 0 || raw < self.deadline_min) {
            self.deadline_min = raw;
        }
    }
}
