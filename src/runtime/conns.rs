//! `stats conns`: what there is to say of every socket, in memcached's lines.

use std::fmt::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketAddrAny, getpeername, getsockname};

use super::connection::Connection;
use super::datagrams::Datagrams;
use super::slots::Slots;
use crate::protocol::watch::Peer;
use crate::session::statistics::Facts;
use crate::time::{Now, Seconds};

/// The lines of each connection of one core, with its descriptor; those of the listening sockets, too, if `is_first`.
pub(super) fn lines<S: AsFd>(
    facts: &Facts,
    connections: &Slots<Connection<S>>,
    now: Now,
    is_first: bool,
) -> Vec<(i32, Vec<u8>)> {
    let mut all = Vec::new();
    if is_first {
        for (fd, address) in &facts.listeners {
            let idle = now.seconds.since(Seconds::START);
            all.push((*fd, describe(*fd, address, None, "conn_listening", idle)));
        }
    }
    for connection in connections.iter() {
        let socket = connection.socket.as_fd();
        let fd = socket.as_raw_fd();
        if let Some(datagrams) = &connection.datagrams {
            all.push((fd, describe_datagrams(fd, connection, datagrams, now)));
            continue;
        }
        let (peer, local) = (peer_name(socket), local_name(socket));
        // A client of a unix socket has no name of its own.
        let peer = if peer == "unix:" { &local } else { &peer };
        let idle = now.seconds.since(connection.last_heard);
        all.push((
            fd,
            describe(fd, peer, Some(&local), connection.session.activity(), idle),
        ));
    }
    all
}

/// A socket of datagrams shows its own address while it waits, and afterwards whom it serves, too.
fn describe_datagrams<S: AsFd>(
    fd: i32,
    connection: &Connection<S>,
    datagrams: &Datagrams,
    now: Now,
) -> Vec<u8> {
    let udp = |address: &SocketAddrAny| name(address).replacen("tcp", "udp", 1);
    let own = getsockname(connection.socket.as_fd());
    let own = own.map_or_else(|_| "unknown".to_owned(), |address| udp(&address));
    let idle = now.seconds.since(connection.last_heard);
    let state = connection.session.activity();
    let lines = match datagrams.from().filter(|_| !connection.session.is_settled()) {
        Some(from) => describe(fd, &udp(from), Some(&own), state, idle),
        None => describe(fd, &own, None, state, idle),
    };
    [format!("STAT {fd}:UDP UDP\r\n").as_bytes(), &lines].concat()
}

fn describe(fd: i32, address: &str, local: Option<&str>, state: &str, idle: u32) -> Vec<u8> {
    let mut text = format!("STAT {fd}:addr {address}\r\n");
    if let Some(local) = local {
        // Writing to a string does not fail.
        let _ = write!(text, "STAT {fd}:listen_addr {local}\r\n");
    }
    let _ = write!(
        text,
        "STAT {fd}:state {state}\r\nSTAT {fd}:secs_since_last_cmd {idle}\r\n"
    );
    text.into_bytes()
}

/// The other end's address; none on a unix socket.
pub(super) fn peer(socket: BorrowedFd<'_>) -> Peer {
    let address = getpeername(socket).ok().flatten();
    Peer(address.and_then(|address| SocketAddr::try_from(address).ok()))
}

fn peer_name(socket: BorrowedFd<'_>) -> String {
    getpeername(socket)
        .ok()
        .flatten()
        .map_or_else(|| "unix:".to_owned(), |address| name(&address))
}

/// The socket's own address: `tcp:1.2.3.4:11211`, `tcp6:[::1]:11211` or `unix:/path`.
pub fn local_name(socket: BorrowedFd<'_>) -> String {
    getsockname(socket).map_or_else(|_| "unknown".to_owned(), |address| name(&address))
}

fn name(address: &SocketAddrAny) -> String {
    match SocketAddr::try_from(address.clone()) {
        Ok(SocketAddr::V4(address)) => format!("tcp:{address}"),
        Ok(SocketAddr::V6(address)) => format!("tcp6:{address}"),
        Err(_) => match rustix::net::SocketAddrUnix::try_from(address.clone()) {
            Ok(unix) => {
                let path = unix.path_bytes().unwrap_or_default();
                format!("unix:{}", String::from_utf8_lossy(path))
            }
            Err(_) => "unknown".to_owned(),
        },
    }
}

/// Whether the other end is on this machine: it came over a unix socket or from a loopback address. A socket that is not
/// connected has no peer to be trusted.
pub(super) fn is_local(socket: BorrowedFd<'_>) -> bool {
    getpeername(socket).is_ok_and(|peer| match peer {
        None => true,
        Some(peer) => match std::net::SocketAddr::try_from(peer.clone()) {
            Ok(peer) => peer.ip().to_canonical().is_loopback(),
            Err(_) => peer.address_family() == AddressFamily::UNIX,
        },
    })
}
