//! The published ring: what clients are told, where it comes from, and how all nodes of a fleet come to have the newest.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{
    Client, DEADLINE, Server, binary_under_test, nothing_within, scratch_folder, skip, spell,
    testing_memcached,
};
use crate::name_server::NameServer;

/// All nodes have a ring that one of them was told after this long, at most.
const CONVERGENCE_MAX: Duration = Duration::from_secs(15);

/// The golden payload: the bytes that tests/ketama/discovery.rs gives to the parsers of ten clients.
const PAYLOAD: &str = "7\ncache-1.fleet.example.com|10.0.0.1|11211 \
                       cache-2.fleet.example.com|10.0.0.2|11212 \
                       cache-3.fleet.example.com|10.0.0.3|11213\n";

/// The file of that payload.
const FILE: &str = "# The fleet of the examples.\n\
                    version 7\n\
                    cache-1.fleet.example.com:11211 ip=10.0.0.1 zone=a\n\
                    cache-2.fleet.example.com:11212 ip=10.0.0.2 zone=b\n\
                    cache-3.fleet.example.com:11213 ip=10.0.0.3 zone=c\n";

/// A folder for ring files, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        Folder(scratch_folder())
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path").to_owned()
    }

    /// Puts a file there whole, as a careful operator would.
    fn put(&self, name: &str, text: &str) -> String {
        let (unfinished, path) = (self.file("unfinished"), self.file(name));
        fs::write(&unfinished, text).expect("a file");
        fs::rename(unfinished, &path).expect("a file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The payload of a ring of these servers.
fn payload(version: u32, servers: &[&Server]) -> String {
    let nodes: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1|127.0.0.1|{}", server.port()))
        .collect();
    format!("{version}\n{}\n", nodes.join(" "))
}

/// The ring file of these servers.
fn file_of(version: u32, servers: &[&Server]) -> String {
    let lines: String = servers
        .iter()
        .map(|server| format!("{}\n", server.address()))
        .collect();
    format!("version {version}\n{lines}")
}

fn reply(payload: &str) -> String {
    format!("CONFIG cluster 0 {}\r\n{payload}\r\nEND\r\n", payload.len())
}

fn push(payload: &str) -> String {
    format!("config set cluster 0 {}\r\n{payload}\r\n", payload.len())
}

/// What a server publishes.
fn published(server: &Server) -> Option<String> {
    let mut client = server.connect();
    let line = client.ask("config get cluster");
    if line == "ERROR" {
        return None;
    }
    let size = line.strip_prefix("CONFIG cluster 0 ").expect("a ring");
    let payload = client.exact(size.parse().expect("a size"));
    assert_eq!(b"\r\nEND\r\n", &client.exact(7)[..]);
    Some(String::from_utf8(payload).expect("text"))
}

/// Waits until a server publishes what `want` likes.
#[track_caller]
fn wait_for(server: &Server, deadline: Duration, want: impl Fn(&str) -> bool) -> String {
    let started = Instant::now();
    let client = server.connect();
    loop {
        let found = published(server);
        match found {
            Some(payload) if want(&payload) => return payload,
            _ => assert!(
                started.elapsed() < deadline,
                "after {deadline:?} {} publishes {found:?}",
                server.address()
            ),
        }
        // Nobody tells that a ring has changed: it is asked for again and again, as clients do.
        assert!(nothing_within(&client, Duration::from_millis(20)));
    }
}

/// Waits until a server has written something to its log.
#[track_caller]
fn wait_for_words(server: &Server, words: &str) {
    let started = Instant::now();
    let client = server.connect();
    while !server.said().contains(words) {
        assert!(
            started.elapsed() < CONVERGENCE_MAX,
            "no {words:?} in {}",
            server.said()
        );
        assert!(nothing_within(&client, Duration::from_millis(20)));
    }
}

/// A figure of `stats cluster`.
fn figure(server: &Server, name: &str) -> String {
    let mut client = server.connect();
    client.send("stats cluster\r\n");
    let mut found = None;
    loop {
        let line = client.line();
        if line == "END" {
            return found.unwrap_or_else(|| panic!("no figure {name}"));
        }
        if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
            found = Some(value.to_owned());
        }
    }
}

fn hang_up(server: &Server) {
    let pid = rustix::process::Pid::from_raw(server.pid().try_into().expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, Signal::HUP).expect("signal");
}

/// True where there is no ring to publish.
fn is_memcached() -> bool {
    let is = testing_memcached();
    if is {
        skip("the published ring", "only ringcached has it");
    }
    is
}

/// Every question that one of the ten clients sends, and the bytes that it gets, letter for letter.
#[test]
fn clients_are_told_the_ring_byte_for_byte() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&["-t", "2", "--ring-file", &folder.put("ring", FILE)]);
    let config = format!("CONFIG cluster 0 125\r\n{PAYLOAD}\r\nEND\r\n");
    let value = format!("VALUE AmazonElastiCache:cluster 0 125\r\n{PAYLOAD}\r\nEND\r\n");
    let with_cas = format!("VALUE AmazonElastiCache:cluster 0 125 7\r\n{PAYLOAD}\r\nEND\r\n");
    let version = "VERSION 1.6.45\r\n";
    for (client, question, want) in [
        (
            "AWS libmemcached, and php on it",
            "config get cluster \r\n",
            config.clone(),
        ),
        (
            "the same, on a server that is old",
            "get AmazonElastiCache:cluster \r\n",
            value.clone(),
        ),
        ("AWS Java client", "config get cluster\r\n", config.clone()),
        ("AWS .NET configurator", "config get cluster\r\n", config.clone()),
        ("Google's gomemcache", "config get cluster\r\n", config.clone()),
        ("pymemcache", "config get cluster\r\n", config.clone()),
        (
            "django-elasticache",
            "version\nconfig get cluster\n",
            format!("{version}{config}"),
        ),
        (
            "dalli-elasticache",
            "version\r\nconfig get cluster\r\n",
            format!("{version}{config}"),
        ),
        (
            "the same, long ago",
            "get AmazonElastiCache:cluster\r\n",
            value.clone(),
        ),
        (
            "node memcached-elasticache",
            "version\r\nconfig get cluster\r\n",
            format!("{version}{config}"),
        ),
        ("emcache", "config get cluster\r\n", config.clone()),
        ("xmemcached", "config get cluster\r\n", config.clone()),
        (
            "nobody, but it may be asked so",
            "gets AmazonElastiCache:cluster\r\n",
            with_cas,
        ),
        (
            "a ring of another name",
            "config get tree\r\n",
            "NOT_FOUND\r\n".to_owned(),
        ),
        ("no name", "config get\r\n", "ERROR\r\n".to_owned()),
        (
            "no verb",
            "config\r\nconfig put cluster\r\n",
            "ERROR\r\nERROR\r\n".to_owned(),
        ),
    ] {
        let mut connection = server.connect();
        connection.send(format!("{question}mn\r\n"));
        let got = connection.exact(want.len() + 4);
        assert_eq!(
            format!("{want}MN\r\n"),
            String::from_utf8_lossy(&got),
            "{client} asks {question:?}"
        );
    }
    // Between other requests, and in its turn.
    let before_and_behind = format!("STORED\r\n{value}VALUE a 0 1\r\nx\r\nEND\r\n");
    server.connect().check_bytes(
        b"set a 0 0 1\r\nx\r\nget AmazonElastiCache:cluster\r\nget a\r\n",
        before_and_behind.as_bytes(),
    );
}

/// The Java client in its binary mode, and the rest of the family.
#[test]
fn binary_clients_are_told_the_ring() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let path = folder.put("ring", FILE);
    let server = Server::start(&["--ring-file", &path, "--ring-admin", "local"]);
    let mut client = server.connect();
    let found = |opcode, key: &str| packet(0x81, opcode, 0, &[0; 4], key, PAYLOAD);
    for (opcode, key) in [(0x60, ""), (0x61, ""), (0x62, "cluster"), (0x63, "cluster")] {
        client.send(packet(0x80, opcode, 0, &[], "cluster", ""));
        let want = found(opcode, key);
        assert_eq!(want, client.exact(want.len()), "opcode {opcode:#x}");
    }
    // Another name is a miss, which the quiet ones keep to themselves.
    let noop = packet(0x81, 0x0a, 0, &[], "", "");
    for (opcode, miss) in [
        (0x60, packet(0x81, 0x60, 1, &[], "", "Not found")),
        (0x61, Vec::new()),
        (0x62, packet(0x81, 0x62, 1, &[], "tree", "")),
        (0x63, Vec::new()),
    ] {
        client.send(
            [
                packet(0x80, opcode, 0, &[], "tree", ""),
                packet(0x80, 0x0a, 0, &[], "", ""),
            ]
            .concat(),
        );
        let want = [miss, noop.clone()].concat();
        assert_eq!(want, client.exact(want.len()), "opcode {opcode:#x}");
    }
    let set = |opcode, payload| packet(0x80, opcode, 0, &[0; 4], "cluster", payload);
    let delete = |opcode| packet(0x80, opcode, 0, &[], "cluster", "");
    for (asked, want) in [
        (set(0x64, "8\na||1\n"), packet(0x81, 0x64, 0, &[], "", "")),
        (
            set(0x64, "7\na||1\n"),
            packet(0x81, 0x64, 4, &[], "", "Invalid arguments"),
        ),
        (set(0x65, "9\na||1\n"), Vec::new()),
        (
            set(0x65, "x"),
            packet(0x81, 0x65, 4, &[], "", "Invalid arguments"),
        ),
        (delete(0x66), packet(0x81, 0x66, 0, &[], "", "")),
        (delete(0x66), packet(0x81, 0x66, 1, &[], "", "Not found")),
        (set(0x65, "1\na||1\n"), Vec::new()),
        (delete(0x67), Vec::new()),
        // And then it is a memcached again.
        (
            packet(0x80, 0x60, 0, &[], "cluster", ""),
            packet(0x81, 0x60, 0x81, &[], "", "Unknown command"),
        ),
    ] {
        client.send([asked.clone(), packet(0x80, 0x0a, 0, &[], "", "")].concat());
        let want = [want, noop.clone()].concat();
        assert_eq!(want, client.exact(want.len()), "{}", asked.escape_ascii());
    }
}

fn packet(magic: u8, opcode: u8, status: u16, extras: &[u8], key: &str, value: &str) -> Vec<u8> {
    let mut packet = vec![magic, opcode];
    packet.extend((key.len() as u16).to_be_bytes());
    packet.extend([extras.len() as u8, 0]);
    packet.extend(status.to_be_bytes());
    packet.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    packet.extend([0; 12]);
    [&packet, extras, key.as_bytes(), value.as_bytes()].concat()
}

#[test]
fn without_a_ring_it_is_a_memcached() {
    if is_memcached() {
        return;
    }
    // The second is of a fleet, but has no ring yet.
    for options in [&[][..], &["--ring-peers", "127.0.0.1:1"]] {
        let server = Server::start(options);
        server.connect().check(
            "config get cluster\nconfig get tree\nget AmazonElastiCache:cluster\n",
            "ERROR\nERROR\nEND\n",
        );
        // The name is a key like any other.
        server.connect().check(
            "set AmazonElastiCache:cluster 5 0 1\nx\nget AmazonElastiCache:cluster \nget AmazonElastiCache:cluster\n",
            "STORED\nVALUE AmazonElastiCache:cluster 5 1\nx\nEND\nVALUE AmazonElastiCache:cluster 5 1\nx\nEND\n",
        );
        let silent = "config set cluster 0 7 noreply\r\n1\na||1\n\r\n";
        let asked = [&push("1\na||1\n"), silent, "config delete cluster\r\n"].concat();
        let refused = "CLIENT_ERROR config set and delete not allowed\r\n";
        server
            .connect()
            .check_bytes(asked.as_bytes(), refused.repeat(2).as_bytes());
    }
    let server = Server::start(&[]);
    server.connect().check("stats cluster\n", "ERROR\n");
}

#[test]
fn a_ring_is_set_by_those_who_may() {
    if is_memcached() {
        return;
    }
    for who in ["local", "anyone"] {
        let server = Server::start(&["-t", "2", "--ring-admin", who]);
        let mut client = server.connect();
        let (ring, other) = ("5\na|10.0.0.1|1 b||2\n", "5\na|10.0.0.1|1\n");
        client.check_bytes(push(ring).as_bytes(), b"STORED\r\n");
        client.check_bytes(b"config get cluster\r\n", reply(ring).as_bytes());
        client.check_bytes(push(ring).as_bytes(), b"STORED\r\n");
        client.check_bytes(
            push(other).as_bytes(),
            b"CLIENT_ERROR version 5 is in force and names other nodes\r\n",
        );
        client.check_bytes(
            push("4\nc||1\n").as_bytes(),
            b"CLIENT_ERROR version 4 is older than the one in force\r\n",
        );
        client.check_bytes(
            push("6\na||1 b|1|2\n").as_bytes(),
            b"CLIENT_ERROR bad cluster configuration: 2:8: expected an IP address, or nothing\r\n",
        );
        client.check_bytes(b"config get cluster\r\n", reply(ring).as_bytes());
        // A payload of another size than it was said to have, none, and one that is too large.
        client.check_bytes(
            b"config set cluster 0 5\r\n7\na||1\n\r\n",
            b"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n",
        );
        client.check("config set cluster 0\n", "CLIENT_ERROR bad command line format\n");
        let large = "x".repeat(60 * 1024 + 1);
        client.check(
            &format!("config set cluster 0 {}\n{large}\n", large.len()),
            "SERVER_ERROR object too large for cache\n",
        );
        client.check(
            "config set tree 0 1\nx\nconfig delete tree\n",
            "NOT_FOUND\nNOT_FOUND\n",
        );
        // In pieces, silently, and as large as it may be.
        let nodes: Vec<String> = (1..1000)
            .map(|port| format!("node-{port}.fleet.example.com|10.10.10.10|{port}"))
            .collect();
        let many = format!("8\n{}\n", nodes.join(" "));
        let whole = push(&many).replacen(
            &format!("{}\r\n", many.len()),
            &format!("{} noreply\r\n", many.len()),
            1,
        );
        for piece in whole.as_bytes().chunks(7000) {
            client.send(piece);
        }
        client.check_bytes(b"", b"");
        assert_eq!(Some(many), published(&server));
        client.check(
            "config delete cluster\nconfig delete cluster\n",
            "DELETED\nNOT_FOUND\n",
        );
        assert_eq!(None, published(&server));
        assert_eq!("none", figure(&server, "ring_source"));
    }
}

/// Whoever may open the socket is on this machine.
#[test]
fn a_client_of_a_unix_socket_is_local() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("socket");
    let mut command = Command::new(binary_under_test());
    command
        .args(["-s", &path, "--ring-admin", "local"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    crate::harness::as_whoever_runs_this(&mut command);
    let mut process = command.spawn().expect("the server");
    let started = Instant::now();
    let talk = || -> std::io::Result<String> {
        let mut client = loop {
            match UnixStream::connect(&path) {
                Ok(client) => break client,
                Err(error) if started.elapsed() > DEADLINE => return Err(error),
                Err(_) => std::thread::yield_now(),
            }
        };
        client.set_read_timeout(Some(DEADLINE))?;
        client.write_all(push("3\na||1\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line)?;
        Ok(line)
    };
    let said = talk();
    process.kill().expect("kill");
    process.wait().expect("wait");
    assert_eq!("STORED\r\n", said.expect("an answer"));
}

#[test]
fn the_file_is_read_again() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let path = folder.put("ring", FILE);
    let server = Server::start(&["-t", "2", "--ring-file", &path]);
    assert_eq!(Some(PAYLOAD.to_owned()), published(&server));
    // It is noticed.
    folder.put("ring", "version 8\n10.0.0.1:11211\n");
    wait_for(&server, CONVERGENCE_MAX, |ring| {
        ring == "8\n10.0.0.1|10.0.0.1|11211\n"
    });
    // Garbage is refused, and the place is said.
    for (garbage, place) in [
        (
            "version 9\n10.0.0.1:11211\n  a:x\n",
            ":3:5: port must be a number from 1 to 65535",
        ),
        ("version 9\n", ":2:1: the file names no server"),
        ("\u{0}\u{1}", ":1:1: host name may hold letters"),
    ] {
        folder.put("ring", garbage);
        hang_up(&server);
        wait_for_words(&server, &format!("ring file {path}{place}"));
        assert_eq!(
            Some("8\n10.0.0.1|10.0.0.1|11211\n".to_owned()),
            published(&server)
        );
    }
    // So is an older ring, and a file that is gone leaves the ring as it is.
    folder.put("ring", "version 7\n10.0.0.7:11211\n");
    hang_up(&server);
    wait_for_words(&server, "version 7 is older than 8 which is in force: not taken");
    fs::remove_file(&path).expect("the file");
    hang_up(&server);
    wait_for_words(&server, "No such file or directory");
    assert_eq!(
        Some("8\n10.0.0.1|10.0.0.1|11211\n".to_owned()),
        published(&server)
    );
    assert_eq!("3", figure(&server, "ring_refused"));
    assert_eq!("1", figure(&server, "ring_file_failures"));
    // A signal makes it look at once; without a number the file's time is the version.
    folder.put("ring", "10.0.0.9:11211\n");
    let modified = fs::metadata(&path).expect("the file").modified().expect("a time");
    let seconds = modified
        .duration_since(std::time::UNIX_EPOCH)
        .expect("now")
        .as_secs();
    hang_up(&server);
    wait_for(&server, CONVERGENCE_MAX, |ring| {
        ring == format!("{seconds}\n10.0.0.9|10.0.0.9|11211\n")
    });
    assert_eq!("file", figure(&server, "ring_source"));
    assert_eq!("3", figure(&server, "ring_changes"));
}

#[test]
fn a_file_that_is_wrong_at_the_start_is_waited_for() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&["--ring-file", &folder.file("ring")]);
    assert_eq!(None, published(&server));
    assert!(
        server.said().contains("No such file or directory"),
        "{}",
        server.said()
    );
    folder.put("ring", FILE);
    wait_for(&server, CONVERGENCE_MAX, |ring| ring == PAYLOAD);
}

/// Five nodes of one file, one of which is told a newer ring; then one is started again with the old file, and one that
/// has no file at all.
#[test]
fn what_one_node_is_told_all_nodes_have() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let path = folder.file("ring");
    let start = || Server::start(&["-t", "1", "-v", "--ring-file", &path, "--ring-admin", "local"]);
    let mut nodes: Vec<Server> = (0..5).map(|_| start()).collect();
    folder.put("ring", &file_of(100, &nodes.iter().collect::<Vec<_>>()));
    for node in &nodes {
        wait_for(node, CONVERGENCE_MAX, |ring| ring.starts_with("100\n"));
    }
    let newer = payload(101, &nodes[..4].iter().collect::<Vec<_>>());
    nodes[2]
        .connect()
        .check_bytes(push(&newer).as_bytes(), b"STORED\r\n");
    let told = Instant::now();
    for node in &nodes {
        let left = CONVERGENCE_MAX.saturating_sub(told.elapsed());
        wait_for(node, left, |ring| ring == newer);
    }
    // Told by another than the file, and by another than whoever pushed it.
    assert_eq!("push", figure(&nodes[2], "ring_source"));
    assert!(figure(&nodes[0], "ring_source").starts_with("peer:127.0.0.1:"));

    // The file is old when this one starts again.
    drop(nodes.remove(4));
    let again = start();
    wait_for(&again, CONVERGENCE_MAX, |ring| ring == newer);
    // This one knows a single node.
    let seed = nodes[0].address().to_string();
    let stranger = Server::start(&["--ring-peers", &seed]);
    wait_for(&stranger, CONVERGENCE_MAX, |ring| ring == newer);
    assert_eq!(format!("peer:{seed}"), figure(&stranger, "ring_source"));
    assert_eq!("1", figure(&stranger, "ring_changes"));

    // What is older stays out, whoever says it.
    let older = payload(100, &[&nodes[0]]);
    nodes[0].connect().check_bytes(
        push(&older).as_bytes(),
        b"CLIENT_ERROR version 100 is older than the one in force\r\n",
    );
    assert!(nodes.iter().all(|node| published(node).as_ref() == Some(&newer)));
}

/// A node that does not answer, one that answers nonsense and one that is no node cost their patience and no more.
#[test]
fn peers_that_fail_are_counted() {
    if is_memcached() {
        return;
    }
    // Accepts, and never answers.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let dead = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let closed = dead.local_addr().expect("an address");
    drop(dead);
    let other = Server::start(&[]);
    let peers = format!(
        "{},{closed},{}",
        silent.local_addr().expect("an address"),
        other.address()
    );
    let server = Server::start(&["--ring-peers", &peers]);
    let started = Instant::now();
    let client = server.connect();
    while figure(&server, "ring_peers_failed") != "2" {
        assert!(started.elapsed() < CONVERGENCE_MAX, "{}", server.said());
        assert!(nothing_within(&client, Duration::from_millis(20)));
    }
    assert_eq!("3", figure(&server, "ring_peers"));
    assert_eq!("3", figure(&server, "ring_peers_asked"));
    assert_eq!("1", figure(&server, "ring_peers_without"));
}

/// A service record of three servers: the one that stands first numbers the ring, the others take it from there.
#[test]
fn a_ring_by_dns() {
    if is_memcached() {
        return;
    }
    let names = NameServer::start();
    let start = || {
        Server::start(&[
            "-t",
            "1",
            "-v",
            "--ring-dns",
            "_memcached._tcp.fleet.test",
            "--ring-dns-server",
            &names.address().to_string(),
        ])
    };
    let nodes: Vec<Server> = (0..3).map(|_| start()).collect();
    for (number, _) in nodes.iter().enumerate() {
        names.address_of(&format!("node-{number}.fleet.test"), Ipv4Addr::LOCALHOST);
    }
    let ring = |nodes: &[Server]| {
        let nodes: Vec<String> = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| format!("node-{number}.fleet.test|127.0.0.1|{}", node.port()))
            .collect();
        nodes.join(" ")
    };
    let serve = |nodes: &[Server]| {
        let services = nodes
            .iter()
            .enumerate()
            .map(|(number, node)| (format!("node-{number}.fleet.test"), node.port()));
        names.services_of("_memcached._tcp.fleet.test", services.collect());
    };
    serve(&nodes);
    let version_of = |payload: &str| {
        payload
            .split('\n')
            .next()
            .expect("a line")
            .parse::<u32>()
            .expect("a version")
    };
    let nodes_of = |payload: &str| payload.split('\n').nth(1).expect("a line").to_owned();
    let all = ring(&nodes);
    let first = wait_for(&nodes[0], CONVERGENCE_MAX, |payload| nodes_of(payload) == all);
    for node in &nodes[1..] {
        assert_eq!(
            first,
            wait_for(node, CONVERGENCE_MAX, |payload| nodes_of(payload) == all)
        );
    }
    assert_eq!("dns", figure(&nodes[0], "ring_source"));
    assert!(figure(&nodes[2], "ring_source").starts_with("peer:"));
    // One goes: a new ring, under a higher number, on all of them.
    serve(&nodes[..2]);
    let fewer = ring(&nodes[..2]);
    for node in &nodes {
        let payload = wait_for(node, CONVERGENCE_MAX, |payload| nodes_of(payload) == fewer);
        assert!(version_of(&payload) > version_of(&first));
    }
    // No answer is no reason to publish less.
    let before = published(&nodes[0]);
    names.services_of("_memcached._tcp.fleet.test", Vec::new());
    hang_up(&nodes[0]);
    wait_for_words(&nodes[0], "the ring stays as it is");
    assert_eq!(before, published(&nodes[0]));
    assert_ne!("0", figure(&nodes[0], "ring_dns_failed"));
}

/// A name of addresses, and a port that all have.
#[test]
fn a_ring_by_addresses() {
    if is_memcached() {
        return;
    }
    let names = NameServer::start();
    names.address_of("fleet.test", Ipv4Addr::new(127, 0, 0, 2));
    names.address_of("fleet.test", Ipv4Addr::LOCALHOST);
    // The port is to be in the name before the server has one, so it is another server's that was here a moment ago.
    for _ in 0..20 {
        let port = Server::start(&[]).port().to_string();
        let Ok(server) = Server::launch(
            &binary_under_test(),
            &[
                "-p",
                &port,
                "--ring-dns",
                &format!("fleet.test:{port}"),
                "--ring-dns-server",
                &names.address().to_string(),
            ],
        ) else {
            continue;
        };
        let nodes = format!("\n127.0.0.1|127.0.0.1|{port} 127.0.0.2|127.0.0.2|{port}\n");
        wait_for(&server, CONVERGENCE_MAX, |payload| payload.ends_with(&nodes));
        return;
    }
    panic!("no port stays free");
}

#[test]
fn each_core_is_published_as_a_node_of_its_own() {
    if is_memcached() {
        return;
    }
    let alone = Server::start(&["-t", "2", "--ring-self", "127.0.0.1"]);
    let payload = published(&alone).expect("a ring");
    assert!(
        payload.ends_with(&format!("\n127.0.0.1|127.0.0.1|{}\n", alone.port())),
        "{payload}"
    );
    for _ in 0..20 {
        let Some(base) = crate::process::four_free_ports() else {
            continue;
        };
        let options = [
            "-t",
            "4",
            "--core-ports",
            &base.to_string(),
            "--ring-self",
            "localhost",
        ];
        let Ok(server) = Server::launch(&binary_under_test(), &options) else {
            continue;
        };
        let payload = published(&server).expect("a ring");
        let nodes: Vec<String> = (base..base + 4)
            .map(|port| format!("localhost|127.0.0.1|{port}"))
            .collect();
        assert!(
            payload.ends_with(&format!("\n{}\n", nodes.join(" "))),
            "{payload}"
        );
        // Each of them tells the whole ring, and each is a way to all keys.
        for port in base..base + 4 {
            let mut client = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            client.check_bytes(b"config get cluster\r\n", reply(&payload).as_bytes());
            client.set(&format!("key-{port}"), b"x");
            assert_eq!(Some(b"x".to_vec()), server.connect().get(&format!("key-{port}")));
        }
        return;
    }
    panic!("no four free ports in a row");
}

#[test]
fn figures_of_the_ring() {
    if is_memcached() {
        return;
    }
    let folder = Folder::new();
    let server = Server::start(&["--ring-file", &folder.put("ring", FILE)]);
    let mut client = server.connect();
    client.send("stats cluster\r\n");
    let names: Vec<String> = std::iter::from_fn(|| Some(client.line()).filter(|line| line != "END"))
        .map(|line| line.split(' ').nth(1).expect("a name").to_owned())
        .collect();
    let want = "ring_version ring_nodes ring_source ring_changed ring_changes ring_older ring_conflicts ring_refused \
                ring_file_reads ring_file_failures ring_peers ring_peers_asked ring_peers_failed ring_peers_without \
                ring_dns_asked ring_dns_failed";
    assert_eq!(want, names.join(" "));
    assert_eq!(
        ("7", "3"),
        (&*figure(&server, "ring_version"), &*figure(&server, "ring_nodes"))
    );
    assert_eq!("1", figure(&server, "ring_file_reads"));
    assert_ne!("0", figure(&server, "ring_changed"));
}

/// `ringctl check` asks every node for its ring and compares it with a client's view.
#[test]
fn ringctl_compares_real_servers() {
    if is_memcached() {
        return;
    }
    let Some(ringctl) = ringctl() else {
        return skip("ringctl check", "ringctl is not built");
    };
    let folder = Folder::new();
    let path = folder.file("ring");
    let nodes: Vec<Server> = (0..3)
        .map(|_| Server::start(&["-t", "1", "--ring-file", &path, "--ring-admin", "local"]))
        .collect();
    let all: Vec<&Server> = nodes.iter().collect();
    let check = |arguments: &[&str]| {
        let output = std::process::Command::new(&ringctl)
            .arg("check")
            .args(arguments)
            .output()
            .expect("ringctl");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let view: Vec<String> = all.iter().map(|node| node.address().to_string()).collect();
    let view = view.join(",");
    let (code, said) = check(&["--json", "--servers", &view]);
    assert_eq!(
        (Some(1), 3),
        (code, said.matches("\"no-ring\"").count()),
        "{said}"
    );

    folder.put("ring", &file_of(100, &all));
    for node in &nodes {
        wait_for(node, CONVERGENCE_MAX, |ring| ring.starts_with("100\n"));
    }
    for arguments in [
        ["--json", "--servers", &view],
        ["--json", "--file", &path],
        ["--json", "--discover", &nodes[1].address().to_string()],
    ] {
        let (code, said) = check(&arguments);
        assert_eq!((Some(0), 3), (code, said.matches("\"agrees\"").count()), "{said}");
        assert!(
            said.contains("{\"nodes\":3,\"agreeing\":3,\"version\":100,\"ok\":true}"),
            "{said}"
        );
    }
    // A node that is ahead is found, and so is a view that is behind.
    let newer = payload(101, &all[..2]);
    for node in &nodes {
        node.connect().check_bytes(push(&newer).as_bytes(), b"STORED\r\n");
    }
    let (code, said) = check(&["--json", "--servers", &view]);
    assert_eq!(
        (Some(1), 3),
        (code, said.matches("\"differs\"").count()),
        "{said}"
    );
    assert!(said.contains("\"version\":101"), "{said}");
}

/// The tool beside the server under test.
fn ringctl() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_ringcached")).with_file_name("ringctl");
    path.is_file().then_some(path)
}

/// A reply is spelled with CR LF whatever the payload is: the two must not be mixed up by this file's helpers.
#[test]
fn the_payload_has_bare_line_feeds() {
    assert!(!PAYLOAD.contains('\r') && reply(PAYLOAD).contains("125\r\n7\ncache"));
    assert_eq!("a\r\n", spell("a\n"));
}
