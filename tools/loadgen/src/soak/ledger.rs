//! What the clients of a soak know together: which values may be read, what they have done, and who has lied.
//!
//! Every change of a key takes a *stamp*, a number that is never given twice, and a value says in its own bytes which key
//! and which stamp it belongs to. A cache may forget, so a miss is never wrong. It may not lie: a value must be whole,
//! must be its key's, and must not be older than the key's *floor*, the stamp of the last change that a server had
//! confirmed before the question was sent.
//!
//! ```text
//!   value:  key u64 | stamp u64 | size u64 | filling, a function of the three ... (every byte is checked)
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

/// Bytes of a value before its filling.
pub(super) const VALUE_SIZE_MIN: usize = 24;
/// Lies kept word for word; the rest are only counted.
const COMPLAINTS_MAX: usize = 20;

/// What a key is used for. Each kind has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Values as above, written by one worker and read by all.
    Value,
    /// Decimal numbers, of one worker.
    Counter,
    /// Stamps in a row, appended and prepended, of one worker.
    Log,
    /// Values as above, written by clients who do not stay to see what becomes of them: they have no floor.
    Wild,
}

/// A key, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) index: u64,
}

impl Key {
    /// Appends the name: of 12 to 43 bytes, and now and then the longest that there is.
    pub(super) fn write(self, output: &mut Vec<u8>) {
        let letter = match self.kind {
            Kind::Value => b'v',
            Kind::Counter => b'c',
            Kind::Log => b'l',
            Kind::Wild => b'w',
        };
        let size = if self.index % 251 == 250 {
            250
        } else {
            12 + self.index as usize % 32
        };
        let digits = format!("{:010}", self.index);
        output.extend_from_slice(&[letter, b':']);
        output.extend_from_slice(digits.as_bytes());
        output.resize(output.len() + size - 12, b'_');
    }

    pub(super) fn name(self) -> String {
        let mut name = Vec::new();
        self.write(&mut name);
        String::from_utf8_lossy(&name).into_owned()
    }
}

/// The value of a key at a stamp.
pub(super) fn value(key: Key, stamp: u64, size: usize) -> Vec<u8> {
    let size = size.max(VALUE_SIZE_MIN);
    let mut value = Vec::with_capacity(size + 8);
    for word in [key.index, stamp, size as u64] {
        value.extend_from_slice(&word.to_le_bytes());
    }
    let mut word = key.index ^ stamp.rotate_left(20) ^ (size as u64).rotate_left(40);
    while value.len() < size {
        word = word
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        value.extend_from_slice(&(word ^ word >> 29).to_le_bytes());
    }
    value.truncate(size);
    value
}

/// The stamp of a value that was read, if the value is whole and its key's.
pub(super) fn stamp_of(key: Key, bytes: &[u8]) -> Result<u64, String> {
    let word = |at: usize| {
        bytes
            .get(at..at + 8)
            .map_or(0, |word| u64::from_le_bytes(word.try_into().expect("8")))
    };
    let (index, stamp, size) = (word(0), word(8), word(16));
    if bytes.len() < VALUE_SIZE_MIN || index != key.index || size != bytes.len() as u64 {
        return Err(format!(
            "{} bytes that say key {index}, stamp {stamp}, size {size}",
            bytes.len()
        ));
    }
    if *bytes != *value(key, stamp, bytes.len()) {
        return Err(format!("a value of stamp {stamp} and {size} bytes, damaged"));
    }
    Ok(stamp)
}

/// What has been counted, by name. Names that `stats` has, too, mean the same there.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(BTreeMap<&'static str, u64>);

impl Sums {
    pub(super) fn add(&mut self, name: &'static str, count: u64) {
        *self.0.entry(name).or_default() += count;
    }

    pub(super) fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }

    fn merge(&mut self, other: &Sums) {
        for (name, count) in other.iter() {
            self.add(name, count);
        }
    }
}

/// See the head of this file.
pub(super) struct Ledger {
    stamps: AtomicU64,
    /// By index of the keys of kind `Value`: no read of this key may bring an older stamp.
    floors: Vec<AtomicU64>,
    /// Held by workers while they have something under way, alone by who flushes: then all know what a flush makes of
    /// their keys.
    gate: RwLock<u64>,
    stopping: AtomicBool,
    /// Connections that have been opened, and not refused by the kernel.
    pub(super) opened: AtomicU64,
    /// Questions answered so far, for the progress line.
    pub(super) answered: AtomicU64,
    lies: AtomicU64,
    complaints: Mutex<Vec<String>>,
    sums: Mutex<Sums>,
}

impl Ledger {
    pub(super) fn new(keys: u64) -> Ledger {
        Ledger {
            stamps: AtomicU64::new(1),
            floors: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            gate: RwLock::new(0),
            stopping: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            lies: AtomicU64::new(0),
            complaints: Mutex::default(),
            sums: Mutex::default(),
        }
    }

    /// How many keys of kind `Value` there are.
    pub(super) fn keys(&self) -> u64 {
        self.floors.len() as u64
    }

    pub(super) fn stamp(&self) -> u64 {
        self.stamps.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn floor(&self, key: Key) -> u64 {
        match key.kind {
            Kind::Value => self.floors[key.index as usize].load(Ordering::SeqCst),
            _ => 0,
        }
    }

    /// A change of this stamp has been confirmed.
    pub(super) fn confirmed(&self, key: Key, stamp: u64) {
        if key.kind == Kind::Value {
            self.floors[key.index as usize].fetch_max(stamp, Ordering::SeqCst);
        }
    }

    /// Runs `work` while nobody flushes; it is told how many flushes there have been.
    pub(super) fn between_flushes<R>(&self, work: impl FnOnce(u64) -> R) -> R {
        work(*self.gate.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a flush while nobody has a question under way. From then on all that was stored before is gone.
    pub(super) fn flush<R, E>(&self, flush: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let mut flushes = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = flush()?;
        *flushes += 1;
        let stamp = self.stamp();
        for floor in &self.floors {
            floor.fetch_max(stamp, Ordering::SeqCst);
        }
        Ok(outcome)
    }

    pub(super) fn lie(&self, what: impl FnOnce() -> String) {
        self.lies.fetch_add(1, Ordering::SeqCst);
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(what());
        }
    }

    pub(super) fn lies(&self) -> u64 {
        self.lies.load(Ordering::SeqCst)
    }

    pub(super) fn complaints(&self) -> Vec<String> {
        self.complaints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn count(&self, sums: &Sums) {
        self.sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .merge(sums);
    }

    pub(super) fn count_one(&self, name: &'static str) {
        self.sums
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .add(name, 1);
    }

    /// What has been counted since the last call.
    pub(super) fn take_sums(&self) -> Sums {
        std::mem::take(&mut *self.sums.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn stop(&self, stop: bool) {
        self.stopping.store(stop, Ordering::SeqCst);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Sleeps, but not beyond the end.
    pub(super) fn pause(&self, pause: Duration) {
        let step = Duration::from_millis(50);
        let mut left = pause;
        while !left.is_zero() && !self.is_stopping() {
            let now = left.min(step);
            std::thread::sleep(now);
            left -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        kind: Kind::Value,
        index: 7,
    };

    #[test]
    fn a_value_says_whose_it_is() {
        for size in [24, 25, 31, 100, 5000] {
            let mut bytes = value(KEY, 42, size);
            assert_eq!((bytes.len(), stamp_of(KEY, &bytes)), (size, Ok(42)));
            assert!(stamp_of(Key { index: 8, ..KEY }, &bytes).is_err());
            assert!(stamp_of(KEY, &bytes[..size - 1]).is_err());
            bytes[size - 1] ^= 1;
            assert!(stamp_of(KEY, &bytes).is_err());
        }
        assert!(stamp_of(KEY, b"").is_err());
    }

    #[test]
    fn names_are_keys() {
        let mut seen = std::collections::HashSet::new();
        for index in 0..2000 {
            let name = Key { index, ..KEY }.name();
            assert!((12..=250).contains(&name.len()) && seen.insert(name));
        }
    }

    #[test]
    fn a_flush_raises_every_floor() {
        let ledger = Ledger::new(10);
        let stamp = ledger.stamp();
        ledger.confirmed(KEY, stamp);
        assert_eq!(ledger.floor(KEY), stamp);
        ledger
            .flush(|| Ok::<(), ()>(()))
            .expect("the flush was confirmed");
        assert!(ledger.floor(KEY) > stamp);
        ledger.confirmed(KEY, stamp);
        assert!(ledger.floor(KEY) > stamp, "a floor never falls");
        assert!(ledger.flush(|| Err::<(), ()>(())).is_err());
    }
}
