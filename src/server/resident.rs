//! What the process holds, as the system sees it, and the allocator's part in that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// Resident bytes of this process; 0 where the system does not say. The file stays open, so that whoever calls first
/// decides what it takes: later calls only read.
pub(super) fn resident() -> u64 {
    static STATM: OnceLock<Option<File>> = OnceLock::new();
    let Some(file) = STATM.get_or_init(|| File::open("/proc/self/statm").ok()) else {
        return 0;
    };
    let mut text = [0; 128];
    let size = file.read_at(&mut text, 0).unwrap_or(0);
    let pages = std::str::from_utf8(&text[..size]).ok().and_then(pages);
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// `size resident shared text lib data dt`, in pages.
fn pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Buffers of this size come from the system one by one, and go back to it as they are: what the allocator begins with.
#[cfg(target_env = "gnu")]
const APART_MIN: i32 = 128 * 1024;

/// Free memory at the end of a thread's heap that is kept.
#[cfg(target_env = "gnu")]
const KEPT_MAX: i32 = 1024 * 1024;

/// Makes the allocator waste less. Left to itself it takes ever larger buffers from its heaps, where what is freed can be
/// used again, but seldom given back.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe name")]
pub(super) fn be_frugal() {
    // SAFETY: it takes no pointer. It is called before any other thread is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, APART_MIN);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_MAX);
    }
}

/// Makes the allocator give back what it keeps of what was freed.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "malloc_trim has no safe name")]
pub(super) fn trim_heap() {
    // SAFETY: it takes no pointer, and the C library makes it safe beside any thread that allocates.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
pub(super) fn be_frugal() {}

/// Only glibc keeps much.
#[cfg(not(target_env = "gnu"))]
pub(super) fn trim_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_holds_something() {
        assert!(resident() > 1 << 20);
        assert_eq!(Some(7), pages("100 7 3 2 0 9 0\n"));
        assert_eq!(None, pages(""));
        trim_heap();
    }
}
