//! How many items a server holds in its memory: all of its memory, as the system counts it.
//!
//! Each server is started afresh for each mix, filled with more than it holds until it forgets, and then asked how many
//! items it has. Its resident memory is that of the whole process: items, tables, buffers, code. Because two servers
//! with the same `-m` do not take the same memory, the figure is items per GiB of what each really takes.

use std::fmt::Write as _;
use std::io;

use clap::Args;
use serde::Serialize;

use crate::compare::{Server, ServerCommand};
use crate::measure::Bench;
use crate::process;
use crate::target::Target;
use crate::workload::Workload;

/// The mixes whose figures docs/BENCHMARKS.md gives: name, key size, value size.
const MIXES: [(&str, &str, &str); 6] = [
    ("etc", "etc", "etc"),
    ("kvcache_reg", "kvcache", "kvcache"),
    ("30/32", "30", "32"),
    ("30/1024", "30", "1024"),
    ("20-60 KiB", "30", "20000-60000"),
    ("70-500 KiB", "30", "70000-500000"),
];

/// Keys are so many times more than would fit without any overhead, so that every server is full.
const OVERFILL: f64 = 1.3;

#[derive(Args)]
pub(crate) struct DensityArgs {
    /// A server: NAME=COMMAND, or COMMAND. {port} stands for the port it is to listen on, {megabytes} for --megabytes.
    /// The first server is what the others are compared with.
    #[arg(long = "server", short = 's', required = true, value_name = "NAME=COMMAND")]
    servers: Vec<String>,
    /// What each server is told to use for items (-m).
    #[arg(long, default_value_t = 1024)]
    megabytes: u64,
    /// Only the mixes with these names: etc, kvcache_reg, 30/32, 30/1024, "20-60 KiB", "70-500 KiB".
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Print the result as JSON instead of Markdown.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figure {
    mix: &'static str,
    server: String,
    version: String,
    items: u64,
    evictions: u64,
    /// Sets that were answered with an error: out of memory.
    refused: u64,
    rss: u64,
    items_per_gib: f64,
    /// Against the first server's.
    ratio: f64,
}

pub(crate) fn density(args: &DensityArgs) -> Result<bool, String> {
    let commands = args
        .servers
        .iter()
        .map(|text| ServerCommand::parse(text))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| MIXES.iter().all(|mix| mix.0 != **name))
    {
        return Err(format!("there is no mix {unknown:?}"));
    }
    if !(1..=1 << 20).contains(&args.megabytes) {
        return Err("--megabytes is from 1 to 1048576".into());
    }
    let mut figures: Vec<Figure> = Vec::new();
    for (mix, key_size, value_size) in MIXES {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == mix) {
            continue;
        }
        let words = format!("--connections 8 --key-size {key_size} --value-size {value_size}");
        let mut workload = Workload::parse(&words)?;
        // The sizes of some keys tell how many are needed.
        workload.keys = 20_000;
        let sample = workload.catalogue()?;
        let size: usize = (0..sample.count())
            .map(|key| sample.key_size(key) + sample.value_size(key))
            .sum();
        let mean = size as f64 / sample.count() as f64;
        workload.keys = ((args.megabytes << 20) as f64 / mean * OVERFILL) as u64;
        let catalogue = workload.catalogue()?;
        let mut base = None;
        for command in &commands {
            let fail = |error: io::Error| format!("{}: {error}", command.name);
            let server = Server::start(&command.with_megabytes(args.megabytes), &[]).map_err(fail)?;
            let targets = [Target::Tcp(server.address)];
            let bench = Bench {
                targets: &targets,
                pid: None,
                cpus: &[],
                progress: false,
                tls: server.tls.as_ref(),
            };
            let refused = bench.set_all(&workload, &catalogue).map_err(fail)?.errors;
            let items = server.statistic("curr_items").map_err(fail)?;
            let evictions = server.statistic("evictions").map_err(fail)?;
            let rss = process::memory(server.child.id()).map_err(fail)?.rss;
            let items_per_gib = items as f64 / rss as f64 * (1u64 << 30) as f64;
            let base = *base.get_or_insert(items_per_gib);
            figures.push(Figure {
                mix,
                server: command.name.clone(),
                version: server.version.clone(),
                items,
                evictions,
                refused,
                rss,
                items_per_gib,
                ratio: items_per_gib / base,
            });
            server.stop().map_err(fail)?;
        }
    }
    if args.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&figures).map_err(|error| error.to_string())?
        );
    } else {
        print!("{}", markdown(&figures));
    }
    // A server that has not forgotten anything was not full, and its figure says little.
    Ok(figures.iter().all(|figure| figure.evictions > 0))
}

fn markdown(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| mix | server | version | items | evictions | refused | resident MiB | items per GiB | ratio |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.3} |",
            figure.mix,
            figure.server,
            figure.version,
            figure.items,
            figure.evictions,
            figure.refused,
            figure.rss as f64 / 1_048_576.0,
            figure.items_per_gib,
            figure.ratio
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_is_a_workload_and_has_a_line() {
        for (mix, key_size, value_size) in MIXES {
            let words = format!("--keys 1000 --key-size {key_size} --value-size {value_size}");
            let catalogue = Workload::parse(&words).and_then(|workload| workload.catalogue());
            assert_eq!(catalogue.map(|catalogue| catalogue.count()), Ok(1000), "{mix}");
        }
        let figure = |server: &str, ratio| Figure {
            mix: "etc",
            server: server.to_owned(),
            version: "1".to_owned(),
            items: 10,
            evictions: 1,
            refused: 0,
            rss: 3 << 20,
            items_per_gib: 3413.3,
            ratio,
        };
        let text = markdown(&[figure("a", 1.0), figure("b", 1.25)]);
        assert!(
            text.ends_with("| etc | b | 1 | 10 | 1 | 0 | 3 | 3413 | 1.250 |\n"),
            "{text}"
        );
    }
}
