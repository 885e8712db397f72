//! Eighths of pages, for values that are too large for a chunk and do not fill a page.

use super::Page;

/// Blocks in a page.
pub const BLOCKS_PER_PAGE: usize = 8;

/// Names a block among the pages of its shard's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u32);

impl Block {
    pub fn new(page: u32, index: usize) -> Block {
        Block(page * BLOCKS_PER_PAGE as u32 + index as u32)
    }

    /// The number of its page.
    pub fn page(self) -> usize {
        self.0 as usize / BLOCKS_PER_PAGE
    }

    /// Which of its page's blocks it is.
    pub fn index(self) -> usize {
        self.0 as usize % BLOCKS_PER_PAGE
    }

    /// Its bytes in these pages.
    pub fn bytes(self, pages: &[Page]) -> &[u8] {
        let page = &pages[self.page()];
        let size = page.len() / BLOCKS_PER_PAGE;
        &page[self.index() * size..][..size]
    }
}
