//! SIEVE (NSDI 2024): a queue in which objects stay where they are; the hand moves from the oldest to the newest,
//! spares what was hit since it came by last, and evicts what was not.

use super::list::{List, Places};
use super::{Notes, Policy};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Absent,
    Present,
    Hit,
}

pub(crate) struct Sieve {
    capacity: u64,
    places: Places,
    list: List,
    states: Notes<State>,
    hand: Option<u32>,
}

impl Sieve {
    pub(crate) fn new(capacity: u64) -> Sieve {
        Sieve {
            capacity,
            places: Places::default(),
            list: List::default(),
            states: Notes::default(),
            hand: None,
        }
    }
}

impl Policy for Sieve {
    fn get(&mut self, object: u32) -> bool {
        let present = self.states.get(object) != State::Absent;
        if present {
            self.states.set(object, State::Hit);
        }
        present
    }

    fn insert(&mut self, object: u32, cost: u64) {
        while self.list.cost + cost > self.capacity
            && let Some(at) = self.hand.or(self.list.oldest())
        {
            match self.states.get(at) {
                State::Hit => {
                    self.states.set(at, State::Present);
                    self.hand = self.places.newer(at);
                }
                _ => {
                    self.hand = Some(at);
                    self.remove(at);
                }
            }
        }
        self.list.push(&mut self.places, object, cost);
        self.states.set(object, State::Present);
    }

    fn remove(&mut self, object: u32) {
        if self.states.get(object) != State::Absent {
            if self.hand == Some(object) {
                self.hand = self.places.newer(object);
            }
            self.list.remove(&mut self.places, object);
            self.states.set(object, State::Absent);
        }
    }

    fn cost(&self) -> u64 {
        self.list.cost
    }
}
