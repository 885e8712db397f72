//! Memory between shards: it goes, page by page, from where pages are emptied late to where they are emptied early.
//!
//! One hand over one memory would empty its pages in the order of their age, whosever they are. So shards compare the
//! age at which their hands come to pages of main: each tells the pool its own, and the pool keeps the sum. A shard
//! whose age is well above the others' gives a page that it empties to the pool instead of filling it again; while pages
//! are scarce, only shards below the mean take one. So a shard with more items, larger ones, or ones that are asked for
//! more, gets what it would have of one memory, and the hash of the keys punishes nobody.
//!
//! Time is counted in pages opened, by all shards together: it stands still when nothing is stored, and no clock is
//! needed.
//!
//! Slowly: a shard gives one page at most while each shard, on average, opens [`OPENED_PER_PAGE_GIVEN`].

use super::Shard;
use super::slab::{PageNumber, Ring};

/// A shard's age is well above the others' when it is more than this many times their mean. With a quarter above the mean of
/// all instead, shards under a scan pass their memory to and fro.
const WELL_ABOVE: u64 = 2;

/// A shard gives a page when each shard, on average, has opened so many since it gave the last.
const OPENED_PER_PAGE_GIVEN: u32 = 16;

#[derive(Debug, Default)]
pub(super) struct Share {
    /// What the pool was told last, and is in its sum: how many pages were opened, in all shards, from when a page of
    /// main was opened until the hand comes to it.
    age: u32,
    /// How many pages were opened when this shard last gave one.
    gave_at: u32,
}

impl Shard {
    /// Tells the age of a page that the hand comes to.
    pub(super) fn note_age(&mut self, page: PageNumber) {
        if self.settings.shards > 1 && self.slab.page_ring(page) == Ring::Main {
            let age = self.pool.pages_opened().wrapping_sub(self.slab.page_opened(page));
            // Pages of classes that are opened seldom are older than their neighbours: no single one decides.
            let age = ((u64::from(self.share.age) * 15 + u64::from(age)) / 16) as u32;
            self.tell_age(age);
        }
    }

    /// Tells the age that the oldest page of main has already reached: the hand of a shard where nothing is stored
    /// does not move.
    pub(super) fn note_idle_age(&mut self) {
        if self.settings.shards > 1
            && self.sweep.is_none()
            && let Some(page) = self.slab.oldest(Ring::Main)
        {
            let age = self.pool.pages_opened().wrapping_sub(self.slab.page_opened(page));
            if age / 2 > self.share.age {
                self.tell_age(age / 2);
            }
        }
    }

    fn tell_age(&mut self, age: u32) {
        self.pool.change_age(self.share.age, age);
        self.share.age = age;
    }

    /// Whether this shard may take a page beyond what it is promised: while pages are scarce, only if it empties
    /// its own earlier than the mean.
    pub(super) fn may_take(&self) -> bool {
        let shards = self.settings.shards;
        shards == 1
            || self.pool.pages_free() > shards
            || u64::from(self.share.age) * shards as u64 <= self.pool.ages()
    }

    /// Whether the next page that is emptied here is for another shard.
    pub(super) fn is_to_give(&self) -> bool {
        let shards = self.settings.shards as u64;
        let others = self.pool.ages().saturating_sub(self.share.age.into());
        shards > 1
            && self.counters.pages > self.pages_floor
            && u64::from(self.share.age) * (shards - 1) > others * WELL_ABOVE
            && self.pool.is_exhausted()
            && u64::from(self.pool.pages_opened().wrapping_sub(self.share.gave_at))
                >= u64::from(OPENED_PER_PAGE_GIVEN) * shards
    }

    /// Decides that, and notes it.
    pub(super) fn gives(&mut self) -> bool {
        let gives = self.is_to_give();
        if gives {
            self.share.gave_at = self.pool.pages_opened();
        }
        gives
    }

    /// Takes this shard's age out of the pool's sum.
    pub(super) fn leave_share(&mut self) {
        self.tell_age(0);
    }
}
