//! What systemd is told, where it asks to be (`Type=notify`): that the server serves, reads its files anew, stops; and
//! that its cores take turns (`watchdog`).
//!
//! The protocol is a datagram of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names (sd_notify(3)). The socket is
//! opened at the start, before privileges are given up, and kept.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use rustix::time::{ClockId, clock_gettime};

/// The way to systemd, or to nobody.
#[derive(Clone, Default)]
pub(super) struct Supervisor {
    socket: Option<Arc<UnixDatagram>>,
}

impl Supervisor {
    /// Whoever the environment names.
    pub(super) fn of_environment() -> Supervisor {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Supervisor::default();
        };
        let connected = address(name.as_encoded_bytes()).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            Ok(socket)
        });
        if let Err(error) = &connected {
            warn!("NOTIFY_SOCKET {}: {error}: nobody is told", name.display());
        }
        Supervisor {
            socket: connected.ok().map(Arc::new),
        }
    }

    /// Every port listens and every core serves.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Files are being read anew; [`Supervisor::ready`] is to follow.
    pub(super) fn reloading(&self) {
        // systemd compares this time with that of its own request (`Type=notify-reload`).
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading files anew"
        ));
    }

    /// No more requests are taken.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=finishing what is under way");
    }

    /// All cores took turns lately.
    pub(super) fn is_well(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, words: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(words.as_bytes())) {
            warn!("systemd could not be told {words:?}: {error}");
        }
    }
}

/// A path, or behind an `@` a name that is in no file system.
fn address(name: &[u8]) -> std::io::Result<SocketAddr> {
    use std::os::unix::ffi::OsStrExt;
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

/// How often systemd wants to hear that all is well (`WatchdogSec=`), if it does and means this process.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let read = |name: &str| std::env::var(name).ok();
    interval(
        read("WATCHDOG_USEC").as_deref(),
        read("WATCHDOG_PID").as_deref(),
        std::process::id(),
    )
}

fn interval(microseconds: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_meant = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let microseconds = microseconds?
        .parse()
        .ok()
        .filter(|count| *count > 0 && is_meant)?;
    Some(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_heeded_by_whom_it_means() {
        let second = Some(Duration::from_secs(1));
        for (microseconds, pid, want) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some(""), None),
            (Some("0"), None, None),
            (Some("x"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(want, interval(microseconds, pid, 7), "{microseconds:?} {pid:?}");
        }
    }
}
