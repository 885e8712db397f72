//! Where each key's item lies: many small hash tables, so that growing one is short.
//!
//! A hashbrown table that grows reads the key of every item it holds, one cache miss each. So no table may become
//! large: a shard has so many *pieces*, chosen by hash bits of their own, that a piece grows to about 4,096 buckets
//! when the whole memory is full of small items. An entry is 4 bytes and the table's tag byte; a lookup of a missing
//! key touches no item in 127 of 128 cases.
//!
//! The pieces have unequal parts of the keys: the largest has twice the smallest's. So they do not double all at once:
//! their load is the same mixture however many items there are, and what one piece leaves the next one takes.

use hashbrown::HashTable;

use super::prefetch::prefetch;
use super::slab::ItemId;
use crate::hash::{KeyHash, PIECES_MAX};

/// What the largest piece holds when the shard is full of the smallest items: seven eighths of 4,096 buckets.
const PIECE_ITEMS: usize = 3584;

/// What a small item with its key and value takes at the least, for the number of pieces.
const SMALL_ITEM_SIZE: usize = 40;

/// Smaller pieces grow by themselves, in no time.
const BUCKETS_MIN: usize = 16;

/// Items that are fetched before the first of them is looked at.
const FETCHED_AHEAD: usize = 16;

/// A piece is cleared instead of grown if that gains one place in so many items: seldom enough.
const MARKS_PART: usize = 32;

/// A piece that has room for so many times its items gives the better part of it back: values have become larger.
const SPARSE: usize = 8;

pub(super) struct Table {
    /// A power of two of them.
    pieces: Box<[HashTable<ItemId>]>,
}

impl Table {
    /// A table for a shard that may come to hold this many bytes of items.
    pub(super) fn new(budget_bytes: usize) -> Table {
        // The largest piece has half as many again as the mean.
        let pieces = budget_bytes / SMALL_ITEM_SIZE * 3 / 2 / PIECE_ITEMS;
        let pieces = pieces.next_power_of_two().clamp(1, PIECES_MAX);
        Table {
            pieces: (0..pieces).map(|_| HashTable::new()).collect(),
        }
    }

    /// With `x` for the hash from 0 to 1 and `n` pieces it is `n x (4 - x) / 3`, whose slope falls from 4/3 to 2/3.
    fn piece(&self, hash: KeyHash) -> usize {
        let x = hash.piece(PIECES_MAX);
        let skewed = x * (4 * PIECES_MAX - x) / (3 * PIECES_MAX);
        skewed * self.pieces.len() / PIECES_MAX
    }

    pub(super) fn find(&self, hash: KeyHash, mut is_it: impl FnMut(ItemId) -> bool) -> Option<ItemId> {
        self.pieces[self.piece(hash)]
            .find(hash.bits(), |&id| is_it(id))
            .copied()
    }

    /// Fetches the places where an item of this hash may be named into the cache.
    pub(super) fn prefetch(&self, hash: KeyHash) {
        self.pieces[self.piece(hash)].find(hash.bits(), |id| {
            prefetch(id);
            false
        });
    }

    /// Adds an item whose key is not in the table, and returns by how many bytes the table grew, or shrank. When its piece
    /// has no room, or far too much, `hash_of` hashes the keys of the items in it, each some time after `fetch` has fetched
    /// it.
    pub(super) fn insert(
        &mut self,
        hash: KeyHash,
        id: ItemId,
        hash_of: impl Fn(ItemId) -> KeyHash,
        fetch: impl Fn(ItemId),
    ) -> isize {
        let piece = self.piece(hash);
        let piece = &mut self.pieces[piece];
        let size = piece.allocation_size();
        if piece.len() == piece.capacity() || piece.len() < piece.capacity() / SPARSE {
            fit(piece, &hash_of, fetch);
        }
        piece.insert_unique(hash.bits(), id, |&id| hash_of(id).bits());
        piece.allocation_size() as isize - size as isize
    }

    /// The item `old`, which is in the table, now lies at `new`.
    pub(super) fn replace(&mut self, hash: KeyHash, old: ItemId, new: ItemId) {
        let piece = self.piece(hash);
        let entry = self.pieces[piece].find_mut(hash.bits(), |&id| id == old);
        *entry.expect("the item is in the table") = new;
    }

    pub(super) fn remove(&mut self, hash: KeyHash, id: ItemId) {
        let piece = self.piece(hash);
        let entry = self.pieces[piece].find_entry(hash.bits(), |&other| other == id);
        entry.expect("the item is in the table").remove();
    }

    /// How many pieces there are.
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn piece_items(&self, piece: usize) -> impl Iterator<Item = ItemId> {
        self.pieces[piece].iter().copied()
    }

    pub(super) fn count(&self) -> usize {
        self.pieces.iter().map(HashTable::len).sum()
    }

    /// Bytes that the pieces take from the system.
    pub(super) fn size(&self) -> usize {
        let pieces = self.pieces.iter().map(HashTable::allocation_size);
        size_of_val(&*self.pieces) + pieces.sum::<usize>()
    }
}

/// Makes a piece as large as its items need: cuts one that is nearly empty, clears another of the marks that removed items
/// leave, where that is enough to go on, and doubles it otherwise.
///
/// Left to itself the piece would grow as soon as more than half of its places are items, and in a shard that forgets as
/// much as it stores every piece would: 12.5 bytes per item instead of less than 9 in a full shard of items of 80 bytes.
/// And it would wait for one item after the other, where here several are on their way.
#[cold]
fn fit(piece: &mut HashTable<ItemId>, hash_of: &impl Fn(ItemId) -> KeyHash, fetch: impl Fn(ItemId)) {
    if piece.num_buckets() < BUCKETS_MIN {
        return;
    }
    let mut places = piece.num_buckets() / 8 * 7;
    if piece.len() < piece.capacity() / SPARSE {
        places = piece.len() * 2;
    } else if piece.len() + piece.len() / MARKS_PART > places {
        places *= 2;
    }
    let ids: Vec<ItemId> = piece.drain().collect();
    let mut roomy = HashTable::with_capacity(places);
    ids.iter().take(FETCHED_AHEAD).for_each(|&id| fetch(id));
    for (index, &id) in ids.iter().enumerate() {
        if let Some(&later) = ids.get(index + FETCHED_AHEAD) {
            fetch(later);
        }
        roomy.insert_unique(hash_of(id).bits(), id, |&id| hash_of(id).bits());
    }
    *piece = roomy;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeySeed;
    use std::num::NonZeroU32;
    use std::ops::Range;

    #[test]
    fn the_largest_piece_has_twice_the_smallests_keys() {
        let seed = KeySeed::fixed(5);
        let table = Table::new(16 << 20);
        let mut counts = vec![0u32; table.pieces()];
        for number in 0..800_000u32 {
            counts[table.piece(seed.hash(&number.to_le_bytes()))] += 1;
        }
        let mean = 800_000.0 / counts.len() as f64;
        let part = |piece: usize| f64::from(counts[piece]) / mean;
        assert!((part(0) - 0.75).abs() < 0.05, "{}", part(0));
        let last = part(counts.len() - 1);
        assert!((last - 1.5).abs() < 0.05, "{last}");
    }

    fn hash_of(id: ItemId) -> KeyHash {
        KeySeed::fixed(5).hash(&id.raw().get().to_le_bytes())
    }

    fn id(number: u32) -> ItemId {
        ItemId::from_raw(NonZeroU32::new(number).expect("from 1"))
    }

    /// Items come, by number, and the oldest go so that `held` are left; returns the size of the table.
    fn come_and_go(table: &mut Table, numbers: Range<u32>, held: u32) -> usize {
        let mut size = table.size();
        for number in numbers.clone() {
            let changed = table.insert(hash_of(id(number)), id(number), hash_of, |_| ());
            size = size.strict_add_signed(changed);
            while table.count() > held as usize {
                let oldest = id(number + 1 - table.count() as u32);
                table.remove(hash_of(oldest), oldest);
            }
        }
        assert_eq!((held as usize, size), (table.count(), table.size()));
        for number in numbers.end - held..numbers.end {
            let found = table.find(hash_of(id(number)), |other| other == id(number));
            assert_eq!(Some(id(number)), found);
        }
        size
    }

    #[test]
    fn a_table_does_not_grow_by_what_was_removed() {
        let mut table = Table::new(0);
        let size = come_and_go(&mut table, 1..1501, 1500);
        assert_eq!(size, come_and_go(&mut table, 1501..200_000, 1500));
    }

    /// Values become larger, so there are fewer items.
    #[test]
    fn a_table_shrinks_with_the_number_of_its_items() {
        let mut table = Table::new(16 << 20);
        let size = come_and_go(&mut table, 1..200_000, 100_000);
        assert!(come_and_go(&mut table, 200_000..220_000, 5000) < size / 4);
    }
}
