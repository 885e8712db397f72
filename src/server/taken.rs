//! A port that is taken: by a process, or by what the kernel has yet to clear up behind one that was killed.
//!
//! The rings of io_uring hold the listeners that they accept at, and are cleared up in the background: usually in some tens
//! of milliseconds, in a second or two on a machine that has no CPU to spare. A supervisor that restarts a server at once
//! would find its port taken. Such a listener completes handshakes like any other, but no process has it: so
//! one that a process has ends the start at once, as in memcached, and any other is waited for.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::warn;

/// How long a port may be taken by nobody that is seen. (Another user's processes do not show what they have.)
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes an address; tries again while it is taken by no process.
pub(super) fn patiently(address: SocketAddr, mut take: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut waits_until = None;
    loop {
        let error = match take() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
            outcome => return outcome,
        };
        let now = Instant::now();
        match waits_until {
            None if is_a_process_s(address.port()) => return Err(error),
            None => {
                let seconds = PATIENCE.as_secs();
                warn!("{address} is taken, by no process that shows: waiting for {seconds} s at most");
                waits_until = Some(now + PATIENCE);
            }
            Some(end) if now >= end => return Err(error),
            Some(_) => {}
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a process that we may look at has a listener or a socket for datagrams of this port.
fn is_a_process_s(port: u16) -> bool {
    let tables = ["tcp", "tcp6", "udp", "udp6"];
    let sockets: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| {
            let inodes = table.lines().filter_map(|line| inode_of(line, port));
            inodes
                .map(|inode| format!("socket:[{inode}]"))
                .collect::<Vec<_>>()
        })
        .collect();
    if sockets.is_empty() {
        return false;
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|descriptors| descriptors.flatten())
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|target| sockets.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

/// The inode of a line of /proc/net/tcp and its like, if that is a socket of this port with which others may not share it.
fn inode_of(line: &str, port: u16) -> Option<&str> {
    /// TCP_LISTEN, and what sockets for datagrams have.
    const STATES: [&str; 2] = ["0A", "07"];
    let mut words = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (words.next()?, words.next()?, words.next()?);
    let (_, local_port) = local.rsplit_once(':')?;
    let is_it = u16::from_str_radix(local_port, 16) == Ok(port) && STATES.contains(&state);
    words.nth(5).filter(|_| is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_found_in_the_kernels_tables() {
        let line = "   0: 0100007F:2BCB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 91346 1 \
                    0000000000000000 100 0 0 10 0";
        assert_eq!(Some("91346"), inode_of(line, 11211));
        assert_eq!(None, inode_of(line, 11212));
        assert_eq!(
            None,
            inode_of(&line.replace(" 0A ", " 01 "), 11211),
            "a connection"
        );
        assert_eq!(None, inode_of("  sl  local_address rem_address   st", 11211));
    }

    #[test]
    fn a_listener_of_this_process_is_a_process_s() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_a_process_s(port));
        drop(listener);
        assert!(!is_a_process_s(port));
    }
}
