//! Starts twemproxy with a configuration of docs/FLEET.md, and asks for its statistics.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::fleet::Network;
use crate::harness::{Client, DEADLINE, find_program, scratch_folder, skip, until};

/// The port of the configurations.
pub(crate) const PORT: u16 = 22121;
/// nutcracker's default.
const STATS_PORT: u16 = 22222;
/// The host of a test's network that is the proxy's.
const HOST: u8 = 100;

/// A twemproxy with one pool.
pub(crate) struct Nutcracker {
    process: Child,
    network: Network,
    folder: PathBuf,
    pool: String,
}

/// nutcracker itself; skipped by name where there is none.
pub(crate) fn binary() -> Option<PathBuf> {
    // Debian installs it for root.
    let found = find_program("nutcracker")
        .or_else(|| Some("/usr/sbin/nutcracker".into()).filter(|p: &PathBuf| p.is_file()));
    if found.is_none() {
        skip("nutcracker", "not installed");
    }
    found
}

/// The configuration of docs/FLEET.md whose pool has this name, with the addresses of a network, and with patience for
/// a busy machine: so many milliseconds until a server that does not answer is given up.
pub(crate) fn documented(pool: &str, network: Network, patience: u32) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FLEET.md");
    let text = fs::read_to_string(path).expect("docs/FLEET.md");
    let mut blocks = text
        .split("```yaml\n")
        .skip(1)
        .map(|block| block.split("```").next());
    let block = blocks.find_map(|block| block.filter(|block| block.starts_with(&format!("{pool}:\n"))));
    let block = block.unwrap_or_else(|| panic!("docs/FLEET.md has no pool {pool}"));
    let timeout = "\n  timeout: 400\n";
    assert!(block.contains(timeout), "{block}");
    block
        .replace(timeout, &format!("\n  timeout: {patience}\n"))
        .replace("127.0.0.1:", &format!("{}:", network.host(HOST)))
        .replace("10.0.0.", &network.prefix())
}

/// The servers of a configuration, as ringctl wants them.
pub(crate) fn servers(configuration: &str) -> String {
    let lines = configuration
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    lines.collect::<Vec<_>>().join(",")
}

impl Nutcracker {
    /// Starts it with a configuration for this network, and waits until it listens on the last of its pools.
    pub(crate) fn start(binary: &Path, network: Network, configuration: &str) -> Nutcracker {
        let folder = scratch_folder();
        let file = folder.join("nutcracker.yml");
        fs::write(&file, configuration).expect("the configuration");
        let process = Command::new(binary)
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.join("pid"))
            // Statistics are gathered every 50 ms.
            .args([
                "-i",
                "50",
                "-a",
                &network.host(HOST).to_string(),
                "-s",
                &STATS_PORT.to_string(),
            ])
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).expect("stderr file"))
            .spawn()
            .expect("nutcracker");
        let pool = configuration.split(':').next().expect("a pool").to_owned();
        let mut nutcracker = Nutcracker {
            process,
            network,
            folder,
            pool,
        };
        let last = configuration
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("listen: "));
        let last: SocketAddr = last
            .and_then(|listen| listen.parse().ok())
            .expect("an address to listen on");
        // It does not say when it is ready.
        until("nutcracker listens", || {
            assert!(
                nutcracker.process.try_wait().expect("wait").is_none(),
                "{}",
                nutcracker.said()
            );
            TcpStream::connect(last).is_ok()
        });
        nutcracker
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.at(PORT)
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddrV4::new(self.network.host(HOST), port).into()
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// The statistics of its pool.
    pub(crate) fn statistics(&self) -> Value {
        let mut stream = TcpStream::connect(self.at(STATS_PORT)).expect("the port of statistics");
        stream.set_read_timeout(Some(DEADLINE)).expect("read timeout");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("statistics");
        let all: Value = serde_json::from_str(&text).expect("statistics in JSON");
        all[&self.pool].clone()
    }

    /// A figure of the pool.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let statistics = self.statistics();
        statistics[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {statistics}"))
    }

    /// The statistics of its servers, by their names.
    pub(crate) fn servers(&self) -> Vec<Value> {
        let statistics = self.statistics();
        let all = statistics.as_object().expect("a pool").values();
        all.filter(|value| value.is_object()).cloned().collect()
    }

    /// The sum of a figure over the pool's servers.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let servers = self.servers();
        servers
            .iter()
            .map(|server| server[name].as_u64().expect("a figure"))
            .sum()
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Nutcracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("nutcracker: {}", self.said());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
