//! The longest single steps while values of a gigabyte come, grow, are read, are replaced and go.
//!
//! ```text
//! cargo bench --bench giant
//! ```
//!
//! Every call into the shard and every piece of 32 KiB that is filled is timed. The machine interrupts a thread for
//! milliseconds, so each kind of step has the maximum of every round, by the wall clock and by the processor's. All rounds
//! do the same steps in the same order: the longest of what each step took in its best round is what it needs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringcached::command::{Delete, Get, Operation, Reply, Request, Store, StoreMode};
use ringcached::hash::KeySeed;
use ringcached::memory::Pool;
use ringcached::shard::{Reserve, Settings, Shard};
use ringcached::time::{Exptime, Now, Seconds};

const SEED: KeySeed = KeySeed::fixed(42);
const PAGE_SIZE: usize = 64 * 1024;

/// memcached's largest value, less what it counts besides and what is appended here.
const GIANT: usize = (1 << 30) - 64 * 1024;

/// Two of them fit, and no third.
const BUDGET: u64 = 5 << 29;

/// What a core receives at once.
const PIECE: usize = 32 * 1024;

const ROUNDS: usize = 3;

fn main() {
    let mut rounds: Vec<Vec<Worst>> = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(Round::new().run());
    }
    println!(
        "{:>44} {:>9} {:>9}  us, longest of each round: wall clock (processor)",
        "step", "of them", "needs us"
    );
    let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
    for (step, first) in rounds[0].iter().enumerate() {
        let worst: Vec<&Worst> = rounds.iter().map(|round| &round[step]).collect();
        let counts: Vec<usize> = worst.iter().map(|worst| worst.times.len()).collect();
        assert_eq!(counts, [counts[0]; ROUNDS], "{}: rounds are alike", first.name);
        let least = |nth: usize| worst.iter().map(|worst| worst.times[nth]).min();
        let needs = (0..counts[0]).filter_map(least).max().unwrap_or_default();
        print!("{:>44} {:>9} {:>9.0} ", first.name, counts[0], micros(needs));
        for round in worst {
            print!("  {:.0} ({:.0})", micros(round.wall), micros(round.cpu));
        }
        println!();
    }
}

struct Worst {
    name: &'static str,
    /// Of every step the shorter of both clocks.
    times: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

struct Round {
    shard: Shard,
    now: Now,
    worst: Vec<Worst>,
}

impl Round {
    fn new() -> Round {
        let settings = Settings {
            item_size_max: 1 << 30,
            ..Settings::default()
        };
        Round {
            shard: Shard::new(&settings, SEED, Arc::new(Pool::new(BUDGET, PAGE_SIZE))),
            now: Now {
                seconds: Seconds(100),
                unix_start: 1_700_000_000,
            },
            worst: Vec::new(),
        }
    }

    fn run(mut self) -> Vec<Worst> {
        self.giant("first, into free memory", b"giant", StoreMode::Set, GIANT, 0);
        self.read(b"giant", Some(GIANT));
        self.small("append 100 bytes", b"giant", StoreMode::Append, 100);
        self.small("prepend 100 bytes", b"giant", StoreMode::Prepend, 100);
        self.small("append 9,000 bytes", b"giant", StoreMode::Append, 9_000);
        self.read(b"giant", Some(GIANT));
        self.giant("replace", b"giant", StoreMode::Set, GIANT, 0);
        self.small("a small value replaces it", b"giant", StoreMode::Set, 100);
        self.giant("one that will expire", b"giant", StoreMode::Set, GIANT, 10);
        self.now.seconds.0 += 20;
        self.read(b"giant", None);
        self.giant("one that will be deleted", b"giant", StoreMode::Set, GIANT, 0);
        let delete = Operation::Delete(Delete::default());
        self.execute("delete", b"giant", &[], delete, |reply| {
            assert!(matches!(reply, Reply::Deleted))
        });
        self.giant("half of one", b"giant", StoreMode::Set, GIANT / 2, 0);
        self.giant(
            "the other half is appended",
            b"giant",
            StoreMode::Append,
            GIANT / 2,
            0,
        );
        self.time("flush", |shard, now| shard.flush(Exptime(0), now));
        self.now.seconds.0 += 1;
        for _ in 0..20_000 {
            self.time("maintain, flushed", |shard, now| _ = shard.maintain(now));
        }
        self.giant("one that is crowded out", b"giant", StoreMode::Set, GIANT, 0);
        for number in 0..300_000u64 {
            let key = number.to_le_bytes();
            self.small("sets of 8 KB, crowding it out", &key, StoreMode::Set, 8_000);
        }
        self.read(b"giant", None);
        self.giant("into memory full of 8 KB", b"giant", StoreMode::Set, GIANT, 0);
        self.worst
    }

    fn time<T>(&mut self, name: &'static str, step: impl FnOnce(&mut Shard, Now) -> T) -> T {
        let (cpu, start) = (cpu_time(), Instant::now());
        let done = step(&mut self.shard, self.now);
        let (wall, cpu) = (start.elapsed(), cpu_time() - cpu);
        self.note(name, wall, cpu);
        done
    }

    fn note(&mut self, name: &'static str, wall: Duration, cpu: Duration) {
        let worst = match self.worst.iter_mut().find(|worst| worst.name == name) {
            Some(worst) => worst,
            None => {
                self.worst.push(Worst {
                    name,
                    times: Vec::new(),
                    wall: Duration::ZERO,
                    cpu: Duration::ZERO,
                });
                self.worst.last_mut().expect("one was pushed")
            }
        };
        worst.times.push(wall.min(cpu));
        worst.wall = worst.wall.max(wall);
        worst.cpu = worst.cpu.max(cpu);
    }

    fn execute(
        &mut self,
        name: &'static str,
        key: &[u8],
        value: &[u8],
        operation: Operation,
        check: impl FnOnce(Reply<'_>),
    ) {
        let request = request(key, value, operation);
        self.time(name, |shard, now| check(black_box(shard.execute(&request, now))));
    }

    fn read(&mut self, key: &[u8], size: Option<usize>) {
        let name = if size.is_some() { "get" } else { "get, gone" };
        self.execute(name, key, &[], Operation::Get(Get::PLAIN), |reply| {
            match (reply, size) {
                (Reply::Hit(hit), Some(size)) => assert!(hit.value.size() >= size),
                (reply, None) => assert!(matches!(reply, Reply::Miss), "{reply:?}"),
                (reply, _) => panic!("{reply:?}"),
            }
        });
    }

    fn small(&mut self, name: &'static str, key: &[u8], mode: StoreMode, size: usize) {
        let value = vec![b'v'; size];
        let store = Operation::Store(Store::new(mode, 0, Exptime::NEVER));
        self.execute(name, key, &value, store, stored);
    }

    /// As a session does it: pages are reserved in several calls, filled as bytes come, and committed.
    fn giant(&mut self, name: &'static str, key: &[u8], mode: StoreMode, size: usize, exptime: i64) {
        let store = Operation::Store(Store::new(mode, 0, Exptime(exptime)));
        let request = request(key, &[], store);
        let mut reservation = loop {
            match self.time(name, |shard, now| shard.reserve(&request, size, now)) {
                Reserve::Reserved(reservation) => break reservation,
                Reserve::Refused(reply) => panic!("{name}: {reply:?}"),
                Reserve::Again => {}
            }
        };
        let piece = [b'p'; PIECE];
        while reservation.remaining() > 0 {
            let count = PIECE.min(reservation.remaining());
            self.time("fill", |_, _| reservation.fill(&piece[..count]));
        }
        self.time("commit", |shard, now| {
            stored(black_box(shard.commit(reservation, &request, now)))
        });
    }
}

fn stored(reply: Reply<'_>) {
    assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
}

fn request<'a>(key: &'a [u8], value: &'a [u8], operation: Operation) -> Request<'a> {
    Request {
        key,
        hash: SEED.hash(key),
        value,
        operation,
    }
}

/// The time that this thread has run, its page faults included.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
