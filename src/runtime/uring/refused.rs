//! Why io_uring was refused, in one line that tells the cure.

use std::io;

/// One line for the log: what the kernel said, why it may have said so, and what helps.
pub fn explain(error: &io::Error) -> String {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring, or a seccomp filter hides it: it takes Linux 6.1 or newer and, in a \
             container, a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => match disabled_by_sysctl() {
            Some(level) => format!(
                "the sysctl kernel.io_uring_disabled is {level}: set it to 0, or to 1 and run with CAP_SYS_ADMIN or \
                 in the group of kernel.io_uring_group"
            ),
            None => "a seccomp filter or a security module forbids it (Docker's default profile does): allow \
                     io_uring_setup, io_uring_enter and io_uring_register"
                .to_owned(),
        },
        Some(libc::EINVAL) => format!(
            "this kernel ({}) lacks a feature that the loop needs: it takes Linux 6.1 or newer",
            kernel_release()
        ),
        Some(libc::ENOMEM) => "the limit on locked memory (memlock) is too low: raise it, `ulimit -l unlimited` or \
                               LimitMEMLOCK=infinity"
            .to_owned(),
        Some(libc::EMFILE | libc::ENFILE) => {
            "there are no file descriptors left: raise `ulimit -n` or LimitNOFILE".to_owned()
        }
        _ => "the kernel gives no further reason".to_owned(),
    };
    format!("io_uring refused ({error}): {why}")
}

fn disabled_by_sysctl() -> Option<u8> {
    let level = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()?
        .trim()
        .parse()
        .ok()?;
    (level > 0).then_some(level)
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_one_line_with_a_cure() {
        for errno in [
            libc::ENOSYS,
            libc::EPERM,
            libc::EINVAL,
            libc::ENOMEM,
            libc::EMFILE,
            libc::EIO,
        ] {
            let line = explain(&io::Error::from_raw_os_error(errno));
            assert!(
                line.starts_with("io_uring refused (") && !line.contains('\n'),
                "{line}"
            );
        }
    }
}
