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
