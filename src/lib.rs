//! ringcached: a memcached-protocol cache server, thread per core, shared nothing.
//!
//! The folders are the architecture; docs/ARCHITECTURE.md is the map, tests/it/layers.rs keeps knowledge flowing
//! one way.

pub mod cluster;
pub mod command;
pub mod hash;
pub mod memory;
pub mod protocol;
pub mod shard;
pub mod time;
