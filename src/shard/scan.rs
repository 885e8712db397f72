//! Walks over all items, a slice at a time: for dumps of keys and for statistics of sizes.
//!
//! The walk goes through the table, piece by piece, because an item stays in its piece whatever becomes of its memory.
//! A slice takes whole pieces; one has at most some thousand items ([`super::table`]), so that a slice is
//! short. An item that is there for the whole walk is seen exactly once.

use super::Shard;
use super::item::FETCHED;
use crate::time::{Now, Seconds};

/// Items after which a slice takes no further piece.
const ITEMS_PER_SLICE: usize = 512;

/// Pieces, empty ones mostly, in one slice.
const PIECES_PER_SLICE: usize = 1024;

/// An item as a walk sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub key: &'a [u8],
    pub key_is_binary: bool,
    pub value_size: usize,
    /// Seconds left; `None` is never.
    pub left: Option<i64>,
    /// Seconds since the last access.
    pub idle: u32,
    pub cas: u64,
    pub flags: u32,
    pub fetched: bool,
    /// The band, 1 to 63.
    pub class: u8,
    /// Header, key and value.
    pub item_size: usize,
}

impl Shard {
    /// Calls `see` for the live items of one slice, which begins at the piece `from`; returns where the next one
    /// begins, or `None` at the end.
    pub fn scan(&self, from: usize, now: Now, mut see: impl FnMut(&Seen<'_>)) -> Option<usize> {
        let mut items = 0;
        let last = self.table.pieces().min(from + PIECES_PER_SLICE);
        for piece in from..last {
            for id in self.table.piece_items(piece) {
                items += 1;
                if self.is_gone(id, now.seconds) {
                    continue;
                }
                let item = self.slab.item(id);
                see(&Seen {
                    key: item.key(),
                    key_is_binary: item.header.key_is_binary(),
                    value_size: self.value(&item).size(),
                    left: item.header.deadline().left(now.seconds),
                    idle: now.seconds.since(Seconds(item.header.accessed)),
                    cas: item.cas(),
                    flags: item.flags(),
                    fetched: item.header.has(FETCHED),
                    class: self.band(&item, self.slab.class_of(id)),
                    item_size: self.size(&item),
                });
            }
            if items >= ITEMS_PER_SLICE {
                return Some(piece + 1).filter(|&next| next < self.table.pieces());
            }
        }
        Some(last).filter(|&next| next < self.table.pieces())
    }
}
