//! Memory between shards: it goes, page by page, from where pages grow old to where they do not.
//!
//! One hand over one memory would empty its pages in the order of their age, whosever they are. So shards compare the ages
//! of the pages that their hands come to next, in probation and in main: each tells the pool its own, and the pool keeps
//! the sums. Empty pages belong to the pool, which has a few ready for the stores of all shards; who takes one of those
//! owes one, and sweeps until he has made up for it. A shard that is *older* than the mean gives one more now and then, and
//! a *younger* one takes that for nothing. So a shard with more items, larger ones, or ones that are asked for more, gets
//! what it would have of one memory, and the hash of the keys punishes nobody.
//!
//! Older and younger is who is so in both rings. By the age of main alone there are many divisions to rest at: the larger a
//! shard, the more ghosts it has and the faster its main turns over, so that under a scan one of two shards had five times
//! the other's memory.
//!
//! Time is counted in pages opened, by all shards together: it stands still when nothing is stored, and no clock is
//! needed.

use super::slab::Ring;
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

/// An age is told again when it differs from what was told last by more than this part of it.
const AGE_PART_TOLD: u32 = 32;

/// How a shard's ages compare with the mean of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seniority {
    Younger,
    Alike,
    Older,
}

#[derive(Debug, Default)]
pub(super) struct Share {
    /// What the pool was told last, and is in its sums: of the oldest page of probation and of main, how many pages were
    /// opened since, in all shards.
    ages: [u32; 2],
    /// How many pages were opened when this shard last emptied one though enough were ready.
    gave_at: u32,
    /// Pages that it took of those that were to be ready, less those that it emptied since.
    owed: i32,
}

impl Shard {
    /// Tells the ages of the pages that the hand comes to next.
    pub(super) fn note_ages(&mut self) {
        if self.settings.shards == 1 {
            return;
        }
        let mut ages = [Ring::Probation, Ring::Main].map(|ring| match self.slab.oldest(ring) {
            Some(page) => self.pool.pages_opened().wrapping_sub(self.slab.page_opened(page)),
            None => 0,
        });
        // Who has nothing to give any more shall not make the others look young.
        if self.counters.pages <= self.pages_floor {
            let sums = self.pool.ages();
            for (age, sum) in ages.iter_mut().zip(sums) {
                *age = (*age).min((sum / self.settings.shards as u64) as u32);
            }
        }
        let told = self.share.ages.iter().zip(&ages);
        if told
            .into_iter()
            .any(|(&told, &age)| told.abs_diff(age) > told / AGE_PART_TOLD)
        {
            self.tell_ages(ages);
        }
    }

    fn tell_ages(&mut self, ages: [u32; 2]) {
        self.pool.change_ages(self.share.ages, ages);
        self.share.ages = ages;
    }

    fn seniority(&self) -> Seniority {
        let [probation, main] = self
            .share
            .ages
            .map(|age| u64::from(age) * self.settings.shards as u64);
        let [sum_of_probation, sum_of_main] = self.pool.ages();
        if probation < sum_of_probation && main < sum_of_main {
            Seniority::Younger
        } else if probation > sum_of_probation && main > sum_of_main {
            Seniority::Older
        } else {
            Seniority::Alike
        }
    }

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
        self.share.owed > 0 || self.settings.shards == 1
    }

    fn gives(&self) -> bool {
        let opened = self.pool.pages_opened().wrapping_sub(self.share.gave_at);
        opened as usize >= OPENED_PER_PAGE_GIVEN * self.settings.shards
            && self.seniority() == Seniority::Older
    }

    /// A page was taken from the free ones.
    pub(super) fn note_taken(&mut self) {
        let (free, ready) = (self.pool.pages_free(), self.pages_ready());
        let is_given = self.seniority() == Seniority::Younger && free == ready;
        if free <= ready && !is_given {
            self.share.owed = (self.share.owed + 1).min(OWED_MAX);
        }
    }

    /// A page was emptied here, and will be among the free ones.
    pub(super) fn note_emptied(&mut self) {
        if self.pool.pages_free() >= self.pages_ready() {
            self.share.gave_at = self.pool.pages_opened();
        } else {
            self.share.owed = (self.share.owed - 1).max(-OWED_MAX);
        }
    }

    /// Takes this shard's ages out of the pool's sums.
    pub(super) fn leave_share(&mut self) {
        self.tell_ages([0; 2]);
    }
}
