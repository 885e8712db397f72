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

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// In each set the newest comes first, and empty places last.
    sets: Vec<Set>,
}

impl Ghosts {
    /// Remembers a key. The memory is as long as nine tenths of the items that the shard holds: it grows and shrinks
    /// with them, by forgetting everything, which is rare since a shard that evicts is full.
    pub(super) fn insert(&mut self, hash: KeyHash, items: usize) {
        let sets = (items * 9 / 10).div_ceil(WAYS).max(1);
        if sets > self.sets.len() * 2 || sets * 2 < self.sets.len() {
            self.sets = vec![[EMPTY; WAYS]; sets];
        }
        let (index, fingerprint) = self.place(hash);
        let set = &mut self.sets[index];
        set.copy_within(..WAYS - 1, 1);
        set[0] = fingerprint;
    }

    /// Whether the key is remembered; if so, forgets it.
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        if self.sets.is_empty() {
            return false;
        }
        let (index, fingerprint) = self.place(hash);
        let set = &mut self.sets[index];
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
        size_of_val(&self.sets[..])
    }

    fn place(&self, hash: KeyHash) -> (usize, u16) {
        // The bits that choose owner and piece are the same for many keys of a shard: mix them all.
        let mixed = hash.bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = ((mixed >> 32) * self.sets.len() as u64) >> 32;
        (index as usize, (mixed as u16).max(EMPTY + 1))
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
}
