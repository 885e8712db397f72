//! What can be switched while the server runs, by words that no shard needs to hear.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The switches, shared by all cores. They are set by one word and read by another: no order between two of them
/// matters.
#[derive(Debug, Default)]
pub struct Switches {
    /// `verbosity`.
    verbosity: AtomicU32,
    /// `cache_memlimit`, in bytes.
    memory_limit: AtomicU64,
    /// `stats detail`.
    detail: AtomicBool,
    /// `lru_crawler enable` and `disable`.
    crawler: AtomicBool,
}

impl Switches {
    /// As they stand at the start.
    pub fn new(verbosity: u32, memory_limit: u64, detail: bool, crawler: bool) -> Switches {
        Switches {
            verbosity: verbosity.into(),
            memory_limit: memory_limit.into(),
            detail: detail.into(),
            crawler: crawler.into(),
        }
    }

    pub fn verbosity(&self) -> u32 {
        self.verbosity.load(Ordering::Relaxed)
    }

    pub fn set_verbosity(&self, level: u32) {
        self.verbosity.store(level, Ordering::Relaxed);
    }

    pub fn memory_limit(&self) -> u64 {
        self.memory_limit.load(Ordering::Relaxed)
    }

    pub fn set_memory_limit(&self, bytes: u64) {
        self.memory_limit.store(bytes, Ordering::Relaxed);
    }

    pub fn detail(&self) -> bool {
        self.detail.load(Ordering::Relaxed)
    }

    pub fn set_detail(&self, on: bool) {
        self.detail.store(on, Ordering::Relaxed);
    }

    pub fn crawler(&self) -> bool {
        self.crawler.load(Ordering::Relaxed)
    }

    /// Returns whether that changed anything.
    pub fn set_crawler(&self, on: bool) -> bool {
        self.crawler.swap(on, Ordering::Relaxed) != on
    }
}
