//! `loadgen shift`: how soon a server that is full of small values serves larger ones.
//!
//! Each phase has a working set of its own, of values of one size, which would fill the wanted part of the memory.
//! Gets fall on it evenly; each that misses is followed by a set, and besides every so many-th key is set, so that
//! bytes are written however few miss. What is reported is the hit ratio of the working set against the bytes written
//! since the phase began, in multiples of the memory.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Cpus;
use crate::catalogue::Catalogue;
use crate::compare::{Server, ServerCommand};
use crate::distribution::Random;
use crate::measure::pin;
use crate::process;
use crate::replay::{Access, ITEM_OVERHEAD, Pace, Player, Score};

/// Phases after the first begin with a memory full of the wrong sizes: only these are judged.
const RECOVERED: f64 = 0.99;
const KEY_SIZE: usize = 30;
/// Accesses between two looks at what was written. A window of large values is large, so it is kept small.
const WINDOW: usize = 64;
const CONNECTIONS: usize = 4;

#[derive(Args)]
pub(crate) struct ShiftArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {megabytes} for --megabytes.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// What each server is told to use for items (-m).
    #[arg(long, default_value_t = 64)]
    megabytes: u64,
    /// Value sizes, one after the other.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100,1000,10240",
        value_name = "LIST"
    )]
    values: Vec<usize>,
    /// The bytes of each working set, in per cent of the memory, with 56 bytes for each item.
    #[arg(long, default_value_t = 70, value_name = "PERCENT")]
    working_set: u64,
    /// The bytes written in each phase, as a multiple of the memory.
    #[arg(long, default_value_t = 4.0, value_name = "TIMES")]
    writes: f64,
    /// Points of a curve for each memory written.
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..1000))]
    points: u64,
    /// Every so many-th access is a set, whether its key is there or not.
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    overwrite: u64,
    /// Megabytes written per second, about: a server that moves memory in the background needs time for it.
    #[arg(long, default_value_t = 16.0, value_name = "MEGABYTES")]
    pace: f64,
    /// CPUs of the servers, as 0 or 0-3; all unless told.
    #[arg(long, default_value = "", value_parser = crate::parse_cpus, value_name = "LIST")]
    server_cpus: Cpus,
    /// CPUs of the client.
    #[arg(long, default_value = "", value_parser = crate::parse_cpus, value_name = "LIST")]
    client_cpus: Cpus,
    /// Draw the curves to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the result as JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    /// Bytes written since the phase began, in memories.
    written: f64,
    /// Of the gets since the point before.
    hit_ratio: f64,
}

/// One server in one phase.
#[derive(Debug, Serialize)]
struct Curve {
    server: String,
    version: String,
    value_size: usize,
    points: Vec<Point>,
    refused: u64,
    mismatches: u64,
    /// Resident memory at the end of the phase.
    rss: u64,
}

impl Curve {
    /// The bytes written, in memories, until the hit ratio had come to its best and stayed there.
    fn recovered(&self) -> Option<f64> {
        let last_below = self.points.iter().rposition(|point| point.hit_ratio < RECOVERED);
        match last_below {
            None => self.points.first().map(|point| point.written),
            Some(at) => self.points.get(at + 1).map(|point| point.written),
        }
    }
}

pub(crate) fn shift(args: &ShiftArgs) -> Result<bool, String> {
    let commands = args
        .servers
        .iter()
        .map(|text| ServerCommand::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    let above = |number: f64| number > 0.0;
    if args.megabytes == 0 || !above(args.pace) || !above(args.writes) {
        return Err("--megabytes, --pace and --writes must be above 0".into());
    }
    pin(&args.client_cpus.0).map_err(|error| format!("--client-cpus: {error}"))?;
    let (catalogue, sets) = args.working_sets()?;
    let mut curves = Vec::new();
    for command in &commands {
        let measured = measure(args, command, &catalogue, &sets);
        curves.extend(measured.map_err(|error| format!("{}: {error}", command.name))?);
    }
    if let Some(path) = &args.svg {
        let drawing = draw(args, &curves)?;
        std::fs::write(path, drawing).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(&curves).map_err(|error| error.to_string())?;
        println!("{text}");
    } else {
        print!("{}", markdown(args, &curves));
    }
    Ok(curves.iter().all(|curve| curve.mismatches == 0))
}

impl ShiftArgs {
    fn memory(&self) -> u64 {
        self.megabytes << 20
    }

    /// The keys of all phases, and which of them are each phase's.
    fn working_sets(&self) -> Result<(Catalogue, Vec<std::ops::Range<u64>>), String> {
        let (mut sizes, mut sets) = (Vec::new(), Vec::new());
        for &value_size in &self.values {
            let item_size = (KEY_SIZE + value_size) as u64 + ITEM_OVERHEAD;
            let count = (self.memory() * self.working_set / 100 / item_size).max(1);
            let first = sizes.len() as u64;
            sizes.extend((0..count).map(|_| (KEY_SIZE, value_size)));
            sets.push(first..first + count);
        }
        Ok((Catalogue::of_sizes(sizes)?, sets))
    }
}

fn measure(
    args: &ShiftArgs,
    command: &ServerCommand,
    catalogue: &Catalogue,
    sets: &[std::ops::Range<u64>],
) -> io::Result<Vec<Curve>> {
    let server = Server::start(&command.with_megabytes(args.megabytes), &args.server_cpus.0)?;
    let mut player = Player::connect(server.address, CONNECTIONS, catalogue, &[])?;
    let mut random = Random::new(1);
    let mut curves = Vec::new();
    let bar = ProgressBar::new((sets.len() as f64 * args.writes * 100.0) as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %, {eta} left") {
        bar.set_style(style);
    }
    let (mut asked, mut written_before) = (0u64, 0);
    for (set, &value_size) in sets.iter().zip(&args.values) {
        bar.set_message(format!("{}, values of {value_size} bytes", command.name));
        let pace = Pace::new(args.pace * 1e6);
        let start = player.settle()?;
        let mut before = start;
        let mut points = Vec::new();
        let step = args.memory() as f64 / args.points as f64;
        let mut window = Vec::with_capacity(WINDOW);
        for point in 1..=(args.writes * args.points as f64) as u64 {
            let target = (step * point as f64) as u64;
            let written = |score: &Score| {
                let bytes = score.since(&start);
                bytes.bytes_set + bytes.sets * ITEM_OVERHEAD
            };
            while written(&player.score()) < target {
                window.clear();
                for _ in 0..WINDOW {
                    asked += 1;
                    window.push(Access {
                        key: set.start + random.below(set.end - set.start),
                        set: asked.is_multiple_of(args.overwrite),
                    });
                }
                player.play(&window)?;
                pace.keep(written(&player.score()));
            }
            let now = player.settle()?;
            let last = now.since(&before);
            before = now;
            points.push(Point {
                written: written(&now) as f64 / args.memory() as f64,
                hit_ratio: 1.0 - last.miss_ratio(),
            });
            written_before += 1;
            bar.set_position(written_before * 100 / args.points);
        }
        let score = before.since(&start);
        curves.push(Curve {
            server: command.name.clone(),
            version: server.version.clone(),
            value_size,
            points,
            refused: score.refused,
            mismatches: score.mismatches,
            rss: process::memory(server.child.id())?.rss,
        });
    }
    bar.finish_and_clear();
    for complaint in player.complaints() {
        eprintln!("  ! {}: {complaint}", command.name);
    }
    drop(player);
    server.stop()?;
    Ok(curves)
}

fn draw(args: &ShiftArgs, curves: &[Curve]) -> Result<String, String> {
    let panels = args.values.iter().map(|&value_size| traces::chart::Panel {
        title: format!("values of {value_size} bytes"),
        curves: curves
            .iter()
            .filter(|curve| curve.value_size == value_size)
            .map(|curve| traces::chart::Curve {
                name: format!("{} {}", curve.server, curve.version),
                points: curve
                    .points
                    .iter()
                    .map(|point| (point.written, point.hit_ratio))
                    .collect(),
            })
            .collect(),
    });
    let axes = traces::chart::Axes {
        x: "bytes written, in memories",
        y: "hit ratio",
        logarithmic: false,
        rising: true,
    };
    traces::chart::draw(&panels.collect::<Vec<_>>(), &axes).map_err(|error| format!("{error:#}"))
}

fn markdown(args: &ShiftArgs, curves: &[Curve]) -> String {
    let mut text = String::from("| values | server | recovered after | resident MiB | refused sets |");
    let points = curves.first().map_or(&[][..], |curve| &curve.points);
    // Every quarter of a memory is enough for a table.
    let shown: Vec<usize> = (0..points.len())
        .filter(|at| ((*at as u64 + 1) * 4).is_multiple_of(args.points) || args.points < 4)
        .collect();
    for &at in &shown {
        // Writing to a string does not fail.
        let _ = write!(text, " {:.2} |", (at as f64 + 1.0) / args.points as f64);
    }
    let _ = writeln!(text, "\n|---|---|---|---|---|{}", "---|".repeat(shown.len()));
    for curve in curves {
        let recovered = match curve.recovered() {
            Some(written) => format!("{written:.2} memories"),
            None => "not".into(),
        };
        let _ = write!(
            text,
            "| {} | {} {} | {recovered} | {:.1} | {} |",
            curve.value_size,
            curve.server,
            curve.version,
            curve.rss as f64 / 1_048_576.0,
            curve.refused
        );
        for &at in &shown {
            let ratio = curve.points.get(at).map_or(f64::NAN, |point| point.hit_ratio);
            let _ = write!(text, " {:.1} % |", ratio * 100.0);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(ratios: &[f64]) -> Curve {
        let points = ratios.iter().enumerate().map(|(at, &hit_ratio)| Point {
            written: (at + 1) as f64 / 4.0,
            hit_ratio,
        });
        Curve {
            server: "one".into(),
            version: "1".into(),
            value_size: 100,
            points: points.collect(),
            refused: 0,
            mismatches: 0,
            rss: 1 << 20,
        }
    }

    #[test]
    fn a_curve_has_recovered_when_it_stays_up() {
        assert_eq!(curve(&[0.2, 0.995, 0.9, 1.0, 1.0]).recovered(), Some(1.0));
        assert_eq!(curve(&[1.0, 1.0]).recovered(), Some(0.25));
        assert_eq!(curve(&[0.2, 0.5]).recovered(), None);
    }
}
