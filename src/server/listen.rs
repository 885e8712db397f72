//! Opening the sockets that a server listens on.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};

use crate::config::{Address, Config};

/// Everything to listen on, and the ports that were really taken.
pub(super) struct Listening {
    pub sockets: Vec<OwnedFd>,
    pub taken: Vec<SocketAddr>,
}

/// Opens all addresses of the configuration. Where they are the default ones (all of IPv4 and all of IPv6), one
/// is enough.
pub(super) fn open(config: &Config) -> Result<Listening, String> {
    let mut listening = Listening {
        sockets: Vec::new(),
        taken: Vec::new(),
    };
    let mut failure = None;
    for address in &config.addresses {
        let opened = match address {
            Address::Tcp(ip, port) => {
                // With any port for all addresses, the first one's port is the others', too.
                let port = match (*port, listening.taken.first()) {
                    (0, Some(first)) => first.port(),
                    _ => *port,
                };
                tcp(*ip, port, config.backlog)
            }
            Address::Unix(path, mode) => unix(path, *mode, config.backlog),
        };
        match opened {
            Ok(socket) => {
                if let Ok(Ok(address)) = rustix::net::getsockname(&socket).map(SocketAddr::try_from) {
                    listening.taken.push(address);
                }
                listening.sockets.push(socket);
            }
            Err(error) => failure = Some(describe(address, &error)),
        }
    }
    match failure {
        Some(failure) if !config.addresses_are_default || listening.sockets.is_empty() => Err(failure),
        _ => Ok(listening),
    }
}

/// A listening TCP socket. Accepted connections inherit its options.
pub(super) fn tcp(ip: IpAddr, port: u16, backlog: i32) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &SocketAddr::new(ip, port))?;
    listen(&socket, backlog)?;
    Ok(socket)
}

fn unix(path: &Path, mode: u32, backlog: i32) -> io::Result<OwnedFd> {
    // A socket that an earlier server left behind is in the way; anything else is somebody's file.
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// In memcached's words, which operators' tools know.
fn describe(address: &Address, error: &io::Error) -> String {
    match address {
        Address::Tcp(ip, port) => {
            format!("failed to listen on TCP port {port} ({ip}): {error}")
        }
        Address::Unix(path, _) => format!("failed to listen on UNIX socket: {}: {error}", path.display()),
    }
}
