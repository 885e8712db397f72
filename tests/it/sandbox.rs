//! A child that may do less than we may: no io_uring (the situation in containers, made with a seccomp filter of four
//! instructions), little of what the system limits.

#![expect(
    unsafe_code,
    reason = "prctl and pre_exec have no safe name; filter and limits must be set between fork and exec"
)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, setrlimit};

/// The user whom Linux has for those who own nothing.
const NOBODY: u32 = 65534;

/// Gives the child these limits, soft and hard alike. A child of root becomes nobody, whom limits bind.
pub(crate) fn limit(command: &mut Command, limits: &'static [(Resource, u64)]) {
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let set = move || {
        for &(resource, limit) in limits {
            let limit = Some(limit);
            setrlimit(
                resource,
                Rlimit {
                    current: limit,
                    maximum: limit,
                },
            )?;
        }
        Ok(())
    };
    // SAFETY: `set` makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(set) };
}

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
