//! `loadgen replay`: how many of the same requests each server misses, with the same memory.
//!
//! The first server is given what a scenario asks for (`-m`), and plays it; its resident memory at the end is what the
//! others may have. Each of them plays the whole scenario with a guess of `-m`, and again with a better one, until its
//! own resident memory at the end is as close below as whole megabytes allow. So nothing is assumed about
//! how a server's memory follows from its `-m`, and what counts was measured within the very run that it is about.

mod player;
mod scenario;

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

pub(crate) use player::{Access, Pace, Player, Score};
pub(crate) use scenario::ITEM_OVERHEAD;
use scenario::{Extent, Scenario};

use crate::Cpus;
use crate::compare::{Server, ServerCommand};
use crate::measure::pin;
use crate::process;

/// Accesses of a round: what all connections together have under way at most.
pub(crate) const WINDOW: usize = 512;
/// Guesses of `-m` for each server and scenario.
const TRIES_MAX: usize = 5;

#[derive(Args)]
pub(crate) struct ReplayArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {megabytes} for its share of
    /// memory (-m), which is found for all but the first (a command without it is taken as it is). The first server is what the others are compared with.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// Scenarios: etc (Facebook's ETC pool), twitter (eight clusters in one server), kvcache_reg (Meta's).
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    scenarios: Vec<String>,
    /// Trace files, in the formats of cachesim; each is played by as many tenants as make it large enough. Values have ETC's
    /// sizes where the trace does not tell.
    #[arg(long = "trace", value_name = "FILE", num_args = 1..)]
    traces: Vec<PathBuf>,
    /// What the first server is told to use for items (-m); twitter's is --share of what it asks for.
    #[arg(long, default_value_t = 100)]
    megabytes: u64,
    /// Memory as a part of the bytes of everything that is asked for, with 56 bytes for each item.
    #[arg(long, default_value_t = 0.1)]
    share: f64,
    /// Requests of each scenario, about; the first third of those that are drawn from laws only fills the cache.
    #[arg(long, default_value_t = 10_000_000)]
    requests: u64,
    /// Requests per second, the same for all servers: time passes for each of them as it does for the others.
    #[arg(long, default_value_t = 500_000.0)]
    rate: f64,
    /// Connections; a key always has the same.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// CPUs of the servers, as 0 or 0-3; all unless told.
    #[arg(long, default_value = "", value_parser = crate::parse_cpus, value_name = "LIST")]
    server_cpus: Cpus,
    /// CPUs of the client.
    #[arg(long, default_value = "", value_parser = crate::parse_cpus, value_name = "LIST")]
    client_cpus: Cpus,
    /// Start of the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result as JSON instead of Markdown.
    #[arg(long)]
    json: bool,
    /// Also write the result as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json_file: Option<PathBuf>,
}

/// One server's replay of one scenario.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    scenario: String,
    server: String,
    version: String,
    /// Its `-m`, and its resident memory at the end.
    megabytes: u64,
    rss: u64,
    gets: u64,
    misses: u64,
    miss_ratio: f64,
    /// Gets among them of keys that had never been asked for or set: no server could have answered those.
    first_gets: u64,
    /// Misses of each population of the scenario, where it has several, those of the warm-up included.
    populations: Vec<(String, u64)>,
    sets: u64,
    /// Sets that were answered with an error.
    refused: u64,
    mismatches: u64,
    /// Requests per second over the whole replay: below the pace, the server or the client was too slow for it.
    requests_per_second: f64,
    /// Misses fewer than the first server's, in per cent of those.
    fewer_misses: f64,
    complaints: Vec<String>,
}

#[derive(Serialize)]
struct Outcome {
    scenarios: Vec<String>,
    /// The replays that count: the first server's, and of each other the one with the right memory.
    figures: Vec<Figure>,
    /// All of them, also those that had another memory.
    tries: Vec<Figure>,
    /// By server, the first left out: the mean over the scenarios of the misses fewer, in per cent.
    means: Vec<(String, f64)>,
}

pub(crate) fn replay(args: &ReplayArgs) -> Result<bool, String> {
    let commands = args
        .servers
        .iter()
        .map(|text| ServerCommand::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let extent = args.extent()?;
    pin(&args.client_cpus.0).map_err(|error| format!("--client-cpus: {error}"))?;
    let mut outcome = Outcome {
        scenarios: vec![],
        figures: vec![],
        tries: vec![],
        means: vec![],
    };
    // What each server's -m was found to be above the first server's: where the next scenario begins to look.
    let mut guesses = vec![0; commands.len()];
    for scenario in args.scenarios(extent) {
        let scenario = scenario?;
        eprintln!("{}", scenario.describe());
        outcome.scenarios.push(scenario.describe());
        let mut first: Option<Figure> = None;
        for (command, guess) in commands.iter().zip(&mut guesses) {
            let fail = |error: io::Error| format!("{}, {}: {error}", scenario.name, command.name);
            let mut figure = match &first {
                None => {
                    let figure = play(args, &scenario, command, scenario.megabytes).map_err(fail)?;
                    outcome.tries.push(figure.clone());
                    figure
                }
                Some(first) => {
                    let start = scenario.megabytes.saturating_add_signed(*guess).max(1);
                    let play = |megabytes| play(args, &scenario, command, megabytes);
                    let tries = match command.takes_megabytes() {
                        true => match_memory(first.rss, start, play),
                        // Its own -m is nobody's business here.
                        false => play(0).map(|figure| vec![figure]),
                    };
                    let tries = tries.map_err(fail)?;
                    let best = closest(&tries, first.rss).clone();
                    outcome.tries.extend(tries);
                    *guess = best.megabytes as i64 - scenario.megabytes as i64;
                    best
                }
            };
            let first = first.get_or_insert_with(|| figure.clone());
            figure.fewer_misses = 100.0 * (1.0 - figure.misses as f64 / first.misses.max(1) as f64);
            outcome.figures.push(figure);
        }
    }
    for command in &commands[1..] {
        let own = outcome
            .figures
            .iter()
            .filter(|figure| figure.server == command.name);
        let fewer: Vec<f64> = own.map(|figure| figure.fewer_misses).collect();
        let mean = fewer.iter().sum::<f64>() / fewer.len().max(1) as f64;
        outcome.means.push((command.name.clone(), mean));
    }
    if let Some(path) = &args.json_file {
        let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::to_writer_pretty(file, &outcome).map_err(|error| error.to_string())?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&outcome).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{}", markdown(&outcome));
    }
    Ok(outcome.tries.iter().all(|figure| figure.mismatches == 0))
}

impl ReplayArgs {
    fn extent(&self) -> Result<Extent, String> {
        if self.scenarios.is_empty() && self.traces.is_empty() {
            return Err("give --scenarios or a --trace".into());
        }
        let above = |number: f64| number > 0.0;
        if !above(self.share) || !above(self.rate) || self.megabytes == 0 || self.requests == 0 {
            return Err("--share, --rate, --megabytes and --requests must be above 0".into());
        }
        if self.connections == 0 || self.connections > 1000 {
            return Err("--connections is from 1 to 1000".into());
        }
        Ok(Extent {
            megabytes: self.megabytes,
            share: self.share,
            requests: self.requests,
            rate: self.rate,
            seed: self.seed,
        })
    }

    /// One after the other, so that only one of them is in memory.
    fn scenarios(&self, extent: Extent) -> impl Iterator<Item = Result<Scenario, String>> + '_ {
        let named = self.scenarios.iter().map(move |name| match &**name {
            "etc" => Scenario::etc(&extent),
            "kvcache_reg" => Scenario::kvcache(&extent),
            "twitter" => Scenario::twitter(&extent),
            other => Err(format!(
                "there is no scenario {other:?}; there are etc, twitter and kvcache_reg"
            )),
        });
        let traced = self.traces.iter().map(move |path| {
            let trace = traces::formats::read(path, traces::formats::Format::Auto, usize::MAX);
            Scenario::of_trace(&trace.map_err(|error| format!("{error:#}"))?, &extent)
        });
        named.chain(traced)
    }
}

/// Replays with one `-m` after another, until the resident memory is not above the wanted one and less than a
/// megabyte below it, or the guesses repeat themselves.
fn match_memory(
    wanted: u64,
    start: u64,
    mut play: impl FnMut(u64) -> io::Result<Figure>,
) -> io::Result<Vec<Figure>> {
    const MEGABYTE: i64 = 1 << 20;
    let mut tries: Vec<Figure> = Vec::new();
    let mut megabytes = start;
    while tries.len() < TRIES_MAX && tries.iter().all(|tried| tried.megabytes != megabytes) {
        let tried = play(megabytes)?;
        let left = wanted as i64 - tried.rss as i64;
        tries.push(tried);
        // Rounded down: above the wanted memory is never right.
        megabytes = megabytes.saturating_add_signed(left.div_euclid(MEGABYTE)).max(1);
    }
    Ok(tries)
}

/// The most memory that is not above the wanted one; the least, if all are above.
fn closest(tries: &[Figure], wanted: u64) -> &Figure {
    let within = tries.iter().filter(|tried| tried.rss <= wanted);
    within
        .max_by_key(|tried| tried.rss)
        .or_else(|| tries.iter().min_by_key(|tried| tried.rss))
        .expect("there is a try")
}

fn play(
    args: &ReplayArgs,
    scenario: &Scenario,
    command: &ServerCommand,
    megabytes: u64,
) -> io::Result<Figure> {
    let server = Server::start(&command.with_megabytes(megabytes), &args.server_cpus.0)?;
    let (catalogue, exptimes) = (&scenario.catalogue, &scenario.exptimes);
    let mut player = Player::connect(server.address, args.connections, catalogue, exptimes)?;
    let bar = ProgressBar::new(scenario.requests);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(format!("{}, {} -m {megabytes}", scenario.name, command.name));
    let mut accesses = scenario.accesses();
    let mut window = Vec::with_capacity(WINDOW);
    let (mut played, mut before) = (0, None);
    let pace = Pace::new(args.rate);
    loop {
        window.clear();
        window.extend(accesses.by_ref().take(WINDOW));
        if window.is_empty() {
            break;
        }
        if before.is_none() && played >= scenario.warm_up {
            before = Some(player.settle()?);
        }
        player.play(&window)?;
        played += window.len() as u64;
        bar.set_position(played);
        pace.keep(played);
    }
    let requests_per_second = pace.reached(played);
    let score = player.settle()?.since(&before.unwrap_or_default());
    let rss = process::memory(server.child.id())?.rss;
    bar.finish_and_clear();
    let figure = Figure {
        scenario: scenario.name.clone(),
        server: command.name.clone(),
        version: server.version.clone(),
        megabytes,
        rss,
        gets: score.gets,
        misses: score.misses,
        miss_ratio: score.miss_ratio(),
        first_gets: score.first_gets,
        populations: scenario
            .populations()
            .into_iter()
            .map(|(name, keys)| (name, player.misses_within(keys)))
            .collect(),
        sets: score.sets,
        refused: score.refused,
        mismatches: score.mismatches,
        requests_per_second,
        fewer_misses: 0.0,
        complaints: player.complaints().to_vec(),
    };
    drop(player);
    server.stop()?;
    eprintln!(
        "  {} -m {megabytes}: {:.1} MiB resident, {} of {} gets missed ({:.4}), {} sets refused, {:.0} requests/s",
        figure.server,
        mebibytes(rss),
        figure.misses,
        figure.gets,
        figure.miss_ratio,
        figure.refused,
        requests_per_second,
    );
    for complaint in figure.complaints.iter().take(1) {
        eprintln!("  ! {complaint}");
    }
    Ok(figure)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn markdown(outcome: &Outcome) -> String {
    let mut text = String::new();
    for scenario in &outcome.scenarios {
        // Writing to a string does not fail.
        let _ = writeln!(text, "- {scenario}");
    }
    text.push_str(
        "\n| scenario | server | version | -m | resident MiB | gets | first gets | misses | miss ratio | refused sets | mismatches | \
         requests/s | misses fewer, % of the first's |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for figure in &outcome.figures {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.1} | {} | {} | {} | {:.4} | {} | {} | {:.0} | {:.1} |",
            figure.scenario,
            figure.server,
            figure.version,
            figure.megabytes,
            mebibytes(figure.rss),
            figure.gets,
            figure.first_gets,
            figure.misses,
            figure.miss_ratio,
            figure.refused,
            figure.mismatches,
            figure.requests_per_second,
            figure.fewer_misses,
        );
    }
    for (server, mean) in &outcome.means {
        let _ = writeln!(
            text,
            "\n{server}: {mean:.1} % fewer misses in the mean of the scenarios."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(megabytes: u64, rss: u64) -> Figure {
        Figure {
            scenario: "etc".into(),
            server: "one".into(),
            version: "1".into(),
            megabytes,
            rss,
            gets: 10,
            misses: 5,
            miss_ratio: 0.5,
            first_gets: 2,
            populations: vec![],
            sets: 5,
            refused: 0,
            mismatches: 0,
            requests_per_second: 1e5,
            fewer_misses: 12.34,
            complaints: vec![],
        }
    }

    /// A server whose resident memory is not its -m is asked again until it is as large as allowed, and never larger.
    #[test]
    fn memory_is_matched_from_below() {
        for (slope, base) in [(1.0, 9.5), (1.1, 3.2), (0.9, 0.0)] {
            let rss = |megabytes: u64| ((megabytes as f64 * slope + base) * 1_048_576.0) as u64;
            let wanted = 70 << 20;
            let tries = match_memory(wanted, 64, |megabytes| Ok(figure(megabytes, rss(megabytes))))
                .expect("it plays");
            let best = closest(&tries, wanted);
            assert!(best.rss <= wanted, "{slope} {base}: {tries:?}");
            assert!(rss(best.megabytes + 1) > wanted, "{slope} {base}: {tries:?}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_replay() {
        let outcome = Outcome {
            scenarios: vec!["etc: all of it".into()],
            figures: vec![figure(64, 3 << 20)],
            tries: vec![],
            means: vec![("one".into(), 12.34)],
        };
        let text = markdown(&outcome);
        assert!(
            text.contains("| etc | one | 1 | 64 | 3.0 | 10 | 2 | 5 | 0.5000 | 0 | 0 | 100000 | 12.3 |\n"),
            "{text}"
        );
        assert!(text.ends_with("one: 12.3 % fewer misses in the mean of the scenarios.\n"));
    }
}
