//! Counters by key prefix, for `stats detail`: kept only while somebody has switched them on.

use std::collections::BTreeMap;

/// Prefixes counted at most; keys of others are not. A client that makes up prefixes cannot fill the memory.
const PREFIXES_MAX: usize = 65_536;

/// What was asked for keys of one prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounters {
    pub gets: u64,
    pub hits: u64,
    pub sets: u64,
    pub deletes: u64,
}

/// Counters by prefix, in the order of the prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes(BTreeMap<Box<[u8]>, PrefixCounters>);

impl Prefixes {
    /// The counters of the key's prefix. A key without the delimiter has none.
    pub(super) fn of(&mut self, key: &[u8], delimiter: u8) -> Option<&mut PrefixCounters> {
        let prefix = &key[..memchr::memchr(delimiter, key)?];
        // Looked up twice, so that a known prefix costs no allocation.
        if !self.0.contains_key(prefix) {
            if self.0.len() >= PREFIXES_MAX {
                return None;
            }
            self.0.insert(prefix.into(), PrefixCounters::default());
        }
        self.0.get_mut(prefix)
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Prefixes) {
        for (prefix, counters) in &other.0 {
            let sum = self.0.entry(prefix.clone()).or_default();
            sum.gets += counters.gets;
            sum.hits += counters.hits;
            sum.sets += counters.sets;
            sum.deletes += counters.deletes;
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &PrefixCounters)> {
        self.0.iter().map(|(prefix, counters)| (&**prefix, counters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_the_first_delimiter_and_their_number_is_bounded() {
        let mut prefixes = Prefixes::default();
        prefixes.of(b"a:b:c", b':').unwrap().gets += 1;
        prefixes.of(b"a:d", b':').unwrap().gets += 1;
        assert_eq!(prefixes.of(b"plain", b':'), None);
        let all: Vec<_> = prefixes
            .iter()
            .map(|(prefix, counters)| (prefix, counters.gets))
            .collect();
        assert_eq!(all, [(&b"a"[..], 2)]);
        for number in 0..2 * PREFIXES_MAX {
            let _ = prefixes.of(format!("{number}:").as_bytes(), b':');
        }
        assert_eq!(prefixes.iter().count(), PREFIXES_MAX);
    }
}
