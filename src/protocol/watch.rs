//! The lines that a watcher reads, in memcached's spelling.
//!
//! ```text
//! ts=<seconds>.<microseconds> gid=<number> type=<what> key=<uri> ...\n
//! ```
//!
//! A line ends in a line feed alone, its microseconds have no leading zeros, and nothing in it that a client chose can
//! be anything but one word: keys are written as URIs.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Streams;
use super::uri::uri_encode;

/// No line is longer: 250 bytes of key as URI, and numbers.
pub const EVENT_SIZE_MAX: usize = 1024;

/// Something that happened and that somebody may be watching for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A key was looked for, by whatever command.
    Fetched {
        key: &'a [u8],
        found: Found,
        /// Class and value size are those of a live item, else 0.
        class: u8,
        size: usize,
        /// The descriptor of the client's connection.
        client: i32,
    },
    /// A store came to something.
    Stored {
        key: &'a [u8],
        outcome: StoreOutcome,
        command: &'static str,
        /// Seconds left, 0 for never; below 0 it wraps, as memcached's does.
        ttl: u32,
        class: u8,
        size: usize,
        client: i32,
    },
    /// A live item was forgotten to make room.
    Evicted {
        key: &'a [u8],
        fetched: bool,
        /// Seconds left; `None` is never.
        left: Option<i64>,
        /// Seconds since the last access.
        idle: u32,
        class: u8,
        size: usize,
    },
    /// A delete found its item.
    Deleted {
        key: &'a [u8],
        command: &'static str,
        class: u8,
        size: usize,
    },
    Opened {
        peer: Peer,
        client: i32,
    },
    Closed {
        peer: Peer,
        reason: CloseReason,
        client: i32,
    },
}

/// What a lookup met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    Live,
    Flushed,
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    NotStored,
    Stored,
    Exists,
    NotFound,
    TooLarge,
    NoMemory,
}

/// The other end of a connection; `None` on a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// A broken socket, or words that nobody can make sense of.
    Error,
    /// The client has gone, or said so.
    Normal,
    IdleTimeout,
    /// It told the server to stop.
    Shutdown,
}

impl Event<'_> {
    /// The stream that shows it: one, always.
    pub fn stream(&self) -> Streams {
        match self {
            Event::Fetched { .. } => Streams::FETCHERS,
            Event::Stored { .. } => Streams::MUTATIONS,
            Event::Evicted { .. } => Streams::EVICTIONS,
            Event::Deleted { .. } => Streams::DELETIONS,
            Event::Opened { .. } | Event::Closed { .. } => Streams::CONNEVENTS,
        }
    }
}

/// Writes the line of an event: the `number`th of all, which happened at `time` (since 1970).
pub fn write_event(out: &mut Vec<u8>, time: Duration, number: u64, event: &Event<'_>) {
    let (seconds, micros) = (time.as_secs(), time.subsec_micros());
    let mut line = Line(out);
    line.text(format_args!("ts={seconds}.{micros} gid={number} type="));
    match *event {
        Event::Fetched {
            key,
            found,
            class,
            size,
            client,
        } => {
            line.named("item_get", key);
            let status = found.word();
            line.text(format_args!(
                " status={status} clsid={class} cfd={client} size={size}"
            ));
        }
        Event::Stored {
            key,
            outcome,
            command,
            ttl,
            class,
            size,
            client,
        } => {
            line.named("item_store", key);
            let status = outcome.word();
            line.text(format_args!(
                " status={status} cmd={command} ttl={ttl} clsid={class} cfd={client} size={size}"
            ));
        }
        Event::Evicted {
            key,
            fetched,
            left,
            idle,
            class,
            size,
        } => {
            line.named("eviction", key);
            let fetch = if fetched { "yes" } else { "no" };
            let ttl = left.unwrap_or(-1);
            line.text(format_args!(
                " fetch={fetch} ttl={ttl} la={idle} clsid={class} size={size}"
            ));
        }
        Event::Deleted {
            key,
            command,
            class,
            size,
        } => {
            line.named("deleted", key);
            line.text(format_args!(" cmd={command} clsid={class} size={size}"));
        }
        Event::Opened { peer, client } => {
            line.text(format_args!("conn_new "));
            line.peer(peer);
            line.text(format_args!(" cfd={client}"));
        }
        Event::Closed { peer, reason, client } => {
            line.text(format_args!("conn_close "));
            line.peer(peer);
            let reason = reason.word();
            line.text(format_args!(" reason={reason} cfd={client}"));
        }
    }
    line.0.push(b'\n');
}

/// Says how many lines were left out here.
pub fn write_skipped(out: &mut Vec<u8>, count: u64) {
    Line(out).text(format_args!("skipped={count}\n"));
}

/// A line that is being written.
struct Line<'a>(&'a mut Vec<u8>);

impl Line<'_> {
    fn text(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("writing to a vector does not fail");
    }

    fn named(&mut self, what: &str, key: &[u8]) {
        self.text(format_args!("{what} key="));
        uri_encode(self.0, key);
    }

    fn peer(&mut self, Peer(address): Peer) {
        match address {
            None => self.text(format_args!("rip=unix rport=0 transport=local")),
            Some(address) => {
                let (ip, port): (IpAddr, u16) = (address.ip(), address.port());
                self.text(format_args!("rip={ip} rport={port} transport=tcp"));
            }
        }
    }
}

impl Found {
    fn word(self) -> &'static str {
        match self {
            Found::Nothing => "not_found",
            Found::Live => "found",
            Found::Flushed => "flushed",
            Found::Expired => "expired",
        }
    }
}

impl StoreOutcome {
    fn word(self) -> &'static str {
        match self {
            StoreOutcome::NotStored => "not_stored",
            StoreOutcome::Stored => "stored",
            StoreOutcome::Exists => "exists",
            StoreOutcome::NotFound => "not_found",
            StoreOutcome::TooLarge => "too_large",
            StoreOutcome::NoMemory => "no_memory",
        }
    }
}

impl CloseReason {
    fn word(self) -> &'static str {
        match self {
            CloseReason::Error => "error",
            CloseReason::Normal => "normal",
            CloseReason::IdleTimeout => "idle_timeout",
            CloseReason::Shutdown => "shutdown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &Event<'_>, want: &str) {
        let mut out = Vec::new();
        write_event(&mut out, Duration::from_micros(1_700_000_000_000_042), 7, event);
        let line = String::from_utf8(out).expect("text");
        assert_eq!(line, format!("ts=1700000000.42 gid=7 type={want}\n"));
        assert!(line.len() <= EVENT_SIZE_MAX);
    }

    #[test]
    fn events_are_spelled_as_memcached_spells_them() {
        let key = b"a key\r\nts=1".as_slice();
        for (found, word) in [
            (Found::Nothing, "not_found"),
            (Found::Live, "found"),
            (Found::Flushed, "flushed"),
            (Found::Expired, "expired"),
        ] {
            let event = Event::Fetched {
                key,
                found,
                class: 3,
                size: 9,
                client: 21,
            };
            let want = format!("item_get key=a%20key%0D%0Ats%3D1 status={word} clsid=3 cfd=21 size=9");
            check(&event, &want);
        }
        let mut stored = Event::Stored {
            key: b"k",
            outcome: StoreOutcome::NotStored,
            command: "add",
            ttl: 10,
            class: 3,
            size: 9,
            client: 21,
        };
        for (as_said, word) in [
            (StoreOutcome::NotStored, "not_stored"),
            (StoreOutcome::Stored, "stored"),
            (StoreOutcome::Exists, "exists"),
            (StoreOutcome::NotFound, "not_found"),
            (StoreOutcome::TooLarge, "too_large"),
            (StoreOutcome::NoMemory, "no_memory"),
        ] {
            let Event::Stored { outcome, .. } = &mut stored else {
                unreachable!()
            };
            *outcome = as_said;
            let want = format!("item_store key=k status={word} cmd=add ttl=10 clsid=3 cfd=21 size=9");
            check(&stored, &want);
        }
        for (fetched, left, want) in [
            (true, None, "eviction key=k fetch=yes ttl=-1 la=5 clsid=1 size=2"),
            (
                false,
                Some(100),
                "eviction key=k fetch=no ttl=100 la=5 clsid=1 size=2",
            ),
        ] {
            let event = Event::Evicted {
                key: b"k",
                fetched,
                left,
                idle: 5,
                class: 1,
                size: 2,
            };
            check(&event, want);
        }
        let deleted = Event::Deleted {
            key: b"k",
            command: "md",
            class: 1,
            size: 2,
        };
        check(&deleted, "deleted key=k cmd=md clsid=1 size=2");
    }

    #[test]
    fn connections_come_and_go_by_their_addresses() {
        let four = Peer(Some("127.0.0.1:1234".parse().expect("an address")));
        let six = Peer(Some("[::1]:1234".parse().expect("an address")));
        for (peer, want) in [
            (four, "rip=127.0.0.1 rport=1234 transport=tcp"),
            (six, "rip=::1 rport=1234 transport=tcp"),
            (Peer(None), "rip=unix rport=0 transport=local"),
        ] {
            check(
                &Event::Opened { peer, client: 9 },
                &format!("conn_new {want} cfd=9"),
            );
            for (reason, word) in [
                (CloseReason::Error, "error"),
                (CloseReason::Normal, "normal"),
                (CloseReason::IdleTimeout, "idle_timeout"),
                (CloseReason::Shutdown, "shutdown"),
            ] {
                let event = Event::Closed {
                    peer,
                    reason,
                    client: 9,
                };
                check(&event, &format!("conn_close {want} reason={word} cfd=9"));
            }
        }
    }

    #[test]
    fn the_longest_line_is_bounded() {
        let mut out = Vec::new();
        let event = Event::Stored {
            key: &[b'#'; crate::command::KEY_SIZE_MAX],
            outcome: StoreOutcome::NotStored,
            command: "prepend",
            ttl: u32::MAX,
            class: u8::MAX,
            size: usize::MAX,
            client: i32::MIN,
        };
        write_event(&mut out, Duration::MAX, u64::MAX, &event);
        assert!(out.len() <= EVENT_SIZE_MAX, "{}", out.len());
        assert_eq!(out.iter().filter(|&&byte| byte == b'%').count(), 250);
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
    }
}
