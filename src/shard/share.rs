//! Among how many shards a memory is divided, and what each of them is promised.

use super::Settings;
use crate::memory::Pool;

/// Pages that there are for each shard, at the least: 16 MiB of the usual ones.
pub const PAGES_PER_SHARD_MIN: usize = 256;

/// How many shards own the keys where so many cores have so many pages: one for each core, unless that would leave a shard
/// with too few. What is dealt by a hash to shards of a few dozen items is dealt unevenly, whatever the policy, and a ring
/// of few pages is a coarse one (docs/design/08-eviction.md).
pub fn shards_for(pages: usize, cores: usize) -> usize {
    (pages / PAGES_PER_SHARD_MIN).clamp(1, cores.max(1))
}

/// Pages of one shard if all have as many.
pub(super) fn fair(pool: &Pool, settings: &Settings) -> usize {
    (pool.pages_max() / settings.shards.max(1)).max(1)
}

/// Pages that a shard is promised of its fair share: one for each ring, and where there are enough a quarter. None, if it owns
/// no keys, or all.
pub(super) fn floor(share: usize, settings: &Settings) -> u64 {
    if settings.shards > 1 && settings.number < settings.shards {
        (share / 4).max(share.min(2)) as u64
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::Shard;
    use super::*;
    use crate::hash::KeySeed;
    use crate::time::{Now, Seconds};

    const PAGE_SIZE: u64 = 4096;
    const NOW: Now = Now {
        seconds: Seconds(100),
        unix_start: 1_700_000_000,
    };

    #[test]
    fn a_shard_has_pages_enough_or_there_are_fewer() {
        for (pages, cores, want) in [
            (1, 1, 1),
            (1, 32, 1),
            (767, 32, 2),
            (8192, 32, 32),
            (1 << 20, 4, 4),
        ] {
            assert_eq!(want, shards_for(pages, cores), "{pages} pages, {cores} cores");
        }
    }

    #[test]
    fn a_shard_without_keys_keeps_no_memory() {
        let pool = Arc::new(Pool::new(64 * PAGE_SIZE, PAGE_SIZE as usize));
        let mut shards = [0, 1, 2].map(|number| {
            let settings = Settings {
                shards: 2,
                number,
                ..Settings::default()
            };
            Shard::new(&settings, KeySeed::fixed(7), Arc::clone(&pool))
        });
        for pages in [128, 64] {
            for shard in &mut shards {
                shard.set_memory_limit(pages * PAGE_SIZE, NOW);
            }
            let promised = shards.each_ref().map(|shard| shard.pages_floor);
            assert_eq!([pages / 8, pages / 8, 0], promised);
            assert_eq!(
                pages as usize * 3 / 4,
                pool.pages_free(),
                "what is promised is kept"
            );
        }
        drop(shards);
        assert_eq!(64, pool.pages_free());
    }
}
