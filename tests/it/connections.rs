//! What connections do to a server: cut, half closed, slow, many, garbage. None of it may harm another connection.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::classic::pattern;
use crate::harness::{Client, Random, Server, allow_descriptors, skip, spell, until};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_half_closed_connection_gets_its_answers() {
    let server = Server::start(&["-t", "4"]);
    let mut client = server.connect();
    let mut want = String::new();
    for number in 0..1000 {
        client.send(format!("set key{number} 0 0 1\r\nx\r\nget key{number}\r\n"));
        want += &format!("STORED\nVALUE key{number} 0 1\nx\nEND\n");
    }
    client.finish();
    assert_eq!(spell(&want), String::from_utf8_lossy(&client.rest()));
}

#[test]
fn a_cut_connection_leaves_nothing_behind() {
    let server = Server::start(&["-t", "2"]);
    let mut observer = server.connect();
    observer.set("kept", b"old");
    let connections = observer.stat("curr_connections");
    let memory = server.memory("VmRSS");
    let part = vec![b'v'; 900 * 1024];
    for round in 0..200 {
        let mut client = server.connect();
        // In the line, before the data, in the data, before its CR LF, between CR and LF.
        match round % 5 {
            0 => client.send("set kept 0 0"),
            1 => client.send("set kept 0 0 1000000\r\n"),
            2 => client.send([b"set kept 0 0 1000000\r\n", &part[..]].concat()),
            3 => client.send("set kept 0 0 3\r\nnew"),
            _ => client.send("set kept 0 0 3\r\nnew\r"),
        }
    }
    until("the cut connections are gone", || {
        observer.stat("curr_connections") <= connections
    });
    assert_eq!(Some(b"old".to_vec()), observer.get("kept"));
    assert_eq!(1, observer.stat("curr_items"));
    let grown = server.memory("VmRSS").saturating_sub(memory);
    assert!(grown < 48 * MIB, "{grown} bytes stay behind");
}

#[test]
fn a_reset_while_answers_are_due_harms_nobody() {
    let server = Server::start(&["-t", "2"]);
    let mut observer = server.connect();
    observer.set("large", &pattern(1_000_000, 3));
    let connections = observer.stat("curr_connections");
    for _ in 0..50 {
        let mut client = server.connect();
        client.send("get large\r\n".repeat(100));
        // Unread answers in its receive queue turn the close into a reset.
        client.exact(10);
    }
    until("the reset connections are gone", || {
        observer.stat("curr_connections") <= connections
    });
    assert!(observer.get("large") == Some(pattern(1_000_000, 3)));
}

/// Who reads nothing is served until his socket takes no more; what is behind that is not served for nobody.
#[test]
fn what_was_not_served_before_a_reset_never_is() {
    const CLIENTS: u64 = 20;
    let server = Server::start(&["-t", "2"]);
    let mut observer = server.connect();
    observer.set("value", &pattern(1000, 3));
    let connections = observer.stat("curr_connections");
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.connect();
            set_socket_linger(client.socket(), Some(Duration::ZERO)).expect("linger");
            // Their answers are more than sockets hold, and the requests less than a session takes at once.
            client.send(format!("get{}\r\n", " value".repeat(300)).repeat(100));
            client
        })
        .collect();
    let (mut served, mut looks) = (0, 0);
    until("all wait for room", || {
        let now = observer.stat("get_hits");
        looks = if now == served { looks + 1 } else { 0 };
        served = now;
        looks == 20 && now >= CLIENTS * 300
    });
    drop(clients);
    until("the reset connections are gone", || {
        observer.stat("curr_connections") <= connections
    });
    let later = observer.stat("get_hits") - served;
    assert!(later < CLIENTS / 2 * 250, "{later} values after {served}");
}

/// The kernel may not tell a multishot receive of a reset that comes with data: of about one in 6,000 on Linux 6.18.
#[test]
fn a_reset_right_behind_data_is_heard() {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 3000;
    let server = Server::start(&["-t", "2", "-c", "4000"]);
    let mut observer = server.connect();
    let connections = observer.stat("curr_connections");
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut client = server.connect();
                    set_socket_linger(client.socket(), Some(Duration::ZERO)).expect("linger");
                    // No whole request: an answer would fail, and so tell.
                    client.send("set key 0 0 100\r\nabc");
                }
            });
        }
    });
    until("the reset connections are gone", || {
        observer.stat("curr_connections") <= connections
    });
}

#[test]
fn one_line_asks_for_200_000_keys() {
    let server = Server::start(&["-t", "2"]);
    let mut client = server.connect();
    const KEYS: usize = 200_000;
    const STEP: usize = 100;
    let mut stores = Vec::new();
    for number in (0..KEYS).step_by(STEP) {
        stores.extend_from_slice(format!("set key-{number} 0 0 6 noreply\r\n{number:06}\r\n").as_bytes());
    }
    client.send(stores);
    let mut line = b"get".to_vec();
    for number in 0..KEYS {
        line.extend_from_slice(format!(" key-{number}").as_bytes());
    }
    line.extend_from_slice(b"\r\n");
    let sender = client.socket().try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || (&sender).write_all(&line).expect("send"));
        for number in (0..KEYS).step_by(STEP) {
            let (key, value) = client.value().expect("a value");
            assert_eq!(
                (format!("key-{number}"), format!("{number:06}").into_bytes()),
                (key, value)
            );
        }
        assert_eq!(None, client.value());
    });
    client.check("get nothing\n", "END\n");
}

#[test]
fn who_never_reads_is_not_read_from() {
    let server = Server::start(&["-t", "2", "-m", "64"]);
    let mut observer = server.connect();
    let value = pattern(1000 * 1024, 5);
    observer.set("large", &value);
    observer.set("small", &[b's'; 100]);
    let before = server.memory("VmRSS");
    // One GiB of large values, asked for in a few kilobytes,
    let mut of_large = server.connect();
    of_large.send("get large\r\n".repeat(1024));
    // and one GiB of small ones, asked for in 80 MB: the server must stop taking requests.
    let of_small = server.connect();
    of_small
        .socket()
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("timeout");
    let requests = "get small\r\n".repeat(100_000);
    let blocked = (0..80).any(|_| match of_small.socket().write_all(requests.as_bytes()) {
        Ok(()) => false,
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
            true
        }
    });
    assert!(
        blocked,
        "8,000,000 requests were taken from a client that reads no answer"
    );
    // Nobody else notices,
    for number in 0..5000 {
        observer.check(
            &format!("set k{number} 0 0 1\nx\nget k{number}\n"),
            &format!("STORED\nVALUE k{number} 0 1\nx\nEND\n"),
        );
    }
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} bytes for two clients who do not read");
    // and nothing is lost: who reads at last gets every answer.
    for _ in 0..1024 {
        let (_, got) = of_large.value().expect("the value");
        assert!(got == value, "another value");
        assert_eq!(None, of_large.value());
    }
    of_large.check("get nothing\n", "END\n");
}

#[test]
fn an_item_that_is_being_sent_may_go() {
    // A reader that has half of a value while others delete and replace it gets the other half of the same value.
    let server = Server::start(&["-t", "2", "-m", "64"]);
    let old = pattern(1_000_000, 7);
    let mut writer = server.connect();
    let mut readers: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    writer.set("a", &old);
    for reader in &mut readers {
        reader.send("get a\r\n".repeat(8));
        assert_eq!("VALUE a 0 1000000", reader.line());
        assert!(old[..1000] == reader.exact(1000));
    }
    writer.check("delete a\n", "DELETED\n");
    for number in 0..100 {
        writer.set(&format!("other{number}"), &pattern(1_000_000, 100 + number));
    }
    writer.set("a", b"new");
    for reader in &mut readers {
        assert!(
            old[1000..] == reader.exact(old.len() - 1000),
            "the rest is not the rest"
        );
        assert_eq!(b"\r\nEND\r\n", &reader.exact(7)[..]);
        for _ in 1..8 {
            // The later gets may have come before or after the delete, and before or after the new value.
            if let Some((_, value)) = reader.value() {
                assert!(value == old || value == b"new", "a value that never was");
                assert_eq!(None, reader.value());
            }
        }
    }
}

#[test]
fn a_thousand_connections() {
    let server = Server::start(&["-t", "2", "-c", "4096"]);
    let mut clients: Vec<Client> = (0..1000).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("set k{number} 0 0 4\r\n{number:04}\r\n"));
    }
    for client in &mut clients {
        assert_eq!("STORED", client.line());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let other = 999 - number;
        assert_eq!(
            Some(format!("{other:04}").into_bytes()),
            client.get(&format!("k{other}"))
        );
    }
    assert!(clients[0].stat("curr_connections") >= 1000);
    clients.truncate(1);
    until("the connections are gone", || {
        clients[0].stat("curr_connections") < 20
    });
}

#[test]
fn connections_come_and_go() {
    let server = Server::start(&["-t", "4"]);
    let mut observer = server.connect();
    observer.set("a", b"x");
    let (connections, descriptors) = (observer.stat("curr_connections"), server.descriptors());
    let mut open = std::collections::VecDeque::new();
    let mut random = Random(23);
    for _ in 0..3000 {
        let mut client = server.connect();
        match random.below(3) {
            0 => assert_eq!(Some(b"x".to_vec()), client.get("a")),
            1 => client.send("get a\r\n"),
            _ => {}
        }
        open.push_back(client);
        if open.len() > 20 {
            open.pop_front();
        }
    }
    drop(open);
    until("the connections are gone", || {
        observer.stat("curr_connections") <= connections
    });
    until("the sockets are closed", || server.descriptors() <= descriptors);
    assert!(observer.stat("total_connections") >= 3000);
}

#[test]
fn an_idle_connection_costs_little() {
    const CONNECTIONS: usize = 4000;
    if !allow_descriptors(CONNECTIONS as u64 + 500) {
        return skip("4,000 connections", "the limit on open files does not allow them");
    }
    let server = Server::start(&["-t", "2", "-c", "8000"]);
    let mut observer = server.connect();
    observer.set("a", &pattern(1000, 1));
    // What the first connections cost (buffers, pools) is not what each further one costs.
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    clients
        .iter_mut()
        .for_each(|client| assert!(client.get("a").is_some()));
    let before = server.memory("RssAnon");
    for _ in 0..CONNECTIONS {
        let mut client = server.connect();
        assert!(client.get("a").is_some());
        clients.push(client);
    }
    let each = server.memory("RssAnon").saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < 2048, "{each} bytes for each idle connection");
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let server = Server::start(&["-t", "4"]);
    let client = &mut server.connect();
    const COUNT: usize = 100_000;
    let sender = client.socket().try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for batch in 0..COUNT / 1000 {
                let requests: String = (batch * 1000..(batch + 1) * 1000)
                    .map(|number| {
                        format!(
                            "set k{} 0 0 6\r\n{number:06}\r\nget k{}\r\n",
                            number % 977,
                            number % 977
                        )
                    })
                    .collect();
                (&sender).write_all(requests.as_bytes()).expect("send");
            }
        });
        for number in 0..COUNT {
            assert_eq!("STORED", client.line());
            let want = (format!("k{}", number % 977), format!("{number:06}").into_bytes());
            assert_eq!(Some(want), client.value());
            assert_eq!(None, client.value());
        }
    });
}

#[test]
fn garbage_harms_nobody() {
    let mut server = Server::start(&["-t", "2"]);
    let mut observer = server.connect();
    let mut random = Random(11);
    let words: [&[u8]; 14] = [
        b"set ",
        b"get ",
        b"a ",
        b"0 ",
        b"1\r\n",
        b"\r\n",
        b"\n",
        b"\0",
        b"noreply",
        b"cas ",
        b"incr ",
        b"-1 ",
        b"99999999999 ",
        b"\x80",
    ];
    for _ in 0..300 {
        let mut garbage = Vec::new();
        for _ in 0..random.below(200) {
            if random.one_in(4) {
                garbage.extend_from_slice(&random.next().to_le_bytes());
            } else {
                garbage.extend_from_slice(words[random.below(words.len())]);
            }
        }
        let mut client = server.connect();
        let _ = client.socket().write_all(&garbage);
        if random.one_in(2) {
            let _ = client.socket().shutdown(std::net::Shutdown::Write);
            client.rest();
        }
        observer.set("a", b"x");
        assert_eq!("VALUE a 0 1", observer.ask("get a"));
        observer.exact(8);
    }
    assert!(server.is_alive());
    assert!(!server.said().contains("panicked"), "{}", server.said());
}
