//! What a shard's operations cost, beside a plain `HashMap` that stores the same bytes without any of a cache's
//! duties. Every benchmark checks what it read.
//!
//! ```text
//! cargo bench --bench shard            nanoseconds per operation
//! cargo bench --bench shard -- stall   the longest operations while ten million items are stored, read, evicted
//! ```

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringcached::command::{Get, Operation, Reply, Request, Store, StoreMode};
use ringcached::hash::KeySeed;
use ringcached::memory::Pool;
use ringcached::shard::{Eviction, Settings, Shard};
use ringcached::time::{Exptime, Now, Seconds};

const NOW: Now = Now {
    seconds: Seconds(100),
    unix_start: 1_700_000_000,
};
const SEED: KeySeed = KeySeed::fixed(42);
const PAGE_SIZE: usize = 64 * 1024;

fn main() {
    // Cargo passes its own flags to benchmarks.
    if std::env::args().any(|argument| argument == "stall") {
        return stall();
    }
    println!("{:>34} {:>9} {:>9}", "ns per operation", "shard", "HashMap");
    for (items, name) in [(4_000, "4 K items"), (1_000_000, "1 M items")] {
        compare(items, name);
    }
    for size in [32, 100, 1000] {
        evicting(size);
    }
}

fn shard(megabytes: u64, settings: &Settings) -> Shard {
    Shard::new(settings, SEED, Arc::new(Pool::new(megabytes << 20, PAGE_SIZE)))
}

fn key(index: usize) -> [u8; 30] {
    let mut key = *b"user:session:00000000000000000";
    let mut rest = index;
    for digit in key.iter_mut().rev().take(10) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn request<'a>(key: &'a [u8], value: &'a [u8], operation: Operation) -> Request<'a> {
    Request {
        key,
        hash: SEED.hash(key),
        value,
        operation,
    }
}

fn get(shard: &mut Shard, key: &[u8]) -> Option<usize> {
    match shard.execute(&request(key, &[], Operation::Get(Get::PLAIN)), NOW) {
        Reply::Hit(hit) => Some(black_box(hit.value.first).len()),
        _ => None,
    }
}

fn set(shard: &mut Shard, key: &[u8], value: &[u8]) {
    let store = Store::new(StoreMode::Set, 0, Exptime::NEVER);
    let reply = shard.execute(&request(key, value, Operation::Store(store)), NOW);
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
}

/// Visits indexes below `items` in an order that no prefetcher guesses.
fn scattered(items: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count as u64).map(move |step| {
        let mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((((mixed ^ (mixed >> 29)) >> 32) * items as u64) >> 32) as usize
    })
}

/// The least of several rounds: what the code costs when the machine does nothing else.
fn measure(count: usize, mut round: impl FnMut(usize)) -> f64 {
    let rounds = (0..7).map(|_| {
        let start = Instant::now();
        round(count);
        start.elapsed()
    });
    rounds.min().unwrap_or(Duration::ZERO).as_nanos() as f64 / count as f64
}

fn compare(items: usize, name: &str) {
    let value = [b'v'; 100];
    let keys: Vec<[u8; 30]> = (0..items * 2).map(key).collect();
    let mut shard = shard(1024, &Settings::default());
    let mut map: HashMap<Box<[u8]>, Vec<u8>> = HashMap::new();
    let count = 1_000_000;
    let print = |what: &str, ours: f64, maps: f64| {
        println!("{:>34} {ours:>9.1} {maps:>9.1}", format!("{name}, {what}"))
    };

    let start = Instant::now();
    keys[..items].iter().for_each(|key| set(&mut shard, key, &value));
    let ours = start.elapsed().as_nanos() as f64 / items as f64;
    let start = Instant::now();
    for key in &keys[..items] {
        map.insert(Box::from(&key[..]), value.to_vec());
    }
    print("set, new", ours, start.elapsed().as_nanos() as f64 / items as f64);

    let ours = measure(count, |count| {
        let read = scattered(items, count)
            .filter_map(|index| get(&mut shard, &keys[index]))
            .sum::<usize>();
        assert_eq!(read, count * value.len());
    });
    let maps = measure(count, |count| {
        let found = scattered(items, count).filter_map(|index| map.get(&keys[index][..]));
        assert_eq!(
            found.map(|value| black_box(&value[..]).len()).sum::<usize>(),
            count * value.len()
        );
    });
    print("get, hit", ours, maps);

    let ours = measure(count, |count| {
        let missing =
            scattered(items, count).filter(|&index| get(&mut shard, &keys[items + index]).is_none());
        assert_eq!(missing.count(), count);
    });
    let maps = measure(count, |count| {
        let missing = scattered(items, count).filter(|&index| !map.contains_key(&keys[items + index][..]));
        assert_eq!(missing.count(), count);
    });
    print("get, miss", ours, maps);

    let ours = measure(count, |count| {
        scattered(items, count).for_each(|index| set(&mut shard, &keys[index], &value));
    });
    let maps = measure(count, |count| {
        for index in scattered(items, count) {
            map.insert(Box::from(&keys[index][..]), value.to_vec());
        }
    });
    print("set, same size", ours, maps);

    let values = [&value[..], &value[..60]];
    let mut turn = 0;
    let ours = measure(count, |count| {
        turn += 1;
        scattered(items, count).for_each(|index| set(&mut shard, &keys[index], values[turn % 2]));
    });
    let maps = measure(count, |count| {
        turn += 1;
        for index in scattered(items, count) {
            map.insert(Box::from(&keys[index][..]), values[turn % 2].to_vec());
        }
    });
    print("set, other size", ours, maps);
}

/// Sets of new keys into a full shard, against sets into free memory. Every item was read once before it is judged
/// in the second case, so that all of it survives probation.
fn evicting(size: usize) {
    let megabytes = 64;
    let count = (megabytes << 20) / (size + 56);
    let value = vec![b'v'; size];
    for (eviction, name) in [(Eviction::default(), "probation"), (Eviction::Clock, "clock")] {
        let settings = Settings {
            eviction,
            ..Settings::default()
        };
        let mut shard = shard(megabytes as u64, &settings);
        let mut next = 0;
        let mut round = |shard: &mut Shard, share_read: usize| {
            let start = Instant::now();
            for index in next..next + count {
                set(shard, &key(index), &value);
                if index % 100 < share_read {
                    get(shard, &key(index));
                }
            }
            next += count;
            start.elapsed().as_nanos() as f64 / count as f64
        };
        let free = round(&mut shard, 0);
        round(&mut shard, 0);
        let full = round(&mut shard, 0);
        round(&mut shard, 30);
        let read = round(&mut shard, 30);
        let counters = shard.counters();
        assert!(counters.evictions > count as u64);
        println!(
            "{:>34} {free:>9.1} free, {full:.1} full ({:.0} %), {read:.1} with 30 % read",
            format!("{name}, {size} B, set"),
            free / full * 100.0,
        );
    }
}

/// The longest single operations, in a histogram of powers of two eighths.
fn stall() {
    const ITEMS: usize = 10_000_000;
    let value = [b'v'; 10];
    for round in 0..3 {
        let mut shard = shard(560, &Settings::default());
        let mut phase = |name: &str,
                         range: std::ops::Range<usize>,
                         one: &mut dyn FnMut(&mut Shard, &[u8; 30])| {
            let mut times: Vec<u32> = Vec::with_capacity(range.len());
            for index in range {
                let key = key(index);
                let start = Instant::now();
                one(&mut shard, &key);
                times.push(start.elapsed().as_nanos() as u32);
            }
            times.sort_unstable();
            let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1000.0;
            println!(
                "round {round} {name:>12}: p50 {:.2} us, p99.9 {:.1}, p99.99 {:.1}, p99.9999 {:.1}, max {:.1} us; {} items",
                at(0.5),
                at(0.999),
                at(0.9999),
                at(0.999999),
                at(1.0),
                shard.counters().curr_items,
            );
        };
        phase("set, growing", 0..ITEMS, &mut |shard, key| {
            set(shard, key, &value)
        });
        phase("get", 0..ITEMS, &mut |shard, key| {
            get(shard, key);
        });
        phase("set, full", ITEMS..ITEMS + ITEMS / 2, &mut |shard, key| {
            set(shard, key, &value)
        });
    }
}
