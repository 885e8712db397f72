//! The key hashes that libmemcached and twemproxy offer, value for value.
//!
//! Not the hash the cache itself uses (`crate::hash`): these are slow, old, some of them broken, and fixed
//! for ever, because clients all over the world compute them. The faults are kept:
//!
//! - C's `char` is signed on x86, so bytes from 0x80 up are sign-extended before they are mixed in
//!   (one_at_a_time, the fnv family, the tail of hsieh). On ARM, where `char` is unsigned, the same C
//!   libraries place keys with such bytes elsewhere; we follow x86 everywhere.
//! - "64-bit" FNV keeps only 32 bits: fnv1a_64 casts its prime to 435 outright, and fnv1_64 returns the low
//!   half, which depends on nothing but the low half. Keys that differ in the last digits then lie close
//!   together, and numbered keys clump on few servers.
//! - crc32 is really 15 bits of a CRC-32, so it reaches only the first 32,768 values of the circle; crc16
//!   never cuts its register to 16 bits.

use std::fmt;
use std::str::FromStr;

use md5::{Digest, Md5};

/// A hash from key bytes to a place on the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashFunction {
    /// Jenkins' one-at-a-time: libmemcached's default, there called "default".
    OneAtATime,
    /// First four bytes of MD5, little-endian: ketama's own.
    Md5,
    Crc16,
    /// Bits 16 to 30 of a CRC-32 ("crc" in libmemcached).
    Crc32,
    /// A whole CRC-32, as everybody else means it.
    Crc32a,
    Fnv1_64,
    /// twemproxy's default.
    Fnv1a64,
    Fnv1_32,
    Fnv1a32,
    /// Paul Hsieh's SuperFastHash. Debian builds libmemcached without it.
    Hsieh,
    /// MurmurHash2 seeded with the key's length.
    Murmur,
    /// Bob Jenkins' lookup3.
    Jenkins,
}

use HashFunction::{
    Crc16, Crc32, Crc32a, Fnv1_32, Fnv1_64, Fnv1a32, Fnv1a64, Hsieh, Jenkins, Md5 as Md5Hash, Murmur,
    OneAtATime,
};

impl HashFunction {
    /// All of them, in the order of twemproxy's manual, under twemproxy's names.
    pub const ALL: [(HashFunction, &'static str); 12] = [
        (OneAtATime, "one_at_a_time"),
        (Md5Hash, "md5"),
        (Crc16, "crc16"),
        (Crc32, "crc32"),
        (Crc32a, "crc32a"),
        (Fnv1_64, "fnv1_64"),
        (Fnv1a64, "fnv1a_64"),
        (Fnv1_32, "fnv1_32"),
        (Fnv1a32, "fnv1a_32"),
        (Hsieh, "hsieh"),
        (Murmur, "murmur"),
        (Jenkins, "jenkins"),
    ];

    /// twemproxy's name of it, as in `hash: fnv1a_64`.
    pub fn name(self) -> &'static str {
        HashFunction::ALL[self as usize].1
    }

    /// The hash of a key. An empty key, which only a hash tag could make, is hashed like any other.
    pub fn hash(self, key: &[u8]) -> u32 {
        match self {
            OneAtATime => one_at_a_time(key),
            Md5Hash => md5_words(key)[0],
            Crc16 => crc16(key),
            Crc32 => (crc32fast::hash(key) >> 16) & 0x7fff,
            Crc32a => crc32fast::hash(key),
            Fnv1_64 => fnv1(key, FNV_64_INIT, FNV_64_PRIME),
            Fnv1a64 => fnv1a(key, FNV_64_INIT, FNV_64_PRIME),
            Fnv1_32 => fnv1(key, FNV_32_INIT, FNV_32_PRIME),
            Fnv1a32 => fnv1a(key, FNV_32_INIT, FNV_32_PRIME),
            Hsieh => hsieh(key),
            Murmur => murmur(key),
            Jenkins => jenkins(key),
        }
    }
}

impl fmt::Display for HashFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for HashFunction {
    type Err = ();

    fn from_str(name: &str) -> Result<HashFunction, ()> {
        HashFunction::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(function, _)| *function)
            .ok_or(())
    }
}

/// MD5 as four little-endian words: ketama makes four points of the circle out of each digest.
pub(super) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    [0, 4, 8, 12].map(|at| word(&digest, at))
}

/// Low halves of FNV's 64-bit constants: all that the "64-bit" variants ever use of them.
const FNV_64_INIT: u32 = 0xcbf2_9ce4_8422_2325_u64 as u32;
const FNV_64_PRIME: u32 = 0x0100_0000_01b3_u64 as u32;
const FNV_32_INIT: u32 = 2_166_136_261;
const FNV_32_PRIME: u32 = 16_777_619;

/// C's `(uint32_t) *char_pointer` on x86.
fn signed(byte: u8) -> u32 {
    byte as i8 as u32
}

/// Four bytes, little-endian. `at + 4` never passes the end: callers walk whole words.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The last 0 to 3 bytes as a little-endian word, missing bytes being zero.
fn tail_word(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u32::from(byte))
}

fn one_at_a_time(key: &[u8]) -> u32 {
    let mut hash = 0u32;
    for &byte in key {
        hash = hash.wrapping_add(signed(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

fn fnv1(key: &[u8], init: u32, prime: u32) -> u32 {
    key.iter()
        .fold(init, |hash, &byte| hash.wrapping_mul(prime) ^ signed(byte))
}

fn fnv1a(key: &[u8], init: u32, prime: u32) -> u32 {
    key.iter()
        .fold(init, |hash, &byte| (hash ^ signed(byte)).wrapping_mul(prime))
}

/// CRC-16/XMODEM in a register of 32 bits that is never cut: the low half is the CRC, the high half what
/// earlier bytes left there.
fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |crc, &byte| {
        crc << 8 ^ CRC16_TABLE[usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// One entry a byte: the remainder by x^16 + x^12 + x^5 + 1.
const CRC16_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 0x8000 == 0 {
                remainder << 1
            } else {
                remainder << 1 ^ 0x1021
            };
            bit += 1;
        }
        table[byte] = remainder as u32;
        byte += 1;
    }
    table
};

/// SuperFastHash. Only the third byte of a tail of three is read as a signed char.
fn hsieh(key: &[u8]) -> u32 {
    if key.is_empty() {
        return 0;
    }
    let mut hash = 0u32;
    let mut words = key.chunks_exact(4);
    for chunk in &mut words {
        let (low, high) = (tail_word(&chunk[..2]), tail_word(&chunk[2..]));
        hash = hash.wrapping_add(low);
        hash = hash << 16 ^ (high << 11 ^ hash);
        hash = hash.wrapping_add(hash >> 11);
    }
    match *words.remainder() {
        [a, b, c] => {
            hash = hash.wrapping_add(tail_word(&[a, b]));
            hash ^= hash << 16;
            hash ^= signed(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(tail_word(&[a, b]));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}

fn murmur(key: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let length = key.len() as u32;
    let mut hash = 0xdead_beef_u32.wrapping_mul(length) ^ length;
    let mut words = key.chunks_exact(4);
    for chunk in &mut words {
        let mut part = word(chunk, 0).wrapping_mul(MULTIPLIER);
        part ^= part >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ part.wrapping_mul(MULTIPLIER);
    }
    if !words.remainder().is_empty() {
        hash = (hash ^ tail_word(words.remainder())).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 15
}

/// lookup3's hashlittle with the initial value 13. The last block, of 1 to 12 bytes, is never mixed, only
/// finished, so a key of 12 bytes is one final round.
fn jenkins(key: &[u8]) -> u32 {
    let init = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(13);
    let (mut a, mut b, mut c) = (init, init, init);
    let mut rest = key;
    while rest.len() > 12 {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 4));
        c = c.wrapping_add(word(rest, 8));
        (a, c, b) = jenkins_step(a, c, b, 4);
        (b, a, c) = jenkins_step(b, a, c, 6);
        (c, b, a) = jenkins_step(c, b, a, 8);
        (a, c, b) = jenkins_step(a, c, b, 16);
        (b, a, c) = jenkins_step(b, a, c, 19);
        (c, b, a) = jenkins_step(c, b, a, 4);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    let mut last = [0; 12];
    last[..rest.len()].copy_from_slice(rest);
    a = a.wrapping_add(word(&last, 0));
    b = b.wrapping_add(word(&last, 4));
    c = c.wrapping_add(word(&last, 8));
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

/// One of the six turns of lookup3's mix: `x -= y; x ^= rot(y); y += z`.
fn jenkins_step(x: u32, y: u32, z: u32, turn: u32) -> (u32, u32, u32) {
    (x.wrapping_sub(y) ^ y.rotate_left(turn), y.wrapping_add(z), z)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_order_agree() {
        for (index, (function, name)) in HashFunction::ALL.into_iter().enumerate() {
            assert_eq!(function as usize, index);
            assert_eq!(name.parse(), Ok(function));
            assert_eq!(function.name(), name);
        }
        assert_eq!("sha1".parse::<HashFunction>(), Err(()));
    }

    /// Check values published with the algorithms themselves; the C libraries' are in tests/ketama.
    #[test]
    fn published_check_values() {
        assert_eq!(Crc32a.hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(Crc16.hash(b"123456789") & 0xffff, 0x31c3);
        assert_eq!(Fnv1a32.hash(b"foobar"), 0xbf9c_f968);
        assert_eq!(Fnv1_32.hash(b"foobar"), 0x31f0_b262);
        assert_eq!(OneAtATime.hash(b"a"), 0xca2e_9442);
        assert_eq!(
            md5_words(b""),
            [0xd98c_1dd4, 0x04b2_008f, 0x9809_80e9, 0x7e42_f8ec]
        );
    }
}
