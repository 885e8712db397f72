//! The general `stats`: names, order and formats as memcached has them. What we do not have says 0, what we have is
//! counted.

use std::fmt::Display;

use super::Counters;
use crate::shard;
use crate::time::{Now, Seconds};

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

/// What is true of the whole server as long as it runs, and how to ask the system for the rest.
#[derive(Clone, Debug)]
pub struct Facts {
    pub pid: u32,
    pub version: &'static str,
    pub threads: usize,
    pub connections_max: usize,
    pub memory_limit: u64,
    /// CPU time of the process in microseconds: user's, system's.
    pub cpu_used: fn() -> (u64, u64),
}

/// Calls `line` with the name and value of every general statistic, in memcached's order.
pub fn general(totals: &Totals, facts: &Facts, now: Now, mut line: impl FnMut(&[u8], &[u8])) {
    let mut text = String::new();
    let mut say = |name: &str, value: &dyn Display| {
        use std::fmt::Write;
        text.clear();
        write!(text, "{value}").expect("writing to a string does not fail");
        line(name.as_bytes(), text.as_bytes());
    };
    let (user, system) = (facts.cpu_used)();
    let seconds = |micros: u64| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let Totals { shard, session } = totals;

    say("pid", &facts.pid);
    // memcached's uptime starts at 2, too: tools divide by it.
    say("uptime", &now.seconds.since(Seconds(0)));
    say("time", &now.unix());
    say("version", &facts.version);
    // phpMemcachedAdmin shows it; the word says what there is instead.
    say("libevent", &"none");
    say("pointer_size", &usize::BITS);
    say("rusage_user", &seconds(user));
    say("rusage_system", &seconds(system));
    say("max_connections", &facts.connections_max);
    say("curr_connections", &session.curr_connections);
    say("total_connections", &session.total_connections);
    say("rejected_connections", &session.rejected_connections);
    say("connection_structures", &session.curr_connections);
    say("cmd_get", &shard.cmd_get);
    say("cmd_set", &shard.cmd_set);
    say("cmd_flush", &session.cmd_flush);
    say("cmd_touch", &shard.cmd_touch);
    say("cmd_meta", &shard.cmd_meta);
    say("get_hits", &shard.get_hits);
    say("get_misses", &shard.get_misses);
    say("get_expired", &shard.get_expired);
    say("get_flushed", &shard.get_flushed);
    say("delete_misses", &shard.delete_misses);
    say("delete_hits", &shard.delete_hits);
    say("incr_misses", &shard.incr_misses);
    say("incr_hits", &shard.incr_hits);
    say("decr_misses", &shard.decr_misses);
    say("decr_hits", &shard.decr_hits);
    say("cas_misses", &shard.cas_misses);
    say("cas_hits", &shard.cas_hits);
    say("cas_badval", &shard.cas_badval);
    say("touch_hits", &shard.touch_hits);
    say("touch_misses", &shard.touch_misses);
    say("store_too_large", &shard.store_too_large);
    say("store_no_memory", &shard.store_no_memory);
    say("auth_cmds", &0);
    say("auth_errors", &0);
    say("bytes_read", &session.bytes_read);
    say("bytes_written", &session.bytes_written);
    say("limit_maxbytes", &facts.memory_limit);
    say("accepting_conns", &1);
    say("listen_disabled_num", &0);
    say("time_in_listen_disabled_us", &0);
    say("threads", &facts.threads);
    say("conn_yields", &session.conn_yields);
    say("hash_bytes", &shard.hash_bytes);
    say("hash_is_expanding", &0);
    say("bytes", &shard.bytes);
    say("curr_items", &shard.curr_items);
    say("total_items", &shard.total_items);
    say("expired_unfetched", &shard.expired_unfetched);
    say("evicted_unfetched", &shard.evicted_unfetched);
    say("evicted_active", &shard.evicted_active);
    say("evictions", &shard.evictions);
    say("reclaimed", &shard.reclaimed);
    say("crawler_reclaimed", &shard.crawler_reclaimed);
    say("crawler_items_checked", &shard.crawler_items_checked);
}
