//! The small ring of buffers that the kernel receives into.
//!
//! All connections of a core share it, so an idle connection holds no buffer. 64 are enough for a turn of several hundred
//! connections (with 32 the receives of 256 connections end for want of buffers). 32 KiB take a value of 16 KiB and its
//! line whole, so it is copied once, from here to its item; of what is longer each buffer takes half as many calls as one
//! of 16 KiB. Small requests touch the first lines of each: what is never filled costs no cache and no memory.
//!
//! One of the rooms with unsafe code: the kernel writes into this memory behind the compiler's back. The protocol that
//! keeps it sound is the kernel's: a buffer belongs to the kernel from [`BufferRing::give`] until a completion names
//! it, and to us from then until it is given again.

#![expect(
    unsafe_code,
    reason = "memory shared with the kernel; see the head of this file"
)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// How many buffers. A power of two, as the kernel wants it.
const COUNT: u16 = 64;

/// Bytes in each.
pub(super) const SIZE: usize = 32 * 1024;

/// The group under which the kernel knows them.
pub(super) const GROUP: u16 = 0;

const PAGE: usize = 4096;
const ENTRIES_SIZE: usize = COUNT as usize * size_of::<BufRingEntry>();
const _: () = assert!(COUNT.is_power_of_two() && ENTRIES_SIZE <= PAGE);
const _: () = assert!(COUNT as usize * SIZE == crate::runtime::RECEIVE_BUFFERS_SIZE);

/// Invariant: `entries` and `memory` point to allocations of [`Self::layout`]'s sizes, which live as long as this
/// does, and this lives longer than the ring it is registered with (the loop drops the ring first).
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    tail: u16,
}

impl BufferRing {
    /// Allocates the buffers and registers them with the ring; all belong to the kernel then.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<BufferRing> {
        let (entries_layout, memory_layout) = Self::layouts();
        // SAFETY: both layouts have a size greater than zero.
        let (entries, memory) = unsafe {
            (
                std::alloc::alloc_zeroed(entries_layout),
                std::alloc::alloc_zeroed(memory_layout),
            )
        };
        let entries = NonNull::new(entries)
            .expect("memory for the buffer ring")
            .cast::<BufRingEntry>();
        let memory = NonNull::new(memory).expect("memory for the receive buffers");
        let mut ring = BufferRing {
            entries,
            memory,
            tail: 0,
        };
        // SAFETY: the address is that of `COUNT` zeroed entries, page-aligned as the kernel wants it, and stays valid
        // until after the io_uring instance is gone (invariant of the struct).
        unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, COUNT, GROUP, 0)? };
        for id in 0..COUNT {
            ring.give(id);
        }
        ring.publish();
        Ok(ring)
    }

    /// The first `size` bytes of a buffer that a completion has named.
    ///
    /// The kernel's completion is the proof that the buffer is ours: the caller passes on what the kernel said and
    /// nothing else. A wrong `id` or `size` panics; a repeated one could show bytes while the kernel writes them, which
    /// is why this is `unsafe`.
    ///
    /// # Safety
    ///
    /// - The kernel has named `id` in a completion, and it has not been given back since.
    pub(super) unsafe fn bytes(&self, id: u16, size: usize) -> &[u8] {
        assert!(
            id < COUNT && size <= SIZE,
            "the kernel named buffer {id} with {size} bytes"
        );
        // SAFETY: the range lies within the allocation by the assertion above; nobody writes to it, because the
        // kernel has handed it over (contract) and `give` needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(usize::from(id) * SIZE), size) }
    }

    /// Gives a buffer to the kernel; it sees it after the next [`BufferRing::publish`].
    pub(super) fn give(&mut self, id: u16) {
        assert!(id < COUNT);
        let index = usize::from(self.tail & (COUNT - 1));
        // SAFETY: `index < COUNT` entries; this thread alone writes entries, and the kernel does not read this one
        // before the tail is published.
        let entry = unsafe { &mut *self.entries.as_ptr().add(index) };
        // SAFETY: `id < COUNT`, so the offset lies within the allocation.
        let address = unsafe { self.memory.as_ptr().add(usize::from(id) * SIZE) };
        entry.set_addr(address as u64);
        entry.set_len(SIZE as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all buffers given so far.
    pub(super) fn publish(&mut self) {
        // SAFETY: the ring's tail lies in its first entry, by the kernel's layout, which `BufRingEntry::tail` knows; it
        // is aligned for u16, and the kernel reads it atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    fn layouts() -> (std::alloc::Layout, std::alloc::Layout) {
        let entries = std::alloc::Layout::from_size_align(PAGE, PAGE).expect("constants");
        let memory = std::alloc::Layout::from_size_align(usize::from(COUNT) * SIZE, PAGE).expect("constants");
        (entries, memory)
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        let (entries_layout, memory_layout) = Self::layouts();
        // SAFETY: allocated in `register` with these layouts; the io_uring instance is gone (invariant), so the kernel
        // no longer knows the addresses.
        unsafe {
            std::alloc::dealloc(self.entries.as_ptr().cast(), entries_layout);
            std::alloc::dealloc(self.memory.as_ptr(), memory_layout);
        }
    }
}
