//! Why glommio cannot start, in one line that tells the cure.

use std::io;

use rustix::process::{Resource, getrlimit};

use crate::runtime::uring;

/// Bytes that a process must be allowed to lock, or glommio does not begin, whether or not the kernel counts them.
const LOCKED_MEMORY_MIN: u64 = 512 * 1024;

/// Checks what glommio would refuse without telling the cure, or panic for.
pub(super) fn check() -> io::Result<()> {
    match getrlimit(Resource::Memlock).current {
        Some(limit) if limit < LOCKED_MEMORY_MIN => return Err(too_little_to_lock(limit)),
        _ => {}
    }
    io_uring::IoUring::new(1).map(drop)
}

fn too_little_to_lock(limit: u64) -> io::Error {
    let (limit, wanted) = (limit / 1024, LOCKED_MEMORY_MIN / 1024);
    io::Error::other(format!(
        "the limit on locked memory (memlock) is {limit} KiB, and it wants {wanted} KiB: raise it, \
         `ulimit -l {wanted}` or LimitMEMLOCK={wanted}K"
    ))
}

/// One line for the log.
pub fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => format!("glommio cannot start: {}", uring::explain(error)),
        None => format!("glommio cannot start: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_one_line_with_a_cure() {
        let cases = [
            (too_little_to_lock(64 * 1024), "ulimit -l 512"),
            (io::Error::from_raw_os_error(libc::EPERM), "io_uring_setup"),
        ];
        for (reason, cure) in cases {
            let line = explain(&reason);
            assert!(line.contains(cure) && !line.contains('\n'), "{line}");
        }
    }
}
