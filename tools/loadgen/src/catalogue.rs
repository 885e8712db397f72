//! What is stored: keys and values as pure functions of an index.
//!
//! Key `i` is `k` and the decimal index, zeros between them up to the key's size; different indexes never spell the
//! same key. Value `i` of `n` bytes, written with a nonce that is fresh for every set:
//!
//! ```text
//!   0        8        16       24                n
//!   | nonce  | seed   | seed+G | seed+2G | ...   |      seed = mix(index, n, nonce), G odd
//! ```
//!
//! So a value of another key, of another size, or put together from two different sets shows itself in the seed or
//! against it. Values under 16 bytes have no room for a nonce: they are the first bytes of `mix(index, n)`.
//! Nothing here tells an *older* whole value of the same key from the newest one.

use crate::distribution::{Random, SizeLaw, mix};

/// How much of each value read is checked. Key, flags and length are checked always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verify {
    /// The first 16 bytes and the last 8 to 15.
    Ends,
    /// Every byte.
    Full,
}

/// Longest key of the protocol.
pub(crate) const KEY_SIZE_MAX: usize = 250;
/// Largest value this tool writes: what a server with default settings takes, with room for the item's header.
pub(crate) const VALUE_SIZE_MAX: usize = 1_000_000;
const HEAD: usize = 16;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const BLANK_KEY: [u8; KEY_SIZE_MAX] = {
    let mut key = [b'0'; KEY_SIZE_MAX];
    key[0] = b'k';
    key
};
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + (number / 10) as u8;
        pairs[number * 2 + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
};

enum Sizes {
    Fixed {
        key: usize,
        value: usize,
    },
    /// Per index: value size in the high 24 bits, key size in the low 8. A table, because the laws need a `powf`.
    Table(Vec<u32>),
}

/// What a key needs to tell so many from each other.
fn key_size_min(count: u64) -> usize {
    1 + (count - 1).max(1).ilog10() as usize + 1
}

/// A row of [`Sizes::Table`].
fn pack(key_size_min: usize, key_size: usize, value_size: usize) -> u32 {
    let key_size = key_size.clamp(key_size_min, KEY_SIZE_MAX);
    (value_size.min(VALUE_SIZE_MAX) as u32) << 8 | key_size as u32
}

/// All keys of a run with the sizes of their values.
pub(crate) struct Catalogue {
    count: u64,
    sizes: Sizes,
}

impl Catalogue {
    /// `count` keys, with sizes drawn by the laws from the index alone, so that every run agrees on them.
    pub(crate) fn new(count: u64, key: SizeLaw, value: SizeLaw) -> Result<Catalogue, String> {
        if count == 0 || count > 1 << 32 {
            return Err("--keys must be from 1 to 4294967296".into());
        }
        let key_size_min = key_size_min(count);
        if let SizeLaw::Fixed(size) | SizeLaw::Range(size, _) = key
            && size < key_size_min
        {
            return Err(format!("{count} keys need --key-size {key_size_min} or more"));
        }
        if let SizeLaw::Fixed(size) | SizeLaw::Range(_, size) = key
            && size > KEY_SIZE_MAX
        {
            return Err(format!("--key-size is at most {KEY_SIZE_MAX}"));
        }
        if let SizeLaw::Fixed(size) | SizeLaw::Range(_, size) = value
            && size > VALUE_SIZE_MAX
        {
            return Err(format!("--value-size is at most {VALUE_SIZE_MAX}"));
        }
        let sizes = match (key, value) {
            (SizeLaw::Fixed(key), SizeLaw::Fixed(value)) => Sizes::Fixed { key, value },
            (key, value) => {
                let sizes = |index| {
                    let mut random = Random::new(mix(index, 0x5157));
                    let key_size = key.draw_key(&mut random);
                    pack(key_size_min, key_size, value.draw_value(&mut random))
                };
                Sizes::Table((0..count).map(sizes).collect())
            }
        };
        Ok(Catalogue { count, sizes })
    }

    /// Keys of these sizes, with values of these sizes, as far as they can be had.
    pub(crate) fn of_sizes(sizes: Vec<(usize, usize)>) -> Result<Catalogue, String> {
        let count = sizes.len() as u64;
        if count == 0 {
            return Err("there are no keys".into());
        }
        let key_size_min = key_size_min(count);
        let pack = |(key_size, value_size)| pack(key_size_min, key_size, value_size);
        Ok(Catalogue {
            count,
            sizes: Sizes::Table(sizes.into_iter().map(pack).collect()),
        })
    }

    /// Number of keys.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Size of a key in bytes.
    pub(crate) fn key_size(&self, index: u64) -> usize {
        match &self.sizes {
            Sizes::Fixed { key, .. } => *key,
            Sizes::Table(table) => (table[index as usize] & 0xff) as usize,
        }
    }

    /// Size of a key's value in bytes.
    pub(crate) fn value_size(&self, index: u64) -> usize {
        match &self.sizes {
            Sizes::Fixed { value, .. } => *value,
            Sizes::Table(table) => (table[index as usize] >> 8) as usize,
        }
    }

    /// Largest value there is.
    pub(crate) fn value_size_max(&self) -> usize {
        match &self.sizes {
            Sizes::Fixed { value, .. } => *value,
            Sizes::Table(table) => table.iter().map(|size| (size >> 8) as usize).max().unwrap_or(0),
        }
    }

    /// Appends a key.
    pub(crate) fn write_key(&self, index: u64, output: &mut Vec<u8>) {
        let size = self.key_size(index);
        output.extend_from_slice(&BLANK_KEY[..size]);
        let end = output.len();
        write_digits(index, &mut output[end - size + 1..]);
    }

    /// Whether these bytes are exactly the key of this index.
    pub(crate) fn is_key(&self, index: u64, bytes: &[u8]) -> bool {
        bytes.len() == self.key_size(index) && spells(index, bytes)
    }

    /// Appends a value.
    pub(crate) fn write_value(&self, index: u64, nonce: u64, output: &mut Vec<u8>) {
        let size = self.value_size(index);
        if size < HEAD {
            output.extend_from_slice(&small_value(index, size)[..size]);
            return;
        }
        let seed = seed(index, size, nonce);
        output.extend_from_slice(&nonce.to_le_bytes());
        output.extend_from_slice(&seed.to_le_bytes());
        let start = output.len();
        output.resize(start + size - HEAD, 0);
        let mut word = seed;
        let mut chunks = output[start..].chunks_exact_mut(8);
        for chunk in &mut chunks {
            word = word.wrapping_add(STEP);
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let rest = chunks.into_remainder();
        let size = rest.len();
        rest.copy_from_slice(&word.wrapping_add(STEP).to_le_bytes()[..size]);
    }

    /// Whether a whole value is one that `write_value` could have written for this index.
    pub(crate) fn is_value(&self, index: u64, value: &[u8], verify: Verify) -> bool {
        if value.len() != self.value_size(index) {
            return false;
        }
        let Some((head, body)) = value.split_first_chunk::<HEAD>() else {
            return *value == small_value(index, value.len())[..value.len()];
        };
        let Some(seed) = head_seed(index, value.len(), head) else {
            return false;
        };
        match verify {
            Verify::Full => body_matches(seed, 0, body),
            Verify::Ends => {
                let from = tail_start(body.len());
                body_matches(seed, from, &body[from..])
            }
        }
    }
}

/// Checks a value that comes in pieces; the same judgement as [`Catalogue::is_value`].
#[derive(Clone, Debug)]
pub(crate) struct ValueCheck {
    index: u64,
    size: usize,
    seen: usize,
    head: [u8; HEAD],
    seed: u64,
    right: bool,
}

impl ValueCheck {
    /// For a value of `size` bytes announced by the server for the key of this index.
    pub(crate) fn new(catalogue: &Catalogue, index: u64, size: usize) -> ValueCheck {
        let right = size == catalogue.value_size(index);
        ValueCheck {
            index,
            size,
            seen: 0,
            head: [0; HEAD],
            seed: 0,
            right,
        }
    }

    /// The next bytes, none beyond the end of the value.
    pub(crate) fn feed(&mut self, bytes: &[u8], verify: Verify) {
        debug_assert!(self.seen + bytes.len() <= self.size);
        let mut bytes = bytes;
        if self.seen < HEAD {
            let count = bytes.len().min(HEAD - self.seen);
            self.head[self.seen..self.seen + count].copy_from_slice(&bytes[..count]);
            self.seen += count;
            bytes = &bytes[count..];
            if self.seen == HEAD && self.right {
                match head_seed(self.index, self.size, &self.head) {
                    Some(seed) => self.seed = seed,
                    None => self.right = false,
                }
            }
        }
        if bytes.is_empty() {
            return;
        }
        let from = self.seen - HEAD;
        self.seen += bytes.len();
        if self.right {
            let start = match verify {
                Verify::Full => from,
                Verify::Ends => tail_start(self.size - HEAD).max(from),
            };
            let skip = (start - from).min(bytes.len());
            self.right = body_matches(self.seed, from + skip, &bytes[skip..]);
        }
    }

    /// The verdict, once the whole value has been fed.
    pub(crate) fn is_right(&self) -> bool {
        debug_assert_eq!(self.seen, self.size);
        if self.size < HEAD {
            return self.right && self.head[..self.size] == small_value(self.index, self.size)[..self.size];
        }
        self.right
    }
}

fn seed(index: u64, size: usize, nonce: u64) -> u64 {
    mix(index ^ (size as u64) << 40, nonce)
}

fn small_value(index: u64, size: usize) -> [u8; HEAD] {
    let low = mix(index, size as u64);
    let mut value = [0; HEAD];
    value[..8].copy_from_slice(&low.to_le_bytes());
    value[8..].copy_from_slice(&low.wrapping_add(STEP).to_le_bytes());
    value
}

fn head_seed(index: u64, size: usize, head: &[u8; HEAD]) -> Option<u64> {
    let head = u128::from_le_bytes(*head);
    let (nonce, found) = (head as u64, (head >> 64) as u64);
    (found == seed(index, size, nonce)).then_some(found)
}

/// Where the checked tail of a body begins: its last whole word, and what follows.
fn tail_start(body_size: usize) -> usize {
    (body_size / 8).saturating_sub(1) * 8
}

/// Whether bytes at an offset of the body follow from the seed.
fn body_matches(seed: u64, offset: usize, bytes: &[u8]) -> bool {
    let mut word = seed.wrapping_add(STEP.wrapping_mul((offset / 8) as u64));
    let mut bytes = bytes;
    let skip = offset % 8;
    if skip > 0 {
        word = word.wrapping_add(STEP);
        let count = bytes.len().min(8 - skip);
        if bytes[..count] != word.to_le_bytes()[skip..skip + count] {
            return false;
        }
        bytes = &bytes[count..];
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let mut difference = 0;
    for chunk in words {
        word = word.wrapping_add(STEP);
        difference |= u64::from_le_bytes(*chunk) ^ word;
    }
    difference == 0 && *rest == word.wrapping_add(STEP).to_le_bytes()[..rest.len()]
}

/// Writes the decimal digits of a number at the end of a field whose bytes are already zeros.
fn write_digits(number: u64, field: &mut [u8]) {
    let (mut number, mut end) = (number, field.len());
    while number >= 10 {
        let pair = (number % 100) as usize * 2;
        field[end - 2..end].copy_from_slice(&PAIRS[pair..pair + 2]);
        number /= 100;
        end -= 2;
    }
    if number > 0 {
        field[end - 1] = b'0' + number as u8;
    }
}

/// Whether a key spells this index.
fn spells(index: u64, key: &[u8]) -> bool {
    let (mut number, mut end) = (index, key.len());
    while number >= 10 && end >= 3 {
        let pair = (number % 100) as usize * 2;
        if key[end - 2..end] != PAIRS[pair..pair + 2] {
            return false;
        }
        number /= 100;
        end -= 2;
    }
    if number > 0 {
        if number > 9 || end < 2 || key[end - 1] != b'0' + number as u8 {
            return false;
        }
        end -= 1;
    }
    key[..end] == BLANK_KEY[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(key: usize, value: usize) -> Catalogue {
        Catalogue::new(100_000, SizeLaw::Fixed(key), SizeLaw::Fixed(value)).expect("sizes fit")
    }

    #[test]
    fn keys_are_padded_decimals_and_tell_each_other_apart() {
        let catalogue = fixed(8, 100);
        for (index, want) in [
            (0, "k0000000"),
            (7, "k0000007"),
            (10, "k0000010"),
            (99_999, "k0099999"),
            (100, "k0000100"),
        ] {
            let mut key = Vec::new();
            catalogue.write_key(index, &mut key);
            assert_eq!(key, want.as_bytes());
            for other in [0, 1, 7, 10, 17, 70, 100, 107, 9_999, 99_999] {
                assert_eq!(
                    catalogue.is_key(other, &key),
                    other == index,
                    "{want} against {other}"
                );
            }
        }
        assert!(!catalogue.is_key(7, b"k000007"), "another size is another key");
        assert!(!catalogue.is_key(7, b"x0000007"));
        assert!(!catalogue.is_key(7, b"k1000007"));
    }

    #[test]
    fn keys_that_cannot_be_told_apart_are_refused() {
        assert!(Catalogue::new(100_000, SizeLaw::Fixed(5), SizeLaw::Fixed(1)).is_err());
        assert!(Catalogue::new(100_000, SizeLaw::Fixed(6), SizeLaw::Fixed(1)).is_ok());
        assert!(Catalogue::new(1, SizeLaw::Fixed(251), SizeLaw::Fixed(1)).is_err());
    }

    #[test]
    fn every_size_is_recognised_whole_and_in_pieces_and_every_flipped_byte_is_not() {
        for size in (0..70).chain([1000, 1003]) {
            let catalogue = fixed(20, size);
            let mut value = Vec::new();
            catalogue.write_value(42, 7, &mut value);
            assert_eq!(value.len(), size);
            let in_pieces = |value: &[u8], piece: usize, verify| {
                let mut check = ValueCheck::new(&catalogue, 42, value.len());
                value.chunks(piece).for_each(|bytes| check.feed(bytes, verify));
                check.is_right()
            };
            for verify in [Verify::Ends, Verify::Full] {
                assert!(catalogue.is_value(42, &value, verify), "size {size}");
                for piece in [1, 2, 3, 7, 8, 9, 16, 17, 64, 2000] {
                    assert!(
                        in_pieces(&value, piece, verify),
                        "size {size} in pieces of {piece}"
                    );
                }
            }
            for at in 0..size {
                value[at] ^= 0x20;
                assert!(
                    !catalogue.is_value(42, &value, Verify::Full),
                    "size {size}, byte {at}"
                );
                assert!(
                    !in_pieces(&value, 5, Verify::Full),
                    "size {size}, byte {at}, in pieces"
                );
                let seen = at < 16 || at + 8 >= size;
                assert!(
                    !seen || !catalogue.is_value(42, &value, Verify::Ends),
                    "size {size}, byte {at}, ends"
                );
                assert_eq!(
                    catalogue.is_value(42, &value, Verify::Ends),
                    in_pieces(&value, 5, Verify::Ends)
                );
                value[at] ^= 0x20;
            }
            if size >= 3 {
                assert!(
                    !catalogue.is_value(43, &value, Verify::Ends),
                    "a foreign value of size {size}"
                );
            }
        }
    }

    #[test]
    fn a_value_torn_between_two_sets_is_recognised_by_its_ends() {
        let catalogue = fixed(20, 4096);
        let (mut one, mut other) = (Vec::new(), Vec::new());
        catalogue.write_value(1, 1, &mut one);
        catalogue.write_value(1, 2, &mut other);
        one[2048..].copy_from_slice(&other[2048..]);
        assert!(!catalogue.is_value(1, &one, Verify::Ends));
    }
}
