//! The fleet: which server owns a key, and the list of servers that a node publishes.
//!
//! Pure functions over server lists. Nothing here opens a socket, reads a file or a clock, or knows what a
//! shard is; the server wires it up, `tools/ringctl` prints it, and the Rust client places keys with it.
//!
//! ```text
//!   ring file, "config set", DNS                      a client's --servers
//!             |                                                |
//!        RingFile / PublishedRing --- servers --->  Server, Server, Server
//!             |                                                |      Preset: whose rules
//!      config get cluster                                Ring::build
//!             |                                                |
//!      clients find the fleet                       Ring::owner(key) -> index of the server
//! ```
//!
//! Being *nearly* compatible is worthless: a fleet whose clients disagree about one key in a hundred serves
//! stale values for it. So every rule here is some library's, bug for bug, and is compared with what that
//! library really did (`tests/ketama`). docs/design/20-ketama.md has the traps.

mod hash_function;
mod jump;
mod preset;
mod published;
mod ring;
mod ring_file;
mod server;

pub use hash_function::HashFunction;
pub use jump::jump;
pub use preset::{Preset, UnknownPreset};
pub use published::{
    Adoption, FleetNode, FleetReply, PayloadError, PublishedRing, RingVersion, find_fleet_reply,
};
pub use ring::{BuildError, Distribution, Label, Point, PointCount, Ring, Rules};
pub use ring_file::{Mistake, RingFile, RingFileError};
pub use server::{Server, ServerError};

/// memcached's port. libmemcached and twemproxy leave it out of the strings they hash.
pub const DEFAULT_PORT: u16 = 11211;

/// Most servers in one ring, in a file, on a command line or in a published list. Beyond it the list is
/// refused: every client holds a published ring in memory, and 160 points a server make a circle of 5 MiB
/// here.
pub const SERVERS_MAX: usize = 4096;
