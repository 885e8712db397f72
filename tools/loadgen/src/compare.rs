//! Several servers, measured in turn and round robin, so that what disturbs the machine disturbs all of them.
//!
//! In each round each server is started afresh, pinned to its CPUs, and all workloads are run against it one after the
//! other (a workload's keys are set first, unless the one before it has left the very same data); then it is stopped.
//! Figures are medians over the rounds, ratios are against the first server.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde::Serialize;

use crate::Cpus;
use crate::measure::{Bench, pin};
use crate::report::Report;
use crate::target::Target;
use crate::tls::{self, Certificate};
use crate::workload::{Named, SUITE};

/// How long a server may take to answer its first request, and to end after SIGTERM.
const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {cpus} for --server-cpus.
    /// Words are split at blanks; no shell is involved. The first server is what the others are compared with.
    /// With tls: before it, clients speak TLS with it; {cert} and {key} stand for the files of a certificate that is made
    /// for the occasion.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// A workload: NAME: OPTIONS, with the traffic options of `run` (its times are set by --seconds and --warm-up here).
    #[arg(long = "workload", short = 'w', value_name = "NAME: OPTIONS")]
    workloads: Vec<String>,
    /// The workloads of a suite: issue2 (gets, pipelines, multi-gets, sets, 16 KiB values).
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Only the workloads with these names.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Times that each server is started and measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds measured per workload.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of warm-up per workload.
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// CPUs of the servers, as 0 or 0-3.
    #[arg(long, default_value = "0", value_parser = crate::parse_cpus, value_name = "LIST")]
    server_cpus: Cpus,
    /// CPUs of the client; they must be others.
    #[arg(long, default_value = "1", value_parser = crate::parse_cpus, value_name = "LIST")]
    client_cpus: Cpus,
    /// Allow common CPUs of servers and client (the figures then say little).
    #[arg(long)]
    share_cpus: bool,
    /// Print the result as JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Also write the result as JSON to this file, every round in it.
    #[arg(long, value_name = "FILE")]
    json_file: Option<std::path::PathBuf>,
}

/// One server's figures for one workload.
#[derive(Serialize)]
struct Row {
    server: String,
    median: Medians,
    /// This server's median over the first server's.
    ratio: Ratios,
    rounds: Vec<Report>,
}

#[derive(Clone, Serialize)]
struct Medians {
    server_us_per_request: f64,
    /// Lowest and highest of the rounds: what a difference must exceed to mean something.
    server_us_per_request_range: (f64, f64),
    server_us_per_key: f64,
    server_cores: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    client_us_per_request: f64,
    client_cores: f64,
    /// See [`crate::report::Cpu::waited`]: server and client together.
    waited: f64,
    misses: u64,
    errors: u64,
    mismatches: u64,
}

#[derive(Serialize)]
struct Ratios {
    server_us_per_request: f64,
    requests_per_second: f64,
    p50: f64,
    p99: f64,
}

#[derive(Serialize)]
struct Outcome {
    name: String,
    options: String,
    servers: Vec<Row>,
}

#[derive(Serialize)]
struct Comparison<'a> {
    rounds: usize,
    seconds: f64,
    server_cpus: &'a [usize],
    client_cpus: &'a [usize],
    servers: Vec<ServerSaid>,
    workloads: Vec<Outcome>,
}

#[derive(Clone, Serialize)]
struct ServerSaid {
    name: String,
    command: String,
    version: String,
}

pub(crate) fn compare(args: &CompareArgs) -> Result<bool, String> {
    let workloads = chosen_workloads(args)?;
    let certificate = args.servers.iter().any(|text| text.contains("{cert}"));
    let certificate = certificate.then(Certificate::new).transpose()?;
    let commands = args
        .servers
        .iter()
        .map(|text| match &certificate {
            Some(certificate) => ServerCommand::parse(&certificate.name_in(text)),
            None => ServerCommand::parse(text),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if args.rounds == 0 {
        return Err("--rounds must be at least 1".into());
    }
    check_cpus(&args.server_cpus, &args.client_cpus, args.share_cpus)?;
    crate::raise_file_limit();
    pin(&args.client_cpus.0).map_err(|error| format!("--client-cpus: {error}"))?;
    // reports[workload][server]: one report per round.
    let mut reports: Vec<Vec<Vec<Report>>> = workloads
        .iter()
        .map(|_| commands.iter().map(|_| vec![]).collect())
        .collect();
    let mut said: Vec<ServerSaid> = commands.iter().map(ServerCommand::describe).collect();
    for round in 0..args.rounds {
        for (at, command) in commands.iter().enumerate() {
            let fail = |error: io::Error| format!("{}: {error}", command.name);
            let server = Server::start(command, &args.server_cpus.0).map_err(fail)?;
            said[at].version.clone_from(&server.version);
            let mut data = None;
            for (which, named) in workloads.iter().enumerate() {
                let report =
                    measure(&server, named, &args.client_cpus.0, &mut data, round as u64).map_err(fail)?;
                eprintln!(
                    "round {} {} {}: {}",
                    round + 1,
                    command.name,
                    named.name,
                    brief(&report)
                );
                for complaint in &report.complaints {
                    eprintln!("  ! {complaint}");
                }
                reports[which][at].push(report);
            }
            server.stop().map_err(fail)?;
        }
    }
    let outcomes: Vec<Outcome> = workloads
        .iter()
        .zip(reports)
        .map(|(named, runs)| outcome(named, &said, runs))
        .collect();
    let clean = workloads.iter().zip(&outcomes).all(|(named, outcome)| {
        let mut rounds = outcome.servers.iter().flat_map(|row| &row.rounds);
        rounds.all(|report| report.is_clean(named.workload.errors_allowed))
    });
    let comparison = Comparison {
        rounds: args.rounds,
        seconds: args.seconds,
        server_cpus: &args.server_cpus.0,
        client_cpus: &args.client_cpus.0,
        servers: said,
        workloads: outcomes,
    };
    if let Some(path) = &args.json_file {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::to_writer_pretty(file, &comparison).map_err(|error| error.to_string())?;
    }
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&comparison).map_err(|error| error.to_string())?
        );
    } else {
        print!("{}", markdown(&comparison));
    }
    Ok(clean)
}

/// Servers and client have CPUs of their own, unless the user wants it otherwise.
pub(crate) fn check_cpus(servers: &Cpus, client: &Cpus, may_share: bool) -> Result<(), String> {
    if !may_share && servers.0.iter().any(|cpu| client.0.contains(cpu)) {
        return Err(
            "servers and client must not share CPUs: --server-cpus, --client-cpus, or --share-cpus".into(),
        );
    }
    Ok(())
}

fn chosen_workloads(args: &CompareArgs) -> Result<Vec<Named>, String> {
    let suite: &[&str] = match args.suite.as_deref() {
        None => &[],
        Some("issue2") => &SUITE,
        Some(other) => return Err(format!("there is no suite {other:?}; there is issue2")),
    };
    let texts = suite
        .iter()
        .copied()
        .chain(args.workloads.iter().map(String::as_str));
    let mut workloads = texts.map(Named::parse).collect::<Result<Vec<_>, _>>()?;
    if let Some(missing) = args
        .only
        .iter()
        .find(|name| !workloads.iter().any(|named| named.name == **name))
    {
        let names: Vec<&str> = workloads.iter().map(|named| &*named.name).collect();
        return Err(format!("--only {missing}: there are {}", names.join(", ")));
    }
    workloads.retain(|named| args.only.is_empty() || args.only.contains(&named.name));
    for named in &mut workloads {
        (named.workload.seconds, named.workload.warm_up) = (args.seconds, args.warm_up);
        named.workload.check()?;
    }
    if workloads.is_empty() {
        return Err("give --suite issue2 or a --workload".into());
    }
    Ok(workloads)
}

/// What is in the server: see [`crate::workload::Workload::data`].
type Data = Option<(
    u64,
    crate::distribution::SizeLaw,
    crate::distribution::SizeLaw,
    u32,
)>;

fn measure(
    server: &Server,
    named: &Named,
    cpus: &[usize],
    data: &mut Data,
    round: u64,
) -> io::Result<Report> {
    let catalogue = named.workload.catalogue().map_err(io::Error::other)?;
    let targets = [Target::Tcp(server.address)];
    let bench = Bench {
        targets: &targets,
        pid: Some(server.child.id()),
        cpus,
        progress: false,
        tls: server.tls.as_ref(),
    };
    let mut workload = named.workload.clone();
    workload.seed = workload.seed.wrapping_add(round * 1000);
    if *data != Some(workload.data()) {
        bench.prefill(&workload, &catalogue)?;
        *data = Some(workload.data());
    }
    bench.run(&workload, &catalogue)
}

/// A command line with its name.
#[derive(Clone)]
pub(crate) struct ServerCommand {
    pub(crate) name: String,
    /// There for one with whom clients speak TLS.
    tls: Option<Arc<ClientConfig>>,
    pub(crate) words: Vec<String>,
}

impl ServerCommand {
    pub(crate) fn parse(text: &str) -> Result<ServerCommand, String> {
        let (tls, text) = match text.strip_prefix("tls:") {
            Some(rest) => (Some(tls::config(None)?), rest),
            None => (None, text),
        };
        let (name, command) = match text.split_once('=') {
            Some((name, command)) if !name.contains(|c: char| c.is_whitespace() || c == '/') => {
                (Some(name), command)
            }
            _ => (None, text),
        };
        let words: Vec<String> = command.split_whitespace().map(str::to_string).collect();
        let program = words.first().ok_or("an empty server command")?;
        if !command.contains("{port}") {
            return Err(format!("{text:?} does not say where {{port}} belongs"));
        }
        let name = name
            .unwrap_or_else(|| program.rsplit('/').next().unwrap_or(program))
            .to_string();
        Ok(ServerCommand { name, tls, words })
    }

    /// This command, with so many megabytes for its `{megabytes}`.
    pub(crate) fn with_megabytes(&self, megabytes: u64) -> ServerCommand {
        let mut command = self.clone();
        for word in &mut command.words {
            *word = word.replace("{megabytes}", &megabytes.to_string());
        }
        command
    }

    /// Whether it leaves its memory to the caller.
    pub(crate) fn takes_megabytes(&self) -> bool {
        self.words.iter().any(|word| word.contains("{megabytes}"))
    }

    fn describe(&self) -> ServerSaid {
        ServerSaid {
            name: self.name.clone(),
            command: self.words.join(" "),
            version: String::new(),
        }
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) version: String,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Server {
    pub(crate) fn start(command: &ServerCommand, cpus: &[usize]) -> io::Result<Server> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let list = cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let words: Vec<String> = command
            .words
            .iter()
            .map(|word| word.replace("{port}", &port.to_string()).replace("{cpus}", &list))
            .collect();
        let mut start = Command::new(&words[0]);
        start.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        // A child has the CPUs of the thread that starts it: a thread of its own, so that the client keeps its CPUs.
        let spawn = || pin(cpus).and_then(|()| start.spawn());
        let child = thread::scope(|scope| scope.spawn(spawn).join())
            .unwrap_or_else(|_| Err(io::Error::other("the starting thread has panicked")))
            .map_err(|error| {
                io::Error::new(error.kind(), format!("starting {}: {error}", words.join(" ")))
            })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Server {
            child,
            address,
            version: String::new(),
            tls: command.tls.clone(),
        };
        let limit = Instant::now() + START_MAX;
        loop {
            match Target::Tcp(address).version(command.tls.as_ref()) {
                Ok(version) => {
                    server.version = version;
                    return Ok(server);
                }
                Err(error) if Instant::now() > limit => {
                    return Err(io::Error::other(format!(
                        "does not answer on port {port}: {error}"
                    )));
                }
                Err(_) => {}
            }
            if let Some(status) = server.child.try_wait()? {
                return Err(io::Error::other(format!("has ended by itself: {status}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A number of its general statistics.
    pub(crate) fn statistic(&self, name: &str) -> io::Result<u64> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"stats\r\n")?;
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let mut words = line.split_whitespace().skip(1);
            match (words.next(), words.next().map(str::parse)) {
                (Some(word), Some(Ok(number))) if word == name => return Ok(number),
                (None, _) => break,
                _ => {}
            }
        }
        Err(io::Error::other(format!("its statistics name no {name}")))
    }

    /// SIGTERM, and SIGKILL to what is still there after five seconds. How it has ended, if by itself.
    pub(crate) fn stop(mut self) -> io::Result<Option<ExitStatus>> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let limit = Instant::now() + STOP_MAX;
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(10));
        }
        eprintln!(
            "pid {} has ignored SIGTERM for {} s: killed",
            self.child.id(),
            STOP_MAX.as_secs()
        );
        Ok(None)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only for a child that has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn outcome(named: &Named, servers: &[ServerSaid], runs: Vec<Vec<Report>>) -> Outcome {
    let medians: Vec<Medians> = runs.iter().map(|rounds| Medians::of(rounds)).collect();
    let base = medians[0].clone();
    let rows = servers
        .iter()
        .zip(runs)
        .zip(medians)
        .map(|((server, rounds), median)| Row {
            server: server.name.clone(),
            ratio: Ratios {
                server_us_per_request: median.server_us_per_request / base.server_us_per_request,
                requests_per_second: median.requests_per_second / base.requests_per_second,
                p50: median.p50_us / base.p50_us,
                p99: median.p99_us / base.p99_us,
            },
            median,
            rounds,
        });
    Outcome {
        name: named.name.clone(),
        options: named.words.clone(),
        servers: rows.collect(),
    }
}

impl Medians {
    fn of(rounds: &[Report]) -> Medians {
        let of = |figure: fn(&Report) -> f64| median(rounds.iter().map(figure).collect());
        let server_us = |report: &Report| {
            report
                .server_cpu
                .as_ref()
                .map_or(f64::NAN, |cpu| cpu.us_per_request)
        };
        let all = rounds.iter().map(server_us);
        Medians {
            server_us_per_request: of(server_us),
            server_us_per_request_range: (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max)),
            server_us_per_key: of(|report| report.server_cpu.as_ref().map_or(f64::NAN, |cpu| cpu.us_per_key)),
            server_cores: of(|report| report.server_cpu.as_ref().map_or(f64::NAN, |cpu| cpu.cores)),
            requests_per_second: of(|report| report.requests_per_second),
            p50_us: of(|report| report.latency_us.as_ref().map_or(f64::NAN, |latency| latency.p50)),
            p99_us: of(|report| report.latency_us.as_ref().map_or(f64::NAN, |latency| latency.p99)),
            client_us_per_request: of(|report| report.client_cpu.us_per_request),
            client_cores: of(|report| report.client_cpu.cores),
            waited: of(|report| {
                report.client_cpu.waited + report.server_cpu.as_ref().map_or(0.0, |cpu| cpu.waited)
            }),
            misses: rounds.iter().map(|report| report.misses).sum(),
            errors: rounds.iter().map(|report| report.errors).sum(),
            mismatches: rounds.iter().map(|report| report.mismatches).sum(),
        }
    }
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        (figures[middle - 1] + figures[middle]) / 2.0
    }
}

fn brief(report: &Report) -> String {
    let cpu = report.server_cpu.as_ref();
    let latency = report.latency_us.as_ref();
    format!(
        "{:.3} us/request, {:.0} requests/s, p99 {:.0} us, server {:.0} %, client {:.0} %, {} misses, {} errors, {} mismatches",
        cpu.map_or(f64::NAN, |cpu| cpu.us_per_request),
        report.requests_per_second,
        latency.map_or(f64::NAN, |latency| latency.p99),
        cpu.map_or(f64::NAN, |cpu| cpu.cores * 100.0),
        report.client_cpu.cores * 100.0,
        report.misses,
        report.errors,
        report.mismatches,
    )
}

fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Medians of {} rounds of {} s; servers on CPU {:?}, client on CPU {:?}; ratios against the first server.\n",
        comparison.rounds, comparison.seconds, comparison.server_cpus, comparison.client_cpus
    );
    for server in &comparison.servers {
        let _ = writeln!(
            text,
            "- {}: version {}, `{}`",
            server.name, server.version, server.command
        );
    }
    text.push_str(
        "\n| workload | server | server us/request (range) | ratio | requests/s | ratio | p50 us | p99 us | server busy | \
         client busy | waited for CPU | client us/request | misses | errors | mismatches |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for outcome in &comparison.workloads {
        for row in &outcome.servers {
            let m = &row.median;
            let (low, high) = m.server_us_per_request_range;
            let keys = if m.server_us_per_key < m.server_us_per_request * 0.999 {
                format!("; {:.3} per key", m.server_us_per_key)
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "| {} | {} | {:.3} ({low:.3}-{high:.3}){keys} | {:.2} | {:.0} | {:.2} | {:.1} | {:.1} | {:.0} % | {:.0} % | {:.0} % | {:.3} | {} | {} | {} |",
                outcome.name,
                row.server,
                m.server_us_per_request,
                row.ratio.server_us_per_request,
                m.requests_per_second,
                row.ratio.requests_per_second,
                m.p50_us,
                m.p99_us,
                m.server_cores * 100.0,
                m.client_cores * 100.0,
                m.waited * 100.0,
                m.client_us_per_request,
                m.misses,
                m.errors,
                m.mismatches,
            );
        }
    }
    text.push_str("\nWorkloads:\n\n");
    for outcome in &comparison.workloads {
        let _ = writeln!(text, "- {}: `{}`", outcome.name, outcome.options);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_server_command_has_a_name_and_a_port() {
        let command = ServerCommand::parse("mc=memcached -p {port} -o a=b").expect("parses");
        assert_eq!((&*command.name, command.words.len()), ("mc", 5));
        let command = ServerCommand::parse("/usr/bin/memcached --port={port}").expect("parses");
        assert_eq!(
            (&*command.name, &*command.words[1]),
            ("memcached", "--port={port}")
        );
        assert!(ServerCommand::parse("mc=memcached").is_err());
    }
}
