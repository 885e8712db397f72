//! Memory after much use is memory after little: nothing leaks and nothing crumbles.

use crate::harness::{Client, Random, Server, testing_memcached};

const MEGABYTES: u64 = 128;

/// Writes `bytes` of items, most of them small, some in blocks, some in pages; the same every time, under other keys.
fn fill(client: &mut Client, round: usize, exptime: u32, bytes: usize) {
    let mut random = Random(7);
    let value = vec![b'v'; 400_000];
    let mut written = 0;
    let mut requests = Vec::new();
    for number in 0.. {
        let size = match random.next() % 64 {
            0 => 9_000 + random.next() % 50_000,
            1 if number % 8 == 0 => 70_000 + random.next() % 300_000,
            2..12 => 500 + random.next() % 4000,
            _ => random.next() % 300,
        } as usize;
        let line = format!("set {round}:{number} 0 {exptime} {size} noreply\r\n");
        requests.extend_from_slice(line.as_bytes());
        requests.extend_from_slice(&value[..size]);
        requests.extend_from_slice(b"\r\n");
        written += line.len() + size;
        if requests.len() > 100_000 {
            client.send(&requests);
            requests.clear();
        }
        if written > bytes {
            break;
        }
    }
    client.check_bytes(&requests, b"");
}

/// Filled, and emptied by a flush or by time, again and again: resident memory stays where the first filling left it.
/// So it is after 100 rounds, too (`RINGCACHED_ROUNDS`).
#[test]
fn memory_stays_where_the_first_filling_left_it() {
    if testing_memcached() {
        return;
    }
    let rounds = std::env::var("RINGCACHED_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let megabytes = MEGABYTES.to_string();
    let server = Server::start(&["-t", "2", "-m", &megabytes, "-o", "relaxed_privileges"]);
    let mut client = server.connect();
    let bytes = (MEGABYTES as usize) << 20;
    let (mut first, mut most) = (0, 0);
    for round in 0..rounds.unwrap_or(6) {
        let exptime = if round % 2 == 0 { 0 } else { 100 };
        fill(&mut client, round, exptime, bytes + bytes / 2);
        let now = server.memory("VmRSS");
        if round == 0 {
            first = now;
        }
        most = most.max(now);
        match round % 2 {
            0 => client.check("flush_all\n", "OK\n"),
            _ => client.check("debugtime 200\n", "OK\n"),
        }
    }
    assert_eq!(0, client.stat("store_no_memory"));
    eprintln!("resident: {first} bytes when filled first, {most} at most later");
    assert!(first > bytes as u64, "it was full: {first}");
    assert!(most <= first + first * 3 / 100, "{first} grew to {most}");
}

/// In a full memory whoever comes takes the place of another, however many shards there are: who watches evictions sees
/// one for each set.
#[test]
fn who_watches_sees_one_go_for_each_that_comes() {
    if testing_memcached() {
        return;
    }
    for (threads, size, count) in [("1", 1000, 20_000), ("4", 1000, 20_000), ("4", 11_000, 8000)] {
        let megabytes = (size * count / (3 << 19)).to_string();
        let server = Server::start(&["-t", threads, "-m", &megabytes]);
        let mut client = server.connect();
        let value = "v".repeat(size);
        for number in 0..count {
            client.send(format!("set {number} 0 0 {size} noreply\r\n{value}\r\n"));
            if number % 1000 == 999 {
                client.check("get nothing\n", "END\n");
            }
        }
        let mut watcher = server.connect();
        assert_eq!("OK", watcher.ask("watch evictions"));
        let mut before = client.stat("evictions");
        for number in 0..100 {
            client.check(&format!("set again{number} 0 0 {size}\n{value}\n"), "STORED\n");
            let now = client.stat("evictions");
            assert!(
                now > before,
                "{threads} threads, {size} bytes: set {number} forgot nobody"
            );
            before = now;
        }
    }
}
