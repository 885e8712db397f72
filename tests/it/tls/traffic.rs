//! What goes through: every size, every split, and no more than a slow reader takes.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection};

use super::{Authority, Secure, VERSIONS, connect, without_memory};
use crate::harness::Random;

#[test]
fn values_of_every_size_go_both_ways() {
    let authority = Authority::new("traffic");
    for threads in ["1", "4"] {
        let server = authority.start(&["-t", threads, "-I", "8m", "-m", "256"]);
        for version in VERSIONS {
            let config = without_memory(authority.client(&[version], None));
            let mut client = Secure::connect(server.address(), &config);
            // Of one record, of several, on either side of where values are sent apart.
            for size in [0, 1, 100, 4096, 8192, 16_384, 16_385, 100_000, 1 << 20, 7 << 20] {
                let value: Vec<u8> = (0..size).map(|at: usize| (at * 31 + size) as u8).collect();
                client.send(format!("set size{size} 0 0 {size}\r\n"));
                client.send([&value[..], b"\r\n"].concat());
                assert_eq!("STORED", client.line(), "{size} bytes");
                client.send(format!("get size{size}\r\n"));
                assert_eq!(format!("VALUE size{size} 0 {size}"), client.line());
                assert!(value == client.exact(size), "{size} bytes, {version:?}");
                assert_eq!("\r\nEND\r\n", String::from_utf8_lossy(&client.exact(7)));
            }
            client.send("quit\r\n");
            assert_eq!(b"", &client.rest().expect("a proper end")[..]);
        }
    }
}

#[test]
fn pipelines_are_answered_in_order_by_all_cores() {
    let authority = Authority::new("pipelines");
    let server = authority.start(&["-t", "4"]);
    let mut client = Secure::connect(
        server.address(),
        &without_memory(authority.client(&VERSIONS, None)),
    );
    let sets: String = (0..2000)
        .map(|number| format!("set k{number} 0 0 4\r\n{number:04}\r\n"))
        .collect();
    client.send(sets);
    for number in 0..2000 {
        assert_eq!("STORED", client.line(), "{number}");
    }
    let gets: String = (0..2000).map(|number| format!("get k{number}\r\n")).collect();
    client.send(gets);
    for number in 0..2000 {
        assert_eq!(format!("VALUE k{number} 0 4"), client.line());
        assert_eq!(format!("{number:04}"), client.line());
        assert_eq!("END", client.line());
    }
    assert_eq!(Some("0".to_owned()), client.stat("", "ssl_proto_errors"));
    // As it is before it is sealed, as memcached counts it.
    let written: u64 = client
        .stat("", "bytes_written")
        .expect("bytes_written")
        .parse()
        .expect("a number");
    let read: u64 = client
        .stat("", "bytes_read")
        .expect("bytes_read")
        .parse()
        .expect("a number");
    assert!((60_000..200_000).contains(&written), "{written}");
    assert!((60_000..100_000).contains(&read), "{read}");
}

/// What was sealed comes in pieces that know nothing of records, the handshake's, too.
#[test]
fn records_may_come_in_any_pieces() {
    let authority = Authority::new("pieces");
    let server = authority.start(&["-t", "2"]);
    let value: Vec<u8> = (0..50_000u32).map(|at| at as u8).collect();
    for (seed, version) in (0..6).zip(VERSIONS.into_iter().cycle()) {
        let mut random = Random(seed);
        let config = without_memory(authority.client(&[version], None));
        let name = ServerName::from(server.address().ip());
        let mut connection = Connection::from(ClientConnection::new(config, name).expect("a client"));
        connection.set_buffer_limit(None);
        let mut plaintext = Vec::new();
        for number in 0..50 {
            plaintext.extend_from_slice(format!("set p{number} 0 0 {number}\r\n").as_bytes());
            plaintext.extend_from_slice(&value[..number]);
            plaintext.extend_from_slice(format!("\r\nget p{number}\r\n").as_bytes());
        }
        plaintext.extend_from_slice(b"set large 0 0 50000\r\n");
        plaintext.extend_from_slice(&value);
        plaintext.extend_from_slice(b"\r\nquit\r\n");
        connection.writer().write_all(&plaintext).expect("plaintext");

        let mut socket = connect(server.address());
        let mut got = Vec::new();
        loop {
            let mut sealed = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut sealed).expect("memory");
            }
            let mut rest = &sealed[..];
            while !rest.is_empty() {
                let most = if random.one_in(4) { 3000 } else { 40 };
                let size = (1 + random.below(most)).min(rest.len());
                socket.write_all(&rest[..size]).expect("send");
                rest = &rest[size..];
            }
            if connection.read_tls(&mut socket).expect("receive") == 0 {
                break;
            }
            let state = connection.process_new_packets().expect("records");
            let size = state.plaintext_bytes_to_read();
            let before = got.len();
            got.resize(before + size, 0);
            connection
                .reader()
                .read_exact(&mut got[before..])
                .expect("plaintext");
            if state.peer_has_closed() {
                break;
            }
        }
        let mut want = Vec::new();
        for number in 0..50 {
            want.extend_from_slice(format!("STORED\r\nVALUE p{number} 0 {number}\r\n").as_bytes());
            want.extend_from_slice(&value[..number]);
            want.extend_from_slice(b"\r\nEND\r\n");
        }
        want.extend_from_slice(b"STORED\r\n");
        assert!(want == got, "seed {seed}: {} bytes for {}", got.len(), want.len());
    }
}

/// 200 MB are asked for and not read: the server holds a little of them, and goes on when they are.
#[test]
fn a_slow_reader_costs_no_more_than_one_output() {
    const COUNT: usize = 200;
    const SIZE: usize = 1_000_000;
    let authority = Authority::new("slow");
    // One core, where one value at a time is under way: several would each bring one.
    let server = authority.start(&["-t", "1"]);
    let config = without_memory(authority.client(&VERSIONS, None));
    let mut slow = Secure::connect(server.address(), &config);
    let value = vec![b'v'; SIZE];
    slow.send([format!("set big 0 0 {SIZE}\r\n").as_bytes(), &value, b"\r\n"].concat());
    assert_eq!("STORED", slow.line());
    let before = server.memory("VmHWM");
    slow.send("get big\r\n".repeat(COUNT));
    // Others are served meanwhile, on the same core, too.
    for _ in 0..4 {
        assert!(
            Secure::connect(server.address(), &config)
                .ask("version")
                .starts_with("VERSION")
        );
    }
    for _ in 0..COUNT {
        assert_eq!(format!("VALUE big 0 {SIZE}"), slow.line());
        assert!(value == slow.exact(SIZE));
        assert_eq!("\r\nEND\r\n", String::from_utf8_lossy(&slow.exact(7)));
    }
    let held = server.memory("VmHWM").saturating_sub(before);
    assert!(held < 16 << 20, "{held} bytes for a slow reader");
}

/// Everything asked before the client's last word is answered.
#[test]
fn the_last_word_of_a_client_is_not_the_servers() {
    let authority = Authority::new("last word");
    let server = authority.start(&["-t", "4"]);
    for version in VERSIONS {
        let config = Arc::new(authority.client(&[version], None));
        let mut client = Secure::connect(server.address(), &config);
        client.send("mn\r\n".repeat(1000));
        client.stream.get_mut().conn.send_close_notify();
        client.stream.get_mut().flush().expect("the last word");
        let rest = client.rest().expect("a proper end");
        assert_eq!(1000 * "MN\r\n".len(), rest.len());
    }
}
