//! Several servers as one cache: where they listen, how they die and return, and the programs that talk to them.
//!
//! Each fleet has a network of its own, 127.x.y.0/24: ports may be the real ones, a dead server's address stays free for
//! its return, and the address of no connection can be taken for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;

use crate::harness::{Server, find_program, skip, until};

/// The memcached port, which ketama treats in its own way.
pub(crate) const PORT: u16 = 11211;
/// A program that hangs is stopped after this many seconds, and fails.
const SECONDS_MAX: &str = "120";

/// A /24 of loopback that no other test has.
#[derive(Clone, Copy)]
pub(crate) struct Network(u32);

impl Network {
    pub(crate) fn new() -> Network {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Test programs that run at one time have other ids; fleets of one program, other counts. Never 127.0.y.0.
        let number = (std::process::id() % (1 << 20)) * 32 + COUNT.fetch_add(1, Ordering::Relaxed) % 32;
        Network(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number % (254 * 256) * 256)
    }

    /// Its `host`th address.
    pub(crate) fn host(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::from(self.0 + u32::from(host))
    }

    /// `127.x.y.`
    pub(crate) fn prefix(self) -> String {
        let [a, b, c, _] = self.host(0).octets();
        format!("{a}.{b}.{c}.")
    }
}

/// Servers at the first addresses of a network.
pub(crate) struct Fleet {
    binary: PathBuf,
    addresses: Vec<SocketAddrV4>,
    servers: Vec<Option<Server>>,
}

impl Fleet {
    /// `count` servers on the memcached port.
    pub(crate) fn start(binary: &Path, network: Network, count: u8) -> Fleet {
        let address = |host| SocketAddrV4::new(network.host(host), PORT);
        Fleet::start_at(binary, (1..=count).map(address).collect())
    }

    pub(crate) fn start_at(binary: &Path, addresses: Vec<SocketAddrV4>) -> Fleet {
        let mut fleet = Fleet {
            binary: binary.to_owned(),
            servers: addresses.iter().map(|_| None).collect(),
            addresses,
        };
        (0..fleet.servers.len()).for_each(|index| fleet.revive(index));
        fleet
    }

    pub(crate) fn server(&self, index: usize) -> &Server {
        self.servers[index].as_ref().expect("this server is dead")
    }

    /// The servers that are not dead.
    pub(crate) fn alive(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().flatten()
    }

    /// `host:port` of each.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(ToString::to_string).collect()
    }

    /// Ends a server without a word, and waits until it is gone.
    pub(crate) fn kill(&mut self, index: usize) {
        let server = self.servers[index].take().expect("it is dead already");
        server.stop(Signal::KILL);
    }

    /// Starts a server where there is none, at the address where it was.
    pub(crate) fn revive(&mut self, index: usize) {
        // The kernel ends an io_uring, and the listening socket that it holds, some time after its process.
        until("the address is free", || {
            TcpListener::bind(self.addresses[index]).is_ok()
        });
        let server = Server::launch_at(&self.binary, self.addresses[index], &["-t", "2"]);
        self.servers[index] = Some(server.expect("a server of the fleet does not start"));
    }

    /// The sum of a statistic over the servers alive.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        self.alive().map(|server| server.connect().stat(name)).sum()
    }
}

/// The 10,000 keys of tests/ketama: numbered, hexadecimal, random, up to 250 bytes, some in UTF-8.
pub(crate) fn recorded_keys() -> Vec<Vec<u8>> {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ketama/keys.gz");
    let file = std::fs::File::open(packed).expect("keys.gz");
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).split(b'\n');
    lines.map(|line| line.expect("a key")).collect()
}

/// The PHP that has the Memcached extension; skipped by name where there is none.
pub(crate) fn php_with_memcached() -> Option<PathBuf> {
    let php = find_program("php").filter(|php| {
        let mut probe = Command::new(php);
        probe.args(["-r", "exit(class_exists('Memcached') ? 0 : 1);"]);
        probe.output().is_ok_and(|output| output.status.success())
    });
    if php.is_none() {
        skip("php-memcached", "not installed");
    }
    php
}

/// A program of this workspace, which is built beside the server by `cargo build --workspace`.
pub(crate) fn workspace_tool(name: &'static str) -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_BIN_EXE_ringcached")).with_file_name(name);
    if !tool.is_file() {
        skip(name, "not built (cargo build --workspace)");
        return None;
    }
    Some(tool)
}

/// What a program answers to `input`, where it succeeds.
#[track_caller]
pub(crate) fn answer(program: &Path, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new("timeout");
    command.arg(SECONDS_MAX).arg(program).args(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout");
    let mut stdin = child.stdin.take().expect("piped");
    let output = std::thread::scope(|scope| {
        // A program that does not read its input to the end shows that in its exit status.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("output")
    });
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A script that does one thing for each line that it reads, and answers with a line.
pub(crate) struct Script {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Script {
    pub(crate) fn start(interpreter: &Path, script: &str, arguments: &[String]) -> Script {
        let mut command = Command::new("timeout");
        command
            .arg(SECONDS_MAX)
            .arg(interpreter)
            .arg(script)
            .args(arguments);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients"));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("timeout");
        Script {
            orders: process.stdin.take().expect("piped"),
            answers: BufReader::new(process.stdout.take().expect("piped")),
            process,
        }
    }

    /// Gives an order and waits for the answer.
    #[track_caller]
    pub(crate) fn order(&mut self, order: &str) -> String {
        writeln!(self.orders, "{order}").expect("the script has ended");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert!(
            line.ends_with('\n'),
            "the script has ended at {order:?}: {line:?}"
        );
        line.trim_end().to_owned()
    }

    /// No more orders: it must end well, and say no more.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        drop(self.orders);
        let mut rest = String::new();
        self.answers.read_to_string(&mut rest).expect("the end");
        let status = self.process.wait().expect("wait");
        assert!(status.success() && rest.is_empty(), "{status}: {rest}");
    }
}
