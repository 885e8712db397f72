//! Asking other servers for their ring, as a client would.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{FleetReply, PublishedRing, find_fleet_reply};

/// Patience with one server: connecting, asking and answering together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Most bytes read of an answer: the longest that there is, and its frame.
const REPLY_SIZE_MAX: usize = (2 << 20) + 1024;

/// What a server answered.
#[derive(Debug)]
pub(super) enum Answer {
    Ring(PublishedRing),
    /// It publishes none.
    Nothing,
    Failed(String),
}

/// Asks one server.
pub(super) async fn ask(address: SocketAddr) -> Answer {
    match tokio::time::timeout(PATIENCE, converse(address)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Failed(error.to_string()),
        Err(_) => Answer::Failed(format!("no answer within {PATIENCE:?}")),
    }
}

async fn converse(address: SocketAddr) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(b"config get cluster\r\n").await?;
    let mut received = Vec::new();
    loop {
        match find_fleet_reply(&received) {
            FleetReply::Partial => {}
            FleetReply::Payload(payload) => {
                return Ok(match PublishedRing::parse(payload) {
                    Ok(ring) => Answer::Ring(ring),
                    Err(error) => Answer::Failed(error.to_string()),
                });
            }
            FleetReply::Empty | FleetReply::Refused(_) => return Ok(Answer::Nothing),
            FleetReply::Garbage => return Err(io::Error::other("it does not answer as a memcached")),
        }
        if received.len() > REPLY_SIZE_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
        if socket.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
