//! The blocks of a shard, and who has them.
//!
//! Pages of blocks are in no ring: the hand judges items, and a block is free when its item is forgotten. So that the
//! free blocks of many pages do not add up, the page with the fewest in use gives them to the others' free ones when
//! more than a part of all are free: every block knows its owner.

use crate::memory::{BLOCKS_PER_PAGE, Block, Page};

/// One in so many blocks may be free, beside a page's worth.
const VACANT_PART: usize = 16;

/// Whose a block is: a large value's number, and which of its blocks it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) value: u32,
    pub(super) index: u8,
}

/// The pages of blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    /// By number; a number that is free has a page without bytes.
    pages: Vec<Page>,
    slots: Vec<Slot>,
    numbers_free: Vec<u32>,
    /// Numbers of the pages that have so many blocks in use.
    by_used: [Vec<u32>; BLOCKS_PER_PAGE + 1],
    block_size: usize,
    vacant: usize,
}

/// What a page of blocks has.
///
/// Invariant: the page's number stands in `by_used` of as many as `used` has bits, at `place`.
#[derive(Debug, Default)]
struct Slot {
    /// A bit for each block in use.
    used: u8,
    place: u32,
    /// Of the blocks in use.
    owners: [Owner; BLOCKS_PER_PAGE],
}

impl Slot {
    fn count(&self) -> usize {
        self.used.count_ones() as usize
    }
}

impl Blocks {
    pub(super) fn new(page_size: usize) -> Blocks {
        Blocks {
            pages: Vec::new(),
            slots: Vec::new(),
            numbers_free: Vec::new(),
            by_used: Default::default(),
            block_size: page_size / BLOCKS_PER_PAGE,
            vacant: 0,
        }
    }

    /// Bytes in a block.
    pub(super) fn block_size(&self) -> usize {
        self.block_size
    }

    /// What [`Block::bytes`] wants.
    pub(super) fn all_pages(&self) -> &[Page] {
        &self.pages
    }

    /// How many pages there are.
    pub(super) fn pages(&self) -> usize {
        self.pages.len() - self.numbers_free.len()
    }

    pub(super) fn has_vacant(&self) -> bool {
        self.vacant > 0
    }

    /// Adds a page, whose blocks are vacant.
    pub(super) fn open_page(&mut self, mut page: Page) {
        page.make_resident();
        let number = self.numbers_free.pop().unwrap_or_else(|| {
            self.pages.push(Page::none());
            self.slots.push(Slot::default());
            self.pages.len() as u32 - 1
        });
        self.pages[number as usize] = page;
        self.slots[number as usize].used = 0;
        self.list(number);
        self.vacant += BLOCKS_PER_PAGE;
    }

    /// Takes a vacant block, from the page that has the fewest of them.
    pub(super) fn take(&mut self, owner: Owner) -> Option<Block> {
        let number = *self.by_used[..BLOCKS_PER_PAGE]
            .iter()
            .rev()
            .find_map(|numbers| numbers.last())?;
        self.unlist(number);
        let slot = &mut self.slots[number as usize];
        let index = slot.used.trailing_ones() as usize;
        slot.used |= 1 << index;
        slot.owners[index] = owner;
        self.list(number);
        self.vacant -= 1;
        Some(Block::new(number, index))
    }

    /// Makes a block vacant; its page comes back if it was the last in use.
    pub(super) fn release(&mut self, block: Block) -> Option<Page> {
        let number = block.page() as u32;
        self.unlist(number);
        let slot = &mut self.slots[block.page()];
        slot.used &= !(1 << block.index());
        self.vacant += 1;
        if slot.used != 0 {
            self.list(number);
            return None;
        }
        self.vacant -= BLOCKS_PER_PAGE;
        self.numbers_free.push(number);
        Some(std::mem::replace(&mut self.pages[block.page()], Page::none()))
    }

    pub(super) fn bytes_mut(&mut self, block: Block) -> &mut [u8] {
        &mut self.pages[block.page()][block.index() * self.block_size..][..self.block_size]
    }

    /// Whether so many blocks are vacant that a page can be emptied into others.
    pub(super) fn are_sparse(&self) -> bool {
        self.vacant > BLOCKS_PER_PAGE + self.pages() * BLOCKS_PER_PAGE / VACANT_PART
    }

    /// Empties the page with the fewest blocks in use into others, which must have room. `moved` is told of each
    /// block's owner and new name.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(Owner, Block)) -> Option<Page> {
        let number = *self.by_used.iter().find_map(|numbers| numbers.last())?;
        // Out of its list it is not chosen for its own blocks.
        self.unlist(number);
        let Slot { used, owners, .. } = self.slots[number as usize];
        self.vacant -= BLOCKS_PER_PAGE - used.count_ones() as usize;
        for (index, &owner) in owners
            .iter()
            .enumerate()
            .filter(|(index, _)| used & 1 << index != 0)
        {
            let to = self
                .take(owner)
                .expect("the vacant blocks are more than a page's");
            let numbers = [number as usize, to.page()];
            let [from, page] = self
                .pages
                .get_disjoint_mut(numbers)
                .expect("a block moves to another page");
            let size = self.block_size;
            page[to.index() * size..][..size].copy_from_slice(&from[index * size..][..size]);
            moved(owner, to);
        }
        self.slots[number as usize].used = 0;
        self.numbers_free.push(number);
        Some(std::mem::replace(&mut self.pages[number as usize], Page::none()))
    }

    fn list(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        let numbers = &mut self.by_used[slot.count()];
        slot.place = numbers.len() as u32;
        numbers.push(number);
    }

    fn unlist(&mut self, number: u32) {
        let slot = &self.slots[number as usize];
        let place = slot.place;
        let numbers = &mut self.by_used[slot.count()];
        numbers.swap_remove(place as usize);
        if let Some(&moved) = numbers.get(place as usize) {
            self.slots[moved as usize].place = place;
        }
    }

    /// All pages: the end of the blocks.
    pub(super) fn into_pages(self) -> impl Iterator<Item = Page> {
        self.pages.into_iter().filter(|page| !page.is_empty())
    }

    /// Recomputes the bookkeeping. `owner` says whose a block is by the values' own account.
    pub(super) fn check(&self, blocks: impl Iterator<Item = (Block, Owner)>) {
        let mut used = vec![0u8; self.pages.len()];
        for (block, owner) in blocks {
            assert_eq!(
                used[block.page()] & 1 << block.index(),
                0,
                "a block has one owner"
            );
            used[block.page()] |= 1 << block.index();
            assert_eq!(self.slots[block.page()].owners[block.index()], owner);
        }
        let mut vacant = 0;
        for (number, (page, slot)) in self.pages.iter().zip(&self.slots).enumerate() {
            if page.is_empty() {
                assert!(self.numbers_free.contains(&(number as u32)));
                continue;
            }
            assert_eq!(slot.used, used[number]);
            assert!(slot.used != 0, "an empty page is given back");
            assert_eq!(self.by_used[slot.count()][slot.place as usize], number as u32);
            vacant += BLOCKS_PER_PAGE - slot.count();
        }
        assert_eq!(self.vacant, vacant);
        assert_eq!(self.by_used.iter().map(Vec::len).sum::<usize>(), self.pages());
        assert!(!self.are_sparse(), "vacant blocks do not add up");
    }
}
