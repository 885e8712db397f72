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
//! have from better days, and what is heavy goes wherever it likes. While values come that are of quite another size than
//! those that are held, less evidence is enough, and no ghost goes to main while that is being emptied.

use super::slab::Ring;
use super::{Eviction, Shard};

/// Items above this many times the mean size are heavy: one reference more.
const HEAVY: u64 = 2;

/// Two references more.
const VERY_HEAVY: u64 = 8;

/// What the rings are worth is looked at each time so large a part of the memory has been stored.
const WINDOW_PART: usize = 32;

/// A ring is idle when a page of it answers fewer than one request for so many that a page of the others answers: as good
/// as none. With 64 for one instead, small caches take a ring for idle that is only having a bad moment.
const IDLE_PART: u128 = 1000;

/// The same while sizes shift: then a ring full of the old sizes is idle, however few stray hits the first of the new ones
/// in it have.
const IDLE_PART_IN_SHIFT: u128 = 64;

/// And for a ring that is being emptied: it is left alone only once it is asked for in earnest.
const IDLE_PART_STILL: u128 = 16;

/// Sizes shift when the mean of what is stored and the mean of what is held differ by more than this many times.
const SHIFT: u64 = 2;

/// A window goes on until there were so many hits, or all of the memory has been stored.
const HITS_MIN: u64 = 256;

/// Hits of the others without which a window says nothing of a ring while sizes shift.
const HITS_OF_OTHERS_MIN: u128 = 64;

#[derive(Debug, Default)]
pub(super) struct Worth {
    /// Bytes that ghosts have earned for heavy items among them.
    earned: u64,
    /// Bytes stored in this part of the window.
    stored: usize,
    /// Parts of the memory stored in this window, bytes in them, and items.
    parts: usize,
    stored_before: usize,
    items: u64,
    /// Hits by ring when this window began.
    hits: [u64; Ring::COUNT],
    /// The ring that was not worth its memory in the window before.
    idle: Option<Ring>,
    /// Whether sizes shifted in the window before.
    is_shift: bool,
}

impl Shard {
    fn mean_size(&self) -> u64 {
        self.counters.bytes / self.counters.curr_items.max(1)
    }

    /// References that an item of this size needs beyond those that others need.
    pub(super) fn references_more(&self, size: usize) -> u8 {
        let (items, bytes) = (self.counters.curr_items, self.counters.bytes);
        // Size against mean, without a division.
        match size as u64 * items {
            _ if self.settings.eviction == Eviction::Clock => 0,
            sizes if sizes > bytes * VERY_HEAVY => 2,
            sizes if sizes > bytes * HEAVY => 1,
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
        if self.worth.idle == Some(Ring::Main) {
            return !self.worth.is_shift;
        }
        if self.references_more(size) == 0 {
            return true;
        }
        let size = size as u64;
        let earned = self.worth.earned + self.mean_size();
        let is_enough = earned >= size;
        self.worth.earned = if is_enough { earned - size } else { earned };
        is_enough
    }

    /// So many bytes were stored: at the end of a window, looks at what the rings were worth.
    pub(super) fn note_stored(&mut self, size: usize) {
        self.worth.stored += size;
        self.worth.items += 1;
        let part = self.counters.pages as usize * self.pool.page_size() / WINDOW_PART;
        if self.worth.stored < part {
            return;
        }
        self.worth.stored_before += std::mem::take(&mut self.worth.stored);
        self.worth.parts += 1;
        let hits = Ring::ALL.map(|ring| self.busy.iter().map(|busy| busy.hits(ring)).sum::<u64>());
        // Statistics may have been reset meanwhile.
        let lately = Ring::ALL.map(|ring| hits[ring as usize].saturating_sub(self.worth.hits[ring as usize]));
        let is_enough = lately.iter().sum::<u64>() >= HITS_MIN;
        if !is_enough && self.worth.parts < WINDOW_PART {
            return;
        }
        let is_shift = self.is_shift();
        self.worth = Worth {
            earned: self.worth.earned,
            idle: is_enough.then(|| self.verdict(lately, is_shift)).flatten(),
            is_shift,
            hits,
            ..Worth::default()
        };
    }

    /// Whether what this window has stored is of another size than what is held, or the ring that such a shift left idle is
    /// still being emptied.
    fn is_shift(&self) -> bool {
        let (stored, held) = (
            self.worth.stored_before as u64 / self.worth.items.max(1),
            self.mean_size(),
        );
        stored > held * SHIFT || stored * SHIFT < held || self.worth.is_shift && self.worth.idle.is_some()
    }

    /// The ring that is idle, judged by the hits of a window.
    fn verdict(&self, lately: [u64; Ring::COUNT], is_shift: bool) -> Option<Ring> {
        let worth = |rings: &[Ring]| {
            let hits: u64 = rings.iter().map(|&ring| lately[ring as usize]).sum();
            let pages: usize = rings.iter().map(|&ring| self.pages_of(ring)).sum();
            (u128::from(hits), pages as u128)
        };
        let is_idle = |ring, others: &[Ring]| {
            let ((hits, pages), (hits_of_others, pages_of_others)) = (worth(&[ring]), worth(others));
            let part = match self.worth.idle == Some(ring) {
                _ if !is_shift => IDLE_PART,
                _ if hits_of_others < HITS_OF_OTHERS_MIN => return false,
                false => IDLE_PART_IN_SHIFT,
                true => IDLE_PART_STILL,
            };
            hits * pages_of_others * part < hits_of_others * pages
        };
        if is_idle(Ring::Main, &[Ring::Probation, Ring::Heavy]) {
            Some(Ring::Main)
        } else if is_idle(Ring::Probation, &[Ring::Heavy]) {
            Some(Ring::Probation)
        } else {
            None
        }
    }

    /// Whether items of quite another size than those that are held come, or came lately.
    pub(super) fn is_shifting(&self) -> bool {
        self.worth.is_shift
    }

    /// The ring that holds what nobody wants any more, if one does.
    pub(super) fn idle_ring(&self) -> Option<Ring> {
        self.worth.idle
    }
}
