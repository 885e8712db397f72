//! The fleet that this server is of: the ring that it publishes, and how it stays the current one.
//!
//! ```text
//!   ring file     config set     DNS        other servers (config get cluster)
//!       |             |           |              |
//!       +-------------+---- Board (newer only) --+
//!                             |
//!                     what sessions answer: an atomic pointer, no lock
//! ```
//!
//! One background thread looks at the file, asks DNS and asks the others, each with its interval and its patience. No
//! core waits for it, and it waits for no core. docs/design/21-published-ring.md has the reasons.

mod board;
mod dns;
mod file;
mod peers;

use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use log::{Level, debug, log, warn};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::cluster::{PublishedRing, RingVersion, Server};
use crate::config;
use crate::session::fleet::{Fleet, NoFleet};
use board::{Board, Source, unix_time};
use dns::Names;
use file::Watched;
use peers::Answer;

/// Between two looks at the ring file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two rounds of asking, give or take a quarter: from three to five seconds.
const ROUND_INTERVAL: Duration = Duration::from_secs(4);

/// Servers asked in a round. All have been asked after as many rounds as it takes to go round.
const PEERS_PER_ROUND: usize = 3;

/// A server's fleet, before and after its thread has been started.
pub(super) struct Member {
    board: Arc<Board>,
    fleet: config::Fleet,
    file: Option<Watched>,
    /// Where this server listens, by which it knows itself in a ring.
    listens: Vec<SocketAddr>,
    /// Whether DNS could not be asked the last time.
    dns_failing: bool,
}

/// Tells the thread to look at once.
pub(super) struct Nudge(Arc<Notify>);

impl Nudge {
    pub(super) fn nudge(&self) {
        self.0.notify_one();
    }
}

impl Member {
    /// Publishes what there is to publish before anybody is served: the file's ring, or this server itself. It listens
    /// where `shared` says, and each core by itself on a port of `core_ports`, if there are any.
    pub(super) fn new(fleet: &config::Fleet, shared: &[SocketAddr], core_ports: &[u16]) -> Member {
        let mut member = Member {
            board: Arc::default(),
            fleet: fleet.clone(),
            file: fleet.file.clone().map(Watched::new),
            listens: shared.to_vec(),
            dns_failing: false,
        };
        if let Some(file) = &mut member.file {
            file.read(&member.board);
        }
        if let Some(name) = &fleet.own_name {
            let mut ports: Vec<u16> = shared.iter().map(SocketAddr::port).collect();
            ports.dedup();
            let ports = if core_ports.is_empty() { &ports } else { core_ports };
            publish_own(&member.board, name, ports);
        }
        for address in shared {
            let of_cores = core_ports.iter().map(|&port| SocketAddr::new(address.ip(), port));
            member.listens.extend(of_cores);
        }
        member
    }

    /// What sessions know of it.
    pub(super) fn for_sessions(&self) -> Arc<dyn Fleet> {
        if self.fleet.is_wanted() {
            self.board.clone()
        } else {
            Arc::new(NoFleet)
        }
    }

    /// Starts the thread, if there is anything to do. It ends with the process: nothing waits for it.
    /// `confine` is what it does first.
    pub(super) fn start(
        self,
        confine: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<Nudge, String> {
        let nudge = Arc::new(Notify::new());
        if self.fleet.is_wanted() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()
                .map_err(|error| format!("ring: {error}"))?;
            let nudged = nudge.clone();
            std::thread::Builder::new()
                .name("ring".to_owned())
                .spawn(move || match confine() {
                    Ok(()) => runtime.block_on(self.watch(&nudged)),
                    // The main thread fails at it, too, and says so.
                    Err(error) => debug!("ring: {error}"),
                })
                .map_err(|error| format!("ring: {error}"))?;
        }
        Ok(Nudge(nudge))
    }

    async fn watch(mut self, nudge: &Notify) {
        let names = Arc::new(Names::new(self.fleet.name_server));
        // Servers that were started together begin with different ones.
        let mut turn = usize::from(std::hash::RandomState::new().hash_one(0) as u16);
        let mut next_round = Instant::now();
        loop {
            let next = match self.file {
                Some(_) => next_round.min(Instant::now() + LOOK_INTERVAL),
                None => next_round,
            };
            let nudged = wait(nudge, next).await;
            self.look(nudged);
            if nudged || Instant::now() >= next_round {
                next_round = Instant::now() + jittered(turn);
                self.round(&names, turn).await;
                turn += 1;
            }
        }
    }

    fn look(&mut self, nudged: bool) {
        match &mut self.file {
            Some(file) if nudged => file.read(&self.board),
            Some(file) => file.look(&self.board),
            None => {}
        }
    }

    /// Asks DNS and some of the others.
    async fn round(&mut self, names: &Arc<Names>, turn: usize) {
        let from_dns = self.ask_dns(names).await;
        let others = self.others(&from_dns);
        self.board.count(|counts| counts.peers = others.len() as u64);
        let start = turn.wrapping_mul(PEERS_PER_ROUND);
        let asked: Vec<_> = (0..others.len().min(PEERS_PER_ROUND))
            .map(|index| {
                let server = others[start.wrapping_add(index) % others.len()].clone();
                let names = names.clone();
                (server.address(), tokio::spawn(ask(names, server)))
            })
            .collect();
        for (name, answer) in asked {
            match answer.await {
                Ok(answer) => self.take(name, answer),
                Err(error) => self.failed(&name, &error.to_string()),
            }
        }
        // Last, because the others may have the very ring that would be made.
        if from_dns.first().is_some_and(|first| self.is_me(first)) {
            self.publish(&from_dns);
        }
    }

    /// The servers by DNS; none where it is not to be asked or fails.
    async fn ask_dns(&mut self, names: &Names) -> Vec<Server> {
        let Some(asked) = &self.fleet.dns else {
            return Vec::new();
        };
        let found = names.servers(asked).await;
        self.board.count(|counts| {
            counts.dns_asked += 1;
            counts.dns_failed += u64::from(found.is_err());
        });
        // Said when it begins: it may last.
        let level = if self.dns_failing {
            Level::Debug
        } else {
            Level::Warn
        };
        self.dns_failing = found.is_err();
        found.unwrap_or_else(|mistake| {
            log!(level, "ring: {}: {mistake}; the ring stays as it is", asked.name);
            Vec::new()
        })
    }

    /// Whom to ask: the nodes of the ring, those of `--ring-peers` and those of DNS; each once, and not ourselves.
    fn others(&self, from_dns: &[Server]) -> Vec<Server> {
        let of_ring = self.board.nodes().into_iter().map(|node| Server {
            ip: node.ip,
            ..Server::new(node.host, node.port)
        });
        let mut others: Vec<Server> = of_ring
            .chain(self.fleet.peers.iter().cloned())
            .chain(from_dns.iter().cloned())
            .collect();
        others.sort_by_cached_key(Server::address);
        others.dedup_by_key(|server| server.address());
        others.retain(|server| !self.is_me(server));
        others
    }

    fn take(&self, name: String, answer: Answer) {
        self.board.count(|counts| counts.peers_asked += 1);
        match answer {
            Answer::Ring(ring) => {
                self.board.adopt(ring, Source::Peer(name));
            }
            Answer::Nothing => self.board.count(|counts| counts.peers_without += 1),
            Answer::Failed(mistake) => self.failed(&name, &mistake),
        }
    }

    fn failed(&self, name: &str, mistake: &str) {
        self.board.count(|counts| counts.peers_failed += 1);
        debug!("ring: {name}: {mistake}");
    }

    /// Numbers what DNS says. Only the server that stands first there does so: a version has one source.
    fn publish(&self, servers: &[Server]) {
        match PublishedRing::new(RingVersion::MAX, servers) {
            Some(wanted) => self
                .board
                .renew(|version| PublishedRing::new(version, servers), wanted.nodes()),
            None => warn!("ring: DNS names a host that no client could be told"),
        }
    }

    /// Whether that is this server: where it listens, or one of its ports at any address of this machine.
    fn is_me(&self, server: &Server) -> bool {
        server.ip.is_some_and(|ip| {
            self.listens.iter().any(|listens| {
                let is_here = listens.ip() == ip || listens.ip().is_unspecified() && is_of_this_machine(ip);
                listens.port() == server.port && is_here
            })
        })
    }
}

/// Finds a server and asks it.
async fn ask(names: Arc<Names>, server: Server) -> Answer {
    match names.reach(&server).await {
        Ok(address) => peers::ask(address).await,
        Err(mistake) => Answer::Failed(mistake),
    }
}

/// Publishes this server alone, or each of its cores as a server of its own.
fn publish_own(board: &Board, name: &str, ports: &[u16]) {
    let addresses = (name, 0).to_socket_addrs().map_or_else(
        |error| {
            warn!("ring: --ring-self {name}: {error}; it is published without an address");
            Vec::new()
        },
        |addresses| addresses.map(|address| address.ip()).collect(),
    );
    // Several clients know the old kind only.
    let ip = addresses
        .iter()
        .find(|ip| ip.is_ipv4())
        .or(addresses.first())
        .copied();
    let servers: Vec<Server> = ports
        .iter()
        .map(|&port| Server {
            ip,
            ..Server::new(name, port)
        })
        .collect();
    match RingVersion::new(unix_time()).and_then(|version| PublishedRing::new(version, &servers)) {
        Some(ring) => {
            board.adopt(ring, Source::Own);
        }
        None => warn!("ring: --ring-self {name}: there is no port to publish"),
    }
}

/// Only an address of this machine can be bound to.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// Waits until then, or until somebody nudges: true.
async fn wait(nudge: &Notify, until: Instant) -> bool {
    tokio::time::timeout_at(until, nudge.notified()).await.is_ok()
}

/// An interval of which servers that were started together have different ones.
fn jittered(turn: usize) -> Duration {
    let quarter = ROUND_INTERVAL / 4;
    let random = std::hash::RandomState::new().hash_one(turn) as f64 / u64::MAX as f64;
    ROUND_INTERVAL - quarter + (2 * quarter).mul_f64(random)
}
