//! `-d`: the server goes on in the background, of its own session, with nobody's terminal.

#![expect(unsafe_code, reason = "fork has no safe name")]

use std::fs::File;
use std::io;

use rustix::process::{chdir, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

/// Leaves the foreground; the process that was started ends. To be called before there is any thread. What the server
/// says on stderr is kept where `keeps_output` says so, and it leaves its folder where `leaves_folder` does.
pub(super) fn daemonize(keeps_output: bool, leaves_folder: bool) -> io::Result<()> {
    // SAFETY: this process has one thread, so the child finds no lock held and no state half changed.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    setsid()?;
    if leaves_folder {
        chdir("/")?;
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    if !keeps_output {
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
    }
    Ok(())
}
