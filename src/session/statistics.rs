//! The general `stats`: names, order and formats as memcached has them. What we do not have says 0, what we have is
//! counted.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use super::Counters;
use super::dump::Slice;
use super::fleet::Fleet;
use super::settings::Setting;
use super::switches::Switches;
use super::watch::Watchers;
use crate::memory::Pool;
use crate::shard::{self, Bands, Prefixes};
use crate::time::{Now, Seconds};

/// What all cores report together.
#[derive(Debug, Default)]
pub struct Totals {
    pub shard: shard::Counters,
    pub session: Counters,
    pub more: More,
}

/// What only some orders bring home.
#[derive(Debug, Default)]
pub enum More {
    #[default]
    Nothing,
    Bands(Bands),
    Prefixes(Prefixes),
    /// Lines of `stats conns` by descriptor.
    Connections(Vec<(i32, Vec<u8>)>),
    /// Of one core alone.
    Slice(Slice),
}

impl Totals {
    pub fn add(&mut self, other: Totals) {
        self.shard.add(&other.shard);
        self.session.add(&other.session);
        match (&mut self.more, other.more) {
            (_, More::Nothing) => {}
            (More::Bands(bands), More::Bands(other)) => bands.add(&other),
            (More::Prefixes(prefixes), More::Prefixes(other)) => prefixes.add(&other),
            (More::Connections(lines), More::Connections(other)) => lines.extend(other),
            (more, other) => *more = other,
        }
    }
}

/// What is true of the whole server as long as it runs, and how to ask the system for the rest.
#[derive(Debug)]
pub struct Facts {
    pub pid: u32,
    pub version: &'static str,
    pub threads: usize,
    pub connections_max: usize,
    pub page_size: u64,
    /// What `stats settings` shows, in order.
    pub settings: Vec<(&'static str, Setting)>,
    /// Which groups of lines the general statistics have, as memcached's depend on its options.
    pub groups: Groups,
    pub switches: Switches,
    /// There with -Z.
    pub certificates: Option<Arc<dyn Certificates>>,
    pub watchers: Watchers,
    /// The listening sockets: descriptor and address, as `stats conns` shows them.
    pub listeners: Vec<(i32, String)>,
    /// CPU time of the process in microseconds: user's, system's.
    pub cpu_used: fn() -> (u64, u64),
    /// Bytes of memory that the process holds, as the system counts.
    pub resident: fn() -> u64,
    /// What is held for what.
    pub pool: Arc<Pool>,
    /// The ring that is published, and who knows it.
    pub fleet: Arc<dyn Fleet>,
    /// Tells the process to end, gracefully or not.
    pub shut_down: fn(graceful: bool),
    /// Asks the kernel for what a confined thread may not have; returns whether it got it.
    pub misbehave: fn() -> bool,
    /// Makes the log say as much as so many -v do.
    pub log_at: fn(verbosity: u32),
}

/// The certificates that the server shows, of which sessions know nothing else.
pub trait Certificates: Debug + Send + Sync {
    /// Reads their files anew. If they make no sense, what was there holds, and the error says why, in one line.
    fn refresh(&self) -> Result<(), String>;

    /// Seconds since they were last read.
    fn age(&self) -> u64;
}

/// Groups of lines that memcached shows only with the option they belong to.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    pub maxconns_fast: bool,
    pub idle_timeout: bool,
    pub slab_reassign: bool,
    pub lru_crawler: bool,
    pub lru_maintainer: bool,
    pub session_cache: bool,
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
    let Totals { shard, session, .. } = totals;
    let Groups {
        maxconns_fast,
        idle_timeout,
        slab_reassign,
        lru_crawler,
        lru_maintainer,
        session_cache,
    } = facts.groups;

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
    if maxconns_fast {
        say("rejected_connections", &session.rejected_connections);
    }
    say("connection_structures", &session.curr_connections);
    // Replies and reads have no objects of their own here.
    say("response_obj_oom", &0);
    say("response_obj_count", &0);
    say("response_obj_bytes", &0);
    say("read_buf_count", &0);
    say("read_buf_bytes", &0);
    say("read_buf_bytes_free", &0);
    say("read_buf_oom", &0);
    say("reserved_fds", &0);
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
    say("auth_cmds", &session.auth_cmds);
    say("auth_errors", &session.auth_errors);
    if idle_timeout {
        say("idle_kicks", &session.idle_kicks);
    }
    say("bytes_read", &session.bytes_read);
    say("bytes_written", &session.bytes_written);
    say("limit_maxbytes", &facts.switches.memory_limit());
    say("accepting_conns", &u8::from(session.curr_closed == 0));
    say("listen_disabled_num", &session.listen_disabled_num);
    say("time_in_listen_disabled_us", &session.listen_disabled_us);
    say("threads", &facts.threads);
    say("conn_yields", &session.conn_yields);
    // The power of two below the number of buckets, which take 5 bytes each.
    say("hash_power_level", &(shard.hash_bytes / 5).max(1).ilog2());
    say("hash_bytes", &shard.hash_bytes);
    say("hash_is_expanding", &0);
    if slab_reassign {
        say("slab_reassign_rescues", &0);
        say("slab_reassign_chunk_rescues", &0);
        say("slab_reassign_inline_reclaim", &0);
        say("slab_reassign_busy_items", &0);
        say("slab_reassign_busy_deletes", &0);
        say("slab_reassign_busy_nomem", &0);
        say("slab_reassign_last_busy_status", &"none");
        say("slab_reassign_running", &0);
        say("slabs_moved", &0);
    }
    if lru_crawler {
        say("lru_crawler_running", &0);
        say("lru_crawler_starts", &0);
    }
    if lru_maintainer {
        say("lru_maintainer_juggles", &0);
    }
    say("malloc_fails", &0);
    say("log_worker_dropped", &session.log_worker_dropped);
    say("log_worker_written", &session.log_worker_written);
    say("log_watcher_skipped", &session.log_watcher_skipped);
    say("log_watcher_sent", &session.log_watcher_sent);
    say("log_watchers", &facts.watchers.count());
    if let Some(certificates) = &facts.certificates {
        if session_cache {
            say("ssl_new_sessions", &session.ssl_new_sessions);
        }
        say("ssl_handshake_errors", &session.ssl_handshake_errors);
        say("ssl_proto_errors", &session.ssl_proto_errors);
        say("time_since_server_cert_refresh", &certificates.age());
    }
    say("unexpected_napi_ids", &0);
    say("round_robin_fallback", &0);
    say("bytes", &shard.bytes);
    say("curr_items", &shard.curr_items);
    say("total_items", &shard.total_items);
    say("slab_global_page_pool", &shard.pages_idle);
    say("expired_unfetched", &shard.expired_unfetched);
    say("evicted_unfetched", &shard.evicted_unfetched);
    if lru_maintainer {
        say("evicted_active", &shard.evicted_active);
    }
    say("evictions", &shard.evictions);
    say("reclaimed", &shard.reclaimed);
    say("crawler_reclaimed", &shard.crawler_reclaimed);
    say("crawler_items_checked", &shard.crawler_items_checked);
    say("lrutail_reflocked", &0);
    if lru_maintainer {
        // Out of probation into main, and once more around in main.
        say("moves_to_cold", &shard.promoted);
        say("moves_to_warm", &0);
        say("moves_within_lru", &shard.retained);
        say("direct_reclaims", &0);
        say("lru_bumps_dropped", &0);
    }
}
