//! Where a server listens, and how to get connections to it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

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
    /// A connected socket, without Nagle's delay.
    pub(crate) fn connect(&self) -> io::Result<OwnedFd> {
        match self {
            Target::Tcp(address) => without_delay(TcpStream::connect(address)?),
            Target::Unix(path) => Ok(UnixStream::connect(path)?.into()),
        }
    }

    /// As `connect`, for a caller who has other connections to serve: an address that does not answer is given up
    /// soon.
    pub(crate) fn reconnect(&self) -> io::Result<OwnedFd> {
        match self {
            Target::Tcp(address) => without_delay(TcpStream::connect_timeout(address, RECONNECT_MAX)?),
            Target::Unix(_) => self.connect(),
        }
    }

    /// Asks for the server's version: the proof that it is up and speaks the protocol.
    pub(crate) fn version(&self) -> io::Result<String> {
        let limit = Some(Duration::from_secs(2));
        match self {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(limit)?;
                ask_version(stream)
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(limit)?;
                ask_version(stream)
            }
        }
    }
}

fn without_delay(stream: TcpStream) -> io::Result<OwnedFd> {
    stream.set_nodelay(true)?;
    Ok(stream.into())
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
