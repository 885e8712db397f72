//! Memory between shards: it goes, page by page, from where pages grow old to where they do not.
//!
//! One hand over one memory would empty its pages in the order of their age, whosever they are. So shards compare the ages
//! of the pages that their hands come to next, in probation and in main: each tells the pool its own, and the pool keeps
//! the sums. A shard that is *older* than the mean gives a page now and then, and a *younger* one takes it for nothing
//! ([`super::ready`]). So a shard with more items, larger ones, or ones that are asked for more, gets what it would have of
//! one memory, and the hash of the keys punishes nobody.
//!
//! Older and younger is who is so in both rings. By the age of main alone there are many divisions to rest at: the larger a
//! shard, the more ghosts it has and the faster its main turns over, so that under a scan one of two shards had five times
//! the other's memory.
//!
//! Time is counted in pages opened, by all shards together: it stands still when nothing is stored, and no clock is
//! needed.

use super::Shard;
use super::slab::Ring;

/// An age is told again when it differs from what was told last by more than this part of it.
const AGE_PART_TOLD: u32 = 32;

/// How a shard's ages compare with the mean of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seniority {
    Younger,
    Alike,
    Older,
}

/// What the pool was told last, and is in its sums: of the oldest page of probation and of main, how many pages were opened
/// since, in all shards.
#[derive(Debug, Default)]
pub(super) struct Ages([u32; 2]);

impl Shard {
    /// Tells the pool the ages of the pages that the hand comes to next.
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
        let told = self.ages.0.iter().zip(&ages);
        if told
            .into_iter()
            .any(|(&told, &age)| told.abs_diff(age) > told / AGE_PART_TOLD)
        {
            self.tell_ages(ages);
        }
    }

    fn tell_ages(&mut self, ages: [u32; 2]) {
        self.pool.change_ages(self.ages.0, ages);
        self.ages.0 = ages;
    }

    pub(super) fn seniority(&self) -> Seniority {
        let [probation, main] = self
            .ages
            .0
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

    /// Takes this shard's ages out of the pool's sums.
    pub(super) fn leave_ages(&mut self) {
        self.tell_ages([0; 2]);
    }
}
