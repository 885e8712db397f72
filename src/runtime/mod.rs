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
mod conns;
mod core;
mod datagrams;
mod doors;
mod patience;
mod slots;
pub mod uring;

pub use clock::Clock;
pub use conns::local_name;
pub use core::{Arrival, Connection, Core, CoreParts, Limits, Plan, Turn};
pub use datagrams::REPLY_SIZE_MAX;
pub use patience::Patience;

use std::os::fd::OwnedFd;

/// What a core is to listen on.
pub struct Listener {
    pub socket: OwnedFd,
    /// True: connections are dealt to all cores in turn. False (`--core-ports`): they stay with this one.
    pub shared: bool,
}
