//! What an item must show for the memory that it takes, and whether main is worth its memory.
//!
//! A cache is judged by how many requests it answers, and a value of 20 KB answers one at a time, in the place of fifty
//! values of 400 bytes. So items that are much larger than the shard's mean are *heavy*: they need more references to pass
//! probation and to stay in main, they have a part of probation to themselves, where they push out each other, and one
//! that comes back as a ghost goes to main only as often as ghosts have earned its bytes: a mean item's for each that
//! comes back. Where all items are of one size, none is heavy.
//!
//! What is heavy today may be all that is asked for tomorrow. When a ring answers as good as nothing while the others are
//! asked for, what is in it is what nobody wants any more: then the hand takes its pages first, whatever references they
//! have from better days, and what is heavy goes wherever it likes.

use super::slab::Ring;
use super::{Eviction, Shard};

/// Items above this many times the mean size are heavy: one reference more.
const HEAVY: u64 = 2;

/// Two references more.
const VERY_HEAVY: u64 = 8;

/// What main is worth is looked at each time so large a part of the memory has been stored.
const WINDOW_PART: usize = 32;

/// A ring is idle when a page of it answers fewer than one request for so many that a page of the others answers: as good
/// as none. With 64 for one instead, small caches take a ring for idle that is only having a bad moment.
const IDLE_PART: u64 = 1000;

/// Hits without which a window says nothing: it goes on until there are so many, or all of the memory has been stored.
const HITS_MIN: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Worth {
    /// Bytes that ghosts have earned for heavy items among them.
    earned: u64,
    /// Bytes stored in this window.
    stored: usize,
    /// Parts of the memory stored in this window.
    parts: usize,
    /// Hits by ring when this window began.
    hits: [u64; Ring::COUNT],
    /// The ring that was not worth its memory in the window before.
    idle: Option<Ring>,
}

impl Shard {
    fn mean_size(&self) -> u64 {
        self.counters.bytes / self.counters.curr_items.max(1)
    }

    /// References that an item of this size needs beyond those that others need.
    pub(super) fn references_more(&self, size: usize) -> u8 {
        let mean = self.mean_size();
        match size as u64 {
            _ if self.settings.eviction == Eviction::Clock || self.counters.curr_items == 0 => 0,
            size if size > mean * VERY_HEAVY => 2,
            size if size > mean * HEAVY => 1,
            _ => 0,
        }
    }

    /// The ring of probation that a new item of this size goes to.
    pub(super) fn probation_for(&self, size: usize) -> Ring {
        match self.references_more(size) {
            0 => Ring::Probation,
            _ => Ring::Heavy,
        }
    }

    /// A ghost has come back with this size. Whether it goes to main.
    pub(super) fn ghost_earns_main(&mut self, size: usize) -> bool {
        if self.worth.idle == Some(Ring::Main) || self.references_more(size) == 0 {
            return true;
        }
        let size = size as u64;
        let earned = self.worth.earned + self.mean_size();
        let is_enough = earned >= size;
        self.worth.earned = if is_enough { earned - size } else { earned };
        is_enough
    }

    /// So many bytes were stored: at the end of a window, looks at what main was worth.
    pub(super) fn note_stored(&mut self, size: usize) {
        self.worth.stored += size;
        let part = self.counters.pages as usize * self.pool.page_size() / WINDOW_PART;
        if self.worth.stored < part {
            return;
        }
        self.worth.stored = 0;
        self.worth.parts += 1;
        let hits = Ring::ALL.map(|ring| self.busy.iter().map(|busy| busy.hits(ring)).sum::<u64>());
        let all: u64 = hits
            .iter()
            .sum::<u64>()
            .saturating_sub(self.worth.hits.iter().sum());
        let is_enough = all >= HITS_MIN;
        if !is_enough && self.worth.parts < WINDOW_PART {
            return;
        }
        // Statistics may have been reset meanwhile.
        let lately = |ring: Ring| hits[ring as usize].saturating_sub(self.worth.hits[ring as usize]);
        let worth = |rings: &[Ring]| {
            let hits: u64 = rings.iter().map(|&ring| lately(ring)).sum();
            let pages: usize = rings.iter().map(|&ring| self.pages_of(ring)).sum();
            (hits, pages as u64)
        };
        let is_idle = |ring, others: &[Ring]| {
            let ((hits, pages), (hits_of_others, pages_of_others)) = (worth(&[ring]), worth(others));
            hits * pages_of_others * IDLE_PART < hits_of_others * pages
        };
        let idle = if is_idle(Ring::Main, &[Ring::Probation, Ring::Heavy]) {
            Some(Ring::Main)
        } else if is_idle(Ring::Probation, &[Ring::Heavy]) {
            Some(Ring::Probation)
        } else {
            None
        };
        self.worth = Worth {
            earned: self.worth.earned,
            stored: 0,
            parts: 0,
            idle: idle.filter(|_| is_enough),
            hits,
        };
    }

    /// The ring that holds what nobody wants any more, if one does.
    pub(super) fn idle_ring(&self) -> Option<Ring> {
        self.worth.idle
    }
}
