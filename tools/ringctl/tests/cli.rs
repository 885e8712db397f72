//! The program from outside: what is typed, what is printed, what it exits with.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs ringctl; its exit status, standard output and standard error.
fn ringctl(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringctl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read; then the pipe is broken, which is as well.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[track_caller]
fn good(arguments: &[&str], input: &[u8]) -> String {
    let (code, out, error) = ringctl(arguments, input);
    assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
    out
}

#[track_caller]
fn refused(arguments: &[&str], words: &str) {
    let (code, out, error) = ringctl(arguments, b"");
    assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
    assert!(error.contains(words), "{arguments:?} said {error}");
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const FIVE: &str = "127.0.0.1:21201,127.0.0.1:21202,127.0.0.1:21203,127.0.0.1:21204,127.0.0.1:21205";

/// The first recorded keys of tests/ketama, under libmemcached's KETAMA_WEIGHTED.
#[test]
fn place_agrees_with_libmemcached() {
    let out = good(
        &[
            "place",
            "--preset",
            "libmemcached-weighted",
            "--servers",
            FIVE,
            "--json",
            "-",
        ],
        b"key0\nkey1\r\n\nkey2\n",
    );
    assert_eq!(
        out,
        "{\"key\":\"key0\",\"server\":\"127.0.0.1:21204\"}\n\
         {\"key\":\"key1\",\"server\":\"127.0.0.1:21204\"}\n\
         {\"key\":\"key2\",\"server\":\"127.0.0.1:21202\"}\n"
    );
    let out = good(
        &["place", "--preset", "php", "--servers", FIVE, "key0", "key2"],
        b"",
    );
    assert_eq!(out, "key0\t127.0.0.1:21204\nkey2\t127.0.0.1:21202\n");
}

#[test]
fn place_shows_keys_that_are_not_text() {
    let out = good(
        &["place", "--preset", "php", "--servers", FIVE, "--json", "-"],
        b"caf\xe9\n",
    );
    let line = &json(&out)[0];
    assert_eq!(line["key"], "caf\u{fffd}");
    assert_eq!(line["key_hex"], "636166e9");
}

#[test]
fn hash_tags_keep_keys_together() {
    let keys = b"{42}a\n{42}b\nx{42}\n42\n";
    let out = good(
        &[
            "place",
            "--preset",
            "twemproxy",
            "--hash-tag",
            "{}",
            "--servers",
            FIVE,
            "--json",
            "-",
        ],
        keys,
    );
    let lines = json(&out);
    assert_eq!(lines.len(), 4);
    assert!(
        lines.iter().all(|line| line["server"] == lines[0]["server"]),
        "{out}"
    );
}

#[test]
fn spread_counts_every_key_and_draws() {
    let folder = std::env::temp_dir().join(format!("ringctl-spread-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let svg = folder.join("spread.svg");
    let arguments = [
        "spread",
        "--preset",
        "php",
        "--servers",
        "a:1,b:1:2,c:11211",
        "--keys",
        "20000",
    ];
    let table = good(&[&arguments[..], &["--svg", svg.to_str().unwrap()]].concat(), b"");
    assert!(table.starts_with("php, 3 servers, 20000 keys\n"), "{table}");
    assert!(table.contains("█"), "{table}");
    let drawing = std::fs::read_to_string(&svg).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(drawing.starts_with("<svg") && drawing.trim_end().ends_with("</svg>"));
    for server in ["a:1 (", "b:1 (", "c:11211 ("] {
        assert!(drawing.contains(server), "{server} has a label");
    }
    let lines = json(&good(&[&arguments[..], &["--json"]].concat(), b""));
    let sum = |field: &str| {
        lines
            .iter()
            .map(|line| line[field].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(sum("keys"), 20_000.0);
    for share in ["by_weight", "of_ring", "of_keys"] {
        assert!((sum(share) - 1.0).abs() < 1e-9, "{share}");
    }
    assert_eq!(lines[1]["by_weight"], 0.5);
}

#[test]
fn spread_takes_the_users_own_keys() {
    let out = good(
        &[
            "spread",
            "--preset",
            "php",
            "--servers",
            FIVE,
            "--keys-from",
            "-",
            "--json",
        ],
        b"key0\nkey1\nkey2\n",
    );
    let counts: Vec<_> = json(&out)
        .iter()
        .map(|line| line["keys"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [0, 1, 0, 2, 0]);
    refused(
        &[
            "spread",
            "--preset",
            "php",
            "--servers",
            FIVE,
            "--keys-from",
            "/nonexistent/keys",
        ],
        "cannot read keys",
    );
}

#[test]
fn diff_says_what_moves() {
    let ten: Vec<_> = (1..=10).map(|n| format!("10.0.0.{n}")).collect();
    let arguments = [
        "diff",
        "--preset",
        "libmemcached-weighted",
        "--add",
        "10.0.0.10",
        "--json",
        "--servers",
    ];
    let nine = ten[..9].join(",");
    let report = &json(&good(&[&arguments[..], &[&nine]].concat(), b""))[0];
    let share = |field: &str| report[field].as_f64().unwrap();
    assert!((0.09..=0.11).contains(&share("moved_share")), "{report}");
    assert_eq!(
        share("moved_share"),
        share("needed_share"),
        "keys only move to the new server"
    );
    assert!(
        (share("moved_share_of_circle") - share("moved_share")).abs() < 0.005,
        "{report}"
    );
    let moves = report["moves"].as_array().unwrap();
    assert_eq!(moves.len(), 9);
    assert!(moves.iter().all(|m| m["to"] == "10.0.0.10:11211"));
    // The way back moves as much.
    let back = [
        "diff",
        "--preset",
        "libmemcached-weighted",
        "--remove",
        "10.0.0.10",
        "--json",
        "--servers",
    ];
    let back = &json(&good(&[&back[..], &[&ten.join(",")]].concat(), b""))[0];
    assert_eq!(back["moved"], report["moved"]);
    // Modula has no circle and moves nearly everything.
    let modula = [
        "diff",
        "--preset",
        "libmemcached-modula",
        "--add",
        "10.0.0.10",
        "--json",
        "--servers",
    ];
    let modula = &json(&good(&[&modula[..], &[&nine]].concat(), b""))[0];
    assert!(modula["moved_share"].as_f64().unwrap() > 0.85, "{modula}");
    assert!(modula.get("moved_share_of_circle").is_none());
}

#[test]
fn diff_of_weights_and_of_names() {
    let weigh = [
        "diff",
        "--preset",
        "php",
        "--servers",
        "a,b",
        "--weigh",
        "b=3",
        "--keys",
        "1000",
    ];
    let text = good(&weigh, b"");
    assert!(
        text.contains("a:11211") && text.contains("b:11211") && text.contains("had to"),
        "{text}"
    );
    // A machine that takes over a name takes over its arc, and all of its keys move to another machine.
    let name = [
        "diff",
        "--preset",
        "twemproxy-md5",
        "--servers",
        "a:1 x,b:1 y",
        "--to",
        "c:1 x,b:1 y",
        "--json",
    ];
    let report = &json(&good(&name, b""))[0];
    let moves = report["moves"].as_array().unwrap();
    assert_eq!(
        (moves.len(), &moves[0]["from"], &moves[0]["to"]),
        (1, &"a:1".into(), &"c:1".into())
    );
}

#[test]
fn mistakes_are_explained() {
    refused(
        &[
            "place",
            "--preset",
            "libmemcached-weigthed",
            "--servers",
            "a",
            "k",
        ],
        "did you mean `libmemcached-weighted`?",
    );
    refused(&["place", "--preset", "php", "k"], "give --servers or --file");
    refused(
        &["place", "--preset", "php", "--servers", "a:x", "k"],
        "column 3: port must be",
    );
    refused(
        &["place", "--preset", "php", "--servers", "a,b,a:11211", "k"],
        "a:11211 is there twice",
    );
    refused(
        &["place", "--preset", "spymemcached", "--servers", "cache1", "k"],
        "spymemcached hashes the address",
    );
    refused(&["place", "--preset", "php", "--servers", "a"], "KEY");
    refused(
        &[
            "place",
            "--preset",
            "php",
            "--file",
            "/nonexistent/ring.conf",
            "k",
        ],
        "cannot read /nonexistent/ring.conf",
    );
    refused(
        &["diff", "--preset", "php", "--servers", "a,b"],
        "nothing changes",
    );
    refused(
        &["diff", "--preset", "php", "--servers", "a,b", "--add", "b"],
        "one of the servers already",
    );
    refused(
        &["diff", "--preset", "php", "--servers", "a,b", "--remove", "c"],
        "c:11211 is none of the servers",
    );
    refused(
        &["diff", "--preset", "php", "--servers", "a,b", "--weigh", "b=0"],
        "weight must be",
    );
    refused(
        &[
            "place",
            "--preset",
            "twemproxy",
            "--hash-tag",
            "{",
            "--servers",
            "a",
            "k",
        ],
        "two characters",
    );
}

#[test]
fn ring_files_are_read_and_their_mistakes_placed() {
    let path = std::env::temp_dir().join(format!("ringctl-ring-{}.conf", std::process::id()));
    let file = path.to_str().unwrap();
    std::fs::write(&path, "version 3\n127.0.0.1:21201\n127.0.0.1:21202 # second\n").unwrap();
    let from_file = good(&["place", "--preset", "php", "--file", file, "key0", "key1"], b"");
    let from_list = good(
        &[
            "place",
            "--preset",
            "php",
            "--servers",
            "127.0.0.1:21201,127.0.0.1:21202",
            "key0",
            "key1",
        ],
        b"",
    );
    assert_eq!(from_file, from_list);
    std::fs::write(&path, "127.0.0.1:21201\n127.0.0.1:21202:0\n").unwrap();
    refused(
        &["place", "--preset", "php", "--file", file, "k"],
        ".conf:2:17: weight must be",
    );
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn help_presets_and_completions() {
    let help = good(&["--help"], b"");
    for command in ["place", "spread", "diff", "check", "presets", "completions"] {
        assert!(help.contains(command), "{command}");
        assert!(good(&[command, "--help"], b"").contains("Usage:"), "{command}");
    }
    let presets = json(&good(&["presets", "--json"], b""));
    assert!(presets.iter().any(|line| line["preset"] == "twemproxy-fnv1a_64"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(good(&["completions", shell], b"").contains("ringctl"), "{shell}");
    }
}
