//! Values that are larger than a chunk, and values that are still arriving.
//!
//! ```text
//! value     | page | page | ... | block | block | rest |
//!             a chain: moved      eighths of      in the item's chunk, with the key
//!             from the            pages           (less than a block)
//!             reservation         '---- the tail: copied, less than a page ----'
//! ```

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::blocks::{Blocks, Owner};
use super::item::HEADER_SIZE_MAX;
use crate::command::Reply;
use crate::memory::{BLOCKS_PER_PAGE, Block, Chain, Page, PageList, Pool};
use crate::time::Seconds;

/// An item that takes more than one in so many parts of a page is cut: chunks of that size waste the most of their
/// pages.
const CHUNKS_PER_PAGE_MIN: usize = 7;

/// Pages on their way between owners; when dropped they go back to the pool.
#[derive(Debug)]
struct Pages {
    list: PageList,
    pool: Arc<Pool>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if !self.list.is_empty() {
            self.pool.give_list(std::mem::take(&mut self.list));
            self.pool.set_refusing(false);
        }
    }
}

/// How a value of some size is cut. Depends on sizes alone, so that it stays true while the value arrives, whatever
/// happens to the key meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Whole pages.
    pub(super) pages: usize,
    /// Bytes behind them.
    pub(super) tail: usize,
    /// False if all of it fits the item's chunk.
    pub(super) is_large: bool,
}

impl Shape {
    pub(super) fn of(value_size: usize, key_size: usize, page_size: usize) -> Shape {
        let is_large = HEADER_SIZE_MAX + key_size + value_size > page_size / CHUNKS_PER_PAGE_MIN
            && value_size >= page_size / BLOCKS_PER_PAGE;
        let pages = if is_large { value_size / page_size } else { 0 };
        Shape {
            pages,
            tail: value_size - pages * page_size,
            is_large,
        }
    }
}

/// What comes of [`super::Shard::reserve`].
#[derive(Debug)]
pub enum Reserve {
    Reserved(Reservation),
    Refused(Reply<'static>),
    /// So many pages could not be freed within one call's bound. What was freed is kept for the next calls: ask
    /// again after other work.
    Again,
}

/// Pages that are being gathered for a large value, over several calls.
#[derive(Debug, Default)]
pub(super) struct Hoard {
    pub(super) pages: PageList,
    /// When somebody last asked for them.
    pub(super) asked: Option<Seconds>,
}

impl Hoard {
    /// True if the pages wait for somebody who has not asked for a second or more: perhaps his connection is gone.
    pub(super) fn is_stale(&self, now: Seconds) -> bool {
        !self.pages.is_empty() && self.asked.is_some_and(|asked| now.since(asked) > 1)
    }
}

/// Memory for a value that arrives in pieces. It belongs to nobody else, so it is filled without the shard; dropped,
/// it goes back to where it came from.
#[derive(Debug)]
pub struct Reservation {
    size: usize,
    filled: usize,
    pages: Pages,
    /// What comes behind the whole pages.
    tail: Vec<u8>,
}

impl Reservation {
    /// `pages` are as many as the shape asks for.
    pub(super) fn new(shape: Shape, pages: PageList, pool: &Arc<Pool>) -> Reservation {
        assert_eq!(pages.len(), shape.pages);
        Reservation {
            size: shape.pages * pool.page_size() + shape.tail,
            filled: 0,
            pages: Pages {
                list: pages,
                pool: Arc::clone(pool),
            },
            tail: Vec::with_capacity(shape.tail),
        }
    }

    /// Bytes of the whole value.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of memory that it takes, pages apart.
    pub fn memory(&self) -> usize {
        self.tail.capacity() + self.pages.list.memory()
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> usize {
        self.size - self.filled
    }

    /// Copies the next bytes of the value in. They must not be more than remain.
    pub fn fill(&mut self, mut bytes: &[u8]) {
        assert!(bytes.len() <= self.remaining(), "more bytes than were reserved");
        let page_size = self.pages.pool.page_size();
        while !bytes.is_empty() {
            let Some(page) = self.pages.list.get_mut(self.filled / page_size) else {
                break;
            };
            let room = &mut page[self.filled % page_size..];
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
        self.tail.extend_from_slice(bytes);
        self.filled += bytes.len();
    }

    /// The value, complete.
    pub(super) fn into_parts(mut self) -> Parts<'static> {
        assert_eq!(self.remaining(), 0, "the value is complete");
        let pages = std::mem::take(&mut self.pages.list);
        Parts {
            chain: Chain::new(pages, 0, self.pages.pool.page_size(), &self.pages.pool),
            tail: Tail::Owned(std::mem::take(&mut self.tail)),
        }
    }
}

/// A value on its way into an item: what is in pages, and the bytes behind them, less than a page.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) chain: Chain,
    pub(super) tail: Tail<'a>,
}

#[derive(Debug)]
pub(super) enum Tail<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Tail<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Tail::Borrowed(bytes) => bytes,
            Tail::Owned(bytes) => bytes,
        }
    }
}

impl<'a> Parts<'a> {
    /// A value that fits a chunk.
    pub(super) fn small(bytes: &'a [u8]) -> Parts<'a> {
        Parts {
            chain: Chain::default(),
            tail: Tail::Borrowed(bytes),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.chain.size() + self.tail.bytes().len()
    }

    /// All bytes in order.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.pieces().chain(std::iter::once(self.tail.bytes()))
    }
}

/// What a large value has outside of its item's chunk.
#[derive(Debug, Default)]
pub(super) struct Large {
    pub(super) chain: Chain,
    pub(super) blocks: ArrayVec<Block, BLOCKS_PER_PAGE>,
}

/// What all large values of a shard have, by the number that the item keeps.
#[derive(Debug)]
pub(super) struct LargeValues {
    values: Vec<Option<Large>>,
    /// Numbers whose value is gone.
    free: Vec<u32>,
    pub(super) blocks: Blocks,
    /// In all chains.
    chain_pages: usize,
}

impl LargeValues {
    pub(super) fn new(page_size: usize) -> LargeValues {
        LargeValues {
            values: Vec::new(),
            free: Vec::new(),
            blocks: Blocks::new(page_size),
            chain_pages: 0,
        }
    }

    /// Takes a value's pages; its blocks follow by [`LargeValues::add_block`].
    pub(super) fn insert(&mut self, chain: Chain) -> u32 {
        self.chain_pages += chain.pages();
        let large = Some(Large {
            chain,
            blocks: ArrayVec::new(),
        });
        match self.free.pop() {
            Some(number) => {
                self.values[number as usize] = large;
                number
            }
            None => {
                self.values.push(large);
                self.values.len() as u32 - 1
            }
        }
    }

    /// Copies a block's worth of bytes into a vacant block, if there is one: the next of this value.
    pub(super) fn add_block(&mut self, number: u32, bytes: &[u8]) -> bool {
        let large = self.values[number as usize].as_mut().expect("an item's pages");
        let owner = Owner {
            value: number,
            index: large.blocks.len() as u8,
        };
        let Some(block) = self.blocks.take(owner) else {
            return false;
        };
        self.blocks.bytes_mut(block).copy_from_slice(bytes);
        large.blocks.push(block);
        true
    }

    pub(super) fn get(&self, number: u32) -> &Large {
        self.values[number as usize].as_ref().expect("an item's pages")
    }

    /// Joins the last segments of a value that has grown.
    pub(super) fn join_last(&mut self, number: u32) {
        let large = self.values[number as usize].as_mut().expect("an item's pages");
        large.chain.join_last();
    }

    /// Bytes of value outside of the item's chunk.
    pub(super) fn size(&self, number: u32) -> usize {
        let large = self.get(number);
        large.chain.size() + large.blocks.len() * self.blocks.block_size()
    }

    /// Of a large value's tail, how many bytes go into blocks.
    pub(super) fn in_blocks(&self, tail_size: usize) -> usize {
        tail_size - tail_size % self.blocks.block_size()
    }

    /// What a value takes, in blocks.
    pub(super) fn weight(&self, number: u32) -> usize {
        let large = self.get(number);
        large.chain.pages() * BLOCKS_PER_PAGE + large.blocks.len()
    }

    pub(super) fn remove(&mut self, number: u32) -> Large {
        self.free.push(number);
        let large = self.values[number as usize].take().expect("an item's pages");
        self.chain_pages -= large.chain.pages();
        large
    }

    /// Where free blocks have added up, a page of them that was emptied into others.
    pub(super) fn compact(&mut self) -> Option<Page> {
        if !self.blocks.are_sparse() {
            return None;
        }
        let values = &mut self.values;
        self.blocks.compact(|owner, block| {
            let large = values[owner.value as usize].as_mut();
            large.expect("a block's owner").blocks[usize::from(owner.index)] = block;
        })
    }

    pub(super) fn count(&self) -> usize {
        self.values.len() - self.free.len()
    }

    /// Bytes of the bookkeeping, about: lists of pages are small beside their pages.
    pub(super) fn memory(&self) -> usize {
        self.values.capacity() * size_of::<Option<Large>>()
            + self.free.capacity() * size_of::<u32>()
            + self.pages() * size_of::<Page>()
    }

    /// Pages of values that fill them, and pages of blocks.
    pub(super) fn pages(&self) -> usize {
        self.chain_pages + self.blocks.pages()
    }

    /// Recomputes the bookkeeping.
    pub(super) fn check(&self) {
        let larges = self.values.iter().flatten();
        let pages: usize = larges.map(|large| large.chain.pages()).sum();
        assert_eq!(self.chain_pages, pages);
        let owned = self.values.iter().zip(0..).filter_map(|(large, value)| {
            let blocks = large.as_ref()?.blocks.iter().zip(0..);
            Some(blocks.map(move |(&block, index)| (block, Owner { value, index })))
        });
        self.blocks.check(owned.flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_whole_however_it_arrives() {
        let pool = Arc::new(Pool::new(64 * 1024, 1024));
        for size in [0, 1, 90, 100, 1023, 1024, 1025, 2047, 3000, 10_240] {
            let value: Vec<u8> = (0..size).map(|index| (index * 7) as u8).collect();
            for piece in [1, 10, 100, 5000] {
                let shape = Shape::of(size, 20, 1024);
                assert_eq!(shape.is_large, size >= 128, "{size}");
                let pages = (0..shape.pages).map(|_| pool.take().expect("room")).collect();
                let mut reservation = Reservation::new(shape, pages, &pool);
                for bytes in value.chunks(piece) {
                    reservation.fill(bytes);
                }
                assert_eq!(reservation.remaining(), 0);
                let parts = reservation.into_parts();
                assert_eq!(parts.pieces().collect::<Vec<_>>().concat(), value);
                assert!(parts.tail.bytes().len() < 1024);
            }
        }
        let shape = Shape::of(5000, 20, 1024);
        let pages = (0..shape.pages).map(|_| pool.take().expect("room")).collect();
        let mut abandoned = Reservation::new(shape, pages, &pool);
        abandoned.fill(&[1; 2000]);
        drop(abandoned);
        assert_eq!(pool.pages_taken(), 0);
    }

    #[test]
    fn free_blocks_do_not_add_up() {
        let pool = Arc::new(Pool::new(1 << 20, 1024));
        let mut larges = LargeValues::new(1024);
        let bytes = |value: usize, block: usize| [(value * 7 + block) as u8; 128];
        let mut numbers = Vec::new();
        for value in 0..100 {
            let number = larges.insert(Chain::default());
            for block in 0..value % 8 {
                while !larges.add_block(number, &bytes(value, block)) {
                    larges.blocks.open_page(pool.take().expect("room"));
                }
            }
            numbers.push(number);
        }
        larges.check();
        let full = larges.pages();
        for (value, &number) in numbers.iter().enumerate() {
            if value % 8 != 5 {
                for block in larges.remove(number).blocks {
                    larges
                        .blocks
                        .release(block)
                        .into_iter()
                        .for_each(|page| pool.give(page));
                }
                larges.compact().into_iter().for_each(|page| pool.give(page));
                larges.check();
            }
        }
        assert!(larges.pages() < full / 5 + 2, "{} of {full}", larges.pages());
        assert_eq!(pool.pages_taken(), larges.pages());
        for (value, &number) in numbers.iter().enumerate().filter(|(value, _)| value % 8 == 5) {
            for (index, block) in larges.get(number).blocks.iter().enumerate() {
                assert_eq!(block.bytes(larges.blocks.all_pages()), bytes(value, index));
            }
        }
    }
}
