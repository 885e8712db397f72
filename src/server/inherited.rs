//! Sockets that systemd has opened for the server (socket activation, `LISTEN_FDS`): they take the place of all that
//! `-l`, `-p`, `-s` and `-U` name.
//!
//! So a restart refuses nobody: whoever comes meanwhile waits in the socket's queue. A socket's name
//! (`FileDescriptorName=`) may be one of the prefixes of `-l`: `notls`, `btls`, `mtls`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use listenfd::ListenFd;
use log::info;
use rustix::net::{listen, sockopt};

use super::listen::{self, Listening};
use super::{EX_USAGE, Refusal};
use crate::config::{self, Config};
use crate::mesh::Entrance;

/// What was handed over; `None` where nothing was. To be called before there is any thread: the environment changes.
pub(super) fn take(config: &Config) -> Result<Option<Listening>, Refusal> {
    // The sockets are for the process of this number, and not for those that it starts.
    let is_meant = std::env::var("LISTEN_PID").is_ok_and(|pid| pid.parse() == Ok(std::process::id()));
    if !is_meant {
        return Ok(None);
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed_over = ListenFd::from_env();
    let mut listening = Listening::default();
    for index in 0..handed_over.len() {
        let entrance = entrance(names.next().unwrap_or_default(), config)?;
        let taken = take_one(&mut handed_over, index, config)
            .map_err(|why| Refusal::os(format!("LISTEN_FDS: socket {index}: {why}")))?;
        let address = SocketAddr::try_from(rustix::net::getsockname(taken.socket()).map_err(refused)?).ok();
        match taken {
            Taken::Stream(socket) => {
                listening.taken.extend(address.map(|address| ("TCP", address)));
                let entrance = address.map_or(Entrance::Plain, |_| entrance);
                listening.sockets.push((socket, entrance));
            }
            Taken::Datagrams(_) if config.auth_file.is_some() => {
                return Err(Refusal {
                    message: "LISTEN_FDS: Cannot use UDP with authentication enabled".to_owned(),
                    code: EX_USAGE,
                });
            }
            Taken::Datagrams(socket) => {
                listening.taken.extend(address.map(|address| ("UDP", address)));
                listening.datagrams.push(socket);
            }
        }
    }
    if handed_over.len() == 0 {
        return Ok(None);
    }
    info!(
        "{} sockets were handed over: -l, -p, -s and -U are not used",
        handed_over.len()
    );
    Ok(Some(listening))
}

fn refused(error: rustix::io::Errno) -> Refusal {
    Refusal::os(format!("LISTEN_FDS: {error}"))
}

enum Taken {
    Stream(OwnedFd),
    Datagrams(OwnedFd),
}

impl Taken {
    fn socket(&self) -> impl AsFd {
        match self {
            Taken::Stream(socket) | Taken::Datagrams(socket) => socket.as_fd(),
        }
    }
}

fn take_one(handed_over: &mut ListenFd, index: usize, config: &Config) -> io::Result<Taken> {
    if let Ok(Some(socket)) = handed_over.take_tcp_listener(index) {
        let socket = OwnedFd::from(socket);
        listen::set_options_of_connections(&socket)?;
        return listens(socket, config.backlog);
    }
    if let Ok(Some(socket)) = handed_over.take_unix_listener(index) {
        return listens(socket.into(), config.backlog);
    }
    if let Ok(Some(socket)) = handed_over.take_udp_socket(index) {
        socket.set_nonblocking(true)?;
        return Ok(Taken::Datagrams(socket.into()));
    }
    let message = "neither TCP nor UDP nor a unix socket of streams (ListenStream=, ListenDatagram=)";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// A socket that was bound may not listen yet; one that is connected never will.
fn listens(socket: OwnedFd, backlog: i32) -> io::Result<Taken> {
    if rustix::net::getpeername(&socket).is_ok() {
        let message = "a connection, where a listener is wanted (Accept=no)";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    if !sockopt::socket_acceptconn(&socket)? {
        listen(&socket, backlog)?;
    }
    // The rings wait for whoever comes only at a socket that would block.
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(Taken::Stream(socket))
}

/// What a socket's name says of those who come by it.
fn entrance(name: &str, config: &Config) -> Result<Entrance, Refusal> {
    let entrance = match name {
        "notls" => config::Entrance::Plain,
        "btls" => config::Entrance::Basic,
        "mtls" => config::Entrance::Mutual,
        _ if config.tls_enabled => config::Entrance::Tls,
        _ => config::Entrance::Plain,
    };
    if !config.tls_enabled && ["notls", "btls", "mtls"].contains(&name) {
        return Err(Refusal::os(format!(
            "LISTEN_FDNAMES: '{name}' option is valid only when SSL is enabled"
        )));
    }
    Ok(listen::entrance_of(config, entrance))
}
