//! Real clients: scripts under tests/clients, each a broad set of operations through one library.
//!
//! A script is told the server's address, its port, and (where its name has two) the dialect; it exits 0 if everything
//! was as it should be, and prints what was not. It runs against ringcached with one thread and with four, and against
//! the installed memcached, so that it demands nothing that memcached does not give. `tools/test` installs the
//! libraries; what is not there is skipped by name. To add a client: a script, a test here, a line in `tools/test` that
//! installs it, and a row in docs/PROTOCOL.md.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Server, find_program, skip};

/// A script that hangs is stopped after this many seconds, and fails.
const SECONDS_MAX: &str = "120";

#[derive(Clone, Copy)]
enum Language {
    Python,
    Node,
    Php,
    Ruby,
    Perl,
    Java,
    /// Not scripts but programs, which tools/test builds: Go, Rust.
    Built,
}

use Language::{Built, Java, Node, Perl, Php, Python, Ruby};

impl Language {
    /// The command that runs a script, up to the script's name; `None` where the language is not installed.
    fn command(self) -> Option<Command> {
        let (program, options): (_, &[&str]) = match self {
            Python => (Some(root().join(PYTHON)).filter(|path| path.is_file()), &[]),
            Node => (find_program("node"), &[]),
            Php => (find_program("php"), &[]),
            Ruby => (find_program("ruby"), &[]),
            Perl => (find_program("perl"), &[]),
            // Compiled quickly rather than well: it runs for a moment.
            Java => (
                find_program("java"),
                &["-XX:TieredStopAtLevel=1", "-Xmx256m", "-cp", SPYMEMCACHED],
            ),
            Built => (find_program("env"), &[]),
        };
        let mut command = Command::new("timeout");
        command.arg(SECONDS_MAX).arg(program?).args(options);
        command.current_dir(root().join("tests/clients"));
        // Beside the gems of the system those that tools/test has installed.
        command.env("GEM_PATH", format!("{}:", root().join(".clients/gems").display()));
        Some(command)
    }

    /// True where `library` is there: what the language's own word for loading it says.
    fn has(self, library: &str) -> bool {
        let program = match self {
            Python => ["-c", &format!("import {library}")].map(str::to_owned),
            Node => ["-e", &format!("require('{library}')")].map(str::to_owned),
            Php => ["-r", &format!("exit(extension_loaded('{library}') ? 0 : 1);")].map(str::to_owned),
            Ruby => ["-e", library].map(str::to_owned),
            Perl => ["-e", &format!("use {library}")].map(str::to_owned),
            Java | Built => return Path::new(library).is_file(),
        };
        let probe = self
            .command()
            .and_then(|mut command| command.args(program).output().ok());
        probe.is_some_and(|output| output.status.success())
    }
}

/// In the virtual environment that tools/test makes.
const PYTHON: &str = ".venv/bin/python";

/// Where Debian keeps it.
const SPYMEMCACHED: &str = "/usr/share/java/spymemcached.jar";

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python that has this library; skipped by name where there is none.
pub(crate) fn python_with(library: &str) -> Option<PathBuf> {
    if !Python.has(library) {
        skip(library, "not installed");
        return None;
    }
    Some(root().join(PYTHON))
}

/// Runs a client's script, with its dialect if it has two, against each server.
#[track_caller]
fn run(name: &str, language: Language, library: &str, script: &str, dialect: Option<&str>) {
    if !language.has(library) {
        return skip(name, "not installed");
    }
    let ringcached = ["1", "4"].map(|threads| Server::start(&["-t", threads, "-m", "256"]));
    let servers = ringcached
        .into_iter()
        .zip(["ringcached -t 1", "ringcached -t 4"])
        .chain(Server::memcached(&["-m", "256"]).map(|server| (server, "memcached")));
    for (server, described) in servers {
        let mut command = language.command().expect("it ran a moment ago");
        command.args([script, "127.0.0.1", &server.port().to_string()]);
        let output = command.args(dialect).output().expect("the script");
        assert!(
            output.status.success(),
            "{name} with {described}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// A program that tools/test builds.
fn built(name: &str) -> String {
    let path: PathBuf = root().join(".clients/bin").join(name);
    path.to_string_lossy().into_owned()
}

#[test]
fn pymemcache() {
    run("pymemcache", Python, "pymemcache", "pymemcache_text.py", None);
}

#[test]
fn python_memcached() {
    run(
        "python-memcached",
        Python,
        "memcache",
        "python_memcached.py",
        None,
    );
}

#[test]
fn pylibmc_text() {
    run(
        "pylibmc",
        Python,
        "pylibmc",
        "pylibmc_text_binary.py",
        Some("text"),
    );
}

#[test]
fn pylibmc_binary() {
    run(
        "pylibmc",
        Python,
        "pylibmc",
        "pylibmc_text_binary.py",
        Some("binary"),
    );
}

#[test]
fn python_binary_memcached() {
    run(
        "python-binary-memcached",
        Python,
        "bmemcached",
        "bmemcached_binary.py",
        None,
    );
}

#[test]
fn aiomcache() {
    run("aiomcache", Python, "aiomcache", "aiomcache_text.py", None);
}

#[test]
fn emcache() {
    run("emcache", Python, "emcache", "emcache_text.py", None);
}

#[test]
fn meta_memcache() {
    run(
        "meta-memcache",
        Python,
        "meta_memcache",
        "meta_memcache_meta.py",
        None,
    );
}

#[test]
fn libmc() {
    run("libmc", Python, "libmc", "libmc_text.py", None);
}

#[test]
fn node_memcached() {
    run("memcached", Node, "memcached", "memcached_text.js", None);
}

#[test]
fn memjs() {
    run("memjs", Node, "memjs", "memjs_binary.js", None);
}

#[test]
fn memcache_client() {
    run(
        "memcache-client",
        Node,
        "memcache-client",
        "memcache_client_text.js",
        None,
    );
}

#[test]
fn php_memcached_text() {
    run(
        "php-memcached",
        Php,
        "memcached",
        "php_memcached_text_binary.php",
        Some("text"),
    );
}

#[test]
fn php_memcached_binary() {
    run(
        "php-memcached",
        Php,
        "memcached",
        "php_memcached_text_binary.php",
        Some("binary"),
    );
}

#[test]
fn dalli_binary() {
    run(
        "dalli",
        Ruby,
        "require 'dalli'",
        "dalli_binary_meta.rb",
        Some("binary"),
    );
}

/// Debian's dalli is older than its meta.
#[test]
fn dalli_meta() {
    let probe = "require 'dalli'; Dalli::Protocol::Meta; Dalli::Client.instance_method(:fetch_with_lock)";
    run("dalli-meta", Ruby, probe, "dalli_binary_meta.rb", Some("meta"));
}

#[test]
fn cache_memcached() {
    run(
        "Cache::Memcached",
        Perl,
        "Cache::Memcached",
        "cache_memcached_text.pl",
        None,
    );
}

#[test]
fn cache_memcached_fast() {
    let library = "Cache::Memcached::Fast";
    run(library, Perl, library, "cache_memcached_fast_text.pl", None);
}

#[test]
fn spymemcached_text() {
    run(
        "spymemcached",
        Java,
        SPYMEMCACHED,
        "Spymemcached.java",
        Some("text"),
    );
}

#[test]
fn spymemcached_binary() {
    run(
        "spymemcached",
        Java,
        SPYMEMCACHED,
        "Spymemcached.java",
        Some("binary"),
    );
}

#[test]
fn gomemcache() {
    let program = built("gomemcache");
    run("gomemcache", Built, &program, &program, None);
}

#[test]
fn rust_memcache() {
    let program = built("memcache");
    run("rust-memcache", Built, &program, &program, None);
}

#[test]
fn rust_async_memcached() {
    let program = built("async-memcached");
    run("async-memcached", Built, &program, &program, None);
}
