//! append and prepend.
//!
//! What a large value has in pages stays where it is: the new value shares the old one's segments, and only its ends
//! are copied, whatever its size.
//!
//! ```text
//! append     | old pages ............. | old tail + new bytes: pages, and a new tail |
//! prepend    | new bytes: pages, the first one filled from its end | old pages ... | old tail |
//! ```

use super::Shard;
use super::item::Draft;
use super::large::{Parts, Tail};
use super::slab::ItemId;
use super::store::NoMemory;
use crate::command::{Request, StoreMode};
use crate::memory::{Chain, PageList};
use crate::time::Now;

/// New bytes of up to so many pages are copied, to fill pages; more keep the pages in which they came, and one page
/// in between is not full.
const JOINED_PAGES_MAX: usize = 16;

impl Shard {
    /// Stores the old value and the new bytes together; false if the item was forgotten to make room for that.
    pub(super) fn extend(
        &mut self,
        request: &Request<'_>,
        draft: Draft<'_>,
        new: Parts<'_>,
        mode: StoreMode,
        old: ItemId,
        now: Now,
    ) -> Result<bool, NoMemory> {
        let size = new.size() + self.value(&self.slab.item(old)).size();
        if !self.shape(draft.key, size).is_large {
            let mut whole = std::mem::take(&mut self.scratch);
            whole.clear();
            let old_value = self.slab.item(old).value();
            let halves = match mode {
                StoreMode::Prepend => [new.tail.bytes(), old_value],
                _ => [old_value, new.tail.bytes()],
            };
            halves.iter().for_each(|half| whole.extend_from_slice(half));
            let stored = self.put(request.hash, draft, Parts::small(&whole), Some(old), now);
            self.scratch = whole;
            return stored.map(|_| true);
        }
        let pages = self.take_pages(self.pages_to_join(&new, mode, old), now)?;
        // Making room may have moved the item, or forgotten it.
        let Some(old) = self
            .table
            .find(request.hash, |id| self.slab.has_key(id, draft.key))
        else {
            self.pool.give_list(pages);
            return Ok(false);
        };
        let parts = match mode {
            StoreMode::Prepend => self.prepended(new, old, pages),
            _ => self.appended(new, old, pages),
        };
        self.put(request.hash, draft, parts, Some(old), now).map(|_| true)
    }

    /// A holder of the item's pages, and a copy of its tail.
    pub(super) fn parts(&self, id: ItemId) -> Parts<'static> {
        let value = self.value(&self.slab.item(id));
        Parts {
            chain: Chain::of(value.segments),
            tail: Tail::Owned(value.tail_pieces().collect::<Vec<_>>().concat()),
        }
    }

    /// Whether the new bytes are copied.
    fn is_joined(&self, new: &Parts<'_>) -> bool {
        new.chain.size() <= JOINED_PAGES_MAX * self.pool.page_size()
    }

    /// Pages that it takes to put the new bytes to the old.
    fn pages_to_join(&self, new: &Parts<'_>, mode: StoreMode, old: ItemId) -> usize {
        let page_size = self.pool.page_size();
        let value = self.value(&self.slab.item(old));
        let tail_size: usize = value.tail_pieces().map(<[u8]>::len).sum();
        match (mode, value.segments) {
            // Tails meet new bytes: whole pages of both, and what is left is the new tail.
            (StoreMode::Append, _) | (_, []) if self.is_joined(new) => (new.size() + tail_size) / page_size,
            (StoreMode::Prepend, [first, ..]) if self.is_joined(new) => {
                let sparse = Chain::of(std::slice::from_ref(first)).pop_sparse_front();
                let size = new.size() + sparse.map_or(0, |first| first.size());
                size.div_ceil(page_size)
            }
            (StoreMode::Prepend, _) => usize::from(!new.tail.bytes().is_empty()),
            _ => usize::from(tail_size > 0),
        }
    }

    fn appended(&self, new: Parts<'_>, old: ItemId, pages: PageList) -> Parts<'static> {
        let Parts { mut chain, tail } = self.parts(old);
        if self.is_joined(&new) {
            let mut bytes = [tail.bytes()].concat();
            new.pieces().for_each(|piece| bytes.extend_from_slice(piece));
            return self.with_whole_pages(chain, bytes, pages);
        }
        chain.append(self.chain_of(tail.bytes(), pages));
        chain.append(new.chain);
        Parts {
            chain,
            tail: Tail::Owned(new.tail.bytes().to_vec()),
        }
    }

    fn prepended(&self, new: Parts<'_>, old: ItemId, pages: PageList) -> Parts<'static> {
        let Parts {
            chain: mut later,
            tail,
        } = self.parts(old);
        if !self.is_joined(&new) {
            let mut chain = new.chain;
            chain.append(self.chain_of(new.tail.bytes(), pages));
            chain.append(later);
            return Parts { chain, tail };
        }
        let mut bytes: Vec<u8> = new.pieces().collect::<Vec<_>>().concat();
        if later.is_empty() {
            bytes.extend_from_slice(tail.bytes());
            return self.with_whole_pages(Chain::default(), bytes, pages);
        }
        // Next time these few bytes are copied again, instead of wasting another page.
        if let Some(sparse) = later.pop_sparse_front() {
            sparse.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        }
        let mut chain = self.chain_of(&bytes, pages);
        chain.append(later);
        Parts { chain, tail }
    }

    /// Bytes behind a chain, in as many of these pages as they fill.
    fn with_whole_pages(&self, mut chain: Chain, mut bytes: Vec<u8>, pages: PageList) -> Parts<'static> {
        let whole = pages.len() * self.pool.page_size();
        let tail = bytes.split_off(whole);
        chain.append(self.chain_of(&bytes, pages));
        Parts {
            chain,
            tail: Tail::Owned(tail),
        }
    }

    /// Bytes in pages of their own, which they fill from the end.
    fn chain_of(&self, bytes: &[u8], mut pages: PageList) -> Chain {
        let page_size = self.pool.page_size();
        let start = pages.len() * page_size - bytes.len();
        let mut rest = bytes;
        for (index, page) in pages.iter_mut().enumerate() {
            let from = if index == 0 { start } else { 0 };
            let (now, later) = rest.split_at(page_size - from);
            page[from..].copy_from_slice(now);
            rest = later;
        }
        Chain::new(pages, start, page_size, &self.pool)
    }
}
