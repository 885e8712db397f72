//! A CLOCK of 2 bits: a hit counts up to 3, the hand counts down and takes what is at 0.

use super::list::{List, Places};
use super::{Notes, Policy};

/// Hits that are counted.
pub(super) const COUNT_MAX: u8 = 3;

pub(crate) struct Clock {
    capacity: u64,
    places: Places,
    list: List,
    /// Hits since the hand came by, plus one; 0 for an object that is not there.
    counts: Notes<u8>,
}

impl Clock {
    pub(crate) fn new(capacity: u64) -> Clock {
        Clock {
            capacity,
            places: Places::default(),
            list: List::default(),
            counts: Notes::default(),
        }
    }
}

impl Policy for Clock {
    fn get(&mut self, object: u32) -> bool {
        let count = self.counts.get(object);
        if count > 0 {
            self.counts.set(object, (count + 1).min(COUNT_MAX + 1));
        }
        count > 0
    }

    fn insert(&mut self, object: u32, cost: u64) {
        while self.list.cost + cost > self.capacity
            && let Some(oldest) = self.list.oldest()
        {
            match self.counts.get(oldest) {
                ..=1 => self.remove(oldest),
                count => {
                    self.counts.set(oldest, count - 1);
                    self.list.renew(&mut self.places, oldest);
                }
            }
        }
        self.list.push(&mut self.places, object, cost);
        self.counts.set(object, 1);
    }

    fn remove(&mut self, object: u32) {
        if self.counts.get(object) > 0 {
            self.list.remove(&mut self.places, object);
            self.counts.set(object, 0);
        }
    }

    fn cost(&self) -> u64 {
        self.list.cost
    }
}
