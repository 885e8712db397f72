//! What the tools share: traces of caches as files, and pictures of what came of them.
//!
//! `cachesim` replays the traces through the shard's own code, `loadgen replay` over sockets. It knows neither.

pub mod chart;
pub mod formats;
pub mod trace;
