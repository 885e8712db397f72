//! Where a server listens, and how to get connections to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, StreamOwned};

use crate::tls::{Seal, meet};

/// How long a client thread may be held up by an address that does not answer.
const RECONNECT_MAX: Duration = Duration::from_secs(1);

/// `HOST:PORT`, or `unix:PATH`.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Target::Unix(path.into()));
        }
        let mut addresses = text
            .to_socket_addrs()
            .map_err(|error| format!("HOST:PORT or unix:PATH: {error}"))?;
        addresses
            .next()
            .map(Target::Tcp)
            .ok_or_else(|| "this host has no address".into())
    }
}

impl Target {
    /// A connection, without Nagle's delay.
    pub(crate) fn connect(&self, tls: Option<&Arc<ClientConfig>>) -> io::Result<Link> {
        match self {
            Target::Tcp(address) => Link::new(TcpStream::connect(address)?, tls),
            Target::Unix(path) => Ok(Link {
                socket: UnixStream::connect(path)?.into(),
                seal: None,
            }),
        }
    }

    /// As `connect`, for a caller who has other connections to serve: an address that does not answer is given up
    /// soon.
    pub(crate) fn reconnect(&self, tls: Option<&Arc<ClientConfig>>) -> io::Result<Link> {
        match self {
            Target::Tcp(address) => Link::new(TcpStream::connect_timeout(address, RECONNECT_MAX)?, tls),
            Target::Unix(_) => self.connect(tls),
        }
    }

    /// Asks for the server's version: the proof that it is up and speaks the protocol.
    pub(crate) fn version(&self, tls: Option<&Arc<ClientConfig>>) -> io::Result<String> {
        let limit = Some(Duration::from_secs(2));
        match self {
            Target::Tcp(address) => {
                let mut stream = TcpStream::connect(address)?;
                stream.set_read_timeout(limit)?;
                match tls {
                    None => ask_version(stream),
                    Some(config) => ask_version(StreamOwned::new(meet(config, &mut stream)?, stream)),
                }
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(limit)?;
                ask_version(stream)
            }
        }
    }
}

/// A connected socket, and what seals what goes over it.
pub(crate) struct Link {
    pub(crate) socket: OwnedFd,
    pub(crate) seal: Option<Seal>,
}

impl Link {
    fn new(mut stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        let seal = match tls {
            None => None,
            Some(config) => Some(Seal::new(meet(config, &mut stream)?)),
        };
        Ok(Link {
            socket: stream.into(),
            seal,
        })
    }
}

/// Asks for the version and reads nothing beyond the answer.
pub(crate) fn ask_version(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"version\r\n")?;
    let mut reply = Vec::new();
    let mut byte = [0];
    while !reply.ends_with(b"\r\n") && reply.len() < 200 {
        stream.read_exact(&mut byte)?;
        reply.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&reply);
    let version = text.trim_end().strip_prefix("VERSION ");
    version
        .map(str::to_string)
        .ok_or_else(|| io::Error::other(format!("not a VERSION line: {text:?}")))
}
