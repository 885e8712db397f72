//! Empty pages belong to the pool, which has a few ready for the hands and the stores of all shards.
//!
//! Who takes one of those owes one, and sweeps until he has made up for it: so each shard pays for what it stores, and who
//! stores nothing keeps what he has. Beyond that an older shard gives one more now and then, and a younger one takes that
//! for nothing ([`super::ages`]).

use super::ages::Seniority;
use super::{Eviction, Shard};

/// Pages that are ready for hands: as many as there are shards, but no larger a part of the memory.
const PART_FOR_HANDS: usize = 128;

/// Pages that are ready for stores: as many as there are shards, times this, but no larger a part of the memory.
const READY_PER_SHARD_MAX: usize = 4;
const PART_READY: usize = 256;

/// A shard that is older gives a page when each shard, on average, has opened so many since it gave the last.
const OPENED_PER_PAGE_GIVEN: usize = 2;

/// What a shard owes, or is owed, at most.
const OWED_MAX: i32 = 16;

#[derive(Debug, Default)]
pub(super) struct Dues {
    /// How many pages were opened when this shard last emptied one though enough were ready.
    gave_at: u32,
    /// Pages that it took of those that were to be ready, less those that it emptied since.
    owed: i32,
}

impl Shard {
    /// Free pages of the pool that stores leave to the hands, which copy survivors to them before they have emptied a page
    /// themselves. Survivors of one page fill one other at most; a plain CLOCK needs a second, because new items go to the
    /// same pages as survivors and may take their place.
    pub(super) fn pages_for_hands(&self) -> usize {
        let per_hand = match (self.settings.evict, self.settings.eviction) {
            (false, _) => 0,
            (true, Eviction::Probation { .. }) => 1,
            (true, Eviction::Clock) => 2,
        };
        per_hand * (self.pool.pages_max() / PART_FOR_HANDS).clamp(1, self.settings.shards)
    }

    /// Free pages of the pool that are to be ready for hands and stores.
    fn pages_ready(&self) -> usize {
        let for_stores = self.pool.pages_max() / PART_READY;
        self.pages_for_hands() + for_stores.clamp(1, self.settings.shards * READY_PER_SHARD_MAX)
    }

    /// Free pages of the pool below which this shard sweeps.
    pub(super) fn pages_wanted(&self) -> usize {
        if self.gives() {
            self.pages_ready() + 1
        } else if self.owes() {
            self.pages_ready()
        } else {
            // Whoever stores sees to it that there is one.
            self.pages_for_hands() + 1
        }
    }

    /// Whether this shard is to empty pages for all, even though nothing is stored in it.
    pub(super) fn has_to_give(&self) -> bool {
        self.owes() || self.gives()
    }

    fn owes(&self) -> bool {
        self.dues.owed > 0 || self.settings.shards == 1
    }

    fn gives(&self) -> bool {
        let opened = self.pool.pages_opened().wrapping_sub(self.dues.gave_at);
        opened as usize >= OPENED_PER_PAGE_GIVEN * self.settings.shards
            && self.seniority() == Seniority::Older
    }

    /// A page was taken from the free ones.
    pub(super) fn note_taken(&mut self) {
        let (free, ready) = (self.pool.pages_free(), self.pages_ready());
        let is_given = self.seniority() == Seniority::Younger && free == ready;
        if free <= ready && !is_given {
            self.dues.owed = (self.dues.owed + 1).min(OWED_MAX);
        }
    }

    /// A page was emptied here, and will be among the free ones.
    pub(super) fn note_emptied(&mut self) {
        if self.pool.pages_free() >= self.pages_ready() {
            self.dues.gave_at = self.pool.pages_opened();
        } else {
            self.dues.owed = (self.dues.owed - 1).max(-OWED_MAX);
        }
    }
}
