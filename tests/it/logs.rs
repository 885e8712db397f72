//! What the server says on stderr: how much, in what form, and with what last words.

use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Server, binary_under_test, skip, testing_memcached};

fn start(options: &[&str], adjust: impl FnOnce(&mut Command)) -> Server {
    Server::launch_with(&binary_under_test(), options, adjust).expect("start")
}

/// Has a client ask for something, and stops the server: all that it said.
fn conversation(server: Server) -> String {
    let mut client = server.connect();
    client.set("heard", b"secret");
    client.check("get heard\n", "VALUE heard 0 6\nsecret\nEND\n");
    let (status, said) = server.last_words(Signal::TERM);
    assert_eq!(Some(0), status.code(), "{said}");
    said
}

#[test]
fn each_v_says_more() {
    if testing_memcached() {
        return skip("-v", "memcached's words are others");
    }
    // What the first, the second and the third -v add.
    let words = [
        "listening on TCP 127.0.0.1:",
        "new client connection",
        "bytes came",
    ];
    for (count, options) in [&[][..], &["-v"], &["-vv"], &["-v", "-v", "-v"]]
        .iter()
        .enumerate()
    {
        let said = conversation(start(&[&["-t", "1"], *options].concat(), |_| ()));
        for (number, words) in words.iter().enumerate() {
            assert_eq!(
                number < count,
                said.contains(words),
                "{count} times -v, {words}: {said}"
            );
        }
        assert_eq!(count >= 2, said.contains("get heard"), "{said}");
        assert!(!said.contains("secret"), "a value: {said}");
        let is_silent = said.lines().all(|line| line.contains("serving by epoll"));
        assert!(
            count > 0 || is_silent,
            "without -v there is nothing to say: {said}"
        );
    }
    // RUST_LOG says it more finely.
    let finer = |command: &mut Command| {
        command.env("RUST_LOG", "ringcached::session=debug");
    };
    let said = conversation(start(&["-t", "1"], finer));
    assert!(
        said.contains("get heard") && !said.contains("listening on"),
        "{said}"
    );
}

/// One object a line, whatever is said: requests with keys of any bytes, errors, and last words.
#[test]
fn lines_of_json() {
    if testing_memcached() {
        return skip("--log-format", "only ringcached has it");
    }
    let server = start(
        &[
            "--log-format",
            "json",
            "-vv",
            "-t",
            "1",
            "-o",
            "inline_ascii_resp",
        ],
        |_| (),
    );
    let mut client = server.connect();
    client.check_bytes(b"get \"quo\\ted\x01\xff\r\n", b"END\r\n");
    let port = server.port().to_string();
    let refused = Server::launch(&binary_under_test(), &["--log-format=json", "-p", &port]);
    let refusal = refused.err().expect("two on one port");
    let refusal = refusal.strip_prefix("exit status: 71: ").expect("its code");
    let (_, said) = server.last_words(Signal::USR1);
    let read = |text: &str| -> Vec<(String, String)> {
        text.lines()
            .map(|line| {
                let object: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                let names: Vec<&String> = object.as_object().expect("an object").keys().collect();
                assert_eq!(4, names.len(), "{line}");
                let part = |name: &str| object[name].as_str().expect(name).to_owned();
                let time = part("time");
                assert!(
                    time.len() == "2026-01-31T12:00:00.000Z".len() && time.ends_with('Z'),
                    "{line}"
                );
                assert!(!part("target").is_empty());
                (part("level"), part("message"))
            })
            .collect()
    };
    let all = read(&said);
    let has = |level: &str, words: &str| all.iter().any(|(of, text)| of == level && text.contains(words));
    assert!(has("WARN", "-o inline_ascii_resp is DEPRECATED"), "{said}");
    assert!(has("INFO", "listening on TCP"), "{said}");
    assert!(has("DEBUG", "get \\\"quo\\\\ted\\x01\\xff"), "{said}");
    assert!(has("INFO", "Gracefully stopping"), "{said}");
    let refusal = read(refusal);
    assert_eq!("ERROR", refusal[0].0);
    assert!(refusal[0].1.contains("Address already in use"), "{refusal:?}");
}

/// What is both the server's stderr and, as far as it is told, the journal.
fn stderr_of(command: &Command) -> PathBuf {
    let mut variables = command.get_envs();
    let port_file = variables.find(|(name, _)| *name == "MEMCACHED_PORT_FILENAME");
    let port_file = port_file.and_then(|(_, value)| value).expect("the port file");
    PathBuf::from(port_file).with_file_name("stderr")
}

#[test]
fn the_journal_knows_the_time() {
    if testing_memcached() {
        return skip("the journal", "memcached does not know it");
    }
    let journal = |command: &mut Command| {
        let stderr = std::fs::metadata(stderr_of(command)).expect("stderr");
        let stream = format!("{}:{}", stderr.st_dev(), stderr.st_ino());
        command.env("JOURNAL_STREAM", stream);
    };
    let said = conversation(start(&["-vv", "-t", "1", "-o", "hashpower=20"], journal));
    let has = |start: &str| said.lines().any(|line| line.starts_with(start));
    assert!(has("<4>-o hashpower has no effect"), "{said}");
    assert!(has("<6>listening on TCP 127.0.0.1:"), "{said}");
    assert!(has("<6>Signal handled: Terminated."), "{said}");
    assert!(
        said.lines()
            .any(|line| line.starts_with("<7><") && line.ends_with(" get heard")),
        "{said}"
    );
    assert!(said.lines().all(|line| line.starts_with('<')), "{said}");

    // Somebody else's journal: stderr is a file, and files have no clock.
    let other = |command: &mut Command| {
        command.env("JOURNAL_STREAM", "1:1");
    };
    let said = conversation(start(&["-v", "-t", "1"], other));
    let year = said
        .strip_prefix('[')
        .and_then(|line| line.split_once('-'))
        .expect("a time");
    assert!(year.0.parse::<u32>().is_ok(), "{said}");
}

#[test]
fn every_stop_has_its_word() {
    for (signal, word) in [
        (Signal::INT, "Signal handled: Interrupt."),
        (Signal::TERM, "Signal handled: Terminated."),
        (Signal::USR1, "Gracefully stopping"),
    ] {
        let server = Server::start(&["-v"]);
        server.connect().set("a", b"1");
        let (status, said) = server.last_words(signal);
        assert_eq!(Some(0), status.code());
        // memcached says some of it on stdout.
        assert!(testing_memcached() || said.contains(word), "{signal:?}: {said}");
    }
    // It is said however little is to be said.
    let (_, said) = Server::start(&[]).last_words(Signal::USR1);
    assert!(said.contains("Gracefully stopping"), "{said}");
}
