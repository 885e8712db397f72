//! Telling the processor what memory will be needed soon.
//!
//! The smallest of the rooms with unsafe code.

/// Fetches the first `LINES` cache lines of `what`: of an item its header, its key, and the beginning of its value.
pub(super) fn prefetch<T: ?Sized>(what: &T) {
    const LINES: usize = 3;
    const LINE_SIZE: usize = 64;
    for line in 0..LINES.min(size_of_val(what).div_ceil(LINE_SIZE)) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        #[expect(unsafe_code, reason = "prefetching takes a pointer")]
        // SAFETY: the address lies within `what`; and a prefetch reads nothing that the program can see and never
        // faults, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(what).cast::<i8>().add(line * LINE_SIZE));
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = line;
    }
}
