//! A trace in memory: what is asked for, in which order.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

/// What a line of a trace wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A get; one that misses is followed by a set, as a client of a cache does it.
    Get,
    Set,
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Keys by number, from 0, in the order in which they are first seen.
    pub object: u32,
    pub value_size: u32,
    /// Seconds to live of what is stored; 0 is for ever.
    pub ttl: u32,
    pub key_size: u8,
    pub operation: Operation,
}

#[derive(Debug, Default)]
pub struct Trace {
    pub name: String,
    pub accesses: Vec<Access>,
    /// Distinct keys.
    pub objects: usize,
    /// Whether the file told the sizes; otherwise they are made up.
    pub has_sizes: bool,
}

impl Trace {
    pub fn gets(&self) -> usize {
        let gets = self.accesses.iter();
        gets.filter(|access| access.operation == Operation::Get).count()
    }

    /// A trace of gets of these keys, all of one size.
    pub fn of_keys(name: &str, keys: impl IntoIterator<Item = u64>) -> Trace {
        let mut recorder = Recorder::default();
        keys.into_iter().for_each(|key| recorder.get(key));
        recorder.finish(name)
    }
}

/// Makes a trace of accesses with any keys.
#[derive(Default)]
pub struct Recorder {
    numbers: HashMap<u64, u32, BuildHasherDefault<DefaultHasher>>,
    accesses: Vec<Access>,
    has_sizes: bool,
}

/// What an object of a trace without sizes is taken to be.
const VALUE_SIZE: u32 = 100;
const KEY_SIZE: u8 = 30;

impl Recorder {
    /// A get of an object whose size nobody knows.
    pub fn get(&mut self, key: u64) {
        self.record(key, Operation::Get, KEY_SIZE, VALUE_SIZE, 0);
    }

    pub fn push(&mut self, key: u64, operation: Operation, key_size: u8, value_size: u32, ttl: u32) {
        self.has_sizes = true;
        self.record(key, operation, key_size, value_size, ttl);
    }

    fn record(&mut self, key: u64, operation: Operation, key_size: u8, value_size: u32, ttl: u32) {
        let next = self.numbers.len() as u32;
        let object = *self.numbers.entry(key).or_insert(next);
        self.accesses.push(Access {
            object,
            value_size,
            ttl,
            key_size,
            operation,
        });
    }

    pub fn is_empty(&self) -> bool {
        self.accesses.is_empty()
    }

    pub fn finish(self, name: &str) -> Trace {
        Trace {
            name: name.to_owned(),
            objects: self.numbers.len(),
            accesses: self.accesses,
            has_sizes: self.has_sizes,
        }
    }
}
