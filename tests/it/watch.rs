//! `watch`: every stream has its lines, nobody can forge one, and what is left out is said.

use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::harness::{Client, DEADLINE, Server, testing_memcached};

const THREADS: [&str; 3] = ["1", "2", "4"];

/// A connection that watches.
struct Watcher {
    client: Client,
    /// The number of the last line that it read.
    number: u64,
    /// Lines that were left out, as it was told.
    skipped: u64,
}

impl Watcher {
    fn new(server: &Server, streams: &str) -> Watcher {
        let mut client = server.connect();
        assert_eq!("OK", client.ask(&format!("watch {streams}")));
        Watcher {
            client,
            number: 0,
            skipped: 0,
        }
    }

    /// The next line of an event without its stamp, which must be of now; `skipped=` is counted.
    fn line(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                line.extend(self.client.exact(1));
            }
            assert!(!line.ends_with(b"\r\n"), "{line:?}");
            line.pop();
            let line = String::from_utf8(line).expect("text");
            if let Some(count) = line.strip_prefix("skipped=") {
                self.skipped += count.parse::<u64>().expect("a count");
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (time, number) = (words.next().unwrap(), words.next().unwrap());
            let time = time.strip_prefix("ts=").expect("a time");
            let (seconds, micros) = time.split_once('.').expect("a fraction");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
            assert!(now.as_secs() - seconds.parse::<u64>().expect("seconds") <= DEADLINE.as_secs());
            assert!(micros.parse::<u32>().expect("microseconds") < 1_000_000);
            let number = number.strip_prefix("gid=").expect("a number");
            self.number = number.parse().expect("a number");
            return words.next().expect("an event").to_owned();
        }
    }

    /// The next lines, whose numbers grow, are these: `class` stands for a class, `fd` for a descriptor.
    #[track_caller]
    fn expect(&mut self, want: &[&str], asked: &str) {
        for want in want {
            let before = self.number;
            let got = anonymous(&self.line());
            assert_eq!(*want, got, "after {asked}");
            assert!(self.number > before, "{} follows {before}", self.number);
        }
    }
}

/// A line in which classes above 0 and descriptors do not matter.
fn anonymous(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.split_once('=') {
        Some(("clsid", class)) if class != "0" => {
            assert!(
                (1..64).contains(&class.parse::<u32>().expect("a class")),
                "{line}"
            );
            "clsid=class"
        }
        Some(("cfd", _)) => "cfd=fd",
        Some(("rport", port)) if port != "0" => "rport=port",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let words = line.split(' ').filter_map(|word| word.split_once('='));
    words.into_iter().find(|(key, _)| *key == name).expect(name).1
}

/// The descriptor by which the server knows this connection.
fn descriptor(client: &mut Client) -> i32 {
    let own = format!("tcp:{}", client.socket().local_addr().expect("an address"));
    client.send("stats conns\r\n");
    let mut found = None;
    loop {
        let line = client.line();
        if line == "END" {
            return found.expect("this connection");
        }
        let (fd, rest) = line["STAT ".len()..].split_once(':').expect("a descriptor");
        if rest == format!("addr {own}") {
            found = fd.parse().ok();
        }
    }
}

fn missed(key: &str) -> String {
    format!("type=item_get key={key} status=not_found clsid=0 cfd=fd size=0")
}

fn met(key: &str, size: usize) -> String {
    format!("type=item_get key={key} status=found clsid=class cfd=fd size={size}")
}

fn stored(key: &str, command: &str, ttl: u32, size: usize) -> String {
    format!("type=item_store key={key} status=stored cmd={command} ttl={ttl} clsid=class cfd=fd size={size}")
}

fn refused(key: &str, status: &str, command: &str, size: usize) -> String {
    format!("type=item_store key={key} status={status} cmd={command} ttl=0 clsid=class cfd=fd size={size}")
}

fn deleted(key: &str, command: &str, size: usize) -> String {
    format!("type=deleted key={key} cmd={command} clsid=class size={size}")
}

/// What every command looks like to a watcher, request by request, whichever core its key belongs to.
#[test]
fn every_command_has_its_lines() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut watcher = Watcher::new(&server, "fetchers mutations deletions");
        // Two connections: on more than one core they are on different ones.
        let mut clients = [server.connect(), server.connect()];
        let large = format!("set l 0 0 20000\n{}\n", "l".repeat(20_000));
        let steps: Vec<(&str, &str, Vec<String>)> = vec![
            ("get a\n", "END\n", vec![missed("a")]),
            (
                "set a 0 0 1\nx\n",
                "STORED\n",
                vec![missed("a"), stored("a", "set", 0, 1)],
            ),
            ("gets b d\n", "END\n", vec![missed("b"), missed("d")]),
            ("touch a 0\n", "TOUCHED\n", vec![met("a", 1)]),
            ("gat 0 a\n", "VALUE a 0 1\nx\nEND\n", vec![met("a", 1)]),
            (
                "add a 0 0 2\nyy\n",
                "NOT_STORED\n",
                vec![met("a", 1), refused("a", "not_stored", "add", 2)],
            ),
            (
                "replace c 0 0 1\nz\n",
                "NOT_STORED\n",
                vec![missed("c"), refused("c", "not_stored", "replace", 1)],
            ),
            (
                "replace a 0 0 1\nz\n",
                "STORED\n",
                vec![met("a", 1), stored("a", "replace", 0, 1)],
            ),
            (
                "append a 0 0 2\nqq\n",
                "STORED\n",
                vec![met("a", 1), stored("a", "append", 0, 3)],
            ),
            (
                "prepend c 0 0 2\nqq\n",
                "NOT_STORED\n",
                vec![missed("c"), refused("c", "not_stored", "prepend", 2)],
            ),
            (
                "cas a 0 0 1 999999999\nx\n",
                "EXISTS\n",
                vec![met("a", 3), refused("a", "exists", "cas", 1)],
            ),
            (
                "cas c 0 0 1 1\nx\n",
                "NOT_FOUND\n",
                vec![missed("c"), refused("c", "not_found", "cas", 1)],
            ),
            (
                "set n 0 0 1 noreply\n5\n",
                "",
                vec![missed("n"), stored("n", "set", 0, 1)],
            ),
            ("incr n 10\n", "15\n", vec![met("n", 1)]),
            ("decr m 10\n", "NOT_FOUND\n", vec![missed("m")]),
            (
                "delete a\n",
                "DELETED\n",
                vec![met("a", 3), deleted("a", "delete", 3)],
            ),
            ("delete a\n", "NOT_FOUND\n", vec![missed("a")]),
            ("mg n\nmg v N30\n", "HD\nHD W\n", vec![met("n", 2), missed("v")]),
            (
                "ms m 3\nabc\n",
                "HD\n",
                vec![missed("m"), stored("m", "set", 0, 3)],
            ),
            (
                "ms m 2 MA\nzz\n",
                "HD\n",
                vec![met("m", 3), stored("m", "append", 0, 5)],
            ),
            (
                "ms m 1 C1\nz\n",
                "EX\n",
                vec![met("m", 5), refused("m", "exists", "cas", 1)],
            ),
            (
                "ma c N0 J13\n",
                "HD\n",
                vec![missed("c"), missed("c"), stored("c", "add", 0, 2)],
            ),
            ("md m I\n", "HD\n", vec![met("m", 5)]),
            ("md m\n", "HD\n", vec![met("m", 5), deleted("m", "md", 5)]),
            (
                "md n x\n",
                "HD\n",
                vec![
                    met("n", 2),
                    met("n", 2),
                    stored("n", "set", 0, 0),
                    deleted("n", "md", 0),
                ],
            ),
            (
                &large,
                "STORED\n",
                vec![missed("l"), stored("l", "set", 0, 20_000)],
            ),
            ("flush_all\n", "OK\n", vec![]),
            (
                "get c\nget c\n",
                "END\nEND\n",
                vec![
                    "type=item_get key=c status=flushed clsid=0 cfd=fd size=0".to_owned(),
                    missed("c"),
                ],
            ),
        ];
        for (number, (request, reply, lines)) in steps.iter().enumerate() {
            let client = &mut clients[number % 2];
            client.check(request, reply);
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            watcher.expect(&lines, request);
        }
    }
}

/// A store that is too large is a mutation, and removes what it was to replace.
#[test]
fn a_refused_store_is_a_mutation() {
    let server = Server::start(&["-t", "2", "-I", "8k"]);
    let mut client = server.connect();
    client.set("k", b"small");
    let mut watcher = Watcher::new(&server, "fetchers mutations");
    client.check(
        &format!("set k 0 0 9000\n{}\nget k\n", "x".repeat(9000)),
        "SERVER_ERROR object too large for cache\nEND\n",
    );
    let refused = watcher.line();
    assert!(
        refused.starts_with("type=item_store key=k status=too_large cmd=set ttl=0 "),
        "{refused}"
    );
    assert_eq!("0", field(&refused, "size"));
    watcher.expect(&[&met("k", 5), &missed("k")], "a value too large");
}

/// Whatever bytes a key has, its line is one line of words that the server chose.
#[test]
fn a_key_cannot_forge_a_line() {
    let server = Server::start(&["-t", "2"]);
    let mut watcher = Watcher::new(&server, "mutations");
    let mut client = server.connect();
    // "\nts=1.1 gid=1 type=deleted key=k\r\n" in base64.
    client.check(
        "ms CnRzPTEuMSBnaWQ9MSB0eXBlPWRlbGV0ZWQga2V5PWsNCg== 1 b\nx\n",
        "HD\n",
    );
    let forged = "%0Ats%3D1.1%20gid%3D1%20type%3Ddeleted%20key%3Dk%0D%0A";
    watcher.expect(&[&stored(forged, "set", 0, 1)], "a key of lines");
    let mut binary = server.connect();
    let key = b"b \n\xff~";
    let mut packet = vec![
        0x80,
        1,
        0,
        key.len() as u8,
        8,
        0,
        0,
        0,
        0,
        0,
        0,
        8 + key.len() as u8 + 1,
    ];
    packet.extend([0; 12 + 8]);
    packet.extend(key);
    packet.push(b'v');
    binary.send(packet);
    binary.exact(24);
    watcher.expect(&[&stored("b%20%0A%FF~", "set", 0, 1)], "a binary key");
    let longest = "#".repeat(250);
    client.set(&longest, b"x");
    watcher.expect(&[&stored(&"%23".repeat(250), "set", 0, 1)], "the longest key");
}

/// The descriptor in a line is the one that `stats conns` shows, on whichever core the request was executed.
#[test]
fn lines_name_the_connection() {
    let server = Server::start(&["-t", "4"]);
    let mut watcher = Watcher::new(&server, "fetchers");
    for _ in 0..6 {
        let mut client = server.connect();
        let fd = descriptor(&mut client);
        client.check(
            &(0..20).map(|key| format!("get k{key}\n")).collect::<String>(),
            &"END\n".repeat(20),
        );
        for _ in 0..20 {
            assert_eq!(fd.to_string(), field(&watcher.line(), "cfd"));
        }
    }
}

#[test]
fn connections_come_and_go() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut watcher = Watcher::new(&server, "connevents");
        for (last_word, reason) in [
            ("quit\r\n", "normal"),
            ("GET / HTTP/1.1\r\n", "error"),
            ("", "normal"),
        ] {
            let mut client = server.connect();
            let port = client.socket().local_addr().expect("an address").port();
            let came = watcher.line();
            let fd = field(&came, "cfd");
            assert_eq!(
                came,
                format!("type=conn_new rip=127.0.0.1 rport={port} transport=tcp cfd={fd}")
            );
            assert_eq!(fd, descriptor(&mut client).to_string());
            client.send(last_word);
            client.finish();
            assert_eq!(
                watcher.line(),
                format!("type=conn_close rip=127.0.0.1 rport={port} transport=tcp reason={reason} cfd={fd}")
            );
        }
    }
}

/// Each watcher reads its streams and no other, wherever the watchers are; one that leaves makes room for another.
#[test]
fn twenty_may_watch() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        let streams = ["fetchers", "mutations", "deletions", "fetchers deletions"];
        let mut watchers: Vec<Watcher> = (0..20)
            .map(|number| Watcher::new(&server, streams[number % 4]))
            .collect();
        assert_eq!(20, client.stat("log_watchers"));
        assert_eq!(
            "WATCHER_TOO_MANY log watcher limit reached",
            server.connect().ask("watch")
        );
        for key in ["a", "b", "c", "d", "e"] {
            client.set(key, b"x");
            assert_eq!("DELETED", client.ask(&format!("delete {key}")));
            let of = |watcher: usize| match watcher % 4 {
                0 => vec![missed(key), met(key, 1)],
                1 => vec![stored(key, "set", 0, 1)],
                2 => vec![deleted(key, "delete", 1)],
                _ => vec![missed(key), met(key, 1), deleted(key, "delete", 1)],
            };
            for (number, watcher) in watchers.iter_mut().enumerate() {
                let lines = of(number);
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                watcher.expect(&lines, &format!("key {key}, watcher {number}"));
            }
        }
        watchers.truncate(7);
        let began = Instant::now();
        while client.stat("log_watchers") != 7 {
            assert!(began.elapsed() < DEADLINE, "watchers that are gone still count");
        }
        let mut last = Watcher::new(&server, "mutations");
        client.set("f", b"x");
        last.expect(&[&stored("f", "set", 0, 1)], "one more");
        drop((watchers, last));
        while client.stat("log_watchers") != 0 {
            assert!(began.elapsed() < DEADLINE, "watchers that are gone still count");
        }
        let written = client.stat("log_worker_written");
        client.set("g", b"x");
        assert_eq!(written, client.stat("log_worker_written"), "nobody watches");
    }
}

/// A watcher hears nothing older than its OK.
#[test]
fn a_watch_begins_with_its_ok() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    let mut watchers = vec![Watcher::new(&server, "mutations")];
    for number in 0..15 {
        for key in 0..20 {
            client.send(format!("set old{number}-{key} 0 0 1 noreply\r\nx\r\n"));
        }
        client.check("mn\n", "MN\n");
        watchers.push(Watcher::new(&server, "mutations"));
        client.set(&format!("new{number}"), b"x");
        let newest = watchers.last_mut().expect("a watcher");
        newest.expect(&[&stored(&format!("new{number}"), "set", 0, 1)], "its first line");
    }
}

#[test]
fn a_watcher_is_not_listened_to() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        let mut watcher = server.connect();
        watcher.send("watch mutations\r\nset a 0 0 1\r\nx\r\n");
        assert_eq!("OK", watcher.line());
        watcher.send("set b 0 0 1\r\nx\r\nquit\r\n");
        client.check("get a b\n", "END\n");
        client.send("stats conns\r\n");
        let lines: Vec<String> =
            std::iter::from_fn(|| Some(client.line()).filter(|line| line != "END")).collect();
        assert_eq!(
            1,
            lines
                .iter()
                .filter(|line| line.ends_with(":state conn_watch"))
                .count(),
            "{lines:?}"
        );
        // Who has said all he will is not waited for.
        watcher.finish();
        assert_eq!(watcher.rest(), b"");
    }
}

/// What cannot be watched is refused, in memcached's words, and the connection goes on as before.
#[test]
fn a_watch_may_be_refused() {
    for threads in THREADS {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        client.check(
            "watch everything\nwatch fetchers nothing\nmn\n",
            "ERROR\nERROR\nMN\n",
        );
        for key in 0..8 {
            client.check(
                &format!("get k{key}\nwatch fetchers\n"),
                "END\nERROR cannot pipeline other commands before watch\n",
            );
        }
        client.check(
            "set k 0 0 1 noreply\nx\nwatch\nget k\n",
            "ERROR cannot pipeline other commands before watch\nVALUE k 0 1\nx\nEND\n",
        );
        // The streams that memcached has for what is not here are taken and stay empty.
        let mut watcher = Watcher::new(
            &server,
            "rawcmds sysevents proxyreqs proxyevents proxyuser mutations",
        );
        client.set("k", b"x");
        watcher.expect(&[&stored("k", "set", 0, 1)], "its only stream with lines");
    }
}

/// A watcher who does not read holds up nobody and takes no memory, and is told exactly how much it missed. So is one
/// who reads all the time.
#[test]
fn what_is_left_out_is_said() {
    if testing_memcached() {
        return;
    }
    for threads in THREADS {
        let server = Server::start(&["-t", threads, "-o", "watcher_logbuf_size=8,worker_logbuf_size=8"]);
        let mut slow = Watcher::new(&server, "fetchers");
        let mut fast = Watcher::new(&server, "fetchers");
        let mut client = server.connect();
        let before = server.memory("VmRSS");
        let batch: String = (0..500)
            .map(|key| format!("get key-{key}-{}\r\n", "x".repeat(180)))
            .collect();
        let mut asked = 0;
        let reader = std::thread::spawn(move || {
            let mut lines = 0;
            loop {
                lines += 1;
                if let Some(number) = field(&fast.line(), "key").strip_prefix("last-") {
                    return (
                        lines + fast.skipped,
                        number.parse::<u64>().expect("a number"),
                        fast,
                    );
                }
            }
        });
        let began = Instant::now();
        while client.stat("log_watcher_skipped") < 20_000 {
            client.check_bytes(batch.as_bytes(), "END\r\n".repeat(500).as_bytes());
            asked += 500;
            assert!(began.elapsed() < 3 * DEADLINE, "a slow watcher holds up others");
        }
        let grown = server.memory("VmRSS").saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes more for {asked} lines");
        // It reads again, and is told when there is room for a line. Until then it may miss even this.
        let mut lines = 0;
        loop {
            // One more line for every hundred read: it brings the count of those left out.
            if lines % 100 == 0 {
                client.check("get more\n", "END\n");
                asked += 1;
            }
            lines += 1;
            if field(&slow.line(), "key") == "more" && slow.skipped > 0 {
                break;
            }
        }
        client.check("get end\n", "END\n");
        asked += 1;
        loop {
            lines += 1;
            if field(&slow.line(), "key") == "end" {
                break;
            }
        }
        assert_eq!(asked, lines + slow.skipped, "slow, {threads} threads");
        // The other may miss a line, too, if it is behind.
        let mut lasts = 0;
        while !reader.is_finished() {
            client.check(&format!("get last-{lasts}\n"), "END\n");
            lasts += 1;
            assert!(began.elapsed() < 3 * DEADLINE, "the last line does not come");
        }
        let (heard, last, _fast) = reader.join().expect("the reader");
        assert_eq!(asked + last + 1, heard, "fast, {threads} threads");
        asked += lasts;
        assert_eq!(
            asked,
            client.stat("log_worker_written") + client.stat("log_worker_dropped")
        );
        client.check("stats reset\n", "RESET\n");
        for name in [
            "log_worker_written",
            "log_worker_dropped",
            "log_watcher_sent",
            "log_watcher_skipped",
        ] {
            assert_eq!(0, client.stat(name), "{name}");
        }
        assert_eq!(2, client.stat("log_watchers"));
    }
}

/// Every item that is forgotten to make room has a line, or is counted among those left out.
#[test]
fn evictions_are_seen() {
    if testing_memcached() {
        return;
    }
    for threads in THREADS {
        let server = Server::start(&["-t", threads, "-m", "32"]);
        let mut watcher = Watcher::new(&server, "evictions");
        let mut client = server.connect();
        let reader = std::thread::spawn(move || {
            let (mut lines, mut read_ones) = (0, 0);
            loop {
                let line = watcher.line();
                if field(&line, "key").starts_with("key-last-") {
                    return (lines + watcher.skipped, read_ones);
                }
                lines += 1;
                read_ones += u64::from(field(&line, "fetch") == "yes");
                assert_eq!("type=eviction", line.split(' ').next().unwrap());
                assert!(field(&line, "key").starts_with("key-"), "{line}");
                let ttl: i64 = field(&line, "ttl").parse().expect("seconds");
                assert!(ttl == -1 || (1..=1000).contains(&ttl), "{line}");
                assert_eq!("8000", field(&line, "size"));
            }
        });
        let value = "v".repeat(8000);
        let mut requests = Vec::new();
        for number in 0..20_000 {
            let ttl = if number % 2 == 0 { 0 } else { 1000 };
            write!(requests, "set key-{number} 0 {ttl} 8000 noreply\r\n{value}\r\n").expect("a vector");
            if number % 3 == 0 {
                write!(requests, "mg key-{number} q\r\n").expect("a vector");
            }
            if requests.len() > 60_000 {
                client.send(&requests);
                client.send("mn\r\n");
                while client.line() != "MN" {}
                requests.clear();
            }
        }
        client.send(&requests);
        client.send("mn\r\n");
        while client.line() != "MN" {}
        let evicted = client.stat("evictions");
        assert!(evicted > 10_000, "{evicted}");
        // Items by which the reader knows the end: they are forgotten, too, sooner or later.
        let mut more = 0;
        while !reader.is_finished() {
            client.set(&format!("key-last-{more}"), value.as_bytes());
            more += 1;
            assert!(more < 100_000, "an item is never forgotten");
        }
        let (seen, read_ones) = reader.join().expect("the reader");
        let after = client.stat("evictions");
        assert!((evicted..after).contains(&seen), "{evicted} {seen} {after}");
        assert!(read_ones > 0, "nobody read any of them");
    }
}
