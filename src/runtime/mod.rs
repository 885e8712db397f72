//! The event loops, and what they share. The only place that knows sockets, kernels and threads.
//!
//! A loop owns sockets and moves bytes; everything else is the same for all of them and lives in [`Core`]. The
//! interface between the two is narrow on purpose:
//!
//! | the loop says                         | the core says                                     |
//! |---------------------------------------|---------------------------------------------------|
//! | somebody came ([`Core::accepted`])    | accept nobody for now ([`Core::may_accept`])      |
//! | a connection came ([`Turn::open`])    | here is output to send ([`Connection::output`])   |
//! | bytes came ([`Turn::received`])       | read on, or stop reading ([`Plan`])               |
//! | datagrams came ([`Turn::readable`])   | the core reads and sends these itself             |
//! | a letter may have come ([`Turn::read_letters`]) | wake these peers ([`Core::wakes`])      |
//! | it was all sent ([`Core::sent`])      | there is more to do, do not sleep                 |

mod clock;
mod connection;
mod conns;
mod core;
mod datagrams;
mod doors;
pub mod epoll;
mod ledger;
mod patience;
mod sending;
mod slots;
mod tls;
pub mod uring;
mod wakers;

pub use clock::Clock;
pub use connection::{Connection, Plan};
pub use conns::local_name;
pub use core::{Arrival, Core, CoreParts, Limits, Turn};
pub use datagrams::REPLY_SIZE_MAX;
pub use patience::Patience;
pub use tls::{TlsConfigSet, TlsConfigs};
pub use wakers::Wakers;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::mesh::Entrance;

/// Bytes of receive buffers that each core has, whatever its loop.
pub const RECEIVE_BUFFERS_SIZE: usize = 2 * 1024 * 1024;

/// Which event loop serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Uring,
    Epoll,
}

impl Kind {
    /// The option's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Uring => "uring",
            Kind::Epoll => "epoll",
        }
    }
}

/// What every core's loop is given at the start.
pub struct LoopParts {
    pub core: CoreParts,
    pub wakers: Arc<Wakers>,
    pub listeners: Vec<Listener>,
    /// How long to look for work before sleeping; zero never looks.
    pub busy_poll: Duration,
}

/// Serves with this thread until it is told to stop. `started` hears whether the loop could be set up.
pub fn serve(kind: Kind, parts: LoopParts, started: impl FnOnce(io::Result<()>)) {
    /// Tells how setting up went, and passes on what came of it.
    fn told<L>(made: io::Result<L>, started: impl FnOnce(io::Result<()>)) -> Option<L> {
        let (outcome, made) = match made {
            Ok(made) => (Ok(()), Some(made)),
            Err(error) => (Err(error), None),
        };
        started(outcome);
        made
    }
    match kind {
        Kind::Uring => {
            if let Some(looping) = told(uring::Loop::new(parts), started) {
                looping.run();
            }
        }
        Kind::Epoll => {
            if let Some(looping) = told(epoll::Loop::new(parts), started) {
                looping.run();
            }
        }
    }
}

/// What a core is to listen on.
pub struct Listener {
    pub socket: OwnedFd,
    /// True: connections are dealt to all cores in turn. False (`--core-ports`): they stay with this one.
    pub shared: bool,
    pub entrance: Entrance,
}
