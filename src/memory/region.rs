//! Pages cut from regions that the kernel may back by one large page each (`-L`).
//!
//! ```text
//! region, 2 MiB, aligned   | part | part | part |   ...   | part |     32 pages of 64 KiB, each with one owner
//!                                    '-- dropped: its memory goes back, and the large page becomes small ones
//! ```
//!
//! A large page needs one entry of the processor's address cache instead of 512, so a get from a cache far larger than
//! those entries reach waits for one table less. A region is unmapped when its last part is dropped.
//!
//! One of the rooms with unsafe code: what keeps it sound is that every part has a range of its own.

#![expect(unsafe_code, reason = "owners of disjoint parts of one mapping")]

use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::{Advice, MmapMut, MmapRaw, UncheckedAdvice};

/// What the kernel's large pages have on the processors that we know, and a multiple of a page.
pub(super) const REGION_SIZE: usize = 2 << 20;

/// Bytes of a part.
pub(super) const PART_SIZE: usize = 64 * 1024;

/// Parts of a region.
pub(super) const PARTS: usize = REGION_SIZE / PART_SIZE;

/// False under Miri, which checks this file but knows no `madvise`.
pub(super) const CAN_ADVISE: bool = !cfg!(miri);

/// One page of a region.
///
/// Invariant: `start` is the first of [`PART_SIZE`] bytes of the region which no other part has.
#[derive(Debug)]
pub(super) struct Part {
    start: NonNull<u8>,
    region: Arc<MmapRaw>,
}

// SAFETY: a part owns its bytes as a box does (invariant), and the region it keeps mapped may be shared and sent.
unsafe impl Send for Part {}
// SAFETY: as above; `&Part` gives only `&[u8]`.
unsafe impl Sync for Part {}

/// All parts of a new region; `None` if the system has no memory for it.
pub(super) fn parts() -> Option<Vec<Part>> {
    // New kernels align what is as large as a large page; elsewhere it lies somewhere in twice as much.
    let is_aligned = |mapping: &MmapMut| mapping.as_ptr().addr().is_multiple_of(REGION_SIZE);
    let mapping = match MmapMut::map_anon(REGION_SIZE).ok()? {
        mapping if is_aligned(&mapping) => mapping,
        _ => MmapMut::map_anon(2 * REGION_SIZE).ok()?,
    };
    let first = mapping.as_ptr().align_offset(REGION_SIZE);
    let region = Arc::new(MmapRaw::from(mapping));
    if CAN_ADVISE {
        // Where it is refused these are pages like others.
        let _ = region.advise_range(Advice::HugePage, first, REGION_SIZE);
    }
    let part = |index: usize| {
        let offset = first + index * PART_SIZE;
        assert!(offset + PART_SIZE <= region.len());
        // SAFETY: the offset lies in the mapping, by the assertion.
        let start = unsafe { region.as_mut_ptr().add(offset) };
        Part {
            start: NonNull::new(start).expect("a mapping is not at 0"),
            region: region.clone(),
        }
    };
    Some((0..PARTS).map(part).collect())
}

impl Part {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are mapped as long as the region is held, initialised (to zeros by the kernel), and nobody
        // else's (invariant); while they are lent nobody writes to them, for that takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), PART_SIZE) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), PART_SIZE) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // The last one takes the mapping along.
        if CAN_ADVISE && Arc::strong_count(&self.region) > 1 {
            let offset = self.start.as_ptr().addr() - self.region.as_mut_ptr().addr();
            // SAFETY: the range is this part's own (invariant), which nobody can read any more; the next who maps it
            // finds zeros. A refusal leaves it as it is.
            let _ = unsafe {
                self.region
                    .unchecked_advise_range(UncheckedAdvice::DontNeed, offset, PART_SIZE)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_bytes_of_its_own_and_may_outlive_the_others() {
        let mut parts = parts().expect("memory");
        assert_eq!(PARTS, parts.len());
        assert!(parts[0].bytes().as_ptr().addr().is_multiple_of(REGION_SIZE));
        for (number, part) in parts.iter_mut().enumerate() {
            assert!(part.bytes().iter().all(|&byte| byte == 0));
            part.bytes_mut().fill(number as u8 + 1);
        }
        let kept = parts.swap_remove(7);
        for (number, part) in parts.iter().enumerate().take(7) {
            assert!(part.bytes().iter().all(|&byte| byte == number as u8 + 1));
        }
        drop(parts);
        assert!(kept.bytes().iter().all(|&byte| byte == 8));
        std::thread::spawn(move || drop(kept)).join().expect("a thread");
    }
}
