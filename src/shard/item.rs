//! The bytes of an item in its chunk.
//!
//! ```text
//! byte 0          4          8          12         14   15   16
//!      +----------+----------+----------+----------+----+----+---- - - - ----+-----+---------------+
//!      | deadline | accessed | cas, low | value    | key|bits| present ones  | key | value         |
//!      |        b |          |          | size     |size|    | of cas high,  |     | (last piece)  |
//!      +----------+----------+----------+----------+----+----+ flags, large  +-----+---------------+
//!
//! b, the highest bit of the deadline: the key was spelled in base64
//!
//! bits  7     6         5         4            3      2        1   0
//!      +-----+---------+---------+------------+------+--------+-------+
//!      |large|wide cas |has flags| token sent |stale |fetched | CLOCK |
//!      +-----+---------+---------+------------+------+--------+-------+
//! ```
//!
//! All numbers are little-endian. Sixteen bytes hold what nearly every item needs; what few items need (client
//! flags other than 0, a cas unique of 2^32 or more, the number of a large value) takes 4 bytes each, only
//! where it is present. A key size of 0 marks a vacant chunk, which holds no item at all.

use crate::command::KEY_SIZE_MAX;
use crate::time::Deadline;

/// The fixed part of an item's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The raw deadline, and [`KEY_IS_BINARY`].
    deadline: u32,
    /// The second of the last access.
    pub(super) accessed: u32,
    cas_low: u32,
    /// Bytes of the value's last piece, which is all of it unless the item is large.
    pub(super) value_size: u16,
    pub(super) key_size: u8,
    pub(super) bits: u8,
}

pub(super) const HEADER_SIZE: usize = 16;
const _: () = assert!(size_of::<Header>() == HEADER_SIZE);
const _: () = assert!(KEY_SIZE_MAX <= u8::MAX as usize);

const KEY_IS_BINARY: u32 = 1 << 31;
const _: () = assert!(Deadline::LIMIT & KEY_IS_BINARY == 0);

/// The CLOCK reference count: hits since the hand came by, saturating.
pub(super) const CLOCK: u8 = 0b11;
pub(super) const FETCHED: u8 = 1 << 2;
pub(super) const STALE: u8 = 1 << 3;
pub(super) const TOKEN_SENT: u8 = 1 << 4;
const HAS_FLAGS: u8 = 1 << 5;
const WIDE_CAS: u8 = 1 << 6;
const LARGE: u8 = 1 << 7;

const OPTION_SIZE: usize = 4;

/// The most that header and options can take.
pub(super) const HEADER_SIZE_MAX: usize = HEADER_SIZE + 3 * OPTION_SIZE;

/// Where the key size lies: 0 there marks a vacant chunk.
const KEY_SIZE_AT: usize = 14;

impl Header {
    /// Reads two words of 8 bytes, as `write` writes them: a load that spans several stores would have to wait
    /// for them.
    pub(super) fn read(chunk: &[u8]) -> Header {
        let words: &[u8; HEADER_SIZE] = chunk.first_chunk().expect("a chunk holds a header");
        let words = u128::from_le_bytes(*words);
        let (first, second) = (words as u64, (words >> 64) as u64);
        Header {
            deadline: first as u32,
            accessed: (first >> 32) as u32,
            cas_low: second as u32,
            value_size: (second >> 32) as u16,
            key_size: (second >> 48) as u8,
            bits: (second >> 56) as u8,
        }
    }

    pub(super) fn write(&self, chunk: &mut [u8]) {
        let bytes: &mut [u8; HEADER_SIZE] = chunk.first_chunk_mut().expect("a chunk holds a header");
        let first = u64::from(self.deadline) | u64::from(self.accessed) << 32;
        let second = u64::from(self.cas_low)
            | u64::from(self.value_size) << 32
            | u64::from(self.key_size) << 48
            | u64::from(self.bits) << 56;
        *bytes = (u128::from(first) | u128::from(second) << 64).to_le_bytes();
    }

    pub(super) fn deadline(&self) -> Deadline {
        Deadline::from_raw(self.deadline & !KEY_IS_BINARY)
    }

    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = self.deadline & KEY_IS_BINARY | deadline.raw();
    }

    pub(super) fn key_is_binary(&self) -> bool {
        self.deadline & KEY_IS_BINARY != 0
    }

    pub(super) fn has(&self, mark: u8) -> bool {
        self.bits & mark != 0
    }

    pub(super) fn set(&mut self, mark: u8, on: bool) {
        self.bits = if on { self.bits | mark } else { self.bits & !mark };
    }

    /// Counts a reference. Saturates, so that the hottest items are not written to.
    pub(super) fn reference(&mut self) {
        if self.bits & CLOCK != CLOCK {
            self.bits += 1;
        }
    }

    /// Where the key begins.
    fn key_at(&self) -> usize {
        HEADER_SIZE + OPTION_SIZE * (self.bits & (HAS_FLAGS | WIDE_CAS | LARGE)).count_ones() as usize
    }

    pub(super) fn is_large(&self) -> bool {
        self.has(LARGE)
    }

    /// Replaces the cas unique where that changes nothing but numbers; false where the item has no field for it.
    pub(super) fn set_cas(&mut self, chunk: &mut [u8], cas: u64) -> bool {
        let high = (cas >> 32) as u32;
        if (high != 0) != self.has(WIDE_CAS) {
            return false;
        }
        self.cas_low = cas as u32;
        if high != 0 {
            chunk[HEADER_SIZE..HEADER_SIZE + OPTION_SIZE].copy_from_slice(&high.to_le_bytes());
        }
        true
    }
}

/// An item as it lies in its chunk. The slice may run on beyond the item.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) header: Header,
    chunk: &'a [u8],
}

impl<'a> Item<'a> {
    pub(super) fn new(chunk: &'a [u8]) -> Item<'a> {
        Item {
            header: Header::read(chunk),
            chunk,
        }
    }

    pub(super) fn key(&self) -> &'a [u8] {
        let at = self.header.key_at();
        &self.chunk[at..at + usize::from(self.header.key_size)]
    }

    /// The value's last piece, which is all of it unless the item is large.
    pub(super) fn value(&self) -> &'a [u8] {
        let at = self.header.key_at() + usize::from(self.header.key_size);
        &self.chunk[at..at + usize::from(self.header.value_size)]
    }

    pub(super) fn cas(&self) -> u64 {
        let high = if self.header.has(WIDE_CAS) {
            self.option(0)
        } else {
            0
        };
        u64::from(high) << 32 | u64::from(self.header.cas_low)
    }

    pub(super) fn flags(&self) -> u32 {
        if self.header.has(HAS_FLAGS) {
            self.option((self.header.bits & WIDE_CAS).count_ones())
        } else {
            0
        }
    }

    /// The number of the item's pages and blocks in the side table.
    pub(super) fn large(&self) -> Option<u32> {
        self.header
            .is_large()
            .then(|| self.option((self.header.bits & (WIDE_CAS | HAS_FLAGS)).count_ones()))
    }

    /// Bytes that the item takes in its chunk.
    pub(super) fn size(&self) -> usize {
        self.header.key_at() + usize::from(self.header.key_size) + usize::from(self.header.value_size)
    }

    fn option(&self, index: u32) -> u32 {
        let at = HEADER_SIZE + OPTION_SIZE * index as usize;
        let bytes = self.chunk[at..]
            .first_chunk()
            .expect("options lie within the chunk");
        u32::from_le_bytes(*bytes)
    }
}

pub(super) fn is_vacant(chunk: &[u8]) -> bool {
    chunk[KEY_SIZE_AT] == 0
}

/// Makes the chunk vacant; `next` is kept in its first bytes.
pub(super) fn vacate(chunk: &mut [u8], next: u16) {
    chunk[..2].copy_from_slice(&next.to_le_bytes());
    chunk[KEY_SIZE_AT] = 0;
}

/// What [`vacate`] kept.
pub(super) fn vacant_next(chunk: &[u8]) -> u16 {
    u16::from_le_bytes([chunk[0], chunk[1]])
}

/// Everything of an item but its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    pub(super) key: &'a [u8],
    pub(super) flags: u32,
    pub(super) deadline: Deadline,
    pub(super) accessed: u32,
    pub(super) cas: u64,
    pub(super) key_is_binary: bool,
    /// Of [`CLOCK`], [`FETCHED`], [`STALE`] and [`TOKEN_SENT`].
    pub(super) marks: u8,
    /// The number of the pages and blocks that hold the most of a large value.
    pub(super) large: Option<u32>,
}

impl Draft<'_> {
    fn options(&self) -> u8 {
        (if self.flags != 0 { HAS_FLAGS } else { 0 })
            | (if self.cas > u64::from(u32::MAX) {
                WIDE_CAS
            } else {
                0
            })
            | (if self.large.is_some() { LARGE } else { 0 })
    }

    /// Bytes of the chunk that this item takes with so many bytes of value in it.
    pub(super) fn size(&self, value_size: usize) -> usize {
        HEADER_SIZE + OPTION_SIZE * self.options().count_ones() as usize + self.key.len() + value_size
    }

    /// Writes the item. The chunk holds at least `size(value.len())` bytes.
    pub(super) fn write(&self, chunk: &mut [u8], value: &[u8]) {
        let header = Header {
            deadline: self.deadline.raw() | if self.key_is_binary { KEY_IS_BINARY } else { 0 },
            accessed: self.accessed,
            cas_low: self.cas as u32,
            value_size: value.len() as u16,
            key_size: self.key.len() as u8,
            bits: self.options() | self.marks,
        };
        debug_assert!(value.len() <= usize::from(u16::MAX) && !self.key.is_empty());
        header.write(chunk);
        let mut at = HEADER_SIZE;
        let mut put = |bytes: &[u8]| {
            chunk[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if header.has(WIDE_CAS) {
            put(&((self.cas >> 32) as u32).to_le_bytes());
        }
        if header.has(HAS_FLAGS) {
            put(&self.flags.to_le_bytes());
        }
        if let Some(large) = self.large {
            put(&large.to_le_bytes());
        }
        put(self.key);
        put(value);
    }
}

/// Overwrites the number of a value in place: the text, then blanks to the value's old end.
pub(super) fn overwrite_value(chunk: &mut [u8], text: &[u8]) {
    let header = Header::read(chunk);
    let at = header.key_at() + usize::from(header.key_size);
    let value = &mut chunk[at..at + usize::from(header.value_size)];
    let (number, blanks) = value.split_at_mut(text.len());
    number.copy_from_slice(text);
    blanks.fill(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_reads_back_with_every_combination_of_options() {
        for flags in [0, 7, u32::MAX] {
            for cas in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX] {
                for large in [None, Some(0), Some(9)] {
                    for key_is_binary in [false, true] {
                        let draft = Draft {
                            key: b"key",
                            flags,
                            deadline: Deadline::from_raw(Deadline::LIMIT),
                            accessed: 77,
                            cas,
                            key_is_binary,
                            marks: FETCHED | TOKEN_SENT | 2,
                            large,
                        };
                        let mut chunk = [0xaa; 64];
                        draft.write(&mut chunk, b"value");
                        let item = Item::new(&chunk);
                        assert_eq!((item.key(), item.value()), (&b"key"[..], &b"value"[..]));
                        assert_eq!((item.flags(), item.cas(), item.large()), (flags, cas, large));
                        assert_eq!(item.header.key_is_binary(), key_is_binary);
                        assert_eq!(item.header.deadline().raw(), Deadline::LIMIT);
                        assert_eq!(item.header.bits & 0b11111, FETCHED | TOKEN_SENT | 2);
                        assert_eq!(item.size(), draft.size(5));
                        assert!(chunk[item.size()..].iter().all(|&byte| byte == 0xaa));
                        assert!(!is_vacant(&chunk));
                    }
                }
            }
        }
    }
}
