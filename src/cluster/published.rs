//! The ring as nodes publish it, in the dialect of Amazon's ElastiCache that some ten clients speak already.
//!
//! ```text
//! config get cluster                        get AmazonElastiCache:cluster   (the older spelling)
//! CONFIG cluster 0 <size>                   VALUE AmazonElastiCache:cluster 0 <size>
//! <version>\n                               <version>\n
//! <host>|<ip>|<port> <host>|<ip>|<port>\n   <host>|<ip>|<port> <host>|<ip>|<port>\n
//! \r\n                                      \r\n
//! END\r\n                                   END\r\n
//! ```
//!
//! `<size>` counts the two payload lines with their line feeds. The same payload comes in with `config set
//! cluster`, and is the value of the binary replies (0x60 and its family). Weights, names and zones have no
//! place in it: a published ring is one of equal servers.
//!
//! What clients insist on, and what this file therefore never writes otherwise: bare line feeds inside the
//! payload, one blank between nodes and none behind the last (.NET), a version that fits a signed 32-bit
//! integer (.NET, Java), exactly four lines that are not empty (django-elasticache), `\n\r\nEND\r\n` at the
//! end (pymemcache).
//!
//! **Versions have one source.** A ring is decided by one writer and numbered by it; nodes and clients only
//! ever go up ([`PublishedRing::adopt`]). No vote, no merge: docs/design/20-ketama.md has the reasons.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use super::server::{digits, host_mistake};
use super::{SERVERS_MAX, Server};

/// Number of a ring: 1 to 2^31 - 1, the writer's counter or its file's time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingVersion(u32);

/// A node of a published ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetNode {
    pub host: String,
    /// Empty on the wire where it is not known; several clients then skip the node, so fill it where
    /// possible.
    pub ip: Option<IpAddr>,
    pub port: u16,
}

/// A numbered list of nodes.
///
/// Invariant: 1 to [`SERVERS_MAX`] nodes, no two of the same host and port, host names that hold no blank,
/// `|` or line end. `new` and `parse` are the only ways to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRing {
    version: RingVersion,
    nodes: Vec<FleetNode>,
}

/// What to do with a ring that somebody offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Ours is older or missing: take it.
    Newer,
    /// It is ours.
    Same,
    /// Ours is newer: keep it.
    Older,
    /// The same version names other nodes, so two writers numbered it: keep ours, and tell the operator.
    Conflict,
}

/// The first mistake of a payload. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadError {
    pub line: usize,
    pub column: usize,
    pub what: &'static str,
}

/// What a node answered to either question, as far as it has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetReply<'a> {
    /// Not all here yet.
    Partial,
    Payload(&'a [u8]),
    /// The question is known, but there is no ring: `END` alone.
    Empty,
    /// An error line, without its line end: `ERROR` from a stock memcached.
    Refused(&'a [u8]),
    /// Nothing a memcached would say.
    Garbage,
}

/// Largest payload taken from a peer or a client: [`SERVERS_MAX`] nodes of the longest names.
pub(super) const PAYLOAD_SIZE_MAX: usize = 2 << 20;
/// Longest first line of a reply that is waited for.
const HEADER_SIZE_MAX: usize = 512;

impl RingVersion {
    pub const MAX: RingVersion = RingVersion(i32::MAX as u32);

    /// A version, if it is in range.
    pub fn new(number: u64) -> Option<RingVersion> {
        u32::try_from(number)
            .ok()
            .map(RingVersion)
            .filter(|version| version.0 > 0 && *version <= RingVersion::MAX)
    }

    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for RingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PublishedRing {
    /// The ring of these servers: what the dialect can say of them. `None` if there are none, too many, or
    /// two of one address; a [`super::RingFile`] has ruled all of that out.
    pub fn new(version: RingVersion, servers: &[Server]) -> Option<PublishedRing> {
        let node = |server: &Server| FleetNode {
            host: server.host.clone(),
            ip: server.ip,
            port: server.port,
        };
        let ring = PublishedRing {
            version,
            nodes: servers.iter().map(node).collect(),
        };
        let fits = (1..=SERVERS_MAX).contains(&ring.nodes.len());
        let sound = ring
            .nodes
            .iter()
            .all(|node| host_mistake(&node.host).is_none() && node.port > 0);
        (fits && sound && ring.first_duplicate().is_none()).then_some(ring)
    }

    pub fn version(&self) -> RingVersion {
        self.version
    }

    pub fn nodes(&self) -> &[FleetNode] {
        &self.nodes
    }

    /// The nodes as servers to build a [`super::Ring`] from, equal in weight, as a client that found them
    /// would.
    pub fn servers(&self) -> Vec<Server> {
        let server = |node: &FleetNode| Server {
            ip: node.ip,
            ..Server::new(node.host.clone(), node.port)
        };
        self.nodes.iter().map(server).collect()
    }

    /// Index of the first node whose host and port another node had before.
    fn first_duplicate(&self) -> Option<usize> {
        let mut seen = HashSet::with_capacity(self.nodes.len());
        self.nodes
            .iter()
            .position(|node| !seen.insert((&node.host, node.port)))
    }

    /// Two lines: version and nodes.
    pub fn payload(&self) -> Vec<u8> {
        let mut text = self.version.to_string();
        for (index, node) in self.nodes.iter().enumerate() {
            let ip = node.ip.map_or(String::new(), |ip| ip.to_string());
            let before = if index == 0 { '\n' } else { ' ' };
            text.push_str(&format!("{before}{}|{ip}|{}", node.host, node.port));
        }
        text.push('\n');
        text.into_bytes()
    }

    /// The whole answer to `config get cluster`.
    pub fn config_reply(&self) -> Vec<u8> {
        self.reply("CONFIG cluster")
    }

    /// The whole answer to `get AmazonElastiCache:cluster`.
    pub fn value_reply(&self) -> Vec<u8> {
        self.reply("VALUE AmazonElastiCache:cluster")
    }

    fn reply(&self, words: &str) -> Vec<u8> {
        let payload = self.payload();
        let mut reply = format!("{words} 0 {}\r\n", payload.len()).into_bytes();
        reply.extend_from_slice(&payload);
        reply.extend_from_slice(b"\r\nEND\r\n");
        reply
    }

    /// The inverse of [`PublishedRing::payload`], also without the last line feed and with CRLF, which
    /// pushers by hand tend to send.
    pub fn parse(payload: &[u8]) -> Result<PublishedRing, PayloadError> {
        let fail = |line, column, what| Err(PayloadError { line, column, what });
        if payload.len() > PAYLOAD_SIZE_MAX {
            return fail(1, 1, "payload is larger than 2 MiB");
        }
        let Ok(text) = std::str::from_utf8(payload) else {
            return fail(1, 1, "payload is not text");
        };
        let mut lines = text
            .strip_suffix('\n')
            .unwrap_or(text)
            .split('\n')
            .map(|line| line.trim_end_matches('\r'));
        let Some(version) = lines.next().and_then(|line| line.parse().ok()) else {
            return fail(1, 1, "version must be a whole number from 1 to 2147483647");
        };
        let Some(line) = lines.next().filter(|line| !line.is_empty()) else {
            return fail(2, 1, "expected the nodes: host|ip|port, one blank between them");
        };
        if lines.next().is_some() {
            return fail(3, 1, "expected two lines");
        }
        let mut ring = PublishedRing {
            version,
            nodes: Vec::new(),
        };
        let mut columns = Vec::new();
        let mut column = 1;
        for word in line.split(' ') {
            columns.push(column);
            match parse_node(word) {
                Ok(node) => ring.nodes.push(node),
                Err((at, what)) => return fail(2, column + word[..at].chars().count(), what),
            }
            column += word.chars().count() + 1;
        }
        if ring.nodes.len() > SERVERS_MAX {
            return fail(2, columns[SERVERS_MAX], "a ring may have 4096 nodes");
        }
        match ring.first_duplicate() {
            Some(index) => fail(2, columns[index], "this node is there already"),
            None => Ok(ring),
        }
    }

    /// Whether to take an offered ring in place of `ours`. The rule that nodes and clients share: versions
    /// never go back.
    pub fn adopt(ours: Option<&PublishedRing>, offered: &PublishedRing) -> Adoption {
        match ours {
            None => Adoption::Newer,
            Some(ours) if offered.version > ours.version => Adoption::Newer,
            Some(ours) if offered.version < ours.version => Adoption::Older,
            Some(ours) if offered.nodes == ours.nodes => Adoption::Same,
            Some(_) => Adoption::Conflict,
        }
    }
}

const _: () = assert!(SERVERS_MAX == 4096, "the payload's error text names the number");

/// `host|ip|port`, or the offset of the mistake.
fn parse_node(word: &str) -> Result<FleetNode, (usize, &'static str)> {
    let expected = "expected host|ip|port, one blank between nodes";
    let (host, rest) = word.split_once('|').ok_or((0, expected))?;
    let (ip, port) = rest.split_once('|').ok_or((0, expected))?;
    if let Some(mistake) = host_mistake(host) {
        return Err(mistake);
    }
    let ip_start = host.len() + 1;
    let ip = match ip {
        "" => None,
        ip => Some(
            ip.parse()
                .map_err(|_| (ip_start, "expected an IP address, or nothing"))?,
        ),
    };
    let port_start = word.len() - port.len();
    match digits(port).and_then(|port| u16::try_from(port).ok()) {
        Some(port) if port > 0 => Ok(FleetNode {
            host: host.to_owned(),
            ip,
            port,
        }),
        _ => Err((port_start, "port must be a number from 1 to 65535")),
    }
}

/// Finds a node's answer in what has arrived from it so far.
pub fn find_fleet_reply(received: &[u8]) -> FleetReply<'_> {
    let Some(end) = memchr::memchr(b'\n', &received[..received.len().min(HEADER_SIZE_MAX)]) else {
        return if received.len() < HEADER_SIZE_MAX {
            FleetReply::Partial
        } else {
            FleetReply::Garbage
        };
    };
    let line = received[..end].strip_suffix(b"\r").unwrap_or(&received[..end]);
    if line == b"END" {
        return FleetReply::Empty;
    }
    if [&b"ERROR"[..], b"CLIENT_ERROR", b"SERVER_ERROR"]
        .iter()
        .any(|word| line.starts_with(word))
    {
        return FleetReply::Refused(line);
    }
    let size = [&b"CONFIG cluster "[..], b"VALUE AmazonElastiCache:cluster "]
        .iter()
        .find_map(|words| {
            let numbers = std::str::from_utf8(line.strip_prefix(*words)?).ok()?;
            let (flags, size) = numbers.split_once(' ')?;
            digits(flags)?;
            digits(size)
                .map(|size| size as usize)
                .filter(|&size| size <= PAYLOAD_SIZE_MAX)
        });
    let Some(size) = size else {
        return FleetReply::Garbage;
    };
    let body = &received[end + 1..];
    let Some((payload, rest)) = body.split_at_checked(size) else {
        return FleetReply::Partial;
    };
    let tail = &b"\r\nEND\r\n"[..];
    if rest.starts_with(tail) {
        FleetReply::Payload(payload)
    } else if tail.starts_with(rest) {
        FleetReply::Partial
    } else {
        FleetReply::Garbage
    }
}

impl fmt::Display for FleetNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Server::new(self.host.clone(), self.port).address())
    }
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for PayloadError {}

#[cfg(test)]
mod tests;
