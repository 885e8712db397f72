//! The words shared by wire and cache: what a client asks of one key, and what the cache answers.
//!
//! No behaviour lives here. `protocol` turns bytes into a [`Request`] and a [`Reply`] into bytes; `shard` turns a
//! [`Request`] into a [`Reply`]. Neither knows the other. All three dialects (classic, meta, binary) make the same
//! requests; the meta protocol is the richest, so its options decide what an operation can say.

use std::sync::Arc;

use crate::hash::KeyHash;
use crate::memory::{Block, Page, Segment};
use crate::time::Exptime;

/// Longest key, in bytes. Keys are 1 to 250 bytes of any value; their spelling is `protocol`'s affair.
pub const KEY_SIZE_MAX: usize = 250;

/// What a client asks of one key. Borrows the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub key: &'a [u8],
    /// The hash of `key`.
    pub hash: KeyHash,
    /// The value of a store; empty for every other operation, and for a store whose value arrives apart.
    pub value: &'a [u8],
    pub operation: Operation,
}

/// The verb and its options: plain data, so that it can travel between cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Get(Get),
    /// A new exptime, without reading the value.
    Touch(Exptime),
    Store(Store),
    Delete(Delete),
    Count(Count),
    /// The item's bookkeeping, without touching it (`me`).
    Inspect,
}

/// `get`, `gets`, `gat`, `gats`, `mg` and binary Get and GAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Get {
    /// The new exptime of gat and of mg's T. Such a get counts as a touch in the statistics.
    pub touch: Option<Exptime>,
    /// False for mg's u: no access time, no fetched mark, no CLOCK reference.
    pub bump: bool,
    /// Present for mg only: the reader takes part in stale, win and recache marks.
    pub tokens: Option<Tokens>,
}

impl Get {
    /// A classic get.
    pub const PLAIN: Get = Get {
        touch: None,
        bump: true,
        tokens: None,
    };
}

/// What a meta get may win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// N: on a miss create an empty item with this exptime; its first reader wins.
    pub vivify: Option<Exptime>,
    /// E: the cas unique of the item that `vivify` creates.
    pub vivify_cas: Option<u64>,
    /// R: win when fewer seconds than this are left (and the item has a deadline).
    pub recache_below: Option<i32>,
    /// b: a vivified item remembers that its key was spelled in base64.
    pub key_is_binary: bool,
}

/// `set`, `add`, `replace`, `append`, `prepend`, `cas`, `ms` and their binary forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    pub mode: StoreMode,
    /// Client flags. Append and prepend keep the item's.
    pub flags: u32,
    /// Append and prepend keep the item's, unless they vivify.
    pub exptime: Exptime,
    /// Store only if the item has this cas unique. Add ignores it. For set and replace a missing item is
    /// NotFound; for append and prepend it is NotStored. What 0 means is for `protocol` to say: here
    /// `Some(0)` is a comparison that no item passes.
    pub cas_compare: Option<u64>,
    /// ms E: the cas unique to give, instead of a fresh one.
    pub cas_new: Option<u64>,
    /// ms I: with `cas_compare` below the item's cas unique, store and mark as stale.
    pub invalidate: bool,
    /// ms N: append and prepend on a miss create the item with this exptime and `flags`.
    pub vivify: Option<Exptime>,
    /// A refused store (too large, no memory) removes the item it was to replace, lest it be stale: true for
    /// every set and for every ms.
    pub refusal_removes: bool,
    /// ms b: the key was spelled in base64, which the item remembers.
    pub key_is_binary: bool,
}

impl Store {
    /// A plain store without options.
    pub const fn new(mode: StoreMode, flags: u32, exptime: Exptime) -> Store {
        Store {
            mode,
            flags,
            exptime,
            cas_compare: None,
            cas_new: None,
            invalidate: false,
            vivify: None,
            refusal_removes: matches!(mode, StoreMode::Set),
            key_is_binary: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// `delete`, `md` and binary Delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    pub cas_compare: Option<u64>,
    /// md E: the cas unique that a kept item gets (I, x).
    pub cas_new: Option<u64>,
    /// md I: keep the item, mark it as stale.
    pub invalidate: bool,
    /// md T: the new exptime of an item that is kept.
    pub exptime: Option<Exptime>,
    /// md x: keep the item, drop its value. Its flags become these, its exptime `exptime` or never.
    pub empty: Option<EmptyFlags>,
}

/// The client flags that md x leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyFlags(pub u32);

/// `incr`, `decr`, `ma` and binary Increment and Decrement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub direction: Direction,
    pub delta: u64,
    /// `None` is no comparison.
    pub cas_compare: Option<u64>,
    pub cas_new: Option<u64>,
    /// ma T: the new exptime.
    pub touch: Option<Exptime>,
    /// On a miss create the item with this number and exptime; no delta is applied.
    pub vivify: Option<(u64, Exptime)>,
    pub key_is_binary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// What the cache answers. Borrows the item: a reply must be written before the shard is touched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To Get and Inspect.
    Hit(Hit<'a>),
    /// To Get and Inspect: no such item.
    Miss,
    /// To Touch.
    Touched { flags: u32, cas: u64 },
    /// To Store. `value_size` is that of the item now (after an append, of the whole).
    Stored {
        cas: u64,
        value_size: u32,
        key_is_binary: bool,
    },
    /// To Store: add found an item; replace, append or prepend found none.
    NotStored,
    /// To Store, Delete and Count: another cas unique than `cas_compare`.
    Exists,
    /// To Touch, Delete, Count and to a Store that compares: no such item.
    NotFound,
    /// To Delete. Also when the item was kept, as stale or empty.
    Deleted,
    /// To Count.
    Counted(Counted),
    /// To Count: the value is no number.
    NotNumeric,
    /// To Store: larger than `item_size_max`.
    TooLarge,
    /// To Store, Count and a vivifying Get: nothing can be evicted.
    NoMemory,
}

/// An item that was found. Times and marks are those *before* this request, unless the name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    pub key: &'a [u8],
    pub value: Value<'a>,
    pub flags: u32,
    pub cas: u64,
    /// Seconds left before this request; `None` is never.
    pub left_before: Option<i64>,
    /// Seconds left after it (they differ where the get touches).
    pub left_after: Option<i64>,
    /// Seconds since the last access.
    pub idle: u32,
    pub fetched: bool,
    pub key_is_binary: bool,
    /// W: this reader is the one who should recache.
    pub won: bool,
    /// X
    pub stale: bool,
    /// Z: another reader has won already.
    pub token_sent: bool,
    /// True if this very request created the item (mg N).
    pub vivified: bool,
    /// The slab class, 1 to 63 for display.
    pub class: u8,
    /// Header, key, value and all: what the item takes, before rounding.
    pub item_size: u32,
}

/// A counter after a Count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub number: u64,
    pub cas: u64,
    pub flags: u32,
    pub left_before: Option<i64>,
    pub left_after: Option<i64>,
    pub key_is_binary: bool,
}

/// The bytes of a value, in one piece or in several. A large value lies in pages, which may be held on to
/// ([`crate::memory::Chain::of`]), then in blocks of pages shared with others, then in its item.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// What lies in pages, if anything.
    pub segments: &'a [Arc<Segment>],
    /// What follows in blocks, of these pages.
    blocks: &'a [Block],
    block_pages: &'a [Page],
    /// The last piece, which is the whole value unless it is large.
    last: &'a [u8],
}

impl<'a> Value<'a> {
    /// A value in one piece.
    pub const fn whole(bytes: &'a [u8]) -> Value<'a> {
        Value {
            segments: &[],
            blocks: &[],
            block_pages: &[],
            last: bytes,
        }
    }

    /// A value in several pieces.
    pub fn large(
        segments: &'a [Arc<Segment>],
        blocks: &'a [Block],
        block_pages: &'a [Page],
        last: &'a [u8],
    ) -> Value<'a> {
        Value {
            segments,
            blocks,
            block_pages,
            last,
        }
    }

    /// Bytes in all pieces together.
    pub fn size(&self) -> usize {
        let in_blocks: usize = match self.blocks {
            [] => 0,
            [block, ..] => block.bytes(self.block_pages).len() * self.blocks.len(),
        };
        let in_pages: usize = self.segments.iter().map(|segment| segment.size()).sum();
        in_pages + in_blocks + self.last.len()
    }

    /// Appends all pieces.
    pub fn put(&self, out: &mut Vec<u8>) {
        // Most values are in one.
        if self.segments.is_empty() && self.blocks.is_empty() {
            return out.extend_from_slice(self.last);
        }
        self.pieces().for_each(|piece| out.extend_from_slice(piece));
    }

    /// All pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let in_pages = self.segments.iter().flat_map(|segment| segment.pieces());
        in_pages.chain(self.tail_pieces())
    }

    /// The pieces behind those in pages: less than a page together.
    pub fn tail_pieces(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let pages = self.block_pages;
        let in_blocks = self.blocks.iter().map(move |block| block.bytes(pages));
        in_blocks.chain(std::iter::once(self.last))
    }

    /// The value, copied together.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Value<'_> {}
