//! How the clients of a soak get to the server: in the clear or by TLS, and every connection that comes to be is counted.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::{ClientConfig, StreamOwned};

use super::ledger::Ledger;
use super::talk::{Dialect, Talk};
use crate::tls;

/// A server that has said nothing for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Where the server is.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) ledger: Arc<Ledger>,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Reach {
    /// A connected socket.
    pub(super) fn socket(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.address)?;
        self.ledger.opened.fetch_add(1, Ordering::SeqCst);
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        socket.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(socket)
    }

    /// A conversation with the server.
    pub(super) fn talk(&self, dialect: Dialect) -> io::Result<Talk> {
        Ok(self.talk_over(dialect, self.socket()?)?.0)
    }

    /// A conversation over this socket, and the socket once more, for those who mean to misuse it.
    pub(super) fn talk_over(&self, dialect: Dialect, mut socket: TcpStream) -> io::Result<(Talk, TcpStream)> {
        let second = socket.try_clone()?;
        let talk = match &self.tls {
            None => Talk::new(dialect, Box::new(socket)),
            Some(config) => {
                let tls = tls::meet(config, &mut socket)?;
                Talk::new(dialect, Box::new(StreamOwned::new(tls, socket)))
            }
        };
        Ok((talk, second))
    }
}
