//! Least recently used: the measure of all others.

use super::list::{List, Places};
use super::{Notes, Policy};

pub(crate) struct Lru {
    capacity: u64,
    places: Places,
    list: List,
    present: Notes<bool>,
}

impl Lru {
    pub(crate) fn new(capacity: u64) -> Lru {
        Lru {
            capacity,
            places: Places::default(),
            list: List::default(),
            present: Notes::default(),
        }
    }
}

impl Policy for Lru {
    fn get(&mut self, object: u32) -> bool {
        let present = self.present.get(object);
        if present {
            self.list.renew(&mut self.places, object);
        }
        present
    }

    fn insert(&mut self, object: u32, cost: u64) {
        while self.list.cost + cost > self.capacity
            && let Some(oldest) = self.list.oldest()
        {
            self.remove(oldest);
        }
        self.list.push(&mut self.places, object, cost);
        self.present.set(object, true);
    }

    fn remove(&mut self, object: u32) {
        if self.present.get(object) {
            self.list.remove(&mut self.places, object);
            self.present.set(object, false);
        }
    }

    fn cost(&self) -> u64 {
        self.list.cost
    }
}
