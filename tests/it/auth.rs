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
fn log_in(client: &mut Client, user: &str, password: &str) -> String {
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
