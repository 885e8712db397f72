//! Thousands who are connected and thousands who come and go, and what those who were there before notice of it.
//!
//! ```text
//!   quiet | idle connections are opened | crowd | storm: so many connects a second | the limit | all leave | after
//! ```
//!
//! In each phase the same steady traffic is measured, open loop. Comers connect from 127.0.0.2 and up, so that ports do
//! not run out; each asks one thing and closes, and some are gone, with a reset, before they asked or before the answer.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};
use serde::Serialize;

use crate::Cpus;
use crate::measure::{Bench, pin};
use crate::process::{self, Memory};
use crate::report::{Latency, Report};
use crate::soak::sheet::Statistics;
use crate::soak::talk::{Dialect, Talk};
use crate::target::{Target, ask_version};
use crate::workload::Workload;

/// Ports of one source address that are used before the next address is taken. From some five thousand on the kernel takes
/// milliseconds to find one more.
const PORTS_PER_ADDRESS: usize = 4_000;
/// Source addresses that comers use in turn. What they leave behind (TIME_WAIT) lasts for a minute.
const COMERS_ADDRESSES: u64 = 200;
/// How long one who is connected waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many knock above the limit.
const ABOVE_LIMIT: usize = 200;
/// How much less urgent the comers are than the steady traffic, whose latency is measured on the same CPUs.
const COMERS_NICE: i32 = 10;
/// How far the rate of comers may fall short.
const RATE_MIN: f64 = 0.95;
/// How long the server may take to let go of those who have left.
const PARTING_MAX: Duration = Duration::from_secs(30);

#[derive(Args)]
pub(crate) struct StormArgs {
    /// Where the server listens: a loopback address of IPv4. Its limit (-c) must have room for all that is asked for here.
    #[arg(long, short = 's', value_name = "ADDRESS")]
    server: SocketAddrV4,
    /// The server's process; found from the address where /proc allows it.
    #[arg(long)]
    pid: Option<u32>,
    /// CPUs for the client itself; the server should have others.
    #[arg(long, default_value = "", value_parser = crate::parse_cpus, value_name = "LIST")]
    cpus: Cpus,
    /// Connections of the steady traffic.
    #[arg(long, default_value_t = 50)]
    steady: usize,
    /// Requests per second of the steady traffic; a tenth are sets.
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    /// Connections that are opened and do nothing.
    #[arg(long, default_value_t = 10_000)]
    idle: usize,
    /// Connects per second in the storm.
    #[arg(long, default_value_t = 2000.0)]
    connects: f64,
    /// Seconds of storm.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Seconds of quiet, measured before, and of the crowd without the storm.
    #[arg(long, default_value_t = 15.0)]
    quiet_seconds: f64,
    /// Threads that connect.
    #[arg(long, default_value_t = 4)]
    threads: usize,
    /// How much larger the p99 of the steady traffic may become.
    #[arg(long, default_value_t = 2.0)]
    p99_factor: f64,
    /// How much more memory the server may hold in the end, in MiB.
    #[arg(long, default_value_t = 8.0)]
    memory_slack: f64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// The server, with no client but the one who asks.
#[derive(Clone, Copy, Serialize)]
struct Weight {
    memory: Memory,
    descriptors: u64,
    connections: u64,
    /// Counted by the server, those it turned away among them.
    connections_total: u64,
}

/// What the comers have met.
#[derive(Serialize)]
struct Comers {
    per_second: f64,
    connected: u64,
    answered: u64,
    /// Gone before they asked, or before the answer.
    aborted: u64,
    failed: u64,
    /// From before the connect to the answer.
    latency_us: Option<Latency>,
    complaint: Option<String>,
}

#[derive(Serialize)]
struct Outcome {
    idle: usize,
    seconds_to_open_them: f64,
    quiet: Report,
    crowd: Report,
    storm: Report,
    comers: Comers,
    /// Who knocked above the limit, and who of them was told so and turned away.
    above_limit: usize,
    turned_away: usize,
    before: Weight,
    crowded: Weight,
    after: Weight,
    /// What is wrong, if anything.
    wrong: Vec<String>,
}

pub(crate) fn storm(args: &StormArgs) -> Result<bool, String> {
    let say = |error: io::Error| error.to_string();
    if !args.server.ip().is_loopback() {
        return Err("--server must be a loopback address: comers connect from many".into());
    }
    if args.steady == 0
        || args.threads == 0
        || args.idle > 60_000
        || !(1.0..=100_000.0).contains(&args.connects)
    {
        return Err(
            "--steady and --threads at least 1, --idle at most 60000, --connects from 1 to 100000".into(),
        );
    }
    crate::raise_file_limit();
    pin(&args.cpus.0).map_err(say)?;
    let target = Target::Tcp(SocketAddr::V4(args.server));
    let pid = args
        .pid
        .or_else(|| process::listener(&target))
        .ok_or("give --pid: the server was not found")?;
    let outcome = measure(args, target, pid).map_err(say)?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&outcome).map_err(|error| error.to_string())?
        );
    } else {
        print(&outcome);
    }
    Ok(outcome.wrong.is_empty())
}

fn measure(args: &StormArgs, target: Target, pid: u32) -> io::Result<Outcome> {
    let targets = [target];
    let bench = Bench {
        targets: &targets,
        pid: Some(pid),
        cpus: &args.cpus.0,
        progress: false,
        tls: None,
    };
    let steady = |seconds: f64| {
        let (connections, rate) = (args.steady, args.rate);
        Workload::parse(&format!(
            "--connections {connections} --rate {rate} --pipeline 16 --keys 10000 --set-share 0.1 --warm-up 1 --seconds {seconds}"
        ))
        .map_err(io::Error::other)
    };
    let quiet = steady(args.quiet_seconds)?;
    let catalogue = quiet.catalogue().map_err(io::Error::other)?;
    bench.prefill(&quiet, &catalogue)?;
    let mut control = Talk::new(
        Dialect::Classic,
        Box::new(open(args.server, Ipv4Addr::LOCALHOST)?),
    );
    let opened = AtomicU64::new(1);
    let steady_opened = || opened.fetch_add(args.steady as u64, Ordering::SeqCst);

    eprintln!("quiet");
    steady_opened();
    let quiet_report = bench.run(&quiet, &catalogue)?;
    let before = weigh(pid, &mut control, Some(1))?;
    let opened_before = opened.load(Ordering::SeqCst);

    eprintln!("{} connections", args.idle);
    let began = Instant::now();
    let mut idle = Vec::with_capacity(args.idle);
    for at in 0..args.idle {
        let last = 1 + (at / PORTS_PER_ADDRESS) as u8;
        idle.push(open(args.server, Ipv4Addr::new(127, 0, 1, last))?);
        opened.fetch_add(1, Ordering::SeqCst);
    }
    let seconds_to_open_them = began.elapsed().as_secs_f64();
    steady_opened();
    let crowd = bench.run(&quiet, &catalogue)?;
    let crowded = weigh(pid, &mut control, None)?;

    eprintln!("storm");
    steady_opened();
    let storm = steady(args.seconds)?;
    let stop = AtomicBool::new(false);
    let (report, comers) = thread::scope(|scope| {
        let all: Vec<_> = (0..args.threads)
            .map(|at| {
                scope.spawn({
                    let (stop, opened) = (&stop, &opened);
                    move || come_and_go(args, at, stop, opened)
                })
            })
            .collect();
        let report = bench.run(&storm, &catalogue);
        stop.store(true, Ordering::SeqCst);
        let all: io::Result<Vec<Came>> = all
            .into_iter()
            .map(|handle| {
                handle
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a comer has panicked")))
            })
            .collect();
        (report, all)
    });
    let (storm_report, comers) = (report?, Comers::of(comers?));

    eprintln!("limit");
    let (above_limit, turned_away, inside) = knock(args, &mut control, &opened)?;
    let mut wrong = Vec::new();
    for (at, socket) in idle.iter().enumerate() {
        if let Err(error) = ask_version(socket) {
            wrong.push(format!(
                "connection {at} of the crowd is not served any more: {error}"
            ));
            break;
        }
    }
    drop(inside);
    drop(idle);
    let after = weigh(pid, &mut control, Some(before.connections))?;
    let counted = after.connections_total - before.connections_total;
    let outcome = Outcome {
        idle: args.idle,
        seconds_to_open_them,
        quiet: quiet_report,
        crowd,
        storm: storm_report,
        comers,
        above_limit,
        turned_away,
        before,
        crowded,
        after,
        wrong,
    };
    Ok(outcome.judged(args, counted, opened.load(Ordering::SeqCst) - opened_before))
}

impl Outcome {
    /// Says what is wrong.
    fn judged(mut self, args: &StormArgs, counted: u64, opened: u64) -> Outcome {
        let mut wrong = std::mem::take(&mut self.wrong);
        let mut check = |is_right: bool, what: String| {
            if !is_right {
                wrong.push(what);
            }
        };
        for (name, report) in [
            ("quiet", &self.quiet),
            ("crowd", &self.crowd),
            ("storm", &self.storm),
        ] {
            check(
                report.is_clean(0),
                format!(
                    "{name}: {} errors, {} mismatches",
                    report.errors, report.mismatches
                ),
            );
            check(
                report.overdue < 100,
                format!("{name}: {} steady requests were never sent", report.overdue),
            );
        }
        let (quiet, storm) = (p99(&self.quiet), p99(&self.storm));
        check(
            storm <= quiet * args.p99_factor,
            format!("p99 of the steady traffic {quiet:.0} us in quiet, {storm:.0} us in the storm"),
        );
        let Comers {
            per_second,
            failed,
            complaint,
            ..
        } = &self.comers;
        check(
            *failed == 0,
            format!("{failed} comers have failed: {complaint:?}"),
        );
        check(
            *per_second >= args.connects * RATE_MIN,
            format!("{per_second:.0} came per second, {:.0} were to", args.connects),
        );
        let (above, away) = (self.above_limit, self.turned_away);
        check(
            above == away,
            format!("{above} knocked above the limit, {away} were turned away"),
        );
        let (before, after) = (&self.before, &self.after);
        check(
            before.descriptors == after.descriptors && before.connections == after.connections,
            format!(
                "descriptors {} before, {} after; connections {}, {}",
                before.descriptors, after.descriptors, before.connections, after.connections
            ),
        );
        let mib = |memory: &Memory| memory.private as f64 / 1048576.0;
        check(
            mib(&after.memory) <= mib(&before.memory) + args.memory_slack,
            format!(
                "memory {:.1} MiB before, {:.1} MiB after",
                mib(&before.memory),
                mib(&after.memory)
            ),
        );
        check(
            counted == opened,
            format!("the server has counted {counted} connections, {opened} were opened"),
        );
        self.wrong = wrong;
        self
    }
}

fn p99(report: &Report) -> f64 {
    report
        .latency_us
        .as_ref()
        .map_or(f64::INFINITY, |latency| latency.p99)
}

fn print(outcome: &Outcome) {
    println!(
        "{:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>12} {:>12} {:>12}",
        "us", "p50", "p90", "p99", "p99.9", "max", "server CPU", "client CPU", "client waits"
    );
    for (name, report) in [
        ("quiet", &outcome.quiet),
        ("crowd", &outcome.crowd),
        ("storm", &outcome.storm),
    ] {
        let Some(l) = &report.latency_us else { continue };
        let server = report
            .server_cpu
            .as_ref()
            .map_or(f64::NAN, |cpu| cpu.cores * 100.0);
        let client = &report.client_cpu;
        println!(
            "{name:<10} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {server:>10.0} % {:>10.0} % {:>10.0} %",
            l.p50,
            l.p90,
            l.p99,
            l.p99_9,
            l.max,
            client.cores * 100.0,
            client.waited * 100.0
        );
    }
    let comers = &outcome.comers;
    if let Some(l) = &comers.latency_us {
        println!(
            "{:<10} {:>10.0} {:>10.0} {:>10.0} {:>10.0} {:>10.0}",
            "comers", l.p50, l.p90, l.p99, l.p99_9, l.max
        );
    }
    println!(
        "\n{} connections opened in {:.2} s; {:.0} comers per second: {} connected, {} answered, {} aborted, {} failed",
        outcome.idle,
        outcome.seconds_to_open_them,
        comers.per_second,
        comers.connected,
        comers.answered,
        comers.aborted,
        comers.failed
    );
    println!(
        "{} knocked above the limit, {} were turned away",
        outcome.above_limit, outcome.turned_away
    );
    for (name, weight) in [
        ("before", outcome.before),
        ("crowd", outcome.crowded),
        ("after", outcome.after),
    ] {
        println!(
            "{name:<10} {:>8.1} MiB private, {:>6} descriptors, {:>6} connections",
            weight.memory.private as f64 / 1048576.0,
            weight.descriptors,
            weight.connections
        );
    }
    for wrong in &outcome.wrong {
        println!("WRONG {wrong}");
    }
    println!("{}", if outcome.wrong.is_empty() { "ok" } else { "NOT OK" });
}

/// A connection from this address.
fn open(server: SocketAddrV4, from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(from, 0))?;
    connect(&socket, &server)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What one thread of comers has met.
struct Came {
    latencies: Histogram<u64>,
    connected: u64,
    answered: u64,
    aborted: u64,
    failed: u64,
    complaint: Option<String>,
    seconds: f64,
}

impl Comers {
    fn of(all: Vec<Came>) -> Comers {
        let mut latencies = histogram();
        let sum = |figure: fn(&Came) -> u64| all.iter().map(figure).sum();
        for came in &all {
            latencies.add(&came.latencies).expect("both have the same bounds");
        }
        Comers {
            per_second: all.iter().map(|came| came.connected as f64 / came.seconds).sum(),
            connected: sum(|came| came.connected),
            answered: sum(|came| came.answered),
            aborted: sum(|came| came.aborted),
            failed: sum(|came| came.failed),
            latency_us: Latency::of(&latencies),
            complaint: all.iter().find_map(|came| came.complaint.clone()),
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("the bounds are valid")
}

/// Connects by the clock until it is told to stop, whatever becomes of it.
fn come_and_go(args: &StormArgs, thread: usize, stop: &AtomicBool, opened: &AtomicU64) -> io::Result<Came> {
    rustix::process::nice(COMERS_NICE)?;
    let gap = Duration::from_secs_f64(args.threads as f64 / args.connects);
    let mut came = Came {
        latencies: histogram(),
        connected: 0,
        answered: 0,
        aborted: 0,
        failed: 0,
        complaint: None,
        seconds: 0.0,
    };
    let began = Instant::now();
    let mut due = began + gap.mul_f64(thread as f64 / args.threads as f64);
    let mut number = thread as u64;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < due {
            thread::sleep(due - now);
        }
        due += gap;
        number += args.threads as u64;
        let from = Ipv4Addr::new(127, 0, 0, 2 + (number % COMERS_ADDRESSES) as u8);
        let start = Instant::now();
        let outcome = open(args.server, from).and_then(|stream| {
            came.connected += 1;
            opened.fetch_add(1, Ordering::SeqCst);
            visit(stream, number)
        });
        match outcome {
            Ok(true) => {
                came.answered += 1;
                came.latencies
                    .saturating_record(start.elapsed().as_nanos() as u64);
            }
            Ok(false) => came.aborted += 1,
            Err(error) => {
                came.failed += 1;
                came.complaint.get_or_insert_with(|| error.to_string());
            }
        }
    }
    came.seconds = began.elapsed().as_secs_f64();
    Ok(came)
}

/// One visit. False if it was cut short on purpose.
fn visit(mut stream: TcpStream, number: u64) -> io::Result<bool> {
    let reset = |stream: &TcpStream| sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    if number.is_multiple_of(11) {
        reset(&stream)?;
        return Ok(false);
    }
    stream.write_all(format!("get nobody:{number}\r\n").as_bytes())?;
    if number.is_multiple_of(7) {
        reset(&stream)?;
        return Ok(false);
    }
    let mut reply = [0; 5];
    stream.read_exact(&mut reply)?;
    if reply != *b"END\r\n" {
        return Err(io::Error::other(format!("{:?}", String::from_utf8_lossy(&reply))));
    }
    Ok(true)
}

/// Fills the server up to its limit and knocks some times more: how often, how often it was turned away, and those who
/// are inside.
fn knock(
    args: &StormArgs,
    control: &mut Talk,
    opened: &AtomicU64,
) -> io::Result<(usize, usize, Vec<TcpStream>)> {
    // Those of the storm have left; the server may be about to notice.
    let connections = args.idle as u64 + 1;
    let statistics = wait_for(control, Some(connections))?;
    let room = statistics
        .number("max_connections")
        .saturating_sub(statistics.number("curr_connections"));
    let (mut turned_away, mut inside) = (0, Vec::new());
    for at in 0..room as usize + ABOVE_LIMIT {
        let last = 1 + (at / PORTS_PER_ADDRESS) as u8;
        let mut stream = open(args.server, Ipv4Addr::new(127, 0, 2, last))?;
        opened.fetch_add(1, Ordering::SeqCst);
        if (at as u64) < room {
            inside.push(stream);
            continue;
        }
        let mut said = String::new();
        match stream.read_to_string(&mut said) {
            Ok(_) if said == "ERROR Too many open connections\r\n" => turned_away += 1,
            _ => inside.push(stream),
        }
    }
    let now = Statistics::read(control)?;
    if now.number("curr_connections") > now.number("max_connections") {
        return Err(io::Error::other(
            "there are more connections than the limit allows",
        ));
    }
    Ok((ABOVE_LIMIT, turned_away, inside))
}

/// Reads the statistics until there are so many connections, or for a while.
fn wait_for(control: &mut Talk, connections: Option<u64>) -> io::Result<Statistics> {
    let limit = Instant::now() + PARTING_MAX;
    loop {
        let statistics = Statistics::read(control)?;
        let is_there = connections.is_none_or(|wanted| statistics.number("curr_connections") == wanted);
        if is_there || Instant::now() > limit {
            return Ok(statistics);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn weigh(pid: u32, control: &mut Talk, connections: Option<u64>) -> io::Result<Weight> {
    let statistics = wait_for(control, connections)?;
    let of = |name| statistics.number(name);
    Ok(Weight {
        memory: process::memory(pid)?,
        descriptors: process::descriptors(pid)?,
        connections: of("curr_connections"),
        connections_total: of("total_connections") + of("rejected_connections"),
    })
}
