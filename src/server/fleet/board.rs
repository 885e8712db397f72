//! The ring in force, and the one place that decides whether another takes its place.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use log::{info, warn};

use crate::cluster::{Adoption, FleetNode, PublishedRing, RingVersion};
use crate::session::fleet::{Fleet, Published};

/// Where a ring came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File,
    /// `config set`
    Push,
    /// The address of the server that had it.
    Peer(String),
    Dns,
    /// `--ring-self`
    Own,
}

/// What is published, and what became of all that was offered.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// What sessions read, without a lock. Invariant: it tells `state.ring`.
    published: ArcSwapOption<Published>,
    /// Held while an offer is judged, so that of two at a time the newer one stays.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ring: Option<PublishedRing>,
    source: Option<Source>,
    /// Unix time of the last change; 0 is never.
    changed: u64,
    /// The version of which it has been said that two rings have it.
    conflict_told: Option<RingVersion>,
    counts: Counts,
}

/// What happened, for `stats cluster`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Rings taken.
    pub(super) changes: u64,
    /// Offers that were older than what was there.
    pub(super) older: u64,
    /// Offers of the version that was there, with other nodes.
    pub(super) conflicts: u64,
    /// Offers that were no ring.
    pub(super) refused: u64,
    pub(super) file_reads: u64,
    /// Files that could not be read.
    pub(super) file_failures: u64,
    /// Servers that could be asked.
    pub(super) peers: u64,
    pub(super) peers_asked: u64,
    /// No answer, or a strange one.
    pub(super) peers_failed: u64,
    /// Answered that they have no ring.
    pub(super) peers_without: u64,
    pub(super) dns_asked: u64,
    pub(super) dns_failed: u64,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is made whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the ring if it is newer than what is there.
    pub(super) fn adopt(&self, offered: PublishedRing, source: Source) -> Adoption {
        let mut state = self.state();
        let adoption = PublishedRing::adopt(state.ring.as_ref(), &offered);
        match adoption {
            Adoption::Newer => {
                let (version, nodes) = (offered.version(), offered.nodes().len());
                info!("ring: version {version}, {nodes} nodes, from {source}");
                self.published.store(Some(Arc::new(Published {
                    version: version.get(),
                    payload: offered.payload().into(),
                })));
                state.ring = Some(offered);
                state.source = Some(source);
                state.changed = unix_time();
                state.counts.changes += 1;
            }
            Adoption::Same => {}
            Adoption::Older => state.counts.older += 1,
            Adoption::Conflict => {
                state.counts.conflicts += 1;
                let version = offered.version();
                if state.conflict_told.replace(version) != Some(version) {
                    warn!(
                        "ring: {source} has other nodes under version {version}: not taken. Publish one of them under \
                         a newer one"
                    );
                }
            }
        }
        adoption
    }

    /// Takes a ring that the writer of rings has made of `nodes`, under a new version, unless it is the one in force.
    pub(super) fn renew(&self, make: impl FnOnce(RingVersion) -> Option<PublishedRing>, nodes: &[FleetNode]) {
        let next = {
            let state = self.state();
            match &state.ring {
                Some(ring) if ring.nodes() == nodes => return,
                Some(ring) => u64::from(ring.version().get()) + 1,
                None => 1,
            }
        };
        let version = RingVersion::new(next.max(unix_time())).unwrap_or(RingVersion::MAX);
        if let Some(ring) = make(version) {
            self.adopt(ring, Source::Dns);
        }
    }

    /// Changes the counts.
    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.state().counts);
    }

    /// The nodes of the ring in force.
    pub(super) fn nodes(&self) -> Vec<FleetNode> {
        self.state()
            .ring
            .as_ref()
            .map_or_else(Vec::new, |ring| ring.nodes().to_vec())
    }

    /// The version in force.
    pub(super) fn version(&self) -> Option<RingVersion> {
        self.state().ring.as_ref().map(PublishedRing::version)
    }
}

impl Fleet for Board {
    fn ring(&self) -> Option<Arc<Published>> {
        self.published.load_full()
    }

    fn offer(&self, payload: &[u8]) -> Result<(), String> {
        let ring = PublishedRing::parse(payload).map_err(|error| {
            self.count(|counts| counts.refused += 1);
            warn!("ring: config set: {error}");
            format!("bad cluster configuration: {error}")
        })?;
        let version = ring.version();
        match self.adopt(ring, Source::Push) {
            Adoption::Newer | Adoption::Same => Ok(()),
            Adoption::Older => Err(format!("version {version} is older than the one in force")),
            Adoption::Conflict => Err(format!("version {version} is in force and names other nodes")),
        }
    }

    fn withdraw(&self) -> bool {
        let mut state = self.state();
        self.published.store(None);
        state.source = None;
        let withdrawn = state.ring.take().is_some();
        if withdrawn {
            info!("ring: withdrawn");
            state.changed = unix_time();
            state.counts.changes += 1;
        }
        withdrawn
    }

    fn statistics(&self, line: &mut dyn FnMut(&str, &str)) {
        let state = self.state();
        let mut say = |name: &str, value: &dyn ToString| line(name, &value.to_string());
        let Counts {
            changes,
            older,
            conflicts,
            refused,
            file_reads,
            file_failures,
            peers,
            peers_asked,
            peers_failed,
            peers_without,
            dns_asked,
            dns_failed,
        } = state.counts;
        say(
            "ring_version",
            &state.ring.as_ref().map_or(0, |ring| ring.version().get()),
        );
        say(
            "ring_nodes",
            &state.ring.as_ref().map_or(0, |ring| ring.nodes().len()),
        );
        match &state.source {
            Some(source) => say("ring_source", source),
            None => say("ring_source", &"none"),
        }
        say("ring_changed", &state.changed);
        say("ring_changes", &changes);
        say("ring_older", &older);
        say("ring_conflicts", &conflicts);
        say("ring_refused", &refused);
        say("ring_file_reads", &file_reads);
        say("ring_file_failures", &file_failures);
        say("ring_peers", &peers);
        say("ring_peers_asked", &peers_asked);
        say("ring_peers_failed", &peers_failed);
        say("ring_peers_without", &peers_without);
        say("ring_dns_asked", &dns_asked);
        say("ring_dns_failed", &dns_failed);
    }
}

/// Without blanks, which a statistic may not have.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File => f.write_str("file"),
            Source::Push => f.write_str("push"),
            Source::Peer(address) => write!(f, "peer:{address}"),
            Source::Dns => f.write_str("dns"),
            Source::Own => f.write_str("self"),
        }
    }
}

pub(super) fn unix_time() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(version: u32, ports: &[u16]) -> Vec<u8> {
        let nodes: Vec<String> = ports.iter().map(|port| format!("a||{port}")).collect();
        format!("{version}\n{}\n", nodes.join(" ")).into_bytes()
    }

    fn figure(board: &Board, wanted: &str) -> String {
        let mut found = None;
        board.statistics(&mut |name, value| {
            if name == wanted {
                found = Some(value.to_owned());
            }
        });
        found.expect("a figure")
    }

    #[test]
    fn what_is_published_never_goes_back() {
        let board = Board::default();
        assert_eq!(None, board.ring());
        assert_eq!(Ok(()), board.offer(&payload(7, &[1, 2])));
        assert_eq!(Ok(()), board.offer(&payload(7, &[1, 2])));
        assert_eq!(
            Err("version 6 is older than the one in force".to_owned()),
            board.offer(&payload(6, &[1, 2]))
        );
        assert_eq!(
            Err("version 7 is in force and names other nodes".to_owned()),
            board.offer(&payload(7, &[1, 3]))
        );
        assert_eq!(
            Err("bad cluster configuration: 2:4: port must be a number from 1 to 65535".to_owned()),
            board.offer(b"8\na||x\n")
        );
        let ring = board.ring().expect("a ring");
        assert_eq!((7, &payload(7, &[1, 2])[..]), (ring.version, &ring.payload[..]));
        for (name, value) in [
            ("ring_version", "7"),
            ("ring_nodes", "2"),
            ("ring_source", "push"),
            ("ring_changes", "1"),
            ("ring_older", "1"),
            ("ring_conflicts", "1"),
            ("ring_refused", "1"),
        ] {
            assert_eq!(value, figure(&board, name), "{name}");
        }
        assert!(board.withdraw());
        assert!(!board.withdraw());
        assert_eq!(
            (None, "none".to_owned()),
            (board.ring(), figure(&board, "ring_source"))
        );
        assert_eq!(Ok(()), board.offer(&payload(1, &[1])));
    }

    #[test]
    fn a_writer_numbers_only_what_is_new() {
        let board = Board::default();
        let ring = PublishedRing::parse(b"5\na||1 b||1\n").expect("a ring");
        let other = PublishedRing::parse(b"5\na||1\n").expect("a ring");
        let renew = |ring: &PublishedRing| {
            let make = |version| PublishedRing::new(version, &ring.servers());
            board.renew(make, ring.nodes());
            board.version().expect("a ring").get()
        };
        let first = renew(&ring);
        assert!(u64::from(first) <= unix_time());
        assert_eq!(first, renew(&ring), "the same nodes");
        let second = renew(&other);
        assert!(second > first);
        assert!(renew(&ring) > second, "also within one second");
    }
}
