//! Lists of all keys: `lru_crawler metadump` and `mgdump`, `stats cachedump`.

use std::collections::BTreeSet;

use crate::harness::{Client, Server, nothing_within, testing_memcached};
use std::time::Duration;

/// The lines of a dump up to its end. Lines of a metadump end in a line feed alone.
fn dump(client: &mut Client, request: &str, end: &str) -> Vec<String> {
    client.send(format!("{request}\r\n"));
    rest_of_dump(client, end)
}

fn rest_of_dump(client: &mut Client, end: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.extend(client.exact(1));
        }
        let line = String::from_utf8(line).expect("text");
        if line == format!("{end}\r\n") {
            return lines;
        }
        lines.push(line);
    }
}

#[test]
fn metadump_lists_every_item_once() {
    for threads in ["1", "2", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        for number in 0..3000 {
            client.set(&format!("key-{number}"), b"value");
        }
        client.check(
            "get key-7\ntouch key-9 1000\n",
            "VALUE key-7 0 5\nvalue\nEND\nTOUCHED\n",
        );
        for what in ["all", "hash"] {
            let lines = dump(&mut client, &format!("lru_crawler metadump {what}"), "END");
            assert_eq!("OK\r\n", lines[0]);
            let keys: BTreeSet<&str> = lines[1..]
                .iter()
                .map(|line| line.split(' ').next().unwrap())
                .collect();
            assert_eq!(
                (3000, 3001),
                (keys.len(), lines.len()),
                "{what} with {threads} threads"
            );
        }
        client.check("mn\n", "MN\n");
    }
}

/// `key=... exp=... la=... cas=... fetch=... cls=... size=... flags=... `: names, order, and a space before the end.
#[test]
fn a_metadump_line_is_memcacheds() {
    let server = Server::start(&["-t", "1"]);
    let mut client = server.connect();
    client.check(
        "set a%b 7 0 5\nvalue\nget a%b\n",
        "STORED\nVALUE a%b 7 5\nvalue\nEND\n",
    );
    client.check("ms bXkga2V5 1 b T1000\nx\n", "HD\n");
    let now = client.stat("time");
    let lines = dump(&mut client, "lru_crawler metadump all", "END");
    assert_eq!(3, lines.len(), "{lines:?}");
    for line in &lines[1..] {
        assert!(line.ends_with(" \n") && !line.contains('\r'), "{line:?}");
        let words: Vec<(&str, &str)> = line
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap())
            .collect();
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            ["key", "exp", "la", "cas", "fetch", "cls", "size", "flags"]
        );
        let number = |index: usize| words[index].1.parse::<i64>().expect("a number");
        assert!((number(2) - now as i64).abs() <= 2, "la={}", number(2));
        assert!((1..64).contains(&number(5)));
        match words[0].1 {
            "a%25b" => assert_eq!((number(1), words[4].1, number(7)), (-1, "yes", 7)),
            "my%20key" => {
                assert!((number(1) - 1000 - now as i64).abs() <= 2, "exp={}", number(1));
                assert_eq!(("no", 0), (words[4].1, number(7)));
            }
            key => panic!("{key}"),
        }
    }
}

#[test]
fn what_is_gone_is_not_listed() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    client.check(
        "set old 0 0 1\nx\nflush_all\nset dead 0 -1 1\nx\nset new 0 0 1\nx\n",
        "STORED\nOK\nSTORED\nSTORED\n",
    );
    let lines = dump(&mut client, "lru_crawler metadump all", "END");
    assert!(lines.len() == 2 && lines[1].starts_with("key=new "), "{lines:?}");
    assert_eq!(
        ["OK\r\n", "mg new\r\n"],
        *dump(&mut client, "lru_crawler mgdump all", "EN")
    );
    let class = lines[1].split("cls=").nth(1).unwrap().split(' ').next().unwrap();
    let other = if class == "1" { "2" } else { "1" };
    assert_eq!(
        ["OK\r\n"],
        *dump(&mut client, &format!("lru_crawler metadump {other}"), "END")
    );
    assert_eq!(
        2,
        dump(
            &mut client,
            &format!("lru_crawler metadump {other},{class}"),
            "END"
        )
        .len()
    );
    client.check(
        "lru_crawler metadump 64\nlru_crawler mgdump x\n",
        "BADCLASS invalid class id\nBADCLASS invalid class id\n",
    );
}

#[test]
fn mgdump_lists_what_mg_reads() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    client.check("set plain 0 0 1\nx\nms bXkga2V5 1 b\nx\n", "STORED\nHD\n");
    let mut lines = dump(&mut client, "lru_crawler mgdump all", "EN");
    lines.sort();
    assert_eq!(["OK\r\n", "mg bXkga2V5 b\r\n", "mg plain\r\n"], *lines);
}

#[test]
fn cachedump_lists_the_keys_of_a_class() {
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads]);
        let mut client = server.connect();
        for number in 0..100 {
            client.set(&format!("key-{number:02}"), b"12345");
        }
        client.set("huge", &vec![b'x'; 200_000]);
        client.check("ms bXkga2V5 1 b T100\nx\n", "HD\n");
        let mut seen = BTreeSet::new();
        // As memcdump and PHP's getAllKeys do it.
        for class in 0..64 {
            for line in dump(&mut client, &format!("stats cachedump {class} 0"), "END") {
                let words: Vec<&str> = line.trim_end().split(' ').collect();
                assert_eq!(("ITEM", "b;", "s]"), (words[0], words[3], words[5]), "{line:?}");
                assert_eq!("0", words[4], "no exptime");
                assert_eq!(if words[1] == "huge" { "[200000" } else { "[5" }, words[2]);
                assert!(seen.insert(words[1].to_owned()), "{line:?} twice");
            }
        }
        if !testing_memcached() {
            assert_eq!(101, seen.len(), "all but the key with a space");
        }
        let class =
            (1..64).find(|class| !dump(&mut client, &format!("stats cachedump {class} 0"), "END").is_empty());
        let request = format!("stats cachedump {} 7", class.expect("a class"));
        assert_eq!(7, dump(&mut client, &request, "END").len());
    }
    let server = Server::start(&[]);
    server.connect().check(
        "stats cachedump\nstats cachedump 1\nstats cachedump x 1\nstats cachedump 64 1\n",
        "CLIENT_ERROR bad command line\nCLIENT_ERROR bad command line\nCLIENT_ERROR bad command line format\n\
         CLIENT_ERROR Illegal slab id\n",
    );
}

#[test]
fn dumps_can_be_forbidden() {
    let server = Server::start(&["-X"]);
    server.connect().check(
        "stats cachedump 1 1\nlru_crawler metadump all\nlru_crawler mgdump all\n",
        "CLIENT_ERROR stats cachedump not allowed\nERROR metadump not allowed\nERROR key dump not allowed\n",
    );
    let server = Server::start(&["-W"]);
    server.connect().check(
        "watch\nwatch mutations\n",
        &"CLIENT_ERROR watch commands not allowed\n".repeat(2),
    );
}

/// A reader who does not read holds up nobody, costs no memory beyond his output, and still gets everything.
#[test]
fn a_slow_reader_of_a_dump_is_waited_for() {
    const KEYS: usize = 100_000;
    let server = Server::start(&["-t", "2", "-m", "256"]);
    let mut client = server.connect();
    for batch in 0..KEYS / 1000 {
        let requests: String = (0..1000)
            .map(|number| format!("set a-key-that-is-quite-long-{batch}-{number} 0 0 1 noreply\r\nx\r\n"))
            .collect();
        client.send(requests);
    }
    client.check("mn\n", "MN\n");
    let before = server.memory("VmRSS");
    let mut slow: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for reader in &mut slow {
        reader.send("lru_crawler metadump all\r\n");
    }
    for number in 0..2000 {
        client.set(&format!("other-{}", number % 10), b"x");
    }
    let grown = server.memory("VmRSS").saturating_sub(before);
    assert!(
        grown < 16 << 20,
        "{grown} bytes more for four dumps that nobody reads"
    );
    // One leaves in the middle, the others read on.
    drop(slow.pop());
    for reader in &mut slow {
        let lines = rest_of_dump(reader, "END");
        let keys: BTreeSet<&str> = lines
            .iter()
            .filter(|line| line.starts_with("key=a-key"))
            .map(|line| line.split(' ').next().unwrap())
            .collect();
        assert_eq!(KEYS, keys.len());
        assert!(nothing_within(reader, Duration::from_millis(20)));
    }
    client.check("mn\n", "MN\n");
}
