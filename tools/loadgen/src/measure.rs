//! One measurement: connections, prefill, threads, and the sums of what they bring home.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustls::ClientConfig;

use crate::catalogue::Catalogue;
use crate::client::{Client, Harvest, Traffic, Until};
use crate::process::{self, CpuTime};
use crate::report::{Cpu, Report};
use crate::tally::Tally;
use crate::target::{Link, Target};
use crate::workload::Workload;

/// Connections that the prefill uses at most.
const PREFILL_CONNECTIONS_MAX: usize = 16;

/// Where and on what a workload is run.
pub(crate) struct Bench<'a> {
    pub(crate) targets: &'a [Target],
    /// The server's process, for its CPU time.
    pub(crate) pid: Option<u32>,
    /// CPUs of the client; thread `n` goes to the `n`th if there are enough, otherwise they share all of them.
    pub(crate) cpus: &'a [usize],
    /// Whether a terminal may be shown a progress line.
    pub(crate) progress: bool,
    /// Where the client speaks TLS: how.
    pub(crate) tls: Option<&'a Arc<ClientConfig>>,
}

/// Restricts the calling thread (and the threads and processes it starts from now on) to these CPUs.
pub(crate) fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!("there is no CPU {cpu}")));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(io::Error::from)
}

impl Bench<'_> {
    /// Sets every key of the workload once, a storm's excepted; none may be refused.
    pub(crate) fn prefill(&self, workload: &Workload, catalogue: &Catalogue) -> io::Result<()> {
        let tally = self.set_range(workload, catalogue, 0..workload.keys)?.tally;
        if tally.errors > 0 {
            return Err(io::Error::other(format!(
                "the prefill was refused: {:?}",
                tally.complaints
            )));
        }
        Ok(())
    }

    /// Sets every key of the workload once.
    pub(crate) fn set_all(&self, workload: &Workload, catalogue: &Catalogue) -> io::Result<Tally> {
        let harvest = self.set_range(workload, catalogue, 0..catalogue.count())?;
        Ok(harvest.tally)
    }

    /// Sets each of these keys once, in their order.
    pub(crate) fn set_range(
        &self,
        workload: &Workload,
        catalogue: &Catalogue,
        keys: Range<u64>,
    ) -> io::Result<Harvest> {
        let traffic = workload.prefill_traffic();
        let sockets = self.connect(workload.connections.min(PREFILL_CONNECTIONS_MAX))?;
        let until = Until::AllSet {
            from: keys.start,
            to: keys.end,
        };
        Client::new(sockets, catalogue, &traffic, workload.seed)?.run(until, || (), &AtomicU64::new(0))
    }

    /// Runs the traffic, without the prefill.
    pub(crate) fn run(&self, workload: &Workload, catalogue: &Catalogue) -> io::Result<Report> {
        let traffic = workload.traffic();
        let (warm_up, measured) = workload.times();
        let threads = workload.threads;
        let mut sockets = Vec::new();
        for thread in 0..threads {
            sockets.push(self.connect(share(workload.connections, threads, thread))?);
        }
        let done = AtomicU64::new(0);
        // CPU times at the marks of thread 0: it reads them itself, so that no other thread has to get a CPU first.
        let marks = Mutex::new(Vec::with_capacity(2));
        let mark = || {
            let now = (
                self.server_time(),
                process::cpu_time(std::process::id()).unwrap_or_default(),
                Instant::now(),
            );
            if let Ok(mut marks) = marks.lock() {
                marks.push(now);
            }
        };
        let (mark, done, traffic) = (&mark, &done, &traffic);
        let harvests: Vec<io::Result<Harvest>> = thread::scope(|scope| {
            let handles: Vec<_> = sockets
                .into_iter()
                .enumerate()
                .map(|(thread, sockets)| {
                    let until = match workload.requests {
                        Some(count) => Until::Requests(share(count as usize, threads, thread) as u64),
                        None => Until::Seconds { warm_up, measured },
                    };
                    let seed = workload.seed.wrapping_add(thread as u64);
                    scope.spawn(move || {
                        let mark = || {
                            if thread == 0 {
                                mark()
                            }
                        };
                        self.work(
                            thread,
                            threads,
                            sockets,
                            (catalogue, traffic),
                            seed,
                            until,
                            workload.errors_allowed > 0,
                            mark,
                            done,
                        )
                    })
                })
                .collect();
            if self.progress && workload.requests.is_none() && warm_up + measured > Duration::from_secs(3) {
                show_progress(done, warm_up + measured, || {
                    handles.iter().all(|handle| handle.is_finished())
                });
            }
            let join = |handle: thread::ScopedJoinHandle<'_, _>| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a client thread has panicked")))
            };
            handles.into_iter().map(join).collect()
        });
        let mut tally = Tally::new();
        let (mut longest, mut turns, mut partial_sends, mut overdue, mut rate) =
            (Duration::ZERO, 0, 0, 0, 0.0);
        for harvest in harvests {
            let harvest = harvest?;
            longest = longest.max(harvest.measured);
            rate += harvest.tally.requests() as f64 / harvest.measured.as_secs_f64().max(1e-9);
            turns += harvest.turns;
            partial_sends += harvest.partial_sends;
            overdue += harvest.overdue;
            tally.add(harvest.tally);
        }
        let marks = marks
            .into_inner()
            .map_err(|_| io::Error::other("a client thread has panicked"))?;
        let [(server_start, client_start, start), (server_end, client_end, end)] = marks[..] else {
            return Err(io::Error::other("the measurement has not reached its end"));
        };
        let wall = end - start;
        let cpu = |start, end| Cpu::new(start, end, wall, rate * wall.as_secs_f64(), &tally);
        let server_cpu = server_start.zip(server_end).map(|(start, end)| cpu(start, end));
        let client_cpu = cpu(client_start, client_end);
        Ok(Report::new(
            tally,
            longest,
            rate,
            server_cpu,
            client_cpu,
            turns,
            partial_sends,
            overdue,
        ))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the body of a thread; all of it is captured once"
    )]
    fn work(
        &self,
        thread: usize,
        threads: usize,
        links: Vec<Link>,
        (catalogue, traffic): (&Catalogue, &Traffic),
        seed: u64,
        until: Until,
        reopen: bool,
        mark: impl FnMut(),
        done: &AtomicU64,
    ) -> io::Result<Harvest> {
        if self.cpus.len() >= threads {
            pin(&self.cpus[thread..=thread])?;
        }
        // Without this the kernel may be 50 us late with the waits of an open loop.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
        let client = Client::new(links, catalogue, traffic, seed)?;
        let again = if reopen { self.targets } else { &[] };
        client.reopening(again, self.tls).run(until, mark, done)
    }

    fn connect(&self, count: usize) -> io::Result<Vec<Link>> {
        let connect = |at: usize| {
            let target = &self.targets[at % self.targets.len()];
            target
                .connect(self.tls)
                .map_err(|error| io::Error::new(error.kind(), format!("connecting to {target:?}: {error}")))
        };
        (0..count).map(connect).collect()
    }

    fn server_time(&self) -> Option<CpuTime> {
        process::cpu_time(self.pid?).ok()
    }
}

/// The part of `count` that falls to one of `threads`.
fn share(count: usize, threads: usize, thread: usize) -> usize {
    count / threads + usize::from(thread < count % threads)
}

fn show_progress(done: &AtomicU64, total: Duration, finished: impl Fn() -> bool) {
    let tick = Duration::from_millis(200);
    let bar = ProgressBar::new(total.as_millis() as u64);
    if bar.is_hidden() {
        return;
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    let start = Instant::now();
    let (mut before, mut before_at) = (0, start);
    while !finished() {
        thread::sleep(tick);
        let (now, requests) = (Instant::now(), done.load(Ordering::Relaxed));
        let rate = requests.saturating_sub(before) as f64 / (now - before_at).as_secs_f64();
        (before, before_at) = (requests, now);
        bar.set_position((now - start).as_millis() as u64);
        bar.set_message(format!("{:.0} thousand requests/s", rate / 1e3));
    }
    bar.finish_and_clear();
}
