//! `-o drop_privileges`: what each thread may still ask of the kernel, once it serves.
//!
//! Every thread gets filters of system calls of its own, for what it does, when it has set up what it needs. Filters
//! are for life. A call that is not on the list ends the process with SIGSYS, and the kernel's log has its number:
//! `audit: type=1326 ... comm="core 0" ... sig=31 ... syscall=59`. Only to open a file for reading is refused instead,
//! where no files are read. The lists were made by tracing servers on either
//! event loop through everything that tests ask of them; docs/design/10-confinement.md says how, and what was weighed.
//!
//! What io_uring is asked for, no filter of system calls sees: the rings have their own list (`runtime::uring`).
//!
//! Everything here is said once, at the start: clarity before speed. The kernel remembers which calls are allowed
//! whatever their arguments, and runs the filter for the others only.

use std::collections::BTreeMap;

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCondition, SeccompFilter, SeccompRule, apply_filter,
};

use crate::config::Config;
use crate::runtime::Kind;

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// Serves clients.
    Core,
    /// Waits for signals; reads files anew, and ends the server.
    Main,
    /// Wakes the cores now and then: the ticker, the watchdog.
    Ticker,
    /// Asks for the published ring: a file, DNS, other servers.
    Fleet,
}

/// What the options make necessary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Confinement {
    /// False: nobody is confined.
    pub(super) is_wanted: bool,
    pub(super) kind: Kind,
    /// `refresh_certs` is obeyed, by the core that hears it.
    pub(super) refreshes_certificates: bool,
    /// `shutdown` is obeyed: the core that hears it sends a signal to its own process.
    pub(super) obeys_shutdown: bool,
    /// The pid file is removed at the end.
    pub(super) removes_pid_file: bool,
}

impl Confinement {
    pub(super) fn of(config: &Config, kind: Kind) -> Confinement {
        Confinement {
            is_wanted: config.extended.drop_privileges,
            kind,
            refreshes_certificates: config.tls_enabled,
            obeys_shutdown: config.shutdown_enabled,
            removes_pid_file: config.daemon && config.pidfile.is_some(),
        }
    }

    /// Confines the thread that calls this, for the rest of its life, if that is wanted. Threads that it starts later
    /// inherit its filter. Otherwise it says why it is not.
    pub(super) fn confine(&self, duty: Duty) -> Result<(), String> {
        if !self.is_wanted {
            return Ok(());
        }
        #[cfg(feature = "glommio")]
        if self.kind == Kind::Glommio {
            return Err(
                "-o drop_privileges: not with --io glommio, whose system calls are not listed".to_owned(),
            );
        }
        let programs = self.programs(duty);
        let applied =
            programs.and_then(|programs| programs.iter().try_for_each(|program| apply_filter(program)));
        applied.map_err(|error| format!("-o drop_privileges: {error}"))
    }

    /// The filters of a thread. Of what they say of a call the kernel does the severest.
    fn programs(&self, duty: Duty) -> Result<Vec<BpfProgram>, seccompiler::Error> {
        let machine = std::env::consts::ARCH.try_into()?;
        let program = |calls: Calls, others, these| -> Result<BpfProgram, seccompiler::Error> {
            let filter = SeccompFilter::new(calls.0, others, these, machine);
            Ok(filter.and_then(BpfProgram::try_from)?)
        };
        let mut programs = Vec::new();
        if !self.reads_files(duty) {
            let mut refused = Calls::default();
            refused.calls(&[libc::SYS_openat]);
            let refuse = SeccompAction::Errno(libc::EACCES as u32);
            programs.push(program(refused, SeccompAction::Allow, refuse)?);
        }
        programs.push(program(
            self.allowed(duty),
            SeccompAction::KillProcess,
            SeccompAction::Allow,
        )?);
        Ok(programs)
    }

    fn reads_files(&self, duty: Duty) -> bool {
        match duty {
            Duty::Core => self.refreshes_certificates,
            Duty::Main | Duty::Fleet => true,
            Duty::Ticker => false,
        }
    }

    fn allowed(&self, duty: Duty) -> Calls {
        let mut allowed = Calls::default();
        allowed.what_every_thread_needs();
        if self.reads_files(duty) {
            allowed.calls(READ_FILES);
        }
        match duty {
            Duty::Core => {
                allowed.calls(SERVE_CLIENTS);
                // A client's last word of a handshake is acknowledged at once.
                let quick = [is(1, libc::IPPROTO_TCP), is(2, libc::TCP_QUICKACK)];
                allowed.call(libc::SYS_setsockopt, quick);
                allowed.calls(match self.kind {
                    Kind::Uring => URING,
                    Kind::Epoll => EPOLL,
                    // `confine` refuses it.
                    #[cfg(feature = "glommio")]
                    Kind::Glommio => &[],
                });
                if self.obeys_shutdown {
                    for signal in [libc::SIGINT, libc::SIGUSR1] {
                        allowed.call(libc::SYS_kill, [is_own_process(0), is(1, signal)]);
                    }
                }
            }
            Duty::Main => {
                // A signal has come: its handler has said so through a pair of sockets.
                allowed.calls(&[libc::SYS_recvfrom]);
                if self.removes_pid_file {
                    allowed.calls(REMOVE_FILE);
                }
            }
            Duty::Ticker => {}
            Duty::Fleet => {
                allowed.calls(EPOLL);
                allowed.calls(ASK_OTHERS);
                for family in [libc::AF_INET, libc::AF_INET6] {
                    allowed.call(libc::SYS_socket, [is(0, family)]);
                }
                for level in [libc::SOL_SOCKET, libc::IPPROTO_TCP, libc::IPPROTO_IPV6] {
                    allowed.call(libc::SYS_setsockopt, [is(1, level)]);
                }
            }
        }
        allowed
    }
}

/// The standard library, its allocator, its locks and clocks; the log; signal handlers, which run on any thread; the end
/// of a thread and of the process.
const EVERY_THREAD: &[i64] = &[
    // Memory. What must not make any executable is in `what_every_thread_needs`.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Waiting for each other. glibc asks how many CPUs there are when a thread needs a heap of its own.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    // A wait that a signal has interrupted goes on (SIGSTOP and SIGCONT, a debugger).
    libc::SYS_restart_syscall,
    // Clocks: system calls only where the kernel's clock cannot be read from user space.
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    // Signals, whose handlers write to a pair of sockets that the main thread reads.
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_sendto,
    // Descriptors that are there: the log, eventfds, files that are being read. Nothing is open for writing but the
    // standard streams and sockets.
    libc::SYS_read,
    libc::SYS_readv,
    // How much memory the process holds: a file that was opened at the start.
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    // Hash keys, and TLS.
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Clients' sockets, whatever the loop: bytes, names for `stats conns`, datagrams, the end. And `stats` says how much CPU
/// time was used.
const SERVE_CLIENTS: &[i64] = &[
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getrusage,
];

/// One call does all; the ring itself is a descriptor that is there.
const URING: &[i64] = &[libc::SYS_io_uring_enter];

#[cfg(target_arch = "x86_64")]
const EPOLL: &[i64] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_wait,
];
#[cfg(not(target_arch = "x86_64"))]
const EPOLL: &[i64] = &[libc::SYS_epoll_ctl, libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

/// With `openat`, of which everybody may try to read.
#[cfg(target_arch = "x86_64")]
const READ_FILES: &[i64] = &[
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_stat,
    libc::SYS_lseek,
];
#[cfg(not(target_arch = "x86_64"))]
const READ_FILES: &[i64] = &[libc::SYS_statx, libc::SYS_newfstatat, libc::SYS_lseek];

#[cfg(target_arch = "x86_64")]
const REMOVE_FILE: &[i64] = &[libc::SYS_unlink, libc::SYS_unlinkat];
#[cfg(not(target_arch = "x86_64"))]
const REMOVE_FILE: &[i64] = &[libc::SYS_unlinkat];

/// DNS over UDP and TCP, other servers over TCP; binding tells which addresses are this machine's. The resolver wants to
/// know the machine's name.
const ASK_OTHERS: &[i64] = &[
    libc::SYS_uname,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
];

/// System calls, each with the rules of which one must hold; with none it is allowed whatever its arguments.
#[derive(Default)]
struct Calls(BTreeMap<i64, Vec<SeccompRule>>);

impl Calls {
    /// Allows these, whatever their arguments.
    fn calls(&mut self, calls: &[i64]) {
        for &call in calls {
            self.0.insert(call, Vec::new());
        }
    }

    /// Allows this one if all conditions hold, too.
    fn call(&mut self, call: i64, conditions: impl Into<Vec<SeccompCondition>>) {
        let rule = SeccompRule::new(conditions.into()).expect("conditions there are");
        self.0.entry(call).or_default().push(rule);
    }

    fn what_every_thread_needs(&mut self) {
        self.calls(EVERY_THREAD);
        // No code is ever made.
        self.call(libc::SYS_mmap, [has_none_of(2, libc::PROT_EXEC)]);
        self.call(libc::SYS_mprotect, [has_none_of(2, libc::PROT_EXEC)]);
        // The standard library looks whether a descriptor that it closes is there, and how one is open.
        for asked in [libc::F_GETFD, libc::F_GETFL] {
            self.call(libc::SYS_fcntl, [is(1, asked)]);
        }
        // A panic ends the process by a signal of its own.
        let abort = [is_own_process(0), is(2, libc::SIGABRT)];
        self.call(libc::SYS_tgkill, abort);
        // Only to read, and refused where no files are read: when a heap shrinks, glibc looks how the kernel hands out
        // memory, and takes a refusal for the usual way.
        const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
        self.call(libc::SYS_openat, [has_none_of(2, WRITING)]);
    }
}

/// The argument has this value: an `int`, of which the kernel looks at no more.
fn is(argument: u8, value: i32) -> SeccompCondition {
    condition(argument, Dword, Eq, value as u32 as u64)
}

/// The argument has none of these bits, which are those of an `int`; whatever is above them is looked at, too, where the
/// kernel does.
fn has_none_of(argument: u8, bits: i32) -> SeccompCondition {
    condition(argument, Qword, MaskedEq(bits as u32 as u64), 0)
}

fn is_own_process(argument: u8) -> SeccompCondition {
    condition(argument, Dword, Eq, std::process::id().into())
}

fn condition(
    argument: u8,
    width: SeccompCmpArgLen,
    comparison: seccompiler::SeccompCmpOp,
    value: u64,
) -> SeccompCondition {
    SeccompCondition::new(argument, width, comparison, value).expect("a call has six arguments")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUTIES: [Duty; 4] = [Duty::Core, Duty::Main, Duty::Ticker, Duty::Fleet];

    fn all() -> Vec<Confinement> {
        let bits = [false, true];
        [Kind::Uring, Kind::Epoll]
            .into_iter()
            .flat_map(|kind| {
                bits.map(|everything| Confinement {
                    is_wanted: true,
                    kind,
                    refreshes_certificates: everything,
                    obeys_shutdown: everything,
                    removes_pid_file: everything,
                })
            })
            .collect()
    }

    /// What the child of `what_is_forbidden_ends_the_process` does.
    const ATTEMPTS: [&str; 7] = [
        "nothing",
        "open for reading",
        "execve",
        "socket",
        "open for writing",
        "thread",
        "signal",
    ];

    fn attempt(what: &str) {
        match what {
            "execve" => drop(std::process::Command::new("true").status()),
            "socket" => drop(std::os::unix::net::UnixDatagram::unbound()),
            "open for reading" => {
                let refused = std::fs::File::open("/dev/null").expect_err("it is no file of ours");
                assert_eq!(std::io::ErrorKind::PermissionDenied, refused.kind());
            }
            "open for writing" => drop(std::fs::File::create("/dev/null")),
            "thread" => drop(std::thread::Builder::new().spawn(|| ())),
            "signal" => {
                let parent = rustix::process::getppid().expect("a parent");
                let _ = rustix::process::test_kill_process(parent);
            }
            _ => drop(std::fs::File::open("/dev/null")),
        }
    }

    /// Run by itself it does nothing: it is the other half of the next test.
    #[test]
    fn a_confined_child() {
        if let Ok(what) = std::env::var("CONFINED_CHILD") {
            let confinement = all()[usize::from(what == "nothing")];
            confinement.confine(Duty::Core).expect("a filter");
            attempt(&what);
        }
    }

    #[test]
    fn what_is_forbidden_ends_the_process() {
        use std::os::unix::process::ExitStatusExt;
        for what in ATTEMPTS {
            let mut child = std::process::Command::new(std::env::current_exe().expect("this program"));
            child.args(["--exact", "server::confinement::tests::a_confined_child"]);
            let output = child.env("CONFINED_CHILD", what).output().expect("the child");
            let goes_on = matches!(what, "nothing" | "open for reading");
            let want = (!goes_on).then_some(libc::SIGSYS);
            assert_eq!(want, output.status.signal(), "{what}: {output:?}");
            assert_eq!(goes_on, output.status.success(), "{what}: {output:?}");
        }
    }

    #[test]
    fn every_filter_can_be_compiled() {
        for confinement in all() {
            for duty in DUTIES {
                for program in confinement.programs(duty).expect("programs") {
                    assert!(program.len() < 512, "{duty:?} has {}", program.len());
                }
            }
        }
    }

    /// What would be worth an attacker's while.
    #[test]
    fn nobody_starts_programs_or_takes_up_other_powers() {
        for confinement in all() {
            for duty in DUTIES {
                let allowed = confinement.allowed(duty).0;
                for call in [
                    libc::SYS_execve,
                    libc::SYS_execveat,
                    libc::SYS_clone,
                    libc::SYS_clone3,
                    libc::SYS_ptrace,
                    libc::SYS_process_vm_writev,
                    libc::SYS_io_uring_setup,
                    libc::SYS_io_uring_register,
                    libc::SYS_bpf,
                    libc::SYS_mount,
                    libc::SYS_setns,
                    libc::SYS_unshare,
                    libc::SYS_memfd_create,
                    libc::SYS_pidfd_getfd,
                    libc::SYS_rt_sigaction,
                    libc::SYS_prctl,
                    libc::SYS_ioctl,
                    libc::SYS_listen,
                    libc::SYS_renameat2,
                ] {
                    assert!(!allowed.contains_key(&call), "{duty:?} may call {call}");
                }
                let reaches_out = allowed.contains_key(&libc::SYS_connect);
                assert_eq!(duty == Duty::Fleet, reaches_out, "{duty:?} connects");
                for with_conditions in [
                    libc::SYS_mmap,
                    libc::SYS_mprotect,
                    libc::SYS_fcntl,
                    libc::SYS_openat,
                ] {
                    assert!(!allowed[&with_conditions].is_empty(), "{duty:?}");
                }
            }
        }
    }
}
