//! memcached's segmented LRU, as its maintainer thread would keep it if it never slept: HOT of a fifth, WARM of two
//! fifths, the rest COLD. An object is active after its second hit; afterwards one is enough to stay so. An active
//! object goes to WARM, or to WARM's head; what is not goes down to COLD when its queue is too long or too old, and
//! COLD's tail is evicted. Time is counted in requests.

use super::list::{List, Places};
use super::{Notes, Policy};

const HOT_PERCENT: u64 = 20;
const WARM_PERCENT: u64 = 40;

/// Moves per request; memcached's are bounded, too.
const MOVES_MAX: usize = 500;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Segment {
    Hot = 0,
    Warm = 1,
    Cold = 2,
    #[default]
    None,
}

#[derive(Clone, Copy, Debug, Default)]
struct Note {
    segment: Segment,
    fetched: bool,
    active: bool,
    /// When it was stored, or hit while or to be active.
    time: u64,
}

pub(crate) struct SegmentedLru {
    capacity: u64,
    places: Places,
    segments: [List; 3],
    notes: Notes<Note>,
    time: u64,
}

impl SegmentedLru {
    pub(crate) fn new(capacity: u64) -> SegmentedLru {
        SegmentedLru {
            capacity,
            places: Places::default(),
            segments: Default::default(),
            notes: Notes::default(),
            time: 0,
        }
    }

    fn shift(&mut self, object: u32, to: Segment) {
        let mut note = self.notes.get(object);
        let cost = self.segments[note.segment as usize].remove(&mut self.places, object);
        self.segments[to as usize].push(&mut self.places, object, cost);
        note.segment = to;
        self.notes.set(object, note);
    }

    fn age(&self, segment: Segment) -> u64 {
        let oldest = self.segments[segment as usize].oldest();
        oldest.map_or(0, |object| self.time - self.notes.get(object).time)
    }

    /// What memcached's maintainer does in a round, until nothing moves any more.
    fn maintain(&mut self) {
        let total = self.cost();
        let cold_age = self.age(Segment::Cold);
        let limits = [
            (Segment::Hot, total * HOT_PERCENT / 100, cold_age / 5),
            (Segment::Warm, total * WARM_PERCENT / 100, cold_age * 2),
        ];
        for _ in 0..MOVES_MAX {
            let mut moved = false;
            for (segment, size_max, age_max) in limits {
                let list = &self.segments[segment as usize];
                let Some(oldest) = list.oldest() else { continue };
                let mut note = self.notes.get(oldest);
                if note.active {
                    note.active = false;
                    self.notes.set(oldest, note);
                    self.shift(oldest, Segment::Warm);
                    moved = true;
                } else if list.cost > size_max || self.time - note.time > age_max {
                    self.shift(oldest, Segment::Cold);
                    moved = true;
                }
                if moved {
                    break;
                }
            }
            if !moved {
                return;
            }
        }
    }
}

impl Policy for SegmentedLru {
    fn get(&mut self, object: u32) -> bool {
        self.time += 1;
        let mut note = self.notes.get(object);
        if note.segment == Segment::None {
            return false;
        }
        if !note.fetched {
            note.fetched = true;
        } else if !note.active {
            note.time = self.time;
            note.active = note.segment != Segment::Cold;
            self.notes.set(object, note);
            if note.segment == Segment::Cold {
                self.shift(object, Segment::Warm);
                self.maintain();
            }
            return true;
        }
        self.notes.set(object, note);
        true
    }

    fn insert(&mut self, object: u32, cost: u64) {
        while self.cost() + cost > self.capacity {
            let from = [Segment::Cold, Segment::Hot, Segment::Warm];
            let oldest = from
                .iter()
                .find_map(|&from| self.segments[from as usize].oldest());
            self.remove(oldest.expect("an empty cache has room"));
        }
        let segment = Segment::Hot;
        self.segments[segment as usize].push(&mut self.places, object, cost);
        self.notes.set(
            object,
            Note {
                segment,
                time: self.time,
                ..Note::default()
            },
        );
        self.maintain();
    }

    fn remove(&mut self, object: u32) {
        let note = self.notes.get(object);
        if note.segment != Segment::None {
            self.segments[note.segment as usize].remove(&mut self.places, object);
            self.notes.set(object, Note::default());
        }
    }

    fn cost(&self) -> u64 {
        self.segments.iter().map(|list| list.cost).sum()
    }
}
