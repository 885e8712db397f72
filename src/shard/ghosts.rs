//! Fingerprints of what probation forgot lately.
//!
//! An item that is stored again soon after it was evicted from probation was evicted too soon: it goes straight to
//! main. Without this memory a new item must be asked for again before the hand has gone through the small
//! probation ring, and workloads whose items return a little later than that lose badly.
//!
//! A set of 32 fingerprints of 16 bits fills a cache line; the oldest gives way to each new one. A fingerprint that
//! another key shares (32 in 65,536 lookups) does no more harm than one undeserved place in main. One that was taken
//! leaves its place empty: how long a key is remembered is a number of evictions, however many keys come back. (Were
//! the others to move up, keys would be remembered the longer the more of them return.)

use crate::hash::KeyHash;

const WAYS: usize = 32;

/// A line of the processor's cache.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([u16; WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

/// A fingerprint that stands for no key.
const EMPTY: u16 = 0;

/// Sets that are made or freed together, so that no insert makes or frees much.
const BLOCK_SETS: usize = 256;

/// Sets are so many that they can be halved a few times.
const SETS_MULTIPLE_MAX: usize = 64;

/// For that, their number is rounded up by less than this part of it: keys that are remembered for longer than they should
/// be cost misses, too.
const ROUNDED_UP_PART: usize = 16;

/// Pairs of sets that an insert merges while the memory is being halved.
const MERGES_PER_INSERT: usize = 4;

/// A memory that is longer than this many times what is wanted is cut at once: the shard was flushed.
const CUT_AT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// In each set the newer comes first, with empty places between.
    blocks: Vec<Box<[Set; BLOCK_SETS]>>,
    /// Sets in use, fewer than there are while blocks are being made or freed.
    sets: usize,
    /// While the memory is being halved: so many pairs of sets are one set now, at their index divided by two.
    merged: usize,
}

impl Ghosts {
    /// Remembers a key. The memory has nine tenths as many places as the shard holds items: it grows and shrinks
    /// with them, by at most a block per call. When it grows, most of what it held is not found any more, which is
    /// rare since a shard that evicts is full. Halving it, when items become larger, keeps the younger half.
    pub(super) fn insert(&mut self, hash: KeyHash, items: usize) {
        let places = (items * 9 / 10).max(1);
        let wanted = places.div_ceil(WAYS);
        let multiple = 1 << (wanted / ROUNDED_UP_PART).max(1).ilog2();
        let rounded = wanted.next_multiple_of(SETS_MULTIPLE_MAX.min(multiple));
        if wanted * CUT_AT < self.sets {
            (self.sets, self.merged) = (rounded, 0);
        } else if self.merged > 0 || wanted * 2 < self.sets {
            self.halve(rounded);
        }
        if wanted > self.sets * 2 {
            let blocks = rounded.div_ceil(BLOCK_SETS);
            if self.blocks.len() < blocks {
                self.blocks.push(Box::new([Set([EMPTY; WAYS]); BLOCK_SETS]));
            }
            if self.blocks.len() < blocks && self.sets == 0 {
                return;
            }
            if self.blocks.len() >= blocks {
                (self.sets, self.merged) = (rounded, 0);
            }
        } else if self.blocks.len() > self.sets.div_ceil(BLOCK_SETS) {
            self.blocks.pop();
        }
        let (block, index, fingerprint) = self.place(hash);
        let set = &mut self.blocks[block][index].0;
        set.copy_within(..WAYS - 1, 1);
        set[0] = fingerprint;
        if wanted == 1 {
            set[places.min(WAYS)..].fill(EMPTY);
        }
    }

    /// Goes on making one set of two, the newest of both.
    fn halve(&mut self, wanted: usize) {
        if !self.sets.is_multiple_of(2) {
            (self.sets, self.merged) = (wanted, 0);
            return;
        }
        for _ in 0..MERGES_PER_INSERT {
            let pair = [self.merged * 2, self.merged * 2 + 1];
            let pair = pair.map(|index| self.blocks[index / BLOCK_SETS][index % BLOCK_SETS]);
            let both = (0..WAYS).flat_map(|way| pair.map(|set| set.0[way]));
            let mut set = [EMPTY; WAYS];
            for (place, fingerprint) in set.iter_mut().zip(both.filter(|&other| other != EMPTY)) {
                *place = fingerprint;
            }
            self.blocks[self.merged / BLOCK_SETS][self.merged % BLOCK_SETS] = Set(set);
            self.merged += 1;
            if self.merged * 2 == self.sets {
                (self.sets, self.merged) = (self.merged, 0);
                return;
            }
        }
    }

    /// Whether the key is remembered; if so, forgets it.
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        if self.sets == 0 {
            return false;
        }
        let (block, index, fingerprint) = self.place(hash);
        let set = &mut self.blocks[block][index].0;
        // All ways are compared, without a way out of the loop: so the compiler does it in a few instructions.
        let equal = set.iter().enumerate().fold(0u32, |equal, (way, &other)| {
            equal | u32::from(other == fingerprint) << way
        });
        if equal == 0 {
            return false;
        }
        set[equal.trailing_zeros() as usize] = EMPTY;
        true
    }

    /// Fetches the key's set into the cache, without waiting for it.
    pub(super) fn prefetch(&self, hash: KeyHash) {
        if self.sets > 0 {
            let (block, index, _) = self.place(hash);
            super::prefetch::prefetch(&self.blocks[block][index]);
        }
    }

    /// Bytes of all fingerprints.
    pub(super) fn size(&self) -> usize {
        self.blocks.len() * size_of::<[Set; BLOCK_SETS]>()
    }

    fn place(&self, hash: KeyHash) -> (usize, usize, u16) {
        // The bits that choose owner and piece are the same for many keys of a shard: mix them all.
        let mixed = hash.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = (((mixed >> 32) * self.sets as u64) >> 32) as usize;
        let index = match index / 2 < self.merged {
            true => index / 2,
            false => index,
        };
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
            ghosts.insert(hash(index), 12_000);
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
    fn when_items_become_larger_the_younger_half_is_remembered() {
        let seed = KeySeed::fixed(1);
        let hash = |index: u32| seed.hash(&index.to_le_bytes());
        let mut ghosts = Ghosts::default();
        for index in 0..40_000 {
            ghosts.insert(hash(index), 24_000);
        }
        let size = ghosts.size();
        for index in 40_000..41_000 {
            ghosts.insert(hash(index), 10_000);
        }
        assert!(ghosts.size() < size, "halved");
        let found = (34_000..41_000).filter(|&index| ghosts.take(hash(index)));
        assert!(found.count() > 6_500, "as many as half the memory holds");
        let found = (0..20_000).filter(|&index| ghosts.take(hash(index)));
        assert!(found.count() < 600, "long forgotten");
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
