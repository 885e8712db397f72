//! `-o drop_privileges`: servers whose threads may ask little of the kernel, on either event loop. With RINGCACHED_CONFINED
//! set, every server of these tests is one.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{
    Client, DEADLINE, Server, binary_under_test, scratch_folder, skip, testing_memcached, until,
};

const LOOPS: [&str; 2] = ["uring", "epoll"];

/// Starts servers on every loop that there is here. The last `--io` wins.
fn on_each_loop(options: &[&str], mut test: impl FnMut(&str, Server)) {
    if testing_memcached() {
        return;
    }
    for io in LOOPS {
        let options = [options, &["--io", io]].concat();
        match Server::launch(&binary_under_test(), &options) {
            Ok(server) => test(io, server),
            Err(said) if io == "uring" && said.contains("io_uring refused") => {
                skip("io_uring", "not granted")
            }
            Err(said) => panic!("{io}: {said}"),
        }
    }
}

/// How many filters each thread has, by its name.
fn filters(process: &str) -> Vec<(String, u32)> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).expect("tasks") {
        let task = task.expect("a task").path();
        // It may have ended meanwhile.
        let Ok(status) = fs::read_to_string(task.join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or("", |(_, value)| value.trim()).to_owned()
        };
        all.push((field("Name"), field("Seccomp_filters").parse().unwrap_or(0)));
    }
    all
}

#[test]
fn every_thread_is_confined() {
    let own = filters("self")
        .iter()
        .map(|(_, count)| *count)
        .max()
        .expect("threads");
    let folder = scratch_folder();
    let ring = folder.join("ring");
    fs::write(&ring, "127.0.0.1:11211\n").expect("file");
    let ring = ring.to_str().expect("path");
    on_each_loop(
        &["-t", "2", "--ring-file", ring, "-o", "drop_privileges", "-v"],
        |io, server| {
            let process = server.pid().to_string();
            let deadline = Instant::now() + DEADLINE;
            // The main thread is confined last, behind the port file that the test has waited for.
            let threads = loop {
                let threads = filters(&process);
                // Those that read no files have one more, which refuses it.
                let expected = |name: &str| match name {
                    "ringcached" | "ring" => own + 1,
                    _ => own + 2,
                };
                if threads.iter().all(|(name, count)| *count == expected(name)) {
                    break threads;
                }
                assert!(
                    Instant::now() < deadline,
                    "{io}: {threads:?} of {own} and one or two"
                );
            };
            let mut names: Vec<&str> = threads.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(
                ["core 0", "core 1", "ring", "ringcached", "ticker"],
                names[..],
                "{io}"
            );
            let settings = crate::statistics::stats(&mut server.connect(), "settings");
            assert!(
                settings.contains(&("drop_privileges".into(), "yes".into())),
                "{settings:?}"
            );
            assert!(!server.said().contains("no effect"), "{}", server.said());
        },
    );
    fs::remove_dir_all(folder).expect("folder");
}

/// It is off by itself, as in memcached, and where it is switched off again.
#[test]
fn nobody_is_confined_who_does_not_ask() {
    if std::env::var_os("RINGCACHED_CONFINED").is_some() {
        return;
    }
    let own = filters("self")
        .iter()
        .map(|(_, count)| *count)
        .max()
        .expect("threads");
    for options in [&[][..], &["-o", "drop_privileges,no_drop_privileges"]] {
        on_each_loop(options, |io, server| {
            let process = server.pid().to_string();
            assert!(filters(&process).iter().all(|(_, count)| *count == own), "{io}");
            let settings = crate::statistics::stats(&mut server.connect(), "settings");
            assert!(
                settings.contains(&("drop_privileges".into(), "no".into())),
                "{settings:?}"
            );
        });
    }
}

/// When a core's heap has become smaller, the C library looks how the kernel hands out memory, in a file.
#[test]
fn a_heap_may_shrink() {
    const CLIENTS: usize = 400;
    for total in ["0", "200m"] {
        on_each_loop(
            &["-t", "2", "-o", "drop_privileges", "--max-total-memory", total],
            |io, mut server| {
                let mut observer = server.connect();
                let connections = observer.stat("curr_connections");
                for _ in 0..3 {
                    let mut clients = Vec::new();
                    for number in 0..CLIENTS {
                        let mut client = server.connect();
                        client.send(format!("set half{number} 0 0 60000\r\n{}", "p".repeat(30_000)));
                        clients.push(client);
                    }
                    until("all have come", || {
                        observer.stat("curr_connections") >= connections + CLIENTS as u64
                    });
                    drop(clients);
                    until("all have gone", || {
                        observer.stat("curr_connections") <= connections
                    });
                }
                assert!(server.is_alive(), "{io}: {}", server.said());
            },
        );
    }
}

/// A core that asks for a socket ends the process; a core that is not confined gets it.
#[test]
fn a_forbidden_call_ends_the_process() {
    on_each_loop(
        &["-t", "2", "-o", "relaxed_privileges,no_drop_privileges"],
        |io, server| {
            assert_eq!(
                "ERROR",
                server.connect().ask("misbehave"),
                "{io}: it got away with it"
            );
        },
    );
    on_each_loop(&["-t", "2", "-o", "drop_privileges"], |_, server| {
        assert_eq!("ERROR", server.connect().ask("misbehave"), "an unknown word");
    });
    on_each_loop(
        &["-t", "2", "-o", "relaxed_privileges,drop_privileges"],
        |io, server| {
            let mut other = server.connect();
            let mut client = server.connect();
            client.send("misbehave\r\n");
            assert!(client.rest().is_empty() && other.rest().is_empty());
            let status = server.ended();
            assert_eq!(Some(libc::SIGSYS), status.signal(), "{io}: {status}");
        },
    );
}

/// Everything that a server does, and at its end it ends well. tests/it as a whole does more of each.
#[test]
fn a_confined_server_serves_everything() {
    let folder = scratch_folder();
    let ring = folder.join("ring");
    // A version of its own for each, for two of one second would have the same.
    let text = |port: u16| format!("version {port}\n127.0.0.1:{port}\n");
    fs::write(&ring, text(11211)).expect("file");
    let options = [
        "-t",
        "2",
        "-U",
        "-1",
        "-I",
        "8m",
        "-A",
        "-D",
        ":",
        "-vv",
        "--ring-file",
        ring.to_str().expect("path"),
        "--ring-peers",
        "127.0.0.1:1,localhost:2",
        "-o",
        "drop_privileges,track_sizes,idle_timeout=3600",
    ];
    on_each_loop(&options, |io, server| {
        let mut client = server.connect();
        let value = vec![b'v'; 5 << 20];
        client.set("small", b"value");
        client.set("large", &value);
        assert_eq!(Some(value.clone()), client.get("large"));
        // Who reads slowly, and goes away.
        let mut slow = server.connect();
        slow.send("get large\r\n".repeat(10));
        slow.exact(1000);
        drop(slow);
        let mut many: Vec<Client> = (0..50).map(|_| server.connect()).collect();
        for (number, client) in many.iter_mut().enumerate() {
            client.set(&format!("k:{number}"), &vec![b'k'; number * 1000]);
            assert_eq!(Some(value.clone()), client.get("large"));
        }
        drop(many);
        for kind in [
            "",
            " settings",
            " items",
            " slabs",
            " sizes",
            " conns",
            " detail dump",
            " cluster",
        ] {
            let line = format!("stats{kind}\r\n");
            client.send(line);
            while client.line() != "END" {}
        }
        let mut watcher = server.connect();
        assert_eq!("OK", watcher.ask("watch fetchers mutations connevents"));
        client.set("seen", b"x");
        while !watcher.line_or_lf().contains("key=seen") {}
        client.send("lru_crawler metadump all\r\n");
        while client.line_or_lf() != "END" {}
        for line in [
            "cache_memlimit 100",
            "verbosity 1",
            "verbosity 2",
            "flush_all 1000",
        ] {
            assert_eq!("OK", client.ask(line), "{io}: {line}");
        }
        // Binary, and by datagrams.
        let mut binary = server.connect();
        binary.send(crate::auth::packet(0x0b, "", b""));
        assert_eq!("1.6.45", crate::auth::answer(&mut binary).2);
        let ports = server.ports();
        let (_, port) = ports
            .iter()
            .find(|(kind, _)| kind == "UDP INET")
            .expect("a UDP port");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("timeout");
        socket
            .send_to(b"\0\x07\0\0\0\x01\0\0get small\r\n", ("127.0.0.1", *port))
            .expect("send");
        let mut datagram = [0; 1500];
        let size = socket.recv(&mut datagram).expect("a datagram");
        assert!(datagram[..size].ends_with(b"value\r\nEND\r\n"), "{io}");
        // A file that has changed, and a signal that says so.
        fs::write(&ring, text(11212)).expect("file");
        server.signal(Signal::HUP);
        let deadline = Instant::now() + DEADLINE;
        loop {
            client.send("config get cluster\r\n");
            let head = client.line();
            assert!(head.starts_with("CONFIG cluster"), "{io}: {head}");
            let lines = [(); 4].map(|()| client.line_or_lf());
            if lines.concat().contains("|11212") {
                break;
            }
            assert!(Instant::now() < deadline, "{io}: the ring stays {lines:?}");
        }
        // Stopped for a moment, it goes on.
        server.signal(Signal::STOP);
        server.signal(Signal::CONT);
        assert!(client.ask("version").starts_with("VERSION"), "{io}");
        fs::write(&ring, text(11211)).expect("file");
        client.send("shutdown\r\n");
        assert!(client.rest().is_empty());
        let status = server.ended();
        assert_eq!(Some(0), status.code(), "{io}: {status}");
    });
    fs::remove_dir_all(folder).expect("folder");
}
