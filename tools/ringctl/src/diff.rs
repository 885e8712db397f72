//! `ringctl diff`: what moves from one server to another when the list of servers changes.
//!
//! A server is its address: one that changes weight or name stays itself, and a machine that takes over
//! another's name is somebody new, because what the old one held does not come along.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use ringcached::cluster::{Ring, Server};

use crate::fleet::{RuleArgs, ServerArgs, parse_list};
use crate::keys::SampleArgs;
use crate::output;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ringctl diff --preset php --servers a:11211,b:11211 --add c:11211
  ringctl diff --preset libmemcached-weighted --file ring.conf --remove b:11211 --weigh a:11211=3
  ringctl diff --preset twemproxy-md5 --file old.conf --to 'a:11211 alpha,b:11211 beta'")]
pub(crate) struct Args {
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    servers: ServerArgs,
    /// The servers afterwards, as in --servers
    #[arg(long, value_name = "SERVERS", conflicts_with_all = ["add", "remove", "weigh"])]
    to: Option<String>,
    /// A server that comes: host:port[:weight][ name]
    #[arg(long, value_name = "SERVER")]
    add: Vec<Server>,
    /// A server that goes: host:port
    #[arg(long, value_name = "SERVER")]
    remove: Vec<Server>,
    /// A server whose weight changes: host:port=WEIGHT
    #[arg(long, value_name = "SERVER=WEIGHT", value_parser = parse_weigh)]
    weigh: Vec<(Server, u32)>,
    #[command(flatten)]
    sample: SampleArgs,
    /// Print JSON: one object
    #[arg(long)]
    json: bool,
}

/// The change as a whole.
#[derive(Serialize)]
struct Report {
    preset: String,
    keys: usize,
    moved: usize,
    moved_share: f64,
    /// The least that any rules could move: what the growing servers grow by.
    needed_share: f64,
    /// The part of all hashes that changes its owner; none for modula and jump, which have no circle.
    #[serde(skip_serializing_if = "Option::is_none")]
    moved_share_of_circle: Option<f64>,
    servers: Vec<Change>,
    moves: Vec<Move>,
}

#[derive(Serialize)]
struct Change {
    server: String,
    keys_before: usize,
    keys_after: usize,
}

#[derive(Serialize)]
struct Move {
    from: String,
    to: String,
    keys: usize,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let before = args.servers.needed()?;
    let after = args.after(&before)?;
    let (old, new) = (args.rules.build(&before)?, args.rules.build(&after)?);
    let mut counts = BTreeMap::new();
    let keys = args
        .sample
        .for_each(|key| *counts.entry((old.owner(key), new.owner(key))).or_insert(0) += 1)?;
    let report = report(
        args.rules.preset.name(),
        [&before, &after],
        [&old, &new],
        &counts,
        keys,
    );
    let mut text = String::new();
    if args.json {
        output::json_line(&mut text, &report)?;
    } else {
        text = drawn(&report);
    }
    output::print(text.as_bytes())
}

impl Args {
    /// The servers after the change.
    fn after(&self, before: &[Server]) -> Result<Vec<Server>> {
        if let Some(list) = &self.to {
            return parse_list("--to", list);
        }
        let mut after = before.to_vec();
        let find = |servers: &[Server], wanted: &Server| {
            let at = servers
                .iter()
                .position(|server| server.address() == wanted.address());
            at.with_context(|| format!("{} is none of the servers", wanted.address()))
        };
        for server in &self.remove {
            let at = find(&after, server)?;
            after.remove(at);
        }
        for (server, weight) in &self.weigh {
            let at = find(&after, server)?;
            after[at].weight = *weight;
        }
        for server in &self.add {
            if find(&after, server).is_ok() {
                bail!("{} is one of the servers already", server.address());
            }
            after.push(server.clone());
        }
        if after == before {
            bail!("nothing changes: give --add, --remove, --weigh or --to");
        }
        Ok(after)
    }
}

fn parse_weigh(text: &str) -> Result<(Server, u32)> {
    let (server, weight) = text.rsplit_once('=').context("expected host:port=WEIGHT")?;
    let weight = weight.parse().ok().filter(|&weight| weight > 0);
    Ok((
        server.parse()?,
        weight.context("weight must be a whole number of 1 or more")?,
    ))
}

fn report(
    preset: &str,
    [before, after]: [&[Server]; 2],
    [old, new]: [&Ring; 2],
    counts: &BTreeMap<(usize, usize), usize>,
    keys: usize,
) -> Report {
    let mut changes: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    let mut moves: BTreeMap<(String, String), usize> = BTreeMap::new();
    before.iter().chain(after).for_each(|server| {
        changes.entry(server.address()).or_default();
    });
    for (&(old, new), &count) in counts {
        let (from, to) = (before[old].address(), after[new].address());
        changes.entry(from.clone()).or_default()[0] += count;
        changes.entry(to.clone()).or_default()[1] += count;
        if from != to {
            *moves.entry((from, to)).or_default() += count;
        }
    }
    let moved = moves.values().sum();
    let needed: usize = changes
        .values()
        .map(|[before, after]| after.saturating_sub(*before))
        .sum();
    let mut moves: Vec<_> = moves
        .into_iter()
        .map(|((from, to), keys)| Move { from, to, keys })
        .collect();
    moves.sort_by_key(|m| std::cmp::Reverse(m.keys));
    let change = |(server, [keys_before, keys_after]): (String, [usize; 2])| Change {
        server,
        keys_before,
        keys_after,
    };
    Report {
        preset: preset.to_owned(),
        keys,
        moved,
        moved_share: moved as f64 / keys as f64,
        needed_share: needed as f64 / keys as f64,
        moved_share_of_circle: circle_moved([before, after], [old, new]),
        servers: changes.into_iter().map(change).collect(),
        moves,
    }
}

/// The part of the circle whose owner changes: both rings' points, merged, cut it into arcs of one old and
/// one new owner each.
fn circle_moved([before, after]: [&[Server]; 2], [old, new]: [&Ring; 2]) -> Option<f64> {
    let (old, new) = (old.points()?, new.points()?);
    let addresses = |servers: &[Server]| servers.iter().map(Server::address).collect::<Vec<_>>();
    let (before, after) = (addresses(before), addresses(after));
    let mut ends: Vec<u32> = old.iter().chain(new).map(|point| point.value).collect();
    ends.sort_unstable();
    ends.dedup();
    // The arc that ends in a point is the one whose keys it owns; the first arc begins behind the last point.
    let mut start = *ends.last()?;
    let (mut old_at, mut new_at) = (0, 0);
    let mut moved = 0u64;
    for &end in &ends {
        old_at += old[old_at..].iter().take_while(|point| point.value < end).count();
        new_at += new[new_at..].iter().take_while(|point| point.value < end).count();
        let owner = old[old_at % old.len()].owner as usize;
        let new_owner = new[new_at % new.len()].owner as usize;
        if before[owner] != after[new_owner] {
            moved += u64::from(end.wrapping_sub(start));
        }
        start = end;
    }
    Some(moved as f64 / (1u64 << 32) as f64)
}

fn drawn(report: &Report) -> String {
    let Report {
        preset, keys, moved, ..
    } = report;
    let mut text = format!(
        "{preset}, {keys} keys: {moved} move, {}",
        output::percent(report.moved_share)
    );
    text.push_str(&format!(" ({} had to", output::percent(report.needed_share)));
    if let Some(share) = report.moved_share_of_circle {
        text.push_str(&format!("; {} of the circle", output::percent(share)));
    }
    text.push_str(")\n\n");
    let mut lines = vec![
        ["server", "before", "after", "change"]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(report.servers.iter().map(|change| {
        let difference = change.keys_after as i64 - change.keys_before as i64;
        let cell = if difference == 0 {
            "=".to_owned()
        } else {
            format!("{difference:+}")
        };
        vec![
            change.server.clone(),
            change.keys_before.to_string(),
            change.keys_after.to_string(),
            cell,
        ]
    }));
    text.push_str(&output::table(&lines));
    if !report.moves.is_empty() {
        let mut lines = vec![["from", "keys", "to"].map(str::to_owned).to_vec()];
        lines.extend(
            report
                .moves
                .iter()
                .map(|m| vec![m.from.clone(), m.keys.to_string(), m.to.clone()]),
        );
        text.push('\n');
        text.push_str(&output::table(&lines));
    }
    text
}
