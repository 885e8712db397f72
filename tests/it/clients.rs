//! Real clients: scripts under tests/clients, each a broad set of operations through one library.
//!
//! A script is told the server's address and port, exits 0 if everything was as it should be, and prints what was not.
//! `tools/test` installs the libraries; what is not there is skipped by name. To add a client: a script, a row
//! here, and a line in `tools/test` that installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Server, find_program, skip};

/// One client library.
struct Client {
    /// Its name in its own registry.
    name: &'static str,
    language: Language,
    /// The script under tests/clients.
    script: &'static str,
    /// What a program must say to find out whether the library is there.
    probe: &'static str,
}

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
}

const CLIENTS: &[Client] = &[
    Client {
        name: "pymemcache",
        language: Language::Python,
        script: "pymemcache_text.py",
        probe: "import pymemcache",
    },
    Client {
        name: "python-memcached",
        language: Language::Python,
        script: "python_memcached.py",
        probe: "import memcache",
    },
    Client {
        name: "pylibmc",
        language: Language::Python,
        script: "pylibmc_text.py",
        probe: "import pylibmc",
    },
    Client {
        name: "memcached",
        language: Language::Node,
        script: "memcached_text.js",
        probe: "require('memcached')",
    },
];

impl Language {
    /// The interpreter with the libraries in sight, and the option that takes a program.
    fn interpreter(self) -> Option<(PathBuf, &'static str)> {
        match self {
            // The virtual environment that tools/test makes.
            Language::Python => {
                Some((root().join(".venv/bin/python"), "-c")).filter(|(path, _)| path.is_file())
            }
            Language::Node => find_program("node").map(|path| (path, "-e")),
        }
    }
}

#[test]
fn pymemcache() {
    run("pymemcache");
}

#[test]
fn python_memcached() {
    run("python-memcached");
}

#[test]
fn pylibmc() {
    run("pylibmc");
}

#[test]
fn node_memcached() {
    run("memcached");
}

/// The Python that has this library; skipped by name where there is none.
pub(crate) fn python_with(name: &str) -> Option<PathBuf> {
    let client = CLIENTS
        .iter()
        .find(|client| client.name == name)
        .expect("a row for the client");
    let found = client.interpreter();
    if found.is_none() {
        skip(name, "not installed");
    }
    found
}

impl Client {
    /// The interpreter, where it has the library.
    fn interpreter(&self) -> Option<PathBuf> {
        let (interpreter, option) = self.language.interpreter()?;
        let mut probe = Command::new(&interpreter);
        probe
            .args([option, self.probe])
            .current_dir(root().join("tests/clients"));
        probe
            .output()
            .is_ok_and(|output| output.status.success())
            .then_some(interpreter)
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a client's script against servers of one thread and of four.
fn run(name: &str) {
    let client = CLIENTS
        .iter()
        .find(|client| client.name == name)
        .expect("a row for the client");
    let Some(interpreter) = client.interpreter() else {
        return skip(name, "not installed");
    };
    let folder = root().join("tests/clients");
    for threads in ["1", "4"] {
        let server = Server::start(&["-t", threads, "-m", "256"]);
        let mut script = Command::new("timeout");
        script
            .arg("120")
            .arg(&interpreter)
            .arg(client.script)
            .args(["127.0.0.1", &server.port().to_string()]);
        let output = script.current_dir(&folder).output().expect("the script");
        assert!(
            output.status.success(),
            "{name}, -t {threads}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
