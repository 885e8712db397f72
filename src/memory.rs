//! Pages of item memory and the one budget that all shards take them from.
//!
//! A page is owned by exactly one holder at a time: the pool, a shard's slab, a large value, or a value that is
//! just arriving. So "whose memory is this" is a question for the borrow checker, and a page may travel
//! between cores.

use std::ops::{Deref, DerefMut};

/// The bytes of one page.
#[derive(Debug)]
pub struct Page(Box<[u8]>);

impl Deref for Page {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
