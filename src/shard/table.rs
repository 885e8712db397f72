//! Where each key's item lies: many small hash tables, so that growing one is short.
//!
//! A hashbrown table that grows reads the key of every item it holds, one cache miss each. So no table may become
//! large: a shard has so many *pieces*, chosen by hash bits of their own, that a piece grows to about 4,096 buckets
//! when the whole memory is full of small items. An entry is 4 bytes and the table's tag byte; a lookup of a missing
//! key touches no item in 127 of 128 cases.

use hashbrown::HashTable;

use super::slab::ItemId;
use crate::hash::{KeyHash, PIECES_MAX};

/// What a piece holds when the shard is full of the smallest items: seven eighths of 4,096 buckets.
const PIECE_ITEMS: usize = 3584;

/// What a small item with its key and value takes at the least, for the number of pieces.
const SMALL_ITEM_SIZE: usize = 40;

/// A piece is cleared instead of grown if that gains one place in so many items: seldom enough.
const MARKS_PART: usize = 8;

pub(super) struct Table {
    /// A power of two of them.
    pieces: Box<[HashTable<ItemId>]>,
}

impl Table {
    /// A table for a shard that may come to hold this many bytes of items.
    pub(super) fn new(budget_bytes: usize) -> Table {
        let pieces = budget_bytes / SMALL_ITEM_SIZE / PIECE_ITEMS;
        let pieces = pieces.next_power_of_two().clamp(1, PIECES_MAX);
        Table {
            pieces: (0..pieces).map(|_| HashTable::new()).collect(),
        }
    }

    fn piece(&self, hash: KeyHash) -> usize {
        hash.piece(self.pieces.len())
    }

    pub(super) fn find(&self, hash: KeyHash, mut is_it: impl FnMut(ItemId) -> bool) -> Option<ItemId> {
        self.pieces[self.piece(hash)]
            .find(hash.bits(), |&id| is_it(id))
            .copied()
    }

    /// Adds an item whose key is not in the table, and returns by how many bytes the table grew. `hash_of` hashes
    /// the key of an item, when the piece grows.
    pub(super) fn insert(&mut self, hash: KeyHash, id: ItemId, hash_of: impl Fn(ItemId) -> KeyHash) -> usize {
        let piece = &mut self.pieces[hash.piece(self.pieces.len())];
        let size = piece.allocation_size();
        if piece.len() == piece.capacity() {
            make_room(piece, &hash_of);
        }
        piece.insert_unique(hash.bits(), id, |&id| hash_of(id).bits());
        piece.allocation_size() - size
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

/// Clears a piece of the marks that removed items leave, where that is enough to go on without growing.
///
/// Left to itself the piece would grow as soon as more than half of its places are items, and in a shard that forgets as
/// much as it stores every piece would: 12.5 bytes per item instead of 6.3 in a full shard of items of 80 bytes.
#[cold]
fn make_room(piece: &mut HashTable<ItemId>, hash_of: &impl Fn(ItemId) -> KeyHash) {
    let places = piece.num_buckets() / 8 * 7;
    if piece.len() + piece.len() / MARKS_PART > places {
        return;
    }
    let mut cleared = HashTable::with_capacity(places);
    for id in piece.drain() {
        cleared.insert_unique(hash_of(id).bits(), id, |&id| hash_of(id).bits());
    }
    *piece = cleared;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeySeed;
    use std::num::NonZeroU32;

    /// Items come and go, their number stays: so does the table.
    #[test]
    fn a_table_does_not_grow_by_what_was_removed() {
        let seed = KeySeed::fixed(5);
        let hash_of = |id: ItemId| seed.hash(&id.raw().get().to_le_bytes());
        let id = |number: u32| ItemId::from_raw(NonZeroU32::new(number).expect("from 1"));
        let mut table = Table::new(0);
        let count = 1500;
        let mut size = 0;
        for number in 1..200_000 {
            table.insert(hash_of(id(number)), id(number), hash_of);
            if number > count {
                table.remove(hash_of(id(number - count)), id(number - count));
            }
            if number == count {
                size = table.size();
            }
        }
        assert_eq!((table.count(), table.size()), (count as usize, size));
        for number in 200_000 - count..200_000 {
            assert!(
                table
                    .find(hash_of(id(number)), |other| other == id(number))
                    .is_some()
            );
        }
    }
}
