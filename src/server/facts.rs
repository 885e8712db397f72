//! What the statistics say about the process, and what `stats settings` says about its options.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crate::config::{Address, Config, PROTOCOL_VERSION, Protocol};
use crate::memory::Pool;
use crate::runtime::{Listener, local_name};
use crate::session::fleet::Fleet;
use crate::session::settings::Setting;
use crate::session::statistics::{Facts, Groups};
use crate::session::switches::Switches;
use crate::session::watch::Watchers;

use super::PAGE_SIZE;
use super::certificates::Certificates;
use super::resident::resident;

pub(super) fn gather(
    config: &Config,
    listeners: &[Vec<Listener>],
    fleet: Arc<dyn Fleet>,
    certificates: Option<Arc<Certificates>>,
    pool: Arc<Pool>,
) -> Facts {
    let extended = &config.extended;
    let sockets = listeners.iter().flatten().map(|listener| &listener.socket);
    Facts {
        pid: std::process::id(),
        version: PROTOCOL_VERSION,
        threads: config.threads,
        connections_max: config.connections_max,
        page_size: PAGE_SIZE as u64,
        settings: settings(config),
        groups: Groups {
            maxconns_fast: extended.maxconns_fast,
            idle_timeout: extended.idle_timeout > 0,
            slab_reassign: extended.slab_reassign,
            lru_crawler: extended.lru_crawler,
            lru_maintainer: extended.lru_maintainer,
            session_cache: extended.tls.session_cache,
        },
        switches: Switches::new(
            config.verbosity.into(),
            config.memory_limit,
            config.prefix_delimiter.is_some(),
            extended.lru_crawler,
        ),
        certificates: certificates.map(|certificates| certificates as _),
        watchers: Watchers::default(),
        listeners: sockets
            .map(|socket| (socket.as_raw_fd(), local_name(socket.as_fd())))
            .collect(),
        cpu_used,
        resident,
        pool,
        fleet,
        shut_down,
        log_at: |verbosity| log::set_max_level(super::log_level(verbosity)),
    }
}

/// The 77 lines of memcached's `stats settings`, in its order. What has no meaning here is shown as it was asked for,
/// or as memcached has it by default.
fn settings(config: &Config) -> Vec<(&'static str, Setting)> {
    let extended = &config.extended;
    let word = |on: bool| if on { "yes" } else { "no" };
    let (path, mask) = match config.addresses.first() {
        Some(Address::Unix(path, mask)) => (path.display().to_string(), *mask),
        _ => ("NULL".to_owned(), 0o700),
    };
    let mut all = Vec::new();
    all.push(("maxbytes", Setting::MemoryLimit));
    let mut fixed = |name, value: &dyn ToString| all.push((name, Setting::Fixed(value.to_string())));
    fixed("maxconns", &config.connections_max);
    fixed("tcpport", &config.port);
    fixed("udpport", &config.udp_port);
    fixed("inter", &config.listen.as_deref().unwrap_or("NULL"));
    all.push(("verbosity", Setting::Verbosity));
    let mut fixed = |name, value: &dyn ToString| all.push((name, Setting::Fixed(value.to_string())));
    fixed("oldest", &0);
    fixed("evictions", &if config.evict { "on" } else { "off" });
    fixed("domain_socket", &path);
    fixed("umask", &format!("{mask:o}"));
    fixed("shutdown_command", &word(config.shutdown_enabled));
    fixed("growth_factor", &format!("{:.2}", config.growth_factor));
    fixed("chunk_size", &config.chunk_size);
    fixed("num_threads", &config.threads);
    fixed("num_threads_per_udp", &config.threads);
    fixed(
        "stat_key_prefix",
        &char::from(config.prefix_delimiter.unwrap_or(b':')),
    );
    all.push(("detail_enabled", Setting::Detail));
    let mut fixed = |name, value: &dyn ToString| all.push((name, Setting::Fixed(value.to_string())));
    fixed("reqs_per_event", &config.requests_per_turn.min(i32::MAX as usize));
    fixed("cas_enabled", &word(config.cas_enabled));
    fixed("tcp_backlog", &config.backlog);
    fixed(
        "binding_protocol",
        &match config.protocol {
            Protocol::Auto => "auto-negotiate",
            Protocol::Ascii => "ascii",
            Protocol::Binary => "binary",
        },
    );
    fixed("auth_enabled_sasl", &word(config.sasl));
    let auth_file = config
        .auth_file
        .as_ref()
        .filter(|_| !config.sasl)
        .map(|file| file.display().to_string());
    fixed("auth_enabled_ascii", &auth_file.as_deref().unwrap_or("no"));
    fixed("item_size_max", &config.item_size_max);
    fixed("maxconns_fast", &word(extended.maxconns_fast));
    fixed("hashpower_init", &extended.hashpower_init);
    fixed("slab_reassign", &word(extended.slab_reassign));
    fixed("slab_automove", &extended.slab_automove);
    fixed(
        "slab_automove_ratio",
        &format!("{:.2}", extended.slab_automove_ratio),
    );
    fixed("slab_automove_window", &extended.slab_automove_window);
    fixed("slab_chunk_max", &extended.slab_chunk_max);
    all.push(("lru_crawler", Setting::Crawler));
    let mut fixed = |name, value: &dyn ToString| all.push((name, Setting::Fixed(value.to_string())));
    fixed("lru_crawler_sleep", &extended.lru_crawler_sleep);
    fixed("lru_crawler_tocrawl", &extended.lru_crawler_tocrawl);
    fixed("tail_repair_time", &extended.tail_repair_time);
    fixed("flush_enabled", &word(!config.flush_refused));
    fixed("dump_enabled", &word(!config.dump_refused));
    fixed("hash_algorithm", &extended.hash_algorithm);
    fixed("lru_maintainer_thread", &word(extended.lru_maintainer));
    fixed("lru_segmented", &word(extended.lru_segmented));
    fixed("hot_lru_pct", &extended.hot_lru_pct);
    fixed("warm_lru_pct", &extended.warm_lru_pct);
    fixed("hot_max_factor", &format!("{:.2}", extended.hot_max_factor));
    fixed("warm_max_factor", &format!("{:.2}", extended.warm_max_factor));
    fixed("temp_lru", &word(extended.temp_lru));
    fixed("temporary_ttl", &extended.temporary_ttl);
    fixed("idle_timeout", &extended.idle_timeout);
    fixed("watcher_logbuf_size", &extended.watcher_logbuf_size);
    fixed("worker_logbuf_size", &extended.worker_logbuf_size);
    fixed("read_buf_mem_limit", &extended.read_buf_mem_limit);
    fixed("track_sizes", &word(extended.track_sizes));
    fixed("inline_ascii_response", &"no");
    // What follows belongs to parts that memcached can be built without, at its defaults: they are not here.
    fixed("ext_item_size", &512);
    fixed("ext_item_age", &u32::MAX);
    fixed("ext_low_ttl", &0);
    fixed("ext_recache_rate", &2000);
    fixed("ext_wbuf_size", &(4 << 20));
    fixed("ext_compact_under", &0);
    fixed("ext_drop_under", &0);
    fixed("ext_max_sleep", &1_000_000);
    fixed("ext_max_frag", &"0.80");
    fixed(
        "slab_automove_freeratio",
        &format!("{:.3}", extended.slab_automove_freeratio),
    );
    fixed("ext_drop_unread", &"no");
    let tls = &extended.tls;
    fixed("ssl_enabled", &word(config.tls_enabled));
    fixed("ssl_chain_cert", &tls.chain_cert.as_deref().unwrap_or("(null)"));
    fixed("ssl_key", &tls.key.as_deref().unwrap_or("(null)"));
    // OpenSSL's flags: verify, and fail without a certificate, and once.
    fixed("ssl_verify_mode", &[0, 1, 3, 7][tls.verify_mode as usize]);
    fixed("ssl_keyformat", &tls.key_format);
    fixed("ssl_ciphers", &tls.ciphers.as_deref().unwrap_or("NULL"));
    fixed("ssl_ca_cert", &tls.ca_cert.as_deref().unwrap_or("NULL"));
    fixed("ssl_wbuf_size", &tls.wbuf_size);
    fixed("ssl_session_cache", &word(tls.session_cache));
    fixed("ssl_kernel_tls", &word(false));
    fixed(
        "ssl_min_version",
        &if tls.is_only_1_3() { "tlsv1.3" } else { "tlsv1.2" },
    );
    fixed("num_napi_ids", &0);
    fixed("memory_file", &"(null)");
    fixed("client_flags_size", &size_of::<u32>());
    all
}

/// Tells this process to stop, as an operator would.
fn shut_down(graceful: bool) {
    use rustix::process::{Signal, getpid, kill_process};
    let signal = if graceful { Signal::USR1 } else { Signal::INT };
    if let Err(error) = kill_process(getpid(), signal) {
        log::error!("shutdown: {error}");
    }
}

/// User's and system's CPU time of the process, in microseconds.
fn cpu_used() -> (u64, u64) {
    let usage = getrusage();
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    (micros(usage.ru_utime), micros(usage.ru_stime))
}

#[expect(unsafe_code, reason = "getrusage has no safe name in std or rustix")]
fn getrusage() -> libc::rusage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole `rusage`, which the call fills; all its fields are integers, for which zero is
    // a valid value should the call fail (it cannot, with RUSAGE_SELF).
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    }
}
