//! What the statistics say about the process.

use crate::config::{Config, PROTOCOL_VERSION};
use crate::session::statistics::Facts;

pub(super) fn gather(config: &Config) -> Facts {
    Facts {
        pid: std::process::id(),
        version: PROTOCOL_VERSION,
        threads: config.threads,
        connections_max: config.connections_max,
        memory_limit: config.memory_limit,
        cpu_used,
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
