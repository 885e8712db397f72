//! What commands mean, a line or two per case; the model in tests/ knows the rest.

use super::*;
use crate::command::{Count, Direction, EmptyFlags, Store, StoreMode, Tokens};

/// A shard, a clock, and replies as words.
struct Cache {
    shard: Shard,
    seed: KeySeed,
    now: Now,
}

const PAGE_SIZE: usize = 1024;

const SEED: KeySeed = KeySeed::fixed(3);

const NOW: Now = Now {
    seconds: Seconds(100),
    unix_start: 1_700_000_000,
};

fn cache() -> Cache {
    with(64, Settings::default())
}

fn with(pages: u64, settings: Settings) -> Cache {
    let pool = Arc::new(Pool::new(pages * PAGE_SIZE as u64, PAGE_SIZE));
    Cache {
        shard: Shard::new(&settings, SEED, pool),
        seed: SEED,
        now: NOW,
    }
}

/// Shards that have a memory together.
fn shards<const COUNT: usize>(pages: usize, page_size: usize) -> ([Shard; COUNT], Arc<Pool>) {
    let pool = Arc::new(Pool::new((pages * page_size) as u64, page_size));
    let shard = |number| {
        let settings = Settings {
            shards: COUNT,
            number,
            ..Settings::default()
        };
        Shard::new(&settings, SEED, Arc::clone(&pool))
    };
    (std::array::from_fn(shard), pool)
}

fn store(mode: StoreMode) -> Store {
    Store::new(mode, 0, Exptime::NEVER)
}

fn up(delta: u64) -> Count {
    Count {
        direction: Direction::Up,
        delta,
        cas_compare: None,
        cas_new: None,
        touch: None,
        vivify: None,
        key_is_binary: false,
    }
}

impl Cache {
    #[track_caller]
    fn check(&mut self, key: &str, value: &str, operation: Operation, want: &str) {
        let request = Request {
            key: key.as_bytes(),
            hash: self.seed.hash(key.as_bytes()),
            value: value.as_bytes(),
            operation,
        };
        let got = describe(self.shard.execute(&request, self.now));
        assert_eq!(got, want);
        self.shard.check();
    }

    #[track_caller]
    fn store(&mut self, key: &str, value: &str, store: Store, want: &str) {
        self.check(key, value, Operation::Store(store), want);
    }

    #[track_caller]
    fn set(&mut self, key: &str, value: &str) {
        let cas = self.shard.cas + self.shard.settings.shards as u64;
        self.store(
            key,
            value,
            store(StoreMode::Set),
            &format!("stored cas={cas} size={}", value.len()),
        );
    }

    /// For long loops, in which the caller checks.
    #[track_caller]
    fn set_unchecked(&mut self, key: &str, value: &str) {
        let request = Request {
            key: key.as_bytes(),
            hash: self.seed.hash(key.as_bytes()),
            value: value.as_bytes(),
            operation: Operation::Store(store(StoreMode::Set)),
        };
        let reply = self.shard.execute(&request, self.now);
        assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    }

    fn has(&mut self, key: &str) -> bool {
        let request = Request {
            key: key.as_bytes(),
            hash: self.seed.hash(key.as_bytes()),
            value: b"",
            operation: Operation::Get(Get::PLAIN),
        };
        matches!(self.shard.execute(&request, self.now), Reply::Hit(_))
    }

    #[track_caller]
    fn get(&mut self, key: &str, want: &str) {
        self.check(key, "", Operation::Get(Get::PLAIN), want);
    }

    #[track_caller]
    fn count(&mut self, key: &str, count: Count, want: &str) {
        self.check(key, "", Operation::Count(count), want);
    }

    #[track_caller]
    fn meta_get(&mut self, key: &str, tokens: Tokens, want: &str) {
        let get = Get {
            tokens: Some(tokens),
            ..Get::PLAIN
        };
        self.check(key, "", Operation::Get(get), want);
    }

    fn pass(&mut self, seconds: u32) {
        self.now.seconds.0 += seconds;
    }
}

fn describe(reply: Reply<'_>) -> String {
    match reply {
        Reply::Hit(hit) => {
            let mut words = format!("{} cas={}", String::from_utf8_lossy(&hit.value.to_vec()), hit.cas);
            let mut mark = |on: bool, mark: &str| words.push_str(if on { mark } else { "" });
            mark(hit.flags != 0, &format!(" flags={}", hit.flags));
            mark(hit.won, " won");
            mark(hit.stale, " stale");
            mark(hit.token_sent, " sent");
            mark(hit.vivified, " vivified");
            words
        }
        Reply::Stored { cas, value_size, .. } => format!("stored cas={cas} size={value_size}"),
        Reply::Counted(counted) => format!("{} cas={}", counted.number, counted.cas),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_set_is_read_back_until_it_is_deleted() {
    let mut cache = cache();
    cache.get("a", "Miss");
    cache.set("a", "one");
    cache.get("a", "one cas=1");
    cache.set("a", "another");
    cache.get("a", "another cas=2");
    let delete = Operation::Delete(Delete::default());
    cache.check("a", "", delete, "Deleted");
    cache.check("a", "", delete, "NotFound");
    let counters = cache.shard.counters();
    assert_eq!(
        (counters.cmd_get, counters.get_hits, counters.get_misses),
        (3, 2, 1)
    );
    assert_eq!(
        (counters.cmd_set, counters.delete_hits, counters.delete_misses),
        (2, 1, 1)
    );
    assert_eq!(
        (counters.bytes, counters.curr_items, counters.total_items),
        (0, 0, 2)
    );
}

#[test]
fn store_modes_look_for_the_old_item() {
    use StoreMode::{Add, Append, Prepend, Replace};
    let mut cache = cache();
    cache.store("a", "1", store(Replace), "NotStored");
    cache.store("a", "1", store(Append), "NotStored");
    cache.store(
        "a",
        "b",
        Store::new(Add, 5, Exptime::NEVER),
        "stored cas=1 size=1",
    );
    cache.store("a", "2", store(Add), "NotStored");
    cache.store("a", "cd", store(Append), "stored cas=2 size=3");
    cache.store("a", "a", store(Prepend), "stored cas=3 size=4");
    cache.get("a", "abcd cas=3 flags=5");
    cache.store("a", "x", store(Replace), "stored cas=4 size=1");
    let large = "x".repeat(3000);
    cache.store("a", &large, store(Append), "stored cas=5 size=3001");
    cache.store("a", "end", store(Append), "stored cas=6 size=3004");
    cache.get("a", &format!("x{large}end cas=6"));
    assert_eq!(
        cache.shard.counters().cmd_set,
        9,
        "what was not stored counts as well"
    );
}

#[test]
fn cas_compares_and_invalidates() {
    let mut cache = cache();
    let cas = |unique| Store {
        cas_compare: Some(unique),
        ..store(StoreMode::Set)
    };
    cache.store("a", "1", cas(1), "NotFound");
    cache.set("a", "1");
    cache.store("a", "2", cas(0), "Exists");
    cache.store("a", "2", cas(1), "stored cas=2 size=1");
    let older = Store {
        invalidate: true,
        ..cas(1)
    };
    cache.store("a", "3", older, "stored cas=3 size=1");
    cache.meta_get("a", Tokens::default(), "3 cas=3 won stale");
    cache.meta_get("a", Tokens::default(), "3 cas=3 stale sent");
    let counters = cache.shard.counters();
    assert_eq!(
        (counters.cas_misses, counters.cas_hits, counters.cas_badval),
        (1, 2, 1)
    );
    let wide = Store {
        cas_new: Some(1 << 40),
        ..store(StoreMode::Set)
    };
    cache.store("a", "5", wide, "stored cas=1099511627776 size=1");
    cache.count("a", up(1), "6 cas=4");

    let mut without = with(
        64,
        Settings {
            cas_enabled: false,
            ..Settings::default()
        },
    );
    without.store("a", "1", store(StoreMode::Set), "stored cas=0 size=1");
    without.store("a", "2", cas(7), "Exists");
}

#[test]
fn numbers_keep_their_length_or_grow() {
    let mut cache = cache();
    cache.count("n", up(1), "NotFound");
    cache.set("n", "99");
    cache.count("n", up(1), "100 cas=2");
    let down = Count {
        direction: Direction::Down,
        ..up(91)
    };
    cache.count("n", down, "9 cas=3");
    cache.get("n", "9   cas=3");
    cache.store("n", "7", store(StoreMode::Append), "stored cas=4 size=4");
    cache.count("n", up(1), "10 cas=5");
    cache.set("n", "abc");
    cache.count("n", up(1), "NotNumeric");
    cache.set("n", "");
    cache.count("n", up(1), "NotNumeric");
    let vivify = Count {
        vivify: Some((50, Exptime(10))),
        ..up(1)
    };
    cache.count("new", vivify, "50 cas=8");
    cache.count("new", vivify, "51 cas=9");
    cache.pass(10);
    cache.count("new", up(1), "NotFound");
    assert_eq!(cache.shard.counters().get_expired, 1);
}

#[test]
fn meta_gets_vivify_win_and_recache() {
    let mut cache = cache();
    let tokens = Tokens {
        vivify: Some(Exptime(30)),
        recache_below: Some(10),
        ..Tokens::default()
    };
    cache.meta_get("a", tokens, " cas=1 won vivified");
    cache.meta_get("a", tokens, " cas=1 sent");
    cache.get("a", " cas=1 sent");
    cache.store(
        "a",
        "v",
        Store::new(StoreMode::Set, 0, Exptime(30)),
        "stored cas=2 size=1",
    );
    cache.meta_get("a", tokens, "v cas=2");
    cache.pass(21);
    cache.meta_get("a", tokens, "v cas=2 won");
    cache.meta_get("a", tokens, "v cas=2 sent");
    let stale = Delete {
        invalidate: true,
        ..Delete::default()
    };
    cache.check("a", "", Operation::Delete(stale), "Deleted");
    cache.meta_get("a", tokens, "v cas=3 won stale");
    let empty = Delete {
        empty: Some(EmptyFlags(4)),
        ..Delete::default()
    };
    cache.check("a", "", Operation::Delete(empty), "Deleted");
    cache.get("a", " cas=3 flags=4");
    cache.pass(1000);
    cache.get("a", " cas=3 flags=4");
}

#[test]
fn a_flush_takes_what_is_there_and_nothing_later() {
    let mut cache = cache();
    cache.set("a", "1");
    cache.shard.flush(Exptime::NEVER, cache.now);
    cache.set("b", "2");
    cache.get("a", "Miss");
    cache.get("b", "2 cas=2");
    cache.shard.flush(Exptime(5), cache.now);
    cache.pass(3);
    cache.get("b", "2 cas=2");
    cache.shard.flush(Exptime(4), cache.now);
    cache.pass(2);
    cache.get("b", "2 cas=2");
    cache.pass(1);
    cache.get("b", "Miss");
    cache.set("b", "3");
    cache.get("b", "3 cas=3");
    assert_eq!(cache.shard.counters().get_flushed, 2);
}

#[test]
fn what_is_too_large_is_refused_and_a_set_takes_the_old_item_along() {
    let mut cache = with(
        64,
        Settings {
            item_size_max: 2000,
            ..Settings::default()
        },
    );
    let fits = "x".repeat(2000 - 48 - 2 - 8 - 2);
    cache.set("a", &fits);
    let larger = format!("{fits}x");
    cache.store("a", &larger, store(StoreMode::Add), "TooLarge");
    cache.store("a", "x", store(StoreMode::Append), "NotStored");
    cache.get("a", &format!("{fits} cas=1"));
    cache.store("a", &larger, store(StoreMode::Set), "TooLarge");
    cache.get("a", "Miss");
    assert_eq!(cache.shard.counters().store_too_large, 2);
}

#[test]
fn a_full_cache_forgets_what_nobody_asks_for() {
    for eviction in [Eviction::default(), Eviction::Clock] {
        let mut cache = with(
            256,
            Settings {
                eviction,
                ..Settings::default()
            },
        );
        for index in 0..20 {
            cache.set(&format!("hot-{index}"), &"h".repeat(index * 20));
        }
        for index in 0..8000 {
            cache.set_unchecked(&format!("cold-{index}"), &"c".repeat(index % 500));
            for hot in 0..20 {
                let key = format!("hot-{hot}");
                let request = Request {
                    key: key.as_bytes(),
                    hash: cache.seed.hash(key.as_bytes()),
                    value: &[],
                    operation: Operation::Get(Get::PLAIN),
                };
                if cache.shard.execute(&request, cache.now) == Reply::Miss {
                    cache.set_unchecked(&key, &"h".repeat(hot * 20));
                }
            }
        }
        let counters = cache.shard.counters();
        assert!(counters.evictions > 5000, "{counters:?}");
        assert!(counters.get_misses < 160, "{eviction:?}: {counters:?}");
    }
}

#[test]
fn memory_follows_the_sizes() {
    let mut cache = cache();
    for size in [10, 3000, 100, 900, 20] {
        for index in 0..128 * 1024 / (size + 30) {
            cache.set_unchecked(&format!("{size}-{index}"), &"v".repeat(size));
        }
        cache.shard.check();
        let counters = cache.shard.counters();
        assert!(counters.bytes > 24 * 1024, "{size}: {counters:?}");
    }
}

/// Asks for keys of one size in an order like chance, and stores what is missing; returns the share of hits.
fn ask_for(cache: &mut Cache, size: usize, keys: usize, gets: usize, random: &mut u64) -> f64 {
    let (value, mut hits) = ("v".repeat(size), 0);
    for _ in 0..gets {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = format!("{size}-{}", (*random >> 33) as usize % keys);
        if cache.has(&key) {
            hits += 1;
        } else {
            cache.set_unchecked(&key, &value);
        }
    }
    hits as f64 / gets as f64
}

#[test]
fn values_much_larger_than_the_others_push_out_each_other() {
    let (mut cache, mut random) = (with(2000, Settings::default()), 1);
    // Half the memory is enough for the small ones; the large ones would take ten times as much.
    ask_for(&mut cache, 20, 15_000, 60_000, &mut random);
    for _ in 0..6000 {
        ask_for(&mut cache, 900, 20_000, 10, &mut random);
        ask_for(&mut cache, 20, 15_000, 10, &mut random);
    }
    cache.shard.check();
    let hits = ask_for(&mut cache, 20, 15_000, 5000, &mut random);
    assert!(
        hits > 0.6,
        "{hits} of the small ones are there; without regard to size 0.29"
    );
}

#[test]
fn what_nobody_asks_for_any_more_gives_way_to_larger_values() {
    // However long it was asked for: the longer, the more references it has.
    for times in [0, 4, 16] {
        let (mut cache, mut random) = (with(4000, Settings::default()), 1);
        ask_for(&mut cache, 20, 40_000, 200_000, &mut random);
        for (size, keys) in [(150, 14_000), (1000, 2500)] {
            // Seven tenths of the memory, asked for three times on average: less than twice the memory is stored.
            ask_for(&mut cache, size, keys, keys * 3, &mut random);
            let hits = ask_for(&mut cache, size, keys, keys, &mut random);
            assert!(hits > 0.95, "{hits} of the values of {size} bytes are there");
            cache.shard.check();
            ask_for(&mut cache, size, keys, keys * times, &mut random);
        }
    }
}

#[test]
fn without_eviction_a_refusal_lasts_until_memory_is_freed() {
    let mut cache = with(
        8,
        Settings {
            evict: false,
            ..Settings::default()
        },
    );
    let value = "v".repeat(400);
    let mut count = 0;
    let add = Operation::Store(store(StoreMode::Add));
    loop {
        let key = format!("key-{count}");
        let request = Request {
            key: key.as_bytes(),
            hash: cache.seed.hash(key.as_bytes()),
            value: value.as_bytes(),
            operation: add,
        };
        if cache.shard.execute(&request, cache.now) == Reply::NoMemory {
            break;
        }
        count += 1;
    }
    assert_eq!(count, 18, "three blocks and a rest each");
    cache.check("small", "1", add, "NoMemory");
    cache.check("key-0", "", Operation::Delete(Delete::default()), "Deleted");
    cache.set("again", &value);
    cache.check("more", &value, add, "NoMemory");
    cache.shard.flush(Exptime::NEVER, cache.now);
    cache.set("after", &"v".repeat(3000));
    let counters = cache.shard.counters();
    assert_eq!((counters.evictions, counters.store_no_memory), (0, 3));
}

/// The hand stops in the middle of a page when nobody needs memory any more; what is on that page leaves as all else does.
#[test]
fn flushed_items_of_the_page_that_the_hand_stopped_at_leave_by_themselves() {
    let mut cache = cache();
    let mut index = 0;
    while cache.shard.sweep.is_none() || cache.shard.counters().evictions == 0 {
        cache.set(&format!("key-{index}"), "value");
        index += 1;
    }
    cache.shard.flush(Exptime::NEVER, cache.now);
    for _ in 0..150 {
        cache.now.seconds.0 += 1;
        while cache.shard.maintain(cache.now) {}
        cache.shard.check();
    }
    let counters = cache.shard.counters();
    assert_eq!((counters.curr_items, counters.bytes), (0, 0));
}

#[test]
fn expired_items_leave_by_themselves() {
    let mut cache = cache();
    for index in 0..100 {
        let store = Store::new(StoreMode::Set, 0, Exptime(10 + index % 3));
        let cas = cache.shard.cas + 1;
        cache.store(
            &format!("key-{index}"),
            "value",
            store,
            &format!("stored cas={cas} size=5"),
        );
    }
    for _ in 0..150 {
        cache.pass(1);
        cache.shard.maintain(cache.now);
        cache.shard.check();
    }
    let counters = cache.shard.counters();
    assert_eq!(
        (counters.curr_items, counters.bytes, counters.crawler_reclaimed),
        (0, 0, 100)
    );
    assert_eq!(counters.pages, 0, "no page is held for nothing");
}

fn reserved(outcome: Reserve) -> Reservation {
    match outcome {
        Reserve::Reserved(reservation) => reservation,
        other => panic!("there is room: {other:?}"),
    }
}

#[test]
fn a_value_may_arrive_in_pieces() {
    let mut cache = cache();
    let request = |operation| Request {
        key: b"large",
        hash: cache.seed.hash(b"large"),
        value: &[],
        operation,
    };
    let set = request(Operation::Store(store(StoreMode::Set)));
    let value: Vec<u8> = (0..5000u32).map(|index| index as u8).collect();
    for size in [0, 10, 1000, 5000] {
        let mut reservation = reserved(cache.shard.reserve(&set, size, cache.now));
        value[..size]
            .chunks(777)
            .for_each(|piece| reservation.fill(piece));
        cache.shard.commit(reservation, &set, cache.now);
        cache.shard.check();
        match cache
            .shard
            .execute(&request(Operation::Get(Get::PLAIN)), cache.now)
        {
            Reply::Hit(hit) => assert_eq!(hit.value.to_vec(), value[..size]),
            other => panic!("{other:?}"),
        }
    }
    let taken = cache.shard.pool.pages_taken();
    let abandoned = reserved(cache.shard.reserve(&set, 5000, cache.now));
    assert!(cache.shard.pool.pages_taken() > taken);
    drop(abandoned);
    assert!(cache.shard.pool.pages_taken() <= taken);
}

#[test]
fn no_shard_starves_because_another_was_first() {
    let settings = Settings {
        shards: 2,
        ..Settings::default()
    };
    let mut first = with(64, settings);
    let second = Shard::new(&settings, first.seed, Arc::clone(&first.shard.pool));
    for index in 0..200 {
        first.set_unchecked(&format!("key-{index}"), &"v".repeat(900));
    }
    assert!(first.shard.counters().evictions > 0);
    let mut second = Cache {
        shard: second,
        ..first
    };
    second.set("a", &"v".repeat(5000));
    drop(first.shard);
    assert!(second.shard.pool.pages_taken() < 16);
}

#[test]
fn pages_for_a_large_value_are_gathered_over_several_calls() {
    let mut cache = with(
        256,
        Settings {
            item_size_max: 1 << 20,
            ..Settings::default()
        },
    );
    for index in 0..20_000 {
        cache.set_unchecked(&format!("{index}"), "");
    }
    let set = Request {
        key: b"large",
        hash: cache.seed.hash(b"large"),
        value: &[],
        operation: Operation::Store(store(StoreMode::Set)),
    };
    let size = 150 * 1024;
    let mut calls = 0;
    let reservation = loop {
        calls += 1;
        let evictions = cache.shard.counters().evictions;
        let outcome = cache.shard.reserve(&set, size, cache.now);
        assert!(cache.shard.counters().evictions - evictions <= 1000, "bounded");
        cache.shard.check();
        match outcome {
            Reserve::Again => assert!(calls < 100),
            Reserve::Reserved(reservation) => break reservation,
            Reserve::Refused(reply) => panic!("{reply:?}"),
        }
    };
    assert!(calls > 3, "{calls}");
    drop(reservation);

    // What was gathered for somebody who does not come back is free again soon.
    for index in 0..20_000 {
        cache.set_unchecked(&format!("{index}"), "");
    }
    assert!(matches!(
        cache.shard.reserve(&set, size, cache.now),
        Reserve::Again
    ));
    let hoarded = cache.shard.hoard.pages.len();
    assert!(hoarded > 0);
    cache.shard.maintain(cache.now);
    assert_eq!(cache.shard.hoard.pages.len(), hoarded);
    cache.now.seconds.0 += 2;
    cache.shard.maintain(cache.now);
    assert!(cache.shard.hoard.pages.is_empty());
    cache.shard.check();
}

#[test]
fn what_is_forgotten_is_listed_for_who_asks() {
    let mut cache = with(8, Settings::default());
    for number in 0..20 * 8 {
        cache.set_unchecked(&format!("key-{number}"), &"v".repeat(PAGE_SIZE / 10));
    }
    let forgotten = |cache: &Cache| cache.shard.counters().evictions;
    let unheard = forgotten(&cache);
    assert!(unheard > 0);
    assert_eq!(cache.shard.take_evicted(|_| panic!("nobody has asked")), 0);

    cache.shard.list_evicted(true);
    let (mut heard, mut without) = (0, 0);
    for number in 0..1000 {
        cache.set_unchecked(&format!("new-{number}"), &"v".repeat(PAGE_SIZE / 10));
        cache.shard.maintain(cache.now);
        let before = heard;
        let unlisted = cache.shard.take_evicted(|evicted| {
            heard += 1;
            assert!(evicted.key.starts_with(b"key-") || evicted.key.starts_with(b"new-"));
            assert_eq!((evicted.value_size, evicted.left), (PAGE_SIZE / 10, None));
            assert!(!evicted.fetched && (1..64).contains(&evicted.class));
        });
        assert_eq!(unlisted, 0);
        // One item goes where one comes, so that who watches sees what a store has displaced; now and then the one is
        // lucky and stays.
        assert!(heard - before <= 10, "{} at once", heard - before);
        without += u32::from(heard == before);
        assert_eq!(heard, forgotten(&cache) - unheard);
    }
    assert!(without < 20, "{without} stores of 1,000 displaced nothing");

    // Whoever asks and does not listen costs no more than the list.
    for number in 0..10_000 {
        cache.set_unchecked(&format!("more-{number}"), &"v".repeat(PAGE_SIZE / 10));
    }
    let mut listed = 0;
    let unlisted = cache.shard.take_evicted(|_| listed += 1);
    assert_eq!(listed + unlisted, forgotten(&cache) - unheard - heard);
    assert!(unlisted > 0 && listed > 0);
    cache.shard.list_evicted(false);
    cache.set_unchecked("last", &"v".repeat(PAGE_SIZE / 10));
    assert_eq!(cache.shard.take_evicted(|_| panic!("nobody asks any more")), 0);
}

#[test]
fn a_glance_changes_nothing() {
    let mut cache = cache();
    cache.store(
        "a",
        "value",
        Store::new(StoreMode::Set, 0, Exptime(10)),
        "stored cas=1 size=5",
    );
    let before = cache.shard.counters();
    let glance = |cache: &mut Cache, key: &str| {
        let request = Request {
            key: key.as_bytes(),
            hash: cache.seed.hash(key.as_bytes()),
            value: &[],
            operation: Operation::Inspect,
        };
        let (shard, now) = (&mut cache.shard, cache.now);
        shard.glance(&request, now)
    };
    let seen = glance(&mut cache, "a").expect("it is there");
    assert_eq!((seen.value_size, seen.left), (5, Some(10)));
    assert!(!seen.has_expired && !seen.is_flushed);
    assert_eq!(seen.class, cache.shard.class_for(b"a", 5));
    assert_eq!(glance(&mut cache, "b"), None);
    cache.now.seconds.0 += 10;
    assert!(
        glance(&mut cache, "a")
            .expect("nobody has removed it")
            .has_expired
    );
    cache.shard.flush(Exptime::NEVER, cache.now);
    assert!(glance(&mut cache, "a").expect("nobody has removed it").is_flushed);
    assert_eq!(before, cache.shard.counters());
}

/// What others hold of a value stays as it was, and memory comes back when they let go.
#[test]
fn a_value_grows_at_both_ends_while_others_send_it() {
    let settings = Settings {
        item_size_max: 1 << 20,
        ..Settings::default()
    };
    let mut cache = with(1024, settings);
    let mut want = Vec::new();
    let mut held = Vec::new();
    let sizes = [
        1,
        100,
        1023,
        1024,
        1025,
        5000,
        16 * 1024 + 1000,
        17 * 1024,
        40_000,
    ];
    for step in 0..120usize {
        let size = sizes[step * 7 % sizes.len()];
        let new: Vec<u8> = (0..size).map(|index| (index * 31 + step * 17) as u8).collect();
        let mode = match step % 3 {
            0 if want.is_empty() || want.len() > 300_000 => StoreMode::Set,
            0 | 1 => StoreMode::Append,
            _ => StoreMode::Prepend,
        };
        want = match mode {
            StoreMode::Set => new.clone(),
            StoreMode::Append => [&want[..], &new].concat(),
            _ => [&new[..], &want].concat(),
        };
        let request = |operation| Request {
            key: b"large",
            hash: cache.seed.hash(b"large"),
            value: &[],
            operation,
        };
        let grow = request(Operation::Store(store(mode)));
        let mut reservation = reserved(cache.shard.reserve(&grow, size, cache.now));
        reservation.fill(&new);
        let reply = cache.shard.commit(reservation, &grow, cache.now);
        assert!(matches!(reply, Reply::Stored { value_size, .. } if value_size as usize == want.len()));
        cache.shard.check();
        let get = request(Operation::Get(Get::PLAIN));
        let Reply::Hit(hit) = cache.shard.execute(&get, cache.now) else {
            panic!("it was just stored");
        };
        assert!(hit.value.to_vec() == want, "step {step}");
        let chain = crate::memory::Chain::of(hit.value.segments);
        let waste = chain.pages() * PAGE_SIZE - chain.size();
        assert!(
            waste <= PAGE_SIZE * (1 + want.len() / (16 * PAGE_SIZE)),
            "step {step}: {waste}"
        );
        if step % 2 == 0 {
            let bytes = chain.pieces().collect::<Vec<_>>().concat();
            held.push((chain, bytes));
        }
        if held.len() > 5 {
            held.remove(0);
        }
        for (chain, bytes) in &held {
            assert!(chain.pieces().flatten().eq(bytes), "step {step}");
        }
    }
    let delete = Operation::Delete(Delete::default());
    cache.check("large", "", delete, "Deleted");
    assert!(cache.shard.pool.pages_taken() > 100, "they are being sent");
    held.clear();
    let taken = cache.shard.pool.pages_taken();
    assert_eq!(taken as u64, cache.shard.counters().pages);
    assert!(taken < 10, "{taken}");
}

#[test]
fn memory_goes_to_the_shard_that_empties_its_pages_early() {
    let (mut shards, pool) = shards::<2>(256, PAGE_SIZE);
    // Whatever is stored is asked for before the hand comes, so that both shards have a main ring.
    let run = |shards: &mut [Shard; 2], steps: std::ops::Range<u32>, part: u32| {
        let mut moved_most = 0;
        for step in steps {
            let shard = &mut shards[usize::from(step.is_multiple_of(part))];
            let pages = shard.counters().pages;
            let key = format!("key-{step}");
            let request = |value, operation| Request {
                key: key.as_bytes(),
                hash: SEED.hash(key.as_bytes()),
                value,
                operation,
            };
            shard.execute(&request(&[7; 80], Operation::Store(store(StoreMode::Set))), NOW);
            shard.execute(&request(&[], Operation::Get(Get::PLAIN)), NOW);
            shard.maintain(NOW);
            moved_most = moved_most.max(shard.counters().pages.abs_diff(pages));
            if step.is_multiple_of(1_000) {
                shards.iter().for_each(Shard::check);
            }
        }
        moved_most
    };
    run(&mut shards, 0..20_000, 2);
    let even = shards.each_ref().map(|shard| shard.counters().pages);
    assert!(even[0].abs_diff(even[1]) < 40, "{even:?}");
    // One of the shards gets nine tenths of the stores now.
    let moved_most = run(&mut shards, 20_000..120_000, 10);
    let uneven = shards.each_ref().map(|shard| shard.counters().pages);
    assert!(uneven[0] > uneven[1] * 2, "{uneven:?} after {even:?}");
    assert!(uneven[1] >= 32, "what is promised stays: {uneven:?}");
    assert!(moved_most <= 2, "page by page");
    // And back.
    run(&mut shards, 120_000..220_000, 2);
    let even = shards.each_ref().map(|shard| shard.counters().pages);
    assert!(even[0].abs_diff(even[1]) < 60, "{even:?} after {uneven:?}");
    drop(shards);
    assert_eq!((pool.ages(), pool.pages_taken()), ([0; 2], 0));
}

#[test]
fn a_scan_leaves_every_shard_its_part() {
    let (mut shards, _pool) = shards::<4>(128, 64 * PAGE_SIZE);
    for step in 0..40_000 {
        let key = format!("key-{step}");
        let hash = SEED.hash(key.as_bytes());
        let shard = &mut shards[hash.owner(4)];
        let request = Request {
            key: key.as_bytes(),
            hash,
            value: &[7; 1000],
            operation: Operation::Store(store(StoreMode::Set)),
        };
        shard.execute(&request, NOW);
        shard.maintain(NOW);
    }
    let pages = shards.each_ref().map(|shard| shard.counters().pages);
    assert!(pages.iter().all(|pages| (24..42).contains(pages)), "{pages:?}");
}
