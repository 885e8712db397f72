//! The general `stats`: names, order and formats as memcached has them.

use super::Counters;
use crate::shard;

/// What all cores report together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub shard: shard::Counters,
    pub session: Counters,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.shard.add(&other.shard);
        self.session.add(&other.session);
    }
}
