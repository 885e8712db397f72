//! What finding a key's owner costs, in nanoseconds, and what building a ring does.
//!
//! `cargo bench --bench ketama [-- part of a name]`. Each figure is the fastest of several rounds over 1,000
//! keys of 20 bytes, whose owners are summed and checked. Beside the ring run the key hash alone, which is
//! most of it where it is MD5, and a `BTreeMap` of the same points, which is how the ring is usually written.

mod measure;

use std::collections::BTreeMap;
use std::hint::black_box;

use ringcached::cluster::{HashFunction, Preset, Ring, Server};

use measure::measure;

const KEYS: usize = 1_000;

fn keys() -> Vec<Vec<u8>> {
    (0..KEYS)
        .map(|n| format!("user:{n:07}:profile", n = n * 7919).into_bytes())
        .collect()
}

fn fleet(count: usize) -> Vec<Server> {
    (0..count)
        .map(|n| Server::new(format!("10.0.{}.{}", n / 256, n % 256), 11211))
        .collect()
}

fn ring(preset: &str, servers: &[Server]) -> Ring {
    let rules = preset.parse::<Preset>().expect("a preset's name").rules();
    Ring::build(&rules, servers).expect("a sound fleet")
}

fn owners(keys: &[Vec<u8>], owner: impl Fn(&[u8]) -> usize) -> usize {
    keys.iter().map(|key| owner(black_box(key))).sum()
}

fn main() {
    let keys = keys();
    for (hash, name) in HashFunction::ALL {
        let expected = owners(&keys, |key| hash.hash(key) as usize);
        measure(&format!("hash {name}"), KEYS, || {
            assert_eq!(owners(&keys, |key| hash.hash(key) as usize), expected);
        });
    }
    for count in [5, 100, 1000] {
        let servers = fleet(count);
        for preset in [
            "libmemcached-weighted",
            "libmemcached",
            "twemproxy",
            "libmemcached-modula",
            "jump",
        ] {
            let ring = ring(preset, &servers);
            let expected = owners(&keys, |key| ring.owner(key));
            measure(&format!("owner among {count}, {preset}"), KEYS, || {
                assert_eq!(owners(&keys, |key| ring.owner(key)), expected);
            });
        }
        // The same points in a tree, for comparison.
        let ring = ring("twemproxy", &servers);
        let points = ring.points().expect("twemproxy's ring is a circle");
        // Collected backwards, so that of equal points the first owns, as in the ring.
        let tree: BTreeMap<u32, u32> = points
            .iter()
            .rev()
            .map(|point| (point.value, point.owner))
            .collect();
        let first = points[0].owner as usize;
        let of_tree = |key: &[u8]| {
            let hash = HashFunction::Fnv1a64.hash(key);
            tree.range(hash..)
                .next()
                .map_or(first, |(_, &owner)| owner as usize)
        };
        let expected = owners(&keys, |key| ring.owner(key));
        measure(&format!("owner among {count}, twemproxy, BTreeMap"), KEYS, || {
            assert_eq!(owners(&keys, of_tree), expected);
        });
    }
    for count in [5, 100, 1000] {
        let servers = fleet(count);
        measure(
            &format!("build {count} servers, libmemcached-weighted"),
            1,
            || {
                assert_eq!(
                    ring("libmemcached-weighted", black_box(&servers)).server_count(),
                    count
                );
            },
        );
    }
}
