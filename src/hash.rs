//! One hash per key, made on arrival; it travels with the request.
//!
//! ```text
//! bit  63      57 56             40 39            20 19             0
//!      +---------+-----------------+----------------+----------------+
//!      |   tag   |      owner      |     piece      |     bucket     |
//!      +---------+-----------------+----------------+----------------+
//! ```
//!
//! Each part of the cache reads bits of its own: `owner` chooses the core, `piece` one of a shard's small
//! tables, and hashbrown takes `bucket` from the low end and `tag` from the high end. Were two of them to read
//! the same bits, every core would fill one bucket in N, or every tag would be the same.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_nano_inline};

/// The hash of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(u64);

const OWNER_SHIFT: u32 = 40;
const OWNER_BITS: u32 = 17;
const PIECE_SHIFT: u32 = 20;
const PIECE_BITS: u32 = 20;

/// Most tables a shard may have: the piece field has no more values.
pub const PIECES_MAX: usize = 1 << PIECE_BITS;

impl KeyHash {
    /// The owning core among `cores` (1 or more): multiply-shift, so any count is fair, powers of two or not.
    pub fn owner(self, cores: usize) -> usize {
        let field = (self.0 >> OWNER_SHIFT) & ((1 << OWNER_BITS) - 1);
        ((field * cores as u64) >> OWNER_BITS) as usize
    }

    /// The table among `pieces`, a power of two of at most [`PIECES_MAX`].
    pub fn piece(self, pieces: usize) -> usize {
        debug_assert!(pieces.is_power_of_two() && pieces <= PIECES_MAX);
        (self.0 >> PIECE_SHIFT) as usize & (pieces - 1)
    }

    /// All 64 bits, for the table, which reads both ends, and for ghost fingerprints.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// The secret under which this process hashes keys, so that nobody outside can choose keys that collide.
#[derive(Clone, Copy)]
pub struct KeySeed(RapidSecrets);

impl KeySeed {
    /// A seed from the operating system's randomness (through std's own hash seeds).
    pub fn random() -> KeySeed {
        use std::hash::BuildHasher;
        KeySeed::fixed(std::hash::RandomState::new().hash_one(0u8))
    }

    /// A known seed, for tests and replays.
    pub const fn fixed(seed: u64) -> KeySeed {
        KeySeed(RapidSecrets::seed(seed))
    }

    /// Hashes a key.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(rapidhash_v3_nano_inline::<true, false>(key, &self.0))
    }
}

impl std::fmt::Debug for KeySeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySeed(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_pieces_and_tags_are_even() {
        let seed = KeySeed::fixed(7);
        for cores in [1, 2, 3, 8, 31] {
            let mut owned = vec![0u32; cores];
            let mut tags = vec![0u32; 128];
            for index in 0..64_000u32 {
                let hash = seed.hash(format!("key-{index}").as_bytes());
                owned[hash.owner(cores)] += 1;
                // Only keys of one owner and one piece, so that a field read twice would show.
                if hash.owner(cores) == 0 && hash.piece(2) == 0 {
                    tags[(hash.bits() >> 57) as usize] += 1;
                }
            }
            let mean = 64_000.0 / cores as f64;
            assert!(
                owned.iter().all(|&n| (f64::from(n) - mean).abs() < mean * 0.1),
                "{owned:?}"
            );
            assert!(tags.iter().all(|&n| n > 0), "{cores} cores: {tags:?}");
        }
    }
}
