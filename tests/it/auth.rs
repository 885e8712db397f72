//! Logging in: `-Y`.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::harness::{Client, DEADLINE, Server, scratch_folder, testing_memcached};

/// A server that knows users, and the file that says which.
fn start(text: &str, options: &[&str]) -> (Server, PathBuf) {
    let file = scratch_folder().join("users");
    std::fs::write(&file, text).expect("file");
    let server = Server::start(&[&["-Y", file.to_str().expect("path")], options].concat());
    (server, file)
}

/// Logs in; returns what is answered.
pub(crate) fn log_in(client: &mut Client, user: &str, password: &str) -> String {
    let size = user.len() + password.len() + 1;
    client.send(format!("set any 0 0 {size}\r\n{user} {password}\r\n"));
    client.line()
}

const UNAUTHENTICATED: &str = "CLIENT_ERROR unauthenticated";
const FAILURE: &str = "CLIENT_ERROR authentication failure";

#[test]
fn nobody_is_served_who_has_not_logged_in() {
    let (server, file) = start("foo:bar\nbaaaz:quux:with colon\nlast:line", &["-t", "2", "-vv"]);
    let mut client = server.connect();
    for line in [
        "get foo",
        "mg foo v",
        "version",
        "stats",
        "flush_all",
        "delete foo",
        "shutdown",
    ] {
        assert_eq!(UNAUTHENTICATED, client.ask(line), "{line}");
    }
    client.send("set foo 0 0 2\r\nhi\r\n");
    assert_eq!("CLIENT_ERROR bad authentication token format", client.line());
    client.send("set foo 0 0 7\r\nfoo barXY");
    assert_eq!("CLIENT_ERROR bad command line termination", client.line());
    assert_eq!(
        "CLIENT_ERROR auth token too long",
        client.ask("set foo 0 0 2147483646")
    );
    for (user, password) in [
        ("foo", "bab"),
        ("foo", "ba"),
        ("foo", "barr"),
        ("fo", "bar"),
        ("baaaz", "bar"),
        ("", ""),
    ] {
        assert_eq!(FAILURE, log_in(&mut client, user, password), "{user} {password}");
    }
    assert_eq!("STORED", log_in(&mut client, "foo", "bar"));
    client.set("toast", b"hi");
    assert_eq!(Some(b"hi".to_vec()), client.get("toast"));
    assert_eq!(None, client.get("any"), "a login stores nothing");
    assert_eq!((7, 6), (client.stat("auth_cmds"), client.stat("auth_errors")));

    for (user, password) in [("baaaz", "quux:with colon"), ("last", "line")] {
        let mut other = server.connect();
        assert_eq!("STORED", log_in(&mut other, user, password));
        assert_eq!(Some(b"hi".to_vec()), other.get("toast"));
    }
    let settings = crate::statistics::stats(&mut client, "settings");
    assert!(settings.contains(&("auth_enabled_ascii".into(), file.display().to_string())));
    assert!(settings.contains(&("binding_protocol".into(), "ascii".into())));
    let everything = format!(
        "{}{settings:?}{:?}",
        server.said(),
        crate::statistics::stats(&mut client, "")
    );
    for secret in ["quux", "bar\"", "foo bar", "bab"] {
        assert!(!everything.contains(secret), "{secret} is shown: {everything}");
    }
    std::fs::remove_dir_all(file.parent().expect("folder")).expect("folder");
}

#[test]
fn a_pipeline_gets_an_answer_to_each_line() {
    if testing_memcached() {
        return;
    }
    let (server, file) = start("foo:bar\n", &[]);
    let mut client = server.connect();
    let requests = "get a\r\nset k 0 0 7\r\nfoo bar\r\nset k 0 0 1\r\nv\r\nget k\r\n";
    for piece in [1, 3, 7, requests.len()] {
        let mut client = server.connect();
        for part in requests.as_bytes().chunks(piece) {
            client.send(part);
        }
        let lines: Vec<String> = (0..6).map(|_| client.line()).collect();
        assert_eq!(
            [UNAUTHENTICATED, "STORED", "STORED", "VALUE k 0 1", "v", "END"],
            lines[..],
            "pieces of {piece}"
        );
    }
    // Whoever sends what cannot be a login is hung up on: a short line, an endless one, a binary packet.
    client.send("mn\r\n");
    assert!(client.rest().is_empty());
    for nonsense in [vec![b'x'; 5000], [&[0x80][..], &[0; 23]].concat()] {
        let mut client = server.connect();
        client.send(nonsense);
        client.finish();
        assert!(client.rest().is_empty());
    }
    std::fs::remove_dir_all(file.parent().expect("folder")).expect("folder");
}

#[test]
fn the_file_is_read_anew() {
    let (server, file) = start("foo:bar\n", &["-t", "2"]);
    let mut old = server.connect();
    assert_eq!("STORED", log_in(&mut old, "foo", "bar"));
    let until = |user: &str, password: &str, want: &str| {
        let deadline = std::time::Instant::now() + DEADLINE;
        while log_in(&mut server.connect(), user, password) != want {
            assert!(std::time::Instant::now() < deadline, "{user}: never {want}");
        }
    };
    std::fs::write(&file, "foo:new\nother:x\n").expect("file");
    server.signal(Signal::HUP);
    until("other", "x", "STORED");
    until("foo", "new", "STORED");
    until("foo", "bar", FAILURE);
    old.set("still", b"served");
    // A file that makes no sense changes nothing.
    std::fs::write(&file, "nonsense\n").expect("file");
    server.signal(Signal::HUP);
    std::fs::write(&file, "foo:newer\n").expect("file");
    server.signal(Signal::HUP);
    until("foo", "newer", "STORED");
    std::fs::remove_dir_all(file.parent().expect("folder")).expect("folder");
}

/// A binary packet.
pub(crate) fn packet(opcode: u8, key: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80, opcode, 0, key.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(&((key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Opcode, status and body of the next packet.
pub(crate) fn answer(client: &mut Client) -> (u8, u16, String) {
    let header = client.exact(24);
    let size = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
    let body = client.exact(size as usize);
    let status = u16::from_be_bytes([header[6], header[7]]);
    (header[1], status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn sasl() {
    if testing_memcached() {
        return;
    }
    const LIST: u8 = 0x20;
    const AUTH: u8 = 0x21;
    const STEP: u8 = 0x22;
    const VERSION: u8 = 0x0b;
    const GET: u8 = 0x00;
    const STAT: u8 = 0x10;
    const QUIT: u8 = 0x07;
    const DELETE: u8 = 0x04;
    const SET: u8 = 0x01;
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, "foo:bar\nuser:pass:more\n").expect("file");
    let binary = crate::harness::binary_under_test();
    let server = Server::launch_with(&binary, &["-S", "-t", "2"], |command| {
        command.env("MEMCACHED_SASL_PWDB", &file);
    });
    let server = server.expect("it starts");
    let failure = |opcode| (opcode, 0x20, "Auth failure.".to_owned());

    let mut client = server.connect();
    client.send(packet(LIST, "", b""));
    assert_eq!((LIST, 0, "PLAIN".to_owned()), answer(&mut client));
    client.send(packet(VERSION, "", b""));
    assert_eq!((VERSION, 0, "1.6.45".to_owned()), answer(&mut client));
    for (opcode, mechanism, data) in [
        (AUTH, "PLAIN", &b"\0foo\0wrong"[..]),
        (AUTH, "PLAIN", b"\0fo\0bar"),
        (AUTH, "PLAIN", b"foo bar"),
        (AUTH, "PLAIN", b""),
        (AUTH, "CRAM-MD5", b"\0foo\0bar"),
        (STEP, "PLAIN", b"\0foo\0bar"),
    ] {
        client.send(packet(opcode, mechanism, data));
        assert_eq!(failure(opcode), answer(&mut client), "{mechanism} {data:?}");
    }
    client.send(packet(AUTH, &"X".repeat(40), b"\0foo\0bar"));
    assert_eq!(
        (AUTH, 4),
        {
            let (opcode, status, _) = answer(&mut client);
            (opcode, status)
        },
        "a bad mechanism"
    );
    // In one piece: who has logged in is served what he asks next.
    client.send([packet(AUTH, "PLAIN", b"\0foo\0bar"), packet(GET, "key", b"")].concat());
    assert_eq!((AUTH, 0, "Authenticated".to_owned()), answer(&mut client));
    assert_eq!((GET, 1, "Not found".to_owned()), answer(&mut client));
    // Extras stand before the key.
    let mut set = packet(SET, "", b"\0\0\0\0\0\0\0\0keyvalue");
    (set[3], set[4]) = (3, 8);
    client.send(&set);
    assert_eq!((SET, 0, String::new()), answer(&mut client));
    client.send(packet(STAT, "", b""));
    let mut figures = Vec::new();
    loop {
        let (_, _, body) = answer(&mut client);
        if body.is_empty() {
            break;
        }
        figures.push(body);
    }
    for figure in ["auth_cmds7", "auth_errors6"] {
        assert!(figures.contains(&figure.to_owned()), "{figure} in {figures:?}");
    }
    // Who fails is a stranger again, and a stranger who asks for anything is hung up on.
    client.send(packet(AUTH, "PLAIN", b"\0user\0password"));
    assert_eq!(failure(AUTH), answer(&mut client));
    client.send([packet(DELETE, "key", b""), packet(GET, "key", b"")].concat());
    assert_eq!(failure(DELETE), answer(&mut client));
    assert!(client.rest().is_empty());

    for (opcode, key) in [(STAT, ""), (QUIT, ""), (DELETE, "key"), (SET, "")] {
        let mut client = server.connect();
        client.send(packet(opcode, key, b""));
        let (said, status, _) = answer(&mut client);
        // A set without extras contradicts itself, which is found first.
        assert_eq!((opcode, if opcode == SET { 4 } else { 0x20 }), (said, status));
        assert!(client.rest().is_empty());
    }
    for password in ["pass", "pass:more"] {
        let mut client = server.connect();
        client.send(packet(AUTH, "PLAIN", format!("x\0user\0{password}").as_bytes()));
        assert_eq!(
            (AUTH, 0, "Authenticated".to_owned()),
            answer(&mut client),
            "{password}"
        );
        client.send(packet(GET, "key", b""));
        let (_, status, body) = answer(&mut client);
        assert_eq!(
            (0, "\0\0\0\0value"),
            (status, &body[..]),
            "no stranger has deleted it"
        );
    }
    let mut text = server.connect();
    text.send("get key\r\n");
    assert!(text.rest().is_empty(), "text is not spoken here");
    drop(server);
    std::fs::remove_dir_all(folder).expect("folder");
}
