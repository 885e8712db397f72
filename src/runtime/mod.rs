//! The event loops, and what they share. The only place that knows sockets, kernels and threads.
//!
//! A loop owns sockets and moves bytes; everything else is the same for all of them and lives in [`Core`]. The
//! interface between the two is narrow on purpose:
//!
//! | the loop says                         | the core says                                     |
//! |---------------------------------------|---------------------------------------------------|
//! | a connection came ([`Turn::open`])    | here is output to send ([`Connection::session`])  |
//! | bytes came ([`Turn::received`])       | read on, or stop reading ([`Plan`])               |
//! | a letter may have come ([`Turn::read_letters`]) | wake these peers ([`Core::wakes`])      |
//! | it was all sent ([`Core::sent`])      | there is more to do, do not sleep                 |

mod clock;
mod conns;
mod core;
mod patience;
mod slots;
pub mod uring;

pub use clock::Clock;
pub use conns::local_name;
pub use core::{Connection, Core, CoreParts, Plan, Turn};
pub use patience::Patience;

use std::os::fd::OwnedFd;

/// What a core is to listen on.
pub struct Listener {
    pub socket: OwnedFd,
    /// True: connections are dealt to all cores in turn. False (`--core-ports`): they stay with this one.
    pub shared: bool,
}
