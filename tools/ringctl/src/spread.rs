//! `ringctl spread`: how evenly a ring shares keys out.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;

use ringcached::cluster::Server;

use crate::fleet::{RuleArgs, ServerArgs};
use crate::keys::SampleArgs;
use crate::{output, svg};

#[derive(clap::Args)]
#[command(after_help = "\
Three shares for each server: by weight, what it ought to have; of the ring, what keys would give it if \
their hashes were even; of the keys, what the measured keys do give it. A gap between the first two is the \
ring's (more points would close it), between the last two the key hash's.

Example:
  ringctl spread --preset twemproxy --servers a:11211,b:11211,c:11211 --keys-from keys.txt --svg spread.svg")]
pub(crate) struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    servers: ServerArgs,
    #[command(flatten)]
    sample: SampleArgs,
    /// Draw the shares into this file as well
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// One server's part.
#[derive(Serialize)]
pub(crate) struct Share {
    pub(crate) server: String,
    pub(crate) weight: u32,
    /// The weight's part of all weights.
    pub(crate) by_weight: f64,
    /// The part of all hashes.
    pub(crate) of_ring: f64,
    /// The part of the measured keys.
    pub(crate) of_keys: f64,
    pub(crate) keys: usize,
}

const BAR_WIDTH: usize = 32;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let servers = args.servers.needed()?;
    let ring = args.rules.build(&servers)?;
    let mut counts = vec![0; servers.len()];
    let total = args.sample.for_each(|key| counts[ring.owner(key)] += 1)?;
    let shares = shares(&servers, &ring.shares(), &counts, total);
    if let Some(path) = &args.svg {
        let title = format!(
            "{}, {} servers, {total} keys",
            args.rules.preset.name(),
            servers.len()
        );
        let drawing = svg::draw(&title, &shares)?;
        std::fs::write(path, drawing).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut text = String::new();
    if args.json {
        for share in &shares {
            output::json_line(&mut text, share)?;
        }
    } else {
        text = format!(
            "{}, {} servers, {total} keys\n\n",
            args.rules.preset.name(),
            servers.len()
        );
        text.push_str(&drawn(&shares));
    }
    output::print(text.as_bytes())
}

fn shares(servers: &[Server], of_ring: &[f64], counts: &[usize], total: usize) -> Vec<Share> {
    let weights: f64 = servers.iter().map(|server| f64::from(server.weight)).sum();
    let share = |(index, server): (usize, &Server)| Share {
        server: server.address(),
        weight: server.weight,
        by_weight: f64::from(server.weight) / weights,
        of_ring: of_ring[index],
        of_keys: counts[index] as f64 / total as f64,
        keys: counts[index],
    };
    servers.iter().enumerate().map(share).collect()
}

/// The table with its bars, and a line on the extremes.
fn drawn(shares: &[Share]) -> String {
    let largest = shares.iter().map(|share| share.of_keys).fold(0.0, f64::max);
    let mut lines = vec![
        ["server", "weight", "by weight", "of ring", "of keys", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(shares.iter().map(|share| {
        vec![
            share.server.clone(),
            share.weight.to_string(),
            output::percent(share.by_weight),
            output::percent(share.of_ring),
            output::percent(share.of_keys),
            output::bar(share.of_keys, largest, BAR_WIDTH),
        ]
    }));
    let load = |share: &&Share| share.of_keys / share.by_weight;
    let by_load = |a: &&Share, b: &&Share| load(a).total_cmp(&load(b));
    let mut text = output::table(&lines);
    if let (Some(most), Some(least)) = (shares.iter().max_by(by_load), shares.iter().min_by(by_load)) {
        text.push_str(&format!(
            "\n{} has {:.2} times what its weight asks for, {} {:.2} times\n",
            most.server,
            load(&most),
            least.server,
            load(&least)
        ));
    }
    text
}
