//! Fingerprints of what probation forgot lately.
//!
//! An item that is stored again soon after it was evicted from probation was evicted too soon: it goes straight to
//! main. Without this memory a new item must be asked for again before the hand has gone through the small
//! probation ring, and workloads whose items return a little later than that lose badly.
//!
//! A set of 32 fingerprints of 16 bits fills a cache line; in a full set the oldest gives way. A fingerprint that
//! another key shares (32 in 65,536 lookups) does no more harm than one undeserved place in main.

use crate::hash::KeyHash;

const WAYS: usize = 32;
type Set = [u16; WAYS];

/// A fingerprint that stands for no key.
const EMPTY: u16 = 0;

/// Sets that are made or freed together, so that no insert makes or frees much.
const BLOCK_SETS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// In each set the newest comes first, and empty places last.
    blocks: Vec<Box<[Set; BLOCK_SETS]>>,
    /// Sets in use, fewer than there are while blocks are being made or freed.
    sets: usize,
}

impl Ghosts {
    /// Remembers a key. The memory is as long as nine tenths of the items that the shard holds: it grows and shrinks
    /// with them, by at most a block per call. In its new length most of what it held is not found any more, which
    /// is rare since a shard that evicts is full.
    pub(super) fn insert(&mut self, hash: KeyHash, items: usize) {
        let wanted = (items * 9 / 10).div_ceil(WAYS).max(1);
        if wanted * 2 < self.sets {
            self.sets = wanted;
        }
        if wanted > self.sets * 2 {
            let blocks = wanted.div_ceil(BLOCK_SETS);
            if self.blocks.len() < blocks {
                self.blocks.push(Box::new([[EMPTY; WAYS]; BLOCK_SETS]));
            }
            if self.blocks.len() < blocks && self.sets == 0 {
                return;
            }
            if self.blocks.len() >= blocks {
                self.sets = wanted;
            }
        } else if self.blocks.len() > self.sets.div_ceil(BLOCK_SETS) {
            self.blocks.pop();
        }
        let (block, index, fingerprint) = self.place(hash);
        let set = &mut self.blocks[block][index];
        set.copy_within(..WAYS - 1, 1);
        set[0] = fingerprint;
    }

    /// Whether the key is remembered; if so, forgets it.
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        if self.sets == 0 {
            return false;
        }
        let (block, index, fingerprint) = self.place(hash);
        let set = &mut self.blocks[block][index];
        // All ways are compared, without a way out of the loop: so the compiler does it in a few instructions.
        let equal = set.iter().enumerate().fold(0u32, |equal, (way, &other)| {
            equal | u32::from(other == fingerprint) << way
        });
        if equal == 0 {
            return false;
        }
        let way = equal.trailing_zeros() as usize;
        set.copy_within(way + 1.., way);
        set[WAYS - 1] = EMPTY;
        true
    }

    /// Bytes of all fingerprints.
    pub(super) fn size(&self) -> usize {
        self.blocks.len() * size_of::<[Set; BLOCK_SETS]>()
    }

    fn place(&self, hash: KeyHash) -> (usize, usize, u16) {
        // The bits that choose owner and piece are the same for many keys of a shard: mix them all.
        let mixed = hash.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (((mixed >> 32) * self.sets as u64) >> 32) as usize;
        (
            index / BLOCK_SETS,
            index % BLOCK_SETS,
            (mixed as u16).max(EMPTY + 1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeySeed;

    #[test]
    fn the_last_keys_are_remembered_once() {
        let seed = KeySeed::fixed(1);
        let hash = |index: u32| seed.hash(&index.to_le_bytes());
        let mut ghosts = Ghosts::default();
        for index in 0..30_000 {
            ghosts.insert(hash(index), 10_000);
        }
        let taken = |ghosts: &mut Ghosts, range: std::ops::Range<u32>| {
            range.filter(|&index| ghosts.take(hash(index))).count()
        };
        assert!(taken(&mut ghosts, 0..10_000) < 600, "long forgotten");
        assert!(
            taken(&mut ghosts, 24_000..30_000) > 5_700,
            "sets fill unevenly, but not by much"
        );
        assert!(taken(&mut ghosts, 24_000..30_000) < 60, "taken once");
    }

    #[test]
    fn the_memory_follows_the_number_of_items_a_block_at_a_time() {
        let seed = KeySeed::fixed(1);
        let mut ghosts = Ghosts::default();
        for items in [1_000_000, 10, 100_000, 0] {
            for index in 0..500u32 {
                let size = ghosts.size();
                ghosts.insert(seed.hash(&index.to_le_bytes()), items);
                assert!(ghosts.size().abs_diff(size) <= size_of::<[Set; BLOCK_SETS]>());
            }
            let least = items * 9 / 10 * size_of::<u16>();
            assert!(ghosts.size() >= least && ghosts.size() <= least + size_of::<[Set; BLOCK_SETS]>());
            assert!(ghosts.take(seed.hash(&499u32.to_le_bytes())));
        }
    }
}
