//! What `/proc` tells about a server: who listens on a port, what CPU time it has used, what memory it holds.

use std::fs;
use std::io;

/// Nanoseconds that the threads of a process have run, and have been ready to run while others had their CPUs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) run: u64,
    pub(crate) waited: u64,
}

/// CPU time of all live threads of a process, from the scheduler's exact accounting
/// (`/proc/PID/task/*/schedstat`). Threads that have ended are not in it.
pub(crate) fn cpu_time(pid: u32) -> io::Result<CpuTime> {
    let mut total = CpuTime::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let mut words = text.split_whitespace().map(|word| word.parse::<u64>());
        let (Some(Ok(run)), Some(Ok(waited))) = (words.next(), words.next()) else {
            return Err(io::Error::other("schedstat is not what it was"));
        };
        total.run += run;
        total.waited += waited;
    }
    Ok(total)
}

/// The process that holds a listening socket, if `/proc` lets us see it.
pub(crate) fn listener(server: &crate::target::Target) -> Option<u32> {
    let inodes = match server {
        crate::target::Target::Tcp(address) => {
            let port = format!(":{:04X}", address.port());
            let mut inodes = Vec::new();
            for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
                let text = fs::read_to_string(table).unwrap_or_default();
                inodes.extend(text.lines().filter_map(|line| {
                    let words: Vec<&str> = line.split_whitespace().collect();
                    // sl local remote state tx:rx tr:when retransmits uid timeout inode; state 0A listens.
                    let matches = words.get(1)?.ends_with(&port) && *words.get(3)? == "0A";
                    matches
                        .then(|| words.get(9).map(|inode| inode.to_string()))
                        .flatten()
                }));
            }
            inodes
        }
        crate::target::Target::Unix(path) => {
            let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
            let path = path.to_string_lossy().into_owned();
            let inode = |line: &str| {
                line.ends_with(&path)
                    .then(|| line.split_whitespace().nth(6).map(str::to_string))
            };
            text.lines().filter_map(inode).flatten().collect()
        }
    };
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let pids = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|link| links.iter().any(|wanted| link.as_os_str() == &**wanted))
        })
    })
}

/// Memory of a process in bytes, from `/proc/PID/smaps_rollup`. The kernel's own memory for it (sockets) is not in it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    /// Shared pages divided among their sharers.
    pub(crate) pss: u64,
    /// Pages that nobody else maps: what the process would give back by ending.
    pub(crate) private: u64,
}

pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    parse_memory(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?)
        .ok_or_else(|| io::Error::other("smaps_rollup is not what it was"))
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}

/// How many threads a process has.
pub(crate) fn threads(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count() as u64)
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    };
    Some(Memory {
        rss: field("Rss")?,
        pss: field("Pss")?,
        private: field("Private_Clean")? + field("Private_Dirty")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rollup_is_read_field_by_field() {
        let text = "00-ff ---p 00:00 0 [rollup]\nRss:  5 kB\nPss:  4 kB\nPss_Dirty:  9 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\n";
        let memory = parse_memory(text).expect("all fields are there");
        assert_eq!((memory.rss, memory.pss, memory.private), (5120, 4096, 3072));
        assert!(parse_memory("Rss: 5 kB\n").is_none());
    }

    #[test]
    fn own_cpu_time_grows_with_work() {
        let pid = std::process::id();
        let before = cpu_time(pid).expect("schedstat of this process").run;
        let mut sum = 0u64;
        while cpu_time(pid).expect("schedstat of this process").run < before + 20_000_000 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }
}
