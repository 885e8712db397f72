//! `loadgen eviction`: what it costs a server that every set must forget something else.
//!
//! A server is started afresh in every round and gets the same number of sets three times: of new keys into free
//! memory, of the same keys again (nothing new, nothing forgotten), and, once it is full and has been
//! filled half over again, of new keys into full memory. The first touches memory that the process has never used, which costs
//! page faults and flatters the third; the second does not, which is why it stands beside.

use std::fmt::Write as _;
use std::io;
use std::ops::Range;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::Cpus;
use crate::catalogue::Catalogue;
use crate::compare::{Server, ServerCommand, check_cpus, median};
use crate::distribution::SizeLaw;
use crate::measure::{Bench, pin};
use crate::replay::ITEM_OVERHEAD;
use crate::target::Target;
use crate::workload::Workload;

/// The part of the memory that the first sets fill: a server must not forget anything there, whatever its overhead.
const FREE_PART: f64 = 0.5;
/// How full the memory is made, in memories, before sets into full memory are measured.
const OVERFILL: f64 = 1.5;

#[derive(Args)]
pub(crate) struct EvictionArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {megabytes} for --megabytes.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// What each server is told to use for items (-m).
    #[arg(long, default_value_t = 512)]
    megabytes: u64,
    /// Bytes per key.
    #[arg(long, value_name = "SIZE", default_value = "30")]
    key_size: SizeLaw,
    /// Bytes per value: N, a range A-B, etc or kvcache.
    #[arg(long, short = 'd', value_name = "SIZE", default_value = "100")]
    value_size: SizeLaw,
    /// Times that each server is started and measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// CPUs of the servers, as 0 or 0-3.
    #[arg(long, default_value = "0", value_parser = crate::parse_cpus, value_name = "LIST")]
    server_cpus: Cpus,
    /// CPUs of the client; they must be others.
    #[arg(long, default_value = "1", value_parser = crate::parse_cpus, value_name = "LIST")]
    client_cpus: Cpus,
    /// Allow common CPUs of servers and client (the figures then say little).
    #[arg(long)]
    share_cpus: bool,
    /// Print the result as JSON instead of Markdown, every round in it.
    #[arg(long)]
    json: bool,
}

/// One kind of sets in one round.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rate {
    sets_per_second: f64,
    server_us_per_set: f64,
    evictions_per_set: f64,
    refused: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    free: Rate,
    again: Rate,
    full: Rate,
}

#[derive(Serialize)]
struct Row {
    server: String,
    version: String,
    /// Sets of each kind.
    sets: u64,
    rounds: Vec<Round>,
}

pub(crate) fn eviction(args: &EvictionArgs) -> Result<bool, String> {
    let commands = args
        .servers
        .iter()
        .map(|text| ServerCommand::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    if args.rounds == 0 || args.megabytes == 0 {
        return Err("--rounds and --megabytes must be at least 1".into());
    }
    check_cpus(&args.server_cpus, &args.client_cpus, args.share_cpus)?;
    crate::raise_file_limit();
    pin(&args.client_cpus.0).map_err(|error| format!("--client-cpus: {error}"))?;
    let mut workload = Workload::parse("--connections 16")?;
    let sample = Catalogue::new(20_000, args.key_size, args.value_size)?;
    let bytes = (0..sample.count()).map(|key| sample.key_size(key) + sample.value_size(key));
    let item = bytes.sum::<usize>() as f64 / sample.count() as f64 + ITEM_OVERHEAD as f64;
    let memory = (args.megabytes << 20) as f64;
    let sets = ((memory * FREE_PART / item) as u64).max(1);
    // What fills it, without the overhead: a server that has less of it must be full, too.
    let filled = (memory * OVERFILL / (item - ITEM_OVERHEAD as f64)) as u64;
    workload.keys = filled + sets;
    let catalogue = Catalogue::new(workload.keys, args.key_size, args.value_size)?;
    let row = |command: &ServerCommand| Row {
        server: command.name.clone(),
        version: String::new(),
        sets,
        rounds: vec![],
    };
    let mut rows: Vec<Row> = commands.iter().map(row).collect();
    for round in 1..=args.rounds {
        for (command, row) in commands.iter().zip(&mut rows) {
            let fail = |error: io::Error| format!("{}: {error}", command.name);
            let server =
                Server::start(&command.with_megabytes(args.megabytes), &args.server_cpus.0).map_err(fail)?;
            row.version.clone_from(&server.version);
            let measure = |range: Range<u64>| measure(&server, &workload, &catalogue, range);
            let free = measure(0..sets).map_err(fail)?;
            let again = measure(0..sets).map_err(fail)?;
            measure(sets..filled).map_err(fail)?;
            let full = measure(filled..filled + sets).map_err(fail)?;
            server.stop().map_err(fail)?;
            eprintln!(
                "round {round} {}: free {:.0} sets/s, {:.3} us; again {:.0}, {:.3}; full {:.0}, {:.3}, {:.2} evictions a set",
                command.name,
                free.sets_per_second,
                free.server_us_per_set,
                again.sets_per_second,
                again.server_us_per_set,
                full.sets_per_second,
                full.server_us_per_set,
                full.evictions_per_set,
            );
            row.rounds.push(Round { free, again, full });
        }
    }
    if args.json {
        let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{}", markdown(&rows));
    }
    // A server that forgot into free memory, or nothing when it was full, was not what the figure says.
    let mut rounds = rows.iter().flat_map(|row| &row.rounds);
    Ok(rounds.all(|round| {
        let all = [round.free, round.again, round.full];
        all.iter().all(|rate| rate.refused == 0)
            && round.free.evictions_per_set + round.again.evictions_per_set < 0.01
            && round.full.evictions_per_set > 0.5
    }))
}

fn measure(
    server: &Server,
    workload: &Workload,
    catalogue: &Catalogue,
    keys: Range<u64>,
) -> io::Result<Rate> {
    let targets = [Target::Tcp(server.address)];
    let pid = server.child.id();
    let bench = Bench {
        targets: &targets,
        pid: Some(pid),
        cpus: &[],
        progress: false,
        tls: server.tls.as_ref(),
    };
    let sets = (keys.end - keys.start).max(1) as f64;
    let evictions = server.statistic("evictions")?;
    let cpu = crate::process::cpu_time(pid)?.run;
    let harvest = bench.set_range(workload, catalogue, keys)?;
    // Threads that have ended take their time with them.
    let cpu = crate::process::cpu_time(pid)?.run.saturating_sub(cpu);
    let evicted = server.statistic("evictions")?.saturating_sub(evictions);
    let seconds = harvest.measured.max(Duration::from_nanos(1)).as_secs_f64();
    Ok(Rate {
        sets_per_second: sets / seconds,
        server_us_per_set: cpu as f64 / 1e3 / sets,
        evictions_per_set: evicted as f64 / sets,
        refused: harvest.tally.errors,
    })
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| server | into free memory: sets/s, us | over themselves | into full memory | evictions a set | full / free (range) | full / over themselves |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let of = |figure: &dyn Fn(&Round) -> f64| median(row.rounds.iter().map(figure).collect());
        let pair = |rate: &dyn Fn(&Round) -> Rate| {
            format!(
                "{:.0} K, {:.3}",
                of(&|round| rate(round).sets_per_second) / 1e3,
                of(&|round| rate(round).server_us_per_set)
            )
        };
        let ratio = |round: &Round| round.full.sets_per_second / round.free.sets_per_second;
        let ratios = row.rounds.iter().map(ratio);
        let (low, high) = ratios.fold((f64::INFINITY, 0.0f64), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} {} | {} | {} | {} | {:.2} | {:.2} ({low:.2}-{high:.2}) | {:.2} |",
            row.server,
            row.version,
            pair(&|round| round.free),
            pair(&|round| round.again),
            pair(&|round| round.full),
            of(&|round| round.full.evictions_per_set),
            of(&ratio),
            of(&|round| round.full.sets_per_second / round.again.sets_per_second),
        );
    }
    let sets = rows.first().map_or(0, |row| row.sets);
    let _ = writeln!(
        text,
        "\nMedians of {} rounds; {sets} sets of each kind.",
        rows.first().map_or(0, |row| row.rounds.len())
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_ratios_of_medians_and_their_range() {
        let rate = |sets_per_second| Rate {
            sets_per_second,
            server_us_per_set: 0.5,
            evictions_per_set: 1.0,
            refused: 0,
        };
        let round = |full| Round {
            free: rate(1e6),
            again: rate(1e6),
            full: rate(full),
        };
        let row = Row {
            server: "one".into(),
            version: "1".into(),
            sets: 7,
            rounds: vec![round(7e5), round(8e5), round(9e5)],
        };
        let text = markdown(&[row]);
        assert!(text.contains("| 1.00 | 0.80 (0.70-0.90) | 0.80 |\n"), "{text}");
    }
}
