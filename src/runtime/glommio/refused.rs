//! Why glommio cannot start, in one line that tells the cure.

use std::io;

use glommio::{GlommioError, ReactorErrorKind};

use crate::runtime::uring;

/// As an error of this program: an error of the system stays what it is.
pub(super) fn error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::ReactorError(ReactorErrorKind::MemLockLimit(limit, wanted)) => {
            io::Error::other(format!(
                "the limit on locked memory (memlock) is {} KiB, and it wants {} KiB: raise it, `ulimit -l {}` or \
                 LimitMEMLOCK={}K",
                limit / 1024,
                wanted / 1024,
                wanted / 1024,
                wanted / 1024
            ))
        }
        other => other.into(),
    }
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
        let memlock = ReactorErrorKind::MemLockLimit(64 * 1024, 512 * 1024);
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let cases = [
            (GlommioError::ReactorError(memlock), "ulimit -l 512"),
            (GlommioError::IoError(refused), "io_uring_setup"),
        ];
        for (reason, cure) in cases {
            let line = explain(&error(reason));
            assert!(line.contains(cure) && !line.contains('\n'), "{line}");
        }
    }
}
