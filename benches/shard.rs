//! What a shard's operations cost, beside a plain `HashMap` that stores the same bytes without any of a cache's
//! duties. Every benchmark checks what it read.
//!
//! ```text
//! cargo bench --bench shard            nanoseconds per operation
//! cargo bench --bench shard -- large   gets from ten million items, with small pages and with large ones (-L)
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
    if std::env::args().any(|argument| argument == "large") {
        return large_pages();
    }
    println!("{:>34} {:>9} {:>9}", "ns per operation", "shard", "HashMap");
    // Budgets that fit: a shard has as many tables as its budget may need, and few items in many tables miss the
    // processor's cache.
    for (items, megabytes, name) in [(4_000, 64, "4 K items"), (1_000_000, 256, "1 M items")] {
        compare(items, megabytes, name);
    }
    for size in [32, 100, 1000] {
        evicting(size);
    }
}

fn shard(megabytes: u64, settings: &Settings) -> Shard {
    Shard::new(settings, SEED, Arc::new(Pool::new(megabytes << 20, PAGE_SIZE)))
}

/// Gets from far more items than the processor's caches reach, of bytes or of addresses.
fn large_pages() {
    const ITEMS: usize = 10_000_000;
    let value = [b'v'; 60];
    let mut nanoseconds = [0.0; 2];
    println!("{:>34} {:>9}", "ns per operation", "shard");
    for (large, name) in [(0, "pages of 4 KiB"), (1, "large pages")] {
        let pool = Pool::new(1400 << 20, PAGE_SIZE);
        let pool = if large == 1 { pool.with_large_pages() } else { pool };
        let mut shard = Shard::new(&Settings::default(), SEED, Arc::new(pool));
        let start = cpu_time();
        (0..ITEMS).for_each(|index| set(&mut shard, &key(index), &value));
        let sets = (cpu_time() - start).as_nanos() as f64 / ITEMS as f64;
        println!("{:>34} {sets:>9.1}", format!("{name}, set, new"));
        nanoseconds[large] = measure(100_000, |count| {
            let read = scattered(ITEMS, count).filter_map(|index| get(&mut shard, &key(index)));
            assert_eq!(read.sum::<usize>(), count * value.len());
        });
        println!("{:>34} {:>9.1}", format!("{name}, get, hit"), nanoseconds[large]);
    }
    println!("{:>34} {:>9.2}", "ratio", nanoseconds[1] / nanoseconds[0]);
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
        Reply::Hit(hit) => Some(black_box(hit.value).size()),
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

/// The time that this thread has run: what the code took, without the time that other programs took.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The least of many short rounds, in time of the processor: what the code costs when the machine does nothing else.
fn measure(count: usize, mut round: impl FnMut(usize)) -> f64 {
    let rounds = (0..25).map(|_| {
        let start = cpu_time();
        round(count);
        cpu_time() - start
    });
    rounds.min().unwrap_or(Duration::ZERO).as_nanos() as f64 / count as f64
}

fn compare(items: usize, megabytes: u64, name: &str) {
    let value = [b'v'; 100];
    let keys: Vec<[u8; 30]> = (0..items * 2).map(key).collect();
    let mut shard = shard(megabytes, &Settings::default());
    let mut map: HashMap<Box<[u8]>, Vec<u8>> = HashMap::new();
    let count = 100_000;
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

    let ours = measure(count, |count| {
        (0..count).for_each(|_| _ = black_box(&mut shard).maintain(NOW))
    });
    println!("{:>34} {ours:>9.1}", format!("{name}, maintain"));
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

/// The longest single operations.
///
/// Other programs and the hypervisor interrupt a thread for milliseconds, so the wall clock alone tells nothing of the
/// work. Beside it stand, for operations of more than 200 us, the time of the processor; and, since every round does
/// the same operations in the same order, the least of the rounds for each operation: what it needs.
fn stall() {
    const ITEMS: usize = 10_000_000;
    const ROUNDS: usize = 3;
    let value = [b'v'; 10];
    let ranges = [0..ITEMS, 0..ITEMS, ITEMS..ITEMS + ITEMS / 2];
    let mut least = ranges.clone().map(|range| vec![u32::MAX; range.len()]);
    let names = ["set, growing", "get", "set, all read"];
    for round in 0..ROUNDS {
        let mut shard = shard(560, &Settings::default());
        for (phase, range) in ranges.iter().enumerate() {
            let mut worst = Worst::default();
            let mut before = cpu_time();
            for (nth, index) in range.clone().enumerate() {
                let key = key(index);
                if nth % 32 == 0 {
                    before = cpu_time();
                }
                let start = Instant::now();
                match phase {
                    1 => drop(black_box(get(&mut shard, &key))),
                    _ => set(&mut shard, &key, &value),
                }
                let mut took = start.elapsed();
                worst.wall = worst.wall.max(took);
                if took > Duration::from_micros(200) {
                    let now = cpu_time();
                    // With up to 31 short operations before it: no less than this one's.
                    let cpu = now - before;
                    before = now;
                    worst.count(took, cpu);
                    took = took.min(cpu);
                }
                let least = &mut least[phase][nth];
                *least = (*least).min(took.as_nanos() as u32);
            }
            println!(
                "round {round} {:>13}: wall max {:.0?} ({} over 1 ms), processor max {:.0?} ({} over 1 ms); {} items",
                names[phase],
                worst.wall,
                worst.wall_over,
                worst.cpu,
                worst.cpu_over,
                shard.counters().curr_items,
            );
        }
    }
    for (name, mut times) in names.into_iter().zip(least) {
        times.sort_unstable();
        let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]) / 1000.0;
        println!(
            "least of {ROUNDS} {name:>13}: p50 {:.2} us, p99.9 {:.1}, p99.99 {:.1}, p99.9999 {:.1}, max {:.1} us",
            at(0.5),
            at(0.999),
            at(0.9999),
            at(0.999999),
            at(1.0),
        );
    }
}

#[derive(Default)]
struct Worst {
    wall: Duration,
    wall_over: u32,
    cpu: Duration,
    cpu_over: u32,
}

impl Worst {
    fn count(&mut self, wall: Duration, cpu: Duration) {
        const BOUND: Duration = Duration::from_millis(1);
        self.cpu = self.cpu.max(cpu);
        self.wall_over += u32::from(wall > BOUND);
        self.cpu_over += u32::from(cpu.min(wall) > BOUND);
    }
}
