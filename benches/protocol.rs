//! What parsing each common request and writing each common reply costs, in nanoseconds.
//!
//! `cargo bench --bench protocol [-- part of a name]`. Each figure is the fastest of several rounds over a buffer of many requests with
//! different keys, so that branches are learnt as on a busy server and not by heart. Every round checks how
//! many requests came out. "ns each" is per key for a multi-get.

mod measure;

use std::hint::black_box;
use std::sync::Arc;

use memchr::memmem;
use ringcached::command::{Counted, Hit, Operation, Reply, Request, Store, StoreMode, Value};
use ringcached::hash::KeySeed;
use ringcached::memory::Pool;
use ringcached::protocol::{Dialects, MetaVerb, Parsed, Parser, Scratch, Spelling, write};
use ringcached::shard::{Settings, Shard};
use ringcached::time::{Exptime, Now, Seconds};

use measure::measure;

const REQUESTS: usize = 64;
const NOW: Now = Now {
    seconds: Seconds(100),
    unix_start: 1_700_000_000,
};

fn key(index: usize) -> String {
    // 10 to 30 bytes.
    format!("key:{:0width$}", index * 7919, width = 6 + index % 21)
}

/// Parses a buffer made of `request(index)`, expecting `keys` requests of each.
fn parse(name: &str, keys: usize, request: impl Fn(usize) -> Vec<u8>) {
    let input: Vec<u8> = (0..REQUESTS).flat_map(request).collect();
    let mut parser = Parser::new(KeySeed::fixed(1), Dialects::Any);
    measure(name, REQUESTS * keys, || {
        let (mut rest, mut requests) = (black_box(&input[..]), 0);
        loop {
            let scratch = Scratch::default();
            let parsed = parser.parse(rest, &scratch);
            black_box(&parsed);
            match parsed {
                Parsed::Request { size, .. } => {
                    requests += 1;
                    rest = &rest[size..];
                }
                Parsed::Say { size, .. } => rest = &rest[size..],
                Parsed::Partial => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((requests, rest.len()), (REQUESTS * keys, 0));
    });
}

/// Writes `reply` with a key of 20 bytes, expecting `size` bytes.
fn reply(name: &str, spelling: Spelling, text: &[u8], reply: Reply<'_>, size: usize) {
    let mut out = Vec::with_capacity(64 * 1024);
    measure(name, REQUESTS, || {
        out.clear();
        for _ in 0..REQUESTS {
            let (key, reply) = (black_box(&b"key:0000000000001234"[..]), black_box(&reply));
            let tail = write(&mut out, black_box(spelling), key, text, reply, 16 * 1024);
            assert!(tail.is_none());
        }
        assert_eq!(black_box(&out).len(), REQUESTS * size);
    });
}

/// All of a get but the kernel: parsed, looked up in a shard, and its reply of 100 bytes and more written. The items are in
/// the processor's cache.
fn get(name: &str, request: impl Fn(usize) -> Vec<u8>) {
    let seed = KeySeed::fixed(1);
    let mut shard = Shard::new(
        &Settings::default(),
        seed,
        Arc::new(Pool::new(64 << 20, 64 * 1024)),
    );
    let value = [b'v'; 100];
    for index in 0..REQUESTS {
        let key = key(index);
        let store = Request {
            key: key.as_bytes(),
            hash: seed.hash(key.as_bytes()),
            value: &value,
            operation: Operation::Store(Store::new(StoreMode::Set, 0, Exptime::NEVER)),
        };
        assert!(matches!(shard.execute(&store, NOW), Reply::Stored { .. }));
    }
    let input: Vec<u8> = (0..REQUESTS).flat_map(request).collect();
    let mut parser = Parser::new(seed, Dialects::Any);
    let mut out = Vec::with_capacity(64 * 1024);
    let mut serve = || {
        out.clear();
        let mut rest = black_box(&input[..]);
        let scratch = Scratch::default();
        while let Parsed::Request {
            request,
            spelling,
            text,
            size,
        } = parser.parse(rest, &scratch)
        {
            let reply = shard.execute(&request, NOW);
            assert!(write(&mut out, spelling, request.key, text, &reply, 16 * 1024).is_none());
            rest = &rest[size..];
        }
        assert!(rest.is_empty());
        black_box(&out).len()
    };
    let size = serve();
    measure(name, REQUESTS, || assert_eq!(size, serve()));
    assert_eq!(REQUESTS, memmem::find_iter(&out, &value).count());
}

fn packet(opcode: u8, extras: &[u8], key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0, 0, 0]);
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend([extras, key, value].concat());
    bytes
}

fn main() {
    let value = "v".repeat(100);
    println!("parse, look up, write");
    get("  get of 100 bytes", |index| {
        format!("get {}\r\n", key(index)).into()
    });
    get("  mg v of 100 bytes", |index| {
        format!("mg {} v\r\n", key(index)).into()
    });
    get("  binary Get of 100 bytes", |index| {
        packet(0x00, &[], key(index).as_bytes(), &[])
    });

    println!("parse (an outcome is {} bytes)", size_of::<Parsed<'_>>());
    parse("  get", 1, |index| format!("get {}\r\n", key(index)).into());
    parse("  gets", 1, |index| format!("gets {}\r\n", key(index)).into());
    parse("  get of 50 keys", 50, |index| {
        let keys: Vec<String> = (0..50).map(|other| key(index * 50 + other)).collect();
        format!("get {}\r\n", keys.join(" ")).into()
    });
    parse("  set of 100 bytes", 1, |index| {
        format!("set {} 0 0 100\r\n{value}\r\n", key(index)).into()
    });
    parse("  set of 100 bytes, flags, exptime, noreply", 1, |index| {
        format!("set {} 32 3600 100 noreply\r\n{value}\r\n", key(index)).into()
    });
    parse("  delete", 1, |index| format!("delete {}\r\n", key(index)).into());
    parse("  incr", 1, |index| format!("incr {} 1\r\n", key(index)).into());
    parse("  touch", 1, |index| {
        format!("touch {} 60\r\n", key(index)).into()
    });
    parse("  mg v", 1, |index| format!("mg {} v\r\n", key(index)).into());
    parse("  mg v f c k O123 q", 1, |index| {
        format!("mg {} v f c k O123 q\r\n", key(index)).into()
    });
    parse("  ms of 100 bytes T60 F32", 1, |index| {
        format!("ms {} 100 T60 F32\r\n{value}\r\n", key(index)).into()
    });
    parse("  binary Get", 1, |index| {
        packet(0x00, &[], key(index).as_bytes(), &[])
    });
    parse("  binary Set of 100 bytes", 1, |index| {
        packet(0x01, &[0; 8], key(index).as_bytes(), value.as_bytes())
    });

    println!("write");
    let classic = |with_cas| Spelling::Classic {
        silent: false,
        with_cas,
        last: true,
        counts: false,
    };
    let meta = Spelling::Meta {
        verb: MetaVerb::Get,
        quiet: false,
        key_is_binary: false,
        with_value: true,
        compares: false,
        value_size: 0,
    };
    let binary = Spelling::Binary { opcode: 0, opaque: 1 };
    let hit = Reply::Hit(Hit {
        key: b"key:0000000000001234",
        value: Value::whole(value.as_bytes()),
        flags: 0,
        cas: 123_456,
        left_before: Some(30),
        left_after: Some(30),
        idle: 5,
        fetched: true,
        key_is_binary: false,
        won: false,
        stale: false,
        token_sent: false,
        vivified: false,
        class: 3,
        item_size: 64,
    });
    let stored = Reply::Stored {
        cas: 1,
        value_size: 100,
        key_is_binary: false,
    };
    let counted = Reply::Counted(Counted {
        number: 12_345,
        cas: 1,
        flags: 0,
        left_before: None,
        left_after: None,
        key_is_binary: false,
    });
    reply(
        "  VALUE of 100 bytes, END",
        classic(false),
        b"",
        hit,
        6 + 20 + 8 + 102 + 5,
    );
    reply(
        "  VALUE of 100 bytes with cas, END",
        classic(true),
        b"",
        hit,
        6 + 20 + 8 + 7 + 102 + 5,
    );
    reply("  END (miss)", classic(false), b"", Reply::Miss, 5);
    reply("  STORED", classic(false), b"", stored, 8);
    reply("  a counter", classic(false), b"", counted, 7);
    reply("  VA of 100 bytes (v)", meta, b" v", hit, 6 + 2 + 102);
    reply(
        "  VA of 100 bytes (v f c k O123)",
        meta,
        b" v f c k O123",
        hit,
        6 + 3 + 8 + 22 + 5 + 2 + 102,
    );
    reply("  binary hit of 100 bytes", binary, b"", hit, 24 + 4 + 100);
}
