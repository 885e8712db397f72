//! `cachesim skew`: shards that need unequal memory, which share one pool, beside one shard and beside shards that
//! have a fixed part each.

use std::cmp::Ordering;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use ringcached::shard::Settings;

use crate::cache::{Real, Sizing};
use crate::random::{Random, Zipf};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Memory of the cache in MiB.
    #[arg(long, default_value_t = 256, value_name = "MIB")]
    memory: u64,
    /// Shards that share the memory.
    #[arg(long, default_value_t = 8, value_name = "COUNT")]
    shards: usize,
    /// Distinct keys.
    #[arg(long, default_value_t = 4_000_000, value_name = "COUNT")]
    keys: u64,
    /// How unevenly keys are asked for: the exponent of Zipf's law, less than 1.
    #[arg(long, default_value_t = 0.9, value_name = "EXPONENT")]
    zipf: f64,
    /// Requests before counting begins, and again while counting.
    #[arg(long, default_value_t = 4_000_000, value_name = "COUNT")]
    requests: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    value: usize,
    /// The values of the first shard's keys are larger by this factor.
    #[arg(long, default_value_t = 4, value_name = "FACTOR")]
    larger: usize,
}

const KEY_SIZE: usize = 30;

/// What came of one arrangement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) misses: f64,
    /// The part of all pages that each shard holds.
    pub(crate) pages: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(args.shards > 1, "skew needs two shards at least");
    ensure!(
        args.zipf < 1.0 && args.zipf >= 0.0,
        "Zipf's exponent is from 0 to less than 1 here"
    );
    println!(
        "{:>24} {:>12} {:>24} {:>24}",
        "", "miss ratio", "pages of the first", "mean of the others"
    );
    for (name, shards, pools) in [
        ("one shard", 1, 1),
        ("a pool for all", args.shards, 1),
        ("a part for each", args.shards, args.shards),
    ] {
        let done = simulate(args, shards, pools)?;
        let (first, others) = (done.pages[0], &done.pages[1..]);
        let mean = others.iter().sum::<f64>() / others.len().max(1) as f64;
        println!(
            "{name:>24} {:>12.4} {:>23.1}% {:>23.1}%",
            done.misses,
            first * 100.0,
            mean * 100.0
        );
    }
    Ok(())
}

/// Replays the same requests through so many shards with so many pools.
pub(crate) fn simulate(args: &Args, shards: usize, pools: usize) -> Result<Outcome> {
    let settings = Settings {
        shards,
        ..Settings::default()
    };
    let mut cache = Real::with_pools(&settings, Sizing::Bytes { overhead: 0 }, args.memory << 20, pools)?;
    let mut random = Random::new(1);
    let zipf = Zipf::new(args.keys, args.zipf);
    let (mut gets, mut misses) = (0u64, 0u64);
    for request in 0..args.requests * 2 {
        let key = zipf.next(&mut random);
        let is_there = cache.read(key, KEY_SIZE);
        if !is_there {
            let factor = match cache.owner_among(key, KEY_SIZE, args.shards).cmp(&0) {
                Ordering::Equal => args.larger,
                _ => 1,
            };
            cache.store(key, KEY_SIZE, args.value * factor, 0);
        }
        if request >= args.requests {
            gets += 1;
            misses += u64::from(!is_there);
        }
    }
    let pages: Vec<u64> = cache.counters().map(|counters| counters.pages).collect();
    let all = pages.iter().sum::<u64>().max(1) as f64;
    Ok(Outcome {
        misses: misses as f64 / gets.max(1) as f64,
        pages: pages.into_iter().map(|pages| pages as f64 / all).collect(),
    })
}
