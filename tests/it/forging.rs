//! What clients send cannot pass for what the server says, and what is secret is not said: in logs and in statistics.

use std::collections::HashSet;

use crate::auth::{answer, log_in, packet};
use crate::harness::{Server, binary_under_test, scratch_folder, testing_memcached};

/// A key in binary may hold anything. In the log it is one line all the same, and in statistics of prefixes, too.
#[test]
fn a_key_cannot_forge_a_line_of_log_or_statistics() {
    if testing_memcached() {
        return;
    }
    let server = Server::start(&["-t", "2", "-vvv", "-D", ":"]);
    let mut client = server.connect();
    let key = "x\r\nERROR forged:\u{1b}[31m\nPREFIX forged get 1";
    let mut set = packet(0x01, "", &[&[0; 8][..], key.as_bytes(), b"v"].concat());
    (set[3], set[4]) = (key.len() as u8, 8);
    client.send(set);
    assert_eq!(0, answer(&mut client).1);
    client.send(packet(0x00, key, b""));
    assert_eq!("\0\0\0\0v", answer(&mut client).2);
    let mut text = server.connect();
    // The same key in base64.
    assert_eq!(
        "HD",
        text.ask("mg eA0KRVJST1IgZm9yZ2VkOhtbMzFtClBSRUZJWCBmb3JnZWQgZ2V0IDE= b")
    );
    text.send("stats detail dump\r\n");
    let line = text.line();
    assert_eq!("PREFIX x%0D%0AERROR%20forged get 2 hit 2 set 1 del 0", line);
    assert_eq!("END", text.line());
    let said = server.said();
    assert!(said.contains("forged"), "it is logged: {said}");
    for line in said.lines() {
        assert!(
            line.starts_with('['),
            "a line that is not the log's own: {line:?}"
        );
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

/// Neither the file's passwords, nor those that were tried, whichever way; nor the values of items.
#[test]
fn no_secret_is_said() {
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(
        &file,
        "#!rights\nread,write,admin * web:Hidden1\nread * other:Hidden2\n",
    )
    .expect("file");
    let path = file.to_str().expect("path");
    for options in [&["-Y", path, "-vvv"][..], &["-S", "-vvv"]] {
        let server = Server::launch_with(&binary_under_test(), options, |command| {
            command.env("MEMCACHED_SASL_PWDB", &file);
        });
        let server = server.expect("it starts");
        let mut client = server.connect();
        let mut heard = String::new();
        if options[0] == "-Y" {
            assert!(log_in(&mut client, "web", "Hidden3").contains("failure"));
            assert_eq!("STORED", log_in(&mut client, "web", "Hidden1"));
            client.set("key", b"Hidden4");
            for kind in [
                "",
                " settings",
                " items",
                " slabs",
                " conns",
                " sizes",
                " detail dump",
            ] {
                client.send(format!("stats{kind}\r\n"));
                loop {
                    let line = client.line();
                    heard.push_str(&line);
                    if line == "END" {
                        break;
                    }
                }
            }
        } else {
            for password in ["Hidden3", "Hidden1"] {
                client.send(packet(0x21, "PLAIN", format!("\0web\0{password}").as_bytes()));
                heard.push_str(&answer(&mut client).2);
            }
            for kind in ["", "settings", "items", "slabs"] {
                client.send(packet(0x10, kind, b""));
                loop {
                    let (_, status, body) = answer(&mut client);
                    assert_eq!(0, status, "{kind}");
                    heard.push_str(&body);
                    if body.is_empty() {
                        break;
                    }
                }
            }
        }
        server.signal(rustix::process::Signal::HUP);
        while !server.said().contains("users may log in") {
            client.socket().set_nodelay(true).expect("the socket");
        }
        let said = format!("{heard}{}", server.said());
        assert!(!said.contains("Hidden"), "{said}");
    }
    std::fs::remove_dir_all(folder).expect("folder");
}

/// What `-F`, `-X` and `-W` forbid is forbidden to everybody, whatever rights he has.
#[test]
fn what_the_options_forbid_is_forbidden_to_all() {
    let server = Server::start(&["-F", "-X", "-W", "-t", "2"]);
    let mut client = server.connect();
    client.set("key", b"1");
    client.check(
        "flush_all\nflush_all 0\nflush_all noreply\nlru_crawler metadump all\nlru_crawler mgdump all\n\
         stats cachedump 1 0\nstats detail dump\nwatch fetchers\nget key\n",
        "CLIENT_ERROR flush_all not allowed\nCLIENT_ERROR flush_all not allowed\nERROR metadump not allowed\n\
         ERROR key dump not allowed\nCLIENT_ERROR stats cachedump not allowed\n\
         CLIENT_ERROR stats detail not allowed\nCLIENT_ERROR watch commands not allowed\nVALUE key 0 1\n1\nEND\n",
    );
    let mut binary = server.connect();
    for opcode in [0x08, 0x18] {
        binary.send(packet(opcode, "", b""));
        assert_eq!((opcode, 0x20), {
            let (opcode, status, _) = answer(&mut binary);
            (opcode, status)
        });
    }
    client.check("get key\n", "VALUE key 0 1\n1\nEND\n");
    if testing_memcached() {
        return;
    }
    let folder = scratch_folder();
    let file = folder.join("users");
    std::fs::write(&file, "#!rights\nread,write,admin * root:p\n").expect("file");
    let server = Server::start(&["-F", "-X", "-W", "-Y", file.to_str().expect("path")]);
    let mut root = server.connect();
    assert_eq!("STORED", log_in(&mut root, "root", "p"));
    let refusals: HashSet<String> = [
        "flush_all",
        "watch",
        "lru_crawler metadump all",
        "stats cachedump 1 0",
        "shutdown",
    ]
    .map(|line| root.ask(line))
    .into();
    assert!(
        refusals.len() == 5
            && refusals
                .iter()
                .all(|line| line.contains("not allowed") || line.contains("not enabled")),
        "{refusals:?}"
    );
    std::fs::remove_dir_all(folder).expect("folder");
}
