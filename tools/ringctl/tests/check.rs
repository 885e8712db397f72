//! `ringctl check` against nodes that behave and nodes that do not.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use ringcached::cluster::{PublishedRing, RingVersion, Server};

/// A listener on a port of its own.
fn node() -> (TcpListener, Server) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Server::new("127.0.0.1", port))
}

/// Answers each line of each connection with what `answer` makes of it, until the test ends. Empty answers
/// hang up.
fn serve(listener: TcpListener, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let mut stream: TcpStream = stream;
            for line in lines {
                let bytes = answer(&line);
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    break;
                }
            }
        }
    });
}

fn ring(version: u64, servers: &[Server]) -> PublishedRing {
    PublishedRing::new(RingVersion::new(version).unwrap(), servers).unwrap()
}

fn check(arguments: &[&str]) -> (i32, Vec<serde_json::Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_ringctl"))
        .arg("check")
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code().unwrap(),
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn list(servers: &[Server]) -> String {
    servers.iter().map(Server::address).collect::<Vec<_>>().join(",")
}

#[test]
fn nodes_that_agree() {
    let nodes: Vec<_> = (0..3).map(|_| node()).collect();
    let view: Vec<_> = nodes.iter().map(|(_, server)| server.clone()).collect();
    let reply = ring(7, &view).config_reply();
    for (listener, _) in nodes {
        let reply = reply.clone();
        serve(listener, move |_| reply.clone());
    }
    let (code, lines) = check(&["--servers", &list(&view)]);
    assert_eq!(code, 0, "{lines:?}");
    assert!(
        lines[..3]
            .iter()
            .all(|line| line["state"] == "agrees" && line["version"] == 7),
        "{lines:?}"
    );
    assert_eq!(
        lines[3],
        serde_json::json!({"nodes": 3, "agreeing": 3, "version": 7, "ok": true})
    );
    // Discovered from one node, the view is the same.
    assert_eq!(check(&["--discover", &view[1].address()]), (0, lines));
}

#[test]
fn every_way_not_to_agree() {
    let nodes: Vec<_> = (0..8).map(|_| node()).collect();
    let view: Vec<_> = nodes.iter().map(|(_, server)| server.clone()).collect();
    let current = ring(9, &view).config_reply();
    let older = ring(8, &view[..7]).config_reply();
    let mut swapped = view.clone();
    swapped.swap(0, 1);
    let reordered = ring(9, &swapped).config_reply();
    let by_old_words = ring(9, &view).value_reply();
    let mut listeners = nodes.into_iter().map(|(listener, _)| listener);
    let mut next = || listeners.next().unwrap();
    serve(next(), move |_| current.clone());
    serve(next(), move |_| older.clone());
    serve(next(), move |_| reordered.clone());
    serve(next(), |_| b"ERROR\r\n".to_vec());
    serve(next(), |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    serve(next(), |_| Vec::new());
    // Accepts and never answers; the listener must stay alive for that.
    let _silent = next();
    serve(next(), move |line| match line {
        "get AmazonElastiCache:cluster" => by_old_words.clone(),
        _ => b"ERROR\r\n".to_vec(),
    });
    let started = Instant::now();
    let (code, lines) = check(&["--timeout", "300", "--servers", &list(&view)]);
    assert_eq!(code, 1);
    // The nodes are asked side by side, so the silent one costs its patience once; the rest is a busy
    // machine.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let states: Vec<_> = lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(
        states,
        [
            "agrees",
            "differs",
            "differs",
            "no-ring",
            "strange",
            "unreachable",
            "unreachable",
            "agrees"
        ],
        "{lines:?}"
    );
    let remark = |node: usize| lines[node]["remark"].as_str().unwrap();
    assert_eq!(lines[1]["missing"][0], view[7].address());
    assert_eq!(remark(1), "others are at version 9");
    assert!(remark(2).contains("another order"), "{}", remark(2));
    assert_eq!(remark(3), "it answered \"ERROR\"");
    assert!(remark(4).contains("HTTP/1.1"), "{}", remark(4));
    assert!(!remark(5).is_empty());
    assert_eq!(remark(6), "no answer within 300 ms");
    assert_eq!(
        lines[8],
        serde_json::json!({"nodes": 8, "agreeing": 2, "version": 9, "ok": false})
    );
}

#[test]
fn a_ring_with_a_stranger_and_a_dead_node() {
    let (listener, alive) = node();
    let (closed, dead) = node();
    drop(closed);
    let stranger = Server::new("10.9.9.9", 11211);
    let reply = ring(1, &[alive.clone(), dead.clone(), stranger]).config_reply();
    serve(listener, move |_| reply.clone());
    let (code, lines) = check(&["--servers", &list(&[alive, dead])]);
    assert_eq!(code, 1);
    assert_eq!(lines[0]["state"], "differs");
    assert_eq!(lines[0]["extra"], serde_json::json!(["10.9.9.9:11211"]));
    assert_eq!(lines[1]["state"], "unreachable");
    assert!(
        lines[1]["remark"].as_str().unwrap().contains("refused"),
        "{lines:?}"
    );
}

#[test]
fn damaged_rings_are_named() {
    let (listener, server) = node();
    serve(listener, |_| {
        b"CONFIG cluster 0 9\r\n0\na||1\n\n\n\r\nEND\r\n".to_vec()
    });
    let (code, lines) = check(&["--servers", &server.address()]);
    assert_eq!((code, &lines[0]["state"]), (1, &"strange".into()));
    assert!(
        lines[0]["remark"]
            .as_str()
            .unwrap()
            .contains("1:1: version must be"),
        "{lines:?}"
    );
    // A view that cannot be had is a request that cannot be carried out.
    assert_eq!(check(&["--discover", &server.address()]).0, 2);
}
