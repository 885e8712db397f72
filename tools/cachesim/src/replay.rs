//! `cachesim replay`: traces times sizes times caches, in parallel, and a table of what missed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use ringcached::shard::{Eviction, Settings};
use traces::chart;
use traces::formats::{self, Format};
use traces::trace::Trace;

use crate::cache::{Book, Cache, Divided, Outcome, Real, Sizing, serve};
use crate::policy::Reference;

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Trace files. gzip, xz and zstd are unpacked; the format is found out unless it is told.
    #[arg(required = true, value_name = "TRACE")]
    traces: Vec<PathBuf>,
    /// How the requests are spelled in the files.
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Take no more requests than this from each trace.
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true, value_name = "COUNT")]
    limit: usize,
    /// Cache sizes: parts of a trace's distinct keys (1%), or of their bytes with --bytes, or numbers of objects or
    /// bytes (64m).
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1%,3%,10%,30%",
        value_name = "LIST"
    )]
    sizes: Vec<Size>,
    /// Count an object's bytes; otherwise all objects count the same.
    #[arg(long)]
    bytes: bool,
    /// With --bytes: what an object takes in the caches that are not ringcached, besides its key and its value.
    /// The default is memcached's header with a cas unique.
    #[arg(long, default_value_t = 56, value_name = "BYTES")]
    overhead: u32,
    /// Policies to compare with.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "lru,memcached,clock,sieve,fifo-clock"
    )]
    policies: Vec<Reference>,
    /// Divide each of the policies into so many fixed parts, by the hash of the keys: once for each number of the list.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1",
        value_parser = clap::value_parser!(u64).range(1..=1024),
        value_name = "LIST"
    )]
    parts: Vec<u64>,
    /// Replay through so many shards of ringcached: once for each number of the list. 0 leaves it out.
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "LIST")]
    shards: Vec<usize>,
    /// ringcached's probation ring, in per cent of the pages.
    #[arg(long, default_value_t = default_probation().0, value_name = "PERCENT")]
    probation: u8,
    /// The references that an item needs to pass ringcached's probation.
    #[arg(long, default_value_t = default_probation().1, value_name = "COUNT")]
    promote_at: u8,
    /// Do not remember what ringcached's probation forgot.
    #[arg(long)]
    no_ghosts: bool,
    /// Replays at the same time; as many as there are CPUs unless told.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,
    /// Draw the miss ratios to this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn default_probation() -> (u8, u8) {
    match Eviction::default() {
        Eviction::Probation {
            percent, promote_at, ..
        } => (percent, promote_at),
        Eviction::Clock => (10, 1),
    }
}

/// A cache size as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    Percent(f64),
    Absolute(u64),
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse() {
                Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(Size::Percent(percent)),
                _ => Err(format!("{text}: no percentage")),
            };
        }
        let lower = text.to_ascii_lowercase();
        let (digits, shift) = match lower.char_indices().last() {
            Some((at, 'k')) => (&lower[..at], 10),
            Some((at, 'm')) => (&lower[..at], 20),
            Some((at, 'g')) => (&lower[..at], 30),
            _ => (&lower[..], 0),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(1 << shift));
        match number {
            Some(number) if number > 0 => Ok(Size::Absolute(number)),
            _ => Err(format!("{text}: no size such as 10%, 5000 or 64m")),
        }
    }
}

impl Size {
    fn of(self, whole: u64) -> u64 {
        match self {
            Size::Percent(percent) => (whole as f64 * percent / 100.0) as u64,
            Size::Absolute(number) => number,
        }
    }
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Column {
    Book { reference: Reference, parts: u64 },
    Shards(usize),
}

impl Column {
    fn name(self) -> String {
        match self {
            Column::Book { reference, parts: 1 } => reference.name().to_owned(),
            Column::Book { reference, parts } => format!("{}, {parts} parts", reference.name()),
            Column::Shards(1) => "ringcached".to_owned(),
            Column::Shards(shards) => format!("ringcached, {shards} shards"),
        }
    }

    /// The same in one piece.
    fn undivided(self) -> Column {
        match self {
            Column::Book { reference, .. } => Column::Book { reference, parts: 1 },
            Column::Shards(_) => Column::Shards(1),
        }
    }
}

/// One replay to do.
struct Job {
    trace: usize,
    size: usize,
    column: Column,
}

type Ratios = HashMap<(usize, usize, Column), f64>;

pub(crate) fn run(args: &Args) -> Result<()> {
    let traces = args
        .traces
        .iter()
        .map(|path| formats::read(path, args.format, args.limit));
    let traces = traces.collect::<Result<Vec<Trace>>>()?;
    let columns = args.columns();
    ensure!(!columns.is_empty(), "there is nothing to replay through");
    let ratios = replay_all(args, &traces, &columns)?;
    let width = columns.iter().map(|column| column.name().len()).max();
    let width = width.unwrap_or_default();
    for (index, trace) in traces.iter().enumerate() {
        println!(
            "\n{}: {} requests, {} gets, {} keys",
            trace.name,
            trace.accesses.len(),
            trace.gets(),
            trace.objects
        );
        print!("{:>12}", "size");
        columns
            .iter()
            .for_each(|column| print!("  {:>width$}", column.name()));
        println!();
        for (size, wanted) in args.sizes.iter().enumerate() {
            print!("{:>12}", wanted.of(whole(trace, args.sizing())));
            for &column in &columns {
                match ratios.get(&(index, size, column)) {
                    Some(ratio) => print!("  {ratio:>width$.4}"),
                    None => print!("  {:>width$}", "-"),
                }
            }
            println!();
        }
    }
    summarize(&columns, &ratios);
    summarize_division(&columns, &ratios);
    if let Some(path) = &args.svg {
        let panels = traces.iter().enumerate().map(|(index, trace)| chart::Panel {
            title: trace.name.clone(),
            curves: columns
                .iter()
                .map(|&column| chart::Curve {
                    name: column.name(),
                    points: (0..args.sizes.len())
                        .filter_map(|size| {
                            let part = args.sizes[size].of(whole(trace, args.sizing())) as f64;
                            let percent = part * 100.0 / whole(trace, args.sizing()) as f64;
                            Some((percent, *ratios.get(&(index, size, column))?))
                        })
                        .collect(),
                })
                .collect(),
        });
        let axes = chart::Axes {
            x: "cache, % of the keys",
            y: "miss ratio",
            logarithmic: true,
            rising: false,
        };
        let drawing = chart::draw(&panels.collect::<Vec<_>>(), &axes)?;
        std::fs::write(path, drawing).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Args {
    fn sizing(&self) -> Sizing {
        match self.bytes {
            true => Sizing::Bytes {
                overhead: self.overhead,
            },
            false => Sizing::Unit,
        }
    }

    fn columns(&self) -> Vec<Column> {
        let books = self.policies.iter().flat_map(|&reference| {
            let column = move |&parts| Column::Book { reference, parts };
            self.parts.iter().map(column)
        });
        let shards = self.shards.iter().filter(|&&shards| shards > 0);
        books
            .chain(shards.map(|&shards| Column::Shards(shards)))
            .collect()
    }

    fn settings(&self, shards: usize) -> Settings {
        Settings {
            eviction: Eviction::Probation {
                percent: self.probation,
                promote_at: self.promote_at,
                ghosts: !self.no_ghosts,
            },
            shards,
            ..Settings::default()
        }
    }

    fn cache(&self, column: Column, capacity: u64) -> Result<Box<dyn Cache>> {
        Ok(match column {
            Column::Book { reference, parts } => {
                let part = |capacity| Book::new(reference.make(capacity), self.sizing(), capacity);
                Box::new(Divided::new(capacity, parts, part)?)
            }
            Column::Shards(shards) => Box::new(Real::new(&self.settings(shards), self.sizing(), capacity)?),
        })
    }
}

/// All objects of the trace, by number or by bytes.
fn whole(trace: &Trace, sizing: Sizing) -> u64 {
    match sizing {
        Sizing::Unit => trace.objects as u64,
        Sizing::Bytes { .. } => {
            // The last size of each object.
            let mut sizes = vec![0; trace.objects];
            for access in &trace.accesses {
                sizes[access.object as usize] = u64::from(access.key_size) + u64::from(access.value_size);
            }
            sizes.iter().sum()
        }
    }
}

fn replay_all(args: &Args, traces: &[Trace], columns: &[Column]) -> Result<Ratios> {
    let mut jobs = Vec::new();
    for trace in 0..traces.len() {
        for size in 0..args.sizes.len() {
            jobs.extend(columns.iter().map(|&column| Job { trace, size, column }));
        }
    }
    let requests: usize = jobs.iter().map(|job| traces[job.trace].accesses.len()).sum();
    let progress = ProgressBar::new(requests as u64);
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} requests, {eta} left");
    progress.set_style(style.context("the progress line's template")?);
    let next = AtomicUsize::new(0);
    let ratios = Mutex::new(Ratios::new());
    let threads = args.jobs.map_or_else(std::thread::available_parallelism, |jobs| {
        std::num::NonZeroUsize::try_from(jobs).map_err(std::io::Error::other)
    });
    let threads = threads.context("--jobs")?;
    let work = || -> Result<()> {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let trace = &traces[job.trace];
            let capacity = args.sizes[job.size].of(whole(trace, args.sizing()));
            match args.cache(job.column, capacity) {
                Ok(mut cache) => {
                    let outcome = replay(&mut *cache, trace, &progress);
                    let mut ratios = ratios.lock().expect("no replay panicked");
                    ratios.insert((job.trace, job.size, job.column), outcome.miss_ratio());
                }
                Err(error) => {
                    progress.inc(trace.accesses.len() as u64);
                    progress.suspend(|| eprintln!("{}, {}: {error:#}", trace.name, job.column.name()));
                }
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a replay panicked"))
    })?;
    progress.finish_and_clear();
    Ok(ratios.into_inner().expect("no replay panicked"))
}

fn replay(cache: &mut dyn Cache, trace: &Trace, progress: &ProgressBar) -> Outcome {
    const REQUESTS_PER_STEP: usize = 1 << 16;
    let mut outcome = Outcome::default();
    for step in trace.accesses.chunks(REQUESTS_PER_STEP) {
        for access in step {
            serve(cache, access, &mut outcome);
        }
        progress.inc(step.len() as u64);
    }
    outcome
}

/// By what part of the larger the first is less.
fn reduction(ratio: f64, than: f64) -> f64 {
    (than - ratio) / ratio.max(than).max(f64::MIN_POSITIVE)
}

/// Miss ratios of two columns, of each trace and size that both have.
fn pairs(ratios: &Ratios, column: Column, other: Column) -> impl Iterator<Item = (f64, f64)> {
    let of_column = ratios.iter().filter(move |((_, _, name), _)| *name == column);
    of_column.filter_map(move |(&(trace, size, _), &ratio)| {
        let of_other = ratios.get(&(trace, size, other))?;
        Some((ratio, *of_other))
    })
}

/// Each divided column against the same in one piece.
fn summarize_division(columns: &[Column], ratios: &Ratios) {
    let is_divided =
        |column: &&Column| **column != column.undivided() && columns.contains(&column.undivided());
    let divided: Vec<&Column> = columns.iter().filter(is_divided).collect();
    if divided.is_empty() {
        return;
    }
    println!("\nmisses more than in one piece, in per cent:");
    for &column in divided {
        let more: Vec<f64> = pairs(ratios, column, column.undivided())
            .map(|(ratio, than)| (ratio / than.max(f64::MIN_POSITIVE) - 1.0) * 100.0)
            .collect();
        let mean = more.iter().sum::<f64>() / more.len().max(1) as f64;
        let worst = more.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        println!(
            "{:>24}: mean {mean:5.1}, worst {worst:6.1}, of {}",
            column.name(),
            more.len()
        );
    }
}

/// Each column against memcached's, over all traces and sizes that both have.
fn summarize(columns: &[Column], ratios: &Ratios) {
    let peer = Column::Book {
        reference: Reference::Memcached,
        parts: 1,
    };
    if !columns.contains(&peer) {
        return;
    }
    println!("\nmisses fewer than memcached's segmented LRU has, in per cent of the larger:");
    for &column in columns.iter().filter(|&&column| column != peer) {
        let reductions: Vec<f64> = pairs(ratios, column, peer)
            .map(|(ratio, than)| reduction(ratio, than) * 100.0)
            .collect();
        let mean = reductions.iter().sum::<f64>() / reductions.len().max(1) as f64;
        let worst = reductions.iter().copied().fold(f64::INFINITY, f64::min);
        let wins = reductions.iter().filter(|&&reduction| reduction >= 0.0).count();
        println!(
            "{:>24}: mean {mean:5.1}, worst {worst:6.1}, no worse in {wins} of {}",
            column.name(),
            reductions.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!("2.5%".parse(), Ok(Size::Percent(2.5)));
        assert_eq!("64m".parse(), Ok(Size::Absolute(64 << 20)));
        assert_eq!("100".parse(), Ok(Size::Absolute(100)));
        for wrong in [
            "",
            "%",
            "-1%",
            "0",
            "m",
            "99999999999999999999g",
            "18446744073709551615k",
        ] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert_eq!(Size::Percent(10.0).of(1234), 123);
    }

    #[test]
    fn reductions_are_parts_of_the_larger() {
        assert_eq!(reduction(0.5, 1.0), 0.5);
        assert_eq!(reduction(1.0, 0.5), -0.5);
        assert_eq!(reduction(0.0, 0.0), 0.0);
    }
}
