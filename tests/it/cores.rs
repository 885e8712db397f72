//! Several cores answer like one: in order, once, and with what was written last.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::sched_getaffinity;

use crate::harness::{Client, Random, Server, skip, testing_memcached};

const THREADS: [&str; 3] = ["1", "2", "4"];

/// Requests in flight on one connection.
const PIPELINE: usize = 100;

/// Many connections at once, each with long pipelines over keys of all cores. A connection's own keys must hold
/// exactly what it wrote; keys that all of them write must hold something that somebody wrote for that key.
#[test]
fn every_request_is_answered_once_in_order() {
    const CONNECTIONS: u64 = 24;
    const ROUNDS: usize = 60;
    for threads in THREADS {
        let server = Server::start(&["-t", threads, "-m", "256"]);
        let address = server.address();
        std::thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                scope.spawn(move || {
                    let mut worker = Worker::new(Client::connect(address), number);
                    (0..ROUNDS).for_each(|_| worker.round());
                });
            }
        });
    }
}

/// Memory for one shard, or two: the other cores serve their connections as well.
#[test]
fn cores_without_keys_of_their_own_serve_too() {
    for megabytes in ["2", "32"] {
        let server = Server::start(&["-t", "4", "-m", megabytes]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            client.set(&format!("key-{number}"), format!("value-{number}").as_bytes());
        }
        for (reader, client) in clients.iter_mut().enumerate() {
            for number in 0..8 {
                let want = format!("value-{number}").into_bytes();
                assert_eq!(
                    Some(want),
                    client.get(&format!("key-{number}")),
                    "client {reader}, {megabytes} MB"
                );
            }
        }
        clients[3].check("flush_all\n", "OK\n");
        assert!((0..8).all(|number| clients[4].get(&format!("key-{number}")).is_none()));
    }
}

/// One connection of the stress test, and what it knows.
struct Worker {
    client: Client,
    number: u64,
    random: Random,
    /// What its own keys hold.
    model: HashMap<u64, Vec<u8>>,
}

/// What must come back.
enum Expect {
    Line(&'static str),
    Number(u64),
    Own(u64, Option<Vec<u8>>),
    Shared(u64),
    Many(Vec<(u64, Option<Vec<u8>>)>),
}

impl Worker {
    fn new(client: Client, number: u64) -> Worker {
        Worker {
            client,
            number,
            random: Random(number),
            model: HashMap::new(),
        }
    }

    /// Sends one pipeline, then reads and checks every answer.
    fn round(&mut self) {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..PIPELINE {
            expected.extend(self.request(&mut requests));
        }
        self.client.send(requests);
        for expectation in expected {
            self.verify(expectation);
        }
    }

    /// Adds one request; `None` where it has no answer.
    fn request(&mut self, out: &mut Vec<u8>) -> Option<Expect> {
        let key = self.random.below(300) as u64;
        let own = self.own(key);
        match self.random.below(12) {
            0..=2 => {
                let value = self.fresh_value();
                store(out, "set", &own, &value, false);
                self.model.insert(key, value);
                Some(Expect::Line("STORED"))
            }
            3 => {
                let value = self.fresh_value();
                store(out, "set", &own, &value, true);
                self.model.insert(key, value);
                None
            }
            4..=6 => {
                out.extend_from_slice(format!("get {own}\r\n").as_bytes());
                Some(Expect::Own(key, self.model.get(&key).cloned()))
            }
            7 => {
                let keys: Vec<u64> = (0..self.random.below(40) + 1)
                    .map(|_| self.random.below(300) as u64)
                    .collect();
                let names: Vec<String> = keys.iter().map(|key| self.own(*key)).collect();
                out.extend_from_slice(format!("get {}\r\n", names.join(" ")).as_bytes());
                Some(Expect::Many(
                    keys.into_iter()
                        .map(|key| (key, self.model.get(&key).cloned()))
                        .collect(),
                ))
            }
            8 => {
                out.extend_from_slice(format!("delete {own}\r\n").as_bytes());
                Some(Expect::Line(if self.model.remove(&key).is_some() {
                    "DELETED"
                } else {
                    "NOT_FOUND"
                }))
            }
            9 => {
                store(out, "add", &own, b"1", false);
                if self.model.contains_key(&key) {
                    return Some(Expect::Line("NOT_STORED"));
                }
                self.model.insert(key, b"1".to_vec());
                Some(Expect::Line("STORED"))
            }
            10 => {
                let name = self.own(1_000_000);
                let count = self.model.entry(1_000_000).or_insert_with(|| b"0".to_vec());
                let number = String::from_utf8_lossy(count).parse::<u64>().expect("a counter");
                if number == 0 {
                    store(out, "set", &name, b"0", true);
                }
                *count = (number + 1).to_string().into_bytes();
                out.extend_from_slice(format!("incr {name} 1\r\n").as_bytes());
                Some(Expect::Number(number + 1))
            }
            _ => {
                let shared = self.random.below(50) as u64;
                if self.random.one_in(2) {
                    let size = self.random.below(3000);
                    store(
                        out,
                        "set",
                        &format!("shared-{shared}"),
                        &shared_value(shared, self.number, size),
                        false,
                    );
                    return Some(Expect::Line("STORED"));
                }
                out.extend_from_slice(format!("get shared-{shared}\r\n").as_bytes());
                Some(Expect::Shared(shared))
            }
        }
    }

    fn verify(&mut self, expectation: Expect) {
        match expectation {
            Expect::Line(want) => assert_eq!(want, self.client.line()),
            Expect::Number(want) => assert_eq!(want.to_string(), self.client.line()),
            Expect::Own(key, want) => self.verify_values(vec![(key, want)]),
            Expect::Many(wants) => self.verify_values(wants),
            Expect::Shared(key) => {
                if let Some((name, value)) = self.client.value() {
                    assert_eq!(format!("shared-{key}"), name);
                    let writer = value[..8].try_into().map(u64::from_le_bytes).expect("8 bytes");
                    assert!(
                        value == shared_value(key, writer, value.len() - 8),
                        "shared-{key} holds a mixture"
                    );
                    assert_eq!(None, self.client.value());
                }
            }
        }
    }

    /// The hits among `wants`, in order, and END.
    fn verify_values(&mut self, wants: Vec<(u64, Option<Vec<u8>>)>) {
        for (key, want) in wants {
            if let Some(want) = want {
                assert_eq!(Some((self.own(key), want)), self.client.value());
            }
        }
        assert_eq!(None, self.client.value());
    }

    fn own(&self, key: u64) -> String {
        format!("own-{}-{key}", self.number)
    }

    fn fresh_value(&mut self) -> Vec<u8> {
        let size = if self.random.one_in(50) {
            self.random.below(100_000)
        } else {
            self.random.below(300)
        };
        crate::classic::pattern(size, self.random.next())
    }
}

fn store(out: &mut Vec<u8>, verb: &str, key: &str, value: &[u8], noreply: bool) {
    let silence = if noreply { " noreply" } else { "" };
    out.extend_from_slice(format!("{verb} {key} 0 0 {}{silence}\r\n", value.len()).as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A value that says whose it is, so that half of one and half of another is noticed.
fn shared_value(key: u64, writer: u64, size: usize) -> Vec<u8> {
    let mut value = writer.to_le_bytes().to_vec();
    value.extend(crate::classic::pattern(size, key * 1_000_003 + writer));
    value
}

#[test]
fn counting_together_loses_nothing() {
    const CONNECTIONS: u64 = 8;
    const EACH: u64 = 2000;
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        server.connect().set("count", b"0");
        let address = server.address();
        std::thread::scope(|scope| {
            for number in 0..CONNECTIONS {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    let silent = number % 2 == 0;
                    for _ in 0..EACH / 100 {
                        let request = if silent {
                            "incr count 1 noreply\r\n"
                        } else {
                            "incr count 1\r\n"
                        };
                        client.send(request.repeat(100));
                        let mut last = 0;
                        for _ in 0..if silent { 0 } else { 100 } {
                            let now: u64 = client.line().parse().expect("a number");
                            assert!(now > last, "{now} after {last}");
                            last = now;
                        }
                    }
                    client.check("get nothing\n", "END\n");
                });
            }
        });
        let total = (CONNECTIONS * EACH).to_string().into_bytes();
        assert_eq!(Some(total), server.connect().get("count"), "{threads} threads");
    }
}

#[test]
fn what_one_wrote_another_reads() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        let mut random = Random(3);
        for round in 0..2000 {
            let key = format!("key{}", random.below(100));
            let value = round.to_string().into_bytes();
            let writer = random.below(8);
            clients[writer].set(&key, &value);
            let reader = random.below(8);
            assert_eq!(
                Some(value),
                clients[reader].get(&key),
                "{threads} threads, {writer} to {reader}"
            );
        }
    }
}

/// Cores fall asleep between requests; a wake-up that is lost would leave a request unanswered until the deadline.
#[test]
fn nobody_sleeps_through_a_request() {
    for threads in ["2", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        let mut random = Random(17);
        for round in 0..400 {
            // From no pause at all to one that is longer than any core goes on polling.
            let pause = Duration::from_micros([1, 20, 60, 200, 3000][random.below(5)]);
            let client = &mut clients[random.below(4)];
            let paused = Instant::now();
            while paused.elapsed() < pause {
                std::hint::spin_loop();
            }
            let keys: Vec<String> = (0..8).map(|key| format!("key{round}-{key}")).collect();
            let sets: String = keys.iter().map(|key| format!("set {key} 0 0 1\nx\n")).collect();
            let values: String = keys.iter().map(|key| format!("VALUE {key} 0 1\nx\n")).collect();
            let gets = keys.join(" ");
            client.check(
                &format!("{sets}get {gets}\n"),
                &format!("{}{values}END\n", "STORED\n".repeat(8)),
            );
        }
    }
}

#[test]
fn a_flush_reaches_every_core_before_it_is_answered() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for round in 0..50 {
            for key in 0..40 {
                clients[key % 8].set(&format!("key{key}"), b"x");
            }
            clients[round % 8].check("flush_all\n", "OK\n");
            let keys: Vec<String> = (0..40).map(|key| format!("key{key}")).collect();
            for client in &mut clients {
                client.check(&format!("get {}\n", keys.join(" ")), "END\n");
            }
            // In one pipeline it is a barrier: before it everything is there, after it nothing, then what is new.
            let sets: String = keys.iter().map(|key| format!("set {key} 0 0 1\nx\n")).collect();
            let gets: String = keys.iter().map(|key| format!("get {key}\n")).collect();
            let hits: String = keys
                .iter()
                .map(|key| format!("VALUE {key} 0 1\nx\nEND\n"))
                .collect();
            clients[(round + 1) % 8].check(
                &format!("{sets}{gets}flush_all\n{gets}{sets}{gets}flush_all noreply\n{gets}"),
                &format!(
                    "{stored}{hits}OK\n{misses}{stored}{hits}{misses}",
                    stored = "STORED\n".repeat(40),
                    misses = "END\n".repeat(40)
                ),
            );
        }
    }
}

#[test]
fn statistics_are_of_all_cores() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for key in 0..400 {
            clients[key % 8].set(&format!("key{key}"), b"x");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(
                400,
                client.stat("curr_items"),
                "{threads} threads, connection {number}"
            );
            assert_eq!(400, client.stat("cmd_set"));
            assert!(client.get(&format!("key{number}")).is_some());
        }
        // In a pipeline, statistics count what stands before them.
        let mut client = server.connect();
        client.send("get key0 key1 key2 none\r\nstats\r\n");
        while client.line() != "END" {}
        let mut hits = None;
        loop {
            let line = client.line();
            if line == "END" {
                break;
            }
            hits = hits.or_else(|| line.strip_prefix("STAT get_hits ").map(str::to_owned));
        }
        assert_eq!(Some("11"), hits.as_deref(), "{threads} threads");
        assert_eq!("RESET", clients[3].ask("stats reset"));
        for client in &mut clients {
            assert_eq!(0, client.stat("cmd_set"), "{threads} threads");
            assert_eq!(400, client.stat("curr_items"));
        }
    }
}

/// A thread is kept on one CPU when that is asked for, and by itself only where no other CPU would stand idle.
#[test]
fn threads_are_kept_on_cpus() {
    if testing_memcached() {
        return skip("--pin", "only ringcached has it");
    }
    let cpus = |thread: Option<Pid>| sched_getaffinity(thread).expect("a thread").count();
    let all = cpus(None);
    for (pin, want) in [("always", 1), ("auto", all), ("never", all)] {
        let server = Server::start(&["-t", "1", "--pin", pin]);
        assert_eq!(want, cpus(Some(server.thread("core 0"))), "{pin}");
    }
}
