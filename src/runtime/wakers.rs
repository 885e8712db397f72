//! The descriptors by which cores are woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Shared by all cores and the main thread.
pub struct Wakers {
    /// Each core's io_uring, for peers; -1 until the core has set it up, or for good on another loop.
    rings: Box<[AtomicI32]>,
    /// Each core's eventfd, for threads without a ring.
    events: Box<[OwnedFd]>,
}

impl Wakers {
    pub fn new(cores: usize) -> io::Result<Wakers> {
        let flags = EventfdFlags::CLOEXEC;
        let events: Result<Box<[_]>, _> = (0..cores).map(|_| eventfd(0, flags)).collect();
        Ok(Wakers {
            rings: (0..cores).map(|_| AtomicI32::new(-1)).collect(),
            events: events?,
        })
    }

    /// Wakes a core from a thread without a ring.
    pub fn wake(&self, core: usize) {
        // It can fail only if the counter is about to overflow: then the core is being woken anyway.
        let _ = rustix::io::write(&self.events[core], &1u64.to_ne_bytes());
    }

    /// The core's eventfd, readable once it has been woken.
    pub(super) fn event(&self, core: usize) -> BorrowedFd<'_> {
        self.events[core].as_fd()
    }

    /// Takes note of having been woken. Waits if nobody has.
    pub(super) fn hear(&self, core: usize) {
        // However often it was woken, and if a signal comes: the descriptor stays readable until it is read.
        let _ = rustix::io::read(&self.events[core], &mut [0u8; 8]);
    }

    pub(super) fn set_ring(&self, core: usize, ring: RawFd) {
        self.rings[core].store(ring, Ordering::Release);
    }

    pub(super) fn ring(&self, core: usize) -> RawFd {
        self.rings[core].load(Ordering::Acquire)
    }
}
