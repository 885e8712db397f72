//! ringcached: a memcached-protocol cache server, thread per core, shared nothing.
//!
//! The folders are the architecture; docs/ARCHITECTURE.md is the map, `tests/it/layers.rs` keeps knowledge flowing
//! one way.

pub mod cluster;
pub mod command;
pub mod config;
pub mod hash;
pub mod memory;
pub mod mesh;
pub mod protocol;
pub mod runtime;
pub mod server;
pub mod session;
pub mod shard;
pub mod time;
