//! The arrangement that the shard approximates by pages: a FIFO of a tenth, a CLOCK of 2 bits behind it, and ghosts
//! of what the FIFO evicted (S3-FIFO, SOSP 2023; here one hit is enough to pass the FIFO).

use std::collections::VecDeque;

use super::clock::COUNT_MAX;
use super::list::{List, Places};
use super::{Notes, Policy};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    None,
    Probation,
    Main,
}

pub(crate) struct FifoClock {
    capacity: u64,
    places: Places,
    probation: List,
    main: List,
    homes: Notes<Home>,
    counts: Notes<u8>,
    /// What probation evicted, the oldest first, with its turn: an object that was taken out and came in again has a
    /// later one.
    ghosts: VecDeque<(u32, u64, u32)>,
    ghosts_cost: u64,
    /// The turn in which an object became a ghost; 0 if it is none.
    ghost_turns: Notes<u32>,
    turn: u32,
}

impl FifoClock {
    pub(crate) fn new(capacity: u64) -> FifoClock {
        FifoClock {
            capacity,
            places: Places::default(),
            probation: List::default(),
            main: List::default(),
            homes: Notes::default(),
            counts: Notes::default(),
            ghosts: VecDeque::new(),
            ghosts_cost: 0,
            ghost_turns: Notes::default(),
            turn: 0,
        }
    }

    fn probation_capacity(&self) -> u64 {
        (self.capacity / 10).max(1)
    }

    fn evict_one(&mut self) {
        let main_capacity = self.capacity - self.probation_capacity();
        match (self.probation.oldest(), self.main.oldest()) {
            (Some(oldest), main) if main.is_none() || self.main.cost <= main_capacity => {
                if self.counts.get(oldest) > 0 {
                    let cost = self.probation.remove(&mut self.places, oldest);
                    self.main.push(&mut self.places, oldest, cost);
                    self.homes.set(oldest, Home::Main);
                    self.counts.set(oldest, 0);
                } else {
                    let cost = self.probation.remove(&mut self.places, oldest);
                    self.homes.set(oldest, Home::None);
                    self.remember(oldest, cost);
                }
            }
            (_, Some(oldest)) => match self.counts.get(oldest) {
                0 => self.remove(oldest),
                count => {
                    self.counts.set(oldest, count - 1);
                    self.main.renew(&mut self.places, oldest);
                }
            },
            (_, None) => unreachable!("an empty cache has room"),
        }
    }

    fn remember(&mut self, object: u32, cost: u64) {
        self.turn += 1;
        self.ghosts.push_back((object, cost, self.turn));
        self.ghost_turns.set(object, self.turn);
        self.ghosts_cost += cost;
        while self.ghosts_cost > self.capacity * 9 / 10
            && let Some((object, cost, turn)) = self.ghosts.pop_front()
        {
            self.ghosts_cost -= cost;
            if self.ghost_turns.get(object) == turn {
                self.ghost_turns.set(object, 0);
            }
        }
    }
}

impl Policy for FifoClock {
    fn get(&mut self, object: u32) -> bool {
        let present = self.homes.get(object) != Home::None;
        if present {
            let count = self.counts.get(object);
            self.counts.set(object, (count + 1).min(COUNT_MAX));
        }
        present
    }

    fn insert(&mut self, object: u32, cost: u64) {
        let remembered = self.ghost_turns.get(object) != 0;
        self.ghost_turns.set(object, 0);
        while self.cost() + cost > self.capacity {
            self.evict_one();
        }
        let (list, home) = match remembered {
            true => (&mut self.main, Home::Main),
            false => (&mut self.probation, Home::Probation),
        };
        list.push(&mut self.places, object, cost);
        self.homes.set(object, home);
        self.counts.set(object, 0);
    }

    fn remove(&mut self, object: u32) {
        match self.homes.get(object) {
            Home::None => return,
            Home::Probation => self.probation.remove(&mut self.places, object),
            Home::Main => self.main.remove(&mut self.places, object),
        };
        self.homes.set(object, Home::None);
    }

    fn cost(&self) -> u64 {
        self.probation.cost + self.main.cost
    }
}
