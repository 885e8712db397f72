//! A child that may not use io_uring: the situation in containers, made with a seccomp filter of four instructions. And
//! one that may lock little memory, as in those of old.

#![expect(
    unsafe_code,
    reason = "prctl and pre_exec have no safe name; the filter must be installed between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Offset of the system call's number in `struct seccomp_data`.
const SECCOMP_DATA_NR: u32 = 0;

/// Makes `io_uring_setup` fail with EPERM in the child, as Docker's default profile does.
pub(crate) fn deny_io_uring(command: &mut Command) {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let jump_if_equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let filter = [
        instruction(load, 0, 0, SECCOMP_DATA_NR),
        instruction(jump_if_equal, 0, 1, libc::SYS_io_uring_setup as u32),
        instruction(give, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: `program` points to `filter`, which the closure owns and which outlives both calls; the kernel
        // copies it. prctl is async-signal-safe, as code between fork and exec must be.
        let refused = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
        };
        if refused {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: `install` calls prctl and reads errno; it neither allocates nor locks.
    unsafe { command.pre_exec(install) };
}

/// Sets the child's limit on locked memory.
#[cfg(feature = "glommio")]
pub(crate) fn limit_locked_memory(command: &mut Command, bytes: u64) {
    let set = move || {
        let limit = rustix::process::Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        Ok(rustix::process::setrlimit(
            rustix::process::Resource::Memlock,
            limit,
        )?)
    };
    // SAFETY: `set` makes one system call; it neither allocates nor locks.
    unsafe { command.pre_exec(set) };
}
