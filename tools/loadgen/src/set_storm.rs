//! `loadgen set-storm`: how long gets take while other clients set what the server has no room for.
//!
//! Gets fall due at a fixed, moderate rate (open loop) on connections of their own; sets at another rate on others,
//! from the same thread, so that no second thread of the client is in their way. Four conditions in each round: with
//! memory to spare, quiet, and in a storm of sets that overwrite each other; then with full memory, quiet again, and in
//! a storm of sets of new keys, each of which makes the server forget something. The second tells what the load
//! alone does, so that the fourth tells what forgetting does.

use std::fmt::Write as _;
use std::io;

use clap::Args;
use serde::Serialize;

use crate::Cpus;
use crate::catalogue::Catalogue;
use crate::compare::{Server, ServerCommand, check_cpus, median};
use crate::measure::{Bench, pin};
use crate::replay::ITEM_OVERHEAD;
use crate::target::Target;
use crate::workload::Workload;

const KEY_SIZE: u64 = 30;
/// Keys of a storm that forgets nothing.
const FEW_KEYS: u64 = 10_000;
/// How much more the keys of the other storm are than the memory holds, overhead left out.
const TIMES_MEMORY: u64 = 10;
/// Seconds of each condition before its measurement.
const WARM_UP: f64 = 0.5;
/// How full the memory is made before it, in memories.
const OVERFILL: f64 = 1.5;

#[derive(Args)]
pub(crate) struct SetStormArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {megabytes} for --megabytes.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// What each server is told to use for items (-m).
    #[arg(long, default_value_t = 256)]
    megabytes: u64,
    /// Bytes per value.
    #[arg(long, short = 'd', default_value_t = 100)]
    value_size: usize,
    /// Gets per second, of 10,000 keys.
    #[arg(long, default_value_t = 20_000.0)]
    gets: f64,
    /// Sets per second in a storm.
    #[arg(long, default_value_t = 60_000.0)]
    sets: f64,
    /// Connections of the gets, and as many of the storm.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Times that each server is started and measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each condition.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// CPUs of the servers, as 0 or 0-3.
    #[arg(long, default_value = "0", value_parser = crate::parse_cpus, value_name = "LIST")]
    server_cpus: Cpus,
    /// CPUs of the client; they must be others.
    #[arg(long, default_value = "1", value_parser = crate::parse_cpus, value_name = "LIST")]
    client_cpus: Cpus,
    /// Allow common CPUs of servers and client (the figures then say little).
    #[arg(long)]
    share_cpus: bool,
    /// Let the client sleep until something comes, instead of looking for it: for virtual machines whose host takes CPUs away
    /// when all of them are busy.
    #[arg(long)]
    client_sleeps: bool,
    /// Print the result as JSON instead of Markdown, every round in it.
    #[arg(long)]
    json: bool,
}

/// Gets under one condition.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Wait {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
    hit_ratio: f64,
    sets_per_second: f64,
    evictions_per_set: f64,
    /// Requests that were due and had not been sent at the end.
    overdue: u64,
    /// CPUs that the server kept busy.
    server_cores: f64,
    mismatches: u64,
    errors: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Round {
    quiet: Wait,
    overwriting: Wait,
    quiet_full: Wait,
    evicting: Wait,
}

#[derive(Serialize)]
struct Row {
    server: String,
    version: String,
    rounds: Vec<Round>,
}

pub(crate) fn set_storm(args: &SetStormArgs) -> Result<bool, String> {
    let commands = args
        .servers
        .iter()
        .map(|text| ServerCommand::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    if args.rounds == 0 || args.megabytes == 0 || args.connections == 0 {
        return Err("--rounds, --megabytes and --connections must be at least 1".into());
    }
    check_cpus(&args.server_cpus, &args.client_cpus, args.share_cpus)?;
    crate::raise_file_limit();
    pin(&args.client_cpus.0).map_err(|error| format!("--client-cpus: {error}"))?;
    let row = |command: &ServerCommand| Row {
        server: command.name.clone(),
        version: String::new(),
        rounds: vec![],
    };
    let mut rows: Vec<Row> = commands.iter().map(row).collect();
    for round in 1..=args.rounds {
        for (command, row) in commands.iter().zip(&mut rows) {
            let fail = |error: io::Error| format!("{}: {error}", command.name);
            let server =
                Server::start(&command.with_megabytes(args.megabytes), &args.server_cpus.0).map_err(fail)?;
            row.version.clone_from(&server.version);
            let measured = weather(args, &server, round as u64).map_err(fail)?;
            server.stop().map_err(fail)?;
            eprintln!(
                "round {round} {}: p99.9 us {:.0} quiet, {:.0} overwriting, {:.0} quiet and full, {:.0} evicting",
                command.name,
                measured.quiet.p99_9,
                measured.overwriting.p99_9,
                measured.quiet_full.p99_9,
                measured.evicting.p99_9,
            );
            row.rounds.push(measured);
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{}", markdown(args, &rows));
    }
    let rounds = rows.iter().flat_map(|row| &row.rounds);
    let mut waits =
        rounds.flat_map(|round| [round.quiet, round.overwriting, round.quiet_full, round.evicting]);
    Ok(waits.all(|wait| wait.mismatches == 0 && wait.errors == 0))
}

/// The four conditions, one after the other.
fn weather(args: &SetStormArgs, server: &Server, round: u64) -> io::Result<Round> {
    let item = KEY_SIZE + args.value_size as u64;
    let memory = args.megabytes << 20;
    let many = memory * TIMES_MEMORY / item;
    let calm = args.workload(None, round)?;
    let catalogue = args.workload(Some(many), round)?.catalogue();
    let catalogue = catalogue.map_err(io::Error::other)?;
    let targets = [Target::Tcp(server.address)];
    let bench = Bench {
        targets: &targets,
        pid: Some(server.child.id()),
        cpus: &args.client_cpus.0,
        progress: false,
        tls: server.tls.as_ref(),
    };
    let measure = |storm_keys| -> io::Result<Wait> {
        measure(server, &bench, &args.workload(storm_keys, round)?, &catalogue)
    };
    bench.set_range(&calm, &catalogue, 0..calm.keys + FEW_KEYS)?;
    let quiet = measure(None)?;
    let overwriting = measure(Some(FEW_KEYS))?;
    let filled = (memory as f64 * OVERFILL / (item + ITEM_OVERHEAD) as f64) as u64;
    bench.set_range(&calm, &catalogue, calm.keys..calm.keys + filled)?;
    // What the filling has made the server forget.
    bench.set_range(&calm, &catalogue, 0..calm.keys)?;
    Ok(Round {
        quiet,
        overwriting,
        quiet_full: measure(None)?,
        evicting: measure(Some(many))?,
    })
}

fn measure(
    server: &Server,
    bench: &Bench<'_>,
    workload: &Workload,
    catalogue: &Catalogue,
) -> io::Result<Wait> {
    let evictions = server.statistic("evictions")?;
    let report = bench.run(workload, catalogue)?;
    let evicted = server.statistic("evictions")?.saturating_sub(evictions);
    for complaint in &report.complaints {
        eprintln!("  ! {complaint}");
    }
    let latency = report.get_latency_us.as_ref();
    let latency = latency.ok_or_else(|| io::Error::other("no get was answered"))?;
    Ok(Wait {
        p50: latency.p50,
        p99: latency.p99,
        p99_9: latency.p99_9,
        max: latency.max,
        hit_ratio: report.hits as f64 / (report.hits + report.misses).max(1) as f64,
        sets_per_second: report.sets as f64 / report.seconds,
        // The report leaves the warm-up's sets out.
        evictions_per_set: evicted as f64 / (report.sets as f64 * (1.0 + WARM_UP / report.seconds)).max(1.0),
        overdue: report.overdue,
        server_cores: report.server_cpu.as_ref().map_or(f64::NAN, |cpu| cpu.cores),
        mismatches: report.mismatches,
        errors: report.errors,
    })
}

impl SetStormArgs {
    fn workload(&self, storm_keys: Option<u64>, round: u64) -> io::Result<Workload> {
        let storm = storm_keys.map(|keys| {
            format!(
                "--storm-rate {} --storm-connections {} --storm-keys {keys}",
                self.sets, self.connections
            )
        });
        let words = format!(
            "--connections {} --pipeline 1000 {} --keys 10000 --key-size {KEY_SIZE} --value-size {} --rate {} \
             --warm-up {WARM_UP} --seconds {} --seed {round} {}",
            self.connections * if storm.is_some() { 2 } else { 1 },
            // On a CPU that it shares the client would take the server's time.
            match self.share_cpus || self.client_sleeps {
                true => "",
                false => "--busy-poll",
            },
            self.value_size,
            self.gets,
            self.seconds,
            storm.unwrap_or_default(),
        );
        Workload::parse(&words).map_err(io::Error::other)
    }
}

fn markdown(args: &SetStormArgs, rows: &[Row]) -> String {
    let mut text = format!(
        "Medians of {} rounds of {} s; {} gets/s on {} connections, storms of {} sets/s of {} bytes on {}; microseconds.\n\n",
        args.rounds, args.seconds, args.gets, args.connections, args.sets, args.value_size, args.connections
    );
    text.push_str(
        "| server | condition | p50 | p99 | p99.9 (range) | max of all | hits | sets/s | evictions a set | server busy | p99.9 against quiet |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        type Condition = fn(&Round) -> Wait;
        let quiet: Condition = |round| round.quiet;
        let quiet_full: Condition = |round| round.quiet_full;
        let conditions: [(&str, Condition, Condition); 4] = [
            ("memory to spare: quiet", quiet, quiet),
            ("storm of sets that overwrite", |round| round.overwriting, quiet),
            ("memory full: quiet", quiet_full, quiet_full),
            ("storm of sets that evict", |round| round.evicting, quiet_full),
        ];
        for (name, condition, base) in conditions {
            let waits: Vec<Wait> = row.rounds.iter().map(condition).collect();
            let of = |figure: &dyn Fn(&Wait) -> f64| median(waits.iter().map(figure).collect());
            let p99_9 = |wait: &Wait| wait.p99_9;
            let base = median(row.rounds.iter().map(|round| base(round).p99_9).collect());
            let max = waits.iter().map(|wait| wait.max).fold(0.0, f64::max);
            let (low, high) = waits.iter().fold((f64::INFINITY, 0.0f64), |(low, high), wait| {
                (low.min(wait.p99_9), high.max(wait.p99_9))
            });
            let overdue: u64 = waits.iter().map(|wait| wait.overdue).sum();
            let late = match overdue {
                0 => String::new(),
                count => format!(" ({count} overdue)"),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} {} | {name} | {:.1} | {:.1} | {:.1} ({low:.1}-{high:.1}) | {max:.0} | {:.1} % | {:.0}{late} | {:.2} | {:.0} % | {:.2} |",
                row.server,
                row.version,
                of(&|wait| wait.p50),
                of(&|wait| wait.p99),
                of(&p99_9),
                of(&|wait| wait.hit_ratio) * 100.0,
                of(&|wait| wait.sets_per_second),
                of(&|wait| wait.evictions_per_set),
                of(&|wait| wait.server_cores) * 100.0,
                of(&p99_9) / base,
            );
        }
    }
    text
}
