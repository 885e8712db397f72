//! Eviction policies to compare with, each in its textbook form: one list entry per object, no pages, no classes.
//!
//! An object has a cost: 1 where all objects count the same, else its bytes. A policy holds what fits its capacity.

mod clock;
mod fifo_clock;
mod list;
mod lru;
mod segmented;
mod sieve;

use clap::ValueEnum;

pub(crate) use clock::Clock;
pub(crate) use fifo_clock::FifoClock;
pub(crate) use lru::Lru;
pub(crate) use segmented::SegmentedLru;
pub(crate) use sieve::Sieve;

/// A cache that knows its objects by number.
pub(crate) trait Policy {
    /// Whether the object is there. A hit counts for it.
    fn get(&mut self, object: u32) -> bool;
    /// Puts an object in that is not there, which costs at most the capacity, and evicts others to make room.
    fn insert(&mut self, object: u32, cost: u64);
    /// Takes an object out, if it is there.
    fn remove(&mut self, object: u32);
    /// The cost of all that is there.
    fn cost(&self) -> u64;
}

/// The policies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Reference {
    /// Least recently used.
    Lru,
    /// memcached's segmented LRU: HOT, WARM and COLD.
    Memcached,
    /// One ring, a counter of 2 bits.
    Clock,
    /// A queue whose hand stays where it is.
    Sieve,
    /// A FIFO of a tenth before a CLOCK of 2 bits, and ghosts of what the FIFO evicted.
    FifoClock,
}

impl Reference {
    pub(crate) fn make(self, capacity: u64) -> Box<dyn Policy> {
        match self {
            Reference::Lru => Box::new(Lru::new(capacity)),
            Reference::Memcached => Box::new(SegmentedLru::new(capacity)),
            Reference::Clock => Box::new(Clock::new(capacity)),
            Reference::Sieve => Box::new(Sieve::new(capacity)),
            Reference::FifoClock => Box::new(FifoClock::new(capacity)),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Reference::Lru => "LRU",
            Reference::Memcached => "memcached",
            Reference::Clock => "CLOCK 2-bit",
            Reference::Sieve => "SIEVE",
            Reference::FifoClock => "FIFO + CLOCK + ghosts",
        }
    }
}

/// By object: a value, the default for those not named yet.
#[derive(Debug, Default)]
struct Notes<T>(Vec<T>);

impl<T: Copy + Default> Notes<T> {
    fn get(&self, object: u32) -> T {
        self.0.get(object as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, object: u32, value: T) {
        let index = object as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, T::default());
        }
        self.0[index] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Reference; 5] = [
        Reference::Lru,
        Reference::Memcached,
        Reference::Clock,
        Reference::Sieve,
        Reference::FifoClock,
    ];

    fn misses(policy: &mut dyn Policy, objects: impl IntoIterator<Item = u32>) -> usize {
        let mut misses = 0;
        for object in objects {
            if !policy.get(object) {
                misses += 1;
                policy.insert(object, 1);
            }
        }
        misses
    }

    #[test]
    fn a_cyclic_scan_that_is_one_too_long_never_hits_in_an_lru() {
        let scan = || (0..1000u32).map(|step| step % 11);
        assert_eq!(misses(&mut Lru::new(10), scan()), 1000);
        assert_eq!(misses(&mut Lru::new(11), scan()), 11);
        // CLOCK has no references to go by and does as the LRU does; SIEVE's hand comes to what was hit, and a FIFO
        // that lets go first keeps most of the loop.
        assert_eq!(misses(&mut Clock::new(10), scan()), 1000);
        assert_eq!(misses(&mut Sieve::new(10), scan()), 1000);
        assert!(misses(&mut FifoClock::new(10), scan()) < 900);
    }

    #[test]
    fn what_fits_misses_once() {
        for reference in ALL {
            let objects = (0..50u32).cycle().take(500);
            let mut policy = reference.make(64);
            assert_eq!(misses(&mut *policy, objects), 50, "{reference:?}");
            assert_eq!(policy.cost(), 50);
        }
    }

    #[test]
    fn no_policy_exceeds_its_capacity_or_keeps_what_was_removed() {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for reference in ALL {
            let mut policy = reference.make(300);
            for _ in 0..20_000 {
                let object = random() % 97 * (random() % 5);
                let cost = u64::from(object % 50 + 1);
                match random() % 10 {
                    0 => {
                        policy.remove(object);
                        assert!(!policy.get(object), "{reference:?}");
                    }
                    _ if policy.get(object) => {}
                    _ => {
                        policy.insert(object, cost);
                        assert!(policy.get(object), "{reference:?}");
                    }
                }
                assert!(policy.cost() <= 300, "{reference:?}");
            }
            assert!(policy.cost() > 150, "{reference:?}");
            for object in 0..400 {
                policy.remove(object);
            }
            assert_eq!(policy.cost(), 0, "{reference:?}");
        }
    }

    #[test]
    fn a_second_chance_goes_to_what_was_hit() {
        for reference in [Reference::Clock, Reference::Sieve, Reference::FifoClock] {
            let mut policy = reference.make(10);
            assert_eq!(misses(&mut *policy, (0..10).chain([0, 0])), 10);
            assert_eq!(misses(&mut *policy, 10..15), 5);
            assert!(policy.get(0), "{reference:?}");
            assert!(!policy.get(1), "{reference:?}");
        }
    }

    #[test]
    fn memcached_needs_two_hits_to_spare_an_object() {
        for (hits, spared) in [(0, false), (1, false), (2, true)] {
            let mut policy = SegmentedLru::new(100);
            misses(&mut policy, 1_000..1_200);
            misses(&mut policy, std::iter::repeat_n(0, hits + 1));
            misses(&mut policy, 1..150);
            assert_eq!(policy.get(0), spared, "{hits} hits");
        }
    }
}
