//! One budget for all that the server holds (`--max-total-memory`): items give way to connections, connections are
//! slowed and at last cut off, and the process never holds more than was allowed.

use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::{fs, io};

use crate::harness::{
    Client, Server, allow_descriptors, binary_under_test, scratch_folder, skip, testing_memcached, until,
};

const MIB: u64 = 1 << 20;

/// What a process with this total may have held at most. On a quiet machine it stays below the total; on one that is so
/// busy that the ticker comes late, what no account sees is noticed late.
fn at_most(megabytes: u64) -> u64 {
    (megabytes + megabytes / 16) * MIB
}

/// `stats memory`.
fn parts(client: &mut Client) -> HashMap<String, u64> {
    client.send("stats memory\r\n");
    let mut parts = HashMap::new();
    loop {
        let line = client.line();
        if line == "END" {
            return parts;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let figure = words[2].parse().expect("a figure");
        assert_eq!(
            ("STAT", None),
            (words[0], parts.insert(words[1].to_owned(), figure))
        );
    }
}

/// Stores so many bytes in values of a kilobyte.
fn fill(client: &mut Client, prefix: &str, bytes: u64) {
    let value = [b'v'; 1000];
    let mut requests = Vec::new();
    for number in 0..bytes / 1000 {
        requests.extend_from_slice(format!("set {prefix}{number} 0 0 1000 noreply\r\n").as_bytes());
        requests.extend_from_slice(&value);
        requests.extend_from_slice(b"\r\n");
        if requests.len() > 60_000 {
            client.send(&requests);
            requests.clear();
        }
    }
    client.check_bytes(&requests, b"");
}

/// A client that says as much as is taken and reads nothing. `None` if it was turned away.
fn pushy(server: &Server, first: &str, then: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(server.address()).ok()?;
    socket.set_nonblocking(true).expect("nonblocking");
    socket.write_all(first.as_bytes()).ok()?;
    let mut sent = 0;
    while sent < then.len() {
        match socket.write(&then[sent..]) {
            Ok(size) => sent += size,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return None,
        }
    }
    Some(socket)
}

#[test]
fn what_the_server_holds_stays_below_the_total() {
    const CONNECTIONS: usize = 2000;
    const TOTAL: u64 = 80;
    if testing_memcached() {
        return;
    }
    if !allow_descriptors(CONNECTIONS as u64 + 500) {
        return skip("2,000 connections", "the limit on open files does not allow them");
    }
    let total = TOTAL.to_string();
    let options = [
        "-t",
        "2",
        "-m",
        "1024",
        "-c",
        "8000",
        "--max-total-memory",
        &total,
        "-v",
    ];
    let server = Server::start(&options);
    let mut observer = server.connect();
    fill(&mut observer, "a", 2 * TOTAL * MIB);
    observer.set("answer", &[b'x'; 4000]);
    let full = parts(&mut observer);
    assert!(full["items"] > TOTAL * MIB / 2, "{full:?}");
    assert!(full["total"] + full["slack"] <= TOTAL * MIB, "{full:?}");
    let evictions = observer.stat("evictions");
    // Requests of which half has come, and answers that nobody reads.
    let part = vec![b'p'; 100_000];
    let gets = b"get answer\r\n".repeat(1000);
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        clients.extend(match number % 4 {
            // What half has come of is the items': not more than these can spare.
            _ if number % 150 == 0 => pushy(&server, &format!("set large{number} 0 0 1000000\r\n"), &part),
            0 | 1 => pushy(
                &server,
                &format!("set half{number} 0 0 60000\r\n"),
                &part[..30_000],
            ),
            _ => pushy(&server, "", &gets),
        });
        if number % 100 == 0 {
            // Who behaves is served all the while.
            observer.set("other", format!("{number}").as_bytes());
            assert_eq!(Some(format!("{number}").into_bytes()), observer.get("other"));
        }
    }
    let loaded = parts(&mut observer);
    eprintln!("full: {full:?}\nloaded: {loaded:?}, {} clients", clients.len());
    assert!(loaded["connections"] > 10 * MIB, "{loaded:?}");
    assert!(
        loaded["items_limit"] < full["items_limit"] - 8 * MIB,
        "{loaded:?}"
    );
    assert!(observer.stat("evictions") > evictions, "items gave way");
    let most = server.memory("VmHWM");
    assert!(most <= at_most(TOTAL), "{most} bytes at most: {loaded:?}");
    // When they have gone, items can have it again.
    drop(clients);
    until("items may have what they had", || {
        parts(&mut observer)["items_limit"] >= full["items_limit"] - 12 * MIB
    });
    fill(&mut observer, "b", 2 * TOTAL * MIB);
    let again = parts(&mut observer);
    let most = server.memory("VmHWM");
    eprintln!("again: {again:?}; {most} bytes at most");
    // Buffers at rest, up to 4 MiB for each core, are the rest.
    assert!(again["items"] >= full["items"] - 12 * MIB, "{again:?}");
    assert!(most <= at_most(TOTAL), "{most} bytes at most: {again:?}");
}

#[test]
fn the_parts_add_up() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&["-t", "2", "--max-total-memory", "0"]);
    let mut client = server.connect();
    let before = parts(&mut client);
    assert_eq!((0, 64 * MIB), (before["limit"], before["items_limit"]));
    fill(&mut client, "a", 20 * MIB);
    until("the tables are known", || {
        let after = parts(&mut client);
        let named = ["items", "tables", "connections", "buffers", "unseen"];
        assert_eq!(after["total"], named.map(|name| after[name]).iter().sum::<u64>());
        assert!(
            after["items"] > 20 * MIB && after["rss"] > after["items"],
            "{after:?}"
        );
        after["tables"] > before["tables"] + 128 * 1024
    });
    client.check("stats memor\n", "ERROR\n");
}

#[test]
fn item_memory_is_cut_where_it_does_not_fit() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&["-t", "2", "-m", "1000", "--max-total-memory", "64m"]);
    assert!(
        server.said().contains("-m 1000: does not fit a total of 64 MB"),
        "{}",
        server.said()
    );
    let mut client = server.connect();
    let limit = |client: &mut Client| parts(client)["items_limit"];
    let fits = limit(&mut client);
    assert!((24 * MIB..50 * MIB).contains(&fits), "{fits}");
    client.check("cache_memlimit 8\n", "OK\n");
    assert_eq!(8 * MIB, limit(&mut client));
    client.check("cache_memlimit 2000\n", "OK\n");
    assert!(limit(&mut client).abs_diff(fits) < MIB);
    fill(&mut client, "a", 100 * MIB);
    let most = server.memory("VmHWM");
    assert!(
        most <= at_most(64),
        "{most} bytes at most: {:?}",
        parts(&mut client)
    );
    // What fits is not spoken of.
    let server = Server::start(&["-t", "1", "-m", "32", "--max-total-memory", "100m"]);
    assert_eq!("", server.said());
    let refused = Server::launch(&binary_under_test(), &["-t", "2", "--max-total-memory", "8"]);
    let refused = refused.err().expect("too little");
    assert!(
        refused.contains("64") && refused.contains("2 threads need"),
        "{refused}"
    );
}

#[test]
fn without_evictions_what_does_not_fit_is_refused() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&["-t", "2", "-M", "-m", "1000", "--max-total-memory", "64", "-v"]);
    let mut client = server.connect();
    fill(&mut client, "a", 100 * MIB);
    client.check(
        &format!("set more 0 0 1000\n{}\n", "v".repeat(1000)),
        "SERVER_ERROR out of memory storing object\n",
    );
    assert_eq!(0, client.stat("evictions"));
    assert!(client.stat("store_no_memory") > 1000);
    assert!(client.stat("bytes") > 20 * MIB);
    assert!(server.memory("VmHWM") <= at_most(64));
}

/// A group of this process's own that may hold so much, if the system lets us make one; gone when dropped.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> io::Result<Group> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let name = format!("ringcached-it-{}", std::process::id());
        let path = |line: &str, mount: &str| {
            let own = line
                .rsplit(':')
                .next()
                .unwrap_or_default()
                .trim_start_matches('/');
            PathBuf::from(mount).join(own).join(&name)
        };
        let old = groups.lines().find(|line| line.contains(":memory:"));
        let (folder, limit) = match (old, groups.lines().find(|line| line.starts_with("0::"))) {
            (Some(line), _) => (path(line, "/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            (None, Some(line)) => (path(line, "/sys/fs/cgroup"), "memory.max"),
            _ => return Err(ErrorKind::NotFound.into()),
        };
        fs::create_dir(&folder)?;
        let group = Group(folder);
        fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_control_groups_limit_is_the_total_by_default() {
    if testing_memcached() {
        return;
    }
    let group = match Group::new(96 * MIB) {
        Ok(group) => group,
        Err(error) => return skip("a control group", &error.to_string()),
    };
    let folder = scratch_folder();
    let script = folder.join("ringcached");
    let text = format!(
        "#!/bin/sh\necho $$ > {}/cgroup.procs || exit 9\nexec {} \"$@\"\n",
        group.0.display(),
        binary_under_test().display()
    );
    fs::write(&script, text).expect("script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("script");
    let server = Server::launch(&script, &["-t", "2", "-m", "1000"]);
    let _ = fs::remove_dir_all(&folder);
    let mut server = match server {
        Ok(server) => server,
        Err(error) if error.contains("status: 9") => return skip("a control group", &error),
        Err(error) => panic!("{error}"),
    };
    let mut client = server.connect();
    assert_eq!(90 * MIB, parts(&mut client)["limit"]);
    fill(&mut client, "a", 200 * MIB);
    assert!(server.memory("VmHWM") <= at_most(90));
    assert!(server.is_alive());
    drop((client, server));
}
