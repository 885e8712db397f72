//! A long load of everything at once: all three dialects, TLS and datagrams where they are, clients who behave and check
//! every value they read, clients who misbehave, and those who watch, list and flush. In the end the server's memory,
//! descriptors and counters must be in balance.
//!
//! ```text
//!   start | everything, a fifth of the time | settled | everything | end | those who behave alone | audit
//!     a halt: all connections closed but one, statistics read, the process weighed
//! ```
//!
//! From the start to `settled` the server fills its memory and its buffers, so that it evicts; from there on it must not grow. Between `end`
//! and `audit` the clients count what the server counts, and each figure must be the same.

mod faults;
mod ledger;
mod observers;
mod reach;
pub(crate) mod sheet;
pub(crate) mod talk;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::compare::{Server, ServerCommand};
use crate::process;
use crate::target::Target;
use crate::tls::{self, Certificate};
use faults::Fault;
use ledger::{Ledger, Sums};
use reach::Reach;
use sheet::{Halt, Sheet, Statistics};
use talk::{Dialect, Talk};
use worker::Worker;

/// The part of the time, and the most of it, in which the server may still grow.
const SETTLING_SHARE: f64 = 0.2;
const SETTLING_MAX: Duration = Duration::from_secs(120);
/// How long the server may take to notice that its clients have gone.
const PARTING_MAX: Duration = Duration::from_secs(10);
/// How long it may take to clear away what was flushed.
const CLEARING_MAX: Duration = Duration::from_secs(40);
/// Batches of each worker in the audit.
const AUDIT_BATCHES: u64 = 200;
/// So many lies are enough.
const LIES_MAX: u64 = 100;

#[derive(Args)]
pub(crate) struct SoakArgs {
    /// A running server: HOST:PORT. It must be this machine's, and nobody else's.
    #[arg(
        long,
        short = 's',
        value_name = "ADDRESS",
        required_unless_present = "start",
        conflicts_with = "start"
    )]
    server: Option<SocketAddr>,
    /// The server's process; found from the address where /proc allows it.
    #[arg(long)]
    pid: Option<u32>,
    /// Start this server, and see how it ends. {port} stands for the port it is to listen on, {udp-port} for the same port
    /// where clients are to come by datagrams, too, and {tls-port} for another where they are to come by TLS. {cert} and
    /// {key} stand for the files of a certificate that is made for the occasion.
    #[arg(long, value_name = "COMMAND")]
    start: Option<String>,
    /// Where the running server speaks TLS.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "start")]
    tls_server: Option<SocketAddr>,
    /// Where the running server takes datagrams.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "start")]
    udp_server: Option<SocketAddr>,
    /// How long, without the halts.
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Start of the random numbers. Threads run as they may: the same seed is the same mixture, not the same soak.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keys that those who behave write; with values of 1.5 KB on average they should be more than the server can hold.
    #[arg(long, default_value_t = 60_000)]
    keys: u64,
    /// Clients who behave, per dialect.
    #[arg(long, default_value_t = 3)]
    workers: u64,
    /// Mean pause of each between two batches, in microseconds; 0 is as fast as it goes.
    #[arg(long, default_value_t = 1000)]
    pause_us: u64,
    /// Seconds between two lines of progress.
    #[arg(long, default_value_t = 10)]
    report_seconds: u64,
}

/// A soak under way.
struct Soak<'a> {
    args: &'a SoakArgs,
    ledger: Arc<Ledger>,
    plain: Reach,
    tls: Option<Reach>,
    udp: Option<SocketAddr>,
    pid: u32,
    control: Talk,
    /// Largest item that the server takes.
    item_size_max: usize,
    halts: Vec<Halt>,
}

pub(crate) fn soak(args: &SoakArgs) -> Result<bool, String> {
    if !(0.05..=10_000.0).contains(&args.minutes)
        || args.keys < 1000
        || args.workers == 0
        || args.report_seconds == 0
    {
        return Err("--minutes is from 0.05 to 10000, --keys at least 1000, --workers and --report-seconds at least 1".into());
    }
    crate::raise_file_limit();
    let say = |error: io::Error| error.to_string();
    let mut stage = Stage::set(args)?;
    let mut soak = Soak::new(args, &stage).map_err(say)?;
    let mut sheet = soak.run().map_err(say)?;
    let (halts, lies, complaints) = (soak.halts.clone(), soak.ledger.lies(), soak.ledger.complaints());
    drop(soak);
    if let Some(server) = stage.server.take() {
        let status = server.stop().map_err(say)?;
        let words = status.map_or("killed, as it did not end".into(), |status| status.to_string());
        sheet.check(
            status.is_some_and(|status| status.success()),
            format!("the server has ended: {words}"),
        );
    }
    sheet.check(
        lies == 0,
        format!("lies, refusals and broken conversations: {lies}"),
    );
    print!("{}", sheet.text(&halts));
    for complaint in &complaints {
        println!("! {complaint}");
    }
    println!(
        "{}",
        if sheet.is_balanced() {
            "in balance"
        } else {
            "NOT IN BALANCE"
        }
    );
    Ok(sheet.is_balanced())
}

/// What a soak runs on: addresses, and the server itself where it was started here.
struct Stage {
    address: SocketAddr,
    tls: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    pid: u32,
    server: Option<Server>,
    _certificate: Option<Certificate>,
}

impl Stage {
    fn set(args: &SoakArgs) -> Result<Stage, String> {
        let Some(command) = &args.start else {
            let address = args.server.ok_or("give --server or --start")?;
            let pid = args.pid.or_else(|| process::listener(&Target::Tcp(address)));
            return Ok(Stage {
                address,
                tls: args.tls_server,
                udp: args.udp_server,
                pid: pid.ok_or("give --pid: the server was not found")?,
                server: None,
                _certificate: None,
            });
        };
        let certificate = command.contains("{cert}").then(Certificate::new).transpose()?;
        let mut command = command.clone();
        if let Some(certificate) = &certificate {
            command = certificate.name_in(&command);
        }
        let mut tls = None;
        if command.contains("{tls-port}") {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let address = free.map_err(|error| error.to_string())?;
            command = command.replace("{tls-port}", &address.port().to_string());
            tls = Some(address);
        }
        let takes_datagrams = command.contains("{udp-port}");
        let command = command.replace("{udp-port}", "{port}");
        let server =
            Server::start(&ServerCommand::parse(&command)?, &[]).map_err(|error| error.to_string())?;
        Ok(Stage {
            address: server.address,
            tls,
            udp: takes_datagrams.then_some(server.address),
            pid: server.child.id(),
            server: Some(server),
            _certificate: certificate,
        })
    }
}

impl<'a> Soak<'a> {
    fn new(args: &'a SoakArgs, stage: &Stage) -> io::Result<Soak<'a>> {
        let ledger = Arc::new(Ledger::new(args.keys));
        let plain = Reach {
            ledger: ledger.clone(),
            address: stage.address,
            tls: None,
        };
        let tls = match stage.tls {
            None => None,
            Some(address) => {
                let config = tls::config(None).map_err(io::Error::other)?;
                Some(Reach {
                    address,
                    tls: Some(config),
                    ..plain.clone()
                })
            }
        };
        let mut control = plain.talk(Dialect::Classic)?;
        let mut item_size_max = 1 << 20;
        let mut line = control.command("stats settings")?;
        while line != "END" {
            if let Some(size) = line.strip_prefix("STAT item_size_max ") {
                item_size_max = size.parse().map_err(io::Error::other)?;
            }
            line = control.line()?;
        }
        Ok(Soak {
            args,
            ledger,
            plain,
            tls,
            udp: stage.udp,
            pid: stage.pid,
            control,
            item_size_max,
            halts: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<Sheet> {
        let mut sheet = Sheet::default();
        let whole = Duration::from_secs_f64(self.args.minutes * 60.0);
        let settling = whole.mul_f64(SETTLING_SHARE).min(SETTLING_MAX);
        self.halt("start")?;
        self.everything(settling, whole / 2, 0)?;
        self.halt("settled")?;
        let early = self.ledger.take_sums();
        self.everything(whole - settling, whole - settling, 1)?;
        self.forget(&mut sheet)?;
        self.halt("end")?;
        let late = self.ledger.take_sums();
        self.audit();
        self.halt("audit")?;
        let mut audited = self.ledger.take_sums();
        let [start, settled, end, audit] = &self.halts[..] else {
            return Err(io::Error::other("a halt is missing"));
        };
        audited.add("bytes_read", audit.control_sent - end.control_sent);
        audited.add("bytes_written", audit.control_received - end.control_received);
        for (before, after) in [(start, settled), (settled, end), (end, audit)] {
            sheet.compare(before, after);
            sheet.consistent(after);
        }
        sheet.weigh(settled, end);
        sheet.weigh(settled, audit);
        sheet.account(start, settled, &early, false);
        sheet.account(settled, end, &late, false);
        sheet.account(end, audit, &audited, true);
        self.exercised(&mut sheet, &late, end);
        Ok(sheet)
    }

    /// A soak in which nothing happened proves nothing.
    fn exercised(&self, sheet: &mut Sheet, sums: &Sums, end: &Halt) {
        for dialect in Dialect::ALL {
            sheet.exercised(
                &format!("questions in {}", dialect.name()),
                sums.of(dialect.name()),
            );
        }
        for fault in Fault::ALL {
            if fault != Fault::TlsNoise || self.tls.is_some() {
                sheet.exercised(fault.name(), sums.of(fault.name()));
            }
        }
        for name in ["readers of statistics", "watchers", "lists of all items"] {
            sheet.exercised(name, sums.of(name));
        }
        for name in [
            "get_hits",
            "get_misses",
            "get_expired",
            "cmd_flush",
            "evictions",
            "cas_badval",
            "touch_hits",
        ] {
            sheet.exercised(name, end.statistics.number(name));
        }
        if self.udp.is_some() {
            sheet.exercised("datagrams", sums.of("datagrams"));
        }
    }

    /// Those who misbehave, and where.
    fn culprits(&self) -> Vec<(Fault, &Reach)> {
        let mut all = Vec::new();
        for fault in Fault::ALL {
            match (&self.tls, fault) {
                (None, Fault::TlsNoise) => {}
                (Some(tls), Fault::TlsNoise) => all.push((fault, tls)),
                (Some(tls), Fault::SlowReader | Fault::HalfSent | Fault::Killed | Fault::Oversized) => {
                    all.extend([(fault, &self.plain), (fault, tls)]);
                }
                _ => all.push((fault, &self.plain)),
            }
        }
        all
    }

    /// Those who behave: the way, the dialect, and which keys are theirs.
    fn workers(&self) -> Vec<(&Reach, Dialect)> {
        let mut all = Vec::new();
        for dialect in Dialect::ALL {
            all.extend((0..self.args.workers).map(|_| (&self.plain, dialect)));
            all.extend(self.tls.iter().map(|tls| (tls, dialect)));
        }
        all
    }

    /// Everything at once for so long, or longer, until the memory has been full once.
    fn everything(&mut self, time: Duration, most: Duration, stage: u64) -> io::Result<()> {
        self.ledger.stop(false);
        let seed = self.args.seed.wrapping_mul(1000).wrapping_add(stage * 500);
        let pause = Duration::from_micros(self.args.pause_us);
        let ledger = self.ledger.clone();
        let plain = self.plain.clone();
        let (workers, culprits) = (self.workers(), self.culprits());
        let turns = workers.len() as u64;
        let largest = self.item_size_max;
        // What the clients have of their own: the control connection is this thread's.
        let workers: Vec<(Reach, Dialect)> = workers
            .into_iter()
            .map(|(reach, dialect)| (reach.clone(), dialect))
            .collect();
        let culprits: Vec<(Fault, Reach)> = culprits
            .into_iter()
            .map(|(fault, reach)| (fault, reach.clone()))
            .collect();
        let udp = self.udp;
        thread::scope(|scope| {
            for (turn, (reach, dialect)) in (0..).zip(&workers) {
                let worker = Worker::new(
                    &ledger,
                    reach,
                    *dialect,
                    (turn, turns),
                    seed + turn,
                    largest - 2048,
                );
                scope.spawn(move || worker.run(None, pause));
            }
            for (at, (fault, reach)) in (100..).zip(&culprits) {
                scope.spawn(move || faults::run(*fault, reach, seed + at, largest));
            }
            scope.spawn(|| observers::read_statistics(&plain));
            scope.spawn(|| observers::watch(&plain, seed + 200));
            scope.spawn(|| observers::dump(&plain, seed + 201));
            scope.spawn(|| observers::flush(&plain, seed + 202));
            if let Some(address) = udp {
                let ledger = &ledger;
                scope.spawn(move || observers::datagrams(ledger, address, seed + 203));
            }
            let outcome = self.report(time, most);
            ledger.stop(true);
            outcome
        })
    }

    /// Says from time to time how it goes, until the time is over.
    fn report(&mut self, time: Duration, most: Duration) -> io::Result<()> {
        let begin = Instant::now();
        let mut has_been_full = false;
        let (mut answered, mut said_at) = (self.ledger.answered.load(Ordering::Relaxed), begin);
        while self.ledger.lies() < LIES_MAX {
            let elapsed = begin.elapsed();
            if elapsed >= most || elapsed >= time && has_been_full {
                break;
            }
            thread::sleep(Duration::from_millis(200));
            let is_to_say = said_at.elapsed() >= Duration::from_secs(self.args.report_seconds);
            if !is_to_say && elapsed < time {
                continue;
            }
            let statistics = Statistics::read(&mut self.control)?;
            has_been_full |= statistics.number("evictions") > 0;
            if !is_to_say {
                continue;
            }
            let of = |name| statistics.number(name);
            let now = self.ledger.answered.load(Ordering::Relaxed);
            let rate = (now - answered) as f64 / said_at.elapsed().as_secs_f64();
            (answered, said_at) = (now, Instant::now());
            eprintln!(
                "{:>5.0} of {:.0} s: {rate:.0} questions/s, {} hits, {} misses, {} evictions, {} connections (of {}), {:.1} MiB, {} descriptors, {} lies",
                begin.elapsed().as_secs_f64(),
                time.as_secs_f64(),
                of("get_hits"),
                of("get_misses"),
                of("evictions"),
                of("curr_connections"),
                of("total_connections"),
                process::memory(self.pid)?.rss as f64 / 1048576.0,
                process::descriptors(self.pid)?,
                self.ledger.lies(),
            );
        }
        Ok(())
    }

    /// Those who behave alone, who count what they do.
    fn audit(&mut self) {
        self.ledger.stop(false);
        let (workers, largest) = (self.workers(), self.item_size_max);
        let (turns, seed) = (workers.len() as u64, self.args.seed.wrapping_mul(7919));
        let ledger = &*self.ledger;
        thread::scope(|scope| {
            for (turn, (reach, dialect)) in (0..).zip(workers) {
                let worker = Worker::new(ledger, reach, dialect, (turn, turns), seed + turn, largest - 2048);
                scope.spawn(move || worker.run(Some(AUDIT_BATCHES), Duration::ZERO));
            }
        });
        self.ledger.stop(true);
    }

    /// Flushes, and waits until nothing is left: not an item, not a byte. What those who were killed sent last may be on its
    /// way between cores when their connections are gone, and be stored after a flush: a second flush takes that, too.
    fn forget(&mut self, sheet: &mut Sheet) -> io::Result<()> {
        self.part()?;
        let left = |statistics: &Statistics| (statistics.number("curr_items"), statistics.number("bytes"));
        let mut last = (1, 1);
        for _ in 0..2 {
            if last != (0, 0) {
                self.flush()?;
                last = left(&self.wait(CLEARING_MAX, |statistics| left(statistics) == (0, 0))?);
            }
        }
        let (items, bytes) = last;
        sheet.equal("after a flush: items", items, 0);
        sheet.equal("after a flush: bytes of items", bytes, 0);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let control = &mut self.control;
        self.ledger.flush(|| match control.command("flush_all") {
            Ok(said) if said == "OK" => Ok(()),
            Ok(said) => Err(io::Error::other(format!("flush_all: {said}"))),
            Err(error) => Err(error),
        })
    }

    /// Reads the statistics until they are as wanted, for so long at most; the last that were read.
    fn wait(&mut self, most: Duration, is_right: impl Fn(&Statistics) -> bool) -> io::Result<Statistics> {
        let limit = Instant::now() + most;
        loop {
            let statistics = Statistics::read(&mut self.control)?;
            if is_right(&statistics) || Instant::now() > limit {
                return Ok(statistics);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// All clients have gone; waits until the server has noticed. What they sent last it may be about to store.
    fn part(&mut self) -> io::Result<()> {
        let alone = self
            .halts
            .first()
            .map(|first| first.statistics.number("curr_connections"));
        let is_alone = |statistics: &Statistics| {
            alone.is_none_or(|alone| statistics.number("curr_connections") == alone)
        };
        self.wait(PARTING_MAX, is_alone).map(drop)
    }

    /// Takes stock.
    fn halt(&mut self, name: &'static str) -> io::Result<()> {
        self.part()?;
        if name != "audit" {
            self.flush()?;
        }
        // When the server counts, the reply that holds the counts has not been written.
        let control_received = self.control.received;
        let statistics = Statistics::read(&mut self.control)?;
        self.halts.push(Halt {
            name,
            memory: process::memory(self.pid)?.rss,
            descriptors: process::descriptors(self.pid)?,
            threads: process::threads(self.pid)?,
            statistics,
            opened: self.ledger.opened.load(Ordering::SeqCst),
            control_sent: self.control.sent,
            control_received,
        });
        Ok(())
    }
}
