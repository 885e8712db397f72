//! Real clients that find a fleet by asking one of its nodes, unmodified: a script each under tests/clients.
//!
//! A script is told the address of one node and a list of all of them. It lets its library discover the others, insists
//! on the list, writes and reads through the library, and exits 0 if everything was as it should be.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Server, find_program, skip, testing_memcached};

#[test]
fn django_elasticache() {
    python(
        "django-elasticache",
        "import django_elasticache.memcached",
        "fleet_django_elasticache.py",
    );
}

#[test]
fn django_elastipymemcache() {
    python(
        "django-elastipymemcache",
        "import django_elastipymemcache.backend",
        "fleet_django_elastipymemcache.py",
    );
}

#[test]
fn emcache() {
    python("emcache", "import emcache", "fleet_emcache.py");
}

#[test]
fn node_memcached_elasticache() {
    node("memcached-elasticache", "fleet_memcached_elasticache.js");
}

#[test]
fn node_elasticache_client() {
    node("elasticache-client", "fleet_elasticache_client.js");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python(name: &str, probe: &str, script: &str) {
    // The virtual environment that tools/test makes.
    let interpreter = Some(root().join(".venv/bin/python")).filter(|path| path.is_file());
    run(name, interpreter, &["-c", probe], script);
}

fn node(name: &str, script: &str) {
    run(
        name,
        find_program("node"),
        &["-e", &format!("require('{name}')")],
        script,
    );
}

/// Runs a client's script against a fleet of three.
fn run(name: &str, interpreter: Option<PathBuf>, probe: &[&str], script: &str) {
    if testing_memcached() {
        return skip("the published ring", "only ringcached has it");
    }
    let Some(interpreter) = interpreter else {
        return skip(name, "its language is not installed");
    };
    let clients = root().join("tests/clients");
    let mut is_there = Command::new(&interpreter);
    is_there.args(probe).current_dir(&clients);
    if !is_there.output().is_ok_and(|output| output.status.success()) {
        return skip(name, "not installed");
    }
    let nodes: Vec<Server> = (0..3)
        .map(|_| Server::start(&["-t", "2", "--ring-admin", "local"]))
        .collect();
    let list: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
    let payload = format!(
        "1700000001\n{}\n",
        nodes
            .iter()
            .map(|node| format!("127.0.0.1|127.0.0.1|{}", node.port()))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let push = format!("config set cluster 0 {}\r\n{payload}\r\n", payload.len());
    for node in &nodes {
        node.connect().check_bytes(push.as_bytes(), b"STORED\r\n");
    }
    let output = Command::new("timeout")
        .arg("60")
        .arg(&interpreter)
        .arg(script)
        .args(["127.0.0.1", &nodes[1].port().to_string(), &list.join(",")])
        .current_dir(&clients)
        .output()
        .expect("the script");
    assert!(
        output.status.success(),
        "{name}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    for node in &nodes {
        let items = node.connect().stat("curr_items");
        assert!(
            items > 20,
            "{name} keeps {items} of 200 items on {}",
            node.address()
        );
    }
}
