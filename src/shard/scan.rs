//! Looking at items without touching them: walks over all, a slice at a time, for dumps of keys and for statistics of
//! sizes; and a glance at one.
//!
//! The walk goes through the table, piece by piece, because an item stays in its piece whatever becomes of its memory.
//! A slice takes whole pieces; one has at most some thousand items ([`super::table`]), so that a slice is
//! short. An item that is there for the whole walk is seen exactly once.

use super::Shard;
use super::item::{self, FETCHED};
use crate::command::Request;
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

/// What stands under a key, live or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    pub is_flushed: bool,
    pub has_expired: bool,
    /// The band, 1 to 63.
    pub class: u8,
    pub value_size: usize,
    /// Seconds left; `None` is never.
    pub left: Option<i64>,
}

impl Shard {
    /// What a request would find now. Nothing is counted, marked or removed.
    pub fn glance(&mut self, request: &Request<'_>, now: Now) -> Option<Glance> {
        self.advance(now);
        let id = self
            .table
            .find(request.hash, |id| self.slab.has_key(id, request.key))?;
        let item = self.slab.item(id);
        let deadline = item.header.deadline();
        Some(Glance {
            is_flushed: self.slab.is_flushed(id),
            has_expired: deadline.has_passed(now.seconds),
            class: self.band(&item, self.slab.class_of(id)),
            value_size: self.value(&item).size(),
            left: deadline.left(now.seconds),
        })
    }

    /// The band, 1 to 63, that an item with this key and so large a value would be in.
    pub fn class_for(&self, key: &[u8], value_size: usize) -> u8 {
        self.band_number(item::HEADER_SIZE + key.len() + value_size)
    }

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
