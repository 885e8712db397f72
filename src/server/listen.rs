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

use super::taken::patiently;
use crate::config::{self, Address, Config};
use crate::mesh::{ClientCertificate, Entrance};

/// What is asked for as a UDP socket's send buffer: memcached asks for as much.
const UDP_SEND_BUFFER_SIZE: usize = 256 << 20;

/// Everything to listen on, and the ports that were really taken.
#[derive(Default)]
pub(super) struct Listening {
    pub sockets: Vec<(OwnedFd, Entrance)>,
    /// Sockets of -U.
    pub datagrams: Vec<OwnedFd>,
    /// `TCP` or `UDP`, and the address.
    pub taken: Vec<(&'static str, SocketAddr)>,
}

/// Opens all addresses of the configuration. Where they are the default ones (all of IPv4 and all of IPv6), one
/// is enough.
pub(super) fn open(config: &Config) -> Result<Listening, String> {
    let mut taken = Vec::new();
    let sockets = open_all(config, "TCP", &config.addresses, &mut taken, |ip, port| {
        tcp(ip, port, config.backlog)
    })?;
    let datagrams = open_all(config, "UDP", &config.udp_addresses, &mut taken, udp)?;
    Ok(Listening {
        sockets,
        datagrams: datagrams.into_iter().map(|(socket, _)| socket).collect(),
        taken,
    })
}

fn open_all(
    config: &Config,
    transport: &'static str,
    addresses: &[Address],
    taken: &mut Vec<(&'static str, SocketAddr)>,
    open_port: impl Fn(IpAddr, u16) -> io::Result<OwnedFd>,
) -> Result<Vec<(OwnedFd, Entrance)>, String> {
    let mut sockets = Vec::new();
    let mut failure = None;
    let mut first_port = None;
    for address in addresses {
        let opened = match address {
            // With any port for all addresses, the first one's port is the others', too.
            Address::Tcp(ip, 0, _) => open_port(*ip, first_port.unwrap_or(0)),
            Address::Tcp(ip, port, _) => open_port(*ip, *port),
            Address::Unix(path, mode) => unix(path, *mode, config.backlog),
        };
        match opened {
            Ok(socket) => {
                if let Ok(Ok(address)) = rustix::net::getsockname(&socket).map(SocketAddr::try_from) {
                    first_port = first_port.or(Some(address.port()));
                    taken.push((transport, address));
                }
                let entrance = match address {
                    Address::Tcp(_, _, entrance) => entrance_of(config, *entrance),
                    Address::Unix(..) => Entrance::Plain,
                };
                sockets.push((socket, entrance));
            }
            Err(error) => failure = Some(describe(config, transport, address, &error)),
        }
    }
    match failure {
        Some(failure) if !config.addresses_are_default || sockets.is_empty() => Err(failure),
        _ => Ok(sockets),
    }
}

/// What a listener demands of clients.
pub(super) fn entrance_of(config: &Config, entrance: config::Entrance) -> Entrance {
    Entrance::Tls(match entrance {
        config::Entrance::Plain => return Entrance::Plain,
        config::Entrance::Basic => ClientCertificate::NotAsked,
        config::Entrance::Mutual => ClientCertificate::Required,
        config::Entrance::Tls => match config.extended.tls.verify_mode {
            0 => ClientCertificate::NotAsked,
            1 => ClientCertificate::Asked,
            _ => ClientCertificate::Required,
        },
    })
}

/// A socket for datagrams.
fn udp(ip: IpAddr, port: u16) -> io::Result<OwnedFd> {
    let family = if ip.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // A reply of many datagrams goes out at once; what the system grants is enough.
    let _ = sockopt::set_socket_send_buffer_size(&socket, UDP_SEND_BUFFER_SIZE);
    let address = SocketAddr::new(ip, port);
    patiently(address, || Ok(bind(&socket, &address)?))?;
    Ok(socket)
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
    set_options_of_connections(&socket)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    let address = SocketAddr::new(ip, port);
    patiently(address, || {
        bind(&socket, &address)?;
        Ok(listen(&socket, backlog)?)
    })?;
    Ok(socket)
}

/// What accepted TCP connections inherit.
pub(super) fn set_options_of_connections(socket: &OwnedFd) -> io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    // No lingering, as memcached has it: the kernel sends what is left after a close, and nobody waits for it.
    sockopt::set_socket_linger(socket, None)?;
    Ok(sockopt::set_tcp_nodelay(socket, true)?)
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
fn describe(config: &Config, transport: &str, address: &Address, error: &io::Error) -> String {
    let why = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    let why = why.map_or_else(|| error.to_string(), errno_text);
    match address {
        Address::Tcp(_, port, _) if config.addresses_are_default => {
            format!("failed to listen on {transport} port {port}: {why}")
        }
        Address::Tcp(ip, port, _) => {
            format!("failed to listen on one of interface(s) {ip}, {transport} port {port}: {why}")
        }
        Address::Unix(path, _) => format!("failed to listen on UNIX socket: {}: {why}", path.display()),
    }
}

/// The system's text without the number that Rust puts behind it.
fn errno_text(errno: rustix::io::Errno) -> String {
    let text = errno.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}
